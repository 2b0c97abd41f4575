"""The segments of a home folder on this host, as a SegmentSource."""

from __future__ import annotations

import os
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
        self._opened: dict[str, tuple[tuple[int, int], Queue]] = {}

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues that start with `prefix`, sorted; only the folder it names is walked."""
        found: list[str] = []
        folder = prefix.rpartition("/")[0]
        if "/" in folder and folder.partition("/")[0] in QUEUE_ROOTS:
            _collect(self.home / folder, folder, folder.count("/") + 1, found)
            return sorted(name for name in found if name.startswith(prefix))
        for root in QUEUE_ROOTS:
            if prefix.startswith(f"{root}/") or f"{root}/".startswith(prefix):
                _collect(self.home / root, root, 1, found)
        return sorted(name for name in found if name.startswith(prefix))

    def queue(self, name: str) -> Queue:
        """Open a queue by name.

        Raises
        ------
        NotFoundError
            When this home has none of that name.
        """
        folder = self.home / name
        try:
            stat = os.stat(folder / SETTINGS_NAME)
        except OSError:
            return Queue.open(folder, name=name)  # its error says what is wrong
        made = stat.st_ino, stat.st_mtime_ns
        opened = self._opened.get(name)
        if opened is None or opened[0] != made:
            opened = self._opened[name] = (made, Queue.open(folder, name=name))
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


def _collect(folder: Path, name: str, depth: int, found: list[str]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        if not entry.is_dir():
            continue
        child = f"{name}/{entry.name}"
        if entry.name.endswith(QUEUE_SUFFIX):
            if os.path.exists(os.path.join(entry.path, SETTINGS_NAME)):
                found.append(child)
        elif depth < _DEPTH_MAX:
            _collect(Path(entry.path), child, depth + 1, found)
