"""From commit to sight in another process: by spin and by futex, at several rates, with one to eight readers."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from chronicle.core import Kind, Queue
from tools.benches.figure import Figure, quantile

__all__ = ["run"]

NEXT_WORD = 20_000
"""Samples of the plain case: one record, one reader, 10k a second."""
RATES = {"10k": (10_000, 8_000), "100k": (100_000, 50_000), "1m": (1_000_000, 300_000)}
"""Records a second, and how many are sent."""
READERS = (2, 4, 8)


def run(folder: Path) -> Iterator[Figure]:
    """Yield the figures. Spinning readers get a core each; where there are fewer cores, only one spins."""
    for name, spin in (("tail_spin", True), ("tail_futex", False)):
        times, _ = _measure(folder / f"{name}.q", _next_word if spin else _next_event, NEXT_WORD, 10_000, 1)
        yield from _figures(f"queue.{name}", times)
    for name, reader in (("spin", _windows_by_spin), ("futex", _windows_by_futex)):
        for label, (rate, count) in RATES.items():
            times, sent = _measure(folder / f"{name}-{label}.q", reader, count, rate, 1)
            yield from _figures(f"queue.tail_{name}_{label}", times)
            yield Figure(f"queue.tail_{name}_{label}_sent_per_s", sent, "1/s", count)
    cores = len(os.sched_getaffinity(0))
    for readers in READERS:
        for name, reader in (("futex", _windows_by_futex), ("spin", _windows_by_spin)):
            if name == "spin" and readers >= cores:
                continue
            times, _ = _measure(folder / f"{name}-{readers}.q", reader, 8_000, 10_000, readers)
            yield from _figures(f"queue.tail_{name}_{readers}_readers", times)


def _figures(name: str, times: list[int]) -> Iterator[Figure]:
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        yield Figure(f"{name}_{label}_ns", quantile(times, share), "ns", len(times))


def _measure(path: Path, reader: object, count: int, rate: int, readers: int) -> tuple[list[int], float]:
    """Send `count` records at `rate`; return all readers' sorted ns from commit to sight, and the rate reached."""
    queue = Queue.create(path, segment_bytes=64 << 20)
    context = multiprocessing.get_context("spawn")
    with queue.appender() as appender:
        put = appender.recorder(Kind.STATUS, 16)
        put(0, bytes(16))
        appender.prefault()
        pipes = []
        processes = []
        for _ in range(readers):
            parent, child = multiprocessing.Pipe()
            process = context.Process(target=_read, args=(str(path), reader, count, child))
            process.start()
            pipes.append(parent)
            processes.append(process)
        for pipe in pipes:
            assert pipe.recv() == "ready"
        clock, body, pause = time.monotonic_ns, bytes(16), 1_000_000_000 // rate
        start = due = clock()
        for _ in range(count):
            due += pause
            while (now := clock()) < due:
                pass
            put(now, body)
        sent = count / ((clock() - start) / 1e9)
        times: list[int] = []
        for pipe, process in zip(pipes, processes, strict=True):
            times += pipe.recv()
            process.join()
    shutil.rmtree(path)
    return sorted(times), sent


def _read(path: str, reader: object, count: int, pipe: Connection) -> None:
    import chronicle.core.kernels.scan  # noqa: F401 - compiled before the clock runs

    pipe.send(reader(Queue.open(path), count, pipe))  # type: ignore[operator]


def _next_word(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Spin on the next commit word itself: what a kernel that follows the queue sees."""
    from chronicle.core.kernels.scan import spin_until

    with queue.open_segment(max(queue.segment_files())) as segment:
        words, address, position = segment.mapping.words, segment.mapping.address, segment.data_end()
        spin_until(np.uint64(address), 1)
        pipe.send("ready")
        times: list[int] = []
        while len(times) < count:
            word = int(spin_until(np.uint64(address + position), 1_000_000))
            if word:
                times.append(time.monotonic_ns() - words[(position + 8) >> 3])
                position += word & 0xFFFFFFFF
    return times


def _next_event(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Wait (spin a little, then the futex) and take Python records."""
    tailer = queue.tailer()
    tailer.seek_end()
    pipe.send("ready")
    times: list[int] = []
    while len(times) < count:
        if tailer.wait(1_000_000_000):
            while (event := tailer.next_event()) is not None:
                times.append(time.monotonic_ns() - event[0].ts_recv)
    return times


def _windows_by_spin(queue: Queue, count: int, pipe: Connection) -> list[int]:
    return _windows(queue, count, pipe, spin=True)


def _windows_by_futex(queue: Queue, count: int, pipe: Connection) -> list[int]:
    return _windows(queue, count, pipe, spin=False)


def _windows(queue: Queue, count: int, pipe: Connection, *, spin: bool) -> list[int]:
    """Wait, and take all that is there as one NumPy view; each record's latency counts."""
    tailer = queue.tailer()
    tailer.seek_end()
    wait = tailer.spin if spin else tailer.wait
    wait(1)  # loads what it needs
    pipe.send("ready")
    parts: list[np.ndarray] = []
    seen = 0
    while seen < count:
        if wait(1_000_000_000):
            while (window := tailer.next_window()) is not None:
                now = time.monotonic_ns()
                stamps = np.frombuffer(window.memory, np.int64).reshape(-1, 8)[:, 1]
                parts.append(now - stamps)
                seen += len(stamps)
    times: list[int] = np.concatenate(parts).tolist()
    return times
