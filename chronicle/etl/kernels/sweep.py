"""The sweep: the plain records of a window from raw memory to their clean queues, all streams in one call.

A stream's events are looked at, applied to its book and copied to their place in the mapped segment, one after the
other; up to 16 KiB of them become visible by one release store of their first word ("Append" in
docs/format/queue.md). What is not plain stops that stream alone, before anything of the event is applied or written:
streams do not see one another, so the others go on, and Python takes the one event and calls again.

Plain for a stream without a book is every event that fits its segment. For a book it is what ``follows`` says, and a
snapshot that is due before it is written here too. The twin is ``BookStream.take``. Books of orders are
:func:`chronicle.etl.kernels.order_sweep.take_orders`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from chronicle.core.kernels.committing import (
    ADDRESS,
    CYCLE_END,
    GATE,
    LAST_ENTRY,
    LAST_TS,
    LIMIT,
    POSITION,
    extend,
    is_due,
)
from chronicle.core.kernels.memory import as_pointer, peek, poke, prefetch
from chronicle.core.layout import SEEK_INTERVAL_BYTES
from chronicle.etl.kernels.events import (
    FLAG_LAST_WORD,
    GAP_WORDS,
    KIND_BOOK_DELTA,
    KIND_BOOK_SNAPSHOT,
    KIND_CHECK,
    KIND_ORDER,
    LENGTH_MASK,
    VERDICT_PASSED,
)
from chronicle.etl.kernels.ladder import BASE
from chronicle.etl.kernels.levels import BID
from chronicle.etl.kernels.merging import apart
from chronicle.etl.kernels.order_sweep import take_orders
from chronicle.etl.kernels.plain import (
    apply_event,
    follows,
    is_snapshot_due,
    note_snapshot,
    origin_of,
    wants_care,
)
from chronicle.etl.kernels.publishing import publish
from chronicle.etl.kernels.restate import FIXED_WORDS, level_count, restate
from chronicle.etl.kernels.row import (
    BLOCKED,
    COUNTS,
    DAY_END,
    DONE,
    INVERSE,
    KIND,
    LEVELS_KIND,
    LIMITS,
    META,
    NOT_READY,
    ORDERS_KIND,
    REARM,
    RECORDS_LEFT,
    RECORDS_TAKEN,
    REGISTERS,
    ROW,
    SLOT_COUNT,
    SLOTS,
    STATE,
    TENDED,
    WORDS_LEFT,
    WORDS_TAKEN,
)

__all__ = ["sweep"]

AHEAD, AHEAD_LEVELS = 6, 3
"""So many records before its turn a record is fetched (a stream's lie some kilobytes apart), and its level."""


@numba.njit(cache=True, nogil=True)
def sweep(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    stops: Any,
    rows: Any,
    reached: Any,
    codes: Any,
    first: int,
    end: int,
    raw_base: int,
    scratch: Any,
) -> int:
    """Take the plain events of groups [first, end); return how many of the groups left a code.

    words int64[n], starts, events int64[records]: a window. chosen int64[records]: its records by
    group; reached and stops int64[groups]: in `chosen`, how far each group is taken (in and out) and where it ends.
    rows int64[groups]: addresses of the groups' rows, 0: none. codes int64[groups]: out, why it was not taken whole.
    raw_base: raw index of the first record; negative where each carries its position (chronicle.etl.clean.lineage).
    scratch int64[>= CHUNK_RECORDS + 1]: the kernel's own, for books of orders.
    Some 50 to 150 ns a record, much of it faults of pages that are written for the first time.
    """
    left = 0
    for place in range(first, end):
        row = rows[place]
        code = NOT_READY
        if place + 2 < end:
            _fetch_row(rows[place + 2])
        if place + 1 < end:
            _fetch_behind(rows[place + 1])
        if row != 0 and peek(row) != 0:
            if peek(row + 8 * KIND) == ORDERS_KIND:
                at, code = take_orders(
                    words, starts, events, chosen, reached[place], stops[place], row, raw_base, scratch
                )
                reached[place], codes[place] = at, code
                left += code != DONE
                continue
            at, code = _take(
                words.ctypes.data,
                starts.ctypes.data,
                events.ctypes.data,
                chosen.ctypes.data,
                reached[place],
                stops[place],
                row,
                raw_base,
            )
            reached[place] = at
        codes[place] = code
        if code != DONE:
            left += 1
    return left


@numba.njit(cache=True, nogil=True)
def _take(
    words: Any, starts: Any, events: Any, chosen: Any, at: Any, stop: Any, row: Any, raw_base: Any
) -> tuple[int, int]:
    """Take the plain events of one group from chosen[at] on; return (where in `chosen` it stopped, the code).

    All arrays are addresses here and below: as arguments they would cost reference counts.
    """
    state = peek(row + 8 * STATE)
    has_book = peek(row + 8 * KIND) == LEVELS_KIND
    base, began = peek(state + ADDRESS), peek(state + POSITION)
    own_limit = began + 8 * peek(row + 8 * WORDS_LEFT)
    limit = peek(state + LIMIT)
    late, early = min(peek(row + 8 * DAY_END), peek(state + CYCLE_END)), peek(state + LAST_TS)
    run, write, run_stop = began, began, began
    head, kind, ts_first, records, total, code = 0, 0, 0, 0, 0, DONE
    records_left = peek(row + 8 * RECORDS_LEFT)
    while at < stop:
        if write >= run_stop:
            if records:
                publish(state, run, write, head, records, ts_first, early, kind)
                total += records
            run, records = write, 0
            if has_book and wants_care(row):
                code = REARM
                break
        end, size, deltas, delta, check, plain = _look(words, starts, events, chosen, at, stop)
        opening = words + 8 * peek(starts + 8 * peek(chosen + 8 * at))
        ts = peek(opening + 8)
        if write + size > own_limit or ts >= late or ts < early or total + records + end - at > records_left:
            code = BLOCKED
            break
        if write + size > limit:
            if not extend(state, write + size):
                code = BLOCKED
                break
            limit = peek(state + LIMIT)
        computed = ordinal = 0
        if has_book and at + AHEAD_LEVELS < stop:
            _fetch_level(row, words + 8 * peek(starts + 8 * peek(chosen + 8 * (at + AHEAD_LEVELS))))
        if has_book and not (plain and follows(row, deltas, delta, check, own_limit - write - size)):
            code = BLOCKED
            break
        if has_book and is_snapshot_due(row, ts):
            bytes_max = size + 8 * (2 * FIXED_WORDS + 2 * GAP_WORDS + 2 * level_count(row))
            if check != 0 or write + bytes_max > own_limit:
                code = BLOCKED
                break
            if write + bytes_max > limit:
                if not extend(state, write + bytes_max):
                    code = BLOCKED
                    break
                limit = peek(state + LIMIT)
            if records:
                publish(state, run, write, head, records, ts_first, early, kind)
                total += records
            origin = origin_of(words, starts, peek(chosen + 8 * at), raw_base)
            head, size_of_it = restate(row, base + write, ts, peek(opening + 16), origin)
            run, records, early = write + size_of_it, 0, ts
            publish(state, write, run, head, np.int64(1), ts, ts, np.int64(KIND_BOOK_SNAPSHOT))
            note_snapshot(row, ts)
            write, ordinal, total = run, 1, total + 1
        if has_book and deltas > 0:
            applied, computed = apply_event(row, words, starts, chosen, at, end, delta, check, raw_base)
            if not applied:
                code = BLOCKED
                break
        if records == 0:
            head, kind, ts_first = peek(opening), (peek(opening) >> 32) & 0xFFFF, ts
            head = head & ~FLAG_LAST_WORD if end > at + 1 else head | FLAG_LAST_WORD
            entry = write if is_due(state, write, kind) else peek(state + LAST_ENTRY)
            run_stop = entry + SEEK_INTERVAL_BYTES
        _copy(words, starts, chosen, at, end, base + write, raw_base, records == 0, check, computed, ordinal)
        records += end - at
        write += size
        early, at = ts, end
    if records:
        publish(state, run, write, head, records, ts_first, early, kind)
        total += records
    poke(row + 8 * WORDS_LEFT, (own_limit - write) >> 3)
    poke(row + 8 * WORDS_TAKEN, peek(row + 8 * WORDS_TAKEN) + ((write - began) >> 3))
    poke(row + 8 * RECORDS_TAKEN, peek(row + 8 * RECORDS_TAKEN) + total)
    poke(row + 8 * RECORDS_LEFT, records_left - total)
    if write >= peek(state + GATE):
        code |= TENDED
    return at, code


@numba.njit(cache=True, nogil=True)
def _fetch_level(row: Any, here: Any) -> None:
    """Have the ladder's slot of the delta at address `here` loaded ahead; what is none only costs the fetch."""
    meta, side, key = peek(row + 8 * META), (peek(here) >> 56) & 0xFF, peek(here + 48)
    half = 0 if side == BID else 1
    if half == 1:
        key = -key
    inverse = carray(as_pointer(peek(row + 8 * INVERSE)), (1,), np.float64)[0]
    slot = np.int64((key - peek(meta + 8 * (BASE + half))) * inverse)
    prefetch(peek(row + 8 * SLOTS) + 8 * (half * peek(row + 8 * SLOT_COUNT) + slot))


@numba.njit(cache=True, nogil=True)
def _fetch_row(row: Any) -> None:
    """Have a row loaded ahead (0: there is none, which a prefetch may be given too)."""
    for offset in range(0, 8 * ROW, 64):
        prefetch(row + offset)


@numba.njit(cache=True, nogil=True)
def _fetch_behind(row: Any) -> None:
    """Have what a row points to loaded ahead: with some hundred streams none of it is in the first caches."""
    if row == 0:
        return
    state = peek(row + 8 * STATE)
    prefetch(state)
    prefetch(state + 64)
    prefetch(state + 128)
    for pointer in (REGISTERS, LIMITS, META):
        at = peek(row + 8 * pointer)
        prefetch(at)
        prefetch(at + 64)
    prefetch(peek(row + 8 * COUNTS))
    prefetch(peek(row + 8 * INVERSE))


@numba.njit(cache=True, nogil=True)
def _look(
    words: Any, starts: Any, events: Any, chosen: Any, at: Any, stop: Any
) -> tuple[int, int, int, int, int, bool]:
    """Return what the event at chosen[at] is.

    (its end in `chosen`, its bytes, its deltas, address of the first, address of its CHECK or 0, whether it holds
    nothing but deltas of no negative size, ORDER records, and one CHECK behind a delta).
    """
    event = peek(events + 8 * peek(chosen + 8 * at))
    size, deltas, delta, check = 0, 0, 0, 0
    plain = True
    while True:
        if at + AHEAD < stop:
            later = words + 8 * peek(starts + 8 * peek(chosen + 8 * (at + AHEAD)))
            prefetch(later)
            prefetch(later + 64)
        here = words + 8 * peek(starts + 8 * peek(chosen + 8 * at))
        head = peek(here)
        kind = (head >> 32) & 0xFFFF
        size += head & LENGTH_MASK
        if kind == KIND_BOOK_DELTA:
            if deltas == 0:
                delta = here
            deltas += 1
            plain = plain and peek(here + 56) >= 0
        elif kind == KIND_CHECK and check == 0 and deltas > 0:
            check = here
        elif kind != KIND_ORDER:
            plain = False
        at += 1
        if at == stop or peek(events + 8 * peek(chosen + 8 * at)) != event:
            return at, size, deltas, delta, check, plain


@numba.njit(cache=True, nogil=True)
def _copy(
    words: Any,
    starts: Any,
    chosen: Any,
    at: Any,
    end: Any,
    there: Any,
    raw_base: Any,
    withheld: bool,
    check: Any,
    computed: Any,
    ordinal: Any,
) -> None:
    """Copy the records chosen[at:end] to address `there` with clean headers: instrument 1, source, raw index.

    `withheld`: but for the first word. `ordinal` is the first record's. The CHECK at address `check` gets its verdict
    and the sum that was computed.
    """
    for number in range(at, end):
        record = peek(chosen + 8 * number)
        here = words + 8 * peek(starts + 8 * record)
        head = peek(here)
        size = head & LENGTH_MASK
        if not withheld:
            poke(there, head | FLAG_LAST_WORD if number + 1 == end else head & ~FLAG_LAST_WORD)
        withheld = False
        poke(there + 8, peek(here + 8))
        poke(there + 16, peek(here + 16))
        source, index = apart(raw_base + record if raw_base >= 0 else peek(here + 24))
        poke(there + 24, index)
        poke(there + 32, 1 | source << 32 | ordinal << 48)
        ordinal = 0
        for offset in range(40, size, 8):
            poke(there + offset, peek(here + offset))
        if here == check:
            poke(there + 48, peek(here + 48) & 0xFF | VERDICT_PASSED << 8)
            poke(there + 64, computed)
        there += size
