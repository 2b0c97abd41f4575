"""Checking a queue on this host byte by byte: what holds, and where the first bad byte is.

Nothing is changed and no error is raised for damage: it is the answer. A torn tail (a writer was killed in the
middle of an event) is normal and told apart from damage before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durable import file_error
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import NONE
from chronicle.core.queue_folder import QueueFolder
from chronicle.core.reserving import data_ranges
from chronicle.core.scan import walk
from chronicle.core.segment import LocalSegment

__all__ = ["SegmentCheck", "check_queue", "check_segment"]

_CHUNK_BYTES = 64 * layout.CHECKSUM_BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class SegmentCheck:
    """What the check of one segment file found.

    `problem` is empty when all is well. `bad_offset` is the file offset of the first byte that is not what it
    should be (NONE when there is none, or the file as a whole is meant). `torn_bytes` counts bytes of an event that
    was being written when the writer stopped: no record, no damage.
    """

    number: int
    path: Path
    state: str
    base_index: int
    record_count: int
    checked_bytes: int
    torn_bytes: int
    bad_offset: int
    problem: str

    @property
    def ok(self) -> bool:
        """Whether the segment is whole."""
        return not self.problem


def check_queue(queue: QueueFolder) -> list[SegmentCheck]:
    """Check every segment of `queue` that is on this host, and that their indexes join without a hole."""
    results: list[SegmentCheck] = []
    for path in queue.segment_files().values():
        result = check_segment(path, queue.name)
        if result.ok and results and results[-1].ok and not _joined(queue, results[-1], result):
            before = results[-1]
            message = (
                f"it starts at record {result.base_index}, but segment {before.number} ends before "
                f"record {before.base_index + before.record_count}"
            )
            result = replace(result, problem=message)
        results.append(result)
    return results


def _joined(queue: QueueFolder, before: SegmentCheck, after: SegmentCheck) -> bool:
    """Return whether `after` goes on where `before` ends; a live writer may have moved on since it was checked."""
    if before.state == "open":
        path = queue.segment_files().get(before.number, before.path)
        before = check_segment(path, queue.name)
    return (before.number + 1, before.base_index + before.record_count) == (after.number, after.base_index)


def check_segment(path: Path, queue: str) -> SegmentCheck:
    """Check one segment file: header, prologue, every block's checksum (sealed), every record's length."""
    state = "sealed" if path.suffix == layout.SEGMENT_SEALED_SUFFIX else "open"
    try:
        segment = LocalSegment(path, queue=queue)
    except ChronicleError as error:
        return _failed(path, state, error, error.offset)
    with segment:
        try:
            segment.prologue()
            return _check_records(segment, path, state)
        except ChronicleError as error:
            return _failed(path, state, error, error.offset)


def _check_records(segment: LocalSegment, path: Path, state: str) -> SegmentCheck:
    header = segment.header
    limit = header.data_limit
    if segment.is_sealed:
        limit = header.data_offset + header.data_bytes
        for start in range(0, header.footer_offset, _CHUNK_BYTES):
            segment.view(start, min(start + _CHUNK_BYTES, header.footer_offset))
    end, end_index, rolled = walk(segment.mapping, header.data_offset, header.base_index, limit)
    count = end_index - header.base_index
    if segment.is_sealed and (count != header.record_count or not rolled):
        message = f"its header counts {header.record_count} records, {count} are there"
        return _failed(path, state, ValueError(message), end)
    points = segment.seek_points()
    if not segment.is_sealed and points and points[-1].offset >= end:
        message = f"its seek index knows an event at offset {points[-1].offset}, but the records end before it"
        return _failed(path, state, ValueError(message), end)
    torn = 0 if segment.is_sealed or rolled else _nonzero_bytes(segment, end, limit)
    checked = header.file_bytes if segment.is_sealed else end
    return SegmentCheck(header.number, path, state, header.base_index, count, checked, torn, NONE, "")


def _nonzero_bytes(segment: LocalSegment, start: int, end: int) -> int:
    """Return how far non-zero bytes reach behind `start`: what a torn event left."""
    memory, last = segment.mapping.memory, start
    try:
        ranges = list(data_ranges(segment.path, start, end))  # (a look at a hole's map would ask for memory)
    except FileNotFoundError:
        return 0  # sealed meanwhile: nothing was torn
    except OSError as error:
        raise file_error(error, "read a segment", segment.path) from error
    for first, stop in ranges:
        for position in range(first, stop, _CHUNK_BYTES):
            chunk = bytes(memory[position : min(position + _CHUNK_BYTES, stop)])
            used = len(chunk.rstrip(b"\0"))
            if not used:
                break
            last = position + used
    return last - start


def _failed(path: Path, state: str, error: Exception, offset: int | None) -> SegmentCheck:
    bad = NONE if offset is None else offset
    return SegmentCheck(int(path.stem), path, state, NONE, 0, 0, 0, bad, str(error))
