"""A segment's two small blocks, packed closer than zstd alone does: the prologue's book, and the seek index.

Each segment carries them, so they weigh on small segments. ``docs/format/archive.md`` is the specification.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import BOOK_DELTA_BYTES, HEADER_BYTES, SEEK_ENTRY_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind
from chronicle.storage.codec import engine
from chronicle.storage.codec.columns import (
    COLUMN,
    DELTA,
    MINUS_REFERENCE,
    Column,
    Events,
    decode_column,
    store_column,
)
from chronicle.storage.codec.event_layout import LEVEL_EDGES, LEVEL_FORMS, SIGNED, Price
from chronicle.storage.codec.snapshots import Book, Stored, stored
from chronicle.storage.codec.tokens import ENTRY, PLAIN, Columns, compressor, decompressor

__all__ = ["book_in", "decode_prologue", "decode_seek", "encode_prologue", "encode_seek", "seek_entries"]

Values = NDArray[np.int64]

PROLOGUE_HEAD: Final = struct.Struct("<II")
"""offset of the book's snapshot record in the block, bytes of the level columns."""
LEVELS_HEAD: Final = struct.Struct("<qq")
"""unit and base of the prices; three entries of columns and their streams follow."""
SEEK_HEAD: Final = struct.Struct("<II")
"""entries, bytes of their columns."""
SEEK_WORDS: Final = SEEK_ENTRY_BYTES // 8
SEEK_COLUMNS_FROM: Final = 32
"""Fewer entries as columns save some 60 bytes, and take ten times the time of one zstd frame."""
WIDTH_MAX: Final = 8
_DAMAGE: Final = (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError)


def book_in(data: bytes | memoryview, offset: int, length: int) -> Book | None:
    """Return the book of the snapshot record at `offset`, or None when it is none."""
    found = _snapshot(data, offset, length)
    return None if found is None else Book(found.instrument, found.bids, found.levels)


def encode_prologue(raw: bytes, offset: int, length: int) -> bytes | None:
    """Return header page and prologue with the levels of the snapshot record at `offset` as columns."""
    found = _snapshot(raw, offset, length)
    if found is None or not len(found.levels):
        return None
    columns = _pack_levels(found)
    start = offset + SNAPSHOT_LEVELS_OFFSET
    rest = raw[:start] + raw[start + found.levels.nbytes :]
    return PROLOGUE_HEAD.pack(offset, len(columns)) + columns + compressor(3).compress(rest)


def decode_prologue(stored_block: bytes | memoryview, raw_bytes: int, *, levels: bool = True) -> bytes:
    """Undo :func:`encode_prologue`; without `levels` those of the book are zeros, which takes half the time.

    Raises
    ------
    CorruptionError
        When it does not decode to `raw_bytes` bytes.
    """
    try:
        return _prologue(memoryview(stored_block), raw_bytes, levels=levels)
    except _DAMAGE as error:
        raise CorruptionError(f"a prologue block does not decode: {error}") from error


def _prologue(data: memoryview, raw_bytes: int, *, levels: bool) -> bytes:
    offset, size = PROLOGUE_HEAD.unpack_from(data)
    start = PROLOGUE_HEAD.size + size
    rest = _unzstd(data[start:], raw_bytes)
    place = offset + SNAPSHOT_LEVELS_OFFSET
    missing = raw_bytes - len(rest)
    if place > len(rest) or missing % 16 or missing <= 0:
        raise ValueError("the book is not where it is said to be")
    bids, asks = struct.unpack_from("<II", rest, offset + HEADER_BYTES)
    if 16 * (bids + asks) != missing:
        raise ValueError("the book has another number of levels")
    if not levels:
        return rest[:place] + bytes(missing) + rest[place:]
    return rest[:place] + _unpack_levels(data[PROLOGUE_HEAD.size : start], bids, asks).tobytes() + rest[place:]


def encode_seek(raw: bytes, entries: int) -> bytes | None:
    """Return a sealed file's end with its seek entries as columns; None where there are too few of them to pay."""
    if entries < SEEK_COLUMNS_FROM:
        return None
    rows = np.frombuffer(raw, dtype=np.int64, count=entries * SEEK_WORDS).reshape(-1, SEEK_WORDS)
    events, index = _one_event(entries), rows[:, 0]
    references = (None, index * BOOK_DELTA_BYTES, None, None)
    modes = (DELTA, DELTA | MINUS_REFERENCE, DELTA, 0)
    found = [
        store_column(np.ascontiguousarray(rows[:, word]), events, reference, mode)
        for word, (reference, mode) in enumerate(zip(references, modes, strict=True))
    ]
    columns = _pack(found)
    rest = compressor(3).compress(raw[entries * SEEK_ENTRY_BYTES :])
    return SEEK_HEAD.pack(entries, len(columns)) + columns + rest


def decode_seek(stored_block: bytes | memoryview, raw_bytes: int) -> bytes:
    """Undo :func:`encode_seek`.

    Raises
    ------
    CorruptionError
        When it does not decode to `raw_bytes` bytes.
    """
    try:
        return _seek(memoryview(stored_block), raw_bytes)
    except _DAMAGE as error:
        raise CorruptionError(f"a seek block does not decode: {error}") from error


