"""Explicit repair of a queue whose last segment is damaged: first a plan that says what is lost, then the cut.

Only the open tail can be repaired in place: its records before the damage stay, what stands behind it is kept in a
file beside the segment and cut. A damaged sealed segment is restored from another tier instead; a hole in the middle
of a queue is never made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from chronicle.core import layout
from chronicle.core.check import check_queue
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import CorruptionError, StateError, TornSegmentError
from chronicle.core.layout import PAGE_BYTES, SEEK_ENTRY, SEEK_ENTRY_BYTES, SEGMENT_SEEK_COUNT_OFFSET
from chronicle.core.mapping import MemoryMap, map_file
from chronicle.core.queue import Queue
from chronicle.core.scan import walk
from chronicle.core.segment_header import SegmentHeader
from chronicle.core.writer_lock import WriterLock

__all__ = ["RepairPlan", "perform_repair", "plan_repair"]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair would do.

    Records below `end_index` stay. The bytes from `cut_offset` to `used_end` (what is there of them) are copied to
    `keep_path` and then zeroed; `file_bytes` is the length that the segment gets back when it was truncated.
    `seek_index_end` is the highest record index the damaged part is known to have held (NONE when unknown).
    """

    path: Path
    number: int
    problem: str
    end_index: int
    cut_offset: int
    used_end: int
    file_bytes: int
    seek_index_end: int
    keep_path: Path

    @property
    def cut_bytes(self) -> int:
        """How many bytes go (and are kept beside the segment)."""
        return max(0, self.used_end - self.cut_offset)


def plan_repair(queue: Queue) -> RepairPlan | None:
    """Return what a repair of `queue` would cut; None when nothing is damaged.

    Raises
    ------
    CorruptionError
        When the damage is not in the open tail (or its header is gone): cutting cannot heal that.
    """
    checks = check_queue(queue)
    damaged = [check for check in checks if not check.ok]
    if not damaged:
        return None
    first = damaged[0]
    if first.number != checks[-1].number or first.state != "open":
        raise CorruptionError(
            f"segment {first.number} is damaged and is not the open tail: {first.problem}",
            path=first.path,
            offset=None if first.bad_offset < 0 else first.bad_offset,
            hint="restore it from another tier (chronicle tier status), or rebuild the queue (chronicle etl rebuild)",
        )
    return _plan_tail(first.path, first.problem)


def perform_repair(queue: Queue, plan: RepairPlan, *, started_ns: int) -> None:
    """Cut as `plan` says, holding the writer's lock.

    Raises
    ------
    QueueLockedError
        When a live writer owns the queue.
    StateError
        When the segment is no longer as it was when the plan was made.
    """
    lock = WriterLock.acquire(queue.path, started_ns=started_ns)
    try:
        if plan_repair(queue) != plan:
            raise StateError("the queue changed since the repair was planned: nothing was cut", path=plan.path)
        _cut(plan)
    finally:
        lock.release()


def _plan_tail(path: Path, problem: str) -> RepairPlan:
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(PAGE_BYTES)
            mapping = map_file(file.fileno(), size, writable=False) if size >= PAGE_BYTES else None
            data = head + file.read()  # (a look at a hole through the map would ask for memory)
    except OSError as error:
        raise file_error(error, "read a damaged segment", path) from error
    header = SegmentHeader.unpack(head, path)
    file_bytes = header.seek_offset + header.seek_capacity * SEEK_ENTRY_BYTES
    if mapping is None or size < header.data_offset:
        raise TornSegmentError(
            "the segment ends inside its header: nothing in it can be saved", path=path, offset=size
        )
    end, end_index = _good_end(mapping, header, min(header.data_limit, size & -8))
    used = len(data[end : header.data_limit].rstrip(b"\0")) + end
    return RepairPlan(
        path,
        header.number,
        problem,
        end_index,
        end,
        used,
        file_bytes,
        _seek_index_end(header, data),
        path.with_name(f"{path.stem}.cut-{end}"),
    )


def _good_end(mapping: MemoryMap, header: SegmentHeader, limit: int) -> tuple[int, int]:
    """Return (offset, index) after the last whole event before the damage; nothing at or past `limit` counts."""
    try:
        end, end_index, _ = walk(mapping, header.data_offset, header.base_index, limit)
    except CorruptionError as error:
        if error.offset is None:
            raise
        end, end_index, _ = walk(mapping, header.data_offset, header.base_index, error.offset)
    return end, end_index


def _seek_index_end(header: SegmentHeader, data: bytes) -> int:
    if len(data) < header.seek_offset + header.seek_capacity * SEEK_ENTRY_BYTES:
        return layout.NONE
    count = int.from_bytes(data[SEGMENT_SEEK_COUNT_OFFSET : SEGMENT_SEEK_COUNT_OFFSET + 8], "little")
    if not 0 < count <= header.seek_capacity:
        return layout.NONE
    index = SEEK_ENTRY.unpack_from(data, header.seek_offset + (count - 1) * SEEK_ENTRY_BYTES)[0]
    return int(index)


def _cut(plan: RepairPlan) -> None:
    try:
        with open(plan.path, "r+b") as file:
            header = SegmentHeader.unpack(file.read(PAGE_BYTES), plan.path)
            file.seek(plan.cut_offset)
            if plan.cut_bytes:
                publish_bytes(plan.keep_path, file.read(plan.cut_bytes))
            file.truncate(max(os.fstat(file.fileno()).st_size, plan.file_bytes))
            os.posix_fallocate(file.fileno(), 0, plan.file_bytes)
            _write_zeros(file.fileno(), plan.cut_offset, header.data_limit)
            _write_zeros(file.fileno(), header.seek_offset, plan.file_bytes)
            os.pwrite(file.fileno(), bytes(8), SEGMENT_SEEK_COUNT_OFFSET)
            os.fsync(file.fileno())
    except OSError as error:
        raise file_error(error, "cut a damaged segment", plan.path) from error


def _write_zeros(descriptor: int, start: int, end: int) -> None:
    for position in range(start, end, _CHUNK_BYTES):
        os.pwrite(descriptor, bytes(min(_CHUNK_BYTES, end - position)), position)
