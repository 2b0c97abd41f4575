"""The bytes of an order block, in the order of ``docs/format/archive.md``, and what both directions agree on."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import HEADER_BYTES, ORDER_BYTES, Kind
from chronicle.core.layout import ORDER_SNAPSHOT_BODY as SNAPSHOT_BODY

__all__ = ["HEAD", "Column", "expected_levels", "live_orders", "orders_at"]

Values = NDArray[np.int64]

HEAD: Final = struct.Struct("<HHIIIIIIBB2x8III")
"""version, columns, rows, groups, other records, shapes, snapshots among the other records, orders of the snapshots
that are columns, steps, flags, reserved 0, values of the columns SPLIT and AGE to LEVEL_SIZE, bytes of the descriptor
as stored, of the other records as stored."""
HEAD_BYTES: Final = 72
assert HEAD.size == HEAD_BYTES

VERSION: Final = 1
ON_PROLOGUE: Final = 1
"""Flag: the orders in the segment's prologue are known before the first row."""
SHAPES_MAX: Final = 1024
SHAPE_WORDS: Final = 3
"""First word, last word of an ORDER (else 0), how the rest follows."""
LEVEL_SLOTS: Final = 1 << 13
ORDERS_BYTES: Final = HEADER_BYTES + SNAPSHOT_BODY.size
"""An ORDER_SNAPSHOT without its orders."""
ROW_WORDS: Final = ORDER_BYTES // 8
SNAPSHOTS: Final = (Kind.BOOK_SNAPSHOT, Kind.ORDER_SNAPSHOT)

FORM_VERBATIM: Final = 0
FORM_FOLLOWS: Final = 1
FORM_COLUMNS: Final = 2


class Column(IntEnum):
    """The columns of an order block, in order."""

    SHAPE = 0
    TS_RECV = 1
    TS_EVENT = 2
    SOURCE_INDEX = 3
    LINE = 4
    SEQUENCE = 5
    SEQUENCE_FIRST = 6
    SEQUENCE_PREVIOUS = 7
    SPLIT = 8
    OTHERS = 9
    AGE = 10
    ADDED_ID = 11
    OTHER_ID = 12
    PRICE = 13
    SIZE = 14
    LEVEL_PRICE = 15
    LEVEL_SIZE = 16
    KNOWN_ID = 17
    KNOWN_PRICE = 18
    KNOWN_SIZE = 19


COLUMNS: Final = 20
GROUP_FIELDS: Final = 7
REFERENCES: Final = {
    Column.TS_EVENT: Column.TS_RECV,
    Column.SEQUENCE_FIRST: Column.SEQUENCE,
    Column.SEQUENCE_PREVIOUS: Column.SEQUENCE,
}
"""The column another may count from."""


def live_orders(orders: Values, first: int, count: int) -> tuple[Values, int]:
    """Return (numbers of the orders in [first, count) that rest, in the order of an ORDER_SNAPSHOT; how many bid).

    Parameters
    ----------
    orders : int64 array of shape (n, 4)
        Id, price, size and place (rank << 1 | side: 0 bid, 1 ask) of every order that was seen.
    """
    part = orders[first:count]
    numbers = np.flatnonzero(part[:, 2] > 0)
    places = part[numbers, 3]
    if len(places) > 1 and bool((places[1:] < places[:-1]).any()):  # one was lost: else numbers rise as ranks do
        turn = np.argsort(places)
        numbers, places = numbers[turn], places[turn]
    prices, asking = part[numbers, 1], places & 1 != 0
    bids, asks = numbers[~asking], numbers[asking]
    bids = bids[np.argsort(~prices[~asking], kind="stable")]
    asks = asks[np.argsort(prices[asking], kind="stable")]
    return np.concatenate((bids, asks)) + first, len(bids)


def expected_levels(rows: Values, bids: int) -> tuple[Values, int]:
    """Return (levels int64[n, 2] that orders make, how many are bids)."""
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64), 0
    opens = np.ones(len(rows), dtype=np.bool_)
    opens[1:] = rows[1:, 1] != rows[:-1, 1]
    if 0 < bids < len(rows):
        opens[bids] = True
    starts = np.flatnonzero(opens)
    levels = np.stack((rows[starts, 1], np.add.reduceat(rows[:, 2], starts)), axis=1)
    return levels, int(np.count_nonzero(starts < bids))


def orders_at(words: Values, at: int, length: int) -> tuple[Values, int] | None:
    """Return (orders, bids) of an ORDER_SNAPSHOT record whose counts fit its length, else None."""
    counts = int(words[at + 6]) if length >= ORDERS_BYTES else 0
    bids, asks = counts & 0xFFFFFFFF, (counts >> 32) & 0xFFFFFFFF
    if length != ORDERS_BYTES + 24 * (bids + asks):
        return None
    start = at + ORDERS_BYTES // 8
    return words[start : at + (length >> 3)].reshape(-1, 3), bids
