"""The streams of a block of columns: a descriptor, the planes of the columns, the verbatim rest, each zstd or as it
is."""

from __future__ import annotations

import struct
from typing import Final

import zstandard

from chronicle.storage.codec.columns import COLUMN, Column, Events, Values, decode_column, encode_column
from chronicle.storage.codec.tokens import compressor, decompressor

__all__ = ["DESCRIPTOR", "Reader", "Writer", "pack_streams", "unpack_streams"]

STREAMS_MAX: Final = 1 << 16
DESCRIPTOR: Final = struct.Struct("<IIII")
"""record count, distinct first words, columns, snapshots."""
STREAM: Final = struct.Struct("<II")
"""raw bytes, stored bytes (equal: stored as they are, else one zstd frame)."""


class Writer:
    """Columns and their streams, in order."""

    def __init__(self, level: int) -> None:
        self.columns: list[Column] = []
        self.streams: list[bytes] = []

    def column(self, values: Values, events: Events, reference: Values | None = None) -> None:
        column = encode_column(values, events, reference)
        self.columns.append(column)
        self.streams.extend(column.planes)


class Reader:
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


def pack_streams(streams: list[bytes], level: int) -> bytes:
    table, contents = [struct.pack("<I", len(streams))], []
    for stream in streams:
        packed = compressor(level).compress(stream) if len(stream) > 32 else stream
        if len(packed) >= len(stream):
            packed = stream
        table.append(STREAM.pack(len(stream), len(packed)))
        contents.append(packed)
    return b"".join(table + contents)


def unpack_streams(stored: bytes | memoryview, raw_bytes: int, *, first: int = STREAMS_MAX) -> list[bytes]:
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
