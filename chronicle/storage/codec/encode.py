"""From a sealed segment's bytes to an archive object, part by part, and the proof that it decodes to the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import xxhash

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import Kind
from chronicle.core.segment import LocalSegment
from chronicle.storage.codec.archive_layout import (
    BLOCK_BYTES,
    HEADER_BYTES,
    ArchiveFooter,
    Block,
    Method,
    pack_header,
    pack_trailer,
)
from chronicle.storage.codec.prologue import book_place, prologue_orders
from chronicle.storage.codec.sealed import Reading

if TYPE_CHECKING:
    from chronicle.storage.codec.archive import ArchivedSegment
    from chronicle.storage.codec.event_groups import GroupScan
    from chronicle.storage.codec.snapshots import Book

__all__ = ["BLOCK_BYTES", "COMPACTED", "EncodeOptions", "encode_segment"]


COMPACTED: Final = "compacted"
COMPACT_BLOCK_BYTES: Final = 16 << 20
"""Fewer books and tables; who looks into a block decodes the prices and sizes of all of it."""
COMPACT_LEVEL: Final = 9


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """`level` is zstd's; `block_bytes` the raw bytes of a block, about: a segment's blocks are of about equal size.

    A block is cut at a seek point; in a book channel at the next snapshot, while that is less than half a block away:
    then the block opens with the book.
    """

    level: int = 3
    block_bytes: int = BLOCK_BYTES
    columns: bool = True
    compact: bool = False

    @classmethod
    def of(cls, encoding: str, level: int) -> EncodeOptions:
        """Return how a tier's `encoding`, ``zstd`` or ``compacted``, is written."""
        if encoding == COMPACTED:
            return cls(level=max(level, COMPACT_LEVEL), block_bytes=COMPACT_BLOCK_BYTES, compact=True)
        return cls(level=level)


def encode_segment(segment: LocalSegment | ArchivedSegment, options: EncodeOptions | None = None) -> Iterator[bytes]:
    """Yield the parts of the archive object of a sealed segment, in order.

    Parameters
    ----------
    segment : LocalSegment or ArchivedSegment
        Sealed. Its checksums are checked as it is read, before the last part is given: damage does not travel into
        the archive. An archived one is
        encoded anew, block by block; the new object carries the hash of the sealed file that the old one carried, and
        who reads it back proves that nothing changed.
    options : EncodeOptions, optional

    Raises
    ------
    CorruptionError
        When the segment is not sealed or its bytes are not those that were sealed.
    """
    options = options or EncodeOptions()
    header, info = segment.header, segment.info
    if isinstance(segment, LocalSegment) and not segment.is_sealed:
        raise CorruptionError("only sealed segments are archived", path=segment.path)
    yield pack_header(header.queue_id, header.generation, header.number)
    blocks: list[Block] = []
    position = HEADER_BYTES
    coder = _Coder(segment, options)
    for start, end in _ranges(segment, options.block_bytes):
        stored, block = coder.encode(start, end, position)
        blocks.append(block)
        position += block.object_bytes
        yield stored
    whole, file_checksum = coder.proven()
    footer = ArchiveFooter(
        queue=info.queue,
        number=info.number,
        generation=info.generation,
        base_index=info.base_index,
        record_count=info.record_count,
        ts_first=info.ts_first,
        ts_last=info.ts_last,
        data_offset=header.data_offset,
        data_bytes=info.data_bytes,
        footer_offset=header.footer_offset,
        file_bytes=header.file_bytes,
        file_checksum=file_checksum,
        whole_checksum=whole,
        blocks=tuple(sorted(blocks, key=lambda block: block.raw_offset)),
    ).pack()
    yield footer + pack_trailer(footer, position)


