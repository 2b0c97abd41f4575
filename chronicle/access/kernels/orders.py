"""Kernel that replays a book of orders and writes down the best levels, per event or on a grid of times.

The twin of :mod:`chronicle.access.kernels.books` for ORDER-driven books: same registers, same rows, with the number
of orders at each level in two more planes where the caller wants them. The book's arrays are those of
:mod:`chronicle.etl.kernels.orders`, without a ladder: all prices are in ``levels``.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.access.kernels.books import (
    BAD,
    CHECKED_INDEX,
    CHECKED_TS,
    CONTENT_DONE,
    CROSSED,
    DELTAS,
    DONE,
    EVENT_DRIVEN,
    EVENT_START,
    EVENT_TS,
    FLAG_LAST_WORD,
    FULL,
    GAP,
    GAP_FROM,
    GRID_NEXT,
    IN_GAP,
    KIND_BOOK_DELTA,
    KIND_CHECK,
    KIND_ORDER,
    KIND_ROLL,
    LAST_AT,
    LAST_RECORD,
    LINE_LOST,
    NONE,
    OK,
    PRICE_NONE,
    PROVEN_ROW,
    RECORDS,
    ROOM,
    RULE,
    SPECIAL,
    STARTED,
    STOP,
    TS_EVENT,
    TS_RECV,
    VERDICT_PASSED,
    VERIFIED,
    VERIFIED_CHECKSUM,
    VERIFIED_SEQUENCE,
    state,
)
from chronicle.etl.kernels.orders import apply_orders

__all__ = ["fill_orders", "replay_orders"]

CLEAR = 82
FLAG_SNAPSHOT_WORD = 32 << 48
FLAG_MAYBE_BAD_WORD = 4 << 48


@numba.njit(cache=True, nogil=True, inline="never")
def _write(
    queues: Any,
    ends: Any,
    levels: Any,
    counts: Any,
    reg: Any,
    row: Any,
    ts: Any,
    times: Any,
    states: Any,
    prices: Any,
) -> None:
    """Write one row; prices int64[4 or 6, rows, depth]. O(depth)."""
    depth, with_orders = prices.shape[2], prices.shape[0] > 4
    times[row, 0] = ts
    times[row, 1] = reg[TS_EVENT]
    for half in range(2):
        count = counts[half]
        for level in range(depth):
            if level < count:
                queue = levels[2 * half + 1, count - 1 - level] - 1
                prices[2 * half, row, level] = queues[queue, 0]
                prices[2 * half + 1, row, level] = queues[queue, 1]
                if with_orders:
                    prices[4 + half, row, level] = ends[queue, 4]
            else:
                prices[2 * half, row, level] = PRICE_NONE
                prices[2 * half + 1, row, level] = 0
                if with_orders:
                    prices[4 + half, row, level] = 0
    states[row] = state(levels, counts, reg)


@numba.njit(cache=True, nogil=True)
def fill_orders(
    queues: Any,
    ends: Any,
    levels: Any,
    counts: Any,
    reg: Any,
    until_ts: Any,
    every: Any,
    times: Any,
    states: Any,
    prices: Any,
    row: Any,
) -> Any:
    """Write a row for each grid time below `until_ts` while there is room; return the next row. O(rows * depth)."""
    while reg[GRID_NEXT] < until_ts and row < len(states):
        _write(queues, ends, levels, counts, reg, row, reg[GRID_NEXT], times, states, prices)
        if reg[GRID_NEXT] > reg[GAP_FROM] and (states[row] == OK or states[row] == CROSSED):
            states[row] = GAP
        row += 1
        reg[GRID_NEXT] += every
    return row


@numba.njit(cache=True, nogil=True)
def replay_orders(
    orders: Any,
    links: Any,
    queues: Any,
    ends: Any,
    table: Any,
    levels: Any,
    counts: Any,
    ladder: Any,
    meta: Any,
    reg: Any,
    words: Any,
    starts: Any,
    first_ts: Any,
    end_ts: Any,
    every: Any,
    times: Any,
    states: Any,
    prices: Any,
    row: Any,
) -> Any:
    """Apply the records that begin at `starts` (words, and the end) and write rows; return (why, position, row).

    Plain: ORDER but CLEAR, and CHECK that passed; BOOK_DELTA is another feed's and changes nothing. For the rest see
    :func:`chronicle.access.kernels.books.replay`. ROOM: an array of the book is full. O(records + rows * depth).
    """
    rows, total = len(states), len(starts) - 1
    number = 0
    while number < total:
        position = starts[number]
        head = words[position]
        kind = (head >> 32) & 0xFFFF
        if kind == KIND_ROLL:
            number += 1
            continue
        if reg[EVENT_START] != 0:
            ts = words[position + 1]
            if every > 0:
                until = min(ts, end_ts)
                row = fill_orders(queues, ends, levels, counts, reg, until, every, times, states, prices, row)
                if reg[GRID_NEXT] >= end_ts:
                    return STOP, position, row
                if reg[GRID_NEXT] < ts:
                    return FULL, position, row
            elif ts >= end_ts:
                return STOP, position, row
            elif row >= rows:
                return FULL, position, row
            reg[EVENT_START] = 0
            reg[EVENT_DRIVEN] = 0
            reg[EVENT_TS] = ts
        if reg[CONTENT_DONE] != 0:
            reg[CONTENT_DONE] = 0
        elif kind == KIND_ORDER:
            if starts[number + 1] - position < 10:
                return BAD, position, row
            if words[position + 9] & 0xFF == CLEAR:
                return SPECIAL, position, row
            reached = apply_orders(
                orders,
                links,
                queues,
                ends,
                table,
                levels,
                counts,
                ladder,
                meta,
                words,
                starts,
                number,
                number + 1,
                0,
            )
            if reached == number:
                return ROOM, position, row
            reg[DELTAS] += 1
            reg[LINE_LOST] = 0
            live = head & (FLAG_SNAPSHOT_WORD | FLAG_MAYBE_BAD_WORD) == 0
            numbered = reg[RULE] != 0 and words[position + 5] != NONE
            if live and numbered and reg[STARTED] != 0 and reg[IN_GAP] == 0 and reg[VERIFIED] == 0:
                reg[VERIFIED] = VERIFIED_SEQUENCE
            reg[TS_RECV] = words[position + 1]
            reg[TS_EVENT] = words[position + 2]
            if head & FLAG_SNAPSHOT_WORD == 0:
                reg[EVENT_DRIVEN] = 1
            reg[LAST_AT] = position
            reg[LAST_RECORD] = reg[RECORDS]
            if reg[VERIFIED] != VERIFIED_CHECKSUM:
                reg[PROVEN_ROW] = row
        elif kind == KIND_CHECK and (words[position + 6] >> 8) & 0xFF == VERDICT_PASSED:
            if reg[IN_GAP] == 0:
                reg[VERIFIED] = VERIFIED_CHECKSUM
                reg[CHECKED_TS] = words[position + 1]
                reg[CHECKED_INDEX] = words[position + 3]
                reg[PROVEN_ROW] = row
        elif kind != KIND_BOOK_DELTA:
            return SPECIAL, position, row
        if head & FLAG_LAST_WORD:
            reg[EVENT_START] = 1
            if every == 0 and reg[EVENT_DRIVEN] != 0 and reg[TS_RECV] >= first_ts:
                _write(queues, ends, levels, counts, reg, row, reg[TS_RECV], times, states, prices)
                row += 1
        reg[RECORDS] += 1
        number += 1
    return DONE, starts[total], row
