"""One column of int64 values as a few planes of bytes: differences, a common divisor, the least width.

The transform is exact for every int64 (arithmetic is modulo 2**64) and fully vectorised: encoding and decoding are a
handful of NumPy passes. ``docs/format/archive.md`` is the specification; :mod:`chronicle.storage.codec.blocks`
decides which values form a column.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMN", "Column", "Events", "decode_column", "encode_column", "store_column"]

Values = NDArray[np.int64]

MINUS_REFERENCE: Final = 1
"""The reference column was subtracted first."""
PER_EVENT: Final = 2
"""One value per event is stored: it is the same in all of the event's rows."""
DELTA: Final = 4
"""Differences to the value before, zigzag."""
RESTART: Final = 8
"""As DELTA, but the first row of an event differs from the first row of the event before."""
MODES_KNOWN: Final = MINUS_REFERENCE | PER_EVENT | DELTA | RESTART

COLUMN: Final = struct.Struct("<BB6xqQ")
"""mode, width (bytes of each value, 0: all zero), reserved 0, base i64, divisor u64."""

SAMPLE_ROWS: Final = 4096
"""Modes are compared on this many rows from the middle: a tenth of the time, the same choice but for rare blocks."""


class Events:
    """Which rows open an event; what follows from it is computed once for all columns of the rows.

    Parameters
    ----------
    first : bool array of shape (n,), ``first[0]`` is True
    """

    def __init__(self, first: NDArray[np.bool_]) -> None:
        self.first = first

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.first)

    @cached_property
    def opens(self) -> NDArray[np.intp]:
        """Rows that open an event."""
        return np.flatnonzero(self.first)

    @cached_property
    def lengths(self) -> NDArray[np.intp]:
        """Rows of each event."""
        return np.diff(self.opens, append=len(self.first))

    @cached_property
    def of_row(self) -> NDArray[np.intp]:
        """Each row's event, counted from 0."""
        return np.repeat(np.arange(len(self.opens)), self.lengths)


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is stored: `planes` holds `width` runs of bytes, lowest byte of every value first."""

    mode: int
    width: int
    base: int
    divisor: int
    planes: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the column's 24-byte descriptor."""
        return COLUMN.pack(self.mode, self.width, self.base, self.divisor)


