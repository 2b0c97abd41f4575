"""Kernel that replays a deep book and writes down its best levels on a grid of times.

Between two rows of a grid lie hundreds of changes; so they are noted in the table of
:mod:`chronicle.access.kernels.moments`, and a row picks the best levels out of the sorted ones and that table. For
books without a depth limit; same registers, same rows as :mod:`chronicle.access.kernels.books`, whose functions write
them. What notes a change is written out here and there: a helper that takes the arrays costs 60 ns of counting
references to them.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.access.kernels.books import (
    BAD,
    CHECK_BYTES,
    CONTENT_DONE,
    DELTA_BYTES,
    DONE,
    EVENT_DRIVEN,
    EVENT_START,
    EVENT_TS,
    FLAG_LAST_WORD,
    FULL,
    GRID_NEXT,
    KIND_BOOK_DELTA,
    KIND_CHECK,
    KIND_ORDER,
    KIND_ROLL,
    LENGTH_MASK,
    PROVEN_ROW,
    RECORDS,
    ROOM,
    SPECIAL,
    STOP,
    VERDICT_PASSED,
    VERIFIED,
    VERIFIED_CHECKSUM,
    fill,
    note_check,
    note_delta,
    note_times,
)
from chronicle.access.kernels.moments import ASK, BID, KNUTH, LOW_31, best

__all__ = ["replay_grid"]

KEPT_MIN = 256
KEPT_SHARE = 16
"""A row looks at every change in the table, to bring them in costs a walk over all levels: so many times the changes
of one row (at least the least) are kept before."""


@numba.njit(cache=True, nogil=True)
def replay_grid(
    levels: Any,
    counts: Any,
    heads: Any,
    keys: Any,
    sizes: Any,
    used: Any,
    top: Any,
    top_counts: Any,
    reg: Any,
    words: Any,
    position: Any,
    end_ts: Any,
    every: Any,
    times: Any,
    states: Any,
    prices: Any,
    row: Any,
) -> Any:
    """Apply plain records from word `position` on and write rows; return (why, position, row).

    As :func:`chronicle.access.kernels.books.replay` with `every` > 0. ROOM: the table should be brought into the
    levels first. top int64[4, depth + 1] and top_counts int64[2] are scratch. O(records + rows * changes).
    """
    total = len(words)
    depth = prices.shape[2]
    room, mask = keys.shape[1], heads.shape[1] - 1
    fresh, noted = True, 0
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
            until = min(ts, end_ts)
            if reg[GRID_NEXT] < until:
                if fresh:
                    if noted > 0 and max(used[0], used[1]) > max(KEPT_MIN, KEPT_SHARE * noted):
                        return ROOM, position, row
                    best(levels, counts, heads, keys, sizes, used, top, top_counts, depth)
                row = fill(top, top_counts, reg, until, every, times, states, prices, row)
                fresh, noted = False, 0
            if reg[GRID_NEXT] >= end_ts:
                return STOP, position, row
            if reg[GRID_NEXT] < ts:
                return FULL, position, row
            reg[EVENT_START] = 0
            reg[EVENT_DRIVEN] = 0
            reg[EVENT_TS] = ts
        if reg[CONTENT_DONE] != 0:
            reg[CONTENT_DONE] = 0
        elif kind == KIND_BOOK_DELTA:
            if length < DELTA_BYTES:
                return BAD, position, row
            side = (head >> 56) & 0xFF
            if side in (BID, ASK):
                half = 0 if side == BID else 1
                key = words[position + 6] if side == BID else -words[position + 6]
                slot = (((key ^ (key >> 31)) & LOW_31) * KNUTH >> 20) & mask
                while heads[half, slot] != 0 and keys[half, heads[half, slot] - 1] != key:
                    slot = (slot + 1) & mask
                entry = heads[half, slot] - 1
                if entry < 0:
                    entry = used[half]
                    if entry >= room:
                        return ROOM, position, row
                    used[half] = entry + 1
                    heads[half, slot] = entry + 1
                    keys[half, entry] = key
                sizes[half, entry] = words[position + 7]
            fresh = True
            noted += 1
            note_delta(reg, words, position)
            note_times(reg, words, position)
            reg[EVENT_DRIVEN] = 1
            if reg[VERIFIED] != VERIFIED_CHECKSUM:
                reg[PROVEN_ROW] = row
        elif kind == KIND_ORDER:
            note_times(reg, words, position)
            reg[EVENT_DRIVEN] = 1
            if reg[VERIFIED] != VERIFIED_CHECKSUM:
                reg[PROVEN_ROW] = row
        elif kind == KIND_CHECK and length >= CHECK_BYTES and (words[position + 6] >> 8) & 0xFF == VERDICT_PASSED:
            note_check(reg, words, position, row)
        else:
            return SPECIAL, position, row
        if head & FLAG_LAST_WORD:
            reg[EVENT_START] = 1
        reg[RECORDS] += 1
        position += length >> 3
    return DONE, position, row
