"""kill -9 at random moments, with several writers and readers: nothing is lost, doubled or torn, nothing to repair.

One writer owns the queue, another waits for the lock, two readers follow, one of them by name. Each cycle kills one
of them at random and starts it again. Writers are forks of one process that has everything loaded, so that a cycle
costs milliseconds and thousands can be run.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from chronicle.core import Queue
from chronicle.core.layout import SegmentState
from chronicle.core.registry import load_position
from chronicle.core.tailer import Tailer
from tests.crash.process import SEGMENT_BYTES, append_something, become_writer, check_event
from tests.support.survival import fast_folder

CYCLES = 100
SOAK_CYCLES = 10_000
CHECK_EVERY = 25
AHEAD = 2_000
"""Records that writers may be ahead of what a cycle waits for: they must not fill the memory while readers start."""
ALLOWED = 4
"""The board's row that says how far writers may go."""


class Board:
    """Shared memory in which a process says how far it came: a row of 8 bytes each.

    A row is stored by one instruction (``struct`` stores byte by byte: a death or a look between two of them would
    show a number that nobody said).
    """

    def __init__(self, rows: int) -> None:
        self.rows = memoryview(mmap.mmap(-1, rows * 8)).cast("q")

    def put(self, row: int, value: int) -> None:
        self.rows[row] = value

    def get(self, row: int) -> int:
        return self.rows[row]


def spawn(work: Callable[[], None]) -> int:
    """Fork a process that works until it is killed; an exception ends it with 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


class Cast:
    """The processes of a run: two writers (rows 0 and 1 of the board) and two readers (rows 2 and 3)."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self.board = Board(5)
        self.rng = rng
        self.pids = [0, 0, 0, 0]

    def start(self, role: int) -> None:
        seed = self.rng.randrange(1 << 30)
        works = (self.write, self.write, self.read, self.read)
        self.pids[role] = spawn(lambda: works[role](role, seed))

    def write(self, role: int, seed: int) -> None:
        rng = random.Random(seed)
        appender = become_writer(Queue.open(self.path))
        while True:
            while appender.next_index >= self.board.get(ALLOWED):
                signal.sigtimedwait([], 0.0001)
            append_something(appender, rng)
            self.board.put(role, appender.next_index)

    def read(self, role: int, seed: int) -> None:
        tailer = Tailer(Queue.open(self.path), "named" if role == 2 else None)
        if role == 3:
            tailer.seek_end()
        expected = tailer.index
        while True:
            records = tailer.next_event()
            if records is None:
                tailer.wait(50_000_000)
                continue
            check_event(records, expected)
            expected += len(records)
            self.board.put(role, expected)
            if role == 2 and seed % 3:
                tailer.commit()

    def kill(self, role: int) -> None:
        """kill -9; it must have been alive: a reader or writer that failed by itself has seen something wrong."""
        self.look()
        os.kill(self.pids[role], signal.SIGKILL)
        os.waitpid(self.pids[role], 0)
        self.pids[role] = 0

    def look(self) -> None:
        """Fail when one ended by itself."""
        for role, pid in enumerate(self.pids):
            ended, status = os.waitpid(pid, os.WNOHANG) if pid else (0, 0)
            if ended:
                self.pids[role] = 0
            assert ended == 0, f"process {role} ended by itself ({status}): its traceback is on stderr"

    def pause(self) -> None:
        """Stop the writers where they stand: a check of everything must not chase what they append meanwhile."""
        for pid in self.pids[:2]:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self.pids[:2]:
            os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill all, whatever became of each: none may stay behind."""
        pids = [pid for pid in self.pids if pid]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def promised(cast: Cast) -> int:
    return max(cast.board.get(role) for role in range(4))


def check_from(queue: Queue, start: int | None) -> int:
    """Read from record `start` (None: the first kept) to the end, which is returned; every event is whole and stands
    where it must."""
    least = queue.end_index()
    tailer = queue.tailer()
    if start is not None:
        tailer.seek_index(start)
    expected = tailer.index
    while (records := tailer.next_event()) is not None:
        check_event(records, expected)
        expected += len(records)
    assert expected >= least
    return expected


def kill_cycles(folder: Path, cycles: int) -> None:
    rng = random.Random(20261121)
    path = folder / "q.q"
    queue = Queue.create(path, segment_bytes=SEGMENT_BYTES)
    append_and_forget(queue)
    cast = Cast(path, rng)
    checked = 0
    try:
        for role in range(4):
            cast.start(role)
        for cycle in range(cycles):
            wait_for_progress(cast, rng.randrange(1, 30))
            role = rng.choice((0, 0, 1, 1, 2, 3))
            cast.kill(role)
            least = promised(cast)
            assert queue.end_index() >= least, f"cycle {cycle}: a committed record was lost"
            cast.start(role)
            if cycle % CHECK_EVERY == CHECK_EVERY - 1:
                cast.pause()
                checked = check_from(queue, checked)
                drop_old(queue, cast)
                cast.resume()
    finally:
        cast.end()
    check_from(queue, checked)
    check_from(queue, None)
    with queue.appender() as appender:
        assert appender.next_index >= promised(cast)
    print(f"{cycles} kills, {queue.end_index()} records")


def append_and_forget(queue: Queue) -> None:
    """Load and compile everything here, once, before the first fork."""
    rng = random.Random(1)
    with queue.appender() as appender:
        while appender.next_index < 2_000:
            append_something(appender, rng)
    check_from(queue, None)


def wait_for_progress(cast: Cast, records: int) -> None:
    """Let the writers append some more; one that does not is a hang, one that ended by itself a failure."""
    start = promised(cast)
    cast.board.put(ALLOWED, start + records + AHEAD)
    while promised(cast) < start + records:
        cast.look()
        os.sched_yield()
        signal.sigtimedwait([], 0.0001)


def drop_old(queue: Queue, cast: Cast) -> None:
    """Remove what every reader has behind it, so that a long run needs little space.

    The reader without a name may be anywhere from where it was last heard of.
    """
    read = min(load_position(queue.path, "named") or 0, cast.board.get(3))
    for info in queue.segments()[:-2]:
        if info.state is SegmentState.SEALED and info.end_index <= read:
            Path(info.location).unlink()


def test_killed_processes_lose_double_and_tear_nothing() -> None:
    with fast_folder() as folder:
        kill_cycles(folder, CYCLES)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_processes_lose_double_and_tear_nothing_ten_thousand_times() -> None:
    with fast_folder() as folder:
        kill_cycles(folder, SOAK_CYCLES)