def encode_column(values: Values, events: Events, reference: Values | None = None) -> Column:
    """Return `values` in the cheapest of the modes.

    Parameters
    ----------
    values : int64 array of shape (n,), n > 0
    events : Events
        Which rows open an event.
    reference : int64 array of shape (n,), optional
        A column known to the decoder that may be close to `values`.
    """
    start = max(0, (len(values) - SAMPLE_ROWS) // 2)
    part = slice(start, start + SAMPLE_ROWS)
    sample_first = events.first[part].copy()
    sample_first[0] = True
    sample = Events(sample_first)
    best_mode, best_cost = 0, float("inf")
    for by_reference in (0,) if reference is None else (0, MINUS_REFERENCE):
        whole = values - reference if by_reference and reference is not None else values
        per_event = PER_EVENT if _is_per_event(whole, events) else 0
        rows = whole[part]
        shapes = (0, DELTA) if per_event else (0, DELTA, RESTART)
        for shape in shapes:
            mode = by_reference | per_event | shape
            cost = _cost(rows, sample, mode)
            if cost < best_cost:
                best_mode, best_cost = mode, cost
    return store_column(values, events, reference, best_mode)


def decode_column(column: Column, events: Events, reference: Values | None = None) -> Values:
    """Return the values that :func:`encode_column` was given.

    Raises
    ------
    ValueError
        When the descriptor does not fit the rows; the caller names the file and offset.
    """
    mixed = column.mode & RESTART and column.mode & (DELTA | PER_EVENT)
    if column.mode & ~MODES_KNOWN or mixed or column.width > 8 or column.divisor == 0:
        raise ValueError(f"unknown column form: mode {column.mode}, width {column.width}, divisor {column.divisor}")
    count = len(events.opens) if column.mode & PER_EVENT else len(events)
    if column.width == 0:
        values = np.full(count, column.base, dtype=np.int64)
    else:
        values = _steps(column, count)
        if column.mode & (DELTA | RESTART):
            values = _sum(values, events, column.mode)
        if column.base:
            values += np.int64(column.base)
    if column.mode & PER_EVENT:
        values = np.repeat(values, events.lengths)
    if column.mode & MINUS_REFERENCE:
        if reference is None:
            raise ValueError("a column refers to another where there is none")
        values = values + reference
    return values


def _steps(column: Column, count: int) -> Values:
    """Return what the planes hold, zigzag undone, times the divisor."""
    lowest = np.frombuffer(column.planes[0], dtype=np.uint8, count=count)
    if column.width == 1:
        words = lowest.astype(np.uint64)
    else:
        stored = np.zeros((count, 2 if column.width == 2 else 4 if column.width <= 4 else 8), dtype=np.uint8)
        stored[:, 0] = lowest
        for position in range(1, column.width):
            stored[:, position] = np.frombuffer(column.planes[position], dtype=np.uint8, count=count)
        words = stored.reshape(-1).view(f"<u{stored.shape[1]}").astype(np.uint64, copy=False)
    if column.mode & (DELTA | RESTART):
        signs = -(words & np.uint64(1)).view(np.int64)
        words >>= np.uint64(1)
        steps = words.view(np.int64)
        steps ^= signs
    else:
        steps = words.view(np.int64)
    if column.divisor != 1:
        steps *= np.uint64(column.divisor).view(np.int64)
    return steps


def _is_per_event(values: Values, events: Events) -> bool:
    return bool(np.all((values[1:] == values[:-1]) | events.first[1:]))


def _differences(values: Values, events: Events, mode: int) -> Values:
    steps = np.zeros_like(values)
    np.subtract(values[1:], values[:-1], out=steps[1:])
    if mode & RESTART:
        opens = events.opens
        steps[opens[1:]] = values[opens[1:]] - values[opens[:-1]]
    return steps


def _sum(steps: Values, events: Events, mode: int) -> Values:
    """Undo :func:`_differences` but for the base."""
    if not mode & RESTART:
        return np.asarray(np.cumsum(steps), dtype=np.int64)
    opens = events.opens
    # One running sum: where an event opens, it steps from the last row's value to the first row of the event.
    running = np.cumsum(steps)
    heads = steps[opens]
    before = np.empty_like(heads)
    before[:1] = 0
    before[1:] = running[opens[1:] - 1] - running[opens[:-1]]
    offsets = np.cumsum(before)
    return np.asarray(running - np.repeat(offsets, events.lengths), dtype=np.int64)


def _divisor(steps: NDArray[Any]) -> int:
    """Return the greatest common divisor of `steps` (1 when it brings nothing)."""
    head = int(np.gcd.reduce(steps[:64]))
    if head <= 1 and head != 0:
        return 1
    if not head:
        return max(1, int(np.gcd.reduce(steps)))
    if not np.any(steps % steps.dtype.type(head)):  # one division a value, where a Euclid takes ten
        return head
    return max(1, int(np.gcd.reduce(steps)))


def _shape(values: Values, events: Events, mode: int) -> tuple[NDArray[np.uint64], int, int]:
    """Return (stored words, base, divisor) of `values`, already reduced to the mode's rows and reference."""
    if mode & (DELTA | RESTART):
        steps = _differences(values, events, mode)
        divisor = 1 if bool(np.any(steps == np.iinfo(np.int64).min)) else _divisor(steps)
        if divisor > 1:
            steps //= divisor
        return ((steps << 1) ^ (steps >> 63)).view(np.uint64), int(values[0]), divisor
    base = values.min()
    words = (values - base).view(np.uint64)
    divisor = _divisor(words)
    if divisor > 1:
        words = words // np.uint64(divisor)
    return words, int(base), divisor


def _cost(values: Values, events: Events, mode: int) -> float:
    """Return about how many bits `values` need in `mode`: zeros are nearly free to the entropy coder."""
    words, _, _ = _shape(values[events.opens] if mode & PER_EVENT else values, events, mode)
    return float(np.log2(words.astype(np.float64) + 1.0).sum())


def store_column(values: Values, events: Events, reference: Values | None, mode: int) -> Column:
    """Return `values` in a mode that fits them: see :func:`encode_column`, which finds the cheapest."""
    if mode & MINUS_REFERENCE and reference is not None:
        values = values - reference
    if mode & PER_EVENT:
        values = values[events.opens]
    words, base, divisor = _shape(values, events, mode)
    width = (int(words.max()).bit_length() + 7) // 8
    octets = words.view(np.uint8).reshape(-1, 8)
    planes = tuple(np.ascontiguousarray(octets[:, position]).tobytes() for position in range(width))
    return Column(mode, width, base, divisor, planes)
