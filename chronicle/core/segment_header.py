"""The fixed fields of a segment's header page, and the checks before any of them is believed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from chronicle.core import layout
from chronicle.core.durable import file_error
from chronicle.core.errors import (
    CorruptionError,
    ForeignFileError,
    NotFoundError,
    TornSegmentError,
    VersionError,
)
from chronicle.core.layout import PAGE_BYTES, SEEK_ENTRY_BYTES, SEGMENT_HEADER_BYTES, SegmentState

__all__ = ["SegmentHeader", "check_size", "read_header"]


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The fixed fields of a segment's header page; the totals are 0 while it is open."""

    queue_id: bytes
    generation: int
    number: int
    base_index: int
    data_offset: int
    data_capacity: int
    prologue_bytes: int
    prologue_checksum: int
    seek_offset: int
    seek_capacity: int
    cycle_ns: int
    cycle_start_ns: int
    base_ts_recv: int
    state: SegmentState
    record_count: int = 0
    data_bytes: int = 0
    ts_first: int = layout.NONE
    ts_last: int = layout.NONE
    seek_count: int = 0
    footer_offset: int = 0
    file_bytes: int = 0

    @property
    def data_limit(self) -> int:
        """Offset that no record may reach past."""
        return self.data_offset + self.data_capacity

    def pack(self) -> bytes:
        """Return the header page (4,096 bytes)."""
        fixed = layout.SEGMENT_HEADER.pack(
            layout.SEGMENT_MAGIC,
            layout.FORMAT_VERSION,
            layout.BYTE_ORDER_MARK,
            self.queue_id,
            self.generation,
            self.number,
            self.base_index,
            self.data_offset,
            self.data_capacity,
            SEGMENT_HEADER_BYTES,
            self.prologue_bytes,
            self.prologue_checksum,
            self.seek_offset,
            self.seek_capacity,
            self.cycle_ns,
            self.cycle_start_ns,
            self.base_ts_recv,
            self.state,
            0,
        )
        totals = layout.SEGMENT_TOTALS.pack(
            self.record_count,
            self.data_bytes,
            self.ts_first,
            self.ts_last,
            self.seek_count,
            self.footer_offset,
            self.file_bytes,
        )
        page = bytearray(PAGE_BYTES)
        page[: len(fixed)] = fixed
        page[layout.SEGMENT_TOTALS_OFFSET : layout.SEGMENT_TOTALS_OFFSET + len(totals)] = totals
        checksum = xxhash.xxh3_64_intdigest(bytes(page[: layout.SEGMENT_CHECKSUM_OFFSET]))
        page[layout.SEGMENT_CHECKSUM_OFFSET : layout.SEGMENT_CHECKSUM_OFFSET + 8] = checksum.to_bytes(8, "little")
        return bytes(page)

    @classmethod
    def unpack(cls, page: bytes | memoryview, path: object = None) -> SegmentHeader:
        """Read and check a header page.

        Raises
        ------
        ForeignFileError, VersionError, TornSegmentError, CorruptionError
            When it is not ours, of another version or byte order, too short, or damaged.
        """
        if len(page) < PAGE_BYTES:
            raise TornSegmentError(
                "a segment ends inside its header", path=path, expected=PAGE_BYTES, found=len(page)
            )
        page = bytes(page[:PAGE_BYTES])
        values = layout.SEGMENT_HEADER.unpack_from(page)
        if values[0] != layout.SEGMENT_MAGIC:
            raise ForeignFileError(
                "this is no segment of a queue",
                path=path,
                offset=0,
                expected=layout.SEGMENT_MAGIC,
                found=values[0],
                hint="move it away, or chronicle queue repair if it was one of ours",
            )
        if values[2] != layout.BYTE_ORDER_MARK:
            raise VersionError(
                "the segment was written with another byte order",
                path=path,
                offset=12,
                expected=hex(layout.BYTE_ORDER_MARK),
                found=hex(values[2]),
            )
        if values[1] != layout.FORMAT_VERSION:
            raise VersionError(
                "the segment has a format version this build does not read",
                path=path,
                offset=8,
                expected=layout.FORMAT_VERSION,
                found=values[1],
                hint="use the release that wrote it or a newer one",
            )
        stored = int.from_bytes(page[layout.SEGMENT_CHECKSUM_OFFSET :][:8], "little")
        computed = xxhash.xxh3_64_intdigest(page[: layout.SEGMENT_CHECKSUM_OFFSET])
        if stored != computed:
            raise CorruptionError(
                "the segment's header does not match its checksum",
                path=path,
                offset=layout.SEGMENT_CHECKSUM_OFFSET,
                expected=hex(stored),
                found=hex(computed),
            )
        totals = layout.SEGMENT_TOTALS.unpack_from(page, layout.SEGMENT_TOTALS_OFFSET)
        state = values[17]
        if state not in (SegmentState.OPEN, SegmentState.SEALED):
            raise CorruptionError("the segment is in no known state", path=path, offset=136, found=state)
        fixed: list[Any] = [*values[3:9], *values[10:17], SegmentState(state), *totals]
        return cls(*fixed)


def read_header(path: Path) -> SegmentHeader:
    """Read the header of a segment file without mapping it.

    Raises
    ------
    NotFoundError
        When the file is gone; other errors as :meth:`SegmentHeader.unpack`.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            page = file.read(PAGE_BYTES)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise NotFoundError(
            "the segment is not there", path=path, hint="it may have moved to another tier"
        ) from error
    except OSError as error:
        raise file_error(error, "read a segment", path) from error
    header = SegmentHeader.unpack(page, path)
    check_size(header, size, path)
    return header


def check_size(header: SegmentHeader, size: int, path: object) -> None:
    sealed = header.state is SegmentState.SEALED
    expected = header.file_bytes if sealed else header.seek_offset + header.seek_capacity * SEEK_ENTRY_BYTES
    data_end = header.footer_offset if sealed else header.data_limit
    plausible = (
        SEGMENT_HEADER_BYTES + header.prologue_bytes <= header.data_offset <= data_end <= expected
        and header.data_offset % 8 == 0
        and min(header.prologue_bytes, header.seek_capacity, header.seek_count, header.base_index) >= 0
    )
    if not plausible:
        raise CorruptionError("the segment's header contradicts itself", path=path, offset=0)
    if size < expected:
        raise TornSegmentError(
            "the segment is shorter than its header says",
            path=path,
            offset=size,
            expected=expected,
            found=size,
            hint="restore it from another tier, or chronicle queue repair",
        )
