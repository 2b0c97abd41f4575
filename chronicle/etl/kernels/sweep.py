"""The sweep: the plain records of a window from raw memory to their clean queues, all streams in one call.

A stream's records are gathered, 16 KiB of whole events at a time, into a scratch that stays in the first cache, run
through its book, and appended from there to the mapped segment by the same kernel that every batch append uses. What
is not plain stops that stream alone: streams do not see one another, so the others go on, and Python takes the one
event and calls again. Which events are plain is the business of :mod:`chronicle.etl.kernels.events`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from chronicle.core.kernels.batch import append_events
from chronicle.core.kernels.committing import GATE, POSITION
from chronicle.core.kernels.memory import as_pointer, peek, poke
from chronicle.etl.kernels.events import FLAG_LAST_WORD, LENGTH_MASK, WORDS_MAX, advance, fit
from chronicle.etl.kernels.ladder import META as META_WORDS
from chronicle.etl.kernels.ladder import ON, OVERFLOW, UPDATES
from chronicle.etl.kernels.row import (
    BITS,
    BLOCKED,
    CAPACITY,
    COUNTS,
    DAY_END,
    DONE,
    INVERSE,
    KIND,
    LEVELS,
    LEVELS_KIND,
    LIFT_AT,
    LIMITS,
    META,
    NOT_READY,
    REARM,
    RECORDS_TAKEN,
    REGISTERS,
    SLOT_COUNT,
    SLOTS,
    SPILL_END,
    SPILL_FROM,
    SPILLED,
    STATE,
    TENDED,
    WORDS_LEFT,
    WORDS_TAKEN,
)

__all__ = ["SCRATCH_RECORDS", "SCRATCH_WORDS", "sweep"]

CHUNK_WORDS = 2048
"""An event that starts behind so many words of a chunk is of the next: 16 KiB, as the seek interval."""
SCRATCH_WORDS = 8192
SCRATCH_RECORDS = SCRATCH_WORDS // 6
EVENT_REGISTERS = 11
EVENT_LIMITS = 10
RECORDS_ANY = (1 << 63) - 1
RECENTRE_UPDATES = 4096
OVERFLOW_SHARE = 8
"""As chronicle.etl.ladder has them; a test compares the two."""


@numba.njit(cache=True, nogil=True)
def sweep(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    bounds: Any,
    rows: Any,
    reached: Any,
    codes: Any,
    first: int,
    end: int,
    raw_base: int,
    scratch: Any,
    scratch_starts: Any,
    scratch_ends: Any,
) -> int:
    """Take the plain events of groups [first, end); return the group that spilled, or `end`.

    words int64[n], starts, events int64[records]: a window. chosen int64[records], bounds int64[groups + 1]: its
    records by group. rows int64[groups]: addresses of the groups' rows, 0: none. reached int64[groups]: in `chosen`,
    how far a group is taken, in and out. codes int64[groups]: out, why it was not taken to its end. scratch
    int64[SCRATCH_WORDS], scratch_starts and scratch_ends int64[SCRATCH_RECORDS + 1].
    """
    for place in range(first, end):
        row = rows[place]
        code = NOT_READY
        if row != 0 and peek(row) != 0:
            code = _take(
                words,
                starts,
                events,
                chosen,
                bounds[place + 1],
                row,
                reached,
                place,
                raw_base,
                scratch,
                scratch_starts,
                scratch_ends,
            )
        codes[place] = code
        if code & (TENDED - 1) == SPILLED:
            return place
    return end


@numba.njit(cache=True, nogil=True)
def _take(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    stop: int,
    row: int,
    reached: Any,
    place: int,
    raw_base: int,
    scratch: Any,
    scratch_starts: Any,
    scratch_ends: Any,
) -> int:
    """Take the plain events of one group; return the code."""
    state, day_end = peek(row + 8 * STATE), peek(row + 8 * DAY_END)
    has_book = peek(row + 8 * KIND) == LEVELS_KIND
    registers = carray(as_pointer(peek(row + 8 * REGISTERS)), (EVENT_REGISTERS,), np.int64)
    limits = carray(as_pointer(peek(row + 8 * LIMITS)), (EVENT_LIMITS,), np.int64)
    levels = carray(as_pointer(peek(row + 8 * LEVELS)), (4, peek(row + 8 * CAPACITY)), np.int64)
    counts = carray(as_pointer(peek(row + 8 * COUNTS)), (2,), np.int64)
    slot_count = peek(row + 8 * SLOT_COUNT)
    meta = carray(as_pointer(peek(row + 8 * META)), (META_WORDS,), np.int64)
    ladder = (
        carray(as_pointer(peek(row + 8 * SLOTS)), (2, slot_count), np.int64),
        carray(as_pointer(peek(row + 8 * BITS)), (2, slot_count >> 6), np.uint64),
        meta,
        carray(as_pointer(peek(row + 8 * INVERSE)), (1,), np.float64),
    )
    code = DONE
    at = reached[place]
    while at < stop:
        if has_book and _wants_care(counts, meta, peek(row + 8 * LIFT_AT)):
            code = REARM
            break
        count = _gather(words, starts, events, chosen, at, stop, raw_base, scratch, scratch_starts, scratch_ends)
        left = peek(row + 8 * WORDS_LEFT)
        taken = 0
        if count > 0 and has_book:
            limits[WORDS_MAX] = left
            taken = advance(
                levels, counts, ladder, registers, limits, scratch, scratch_starts, scratch_ends[:count], 0
            )
        elif count > 0:
            taken = fit(scratch, scratch_starts, scratch_ends[:count], 0, left, day_end, RECORDS_ANY)
        if taken > 0:
            records = scratch_ends[taken - 1]
            size = scratch_starts[records]
            written = append_events(scratch[:size], 0, state, 0, False)
            poke(row + 8 * WORDS_LEFT, left - size)
            poke(row + 8 * WORDS_TAKEN, peek(row + 8 * WORDS_TAKEN) + size)
            poke(row + 8 * RECORDS_TAKEN, peek(row + 8 * RECORDS_TAKEN) + records)
            at += records
            reached[place] = at
            if written < size:
                poke(row + 8 * SPILL_FROM, max(written, 0))
                poke(row + 8 * SPILL_END, size)
                code = SPILLED
                break
        if taken < count or count == 0:
            code = BLOCKED
            break
    if peek(state + POSITION) >= peek(state + GATE):
        code |= TENDED
    return code


@numba.njit(cache=True, nogil=True)
def _wants_care(counts: Any, meta: Any, lift_at: int) -> bool:
    """Whether a book has outgrown its sorted arrays, or strayed from its ladder's window."""
    if meta[ON] == 0:
        return bool(max(counts[0], counts[1]) >= lift_at)
    return bool(meta[UPDATES] >= RECENTRE_UPDATES and meta[OVERFLOW] * OVERFLOW_SHARE > meta[UPDATES])


