"""Creating a segment file: reserved, whole, and under its name at once, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import xxhash

from chronicle.core import layout
from chronicle.core.durable import file_error, sync_folder, temporary_name
from chronicle.core.errors import StoreError
from chronicle.core.layout import PAGE_BYTES, SEEK_ENTRY_BYTES, SEGMENT_HEADER_BYTES, SegmentState
from chronicle.core.mapping import MemoryMap, map_file, populate
from chronicle.core.reserving import step_end
from chronicle.core.segment_header import SegmentHeader

__all__ = ["create_segment", "segment_size"]


def create_segment(
    path: Path,
    *,
    queue_id: bytes,
    generation: int,
    number: int,
    base_index: int,
    data_capacity: int,
    prologue: bytes,
    cycle_ns: int,
    cycle_start_ns: int,
    base_ts_recv: int,
    take_blank: Callable[[int], tuple[Path, MemoryMap] | None] | None = None,
    first_bytes: int | None = None,
    in_memory: bool = False,
    is_durable: bool = True,
) -> tuple[SegmentHeader, MemoryMap]:
    """Create an open segment at `path`, whole or not at all; return its header and its map, for writing.

    Its space is reserved on the disk first (``posix_fallocate``), so that a full disk is an error here and never a
    SIGBUS later; with `first_bytes` only for so many bytes of records and a step (:mod:`chronicle.core.reserving`).
    `take_blank` may offer a file of the right size that was reserved and mapped ahead.
    The header is on the device before the file has its name, and the name before this returns, unless the queue
    claims nothing about power (`is_durable`).

    Raises
    ------
    CapacityError
        When the disk or tmpfs cannot hold it: nothing is left behind.
    StoreError
        On other failures of the file system.
    """
    data_offset = _page_aligned(SEGMENT_HEADER_BYTES + len(prologue))
    data_capacity = _page_aligned(data_capacity)
    seek_offset, seek_capacity = data_offset + data_capacity, _seek_capacity(data_capacity)
    header = SegmentHeader(
        queue_id=queue_id,
        generation=generation,
        number=number,
        base_index=base_index,
        data_offset=data_offset,
        data_capacity=data_capacity,
        prologue_bytes=len(prologue),
        prologue_checksum=xxhash.xxh3_64_intdigest(prologue),
        seek_offset=seek_offset,
        seek_capacity=seek_capacity,
        cycle_ns=cycle_ns,
        cycle_start_ns=cycle_start_ns,
        base_ts_recv=base_ts_recv,
        state=SegmentState.OPEN,
    )
    size = seek_offset + seek_capacity * SEEK_ENTRY_BYTES
    blank = take_blank(size) if take_blank is not None else None
    temporary = temporary_name(path) if blank is None else blank[0]
    try:
        if blank is None:
            reserved = seek_offset
            if first_bytes is not None:
                reserved = step_end(data_offset, data_offset + first_bytes, seek_offset)
            hole = (reserved, seek_offset)
            mapping = _write_file(temporary, size, header.pack() + prologue, hole, in_memory, is_durable)
        else:
            mapping = blank[1]
            mapping.memory[: SEGMENT_HEADER_BYTES + len(prologue)] = header.pack() + prologue
            if is_durable:
                mapping.sync(data_offset)
        os.replace(temporary, path)
    except (OSError, StoreError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, StoreError):
            raise
        raise file_error(error, f"create a segment of {size} bytes", path) from error
    try:
        if is_durable:
            sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"could not sync the folder of a new segment: {error.strerror}", path=path) from error
    return header, mapping


def _write_file(
    path: Path, size: int, head: bytes, hole: tuple[int, int], in_memory: bool, is_durable: bool
) -> MemoryMap:
    """Reserve a file of `size` bytes but for its `hole`, write its head, sync it, and return its map."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, size)
        mapping = map_file(descriptor, size, writable=True)
        parts = [(0, size)] if hole[0] == hole[1] else [(0, hole[0]), (hole[1], size)]
        for first, last in parts:
            if len(parts) == 1 or not in_memory or not populate(mapping, first, last):
                os.posix_fallocate(descriptor, first, last - first)
        _write_whole(descriptor, head)
        if is_durable:
            os.fsync(descriptor)
        return mapping
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], written)


def segment_size(data_capacity: int, prologue_bytes: int) -> int:
    """Return the size of an open segment's file."""
    capacity = _page_aligned(data_capacity)
    return (
        _page_aligned(SEGMENT_HEADER_BYTES + prologue_bytes) + capacity + _seek_capacity(capacity) * SEEK_ENTRY_BYTES
    )


def _seek_capacity(data_capacity: int) -> int:
    return max(64, data_capacity // layout.SEEK_BYTES_PER_ENTRY)


def _page_aligned(size: int) -> int:
    return (size + PAGE_BYTES - 1) & -PAGE_BYTES
