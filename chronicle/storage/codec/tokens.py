"""Hybrid tokens: int64 columns as one byte a value, with the low bits of large values aside.

``docs/format/archive.md`` (Event blocks) is the specification. :meth:`Column.words` is the NumPy form of decoding: a
process that looks up one block needs no compiler; :mod:`chronicle.storage.kernels.tokens` is the fast form.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

__all__ = [
    "CODED",
    "ENTRY",
    "Column",
    "Columns",
    "Stream",
    "Tables",
    "Words",
    "compressor",
    "decompressor",
    "divider",
    "needs_of",
    "tables",
    "words_to_values",
]

Values = NDArray[np.int64]
Words = NDArray[np.uint64]

PLAIN: Final = 0
"""Words of (value - base) / unit, as they are."""
DELTA: Final = 1
"""Zigzag of (value - value before) / unit; before the first stands the base."""
SAME: Final = 2
"""Zigzag of (value - reference - base) / unit."""
BEFORE: Final = 3
"""Zigzag of (value - reference in the row before) / unit; before the first stands the base."""
MODES: Final = 4
CODED: Final = 4
"""Of the sizes of a compacted block only: the tokens are a code of prices and sizes together."""

ESCAPE: Final = 255
NARROW_BITS: Final = 57
SPARE_WORDS: Final = 2
"""Words a reader may load behind the bits."""

ENTRY: Final = struct.Struct("<BBBxIqqIII4x")
"""mode, k, m, reserved 0, count, base, unit, bytes of tokens as stored, bits, escapes, reserved 0."""
assert ENTRY.size == 40


@dataclass(frozen=True, slots=True)
class Tables:
    """What the tokens of one (k, m) stand for: least word and width of the low bits; `limit` is the longest word."""

    bases: Words
    widths: NDArray[np.uint8]
    limit: int


@cache
def tables(k: int, m: int) -> Tables:
    """Return the tables of (k, m).

    Raises
    ------
    ValueError
        When it is no form of tokens.
    """
    if not 1 <= k <= 7 or not 0 <= m <= k:
        raise ValueError(f"there are no tokens of form ({k}, {m})")
    bases, widths = [0] * 256, [0] * 256
    bases[: 1 << k] = range(1 << k)
    token, limit = 1 << k, k
    while token + (1 << m) <= ESCAPE and limit < 64:
        for top in range(1 << m):
            bases[token + top] = ((1 << m) + top) << (limit - m)
            widths[token + top] = limit - m
        token += 1 << m
        limit += 1
    return Tables(np.array(bases, dtype=np.uint64), np.array(widths, dtype=np.uint8), limit)


@cache
def divider(unit: int) -> tuple[int, np.uint64]:
    """Return (shift, inverse): a multiple of `unit` >> shift, times inverse modulo 2**64, is the quotient."""
    shift = (unit & -unit).bit_length() - 1
    return shift, np.uint64(pow(unit >> shift, -1, 1 << 64))


@dataclass(frozen=True, slots=True)
class Stream:
    """A column whose tokens are unpacked and whose bits and escapes still stand in the block, not yet checked.

    `bit` is where its bits begin in the block's streams (in bits), `escape` where its escapes do (in bytes); `needs`
    is (bits, escapes) that are there.
    """

    mode: int
    form: tuple[int, int]
    base: int
    unit: int
    tokens: NDArray[np.uint8]
    bit: int
    escape: int
    needs: tuple[int, int]

    @property
    def is_narrow(self) -> bool:
        """Whether the low bits of every token fit one load of 8 bytes from the byte in which they begin."""
        return tables(*self.form).limit <= NARROW_BITS


@dataclass(frozen=True, slots=True)
class Column:
    """A column as stored: words as tokens, bits and escapes. `count` 0 with rows to fill: every word is 0."""

    mode: int
    k: int
    m: int
    count: int
    base: int
    unit: int
    tokens: NDArray[np.uint8]
    bits: Words
    escapes: Words

    def first(self, rows: int) -> Column:
        """Return the column of the first `rows` rows."""
        if rows >= self.count:
            return self
        tokens = self.tokens[:rows]
        escapes = self.escapes[: int(np.count_nonzero(tokens == ESCAPE))]
        return replace(self, count=rows, tokens=tokens, escapes=escapes)

    def words(self, rows: int) -> Words:
        """Return the column's words in plain NumPy."""
        if not len(self.tokens):
            return np.zeros(rows, dtype=np.uint64)
        form = tables(self.k, self.m)
        widths = form.widths[self.tokens].astype(np.int64)
        starts = np.cumsum(widths) - widths
        place, shift = starts >> 6, (starts & 63).astype(np.uint64)
        one, top = np.uint64(1), np.uint64(63)
        window = (self.bits[place] >> shift) | ((self.bits[place + 1] << one) << (top - shift))
        words: Words = form.bases[self.tokens] + (window & ((one << widths.astype(np.uint64)) - one))
        words[self.tokens == ESCAPE] = self.escapes
        return words


