"""From commit to sight in another process: by spin and by futex, at several rates, with one to eight readers."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numba import njit

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.kernels.atomics import load_acquire, store_release
from chronicle.core.kernels.calls import append_record
from chronicle.core.kernels.following import monotonic_ns
from chronicle.core.kernels.memory import peek
from chronicle.core.layout import WORD_FLAGS_SHIFT, WORD_KIND_SHIFT
from tools.benches.figure import Figure, quantile
from tools.peers import aeron_ipc, chronicle_queue
from tools.peers.result import PeerResult, ask

__all__ = ["run"]

NEXT_WORD = 5_000
"""Samples of the plain case: one record, one reader, 10k a second."""
RATES = {"10k": (10_000, 4_000), "100k": (100_000, 20_000), "1m": (1_000_000, 200_000)}
"""Records a second, and how many are sent."""
READERS = (2, 4, 8)
LINES = 2_000
REPEATS = 20
Sender = Callable[[Appender, int, int], None]
Against = Callable[[str, float, str, int, list[PeerResult], str], Iterator[Figure]]


def run(folder: Path, against: Against) -> Iterator[Figure]:
    """Yield the figures. Spinning readers get a core each; where there are fewer cores, only one spins.

    ``tail_line``: half a round trip of a cache line between two spinning kernels, what no queue can be below.
    ``tail_spin``: a compiled writer, stamping right before its append, and a compiled handler in another process.
    ``tail_python``: the same from a Python ``put`` to a Python record, spinning. ``tail_futex``: asleep in between.
    """
    _compile_sender(folder)
    yield Figure("queue.tail_line_ns", _line_ns(), "ns", LINES)
    peers = {label: _ask_peers(folder, rate, count, 1) for label, (rate, count) in RATES.items()}
    for name, reader, sender in (
        ("tail_spin", _followed, _send_compiled),
        ("tail_python", _spun_event, _send_python),
        ("tail_futex", _next_event, _send_python),
    ):
        times, _ = _measure(folder / f"{name}.q", reader, sender, NEXT_WORD, 10_000, 1)
        yield from _figures(f"queue.{name}", times, peers["10k"] if name == "tail_spin" else [], against)
    for name, reader, sender in (("spin", _followed, _send_compiled), ("futex", _windows, _send_python)):
        for label, (rate, count) in RATES.items():
            times, sent = _measure(folder / f"{name}-{label}.q", reader, sender, count, rate, 1)
            yield from _figures(f"queue.tail_{name}_{label}", times, peers[label] if name == "spin" else [], against)
            yield Figure(f"queue.tail_{name}_{label}_sent_per_s", sent, "1/s", count)
    cores = len(os.sched_getaffinity(0))
    for readers in READERS:
        for name, reader, sender in (("futex", _windows, _send_python), ("spin", _followed, _send_compiled)):
            if name == "spin" and readers >= cores:
                continue
            times, _ = _measure(folder / f"{name}-{readers}.q", reader, sender, 3_000, 10_000, readers)
            beside = _ask_peers(folder, 10_000, 3_000, readers) if name == "spin" else []
            yield from _figures(f"queue.tail_{name}_{readers}_readers", times, beside, against)


def _ask_peers(folder: Path, rate: int, count: int, readers: int) -> list[PeerResult]:
    found = (
        ask(f"{peer.label}, latency", lambda peer=peer: peer.latency(folder, count, rate, readers))
        for peer in (chronicle_queue.PEER, aeron_ipc.PEER)
    )
    return [result for result in found if result is not None]


@njit(nogil=True)
def _volley(mine: int, other: int, count: int, first: bool) -> None:
    """Answer each word at `other` by the same at `mine`, `count` times."""
    for number in range(1, count + 1):
        if first:
            store_release(mine, number)
        while load_acquire(other) != number:
            pass
        if not first:
            store_release(mine, number)


def _line_ns() -> float:
    _volley(0, 0, 0, True)
    best = 1e9
    for _ in range(REPEATS):
        words = np.zeros(64, np.int64)
        here, there = words.ctypes.data + 64, words.ctypes.data + 256
        answering = threading.Thread(target=_volley, args=(there, here, LINES, False))
        answering.start()
        start = time.perf_counter_ns()
        _volley(here, there, LINES, True)
        best = min(best, (time.perf_counter_ns() - start) / LINES / 2)
        answering.join()
    return best


def _figures(name: str, times: list[int], peers: list[PeerResult], against: Against) -> Iterator[Figure]:
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        yield from against(f"{name}_{label}_ns", quantile(times, share), "ns", len(times), peers, label)


def _measure(
    path: Path, reader: object, sender: Sender, count: int, rate: int, readers: int
) -> tuple[list[int], float]:
    """Send `count` records at `rate`; return all readers' sorted ns from commit to sight, and the rate reached."""
    queue = Queue.create(path, segment_bytes=64 << 20)
    context = multiprocessing.get_context("spawn")
    with queue.appender() as appender:
        appender.append(Kind.STATUS, bytes(16), ts_recv=0)
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
        start = time.monotonic_ns()
        sender(appender, count, 1_000_000_000 // rate)
        sent = count / ((time.monotonic_ns() - start) / 1e9)
        times: list[int] = []
        for pipe, process in zip(pipes, processes, strict=True):
            times += pipe.recv()
            process.join()
    shutil.rmtree(path)
    return sorted(times), sent


def _compile_sender(folder: Path) -> None:
    """Have the compiled writer ready before the first reader waits for it."""
    queue = Queue.create(folder / "compile.q")
    with queue.appender() as appender:
        appender.append(Kind.STATUS, bytes(16), ts_recv=0)
        _send_compiled(appender, 1, 1)
    shutil.rmtree(queue.path)


def _send_python(appender: Appender, count: int, pause_ns: int) -> None:
    """Append `count` records from Python, one each `pause_ns`, stamped with the clock right before the call."""
    put, clock, body = appender.recorder(Kind.STATUS, 16), time.monotonic_ns, bytes(16)
    due = clock()
    for _ in range(count):
        due += pause_ns
        while (now := clock()) < due:
            pass
        put(now, body)


def _send_compiled(appender: Appender, count: int, pause_ns: int) -> None:
    scratch, due, sent = np.zeros(2, np.int64), time.monotonic_ns(), 0
    while sent < count:
        state = appender.kernel_state()
        assert state is not None
        made, due = _send(state, count - sent, pause_ns, due, scratch.ctypes.data)
        appender.kernel_done()
        sent += made
        if sent < count:
            appender.append(Kind.STATUS, bytes(16), ts_recv=time.monotonic_ns())
            sent += 1


def _read(path: str, reader: object, count: int, pipe: Connection) -> None:
    import chronicle.core.kernels.scan  # noqa: F401 - compiled before the clock runs

    pipe.send(reader(Queue.open(path), count, pipe))  # type: ignore[operator]


@njit(cache=False, nogil=True)
def _note(address: int, length: int, index: int, state: np.ndarray) -> int:
    """Note how old the record is: state[0] counts, state[1] is the address of a scratch, the ages follow."""
    state[2 + state[0]] = monotonic_ns(state[1]) - peek(address + 8)
    state[0] += 1
    return int(state[0] == state.size - 2)


def _followed(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Follow in compiled code: what a handler of :meth:`Tailer.follow` sees."""
    scratch = np.zeros(2, np.int64)
    state = np.zeros(2 + count, np.int64)
    state[1] = scratch.ctypes.data
    tailer = queue.tailer()
    tailer.seek_end()
    tailer.follow(_note, state, 0)
    pipe.send("ready")
    while state[0] < count:
        tailer.follow(_note, state, 1_000_000_000)
    times: list[int] = state[2:].tolist()
    return times


@njit(nogil=True)
def _send(state: int, count: int, pause_ns: int, due: int, scratch: int) -> tuple[int, int]:
    """Append `count` records of 64 bytes, one each `pause_ns`, stamped with the clock right before the append.

    Returns how many, and when the last was due: one that needs Python (the next segment is to be prepared) is left.
    """
    head = 64 | (17 << WORD_KIND_SHIFT) | (128 << WORD_FLAGS_SHIFT)
    for number in range(count):
        due += pause_ns
        now = monotonic_ns(scratch)
        while now < due:
            now = monotonic_ns(scratch)
        if append_record(state, head, 64, 17, now, 0, -1, 0, 0, 0, -1, scratch, 16) < 0:
            return number, due
    return count, due


def _next_event(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Wait (spin a little, then the futex) and take Python records."""
    return _events(queue, count, pipe, spin=False)


def _spun_event(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Spin and take Python records."""
    return _events(queue, count, pipe, spin=True)


def _events(queue: Queue, count: int, pipe: Connection, *, spin: bool) -> list[int]:
    tailer = queue.tailer()
    tailer.seek_end()
    wait = tailer.spin if spin else tailer.wait
    wait(1)  # loads what it needs
    pipe.send("ready")
    times: list[int] = []
    while len(times) < count:
        if wait(1_000_000_000):
            while (event := tailer.next_event()) is not None:
                times.append(time.monotonic_ns() - event[0].ts_recv)
    return times


def _windows(queue: Queue, count: int, pipe: Connection) -> list[int]:
    """Wait by futex, and take all that is there as one NumPy view; each record's latency counts."""
    tailer = queue.tailer()
    tailer.seek_end()
    tailer.wait(1)
    pipe.send("ready")
    parts: list[np.ndarray] = []
    seen = 0
    while seen < count:
        if tailer.wait(1_000_000_000):
            while (window := tailer.next_window()) is not None:
                now = time.monotonic_ns()
                stamps = np.frombuffer(window.memory, np.int64).reshape(-1, 8)[:, 1]
                parts.append(now - stamps)
                seen += len(stamps)
    times: list[int] = np.concatenate(parts).tolist()
    return times
