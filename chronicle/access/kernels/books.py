"""Kernel that replays a book's plain records and writes down the best levels, per event or on a grid of times.

A window is ``words`` int64[n] of whole events (read only). Record layout in words (docs/format/queue.md): 0 length,
kind, flags, side; 1 ts_recv; 2 ts_event; 5 sequence; 6.. body. The book's arrays are those of
``chronicle.etl.kernels.levels``; rows go into arrays of the caller.
"""

from __future__ import annotations

from typing import Any

import numba

import chronicle.access.kernels  # noqa: F401  (keys the cache)
from chronicle.etl.kernels.levels import set_level, truncate

__all__ = ["fill", "note_check", "note_delta", "note_times", "replay", "state"]

KIND_ROLL = 1
KIND_CHECK = 19
KIND_BOOK_DELTA = 32
KIND_ORDER = 34
FLAG_LAST_WORD = 128 << 48
LENGTH_MASK = 0xFFFFFFFF
DELTA_BYTES = 80
CHECK_BYTES = 72
NONE = -1
RULE_OKX_V5 = 2
VERDICT_PASSED = 1
VERIFIED_SEQUENCE = 1
VERIFIED_CHECKSUM = 2
PRICE_NONE = -(2**63)

UNVERIFIED, OK, GAP, STALE, CROSSED = 0, 1, 2, 3, 4

# Registers (int64[REGISTERS]): trust as BookTrust keeps it, then the walk's own state.
STARTED = 0
IN_GAP = 1
LINE_LOST = 2
VERIFIED = 3
CHECKED_TS = 4
CHECKED_INDEX = 5
RULE = 6
DEPTH_LIMIT = 7
TS_RECV = 8
TS_EVENT = 9
EVENT_START = 10
EVENT_DRIVEN = 11
CONTENT_DONE = 12
PROVEN_ROW = 13
DELTAS = 14
GRID_NEXT = 15
GAP_FROM = 16
RECORDS = 17
LAST_AT = 18
LAST_RECORD = 19
EVENT_TS = 20
REGISTERS = 21

# Why it returned.
DONE = 0
SPECIAL = 1
FULL = 2
ROOM = 3
STOP = 4
BAD = 5


@numba.njit(cache=True, nogil=True, inline="always")
def state(levels: Any, counts: Any, reg: Any) -> Any:
    """Return what a book with these registers and levels is: one of UNVERIFIED, OK, GAP, STALE, CROSSED."""
    decided = OK
    if reg[STARTED] == 0:
        decided = UNVERIFIED
    elif reg[IN_GAP] != 0:
        decided = GAP
    elif reg[LINE_LOST] != 0:
        decided = STALE
    elif counts[0] > 0 and counts[1] > 0 and levels[0, counts[0] - 1] > -levels[2, counts[1] - 1]:
        decided = CROSSED
    return decided


@numba.njit(cache=True, nogil=True, inline="always")
def note_delta(reg: Any, words: Any, position: Any) -> None:
    """Count a delta; what its number says stands behind a book that nothing does yet."""
    reg[DELTAS] += 1
    reg[LINE_LOST] = 0
    numbered = reg[RULE] != 0 and words[position + 5] != NONE
    chained = reg[RULE] != RULE_OKX_V5 or words[position + 9] != NONE
    if numbered and chained and reg[IN_GAP] == 0 and reg[VERIFIED] == 0:
        reg[VERIFIED] = VERIFIED_SEQUENCE


@numba.njit(cache=True, nogil=True, inline="always")
def note_times(reg: Any, words: Any, position: Any) -> None:
    """Note where and when the last driving record was."""
    reg[TS_RECV] = words[position + 1]
    reg[TS_EVENT] = words[position + 2]
    reg[LAST_AT] = position
    reg[LAST_RECORD] = reg[RECORDS]


@numba.njit(cache=True, nogil=True, inline="always")
def note_check(reg: Any, words: Any, position: Any, row: Any) -> None:
    """Note a CHECK that passed: it stands behind the book, and behind the rows before `row`."""
    if reg[IN_GAP] == 0:
        reg[VERIFIED] = VERIFIED_CHECKSUM
        reg[CHECKED_TS] = words[position + 1]
        reg[CHECKED_INDEX] = words[position + 3]
        reg[PROVEN_ROW] = row


