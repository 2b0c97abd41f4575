"""What a writer of large segments has done off its append path: the next segment's space, and sealing.

Reserving and faulting in 64 MiB costs tens of ms, sealing it as much again; both would stall a feed. A thread does
them: it prepares a blank file when the open segment is half full, and seals what has rolled. Small segments (clean
queues) are handled in place; they cost less than handing them over.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue as handover
import threading
from collections.abc import Callable
from pathlib import Path

from chronicle.core.durable import TEMPORARY_PREFIX
from chronicle.core.errors import ChronicleError, StoreError
from chronicle.core.mapping import map_file, populate
from chronicle.core.seal import seal_segment

__all__ = ["BACKGROUND_BYTES_MIN", "Housekeeper"]

BACKGROUND_BYTES_MIN = 16 * 1024 * 1024
_TASKS_MAX = 8


class Housekeeper:
    """One daemon thread with a bounded list of tasks; its errors are raised where the writer asks next."""

    def __init__(self, folder: Path, queue: str) -> None:
        self._folder = folder
        self._queue = queue
        self._tasks: handover.Queue[Callable[[], None] | None] = handover.Queue(_TASKS_MAX)
        self._error: ChronicleError | None = None
        self._blank: tuple[Path, int] | None = None
        self._blank_lock = threading.Lock()
        self._blank_numbers = itertools.count()
        self._asked_bytes = 0
        self._rolled: list[Path] = []
        self._thread = threading.Thread(target=self._run, name=f"housekeeper {queue}", daemon=True)
        self._thread.start()

    def seal(self, path: Path) -> None:
        """Seal a rolled segment soon. Blocks only when eight seals are behind.

        Raises
        ------
        ChronicleError
            What an earlier task met: the queue goes on, the operator must know.
        """
        self._tasks.put(lambda: self._seal(path))
        self.check()

    def prepare(self, size_bytes: int) -> None:
        """Have a blank, reserved and faulted-in file of `size_bytes` at hand soon."""
        if self._asked_bytes != size_bytes:
            self._asked_bytes = size_bytes
            self._tasks.put(lambda: self._prepare(size_bytes))

    def take_blank(self, size_bytes: int) -> Path | None:
        """Return the prepared file when it is ready and of that size; the caller renames it."""
        with self._blank_lock:
            blank, self._asked_bytes = self._blank, 0
            if blank is None or blank[1] != size_bytes:
                return None
            self._blank = None
        return blank[0]

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
            self._tasks.put(self._seal_rolled)
            self._tasks.join()
            self.check()

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._tasks.put(None)
        self._thread.join()
        if self._blank is not None:
            with contextlib.suppress(OSError):
                self._blank[0].unlink()
            self._blank = None
        self.check()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except ChronicleError as error:
                self._error = error
            finally:
                self._tasks.task_done()

    def _seal(self, path: Path) -> None:
        import chronicle.core.kernels.walking  # noqa: F401 - the seek index of a large segment, without the GIL

        self._rolled.append(path)
        self._seal_rolled()

    def _seal_rolled(self) -> None:
        while self._rolled:  # also those that an earlier try found no space for
            seal_segment(self._rolled[0], queue=self._queue)
            del self._rolled[0]

    def _prepare(self, size_bytes: int) -> None:
        if self._blank is not None and self._blank[1] == size_bytes:
            return
        # A name of its own for each: the one before may just be on its way to becoming a segment.
        path = self._folder / f"{TEMPORARY_PREFIX}blank{next(self._blank_numbers)}-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
                populate(map_file(descriptor, size_bytes, writable=True))
            finally:
                os.close(descriptor)
        except (OSError, StoreError):
            with contextlib.suppress(OSError):
                path.unlink()
            return  # the roll makes the file itself, and meets the error itself should it last
        with self._blank_lock:
            unused, self._blank = self._blank, (path, size_bytes)
        if unused is not None:
            with contextlib.suppress(OSError):
                unused[0].unlink()
