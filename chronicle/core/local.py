"""The segments of a home folder on this host, as a SegmentSource."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from chronicle.core.errors import NotFoundError
from chronicle.core.paths import QUEUE_SUFFIX
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.core.queue_folder import QueueFolder
from chronicle.core.retention import retirements
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentInfo

__all__ = ["LocalSource", "QueueSource"]

QUEUE_ROOTS = ("raw", "wire", "clean", "etl", "control")
_DEPTH_MAX = 4


class LocalSource:
    """Finds queues under a home: ``raw wire clean etl control``, links followed.

    Parameters
    ----------
    home : Path
        The home folder; it may be empty or absent (then there are no queues).
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        self._home = str(home)
        self._opened: dict[str, tuple[tuple[int, int], Queue]] = {}

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues that start with `prefix`, sorted; only the folder it names is walked."""
        return sorted(name for name in self._walk(prefix) if name.startswith(prefix))

    def has_queues(self) -> bool:
        """Return whether there is a queue at all; the walk ends with the first one."""
        return next(self._walk(""), None) is not None

    def _walk(self, prefix: str) -> Iterator[str]:
        folder = prefix.rpartition("/")[0]
        if "/" in folder and folder.partition("/")[0] in QUEUE_ROOTS:
            yield from _queues_in(f"{self._home}/{folder}", folder, folder.count("/") + 1)
            return
        for root in QUEUE_ROOTS:
            if prefix.startswith(f"{root}/") or f"{root}/".startswith(prefix):
                yield from _queues_in(f"{self._home}/{root}", root, 1)

    def queue(self, name: str) -> Queue:
        """Open a queue by name.

        Raises
        ------
        NotFoundError
            When this home has none of that name.
        """
        try:
            stat = os.stat(f"{self._home}/{name}/{SETTINGS_NAME}")
        except (OSError, ValueError):
            return Queue.open(self.home / name, name=name)  # its error says what is wrong
        made = stat.st_ino, stat.st_mtime_ns
        opened = self._opened.get(name)
        if opened is None or opened[0] != made:
            opened = self._opened[name] = (made, Queue.open(self.home / name, name=name))
        return opened[1]

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the local segments of `queue`; none for a queue that is not here."""
        try:
            return self.queue(queue).segments()
        except NotFoundError:
            return []

    def sealed_end(self, queue: str) -> int:
        """Return the index up to which the queue's own mark says it was sealed; 0 where all of that was retired."""
        try:
            end = self.queue(queue).tail_mark().next_base_index
        except NotFoundError:
            return 0
        return end if end > self.retired_end(queue) else 0

    def retired_end(self, queue: str) -> int:
        """Return the index below which retention removed the queue's records; 0 when it removed none."""
        return max((int(entry["first_index"]) for entry in retirements(self.home / queue)), default=0)

    def open(self, queue: str, number: int) -> LocalSegment:
        """Open a local segment."""
        return self.queue(queue).open_segment(number)


class QueueSource:
    """One queue's folder as a SegmentSource, wherever it lies.

    Parameters
    ----------
    queue : QueueFolder
        The queue; whatever name is asked for, it answers.
    """

    def __init__(self, queue: QueueFolder) -> None:
        self._queue = queue

    def queues(self, prefix: str = "") -> list[str]:
        """Return the queue's name, if it starts with `prefix`."""
        return [self._queue.name] if self._queue.name.startswith(prefix) else []

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the local segments."""
        return self._queue.segments()

    def sealed_end(self, queue: str) -> int:
        """Return the index up to which the queue's own mark says it was sealed."""
        return self._queue.tail_mark().next_base_index

    def open(self, queue: str, number: int) -> LocalSegment:
        """Open a local segment."""
        return self._queue.open_segment(number)


def _queues_in(folder: str, name: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            below = [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in below:
        if entry.endswith(QUEUE_SUFFIX):
            if os.path.exists(f"{folder}/{entry}/{SETTINGS_NAME}"):
                yield f"{name}/{entry}"
        elif depth < _DEPTH_MAX:
            yield from _queues_in(f"{folder}/{entry}", f"{name}/{entry}", depth + 1)
