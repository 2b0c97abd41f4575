"""Values as columns of tokens, in the cheapest mode and form: entry and streams. Needs the kernels.

``docs/format/archive.md`` (Event blocks) is the specification; :mod:`chronicle.storage.codec.tokens` the way back.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.layout import INT64_MAX
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import DELTA, ENTRY, PLAIN, SAME, divider, tables
from chronicle.storage.kernels import tokens as tokenizer

__all__ = [
    "UnitError",
    "group_column",
    "plain_column",
    "signed_column",
    "stepped_column",
    "token_compressor",
    "zeros",
]

Values = NDArray[np.int64]

TOKENS: Final = (6, 3)
SIZE_TOKENS: Final = (7, 3)
FAR_TOKENS: Final = (5, 3)
"""For times of events that are far from one another: 32 bits."""
ESCAPES_SHARE: Final = 1000
"""Columns of which more than one value in so many would escape take the tokens that reach farther."""
UNIT_STRIDE: Final = 61
"""One size in so many is looked at besides: some sizes come from others than whole lots."""
SAMPLE: Final = 512
"""A group column's mode is chosen on this many groups from the middle."""
TOKEN_LEVEL: Final = 1
"""Tokens repeat seldom: long matches only, found in a small table; that is faster and takes fewer bytes."""
TILE: Final = 1024
ROOM_MIN: Final = 1 << 14
ROOM_MAX: Final = 1 << 20
"""Room for so many tokens is kept from column to column; for more, of blocks far above the usual size, it is not."""
UNIT_SAMPLE: Final = 1024
"""The unit of so many values is taken for all; tokens tell where it is not, and all are looked at then."""


def group_column(values: Values, reference: Values | None) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column in its cheapest mode."""
    if not len(values):
        return zeros(PLAIN, 0)
    steps = scratch_array("residuals", len(values), np.int64)
    found = np.empty(4, dtype=np.int64)
    other = values[:0] if reference is None else reference
    tokenizer.plan_column(values, other, SAMPLE, TOKENS[0], tables(*TOKENS).limit - 1, steps, found)
    mode, base, unit, many = found.tolist()
    if mode < 0:
        return zeros(DELTA, int(values[0]))
    form = FAR_TOKENS if many * ESCAPES_SHARE > len(steps) else TOKENS
    try:
        return stepped_column(mode, form, base, unit, steps, signed=mode != PLAIN)
    except UnitError:
        return stepped_column(mode, form, base, unit_of(steps), steps, signed=mode != PLAIN)


def plain_column(values: Values, level: int = TOKEN_LEVEL) -> tuple[bytes, bytes]:
    """Return (entry, streams) of values as they are: in tokens that reach farther where many would escape."""
    if not len(values):
        return zeros(PLAIN, 0)
    sample = values[:UNIT_SAMPLE]
    unit = unit_of(sample)
    many = tokenizer.long_steps(sample, unit, tables(*SIZE_TOKENS).limit) * ESCAPES_SHARE > len(sample)
    form = TOKENS if many else SIZE_TOKENS
    if unit > 1:
        unit = max(1, int(tokenizer.common_divisor(values[::UNIT_STRIDE].copy(), unit)))
    try:
        packed = _tokens(form, unit, values)
    except UnitError:
        unit = unit_of(values)
        packed = _tokens(form, unit, values)
    if form == SIZE_TOKENS and len(packed.escapes) * ESCAPES_SHARE > len(values):
        form = TOKENS
        packed = _tokens(form, unit, values)
    return _entry(PLAIN, form, 0, unit, packed, level)


def signed_column(steps: Values) -> tuple[bytes, bytes]:
    """Return (entry, streams) of steps of either sign, which the decoder adds to what it knows."""
    if not len(steps):
        return zeros(PLAIN, 0)
    try:
        return stepped_column(SAME, TOKENS, 0, unit_of(steps[:UNIT_SAMPLE]), steps, signed=True)
    except UnitError:
        return stepped_column(SAME, TOKENS, 0, unit_of(steps), steps, signed=True)


def zeros(mode: int, base: int) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column without values, or of words that are all 0."""
    return ENTRY.pack(mode, *TOKENS, 0, base, 1, 0, 0, 0), b""


class _Tokens(NamedTuple):
    """Tokens, bits in whole words, escapes, all in scratch arrays; bits used; whether a token is not 0."""

    tokens: Any
    bits: Any
    escapes: Any
    used: int
    any: bool


class UnitError(Exception):
    """A unit that was found on a sample does not divide all steps."""


def unit_of(steps: Values) -> int:
    """Return the greatest common divisor of steps, 1 where there is none."""
    return max(1, int(tokenizer.common_divisor(steps, 0)))


def stepped_column(
    mode: int, form: tuple[int, int], base: int, unit: int, steps: Values, *, less: int = 0, signed: bool = False
) -> tuple[bytes, bytes]:
    """Return (entry, streams) of the words of steps over `unit`, minus `less`; a column of zeros has no streams.

    Raises
    ------
    UnitError
        When the unit does not divide a step.
    """
    return _entry(mode, form, base, unit, _tokens(form, unit, steps, less=less, signed=signed))


def _tokens(form: tuple[int, int], unit: int, steps: Values, *, less: int = 0, signed: bool = False) -> _Tokens:
    """Return the tokens of steps over `unit`; raises :class:`UnitError`."""
    shift, inverse = divider(unit)
    tokens, bits, escapes, room = _room(len(steps))
    limit, bound = tables(*form).limit, np.uint64(INT64_MAX // (unit >> shift))
    used, escaped, seen = tokenizer.put_steps(
        steps, less, signed, shift, inverse, bound, *form, limit, tokens, bits, escapes, room
    )
    if used < 0:
        raise UnitError
    return _Tokens(tokens[: len(steps)], bits[: (used + 63) // 64 * 8], escapes[:escaped], int(used), bool(seen))


def _room(count: int) -> tuple[Any, Any, Any, Any]:
    """Return this thread's arrays for the tokens of `count` steps: tokens, bits, escapes, words of a tile."""
    known: tuple[Any, Any, Any, Any] | None = getattr(_local, "room", None)
    if known is None or len(known[0]) < count:
        most = max(ROOM_MIN, count + count // 4)
        room = np.empty((2, TILE), dtype=np.uint64)
        known = (
            np.empty(most, dtype=np.uint8),
            np.empty(8 * most + 24, dtype=np.uint8),
            np.empty(most, dtype=np.uint64),
            room,
        )
        if most <= ROOM_MAX:
            _local.room = known
    return known


def _entry(
    mode: int, form: tuple[int, int], base: int, unit: int, of: _Tokens, level: int = TOKEN_LEVEL
) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column's tokens."""
    if not of.any:
        return ENTRY.pack(mode, *form, 0, base, unit, 0, 0, 0), b""
    packed: Any = token_compressor(level).compress(of.tokens.data)
    if len(packed) >= len(of.tokens):
        packed = of.tokens.tobytes()
    entry = ENTRY.pack(mode, *form, len(of.tokens), base, unit, len(packed), of.used, len(of.escapes))
    return entry, b"".join((packed, of.bits.data, of.escapes.data))


_local = threading.local()


def token_compressor(level: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor of tokens."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in made:
        form = {"min_match": 7, "hash_log": 10} if level == TOKEN_LEVEL else {}
        parameters = zstandard.ZstdCompressionParameters.from_level(level, write_content_size=True, **form)
        made[level] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[level]
