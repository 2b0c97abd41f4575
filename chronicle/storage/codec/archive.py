"""A segment in the archive: blocks are read, checked and decoded only where somebody looks.

Reading needs neither a compiler nor the whole object: one range for trailer, footer and seek index, one for each
block of records. Nothing is returned before a block's stored bytes matched their checksum; what is decoded whole
matches that of the raw bytes too.

The file is one class: whatever a reader asks a segment, it asks one object. What it is made of lies beside: layout,
what tables tell (``holding.py``), blocks and their columns, and the proof of a whole object (``whole.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import xxhash

from chronicle.core import layout
from chronicle.core.errors import ChronicleError, CorruptionError, NotFoundError
from chronicle.core.records import unpack_details
from chronicle.core.segment_header import SegmentHeader
from chronicle.core.source import SeekPoint, SegmentInfo
from chronicle.storage.codec.archive_layout import (
    EVENT_METHODS,
    HEADER_BYTES,
    TAIL_READ_BYTES,
    TELLING_METHODS,
    Block,
    Method,
    check_header,
)
from chronicle.storage.codec.decode import compare, decode_stored, naming
from chronicle.storage.codec.decoded import decoded_blocks
from chronicle.storage.codec.footers import footer_info, read_footer
from chronicle.storage.codec.holding import (
    ORDER_NAMES,
    bits_of,
    gives_columns,
    holds_none,
    is_slice,
    is_told,
    may_define,
    may_hold,
    place_of,
)
from chronicle.storage.codec.prologue import book_place, prologue_orders
from chronicle.storage.stores.stores import ObjectReader, Readable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chronicle.storage.codec.event_decode import EventBlock
    from chronicle.storage.codec.snapshots import Book

__all__ = ["ArchivedSegment", "Stretch"]

PART_SHARE: Final = 0.75
"""Of an event block that was not yet looked at, up to this share is decoded alone."""
PART_AHEAD_BYTES: Final = 768 * 1024
"""So much more than asked for: a lookup reads on from a snapshot, 8,192 deltas at most."""
AHEAD_SHARE: Final = 1.25
"""Where each read is a request, a block comes with so much of the next one: a lookup often goes on there."""
AHEAD_BYTES_MAX: Final = 2 << 20
CHECK_BYTES: Final = 8 << 20
"""What a request brings where all of an object is read."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sealed bytes [offset, end) of whole events: `columns` of their rows, or None where records must be read."""

    offset: int
    end: int
    columns: dict[str, NDArray[Any]] | None


