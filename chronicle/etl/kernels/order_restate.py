"""A book of orders as one event of BOOK_SNAPSHOT and ORDER_SNAPSHOT, written straight to its place in the segment.

The twins are :func:`chronicle.etl.streams.snapshots.snapshot_record` and ``order_records``.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.core.kernels.memory import peek, poke
from chronicle.core.layout import (
    HEADER_BYTES,
    ORDER_SNAPSHOT_BODY,
    ORDER_SNAPSHOT_ROW_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    Flag,
    Kind,
)
from chronicle.etl.kernels.events import FLAG_LAST_WORD
from chronicle.etl.kernels.orders import ORDERS as ORDERS_HELD
from chronicle.etl.kernels.restate import FIXED_WORDS, level_count, restate
from chronicle.etl.kernels.row import ORDER_META, ORDERS, QUEUES

__all__ = ["SNAPSHOT_ORDERS_MAX", "orders_words", "restate_orders"]

SNAPSHOT_ORDERS_MAX = (1 << 19) - 1
"""More need a second ORDER_SNAPSHOT, which is Python's."""
_HEAD_BYTES = HEADER_BYTES + ORDER_SNAPSHOT_BODY.size
_ROW_BYTES = ORDER_SNAPSHOT_ROW_BYTES
_HEAD = int(Kind.ORDER_SNAPSHOT) << WORD_KIND_SHIFT | int(Flag.SNAPSHOT | Flag.LAST) << WORD_FLAGS_SHIFT


@numba.njit(cache=True, nogil=True)
def orders_words(row: Any) -> Any:
    """Return the words of both records."""
    held = peek(peek(row + 8 * ORDER_META) + 8 * ORDERS_HELD)
    return FIXED_WORDS + 2 * level_count(row) + (_HEAD_BYTES + _ROW_BYTES * held) // 8


@numba.njit(cache=True, nogil=True)
def restate_orders(row: Any, to: Any, ts_recv: Any, ts_event: Any, position: Any) -> tuple[int, int]:
    """Write both records at address `to`, all but their first word; return (that word, bytes). O(orders).

    The index of prices holds queues + 1 where a book of levels holds sizes: they are put right as the queues are
    walked. `position` is that of the raw record the event stands before.
    """
    head, levels_bytes = restate(row, to, ts_recv, ts_event, position)
    orders, queues = peek(row + 8 * ORDERS), peek(row + 8 * QUEUES)
    bids = peek(to + 48) & 0xFFFFFFFF
    second = to + levels_bytes
    there = second + _HEAD_BYTES
    level, number, bid_orders, count = to + 8 * FIXED_WORDS, 0, 0, 0
    while level < second:
        queue = queues + 32 * (peek(level + 8) - 1)
        price = peek(queue)
        poke(level + 8, peek(queue + 8))
        order = _half(queue, 6)
        while order >= 0:
            at = orders + 32 * order
            poke(there, peek(at))
            poke(there + 8, price)
            poke(there + 16, peek(at + 8))
            there += _ROW_BYTES
            count += 1
            order = _half(at, 7)
        number += 1
        if number == bids:
            bid_orders = count
        level += 16
    size = there - second
    poke(second, size | _HEAD)
    for offset in range(8, 48, 8):
        poke(second + offset, peek(to + offset))
    poke(second + 32, peek(to + 32) | 1 << 48)
    poke(second + 48, bid_orders | (count - bid_orders) << 32)
    return head & ~FLAG_LAST_WORD, levels_bytes + size


@numba.njit(cache=True, nogil=True)
def _half(row: Any, number: Any) -> Any:
    """Return one of the eight int32 of a row."""
    word = peek(row + 8 * (number >> 1))
    return word >> 32 if number & 1 else (word << 32) >> 32
