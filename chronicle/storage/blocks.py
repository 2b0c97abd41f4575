"""A block of whole events as columns, and back: the archive's pre-filter for records.

Records are split into their header fields (one column each over all records), the words of bodies of equal shape
(tables), the levels of book snapshots, and the rest (verbatim). A snapshot that follows from the snapshot before it
and the deltas between them is left out and made again by :func:`replayed_levels`; ETL snapshots nearly all do.
``docs/format/archive.md`` is the specification. NumPy only: reading an archive needs no compiler.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import HEADER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind, Side
from chronicle.storage.columns import COLUMN, Column, Events, Values, decode_column, encode_column
from chronicle.storage.tokens import compressor, decompressor

__all__ = ["BLOCK_BYTES_MAX", "decode_block", "encode_block", "kinds_of", "record_offsets"]

BLOCK_BYTES_MAX: Final = 96 << 20
"""No block's records take more: one event's greatest size and one block's target, with room."""
TABLE_BODY_BYTES_MAX: Final = 256
TABLE_ROWS_MIN: Final = 8
RUN_GUESS_ROWS: Final = 16
STREAMS_MAX: Final = 1 << 16
HEADER_WORDS: Final = HEADER_BYTES // 8
FLAGS_MASK: Final = 0xFF << 48
LENGTH_MASK: Final = 0xFFFFFFFF
TILE_ROWS: Final = 2048
LEVELS_VERBATIM: Final = 0
LEVELS_REPLAYED: Final = 1

DESCRIPTOR: Final = struct.Struct("<IIII")
"""record count, distinct first words, columns, snapshots."""
STREAM: Final = struct.Struct("<II")
"""raw bytes, stored bytes (equal: stored as they are, else one zstd frame)."""


def record_offsets(data: bytes | memoryview) -> Values | None:
    """Return the offset of each record in `data`, or None when it is no run of whole records."""
    if len(data) % 8:
        return None
    lengths = memoryview(data).cast("I")
    words = np.frombuffer(data, dtype=np.uint32)
    end, position, before, same = len(lengths), 0, 0, 0
    found: list[int] = []
    while position < end:
        length = lengths[position]
        if length < HEADER_BYTES or length & 7:
            return None
        stride = length >> 2
        found.append(position)
        position += stride
        same = same + 1 if length == before else 0
        before = length
        if same >= RUN_GUESS_ROWS:  # a run of equal lengths goes on as a rule: look at many at once
            ahead = words[position : position + 64 * same * stride : stride] == length
            count = len(ahead) if bool(ahead.all()) else int(ahead.argmin())
            found.extend(range(position, position + count * stride, stride))
            position += count * stride
            same = same + count if count == len(ahead) else 0
    return np.array(found, dtype=np.int64) * 4 if position == end else None


def encode_block(data: bytes | memoryview, level: int) -> bytes | None:
    """Return `data` (whole events) as a columns block, or None when it is not made of records."""
    offsets = record_offsets(data)
    if offsets is None or not len(offsets):
        return None
    shape = _Shape(np.frombuffer(data, dtype=np.int64), offsets)
    writer = _Writer(level)
    values = shape.distinct
    writer.column(shape.index.astype(np.int64), _opening(len(offsets)))
    for position in range(1, HEADER_WORDS):
        writer.column(shape.header[position], shape.events, shape.header[1] if position == 2 else None)
    for rows, words in shape.tables():
        events = shape.table_events(rows)
        sequence = shape.header[5][rows]
        for column in shape.body(rows, words):
            writer.column(np.ascontiguousarray(column), events, sequence)
    forms = _encode_levels(shape, writer)
    rest = b"".join(data[start:end] for start, end in shape.rest_parts())
    descriptor = DESCRIPTOR.pack(len(offsets), len(values), len(writer.columns), len(forms))
    descriptor += values.tobytes() + b"".join(column.pack() for column in writer.columns) + bytes(forms)
    return _pack_streams([descriptor, *writer.streams, rest], level)


def decode_block(stored: bytes | memoryview, raw_bytes: int) -> memoryview:
    """Return the records of a columns block.

    Raises
    ------
    CorruptionError
        When it does not decode to `raw_bytes` bytes. The caller has checked the block's checksum and compares
        that of the result.
    """
    try:
        return _decode(stored, raw_bytes)
    except (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError) as error:
        raise CorruptionError(f"an archive block does not decode: {error}") from error