class ArchivedSegment:
    """Implements :class:`chronicle.core.source.SegmentView` over an archive object.

    Parameters
    ----------
    store : Readable
    name : str
        The object.
    place : str
        Name of the tier, for answers.
    offset : int
        Where in the object the segment begins (segments may be packed together).
    length : int, optional
        Its stored bytes, where they are known; else the rest of the object.
    block_bytes : int, optional
        What a block of records takes about, where that can be guessed: the last one comes with the footer then.
    """

    def __init__(
        self,
        store: Readable,
        name: str,
        *,
        place: str = "warm",
        offset: int = 0,
        length: int | None = None,
        block_bytes: int = 0,
    ) -> None:
        self.path = f"{store.location}/{name}"
        self._place = place
        self._reader: ObjectReader | None = store.reader(name, offset=offset, size=length)
        self._kept = decoded_blocks()
        self._number = self._kept.owner()
        self.blocks_decoded = 0
        self.bytes_read = 0
        tail_bytes = TAIL_READ_BYTES
        if store.is_remote:
            tail_bytes += min(AHEAD_BYTES_MAX, int(block_bytes * AHEAD_SHARE))
        try:
            self.footer, self._tail, self._tail_offset = read_footer(self._reader, self.path, tail_bytes)
        except ChronicleError:
            self.close()
            raise
        if store.is_remote:
            largest = max(block.object_bytes for block in self.footer.blocks)
            self._reader.ahead = min(AHEAD_BYTES_MAX, int(largest * AHEAD_SHARE))
        self._starts = [block.raw_offset for block in self.footer.blocks]
        self._kinds: dict[int, frozenset[int]] = {}
        self._sliced: set[int] = set()
        self._seek: list[SeekPoint] | None = None
        self._seek_columns: tuple[Sequence[int], ...] | None = None
        self._header: SegmentHeader | None = None

    def __enter__(self) -> ArchivedSegment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the object; views that were handed out keep their bytes."""
        self._kept.drop(self._number)
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def info(self) -> SegmentInfo:
        """Identity and totals, from the footer."""
        return footer_info(self.footer, self._reader.size if self._reader else 0, self._place, self.path)

    @property
    def data_offset(self) -> int:
        """Offset of the first record in the sealed file."""
        return self.footer.data_offset

    @property
    def header(self) -> SegmentHeader:
        """The sealed segment's own header."""
        if self._header is None:
            opening = self._opening()
            data = self.view(0, layout.PAGE_BYTES) if opening is None else opening[: layout.PAGE_BYTES]
            self._header = SegmentHeader.unpack(bytes(data), self.path)
        return self._header

    def _opening(self) -> bytes | None:
        """Return header and prologue with zeros for the levels of its book; None where it must be decoded whole."""
        block = self.footer.blocks[0]
        if block.method != Method.PROLOGUE or block.raw_bytes != self.data_offset:
            return None
        from chronicle.storage.codec.small_blocks import decode_prologue

        stored = self._stored(block)
        compare(stored, block.stored_checksum, block, self.path, "stored")
        with naming(self.path, block):
            return decode_prologue(stored, block.raw_bytes, levels=False)

    def prologue(self) -> dict[str, Any]:
        """Return the prologue's map."""
        start = layout.SEGMENT_HEADER_BYTES
        data = bytes(self.view(start, start + self.header.prologue_bytes))
        if xxhash.xxh3_64_intdigest(data) != self.header.prologue_checksum:
            raise CorruptionError("the segment's prologue does not match its checksum", path=self.path, offset=start)
        return unpack_details(data, where="prologue") if data else {}

    def definition(self) -> bytes | None:
        """Return the INSTRUMENT record in the prologue, without decoding the book beside it."""
        raw = self._opening()
        if raw is None:
            found = self.prologue().get("instrument")
        else:
            self._header = SegmentHeader.unpack(raw[: layout.PAGE_BYTES], self.path)
            start = layout.SEGMENT_HEADER_BYTES
            data = raw[start : start + self._header.prologue_bytes]
            found = unpack_details(data, where="prologue").get("instrument") if data else None
        return found if isinstance(found, bytes) else None

    def seek_points(self) -> list[SeekPoint]:
        """Return the sparse seek index."""
        if self._seek is None:
            self._seek = [SeekPoint(*values) for values in zip(*self.seek_columns(), strict=True)]
        return self._seek

    def seek_columns(self) -> tuple[Sequence[int], ...]:
        """Return the seek index as four columns: index, offset, ts_recv, kind. An object a point would cost more."""
        if self._seek_columns is None:
            start = self.footer.footer_offset
            entries = self.view(start, start + self._seek_count() * layout.SEEK_ENTRY_BYTES)
            words = entries.cast("q").tolist()
            self._seek_columns = words[0::4], words[1::4], words[2::4], words[3::4]
        return self._seek_columns

    def _seek_count(self) -> int:
        """Return how many entries the seek index has; where its block tells, the prologue is not even read."""
        block = self.footer.blocks[bisect_right(self._starts, self.footer.footer_offset) - 1]
        if block.raw_offset != self.footer.footer_offset or block.method != Method.SEEK:
            return self.header.seek_count
        from chronicle.storage.codec.small_blocks import seek_entries

        stored = self._stored(block)
        compare(stored, block.stored_checksum, block, self.path, "stored")
        with naming(self.path, block):
            return seek_entries(stored, block.raw_bytes)

    def data_end(self) -> int:
        """Return the offset after the last record, the ROLL included."""
        return self.footer.footer_offset

    def extent(self) -> tuple[int, int, bool]:
        """Return (end offset, end index, rolled), the ROLL not included, as the local segment does."""
        footer = self.footer
        return footer.footer_offset - layout.ROLL_BYTES, footer.base_index + footer.record_count, True

    def point_before(self, index: int) -> SeekPoint | None:
        """Return the last seek point at or before record `index`."""
        points = self.seek_points()
        position = bisect_right(points, index, key=lambda point: point.index)
        return points[position - 1] if position else None

    def view(self, start: int, end: int) -> memoryview:
        """Return the bytes [start, end) of the sealed file, decoded and checked.

        Raises
        ------
        CorruptionError
            When a block is not what was stored.
        """
        if not 0 <= start <= end <= self.footer.file_bytes:
            raise CorruptionError(
                "a read outside the segment",
                path=self.path,
                offset=start,
                expected=f"within {self.footer.file_bytes}",
                found=end,
            )
        if start == end:
            return memoryview(b"")
        parts = []
        position = bisect_right(self._starts, start) - 1
        while start < end:
            block = self.footer.blocks[position]
            stop = min(end, block.raw_offset + block.raw_bytes)
            offset, raw = self._block(position, start - block.raw_offset, stop - block.raw_offset)
            first = block.raw_offset + offset
            parts.append(memoryview(raw)[start - first : stop - first])
            start, position = stop, position + 1
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def may_hold_anywhere(self, kind: int) -> bool:
        """Return whether some block holds a record of `kind`, as far as the block table tells (True: unknown)."""
        bits = bits_of((kind,))
        return any(may_hold(block, bits) for _, block in self._record_blocks())

    def pieces_of_kinds(self, kinds: Collection[int]) -> list[tuple[int, int]]:
        """Return [offset, end) of the blocks that may hold a record of one of `kinds`; each begins an event."""
        bits = bits_of(kinds)
        return [
            (block.raw_offset, block.raw_offset + block.raw_bytes)
            for _, block in self._record_blocks()
            if may_hold(block, bits)
        ]

    def _record_blocks(self) -> Iterator[tuple[int, Block]]:
        """Yield (position, block) of the blocks of records."""
        for position, block in enumerate(self.footer.blocks):
            if self.footer.data_offset <= block.raw_offset < self.footer.footer_offset:
                yield position, block

    def instruments(self, known: bytes = b"") -> list[tuple[int, bytes]] | None:
        """Return (offset, body) of the segment's INSTRUMENT records; None where only its records can tell.

        A block whose records all have the body that is `known` from before it is left out.

        Raises
        ------
        CorruptionError
            When a block is not what was stored.
        """
        holding = [(position, block) for position, block in self._record_blocks() if may_define(block)]
        if any(block.method not in TELLING_METHODS for _, block in holding):
            return None
        found: list[tuple[int, bytes]] = []
        for position, block in holding:
            with naming(self.path, block):
                told = self._instruments_of(position, known)
            found += [(block.raw_offset + at, body) for at, body in told]
            known = told[-1][1] if told else known
        return found

    def _instruments_of(self, position: int, known: bytes) -> list[tuple[int, bytes]]:
        if self.footer.blocks[position].method != Method.ORDERS:
            return self._event_block(position).instruments(known)
        from chronicle.storage.codec.order_columns import order_instruments

        block, stored = self._compared(position)
        return order_instruments(stored, block.raw_bytes, known)

    def may_hold(self, kind: int, offset: int) -> bool:
        """Return whether the block at `offset` holds a record of `kind`, without decoding it (True: unknown)."""
        position = bisect_right(self._starts, offset) - 1
        block = self.footer.blocks[position]
        if is_told(block):
            return may_hold(block, bits_of((kind,)))
        if block.method != Method.COLUMNS:
            return True
        if position not in self._kinds:
            from chronicle.storage.codec.blocks import kinds_of

            stored = self._stored(block)
            compare(stored, block.stored_checksum, block, self.path, "stored")
            self._kinds[position] = kinds_of(stored, block.raw_bytes)
        return kind in self._kinds[position]

    def stretches(
        self,
        start_ts: int | None,
        end_ts: int | None,
        names: Collection[str],
        kinds: Collection[int],
        *,
        sides: tuple[int, int],
        uniform: bool = False,
        divisors: tuple[float, float] = (0.0, 0.0),
    ) -> Iterator[Stretch]:
        """Yield the blocks that may hold records with start_ts <= ts_recv < end_ts, as columns where that is all.

        Parameters
        ----------
        names : collection of str
            Columns of COLUMN_NAMES and ORDER_NAMES.
        kinds : collection of int
            The record kinds that are wanted. A block is given as columns when its BOOK_DELTA and ORDER records are
            all there is of them and its instrument is not redefined in it; no record of it is built then. A block
            that is known to have none of them is left out.
        sides : (int, int)
            What ``side`` says of bids and of asks.
        uniform : bool
            Whether prices and sizes have the same decimals throughout, so that redefinitions do not matter.
        divisors : (float, float)
            As :meth:`chronicle.storage.codec.event_decode.EventBlock.columns` takes them.

        Raises
        ------
        CorruptionError
            When a block is not what was stored.
        """
        indexed = start_ts is not None or end_ts is not None or "index" in names
        indexes, offsets, times, _ = self.seek_columns() if indexed else ((), (), (), ())
        for position, block in self._record_blocks():
            point, following = (
                place_of(offsets, place) for place in (block.raw_offset, block.raw_offset + block.raw_bytes)
            )
            if point is not None and end_ts is not None and times[point] >= end_ts:
                return
            if following is not None and start_ts is not None and times[following] < start_ts:
                continue
            if holds_none(block, kinds):
                continue
            index = 0 if not indexed else None if point is None else indexes[point]
            if block.raw_offset == self.footer.data_offset:
                index = self.footer.base_index
            end = min(block.raw_offset + block.raw_bytes, self.footer.footer_offset)
            columns = None
            sliced = is_slice(block, offsets, times, start_ts, end_ts)
            if (
                index is not None
                and gives_columns(block, names, kinds, uniform=uniform)
                and not (sliced and self._was_sliced(position))
            ):
                self.blocks_decoded += 1
                with naming(self.path, block):
                    columns = self._columns(
                        position,
                        names,
                        kinds,
                        index,
                        sides=sides,
                        start_ts=start_ts,
                        end_ts=end_ts,
                        divisors=divisors,
                    )
            yield Stretch(block.raw_offset, end, columns)

    def _was_sliced(self, position: int) -> bool:
        """Return whether a part of a block was asked for before, and note it."""
        known = position in self._sliced
        self._sliced.add(position)
        return known

    def _columns(
        self, position: int, names: Collection[str], kinds: Collection[int], index: int, **options: Any
    ) -> dict[str, NDArray[Any]]:
        """Return columns of a block of events or orders."""
        if self.footer.blocks[position].method != Method.ORDERS:
            return self._event_block(position).columns(
                [name for name in names if name not in ORDER_NAMES], index, **options
            )
        from chronicle.storage.codec.order_columns import order_columns

        block, stored = self._compared(position)
        return order_columns(stored, block.raw_bytes, names, kinds, index, orders=self._orders, **options)

    def _event_block(self, position: int) -> EventBlock:
        """Return a block of events whose stored bytes matched their checksum."""
        from chronicle.storage.codec.event_decode import EventBlock

        block, stored = self._compared(position)
        return EventBlock(stored, block.raw_bytes)

    def _compared(self, position: int) -> tuple[Block, bytes]:
        """Return a block and its stored bytes, which matched their checksum."""
        block = self.footer.blocks[position]
        stored = self._stored(block)
        compare(stored, block.stored_checksum, block, self.path, "stored")
        return block, stored

    def piece(self, start: int, end: int, until: int) -> tuple[int, memoryview]:
        """Return (offset, bytes) of what is decoded around [start, end), for one who reads on to `until`.

        Who reads a block to its end holds it meanwhile, and is not expected back: it is not kept.
        """
        position = bisect_right(self._starts, start) - 1
        block = self.footer.blocks[position]
        first, last = block.raw_offset, block.raw_offset + block.raw_bytes
        if start < first or end > last:
            return start, self.view(start, end)
        stop = max(end, min(until, last))
        offset, raw = self._block(position, start - first, stop - first, keep=stop < last)
        return first + offset, memoryview(raw)

    def _block(self, position: int, start: int, end: int, *, keep: bool = True) -> tuple[int, bytes | memoryview]:
        """Return (offset, bytes) of a block, or of a part of it that holds [start, end) of the block."""
        known = self._kept.get(self._number, position)
        if known is not None and known[0] <= start and end <= known[0] + len(known[1]):
            return known
        piece = self._decoded(position, start, end, again=known is not None)
        self.blocks_decoded += 1
        if keep:
            self._kept.put(self._number, position, piece)
        return piece

    def _decoded(self, position: int, start: int, end: int, *, again: bool) -> tuple[int, bytes | memoryview]:
        """Return (offset, bytes) of a block, or of a part of it that holds [start, end).

        A lookup needs a part; who comes back for more of the same block reads on, and gets it all.
        """
        block = self.footer.blocks[position]
        ahead = end + PART_AHEAD_BYTES
        if block.method not in EVENT_METHODS or again or ahead > block.raw_bytes * PART_SHARE:
            return 0, decode_stored(self._stored(block), block, self.path, self._book, self._orders)
        with naming(self.path, block):
            return self._event_block(position).part(start, ahead, self._book)

    def _book(self) -> Book:
        """Return the book in the prologue, with which the segment's first block of records may begin."""
        from chronicle.storage.codec.small_blocks import book_in

        place = book_place(self)
        book = None if place is None else book_in(self.view(0, self.data_offset), *place)
        if book is None:
            raise CorruptionError("a block begins with the prologue's book, and there is none", path=self.path)
        return book

    def _orders(self) -> tuple[NDArray[Any], int]:
        """Return the orders in the prologue, with which the segment's first block of records may begin."""
        found = prologue_orders(self)
        if found is None:
            raise CorruptionError("a block begins with the prologue's orders, and there are none", path=self.path)
        return found

    def every_block(self, whole: xxhash.xxh3_64) -> Iterator[tuple[Block, bytes, bytes | memoryview]]:
        """Yield each block, as stored and decoded; every byte is checked, and `whole` takes the decoded ones.

        Where each read is a request, 8 MiB are read at once.

        Raises
        ------
        CorruptionError and the other errors of a damaged object
        """
        if self._reader is None:
            raise NotFoundError("the segment was closed", path=self.path)
        if self._reader.ahead:
            self._reader.ahead = CHECK_BYTES
        check_header(self._reader.read(0, HEADER_BYTES), self.footer, self.path)
        for block in self.footer.blocks:
            stored = self._stored(block)
            yield block, stored, decode_stored(stored, block, self.path, self._book, self._orders, whole)

    def _stored(self, block: Block) -> bytes:
        offset = block.object_offset - self._tail_offset
        if offset >= 0:
            return self._tail[offset : offset + block.object_bytes]
        if self._reader is None:
            raise NotFoundError("the segment was closed", path=self.path)
        self.bytes_read += block.object_bytes
        return self._reader.read(block.object_offset, block.object_bytes)
