"""What block table and seek index tell of a block unopened: record kinds, columns, how much of it is asked for.

What the blocks tell together is told of the whole segment, where manifests and catalogs keep it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import Final

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import Kind
from chronicle.core.paths import channel_of
from chronicle.storage.codec.archive_layout import (
    HOLDS_OF_KIND,
    SEGMENT_HOLDS,
    TELLING_METHODS,
    ArchiveFooter,
    Block,
    Holds,
    Method,
)
from chronicle.storage.codec.decode import compare, decode_stored

__all__ = [
    "COLUMN_NAMES",
    "ORDER_NAMES",
    "bits_of",
    "footer_holds",
    "gives_columns",
    "holds_none",
    "holds_of_block",
    "holds_of_records",
    "holds_together",
    "is_slice",
    "is_told",
    "lacks",
    "may_define",
    "may_hold",
    "place_of",
    "tells_of",
]

COLUMN_NAMES: Final = (
    "ts_recv",
    "ts_event",
    "side",
    "flags",
    "price",
    "size",
    "sequence",
    "sequence_first",
    "sequence_previous",
    "source_index",
    "source",
    "index",
)
"""What :meth:`chronicle.storage.codec.archive.ArchivedSegment.stretches` gives as columns."""
ORDER_NAMES: Final = ("kind", "order_id", "action")
"""What it gives besides where a block has rows of orders; a block that lacks them has BOOK_DELTA rows alone."""
DELTA_NAMES: Final = frozenset(("sequence_first", "sequence_previous"))
"""What ORDER records do not have."""
SLICE_SHARE: Final = 0.25
"""A block of orders of which less is asked for gives columns once; who comes back has its records kept: rows are
followed from the first on, so that each look costs as much."""
_TOLD_ALONE: Final = (Method.COLUMNS, Method.ZSTD, Method.STORED)
"""Blocks that need nothing but themselves to be decoded, and no rows to tell what is in them."""
_KNOWN: Final = int(Holds.KNOWN)
_INSTRUMENTS: Final = int(Holds.INSTRUMENTS)
_VENUE_SNAPSHOTS: Final = int(Holds.VENUE_SNAPSHOTS)
"""As plain numbers: operators of flags take microseconds, and scans ask every block."""


def bits_of(kinds: Collection[int]) -> int:
    """Return the flags of blocks that hold a record of one of `kinds`."""
    bits = 0
    for kind in kinds:
        bits |= int(HOLDS_OF_KIND.get(kind, Holds.OTHERS))
    return bits


def is_told(block: Block) -> bool:
    """Return whether the table tells what kinds a block holds; older objects do not."""
    return bool(block.holds & _KNOWN)


def may_hold(block: Block, bits: int) -> bool:
    """Return whether a block holds one of the kinds of `bits` (True: unknown)."""
    return bool(block.holds & bits) or not block.holds & _KNOWN


def holds_none(block: Block, kinds: Collection[int]) -> bool:
    """Return whether a block is known to have no record of `kinds`; of deltas no flag tells."""
    return Kind.BOOK_DELTA not in kinds and not may_hold(block, bits_of(kinds))


def lacks(holds: int, kinds: Collection[int]) -> bool:
    """Return whether a segment of which `holds` is told is known to have no record of `kinds`."""
    return bool(holds & _KNOWN) and not holds & bits_of(kinds) and Kind.BOOK_DELTA not in kinds


def tells_of(queue: str) -> bool:
    """Return whether it is looked for what the segments of a queue hold: questions are about the clean ones."""
    return queue.startswith("clean/")


def holds_together(told: Collection[int]) -> int:
    """Return what a segment holds by what is told of each of its blocks; 0 where one tells nothing."""
    found = _KNOWN
    for holds in told:
        if not holds & _KNOWN:
            return 0
        found |= holds
    return found & SEGMENT_HOLDS


def footer_holds(footer: ArchiveFooter, stored: Callable[[Block], bytes], path: object) -> int:
    """Return what an archived segment holds by its block table; 0: that does not tell.

    Of a book the few small blocks of another method are read (by `stored`); one that is damaged tells nothing.
    """
    told, book = [], tells_of(footer.queue) and channel_of(footer.queue) == "book"
    for block in footer.blocks:
        if not footer.data_offset <= block.raw_offset < footer.footer_offset:
            continue
        if is_told(block):
            told.append(block.holds)
        elif book and block.method in _TOLD_ALONE:
            try:
                data = stored(block)
                compare(data, block.stored_checksum, block, path, "stored")
                raw = b"" if block.method == Method.COLUMNS else decode_stored(data, block, path)
                told.append(holds_of_block(block, data, raw))
            except CorruptionError:
                return 0
        else:
            return 0
    return holds_together(told)


def holds_of_block(block: Block, stored: bytes, raw: bytes | memoryview) -> int:
    """Return what a block of records holds, by its table entry, its stored bytes or all of its records."""
    if is_told(block):
        return block.holds
    if block.method != Method.COLUMNS:
        return holds_of_records(raw)
    from chronicle.storage.codec.blocks import kinds_of

    return _KNOWN | bits_of(kinds_of(stored, block.raw_bytes))


def holds_of_records(raw: bytes | memoryview) -> int:
    """Return what whole records are, one look at each; 0 where the bytes are no records."""
    import numpy as np

    from chronicle.core.scan import record_offsets

    try:
        offsets = record_offsets(memoryview(raw)) if len(raw) % 8 == 0 else None
    except CorruptionError:
        offsets = None
    if offsets is None:
        return 0
    kinds = np.unique(np.frombuffer(raw, dtype="<u2")[offsets // 2 + 2])
    return _KNOWN | bits_of(kinds.tolist())


def may_define(block: Block) -> bool:
    """Return whether a block may hold an INSTRUMENT record."""
    return may_hold(block, _INSTRUMENTS)


def gives_columns(block: Block, names: Collection[str], kinds: Collection[int], *, uniform: bool) -> bool:
    """Return whether the rows of a block are all there is of `kinds`, at decimals that are known beforehand."""
    if block.method not in TELLING_METHODS or (may_define(block) and not uniform):
        return False
    if Kind.BOOK_SNAPSHOT in kinds and (not block.holds or block.holds & _VENUE_SNAPSHOTS):
        return False
    if block.method != Method.ORDERS:
        return Kind.BOOK_DELTA in kinds
    return Kind.ORDER not in kinds or DELTA_NAMES.isdisjoint(names)


def is_slice(
    block: Block, offsets: Sequence[int], times: Sequence[int], start_ts: int | None, end_ts: int | None
) -> bool:
    """Return whether only a small part of a block of orders lies within some time, by the segment's seek index."""
    if block.method != Method.ORDERS or start_ts is None or end_ts is None:
        return False
    low = bisect_left(offsets, block.raw_offset)
    high = bisect_left(offsets, block.raw_offset + block.raw_bytes, low)
    first = max(low, bisect_left(times, start_ts, low, high) - 1)
    last = bisect_left(times, end_ts, first, high)
    return last - first < SLICE_SHARE * (high - low)


def place_of(offsets: Sequence[int], offset: int) -> int | None:
    """Return the place of `offset` in ascending offsets, None where it is not there."""
    place = bisect_left(offsets, offset)
    return place if place < len(offsets) and offsets[place] == offset else None