def kinds_of(stored: bytes | memoryview, raw_bytes: int) -> frozenset[int]:
    """Return the kinds of record in a columns block; of its streams only the first is looked at.

    Raises
    ------
    CorruptionError
        When the block is none.
    """
    try:
        descriptor = _unpack_streams(stored, raw_bytes, first=1)[0]
        count = DESCRIPTOR.unpack_from(descriptor)[1]
        words = np.frombuffer(descriptor, dtype=np.int64, count=count, offset=DESCRIPTOR.size)
    except (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError) as error:
        raise CorruptionError(f"an archive block does not decode: {error}") from error
    return frozenset(((words >> 32) & 0xFFFF).tolist())


def _decode(stored: bytes | memoryview, raw_bytes: int) -> memoryview:
    if raw_bytes > BLOCK_BYTES_MAX or raw_bytes % 8:
        raise ValueError(f"a block of {raw_bytes} bytes")
    reader = _Reader(_unpack_streams(stored, raw_bytes))
    words = np.frombuffer(reader.descriptor, dtype=np.int64, count=reader.word_count, offset=DESCRIPTOR.size)
    index = reader.column(_opening(reader.record_count))
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= len(words)):
        raise ValueError("a first word outside the block's list")
    first_words = words[index]
    lengths = first_words & LENGTH_MASK
    if bool(np.any(lengths < HEADER_BYTES)) or bool(np.any(lengths & 7)) or int(lengths.sum()) != raw_bytes:
        raise ValueError("record lengths do not add up")
    offsets = np.cumsum(lengths) - lengths
    out = np.zeros(raw_bytes // 8, dtype=np.int64)
    shape = _Shape(out, offsets, words, index)
    for position in range(1, HEADER_WORDS):
        shape.header[position] = reader.column(shape.events, shape.header[1] if position == 2 else None)
    _scatter(out, offsets >> 3, list(shape.header))
    for rows, body_words in shape.tables():
        events, sequence = shape.table_events(rows), shape.header[5][rows]
        starts = (offsets[rows] >> 3) + HEADER_WORDS
        _scatter(out, starts, [reader.column(events, sequence) for _ in range(body_words)])
    _decode_rest(shape, reader, out.data.cast("B"))
    _decode_levels(shape, reader)
    return out.view(np.uint8).data.toreadonly()


def _scatter(out: Values, starts: Values, columns: list[Values]) -> None:
    """Put columns side by side at `starts` into zeros, some rows at a time so that the target stays in the cache."""
    filled = [(position, column) for position, column in enumerate(columns) if column.any()]
    strides = np.diff(starts)
    for begin in range(0, len(starts), TILE_ROWS):
        rows = starts[begin : begin + TILE_ROWS]
        steps = strides[begin : begin + len(rows) - 1]
        if len(rows) > 1 and bool(np.all(steps == steps[0])):  # records of one length, side by side
            stride, first = int(steps[0]), int(rows[0])
            for position, column in filled:
                start = first + position
                out[start : start + len(rows) * stride : stride][: len(rows)] = column[begin : begin + TILE_ROWS]
            continue
        for position, column in filled:
            out[rows + position] = column[begin : begin + TILE_ROWS]


def _opening(count: int) -> Events:
    """Return the event marks of the column that comes before events are known: one event."""
    first = np.zeros(count, dtype=np.bool_)
    first[:1] = True
    return Events(first)


class _Shape:
    """What both directions derive from the records' headers alone."""

    def __init__(
        self, words: Values, offsets: Values, distinct: Values | None = None, index: Values | None = None
    ) -> None:
        """Take the records of `words`; or, when they are still to be decoded, each one's first word by `index`."""
        self.words = words
        self.offsets = offsets
        if distinct is None or index is None:
            rows = words[(offsets >> 3)[:, None] + np.arange(HEADER_WORDS)]
            self.header = np.ascontiguousarray(rows.T)
            distinct, index = np.unique(self.header[0], return_inverse=True)
        else:
            self.header = np.zeros((HEADER_WORDS, len(offsets)), dtype=np.int64)
            self.header[0] = distinct[index]
        self.distinct, self.index = distinct, index
        word = self.header[0]
        self.lengths = word & LENGTH_MASK
        self.kinds = (word >> 32) & 0xFFFF
        first = np.ones(len(word), dtype=np.bool_)
        first[1:] = (word[:-1] >> 48) & 0x80 != 0
        self.events = Events(first)
        keys, group_of = np.unique(distinct & ~np.int64(FLAGS_MASK), return_inverse=True)
        group = group_of[index]
        counts = np.bincount(group, minlength=len(keys))
        small = (keys & LENGTH_MASK) <= HEADER_BYTES + TABLE_BODY_BYTES_MAX
        self._table_groups = np.flatnonzero(small & (counts >= TABLE_ROWS_MIN))
        self._group = group
        in_table = np.zeros(len(keys), dtype=np.bool_)
        in_table[self._table_groups] = True
        self.rest_rows = np.flatnonzero(~in_table[group])

    def instruments(self) -> Values:
        return np.asarray(self.header[4] & LENGTH_MASK, dtype=np.int64)

    def tables(self) -> list[tuple[Values, int]]:
        """Return (rows ordered by instrument, body words) of every table, in the order of their first words."""
        instruments = self.instruments()
        many = bool(np.any(instruments != instruments[:1]))
        found = []
        for group in self._table_groups:
            rows = np.flatnonzero(self._group == group)
            if many:
                rows = rows[np.argsort(instruments[rows], kind="stable")]
            found.append((rows, (int(self.lengths[rows[0]]) - HEADER_BYTES) // 8))
        return found

    def table_events(self, rows: Values) -> Events:
        """Return the events of a table's rows; a change of instrument opens one too."""
        first = np.ones(len(rows), dtype=np.bool_)
        events, instruments = self.events.of_row[rows], self.instruments()[rows]
        first[1:] = (events[1:] != events[:-1]) | (instruments[1:] != instruments[:-1])
        return Events(first)

    def body(self, rows: Values, words: int) -> Any:
        starts = (self.offsets[rows] >> 3) + HEADER_WORDS
        return self.words[starts[:, None] + np.arange(words)].T

    def snapshots(self) -> list[tuple[int, int, int]]:
        """Return (row, bids, asks) of the snapshots outside tables whose counts fit their length."""
        found = []
        for row in self.rest_rows[self.kinds[self.rest_rows] == Kind.BOOK_SNAPSHOT]:
            length = int(self.lengths[row])
            if length < SNAPSHOT_LEVELS_OFFSET:
                continue
            counts = int(self.words[(int(self.offsets[row]) + HEADER_BYTES) >> 3])
            bids, asks = counts & LENGTH_MASK, (counts >> 32) & LENGTH_MASK
            if SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks) == length:
                found.append((int(row), bids, asks))
        return found

    def rest_parts(self) -> list[tuple[int, int]]:
        """Return the byte ranges that are kept verbatim: bodies outside tables, snapshots without their levels."""
        levels = {row for row, _, _ in self.snapshots()}
        parts = []
        for row in self.rest_rows.tolist():
            start = int(self.offsets[row])
            end = start + (SNAPSHOT_LEVELS_OFFSET if row in levels else int(self.lengths[row]))
            if end > start + HEADER_BYTES:
                parts.append((start + HEADER_BYTES, end))
        return parts

    def levels(self, row: int, count: int) -> Values:
        """Return a view of a snapshot's `count` levels, shape (count, 2)."""
        start = (int(self.offsets[row]) + SNAPSHOT_LEVELS_OFFSET) >> 3
        return self.words[start : start + 2 * count].reshape(-1, 2)


class _Books:
    """The levels that a snapshot must have, if the one before it and the deltas since are the whole story."""

    def __init__(self, shape: _Shape) -> None:
        self._shape = shape
        self._before: dict[int, tuple[int, int, int]] = {}
        self._deltas: dict[int, Values] = {}

    def remember(self, row: int, bids: int, asks: int) -> None:
        """Make this snapshot the base of the instrument's next one."""
        self._before[int(self._shape.instruments()[row])] = (row, bids, asks)

    def replayed(self, row: int, bids: int, asks: int) -> Values | None:
        """Return the expected levels, shape (bids + asks, 2), and remember this snapshot as the next base."""
        shape = self._shape
        instrument = int(shape.instruments()[row])
        before = self._before.get(instrument)
        self.remember(row, bids, asks)
        if before is None:
            return None
        if instrument not in self._deltas:
            of_book = (shape.kinds == Kind.BOOK_DELTA) & (shape.instruments() == instrument)
            self._deltas[instrument] = np.flatnonzero(of_book & (shape.lengths >= HEADER_BYTES + 16))
        deltas = self._deltas[instrument]
        rows = deltas[np.searchsorted(deltas, before[0]) : np.searchsorted(deltas, row)]
        starts = (shape.offsets[rows] >> 3) + HEADER_WORDS
        changes = np.empty((len(starts), 2), dtype=np.int64)
        changes[:, 0], changes[:, 1] = shape.words[starts], shape.words[starts + 1]
        sides = (shape.header[0][rows] >> 56) & 0xFF
        base = shape.levels(before[0], before[1] + before[2])
        bid_levels = replayed_levels(base[: before[1]], changes[sides == Side.BID], descending=True)[:bids]
        ask_levels = replayed_levels(base[before[1] :], changes[sides == Side.ASK], descending=False)[:asks]
        if len(bid_levels) != bids or len(ask_levels) != asks:
            return None
        return np.concatenate((bid_levels, ask_levels))


def replayed_levels(base: Values, changes: Values, *, descending: bool) -> Values:
    """Return one side of a book after `changes`: the last size of each price, zeros left out, best first.

    Parameters
    ----------
    base, changes : int64 arrays of shape (n, 2)
        (price, size), `changes` in the order in which they happened; size 0 deletes.
    """
    both = np.concatenate((base, changes))
    both = both[_stable_order(both[:, 0])]
    keep = np.ones(len(both), dtype=np.bool_)
    keep[:-1] = both[1:, 0] != both[:-1, 0]
    keep &= both[:, 1] != 0
    side = both[keep]
    return side[::-1] if descending else side


def _stable_order(prices: Values) -> NDArray[np.intp]:
    """Return the stable ascending order of `prices`.

    Prices and positions packed into one word sort about eight times as fast as a stable argsort, where they fit.
    """
    count = len(prices)
    if not count:
        return np.zeros(0, dtype=np.intp)
    low = int(prices.min())
    bits = count.bit_length()
    if int(prices.max()) - low >= 1 << (62 - bits):
        return np.argsort(prices, kind="stable")
    packed = ((prices - low) << bits) | np.arange(count)
    packed.sort()
    return packed & ((1 << bits) - 1)


def _encode_levels(shape: _Shape, writer: _Writer) -> list[int]:
    books, forms, kept = _Books(shape), [], []
    for row, bids, asks in shape.snapshots():
        expected = books.replayed(row, bids, asks)
        levels = shape.levels(row, bids + asks)
        if expected is not None and np.array_equal(expected, levels):
            forms.append(LEVELS_REPLAYED)
            continue
        forms.append(LEVELS_VERBATIM)
        kept.append((levels, bids, asks))
    levels, sides = _joined_levels(kept)
    if len(levels):
        for position in (0, 1):
            writer.column(np.ascontiguousarray(levels[:, position]), sides)
    return forms


def _joined_levels(kept: list[tuple[Values, int, int]]) -> tuple[Values, Events]:
    """Return all verbatim levels; each side of each snapshot is an event."""
    counts = np.array([count for _, bids, asks in kept for count in (bids, asks)], dtype=np.int64)
    first = np.zeros(int(counts.sum()), dtype=np.bool_)
    first[(np.cumsum(counts) - counts)[counts > 0]] = True
    levels = np.concatenate([part for part, _, _ in kept]) if kept else np.zeros((0, 2), dtype=np.int64)
    return levels, Events(first)


def _decode_rest(shape: _Shape, reader: _Reader, out: memoryview) -> None:
    """Put the verbatim bodies back. Snapshot counts are inside them, hence record by record."""
    rest, position = reader.streams[-1], 0
    for row in shape.rest_rows.tolist():
        start, length = int(shape.offsets[row]) + HEADER_BYTES, int(shape.lengths[row])
        end = start + length - HEADER_BYTES
        if shape.kinds[row] == Kind.BOOK_SNAPSHOT and length >= SNAPSHOT_LEVELS_OFFSET:
            bids, asks = struct.unpack_from("<II", rest, position)
            if SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks) == length:
                end = start + SNAPSHOT_LEVELS_OFFSET - HEADER_BYTES
        out[start:end] = rest[position : position + end - start]
        position += end - start
    if position != len(rest):
        raise ValueError("bytes are left over")


def _decode_levels(shape: _Shape, reader: _Reader) -> None:
    snapshots = shape.snapshots()
    if len(snapshots) != len(reader.forms):
        raise ValueError("snapshots do not match their list")
    pairs = list(zip(snapshots, reader.forms, strict=True))
    kept = [
        (shape.levels(row, bids + asks), bids, asks) for (row, bids, asks), form in pairs if form == LEVELS_VERBATIM
    ]
    levels, sides = _joined_levels(kept)
    if len(levels):
        levels = np.stack((reader.column(sides), reader.column(sides)), axis=1)
    books, position = _Books(shape), 0
    for (row, bids, asks), form in pairs:
        count = bids + asks
        if form == LEVELS_VERBATIM:
            books.remember(row, bids, asks)
            shape.levels(row, count)[:] = levels[position : position + count]
            position += count
            continue
        expected = books.replayed(row, bids, asks)
        if expected is None or form != LEVELS_REPLAYED:
            raise ValueError("a snapshot does not follow from the one before")
        shape.levels(row, count)[:] = expected


class _Writer:
    """Columns and their streams, in order."""

    def __init__(self, level: int) -> None:
        self.columns: list[Column] = []
        self.streams: list[bytes] = []

    def column(self, values: Values, events: Events, reference: Values | None = None) -> None:
        column = encode_column(values, events, reference)
        self.columns.append(column)
        self.streams.extend(column.planes)


class _Reader:
    """Takes columns from the streams, in order."""

    def __init__(self, streams: list[bytes]) -> None:
        self.streams = streams
        self.descriptor = streams[0]
        self.record_count, self.word_count, column_count, form_count = DESCRIPTOR.unpack_from(self.descriptor)
        start = DESCRIPTOR.size + 8 * self.word_count
        forms = start + COLUMN.size * column_count
        if forms + form_count != len(self.descriptor):
            raise ValueError("the descriptor's length is wrong")
        parts = [COLUMN.unpack_from(self.descriptor, start + COLUMN.size * i) for i in range(column_count)]
        if sum(part[1] for part in parts) != len(streams) - 2:
            raise ValueError("streams do not match the columns")
        self.columns, position = [], 1
        for mode, width, base, divisor in parts:
            self.columns.append(Column(mode, width, base, divisor, tuple(streams[position : position + width])))
            position += width
        self.forms = list(self.descriptor[forms:])
        self._next = 0

    def column(self, events: Events, reference: Values | None = None) -> Values:
        column = self.columns[self._next]
        self._next += 1
        return decode_column(column, events, reference)


def _pack_streams(streams: list[bytes], level: int) -> bytes:
    table, contents = [struct.pack("<I", len(streams))], []
    for stream in streams:
        packed = compressor(level).compress(stream) if len(stream) > 32 else stream
        if len(packed) >= len(stream):
            packed = stream
        table.append(STREAM.pack(len(stream), len(packed)))
        contents.append(packed)
    return b"".join(table + contents)


def _unpack_streams(stored: bytes | memoryview, raw_bytes: int, *, first: int = STREAMS_MAX) -> list[bytes]:
    """Return the `first` streams (default all), never more than what a block of `raw_bytes` can need."""
    (count,) = struct.unpack_from("<I", stored)
    position = 4 + STREAM.size * count
    if not 2 <= count <= STREAMS_MAX or position > len(stored):
        raise ValueError("an absurd stream table")
    sizes = [STREAM.unpack_from(stored, 4 + STREAM.size * i) for i in range(count)]
    if (
        sum(raw for raw, _ in sizes) > 2 * raw_bytes + 65536
        or sum(size for _, size in sizes) != len(stored) - position
    ):
        raise ValueError("streams do not add up")
    streams = []
    for raw, size in sizes[:first]:
        part = bytes(stored[position : position + size])
        if size != raw:
            if zstandard.frame_content_size(part) != raw:
                raise ValueError("a stream has another length than its table says")
            part = decompressor().decompress(part, max_output_size=raw)
        streams.append(part)
        position += size
    return streams
