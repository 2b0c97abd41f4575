"""A small writer's life, for tests that kill it or fail one of its system calls: every kind of step once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.errors import ChronicleError
from tests.support.queues import event

__all__ = ["EVENTS", "Promise", "read_and_commit", "write_all"]

T = TypeVar("T")
EVENTS = [event(1_000 + number, number % 4 + 1, price=number) for number in range(24)]
"""What the script appends; before some of them it seals, syncs or forces a roll."""
BIG = 40_000
"""Two bodies of this size do not fit one segment of 64 KiB: the second rolls."""


class Promise:
    """A counter that outlives the process which raised it: the index that append has returned for."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory

    def keep(self, next_index: int) -> None:
        struct.pack_into("<q", self.memory, 0, next_index)

    def kept(self) -> int:
        value: int = struct.unpack_from("<q", self.memory)[0]
        return value


def write_all(path: Path, promise: Promise, attempts: int = 1) -> None:
    """Create the queue and write the script; each step may be tried again after an error of ours."""
    queue = again(lambda: Queue.create(path, segment_bytes=64 * 1024, exist_ok=True), attempts)
    appender = again(queue.appender, attempts)
    start = appender.next_index
    for number, (data, count) in enumerate(EVENTS):
        if number % 8 == 3:
            again(appender.seal, attempts)
        if number % 8 == 5:
            again(appender.sync, attempts)
        if number % 6 == 2:
            append_once(appender, lambda n=number: appender.append(Kind.WIRE, bytes([n]) * BIG, ts_recv=n), attempts)
        append_once(appender, lambda d=data, c=count: appender.append_event(d, c), attempts)
        promise.keep(appender.next_index - start)
    again(appender.close, attempts)


def append_once(appender: Appender, call: Callable[[], int], attempts: int) -> None:
    """Append, and again after an error of ours: an append that raised has appended nothing."""
    before = appender.next_index
    index = again(call, attempts)
    assert index == before, f"append returned {index}, {before} was next"


def again(call: Callable[[], T], attempts: int) -> T:
    """Return what `call` returns; after an error of ours try again, `attempts` times in all."""
    for attempt in range(attempts):
        try:
            return call()
        except ChronicleError:
            if attempt == attempts - 1:
                raise
    raise AssertionError("no attempt")


def read_and_commit(path: Path, attempts: int = 1) -> None:
    """Read with a named tailer, wait for what does not come, and persist the position now and then."""
    tailer = again(lambda: Queue.open(path).tailer("strategy"), attempts)
    for number in range(10):
        again(tailer.next_event, attempts)
        if number % 3 == 2:
            again(tailer.commit, attempts)
    again(lambda: tailer.wait(1_000), attempts)
    tailer.close()
