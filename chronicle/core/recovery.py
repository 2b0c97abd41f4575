"""What a new writer does first: find the tail, tell a torn event from damage, and clean up after a dead writer.

Torn tail (normal): the first commit word after the last event is zero and no seek entry points past it; whatever
bytes the dead writer had already copied there are zeroed. Damage (an error with its offset): an impossible word, or
a seek entry past the tail: records that were committed are gone, and only an explicit repair may cut there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durable import TEMPORARY_PREFIX, file_error, file_errors, remove_file
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import SegmentState
from chronicle.core.mapping import MemoryMap, map_file
from chronicle.core.queue_folder import QueueFolder, segment_info
from chronicle.core.reserving import data_ranges
from chronicle.core.scan import walk_far
from chronicle.core.seal import seal_segment
from chronicle.core.seeking import seek_index
from chronicle.core.segment import LocalSegment
from chronicle.core.segment_header import SegmentHeader
from chronicle.core.source import SeekPoint
from chronicle.core.tail_mark import TailMark, write_tail_mark

__all__ = ["Tail", "map_tail", "recover"]

_ZERO_CHUNK = bytes(1 << 20)
_LOOKS_MAX = 100


class _MovedError(Exception):
    """A sealed segment is gone since the folder was listed."""


@dataclass(slots=True)
class Tail:
    """Where the next record goes. `path` is None when the next append starts a new segment."""

    path: Path | None
    next_number: int
    next_index: int
    last_ts_recv: int
    previous_bytes: int = 0
    """Bytes of the records in the segment before the tail's."""

    def mark(self) -> TailMark:
        """Return what is to be remembered when the tail is no open segment."""
        return TailMark(self.next_number, self.next_index, self.last_ts_recv, self.previous_bytes)


def recover(queue: QueueFolder) -> Tail:
    """Bring a queue's folder in order and return its tail. The caller holds the writer lock.

    Raises
    ------
    CorruptionError
        When committed records are damaged: path, offset, and what to do.
    """
    _remove_leftovers(queue)
    for _ in range(_LOOKS_MAX):
        try:
            return _recover(queue)
        except _MovedError:
            continue  # retention or the tiering agent took a segment between the listing and the look
    raise NotFoundError("the queue's segments vanish as they are looked at", path=queue.path)


def _recover(queue: QueueFolder) -> Tail:
    mark = queue.tail_mark()
    files = queue.segment_files()
    tail = Tail(None, mark.next_number, mark.next_base_index, mark.last_ts_recv, mark.last_data_bytes)
    sealed = {number for number, path in files.items() if path.suffix == layout.SEGMENT_SEALED_SUFFIX}
    for number, path in files.items():
        if number in sealed:
            if number + 1 in sealed:
                continue  # the next one knows where it ended
            try:
                info = segment_info(path, queue.name)
            except NotFoundError as error:
                raise _MovedError from error
            if number >= tail.next_number:
                last_ts = max(info.ts_last, tail.last_ts_recv)
                tail = Tail(None, number + 1, info.end_index, last_ts, info.data_bytes)
            continue
        with LocalSegment(path, queue=queue.name) as segment:
            _, _, rolled = segment.extent()
            info = segment.info
        if tail.path is not None:
            _remove_unreachable(path, info.record_count, rolled=rolled)
            continue
        last_ts = info.ts_last if info.record_count else tail.last_ts_recv
        if rolled:
            seal_segment(path, queue=queue.name)
            tail = Tail(None, number + 1, info.end_index, last_ts, info.data_bytes)
        else:
            tail = Tail(path, number, info.end_index, last_ts, tail.previous_bytes)
    if tail.path is None and tail.next_number != mark.next_number:
        write_tail_mark(queue.path, tail.mark())
    return tail