def seek_entries(stored_block: bytes | memoryview, raw_bytes: int) -> int:
    """Return how many seek entries a block has, without decoding it.

    Raises
    ------
    CorruptionError
        When it cannot have so many.
    """
    try:
        return _seek_head(memoryview(stored_block), raw_bytes)[0]
    except _DAMAGE as error:
        raise CorruptionError(f"a seek block does not decode: {error}") from error


def _seek_head(data: memoryview, raw_bytes: int) -> tuple[int, int]:
    entries, size = SEEK_HEAD.unpack_from(data)
    if not 1 <= entries <= raw_bytes // SEEK_ENTRY_BYTES:
        raise ValueError("an absurd number of seek entries")
    return entries, size


def _seek(data: memoryview, raw_bytes: int) -> bytes:
    entries, size = _seek_head(data, raw_bytes)
    start = SEEK_HEAD.size + size
    events = _one_event(entries)
    columns = _unpack(data[SEEK_HEAD.size : start], SEEK_WORDS, entries)
    index = decode_column(columns[0], events)
    offset = decode_column(columns[1], events, index * BOOK_DELTA_BYTES)
    rows = [index, offset, *(decode_column(column, events) for column in columns[2:])]
    found = np.stack(rows, axis=1).tobytes() + _unzstd(data[start:], raw_bytes)
    if len(found) != raw_bytes:
        raise ValueError("the parts do not add up")
    return found


def _snapshot(data: bytes | memoryview, offset: int, length: int) -> Stored | None:
    if offset < 0 or length < SNAPSHOT_LEVELS_OFFSET or length % 8 or offset + length > len(data):
        return None
    words = np.frombuffer(bytes(data[offset : offset + length]), dtype=np.int64)
    if int(words[0]) & 0xFFFFFFFF != length or (int(words[0]) >> 32) & 0xFFFF != Kind.BOOK_SNAPSHOT:
        return None
    found = stored(words, 0, 0)
    return found if found.whole else None


def _pack_levels(found: Stored) -> bytes:
    """Return levels as the three columns that an event block has for them."""
    from chronicle.storage.codec.event_encode import priced

    counts = (np.array([count], dtype=np.int64) for count in (found.bids, found.asks))
    prices, sizes = found.levels[:, 0].copy(), found.levels[:, 1].copy()
    columns = priced(prices, sizes, *counts, forms=LEVEL_FORMS)
    return b"".join((LEVELS_HEAD.pack(columns.unit, columns.base), *columns.columns, *columns.streams))


def _unpack_levels(data: memoryview, bids: int, asks: int) -> Values:
    unit, base = LEVELS_HEAD.unpack_from(data)
    start = LEVELS_HEAD.size + 3 * ENTRY.size
    rows = bids + asks
    columns = Columns(bytes(data[LEVELS_HEAD.size : start]), 3, data[start:], rows)
    forms = LEVEL_FORMS
    if columns.mode(1) != PLAIN:
        forms = forms[0] | SIGNED, forms[1] | SIGNED
    arrays = engine.arrays_now()
    counts = np.array([bids], dtype=np.int64), np.array([asks], dtype=np.int64)
    whole = arrays.cut(*counts, rows, LEVEL_EDGES, least=0)
    prices = arrays.prices(columns, 0, *counts, Price(base, unit, forms), LEVEL_EDGES, whole)
    return np.stack((prices, arrays.values(columns, 2, rows, None)), axis=1)


def _one_event(rows: int) -> Events:
    opens = np.zeros(rows, dtype=np.bool_)
    opens[:1] = True
    return Events(opens)


def _pack(columns: list[Column]) -> bytes:
    """Return columns as their descriptors, the sizes of the planes, and the planes, a zstd frame each."""
    frames = [compressor(3).compress(plane) for column in columns for plane in column.planes]
    sizes = b"".join(struct.pack("<I", len(frame)) for frame in frames)
    return b"".join((*(column.pack() for column in columns), sizes, *frames))


def _unpack(data: memoryview, count: int, rows: int) -> list[Column]:
    parts = [COLUMN.unpack_from(data, COLUMN.size * number) for number in range(count)]
    if any(part[1] > WIDTH_MAX for part in parts):
        raise ValueError("a column is too wide")
    position = COLUMN.size * count
    sizes = struct.unpack_from(f"<{sum(part[1] for part in parts)}I", data, position)
    position += 4 * len(sizes)
    planes = []
    for size in sizes:
        if position + size > len(data):
            raise ValueError("planes lead outside their block")
        plane = _unzstd(data[position : position + size], rows)
        if len(plane) != rows:
            raise ValueError("a plane has another length than its column")
        planes.append(plane)
        position += size
    if position != len(data):
        raise ValueError("bytes are left over")
    found = []
    for mode, width, base, divisor in parts:
        found.append(Column(mode, width, base, divisor, tuple(planes[:width])))
        planes = planes[width:]
    return found


def _unzstd(data: Any, bytes_max: int) -> bytes:
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= bytes_max:
        raise ValueError("a frame has an absurd length")
    return bytes(decompressor().decompress(data, max_output_size=max(1, size)))
