"""One segment file: its header and prologue, written once; and the reader's view of it.

Layout and rules: ``docs/format/queue.md``. A segment is created under a temporary name, reserved on the disk
(``posix_fallocate``, so that a full disk is an error here and never a SIGBUS later), and renamed to ``N.open``.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from chronicle.core import layout
from chronicle.core.durable import file_error, file_errors, sync_folder, temporary_name
from chronicle.core.errors import (
    CorruptionError,
    ForeignFileError,
    NotFoundError,
    StoreError,
    TornSegmentError,
    VersionError,
)
from chronicle.core.layout import PAGE_BYTES, SEEK_ENTRY_BYTES, SEGMENT_HEADER_BYTES, SegmentState
from chronicle.core.mapping import MemoryMap, map_file
from chronicle.core.records import unpack_details
from chronicle.core.scan import checked_length, walk
from chronicle.core.source import SeekPoint, SegmentInfo

__all__ = ["LocalSegment", "SegmentHeader", "create_segment", "read_header", "segment_size"]


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
    take_blank: Callable[[int], Path | None] | None = None,
) -> None:
    """Create an open segment at `path`, whole or not at all.

    `take_blank` may offer a file of the right size that was reserved ahead.

    Raises
    ------
    CapacityError
        When the disk or tmpfs cannot hold it: nothing is left behind.
    StoreError
        On other failures of the file system.
    """
    data_offset = _page_aligned(SEGMENT_HEADER_BYTES + len(prologue))
    data_capacity = _page_aligned(data_capacity)
    seek_capacity = _seek_capacity(data_capacity)
    header = SegmentHeader(
        queue_id=queue_id,
        generation=generation,
        number=number,
        base_index=base_index,
        data_offset=data_offset,
        data_capacity=data_capacity,
        prologue_bytes=len(prologue),
        prologue_checksum=xxhash.xxh3_64_intdigest(prologue),
        seek_offset=data_offset + data_capacity,
        seek_capacity=seek_capacity,
        cycle_ns=cycle_ns,
        cycle_start_ns=cycle_start_ns,
        base_ts_recv=base_ts_recv,
        state=SegmentState.OPEN,
    )
    size = header.seek_offset + seek_capacity * SEEK_ENTRY_BYTES
    blank = take_blank(size) if take_blank is not None else None
    temporary = temporary_name(path) if blank is None else blank
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if blank is None:
                os.ftruncate(descriptor, 0)
                os.posix_fallocate(descriptor, 0, size)
            _write_whole(descriptor, header.pack() + prologue)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise file_error(error, f"create a segment of {size} bytes", path) from error
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"could not sync the folder of a new segment: {error.strerror}", path=path) from error


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
    _check_size(header, size, path)
    return header


def _check_size(header: SegmentHeader, size: int, path: object) -> None:
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


class LocalSegment:
    """A segment on this host, mapped read-only. Implements :class:`chronicle.core.source.SegmentView`."""

    def __init__(self, path: Path, *, queue: str, place: str = "hot") -> None:
        self.path = path
        self._queue = queue
        self._place = place
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise NotFoundError(
                "the segment is not there", path=path, hint="it may have moved to another tier"
            ) from error
        except OSError as error:
            raise file_error(error, "open a segment", path) from error
        try:
            with file_errors("read a segment", path):
                status = os.fstat(descriptor)
                page = os.pread(descriptor, PAGE_BYTES, 0)
            size = status.st_size
            self._inode = (status.st_dev, status.st_ino)
            self.header = SegmentHeader.unpack(page, path)
            _check_size(self.header, size, path)
            self._size = size
            self._map: MemoryMap | None = map_file(descriptor, size, writable=False)
        finally:
            os.close(descriptor)
        self._seek: list[SeekPoint] = []
        self._tail = (self.header.data_offset, self.header.base_index, False)
        self._verified = bytearray()
        self._block_checksums: memoryview | None = None
        if self.header.state is SegmentState.SEALED:
            self._load_footer()

    def __enter__(self) -> LocalSegment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the map; views that were handed out keep their bytes."""
        self._map = None

    @property
    def data_offset(self) -> int:
        """Offset of the first record."""
        return self.header.data_offset

    @property
    def is_sealed(self) -> bool:
        """Whether the file is sealed."""
        return self.header.state is SegmentState.SEALED

    def is_in_place(self) -> bool:
        """Whether the file that is mapped here still stands under its name."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    @property
    def mapping(self) -> MemoryMap:
        """The map, for kernels.

        Raises
        ------
        NotFoundError
            When the segment was closed.
        """
        if self._map is None:
            raise NotFoundError("the segment was closed", path=self.path)
        return self._map

    @property
    def info(self) -> SegmentInfo:
        """Identity and totals; of an open segment as they are now."""
        header = self.header
        end, end_index, _ = self.extent()
        count = end_index - header.base_index
        if self.is_sealed:
            ts_first, ts_last = header.ts_first, header.ts_last
        else:
            ts_first = self._ts_at(header.data_offset) if count else layout.NONE
            ts_last = self._last_ts(end) if count else layout.NONE
        return SegmentInfo(
            queue=self._queue,
            number=header.number,
            generation=header.generation,
            base_index=header.base_index,
            record_count=count,
            ts_first=ts_first,
            ts_last=ts_last,
            state=header.state,
            data_bytes=end - header.data_offset,
            size_bytes=self._size,
            place=self._place,
            location=str(self.path),
        )

    def prologue(self) -> dict[str, Any]:
        """Return the prologue's map (empty for a queue that writes none)."""
        header = self.header
        start = SEGMENT_HEADER_BYTES
        data = bytes(self.mapping.memory[start : start + header.prologue_bytes])
        found = xxhash.xxh3_64_intdigest(data)
        if found != header.prologue_checksum:
            raise CorruptionError(
                "the segment's prologue does not match its checksum",
                path=self.path,
                offset=start,
                expected=hex(header.prologue_checksum),
                found=hex(found),
            )
        return unpack_details(data, where="prologue") if data else {}

    def extent(self) -> tuple[int, int, bool]:
        """Return (end offset, end index, rolled): what is committed, the ROLL not included."""
        header = self.header
        if self.is_sealed:
            return (
                header.data_offset + header.data_bytes - layout.ROLL_BYTES,
                header.base_index + header.record_count,
                True,
            )
        offset, index, rolled = self._tail
        if not rolled:
            self.seek_points()
            if self._seek and self._seek[-1].offset > offset:
                offset, index = self._seek[-1].offset, self._seek[-1].index
            try:
                self._tail = walk(self.mapping, offset, index, header.data_limit)
            except CorruptionError as error:
                error.path = str(self.path)
                raise
        return self._tail

    def data_end(self) -> int:
        """Return the offset after the last committed record, the ROLL included."""
        end, _, rolled = self.extent()
        return end + (layout.ROLL_BYTES if rolled else 0)

    def seek_points(self) -> list[SeekPoint]:
        """Return the seek index as far as it is written."""
        header, seek = self.header, self._seek
        if self.is_sealed:
            return seek
        count = self.mapping.words[layout.SEGMENT_SEEK_COUNT_OFFSET >> 3]
        if count > header.seek_capacity:
            raise CorruptionError(
                "the open segment's seek index claims too many entries",
                path=self.path,
                offset=layout.SEGMENT_SEEK_COUNT_OFFSET,
                expected=f"at most {header.seek_capacity}",
                found=count,
            )
        if count > len(seek):
            start = header.seek_offset + len(seek) * SEEK_ENTRY_BYTES
            stop = header.seek_offset + count * SEEK_ENTRY_BYTES
            seek.extend(
                _seek_points(self.mapping.memory[start:stop], header.data_offset, header.data_limit, self.path)
            )
        return seek

    def view(self, start: int, end: int) -> memoryview:
        """Return the bytes [start, end); of a sealed segment only after their checksums matched."""
        if not 0 <= start <= end <= self._size:
            raise CorruptionError(
                "a read outside the segment",
                path=self.path,
                offset=start,
                expected=f"within {self._size}",
                found=end,
            )
        if self._block_checksums is not None:
            self._verify_blocks(start, end)
        return self.mapping.memory[start:end]

    def point_before(self, index: int) -> SeekPoint | None:
        """Return the last seek point at or before record `index`."""
        points = self.seek_points()
        position = bisect_right(points, index, key=lambda point: point.index)
        return points[position - 1] if position else None

    def _ts_at(self, offset: int) -> int:
        return int.from_bytes(self.mapping.memory[offset + 8 : offset + 16], "little", signed=True)

    def _last_ts(self, end: int) -> int:
        points = self.seek_points()
        offset = points[-1].offset if points and points[-1].offset < end else self.header.data_offset
        words, last = self.mapping.words, offset
        while offset < end:
            last = offset
            offset += checked_length(words[offset >> 3], offset, self.path)
        return self._ts_at(last)

    def _load_footer(self) -> None:
        header, memory = self.header, self.mapping.memory
        trailer_offset = header.file_bytes - layout.FOOTER_TRAILER_BYTES
        magic, seek_count, block_count, block_bytes, footer_sum, _, trailer_sum = layout.FOOTER_TRAILER.unpack_from(
            memory, trailer_offset
        )
        footer = bytes(memory[header.footer_offset : trailer_offset])
        if (
            magic != layout.SEGMENT_END_MAGIC
            or xxhash.xxh3_64_intdigest(bytes(memory[trailer_offset : trailer_offset + 48])) != trailer_sum
            or xxhash.xxh3_64_intdigest(footer) != footer_sum
            or block_bytes != layout.CHECKSUM_BLOCK_BYTES
            or block_count != -(-header.footer_offset // block_bytes)
            or len(footer) != seek_count * SEEK_ENTRY_BYTES + block_count * 8
        ):
            raise CorruptionError(
                "the sealed segment's footer does not match its checksum",
                path=self.path,
                offset=header.footer_offset,
            )
        seek_bytes = seek_count * SEEK_ENTRY_BYTES
        self._seek = _seek_points(
            memoryview(footer)[:seek_bytes], header.data_offset, header.footer_offset, self.path
        )
        self._block_checksums = memoryview(footer)[seek_bytes:].cast("Q")
        self._verified = bytearray(block_count)

    def _verify_blocks(self, start: int, end: int) -> None:
        checksums, verified, size = self._block_checksums, self._verified, layout.CHECKSUM_BLOCK_BYTES
        assert checksums is not None
        end = min(end, self.header.footer_offset)
        for block in range(start // size, -(-end // size)):
            if verified[block]:
                continue
            offset = block * size
            data = self.mapping.memory[offset : min(offset + size, self.header.footer_offset)]
            found = xxhash.xxh3_64_intdigest(data)
            if found != checksums[block]:
                raise CorruptionError(
                    "a sealed segment's block does not match its checksum",
                    path=self.path,
                    offset=offset,
                    expected=hex(checksums[block]),
                    found=hex(found),
                    hint="restore the segment from another tier; chronicle verify lists all damage",
                )
            verified[block] = 1


def _seek_points(data: memoryview, start: int, limit: int, path: object) -> list[SeekPoint]:
    points = [SeekPoint(*values) for values in layout.SEEK_ENTRY.iter_unpack(data)]
    for point in points:
        if not start <= point.offset < limit or point.offset & 7:
            raise CorruptionError(
                "a seek entry points outside the records",
                path=path,
                expected=f"{start} to {limit}",
                found=point.offset,
            )
    return points


def _seek_capacity(data_capacity: int) -> int:
    return max(64, data_capacity // layout.SEEK_BYTES_PER_ENTRY)


def _page_aligned(size: int) -> int:
    return (size + PAGE_BYTES - 1) & -PAGE_BYTES
