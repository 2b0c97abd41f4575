"""A block of whole events as columns, and back: the archive's pre-filter for records.

Records are split into their header fields (one column each over all records), the words of bodies of equal shape
(tables), the levels of book snapshots, and the rest (verbatim). A snapshot that follows from the snapshot before it
and the deltas between them is left out and made again (:mod:`chronicle.storage.codec.block_books`); ETL snapshots
nearly all do. ``docs/format/archive.md`` is the specification. NumPy only: reading an archive needs no compiler.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import zstandard

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import HEADER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind
from chronicle.storage.codec import engine
from chronicle.storage.codec.block_books import decode_levels, encode_levels
from chronicle.storage.codec.block_shape import HEADER_WORDS, LENGTH_MASK, Shape, record_offsets
from chronicle.storage.codec.block_streams import DESCRIPTOR, Reader, Writer, pack_streams, unpack_streams
from chronicle.storage.codec.columns import Events, Values

__all__ = ["BLOCK_BYTES_MAX", "decode_block", "encode_block", "kinds_of"]

BLOCK_BYTES_MAX: Final = 96 << 20
"""No block's records take more: one event's greatest size and one block's target, with room."""
TILE_ROWS: Final = 2048


def encode_block(data: bytes | memoryview, level: int) -> bytes | None:
    """Return `data` (whole events) as a columns block, or None when it is not made of records."""
    offsets = record_offsets(data)
    if offsets is None or not len(offsets):
        return None
    shape = Shape(np.frombuffer(data, dtype=np.int64), offsets)
    writer = Writer(level)
    values = shape.distinct
    writer.column(shape.index.astype(np.int64), _opening(len(offsets)))
    for position in range(1, HEADER_WORDS):
        writer.column(shape.header[position], shape.events, shape.header[1] if position == 2 else None)
    for rows, words in shape.tables():
        events = shape.table_events(rows)
        sequence = shape.header[5][rows]
        for column in shape.body(rows, words):
            writer.column(np.ascontiguousarray(column), events, sequence)
    forms = encode_levels(shape, writer)
    rest = shape.rest().tobytes()
    descriptor = DESCRIPTOR.pack(len(offsets), len(values), len(writer.columns), len(forms))
    descriptor += values.tobytes() + b"".join(column.pack() for column in writer.columns) + bytes(forms)
    return pack_streams([descriptor, *writer.streams, rest], level)


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
        descriptor = unpack_streams(stored, raw_bytes, first=1)[0]
        count = DESCRIPTOR.unpack_from(descriptor)[1]
        words = np.frombuffer(descriptor, dtype=np.int64, count=count, offset=DESCRIPTOR.size)
    except (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError) as error:
        raise CorruptionError(f"an archive block does not decode: {error}") from error
    return frozenset(((words >> 32) & 0xFFFF).tolist())


def _decode(stored: bytes | memoryview, raw_bytes: int) -> memoryview:
    if raw_bytes > BLOCK_BYTES_MAX or raw_bytes % 8:
        raise ValueError(f"a block of {raw_bytes} bytes")
    reader = Reader(unpack_streams(stored, raw_bytes))
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
    shape = Shape(out, offsets, words, index)
    for position in range(1, HEADER_WORDS):
        shape.header[position] = reader.column(shape.events, shape.header[1] if position == 2 else None)
    _scatter(out, offsets >> 3, list(shape.header))
    for rows, body_words in shape.tables():
        events, sequence = shape.table_events(rows), shape.header[5][rows]
        starts = (offsets[rows] >> 3) + HEADER_WORDS
        _scatter(out, starts, [reader.column(events, sequence) for _ in range(body_words)])
    _decode_rest(shape, reader.streams[-1], out)
    decode_levels(shape, reader)
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


def _decode_rest(shape: Shape, rest: bytes, out: Values) -> None:
    """Put the verbatim bodies back. Snapshot counts are inside them, hence record by record."""
    if engine.has_kernels():
        from chronicle.storage.kernels.bodies import scatter_bodies

        words = np.frombuffer(rest, dtype=np.int64)
        used = scatter_bodies(words, shape.rest_rows, shape.offsets, shape.lengths, shape.kinds, out)
        if used != len(words):
            raise ValueError("bytes are left over, or missing")
        return
    target, position = out.data.cast("B"), 0
    rows, snapshot = shape.rest_rows, int(Kind.BOOK_SNAPSHOT)
    columns = (shape.offsets[rows].tolist(), shape.lengths[rows].tolist(), shape.kinds[rows].tolist())
    for offset, length, kind in zip(*columns, strict=True):
        start, end = offset + HEADER_BYTES, offset + length
        if kind == snapshot and length >= SNAPSHOT_LEVELS_OFFSET:
            bids, asks = struct.unpack_from("<II", rest, position)
            if SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks) == length:
                end = offset + SNAPSHOT_LEVELS_OFFSET
        target[start:end] = rest[position : position + end - start]
        position += end - start
    if position != len(rest):
        raise ValueError("bytes are left over")
