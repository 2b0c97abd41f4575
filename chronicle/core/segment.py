"""The reader's view of one segment file, open or sealed. Layout and rules: ``docs/format/queue.md``."""

from __future__ import annotations

import os
from bisect import bisect_right
from functools import reduce
from itertools import starmap
from operator import or_
from pathlib import Path
from typing import Any

import xxhash

from chronicle.core import layout
from chronicle.core.durable import file_error, file_errors
from chronicle.core.errors import (
    CorruptionError,
    NotFoundError,
)
from chronicle.core.layout import PAGE_BYTES, SEEK_ENTRY_BYTES, SEGMENT_HEADER_BYTES, SegmentState
from chronicle.core.mapping import MemoryMap, map_file
from chronicle.core.records import Record, unpack_details
from chronicle.core.scan import last_start, walk, walk_far
from chronicle.core.segment_header import SegmentHeader, check_size
from chronicle.core.source import SeekPoint, SegmentInfo

__all__ = ["LocalSegment"]

_BLOCK_BYTES = 512
"""What stat(2) counts in, whatever the file system's blocks are."""


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
            check_size(self.header, size, path)
            self._size = size
            self._stored = min(size, status.st_blocks * _BLOCK_BYTES)
            self._map: MemoryMap | None = map_file(descriptor, size, writable=False)
        finally:
            os.close(descriptor)
        self._seek: list[SeekPoint] = []
        self._tail = (self.header.data_offset, self.header.base_index, False)
        self._points_seen = 0
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
            size_bytes=self._size if self.is_sealed else self._stored,
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
            count = self._seek_count()
            point = self._last_point() if count != self._points_seen else None
            if point is not None and point.offset > offset:
                offset, index = point.offset, point.index
            self._points_seen = count
            try:
                step = walk if self._tail[0] > header.data_offset else walk_far  # the first is the long one
                self._tail = step(self.mapping, offset, index, header.data_limit)
            except CorruptionError as error:
                error.path = str(self.path)
                raise
        return self._tail

    def last_record(self) -> Record | None:
        """Return the last committed record; None when there is none."""
        end, end_index, _ = self.extent()
        if end == self.data_offset:
            return None
        return Record(bytes(self.view(self._last_start(end), end)), end_index - 1)

    def data_end(self) -> int:
        """Return the offset after the last committed record, the ROLL included."""
        end, _, rolled = self.extent()
        return end + (layout.ROLL_BYTES if rolled else 0)

    def seek_points(self) -> list[SeekPoint]:
        """Return the seek index as far as it is written."""
        header, seek = self.header, self._seek
        if self.is_sealed:
            return seek
        count = self._seek_count()
        if count > len(seek):
            start = header.seek_offset + len(seek) * SEEK_ENTRY_BYTES
            stop = header.seek_offset + count * SEEK_ENTRY_BYTES
            seek.extend(
                _seek_points(self.mapping.memory[start:stop], header.data_offset, header.data_limit, self.path)
            )
        return seek

    def _seek_count(self) -> int:
        """Return how many seek entries of the open segment are published."""
        count: int = self.mapping.words[layout.SEGMENT_SEEK_COUNT_OFFSET >> 3]
        if count > self.header.seek_capacity:
            raise CorruptionError(
                "the open segment's seek index claims too many entries",
                path=self.path,
                offset=layout.SEGMENT_SEEK_COUNT_OFFSET,
                expected=f"at most {self.header.seek_capacity}",
                found=count,
            )
        return count

    def _last_point(self) -> SeekPoint | None:
        """Return the last seek point: of an open segment without a look at all the others."""
        if self.is_sealed:
            return self._seek[-1] if self._seek else None
        header, count = self.header, self._seek_count()
        if not count:
            return None
        start = header.seek_offset + (count - 1) * SEEK_ENTRY_BYTES
        data = self.mapping.memory[start : start + SEEK_ENTRY_BYTES]
        return _seek_points(data, header.data_offset, header.data_limit, self.path)[0]

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
        return self._ts_at(self._last_start(end))

    def _last_start(self, end: int) -> int:
        """Return where the record starts that ends at `end`, the end of what is committed."""
        point = self._last_point()
        offset = point.offset if point is not None and point.offset < end else self.header.data_offset
        self.view(offset, end)  # of a sealed segment: checked before it is walked
        try:
            return last_start(self.mapping, offset, end)
        except CorruptionError as error:
            error.path = str(self.path)
            raise

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
    points = list(starmap(SeekPoint, layout.SEEK_ENTRY.iter_unpack(data)))
    offsets = data.cast("B").cast("q")[1::4].tolist()  # an attribute of each tuple takes twice as long
    if offsets and (min(offsets) < start or max(offsets) >= limit or reduce(or_, offsets) & 7):
        wrong = next(offset for offset in offsets if not start <= offset < limit or offset & 7)
        raise CorruptionError(
            "a seek entry points outside the records", path=path, expected=f"{start} to {limit}", found=wrong
        )
    return points
