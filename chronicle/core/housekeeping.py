"""What a writer of large segments has done off its append path: the next segment's space, and sealing.

Reserving and faulting in 64 MiB costs tens of ms, sealing it as much again; both would stall a feed. A thread does
them (:mod:`chronicle.core.crew`): it prepares a blank file, mapped and faulted in, soon after a roll, and seals what
has rolled. Small segments (quiet clean queues) are handled in place.

The thread shares the interpreter with the appends. It holds it for some tens of us at a time: what takes longer
happens in C functions that give it up, and between two of them it asks whether somebody waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

from chronicle.core.clock import yield_to_threads
from chronicle.core.crew import Tasks
from chronicle.core.durable import TEMPORARY_PREFIX
from chronicle.core.errors import ChronicleError, StoreError
from chronicle.core.mapping import MemoryMap, map_file, populate
from chronicle.core.seal import Ended, seal_segment

__all__ = ["BACKGROUND_BYTES_MIN", "Housekeeper"]

BACKGROUND_BYTES_MIN = 1024 * 1024
_TASKS_MAX = 9
_HURRY_TASKS = 4
"""With so many tasks, the one under way among them, the thread no longer steps aside within one."""


class Housekeeper:
    """A queue's bounded list of tasks for a thread; their errors are raised where the writer asks."""

    def __init__(self, folder: Path, queue: str, *, in_memory: bool) -> None:
        self._folder = folder
        self._queue = queue
        self._tasks = Tasks(_TASKS_MAX)
        self._error: ChronicleError | None = None
        self._in_memory = in_memory
        self._blank: tuple[Path, MemoryMap] | None = None
        self._blank_lock = threading.Lock()
        self._blank_numbers = itertools.count()
        self._asked_bytes = 0
        self._rolled: list[tuple[Path, Ended | None]] = []

    def seal(self, path: Path, ended: Ended | None = None, mapping: MemoryMap | None = None) -> None:
        """Seal a rolled segment soon, and let its map go after that. Blocks only when eight seals are behind.

        Raises
        ------
        ChronicleError
            What an earlier task met: the queue goes on, the operator must know.
        """
        self._submit(lambda: self._seal(path, ended, mapping))
        self.check()

    def prepare(self, size_bytes: int) -> None:
        """Have a blank, reserved and faulted-in file of `size_bytes` at hand soon."""
        if self._asked_bytes != size_bytes:
            self._asked_bytes = size_bytes
            self._submit(self._prepare_asked)

    def take_blank(self, size_bytes: int) -> tuple[Path, MemoryMap] | None:
        """Return the prepared file and its map when it is ready and of that size; the caller renames it."""
        with self._blank_lock:
            blank, self._asked_bytes = self._blank, 0
            if blank is None or blank[1].length != size_bytes:
                return None
            self._blank = None
        return blank

    def check(self) -> None:
        """Raise what a task met."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait until everything asked for is done.

        Raises
        ------
        ChronicleError
            What a task met.
        """
        self._tasks.join()
        self.check()
        if self._rolled:
            self._submit(self._seal_rolled)
            self._tasks.join()
            self.check()

    def close(self) -> None:
        """Finish what was asked for, and remove what was prepared and not taken."""
        self._tasks.join()
        if self._blank is not None:
            with contextlib.suppress(OSError):
                self._blank[0].unlink()
            self._blank = None
        self.check()

    def _submit(self, task: Callable[[], None]) -> None:
        def checked() -> None:
            try:
                task()
            except ChronicleError as error:
                self._error = error

        self._tasks.put(checked)

    def _breathe(self) -> None:
        """Step aside for whoever waits for the interpreter, and prepare a blank that the writer waits for more."""
        if len(self._tasks) < _HURRY_TASKS:
            yield_to_threads()
        self._prepare_asked()

    def _seal(self, path: Path, ended: Ended | None, mapping: MemoryMap | None) -> None:
        self._prepare_asked()
        self._rolled.append((path, ended))
        self._seal_rolled()

    def _seal_rolled(self) -> None:
        while self._rolled:  # also those that an earlier try found no space for
            path, ended = self._rolled[0]
            seal_segment(path, queue=self._queue, ended=ended, breathe=self._breathe)
            del self._rolled[0]

    def _prepare_asked(self) -> None:
        size_bytes = self._asked_bytes
        if size_bytes == 0 or (self._blank is not None and self._blank[1].length == size_bytes):
            return
        # A name of its own for each: the one before may just be on its way to becoming a segment.
        path = self._folder / f"{TEMPORARY_PREFIX}blank{next(self._blank_numbers)}-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                mapping = _reserved_map(descriptor, size_bytes, in_memory=self._in_memory)
            finally:
                os.close(descriptor)
        except (OSError, StoreError):
            with contextlib.suppress(OSError):
                path.unlink()
            return  # the roll makes the file itself, and meets the error itself should it last
        with self._blank_lock:
            unused, self._blank = self._blank, (path, mapping)
        if unused is not None:
            with contextlib.suppress(OSError):
                unused[0].unlink()


def _reserved_map(descriptor: int, size_bytes: int, *, in_memory: bool) -> MemoryMap:
    """Return the map of a new file, every page of it reserved and faulted in.

    In memory the faults are the reservation: to reserve first costs each page a second look-up, a sixth of it all.
    """
    if in_memory:
        os.ftruncate(descriptor, size_bytes)
        mapping = map_file(descriptor, size_bytes, writable=True)
        if not populate(mapping):  # no room, or a kernel before 5.14
            os.posix_fallocate(descriptor, 0, size_bytes)
        return mapping
    os.posix_fallocate(descriptor, 0, size_bytes)
    mapping = map_file(descriptor, size_bytes, writable=True)
    populate(mapping)
    return mapping