def _ranges(segment: LocalSegment | ArchivedSegment, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the raw ranges in the order in which they are stored: records, header page and prologue, footer."""
    header = segment.header
    start, whole = header.data_offset, header.footer_offset - header.data_offset
    target = whole // max(1, round(whole / block_bytes))
    for point in segment.seek_points():
        size = point.offset - start
        if size >= target + target // 2 or (size >= target and point.kind == Kind.BOOK_SNAPSHOT):
            yield start, point.offset
            start = point.offset
    if start < header.footer_offset:
        yield start, header.footer_offset
    yield 0, header.data_offset
    yield header.footer_offset, header.file_bytes


class _Coder:
    """Chooses the method of each block of a segment."""

    def __init__(self, segment: LocalSegment | ArchivedSegment, options: EncodeOptions) -> None:
        self._segment = segment
        self._options = options
        self._reading = Reading(segment)
        self._book_place = book_place(segment) if options.columns else None

    def proven(self) -> tuple[int, int]:
        """Return (xxh3_64 of the whole sealed file, its file checksum), when all blocks were encoded."""
        return self._reading.proven()

    def encode(self, start: int, end: int, position: int) -> tuple[bytes, Block]:
        """Return the stored bytes of [start, end) and their entry in the block table."""
        raw = self._reading.view(start, end)
        header = self._segment.header
        scan = None
        if self._options.columns and header.data_offset <= start < header.footer_offset:
            from chronicle.storage.codec.event_groups import GroupScan

            scan = GroupScan(raw)
        raw_checksum = self._reading.through(raw, start, scan)
        stored, method = b"", Method.STORED
        holds = 0
        for packed, its_method, its_holds in self._candidates(raw, start, scan):
            if packed is not None and len(packed) < len(raw):
                stored, method, holds = packed, its_method, its_holds
                break
        else:
            stored = bytes(raw)
        block = Block(
            raw_offset=start,
            raw_bytes=len(raw),
            object_offset=position,
            object_bytes=len(stored),
            stored_checksum=xxhash.xxh3_64_intdigest(stored),
            raw_checksum=raw_checksum,
            method=method,
            holds=holds,
        )
        return stored, block

    def _candidates(
        self, raw: memoryview, start: int, scan: GroupScan | None
    ) -> Iterator[tuple[bytes | None, Method, int]]:
        """Yield (packed, method, what it holds), best first: the first that is smaller than `raw` counts."""
        header, level = self._segment.header, self._options.level
        is_records = header.data_offset <= start < header.footer_offset
        if scan is not None:
            from chronicle.storage.codec.blocks import encode_block
            from chronicle.storage.codec.event_encode import encode_scanned, is_tabled

            book = self._book() if start == header.data_offset else None
            packed, holds = encode_scanned(scan, level, book, compact=self._options.compact) or (None, 0)
            yield packed, Method.TABLED if packed and is_tabled(packed) else Method.EVENTS, holds
            if scan.has_orders:
                from chronicle.storage.codec.order_encode import encode_orders

                orders = prologue_orders(self._segment) if start == header.data_offset else None
                packed, holds = encode_orders(raw, level, orders) or (None, 0)
                yield packed, Method.ORDERS, holds
            yield encode_block(raw, level), Method.COLUMNS, 0
        elif self._options.columns and start == 0 and self._book_place is not None:
            from chronicle.storage.codec.small_blocks import encode_prologue

            yield encode_prologue(bytes(raw), *self._book_place), Method.PROLOGUE, 0
        elif self._options.columns and start == header.footer_offset:
            from chronicle.storage.codec.small_blocks import encode_seek

            yield encode_seek(bytes(raw), header.seek_count), Method.SEEK, 0
        from chronicle.storage.codec.tokens import compressor

        yield compressor(level if is_records else 9).compress(raw), Method.ZSTD, 0

    def _book(self) -> Book | None:
        if self._book_place is None:
            return None
        from chronicle.storage.codec.small_blocks import book_in

        return book_in(self._reading.view(0, self._segment.header.data_offset), *self._book_place)
