"""What a queue's folder holds: its segment files, where they begin and end, and their last record.

Readers, recovery, retention and the watermarks need only this; :class:`chronicle.core.queue.Queue` adds appenders and
tailers.
"""

from __future__ import annotations

import os
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durable import file_error
from chronicle.core.errors import NotFoundError
from chronicle.core.layout import SegmentState
from chronicle.core.queue_settings import QueueSettings
from chronicle.core.records import Record
from chronicle.core.segment import LocalSegment
from chronicle.core.segment_header import read_header
from chronicle.core.source import SegmentInfo
from chronicle.core.tail_mark import TailMark, read_tail_mark

__all__ = ["QueueFolder", "segment_info"]

_SUFFIXES = (layout.SEGMENT_OPEN_SUFFIX, layout.SEGMENT_SEALED_SUFFIX)


class QueueFolder:
    """The segments of a queue on this host.

    Attributes
    ----------
    path : Path
        The folder ``NAME.q``.
    settings : QueueSettings
        What was fixed when the queue was created.
    """

    def __init__(self, path: Path, settings: QueueSettings) -> None:
        self.path = path
        self.settings = settings

    @property
    def name(self) -> str:
        """The queue's name: its path relative to the home."""
        return self.settings.name

    @property
    def generation(self) -> int:
        """Counts re-creations of the queue."""
        return self.settings.generation

    def segment_files(self) -> dict[int, Path]:
        """Return {number: path}; where both forms stand, the sealed one is published."""
        files: dict[int, Path] = {}
        try:
            names = sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError("there is no queue", path=self.path) from error
        except OSError as error:
            raise file_error(error, "list the queue's segments", self.path) from error
        for name in names:
            stem, dot, suffix = name.partition(".")
            if len(stem) != 10 or not stem.isdigit() or f"{dot}{suffix}" not in _SUFFIXES:
                continue
            number = int(stem)
            if number not in files or f".{suffix}" == layout.SEGMENT_SEALED_SUFFIX:
                files[number] = self.path / name
        return dict(sorted(files.items()))

    def segments(self) -> list[SegmentInfo]:
        """Return the segments on this host, in order; one that moves away meanwhile is left out."""
        found = (self._look(path) for path in self.segment_files().values())
        return [info for info in found if info is not None]

    def open_segment(self, number: int) -> LocalSegment:
        """Map a segment for reading.

        Raises
        ------
        NotFoundError
            When this host does not hold it (any more).
        """
        for state in (SegmentState.SEALED, SegmentState.OPEN, SegmentState.SEALED):
            path = self.path / layout.segment_name(number, state)
            try:
                return LocalSegment(path, queue=self.name)
            except NotFoundError:
                continue  # in the other state, or moved away
        raise NotFoundError(
            f"segment {number} of {self.name} is not on this host",
            path=self.path,
            hint="open the home with chronicle.open: it knows the other tiers",
        )

    def tail_mark(self) -> TailMark:
        """Return where the queue continues after its last sealed segment."""
        return read_tail_mark(self.path)

    def end_index(self) -> int:
        """Return the index the next record will get (the committed watermark)."""
        return self._end()[0]

    def last_ts_recv(self) -> int:
        """Return the ts_recv of the last committed record; INT64_MIN when there is none."""
        return self._end()[1]

    def first_index(self) -> int:
        """Return the index of the first record still on this host (the end index when there is none)."""
        for path in self.segment_files().values():
            info = self._look(path)
            if info is not None:
                return info.base_index
        return self.tail_mark().next_base_index

    def last_record(self) -> Record | None:
        """Return the last committed record on this host, or None."""
        for number in reversed(self.segment_files()):
            with self.open_segment(number) as segment:
                record = segment.last_record()
                if record is not None:
                    return record
        return None

    def _look(self, path: Path) -> SegmentInfo | None:
        """Return what a listed segment holds; None when it went to another tier since the listing."""
        for candidate in (path, path.with_suffix(layout.SEGMENT_SEALED_SUFFIX)):
            try:
                return segment_info(candidate, self.name)
            except NotFoundError:
                continue  # sealed (the other name) or moved meanwhile
        return None

    def _end(self) -> tuple[int, int]:
        mark = self.tail_mark()
        for path in reversed(self.segment_files().values()):
            info = self._look(path)
            if info is not None and info.record_count:
                return info.end_index, info.ts_last
        return mark.next_base_index, mark.last_ts_recv


def segment_info(path: Path, queue: str, place: str = "hot") -> SegmentInfo:
    """Return what is known of a segment file; a sealed one is not mapped for it."""
    if path.suffix == layout.SEGMENT_SEALED_SUFFIX:
        header = read_header(path)
        if header.state is SegmentState.SEALED:
            return SegmentInfo(
                queue=queue,
                number=header.number,
                generation=header.generation,
                base_index=header.base_index,
                record_count=header.record_count,
                ts_first=header.ts_first,
                ts_last=header.ts_last,
                state=header.state,
                data_bytes=header.data_bytes - layout.ROLL_BYTES,
                size_bytes=header.file_bytes,
                place=place,
                location=str(path),
            )
    with LocalSegment(path, queue=queue, place=place) as segment:
        return segment.info
