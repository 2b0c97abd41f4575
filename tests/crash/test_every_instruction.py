"""A writer killed at any instruction, and so at any store: what is committed is all there, once, and whole.

A child is single-stepped through one call. What kill -9 leaves is what stands in the shared files, so after every
instruction that changed a segment, and after every system call, a copy of the folder is given to readers and to the
next writer. Nothing is sampled.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.dtypes import DTYPES
from chronicle.core.layout import SEEK_INTERVAL_BYTES, Flag
from chronicle.core.mapping import MemoryMap, map_file
from tests.support.ptrace import FILE_CALLS, Stop, needs_ptrace, stopped
from tests.support.queues import contents, event, small_queue
from tests.support.survival import assert_survives, fast_folder

__all__ = ["needs_ptrace"]

READING_CALLS = {
    "read",
    "stat",
    "fstat",
    "lstat",
    "lseek",
    "pread64",
    "getdents64",
    "newfstatat",
    "statx",
    "mmap",
    "madvise",
}
_memcmp = ctypes.PyDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]

Call = Callable[[Appender], object]
CHANGING_CALLS = [number for number, name in FILE_CALLS.items() if name not in READING_CALLS]
MARK_CALL = 110
"""getppid: what the child calls between becoming the writer and appending."""
QUIET_INSTRUCTIONS = 3_000
"""An append is over when so many instructions in a row changed nothing."""


class Watched:
    """The open segments of a folder, and what they held when last looked at."""

    def __init__(self, folder: Path) -> None:
        self.maps: list[tuple[MemoryMap, bytes]] = []
        for path in sorted(folder.glob("*.open")):
            descriptor = os.open(path, os.O_RDONLY)
            mapping = map_file(descriptor, os.fstat(descriptor).st_size, writable=False)
            os.close(descriptor)
            self.maps.append((mapping, bytes(mapping.memory)))

    def changed(self) -> bool:
        """Whether a mapped byte differs since the last look."""
        found = False
        for number, (mapping, held) in enumerate(self.maps):
            if _memcmp(mapping.address, held, mapping.length):
                self.maps[number] = (mapping, bytes(mapping.memory))
                found = True
        return found


def batch() -> np.ndarray:
    """Three events of three deltas."""
    rows = np.zeros(9, DTYPES[Kind.BOOK_DELTA])
    rows["length"], rows["kind"], rows["ts_recv"] = 80, Kind.BOOK_DELTA, 10**6
    rows["price"], rows["sequence"] = np.arange(9), np.arange(9) + 7
    rows["flags"][2::3] = Flag.LAST
    return rows


def fill(appender: Appender, size: int) -> None:
    """Append events until the open segment holds `size` bytes of records."""
    number = appender.next_index
    written = 0
    while written + 240 <= size:
        number += 1
        data, count = event(number, 3, price=number)
        appender.append_event(data, count)
        written += len(data)


def reserve(appender: Appender) -> None:
    """Build a record's body in the segment itself."""
    with appender.reserve(Kind.WIRE, 300, ts_recv=10**6) as body:
        body[:] = bytes(range(1, 201)) + bytes(100)


CALLS: dict[str, tuple[int, Call]] = {
    # name: bytes in the segment before, and the call
    "append": (400, lambda appender: appender.append(Kind.WIRE, bytes(range(1, 200)), ts_recv=10**6)),
    "recorder": (400, lambda appender: appender.recorder(Kind.WIRE, 199)(10**6, bytes(range(1, 200)))),
    "append_event": (SEEK_INTERVAL_BYTES, lambda appender: appender.append_event(*event(10**6, 4))),
    "append_many": (SEEK_INTERVAL_BYTES, lambda appender: appender.append_many(batch())),
    "append_first": (0, lambda appender: appender.append(Kind.STATUS, b"first", ts_recv=1)),
    "reserve": (400, reserve),
    "roll": (65_000, lambda appender: appender.append(Kind.WIRE, bytes(range(256)) * 4, ts_recv=10**6)),
    "seal": (3_000, lambda appender: appender.seal()),
}


class Scene:
    """A queue before a call, what it holds after it, and the check of any state between."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        size, self.call = CALLS[name]
        self.queue = small_queue(folder)
        with self.queue.appender() as appender:
            fill(appender, size)
        self.before = len(contents(self.queue))
        rehearsal = folder / "rehearsal.q"  # it also loads and compiles what is needed
        shutil.copytree(self.queue.path, rehearsal)
        with Queue.open(rehearsal).appender() as appender:
            self.call(appender)
        self.truth = contents(Queue.open(rehearsal))
        self.states = 0

    def work(self) -> None:
        """Become the writer, mark the place by a harmless call, append, and end at once."""
        appender = self.queue.appender()
        os.getppid()
        self.call(appender)
        os._exit(0)

    def check(self, where: str) -> None:
        """Give a copy of the folder, as it is now, to readers and to the next writer."""
        state = self.folder / "state.q"
        shutil.copytree(self.queue.path, state)
        assert_survives(state, self.truth, self.before, f"{self.name} {where}")
        shutil.rmtree(state)
        self.states += 1


@pytest.mark.usefixtures("needs_ptrace")
@pytest.mark.parametrize("name", CALLS)
def test_killed_at_any_store_or_call_loses_doubles_and_tears_nothing(name: str) -> None:
    """From taking the lock to the end: recovery, the call, rolls and seals; before and after every store and call."""
    stores = calls = 0
    with fast_folder() as folder:
        scene = Scene(folder, name)
        with stopped(lambda: scene.work) as child:
            while (stop := child.go(stores=True)) is not Stop.EXIT:
                if stop is Stop.STORE:
                    child.store()
                    stores += 1
                    scene.check(f"after store {stores}")
                elif stop is Stop.LEAVE and child.registers().orig_rax in CHANGING_CALLS:
                    calls += 1
                    scene.check(f"after call {calls}")
            assert child.exit_code == 0
        assert contents(scene.queue) == scene.truth
    print(f"{name}: {stores} stores, {calls} calls")
    assert stores >= 5


@pytest.mark.usefixtures("needs_ptrace")
@pytest.mark.parametrize("name", ["append", "append_event", "append_many", "recorder", "reserve"])
def test_killed_at_any_instruction_of_an_append(name: str) -> None:
    """Single steps from the first store on; the instructions before it change nothing that outlives the process."""
    instructions = 0
    with fast_folder() as folder:
        scene = Scene(folder, name)
        with stopped(lambda: scene.work) as child:
            marked = False
            while (stop := child.go(stores=True)) is not Stop.STORE or not marked:
                if stop is Stop.STORE:
                    child.store()
                marked = marked or (stop is Stop.ENTER and child.registers().orig_rax == MARK_CALL)
            child.unprotect()
            watched = Watched(scene.queue.path)
            quiet = 0
            alive = True
            while quiet < QUIET_INSTRUCTIONS and (alive := child.step()):
                instructions += 1
                quiet += 1
                if watched.changed():
                    scene.check(f"after instruction {instructions}")
                    quiet = 0
            if alive:
                child.run_out()
            assert child.exit_code == 0
        assert contents(scene.queue) == scene.truth
    print(f"{name}: {instructions} instructions, {scene.states} states")
    assert scene.states >= 3