@numba.njit(cache=True, nogil=True, inline="never")
def _write(
    levels: Any,
    counts: Any,
    reg: Any,
    row: Any,
    ts_recv: Any,
    times: Any,
    states: Any,
    prices: Any,
) -> None:
    """Write one row: times int64[rows, 2], states uint8[rows], prices int64[4, rows, depth]. O(depth)."""
    depth = prices.shape[2]
    times[row, 0] = ts_recv
    times[row, 1] = reg[TS_EVENT]
    for half in range(2):
        count = counts[half]
        sign = 1 if half == 0 else -1
        for level in range(depth):
            if level < count:
                prices[2 * half, row, level] = sign * levels[2 * half, count - 1 - level]
                prices[2 * half + 1, row, level] = levels[2 * half + 1, count - 1 - level]
            else:
                prices[2 * half, row, level] = PRICE_NONE
                prices[2 * half + 1, row, level] = 0
    states[row] = state(levels, counts, reg)


@numba.njit(cache=True, nogil=True)
def fill(
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
        _write(levels, counts, reg, row, reg[GRID_NEXT], times, states, prices)
        if reg[GRID_NEXT] > reg[GAP_FROM] and (states[row] == OK or states[row] == CROSSED):
            states[row] = GAP
        row += 1
        reg[GRID_NEXT] += every
    return row


@numba.njit(cache=True, nogil=True)
def replay(
    levels: Any,
    counts: Any,
    reg: Any,
    words: Any,
    position: Any,
    first_ts: Any,
    end_ts: Any,
    every: Any,
    times: Any,
    states: Any,
    prices: Any,
    row: Any,
) -> Any:
    """Apply plain records from word `position` on and write rows; return (why, position, row).

    Plain: BOOK_DELTA, ORDER, and CHECK that passed. Any other kind is left to the caller (SPECIAL), who applies it,
    sets CONTENT_DONE and calls again at the same position. With `every` = 0 there is a row after each driven event
    with ts_recv >= `first_ts`; else one for each grid time GRID_NEXT, GRID_NEXT + every ... below `end_ts`, holding
    the state after all events up to it. STOP: an event at or behind `end_ts` was met (with a grid: every row is
    written). FULL: no room for a row; ROOM: no room for a level. O(records + rows * depth).
    """
    total = len(words)
    rows = len(states)
    while position < total:
        head = words[position]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or position + (length >> 3) > total:
            return BAD, position, row
        kind = (head >> 32) & 0xFFFF
        if kind == KIND_ROLL:
            position += length >> 3
            continue
        if reg[EVENT_START] != 0:
            ts = words[position + 1]
            if every > 0:
                row = fill(levels, counts, reg, min(ts, end_ts), every, times, states, prices, row)
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
        elif kind == KIND_BOOK_DELTA:
            if length < DELTA_BYTES:
                return BAD, position, row
            if max(counts[0], counts[1]) >= levels.shape[1]:
                return ROOM, position, row
            set_level(levels, counts, (head >> 56) & 0xFF, words[position + 6], words[position + 7])
            note_delta(reg, words, position)
            _drive(reg, words, position, row)
        elif kind == KIND_ORDER:
            _drive(reg, words, position, row)
        elif kind == KIND_CHECK and length >= CHECK_BYTES and (words[position + 6] >> 8) & 0xFF == VERDICT_PASSED:
            note_check(reg, words, position, row)
        else:
            return SPECIAL, position, row
        if head & FLAG_LAST_WORD:
            truncate(levels, counts, reg[DEPTH_LIMIT])
            reg[EVENT_START] = 1
            if every == 0 and reg[EVENT_DRIVEN] != 0 and reg[TS_RECV] >= first_ts:
                _write(levels, counts, reg, row, reg[TS_RECV], times, states, prices)
                row += 1
        reg[RECORDS] += 1
        position += length >> 3
    return DONE, position, row


@numba.njit(cache=True, nogil=True, inline="never")
def _drive(reg: Any, words: Any, position: Any, row: Any) -> None:
    """Note a driving record: the event's times, and, where no checksum stands behind the book, rows proven by it."""
    note_times(reg, words, position)
    reg[EVENT_DRIVEN] = 1
    if reg[VERIFIED] != VERIFIED_CHECKSUM:
        reg[PROVEN_ROW] = row
