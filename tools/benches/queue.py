"""Append and tail of the queue; peers: a plain buffered file with struct.pack, and LMDB."""

from __future__ import annotations

import multiprocessing
import struct
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np

from chronicle.core import Kind, Queue
from chronicle.core.dtypes import DTYPES
from chronicle.core.layout import Flag, Side
from tools.benches.figure import Figure, best_ns, each_ns, quantile, scratch

SINGLE = 200_000
BATCH = 500_000
TAILED = 20_000


def run() -> Iterator[Figure]:
    """Yield the figures."""
    with scratch() as folder:
        yield from _single(folder)
        yield from _many(folder)
        yield from _read(folder)
        yield from _tail(folder)


def _single(folder: Path) -> Iterator[Figure]:
    body = struct.pack("<qq", 1, 2)  # 64 bytes with the header
    empty = each_ns(lambda number: None, SINGLE)
    queue = Queue.create(folder / "single.q", segment_bytes=256 << 20)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, body, ts_recv=0)
        assert appender.prefault()
        general = each_ns(lambda number: appender.append(Kind.STATUS, body, ts_recv=number), SINGLE)
        put = appender.recorder(Kind.STATUS, len(body))
        ours = each_ns(lambda number: put(SINGLE + number, body), SINGLE)
    packer = struct.Struct("<IHBBqqqIHHqqq")
    with open(folder / "plain", "wb", buffering=1 << 20) as file:
        plain = each_ns(
            lambda number: file.write(packer.pack(64, 17, 128, 0, number, 0, -1, 0, 0, 0, -1, 1, 2)), SINGLE
        )
    control = quantile(empty, 0.5)
    for name, share in (("", 0.5), ("_p99", 0.99), ("_p999", 0.999), ("_max", 1.0)):
        cost, peer = quantile(ours, share) - control, quantile(plain, share) - control
        yield Figure(f"queue.append_one_ns{name}", cost, "ns", SINGLE, "buffered file + struct.pack", max(peer, 1.0))
        cost = quantile(general, share) - control
        yield Figure(f"queue.append_any_ns{name}", cost, "ns", SINGLE, "buffered file + struct.pack", max(peer, 1.0))


def _rows(count: int) -> np.ndarray:
    rows = np.zeros(count, DTYPES[Kind.ROLL])  # 64 bytes a record
    rows["length"], rows["kind"], rows["flags"], rows["ts_recv"] = 64, 1024, Flag.LAST, np.arange(count)
    return rows


def _many(folder: Path) -> Iterator[Figure]:
    rows = _rows(BATCH)
    queue = Queue.create(folder / "many.q", segment_bytes=512 << 20)
    with queue.appender() as appender:
        appender.append_many(rows[:1])
        assert appender.prefault()
        ours = best_ns(lambda: appender.append_many(rows), 5) / BATCH
    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 30, sync=False, writemap=True)
    blobs = [rows[number : number + 1].tobytes() for number in range(20_000)]

    def put() -> None:
        for start in range(0, len(blobs), 500):
            with environment.begin(write=True) as transaction:
                for number in range(start, start + 500):
                    transaction.put(number.to_bytes(8, "big"), blobs[number], append=False)

    theirs = best_ns(put, 3) / len(blobs)
    environment.close()
    yield Figure("queue.append_many_ns", ours, "ns", BATCH, "LMDB put, 500 a transaction, no sync", theirs)


def _read(folder: Path) -> Iterator[Figure]:
    queue = Queue.open(folder / "many.q")
    count = queue.end_index()

    def windows() -> None:
        tailer = queue.tailer()
        while (window := tailer.next_window()) is not None:
            window.offsets()

    import chronicle.core.kernels.scan  # noqa: F401 - the kernel path is what is measured

    windows()
    yield Figure("queue.read_view_ns", best_ns(windows, 3) / count, "ns", count)
    limit = 100_000

    def objects() -> None:
        for number, _ in enumerate(queue.tailer().drain()):
            if number >= limit:
                return

    yield Figure("queue.read_object_ns", best_ns(objects, 2) / limit, "ns", limit)


def _tail(folder: Path) -> Iterator[Figure]:
    for name, spin in (("queue.tail_spin", True), ("queue.tail_futex", False)):
        latencies = _measure_tail(folder / f"{name}.q", spin=spin)
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            yield Figure(f"{name}_{label}_ns", quantile(latencies, share), "ns", len(latencies))


def _measure_tail(path: Path, *, spin: bool) -> list[int]:
    """Return sorted ns from commit to sight in another process, at about 10k records a second."""
    queue = Queue.create(path, segment_bytes=64 << 20)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=0)
        appender.prefault()
        parent, child = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_tail_process, args=(str(path), spin, child))
        process.start()
        assert parent.recv() == "ready"
        due = time.perf_counter_ns()
        for _ in range(TAILED):
            due += 100_000
            while time.perf_counter_ns() < due:
                pass
            appender.append(Kind.STATUS, ts_recv=time.clock_gettime_ns(time.CLOCK_MONOTONIC), side=Side.NONE)
        latencies = parent.recv()
        process.join()
    return sorted(latencies)


def _tail_process(path: str, spin: bool, pipe: Connection) -> None:
    from chronicle.core.kernels.scan import spin_until

    queue = Queue.open(path)
    tailer = queue.tailer()
    tailer.seek_end()
    tailer.lag()
    latencies: list[int] = []
    now = time.clock_gettime_ns
    words, address, position = _raw_position(queue)
    spin_until(np.uint64(address), 1)
    pipe.send("ready")
    if spin:
        while len(latencies) < TAILED:
            word = int(spin_until(np.uint64(address + position), 1_000_000))
            if word:
                latencies.append(now(time.CLOCK_MONOTONIC) - words[(position + 8) >> 3])
                position += word & 0xFFFFFFFF
    else:
        while len(latencies) < TAILED:
            if tailer.wait(1_000_000_000):
                while (event := tailer.next_event()) is not None:
                    latencies.append(now(time.CLOCK_MONOTONIC) - event[0].ts_recv)
    pipe.send(latencies)


def _raw_position(queue: Queue) -> tuple[memoryview, int, int]:
    segment = queue.open_segment(max(queue.segment_files()))
    return segment.mapping.words, segment.mapping.address, segment.data_end()