@numba.njit(cache=True, nogil=True)
def _gather(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    at: int,
    stop: int,
    raw_base: int,
    out: Any,
    out_starts: Any,
    ends: Any,
) -> int:
    """Copy whole events from chosen[at] on side by side with clean headers, as ``gather`` does; return their count.

    0 when the first alone is larger than the scratch. Events that start behind CHUNK_WORDS wait for the next call.
    """
    source, target = words.ctypes.data, out.ctypes.data
    number, to, count = 0, 0, 0
    while at < stop and to < CHUNK_WORDS:
        event = events[chosen[at]]
        last = False
        while not last:
            record = chosen[at]
            position = starts[record]
            here = source + 8 * position
            head = peek(here)
            size = (head & LENGTH_MASK) >> 3
            if to + size > SCRATCH_WORDS:
                return count
            at += 1
            last = at == stop or events[chosen[at]] != event
            there = target + 8 * to
            poke(there, head | FLAG_LAST_WORD if last else head & ~FLAG_LAST_WORD)
            poke(there + 8, peek(here + 8))
            poke(there + 16, peek(here + 16))
            poke(there + 24, raw_base + record)
            poke(there + 32, 1)
            for word in range(5, size):
                poke(there + 8 * word, peek(here + 8 * word))
            out_starts[number] = to
            to += size
            number += 1
        ends[count] = number
        count += 1
        out_starts[number] = to
    return count
