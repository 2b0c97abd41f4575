"""Append, roll, read and tail of the queue, 64-byte records, beside an empty loop and what people use instead.

Peers run in the same run where they can be had (else a line on stderr says why not): Chronicle Queue, Aeron IPC, a
buffered file with struct.pack, LMDB, Redis Streams, NATS JetStream. The empty control loop's median is taken off each
single call. Batches and reads are the best of many short bursts, ours as the peers': a shared machine takes the core
away for milliseconds, which says nothing about a queue.
"""

from __future__ import annotations

import gc
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import numpy as np

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.cursor import Window
from chronicle.core.dtypes import DTYPES
from chronicle.core.layout import Flag
from tools.benches import queue_tail
from tools.benches.figure import Figure, best_ns, each_ns, quantile, scratch
from tools.peers import aeron_ipc, chronicle_queue, servers
from tools.peers.result import PeerResult, ask

SINGLE = 200_000
BATCH = 500_000
BURST = 10_000
OBJECTS = 100_000
SERVED = 5_000
SHARES = {"": ("p50", 0.5), "_p99": ("p99", 0.99), "_p999": ("p999", 0.999), "_max": ("max", 1.0)}
BODY = struct.pack("<qq", 1, 2)  # 64 bytes with the header


def run() -> Iterator[Figure]:
    """Yield the figures."""
    with scratch() as folder:
        peers = [
            peer
            for peer in (
                ask("Chronicle Queue", lambda: chronicle_queue.PEER.measure(folder, BATCH, 2 * BATCH)),
                ask("Aeron IPC", lambda: aeron_ipc.PEER.measure(folder, BATCH, 2 * BATCH)),
                buffered_file(folder),
                lmdb_store(folder),
                ask("Redis Streams", lambda: servers.measure_redis(folder, SERVED)),
                ask("NATS JetStream", lambda: servers.measure_nats(folder, SERVED)),
            )
            if peer is not None
        ]
        yield from _single(folder, peers)
        yield from _many(folder, peers)
        yield from _rolls(folder)
        yield from _read(folder, peers)
        yield from queue_tail.run(folder, _against)


def _against(name: str, value: float, unit: str, count: int, peers: list[PeerResult], key: str) -> Iterator[Figure]:
    """Yield the figure beside the first peer that has it, and once more beside each other one."""
    others = [peer for peer in peers if key in peer.values]
    if not others:
        yield Figure(name, value, unit, count)
    for number, peer in enumerate(others):
        label = name if number == 0 else f"{name}.vs_{peer.label.split()[0].lower().rstrip(':')}"
        yield Figure(label, value, unit, count, peer.label, peer.values[key])


def _single(folder: Path, peers: list[PeerResult]) -> Iterator[Figure]:
    empty = _each(lambda number: None)
    control = quantile(empty, 0.5)
    queue = Queue.create(folder / "single.q", segment_bytes=256 << 20)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, BODY, ts_recv=0)
        assert appender.prefault()
        put = appender.recorder(Kind.STATUS, len(BODY))
        ours = _each(lambda number: put(number, BODY))
        kind = Kind.STATUS
        general = _each(lambda number: appender.append(kind, BODY, ts_recv=SINGLE + number))
    for suffix, (key, share) in SHARES.items():
        yield Figure(f"queue.control_ns{suffix}", quantile(empty, share), "ns", SINGLE)
        yield from _against(f"queue.append_one_ns{suffix}", quantile(ours, share) - control, "ns", SINGLE, peers, key)
        yield Figure(f"queue.append_any_ns{suffix}", quantile(general, share) - control, "ns", SINGLE)


def _each(call: Callable[[int], object]) -> list[int]:
    gc.collect()
    gc.disable()
    try:
        return each_ns(call, SINGLE)
    finally:
        gc.enable()


def _rows(count: int) -> np.ndarray:
    rows = np.zeros(count, DTYPES[Kind.ROLL])  # 64 bytes a record
    rows["length"], rows["kind"], rows["flags"], rows["ts_recv"] = 64, 1024, Flag.LAST, np.arange(count)
    return rows