def words_to_values(words: Words, mode: int, base: int, unit: int, reference: Values | None) -> Values:
    """Return the values of a column's words in plain NumPy (modulo 2**64)."""
    if mode == PLAIN:
        return np.asarray(words.view(np.int64) * np.int64(unit) + np.int64(base), dtype=np.int64)
    steps = unzigzag(words) * np.int64(unit)
    if mode == DELTA:
        return np.asarray(np.cumsum(steps) + np.int64(base), dtype=np.int64)
    if reference is None:
        raise ValueError("a column refers to another where there is none")
    if mode == SAME:
        return np.asarray(steps + reference + np.int64(base), dtype=np.int64)
    before = np.empty_like(steps)
    before[:1] = base
    before[1:] = reference[:-1]
    return steps + before


def unzigzag(words: Words) -> Values:
    """Return the signed numbers of zigzag words."""
    one = np.uint64(1)
    return np.asarray((words >> one).view(np.int64) ^ -(words & one).view(np.int64), dtype=np.int64)


class Columns:
    """The columns of a block, each unpacked and checked when it is asked for.

    Parameters
    ----------
    descriptor : bytes
        An entry of 40 bytes for each column.
    count : int
        How many columns there are.
    data : bytes-like
        Their streams, one after the other: tokens, bits, escapes.
    rows_max : int
        No column may have more rows: that much is allocated at most.
    coded : int
        The column that may be CODED.

    Raises
    ------
    ValueError
        When the streams do not fill `data`.
    """

    def __init__(self, descriptor: bytes, count: int, data: memoryview, rows_max: int, *, coded: int = -1) -> None:
        self._data = data
        self._entries: list[tuple[int, ...]] = []
        self._starts: list[int] = []
        position = 0
        for number in range(count):
            entry = ENTRY.unpack_from(descriptor, number * ENTRY.size)
            mode, _, _, rows, _, unit, token_bytes, bits, escapes = entry
            absurd = rows > rows_max or unit < 1 or escapes > rows
            if mode == CODED and number == coded:
                absurd = absurd or bits > 0 or escapes > 0
            else:
                absurd = absurd or mode >= MODES or token_bytes > rows
            if absurd:
                raise ValueError(f"column {number} is described as what cannot be")
            self._entries.append(entry)
            self._starts.append(position)
            position += token_bytes + _bit_bytes(bits) + 8 * escapes
        if position != len(data):
            raise ValueError("the columns' streams do not add up")

    def mode(self, number: int) -> int:
        """Return a column's mode."""
        return self._entries[number][0]

    def unit(self, number: int) -> int:
        """Return a column's unit."""
        return self._entries[number][5]

    def code(self, number: int, rows: int) -> memoryview:
        """Return the code of a column that is CODED and must have `rows` rows.

        Raises
        ------
        ValueError
        """
        mode, _, _, count, _, _, code_bytes, _, _ = self._entries[number]
        if mode != CODED or count != rows:
            raise ValueError(f"column {number} holds no code of {rows} rows")
        return self._data[self._starts[number] : self._starts[number] + code_bytes]

    def take(self, number: int, rows: int) -> Column:
        """Return a column that must have `rows` rows, with streams that hold exactly what its tokens ask for.

        Raises
        ------
        ValueError, zstandard.ZstdError
        """
        mode, k, m, count, base, unit, token_bytes, bits, escapes = self._entries[number]
        tokens = self._tokens(number, rows)
        start = self._starts[number] + token_bytes
        bit_bytes = _bit_bytes(bits)
        words = np.zeros(bit_bytes // 8 + SPARE_WORDS, dtype=np.uint64)
        words.view(np.uint8)[:bit_bytes] = self._data[start : start + bit_bytes]
        start += bit_bytes
        beside = np.frombuffer(bytes(self._data[start : start + 8 * escapes]), dtype=np.uint64)
        if needs_of(tokens, tables(k, m).widths) != (bits, escapes):
            raise ValueError(f"column {number} holds other bits than its tokens ask for")
        return Column(mode, k, m, count, base, unit, tokens, words, beside)

    def stream(self, number: int, rows: int) -> Stream:
        """Return a column that must have `rows` rows, unchecked: who decodes it compares what its tokens ask for.

        Raises
        ------
        ValueError, zstandard.ZstdError
        """
        mode, k, m, count, base, unit, token_bytes, bits, escapes = self._entries[number]
        tokens = self._tokens(number, rows)
        start = self._starts[number] + token_bytes
        if not count:
            tokens = np.zeros(rows, dtype=np.uint8)
        return Stream(mode, (k, m), base, unit, tokens, 8 * start, start + _bit_bytes(bits), (bits, escapes))

    @cached_property
    def streams(self) -> NDArray[np.uint8]:
        """The streams of all columns, read-only: where they stand, or with zeros behind to make 8 bytes."""
        data: bytes | memoryview = self._data
        if len(data) < 8:
            data = bytes(data).ljust(8, b"\0")
        return np.frombuffer(data, dtype=np.uint8)

    def _tokens(self, number: int, rows: int) -> NDArray[np.uint8]:
        """Return a column's tokens, none where every word is 0."""
        mode, k, m, count, _, _, token_bytes, bits, escapes = self._entries[number]
        if mode == CODED:
            raise ValueError(f"column {number} is a code, and no tokens")
        if count not in (0, rows):
            raise ValueError(f"column {number} has {count} rows where there are {rows}")
        if not count and (token_bytes or bits or escapes):
            raise ValueError(f"column {number} has streams and no rows")
        tables(k, m)
        start = self._starts[number]
        packed: bytes | memoryview = self._data[start : start + token_bytes]
        if token_bytes != count:
            if zstandard.frame_content_size(packed) != count:
                raise ValueError("a stream has another length than its entry says")
            packed = decompressor().decompress(packed, max_output_size=count)
        tokens = np.frombuffer(packed, dtype=np.uint8)
        if len(tokens) != count:
            raise ValueError(f"column {number} has another length than its entry says")
        return tokens


_local = threading.local()


def decompressor() -> zstandard.ZstdDecompressor:
    """Return this thread's decompressor: to make one costs as much as a small stream."""
    known: zstandard.ZstdDecompressor | None = getattr(_local, "zstd", None)
    if known is None:
        known = _local.zstd = zstandard.ZstdDecompressor()
    return known


def compressor(level: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor of a level: to make one costs as much as some 10 kB compressed."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in made:
        made[level] = zstandard.ZstdCompressor(level=level)
    return made[level]


def needs_of(tokens: NDArray[np.uint8], widths: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (bits, escapes) that tokens ask for."""
    counts = np.bincount(tokens, minlength=256)
    return int(counts @ widths.astype(np.int64)), int(counts[ESCAPE])


def _bit_bytes(bits: int) -> int:
    """Bits are stored in whole words."""
    return (bits + 63) // 64 * 8
