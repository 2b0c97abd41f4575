"""The bytes of an event block, in the order of ``docs/format/archive.md``, and what both directions agree on."""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import BOOK_DELTA_BYTES, CHECK_BYTES, Kind

__all__ = ["HEAD", "Cut", "Place", "Price", "expected_headers", "gap_counts", "parts_of", "price_counts", "stepped"]

Values = NDArray[np.int64]

HEAD: Final = struct.Struct("<HHIIIIIBBBBqqqqII")
"""version, columns, groups, rows, other records, snapshots, snapshot levels, form of bids, of asks, steps, flags,
unit and base of prices, unit and base of level prices, bytes of the descriptor as stored, of the other records as
stored."""
HEAD_BYTES: Final = 68
assert HEAD.size == HEAD_BYTES

VERSION: Final = 1
COMPACTED: Final = 2
"""Version of a block whose prices and sizes are one arithmetic code, in the column of sizes; read, not written."""
TABLED: Final = 3
"""Version of a block whose prices and sizes are symbols by tables of their contexts, in the column of sizes."""
CODED_VERSIONS: Final = (COMPACTED, TABLED)
STEP_ORDINAL: Final = 1
"""Step: each row of a group has the ordinal after that of the row before."""
STEP_SOURCE: Final = 2
"""Step: the same of source indexes."""
STEPS: Final = 3
ON_PROLOGUE: Final = 1
"""Flag: the first snapshot may follow from the book in the segment's prologue."""

DESCENDING: Final = 1
"""Form of a side: prices fall in the order in which it is walked."""
REVERSED: Final = 2
"""Form of a side: it is walked from each group's last row to its first."""
SIGNED: Final = 4
"""Gaps are zigzag: the mode of their column is not PLAIN. Never in the head."""
LEVEL_FORMS: Final = (DESCENDING, 0)

HEAD_MASK: Final = 0xFFFFFFFFFFFF
"""Length and kind in a first word."""
CHECK_HEAD: Final = CHECK_BYTES | Kind.CHECK << 32
DELTA_HEAD: Final = BOOK_DELTA_BYTES | Kind.BOOK_DELTA << 32
EVENT_LAST: Final = 1 << 16
"""Mark of a group that is the last of its event; below it flags of all rows but the last, then of the last."""

BESIDE_STORED: Final = 0
BESIDE_COLUMNS: Final = 1
BESIDE_ZSTD: Final = 2
"""How the other records are stored; before them u32 bytes, u32 method."""

LEVELS_VERBATIM: Final = 0
LEVELS_REPLAYED: Final = 1
LEVELS_COLUMNS: Final = 2


class Place(IntEnum):
    """The columns of an event block, in order."""

    BIDS = 0
    ASKS = 1
    MARKS = 2
    TS_RECV = 3
    TS_EVENT = 4
    SOURCE_INDEX = 5
    LINE = 6
    SEQUENCE = 7
    SEQUENCE_FIRST = 8
    SEQUENCE_PREVIOUS = 9
    OTHERS = 10
    PRICE_FIRST = 11
    PRICE_GAP = 12
    SIZE = 17
    LEVEL_FIRST = 18
    LEVEL_GAP = 19
    LEVEL_SIZE = 20


class Price(NamedTuple):
    """How prices of rows or levels are walked: where they begin, their unit, and the forms of bids and asks."""

    base: int
    unit: int
    forms: tuple[int, int]


class Cut(NamedTuple):
    """Groups [low, high) of a block, whose rows are [above, stop).

    For the column of first prices and each of gaps: how many values belong to groups before (`skips`), and how many
    to all groups (`counts`).
    """

    low: int
    high: int
    above: int
    stop: int
    skips: tuple[int, ...]
    counts: tuple[int, ...]


COLUMNS: Final = 21
GAP_EDGES: Final = (0, 1, 4, 16, 64)
"""Gaps of rows are five columns: a gap that so many gaps of its group's side follow in walking order, or more, is in
the column of the last edge not above. The touch comes first where a side is long, and gaps grow outward."""
LEVEL_EDGES: Final = (0,)


@cache
def parts_of(edges: tuple[int, ...]) -> Values:
    """Return the part of a gap that 0, 1, 2 ... others follow, up to what the last edge says of all."""
    return np.asarray(np.searchsorted(np.array(edges), np.arange(edges[-1]), side="right") - 1, dtype=np.int64)


def gap_counts(bids: Values, asks: Values, edges: tuple[int, ...]) -> list[int]:
    """Return how many gaps each of the columns has, for the counts of all groups."""
    gaps = np.maximum(np.concatenate((bids, asks)) - 1, 0)
    above = [int(np.maximum(gaps - edge, 0).sum()) for edge in edges] + [0]
    return [above[number] - above[number + 1] for number in range(len(edges))]


def price_counts(bids: Values, asks: Values, edges: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many first prices groups have (one for each side that is there), and gaps in each column."""
    firsts = int(np.count_nonzero(bids)) + int(np.count_nonzero(asks))
    return firsts, *gap_counts(bids, asks, edges)


REFERENCES: Final = {
    Place.TS_EVENT: Place.TS_RECV,
    Place.SEQUENCE_FIRST: Place.SEQUENCE,
    Place.SEQUENCE_PREVIOUS: Place.SEQUENCE,
}
"""The column another may count from."""


def stepped(groups: Values, steps: int, sign: int) -> Values:
    """Return groups int64[10, g] with the rows before each group taken from SOURCE_INDEX (`sign` -1) or given back.

    Where source indexes step with the rows, what is left are the raw records between the groups.
    """
    if not steps & STEP_SOURCE:
        return groups
    rows = groups[Place.BIDS] + groups[Place.ASKS]
    out = groups.copy()
    out[Place.SOURCE_INDEX] += sign * (np.cumsum(rows) - rows)
    return out


def expected_headers(heads: Values, places: Values, groups: Values, steps: int) -> Values:
    """Return what the header words 1 to 5 of the other records are counted from: int64[5, records].

    That is the group of the record's own event: the one before it, behind its last row, unless the event ended
    between the two; then the one after it; zeros where there is neither.

    Parameters
    ----------
    heads, places : int64 arrays of shape (records,)
        First words, and the number of the group before which each stands, ascending.
    groups : int64 array of shape (10, groups)
    steps : int
        STEP_ORDINAL and STEP_SOURCE.
    """
    count = groups.shape[1]
    last = (heads >> 55) & 1
    before = np.cumsum(last) - last
    same = before - before[np.searchsorted(places, places, side="left")]
    ended = (groups[Place.MARKS, np.maximum(places - 1, 0)] >> 15) & 1
    closed = (places == 0) | (ended != 0) | (same > 0)
    after = closed & (places < count)
    group = np.where(after, places, places - 1)
    rows = np.where(after, 0, groups[Place.BIDS, group] + groups[Place.ASKS, group])
    headers = [Place.TS_RECV, Place.TS_EVENT, Place.SOURCE_INDEX, Place.LINE, Place.SEQUENCE]
    out = groups[np.array(headers)[:, None], group]
    out[2] += rows * (steps >> 1)
    out[3] += (rows * (steps & STEP_ORDINAL)) << 48
    out[:, group < 0] = 0
    return np.asarray(out, dtype=np.int64)