def _many(folder: Path, peers: list[PeerResult]) -> Iterator[Figure]:
    rows = _rows(BURST)
    queue = Queue.create(folder / "many.q", segment_bytes=256 << 20)
    with queue.appender() as appender:
        appender.append_many(rows[:1])
        assert appender.prefault()
        ours = min(_append_later(appender, rows) for _ in range(BATCH // BURST)) / BURST
    yield from _against("queue.append_many_ns", ours, "ns", BATCH, peers, "batch")


def _append_later(appender: Appender, rows: np.ndarray) -> float:
    """Return the ns of appending `rows` with times behind the last: earlier ones would be clamped, one by one."""
    rows["ts_recv"] += appender.last_ts_recv + 1 - rows["ts_recv"][0]
    start = time.perf_counter_ns()
    appender.append_many(rows)
    return float(time.perf_counter_ns() - start)


def _rolls(folder: Path) -> Iterator[Figure]:
    """What the slowest appends cost where as many rolls: of a paced writer, and the mean of one at full speed."""
    for label, size, count, pace_ns in (("1_mib", 1 << 20, 200_000, 5_000), ("16_mib", 16 << 20, 1_400_000, 1_000)):
        slowest, _ = _roll_often(folder / f"roll-{label}.q", size, count, pace_ns)
        yield Figure(f"queue.roll_{label}_p50_us", quantile(slowest, 0.5) / 1e3, "us", len(slowest))
        yield Figure(f"queue.roll_{label}_max_us", slowest[-1] / 1e3, "us", len(slowest))
        _, mean = _roll_often(folder / f"fast-{label}.q", size, count, 0)
        yield Figure(f"queue.append_with_rolls_{label}_ns", mean, "ns", count)


def _roll_often(path: Path, segment_bytes: int, count: int, pace_ns: int) -> tuple[list[int], float]:
    """Append `count` records, one each `pace_ns`; return the slowest, one a roll, sorted, and the mean of all."""
    queue = Queue.create(path, segment_bytes=segment_bytes)
    clock, slow = time.perf_counter_ns, []
    with queue.appender() as appender:
        appender.prefault()
        put = appender.recorder(Kind.STATUS, len(BODY))
        start = due = clock()
        for number in range(count):
            due += pace_ns
            while (before := clock()) < due:
                pass
            put(number, BODY)
            took = clock() - before
            if took > 10_000:
                slow.append(took)
        total = clock() - start
    made = len(queue.segments()) - 1
    shutil.rmtree(path)
    return sorted(slow)[-made:], total / count


def _read(folder: Path, peers: list[PeerResult]) -> Iterator[Figure]:
    import chronicle.core.kernels.scan  # noqa: F401 - the kernel path is what is measured

    queue = Queue.open(folder / "many.q")
    width = DTYPES[Kind.ROLL]
    ways: dict[str, Callable[[Window], object]] = {
        "kernel": lambda window: window.offsets(),
        "view": lambda window: np.frombuffer(window.memory, width)["ts_recv"].sum(),
    }
    for name, take in ways.items():
        best, count = _best_window(queue, take)
        yield from _against(f"queue.read_{name}_ns", best, "ns", count, peers, "read")
    clock, bursts = time.perf_counter_ns, []
    records = queue.tailer().drain()
    for _ in range(OBJECTS // 1_000):
        start = clock()
        for _ in range(1_000):
            next(records)
        bursts.append(clock() - start)
    yield from _against("queue.read_object_ns", min(bursts) / 1_000, "ns", OBJECTS, peers, "read")


def _best_window(queue: Queue, take: Callable[[Window], object]) -> tuple[float, int]:
    """Return the least ns a record of taking a window of 256 KiB, and how many records there were."""
    tailer, clock, best, count = queue.tailer(), time.perf_counter_ns, 1e9, 0
    while True:
        start = clock()
        window = tailer.next_window(1 << 18)
        if window is None:
            return best, count
        take(window)
        best = min(best, (clock() - start) / len(window))
        count += len(window)


def buffered_file(folder: Path) -> PeerResult:
    """A plain file behind a buffer of 1 MiB, struct.pack in front."""
    packer = struct.Struct("<IHBBqqqIHHqqq")
    control = quantile(_each(lambda number: None), 0.5)
    path = folder / "plain"
    with open(path, "wb", buffering=1 << 20) as file:
        times = _each(lambda number: file.write(packer.pack(64, 17, 128, 0, number, 0, -1, 0, 0, 0, -1, 1, 2)))
    rows = _rows(BATCH)
    with open(folder / "plain-many", "wb", buffering=0) as file:
        batch = best_ns(lambda: file.write(rows), 3) / BATCH

    def read() -> None:
        with open(path, "rb", buffering=1 << 20) as file:
            for _ in iter(lambda: file.read(64), b""):
                pass

    values = {key: max(quantile(times, share) - control, 1.0) for key, share in SHARES.values()}
    return PeerResult("file: struct.pack, 1 MiB buffer", values | {"batch": batch, "read": best_ns(read, 1) / SINGLE})


def lmdb_store(folder: Path) -> PeerResult:
    """LMDB without sync: one put a transaction, and 500."""
    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 30, sync=False, writemap=True)
    blob = bytes(64)

    def one(number: int) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(number.to_bytes(8, "big"), blob)

    times = each_ns(one, 20_000)

    def many() -> None:
        for start in range(0, 50_000, 500):
            with environment.begin(write=True) as transaction:
                for number in range(start, start + 500):
                    transaction.put(number.to_bytes(8, "big"), blob)

    def read() -> None:
        with environment.begin() as transaction:
            for _ in transaction.cursor().iternext(keys=False):
                pass

    batch = best_ns(many, 3) / 50_000
    values = {key: quantile(times, share) for key, share in SHARES.values()}
    values |= {"batch": batch, "read": best_ns(read, 3) / 50_000}
    environment.close()
    return PeerResult(f"LMDB {'.'.join(map(str, lmdb.version()))}, no sync", values)