def map_tail(path: Path) -> tuple[SegmentHeader, MemoryMap, int, int, list[SeekPoint]]:
    """Map an open segment for writing and make its tail clean.

    Returns
    -------
    tuple
        Header, map, end offset, end index, and the seek points as they should stand (and now do).

    Raises
    ------
    CorruptionError
        See the module's text.
    """
    with LocalSegment(path, queue=path.parent.name) as segment:
        header = segment.header
        published = list(segment.seek_points())
    mapping = _map_writable(path)
    end, end_index, _ = _walk_all(mapping, header, path)
    if published and published[-1].offset >= end:
        raise CorruptionError(
            "committed records are missing before the end of the segment",
            path=path,
            offset=end,
            expected=f"an event at offset {published[-1].offset}, as its seek index says",
            found="no commit word here",
            hint="chronicle queue check shows the extent; chronicle queue repair cuts the segment here",
        )
    with file_errors("read a segment", path):
        for first, last in data_ranges(path, end, header.data_limit):
            _zero(mapping, first, last)
    points = seek_index(mapping.words, header.data_offset, end, header.base_index)[: header.seek_capacity]
    _write_points(header, mapping, points, published)
    return header, mapping, end, end_index, points


def _map_writable(path: Path) -> MemoryMap:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError("the open segment vanished", path=path) from error
    except OSError as error:
        raise file_error(error, "open a segment for writing", path) from error
    try:
        with file_errors("map a segment for writing", path):
            return map_file(descriptor, os.fstat(descriptor).st_size, writable=True)
    finally:
        os.close(descriptor)


def _walk_all(mapping: MemoryMap, header: SegmentHeader, path: Path) -> tuple[int, int, bool]:
    try:
        return walk_far(mapping, header.data_offset, header.base_index, header.data_limit)
    except CorruptionError as error:
        error.path = str(path)
        raise


def _write_points(
    header: SegmentHeader, mapping: MemoryMap, points: list[SeekPoint], published: list[SeekPoint]
) -> None:
    """Add what the dead writer did not; entries that readers count on are rewritten only after they are withdrawn."""
    sound = len(published) if points[: len(published)] == published else 0
    if sound < len(published):
        mapping.words[layout.SEGMENT_SEEK_COUNT_OFFSET >> 3] = 0
    position = header.seek_offset + sound * layout.SEEK_ENTRY_BYTES
    for point in points[sound:]:
        layout.SEEK_ENTRY.pack_into(mapping.memory, position, point.index, point.offset, point.ts_recv, point.kind)
        position += layout.SEEK_ENTRY_BYTES
    mapping.words[layout.SEGMENT_SEEK_COUNT_OFFSET >> 3] = len(points)


def _zero(mapping: MemoryMap, start: int, end: int) -> None:
    """Zero what a torn event left; clean pages are only read."""
    for position in range(start, end, len(_ZERO_CHUNK)):
        size = min(len(_ZERO_CHUNK), end - position)
        chunk = mapping.memory[position : position + size]
        zeros = _ZERO_CHUNK if size == len(_ZERO_CHUNK) else bytes(size)
        if bytes(chunk) != zeros:  # (a copy: views are compared item by item)
            chunk[:] = zeros


def _remove_unreachable(path: Path, record_count: int, *, rolled: bool) -> None:
    """Remove the next segment of a writer that died between creating it and committing the ROLL."""
    if record_count or rolled:
        raise CorruptionError(
            "a segment has records but the one before it has no ROLL",
            path=path,
            offset=0,
            expected="an empty segment prepared ahead",
            found=f"{record_count} records",
            hint="the segment before it was truncated or zeroed: restore it, or chronicle queue repair",
        )
    remove_file(path)


def _remove_leftovers(queue: QueueFolder) -> None:
    """Remove temporary files of dead processes, and open files whose sealed form is published."""
    with file_errors("list the queue's folder", queue.path):
        entries = sorted(os.listdir(queue.path))
    for entry in entries:
        stem, _, suffix = entry.rpartition(".")
        if entry.startswith(TEMPORARY_PREFIX):
            pid = entry.rpartition("-")[2]
            if not (pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()):
                remove_file(queue.path / entry)
        elif f".{suffix}" == layout.SEGMENT_OPEN_SUFFIX and stem.isdigit():
            sealed = queue.path / layout.segment_name(int(stem), SegmentState.SEALED)
            if sealed.exists():
                remove_file(queue.path / entry)
