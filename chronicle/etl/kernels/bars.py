"""Candles in the sweep: the trades of one group through :func:`chronicle.etl.kernels.candles.take_trades`.

Before trades are taken there is room for all candles they could make, so that the bars never run ahead of the queue;
near a segment's end that leaves the trades to Python, one event at a time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from chronicle.core.kernels.batch import append_events
from chronicle.core.kernels.committing import CYCLE_END, GATE, LAST_TS, LIMIT, POSITION, extend
from chronicle.core.kernels.memory import as_pointer, peek, poke
from chronicle.etl.kernels.candles import CANDLE_WORDS, EVENTS, FIELDS, HISTORY, RECORDS, take_trades
from chronicle.etl.kernels.candles import REGISTERS as CANDLE_REGISTERS
from chronicle.etl.kernels.events import FLAG_LAST_WORD, LENGTH_MASK
from chronicle.etl.kernels.merging import split_positions
from chronicle.etl.kernels.row import (
    BAR_HISTORY,
    BAR_SCRATCH,
    BARS,
    BLOCKED,
    DAY_END,
    DONE,
    FLOORS,
    NOT_READY,
    OUT,
    OUT_ENDS,
    OUT_STARTS,
    RECORDS_LEFT,
    RECORDS_TAKEN,
    REGISTERS,
    SPAN_COUNT,
    SPANS,
    STATE,
    TENDED,
    TRADES,
    WORDS_LEFT,
    WORDS_TAKEN,
)

__all__ = ["OUT_RECORDS", "TRADES_MAX", "TRADES_WORDS", "sweep_bars"]

TRADES_MAX = 64
TRADES_WORDS = TRADES_MAX * 11 + 2 * (TRADES_MAX + 1)
"""Scratch: the words of so many trades, their starts, the ends of their events."""
OUT_RECORDS = 1024


@numba.njit(cache=True, nogil=True)
def sweep_bars(
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
) -> int:
    """Take the trades of groups [first, end) into candles; arguments and answer as of ``sweep``."""
    left = 0
    for place in range(first, end):
        row = rows[place]
        code = NOT_READY
        if row != 0 and peek(row) != 0:
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
    """Take the trades from chosen[at] on into bars, and write what closed; return (where it stopped, the code)."""
    state, levels = peek(row + 8 * STATE), peek(row + 8 * SPAN_COUNT)
    bars = carray(as_pointer(peek(row + 8 * BARS)), (levels, FIELDS), np.int64)
    history = carray(as_pointer(peek(row + 8 * BAR_HISTORY)), (levels, HISTORY, FIELDS), np.int64)
    floors = carray(as_pointer(peek(row + 8 * FLOORS)), (levels,), np.int64)
    spans = carray(as_pointer(peek(row + 8 * SPANS)), (levels,), np.int64)
    registers = carray(as_pointer(peek(row + 8 * REGISTERS)), (CANDLE_REGISTERS,), np.int64)
    scratch = carray(as_pointer(peek(row + 8 * BAR_SCRATCH)), (FIELDS + 2,), np.int64)
    out = carray(as_pointer(peek(row + 8 * OUT)), (OUT_RECORDS * CANDLE_WORDS,), np.int64)
    out_starts = carray(as_pointer(peek(row + 8 * OUT_STARTS)), (OUT_RECORDS + 1,), np.int64)
    out_ends = carray(as_pointer(peek(row + 8 * OUT_ENDS)), (OUT_RECORDS,), np.int64)
    trades = peek(row + 8 * TRADES)
    trade_words = carray(as_pointer(trades), (TRADES_MAX * 11,), np.int64)
    trade_starts = carray(as_pointer(trades + 8 * TRADES_MAX * 11), (TRADES_MAX + 1,), np.int64)
    trade_ends = carray(as_pointer(trades + 8 * (TRADES_MAX * 12 + 1)), (TRADES_MAX + 1,), np.int64)
    late = min(peek(row + 8 * DAY_END), peek(state + CYCLE_END))
    code = DONE
    while at < stop:
        left = peek(row + 8 * WORDS_LEFT)
        if peek(state + POSITION) + 8 * OUT_RECORDS * CANDLE_WORDS > peek(state + LIMIT):
            extend(state, peek(state + POSITION) + 8 * OUT_RECORDS * CANDLE_WORDS)
        room = min(left, (peek(state + LIMIT) - peek(state + POSITION)) >> 3)
        records_left = peek(row + 8 * RECORDS_LEFT)
        count = min(TRADES_MAX, OUT_RECORDS // levels, room // (levels * CANDLE_WORDS), records_left // levels)
        end, taken = _gather(
            words, starts, events, chosen, at, stop, raw_base, count, trade_words, trade_starts, trade_ends
        )
        opening = words + 8 * peek(starts + 8 * peek(chosen + 8 * at))
        if end == at or peek(opening + 8) < peek(state + LAST_TS):
            code = BLOCKED
            break
        closing = words + 8 * peek(starts + 8 * peek(chosen + 8 * (end - 1)))
        if peek(closing + 8) >= late:
            code = BLOCKED
            break
        take_trades(
            bars,
            history,
            floors,
            spans,
            registers,
            trade_words,
            trade_starts,
            trade_ends[:taken],
            0,
            out,
            out_starts,
            out_ends,
            scratch,
        )
        at = end
        if registers[EVENTS]:
            records = registers[RECORDS]
            if raw_base < 0:
                split_positions(out[: records * CANDLE_WORDS])
            append_events(out[: records * CANDLE_WORDS], np.int64(0), state, np.int64(0), registers[EVENTS] < 0)
            poke(row + 8 * WORDS_LEFT, left - records * CANDLE_WORDS)
            poke(row + 8 * RECORDS_LEFT, records_left - records)
            poke(row + 8 * WORDS_TAKEN, peek(row + 8 * WORDS_TAKEN) + records * CANDLE_WORDS)
            poke(row + 8 * RECORDS_TAKEN, peek(row + 8 * RECORDS_TAKEN) + records)
    if peek(state + POSITION) >= peek(state + GATE):
        code |= TENDED
    return at, code


@numba.njit(cache=True, nogil=True)
def _gather(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    at: Any,
    stop: Any,
    raw_base: Any,
    count: Any,
    out: Any,
    out_starts: Any,
    ends: Any,
) -> tuple[int, int]:
    """Copy whole events of at most `count` records side by side; return (their end in `chosen`, events)."""
    number, to, taken, whole = 0, 0, 0, at
    while at < stop and number < count:
        record = peek(chosen + 8 * at)
        here = words + 8 * peek(starts + 8 * record)
        size = (peek(here) & LENGTH_MASK) >> 3
        if to + size > TRADES_MAX * 11:
            break
        for word in range(size):
            out[to + word] = peek(here + 8 * word)
        at += 1
        last = at == stop or peek(events + 8 * peek(chosen + 8 * at)) != peek(events + 8 * record)
        out[to] = out[to] | FLAG_LAST_WORD if last else out[to] & ~FLAG_LAST_WORD
        if raw_base >= 0:
            out[to + 3] = raw_base + record
        out_starts[number] = to
        to += size
        number += 1
        out_starts[number] = to
        if last:
            ends[taken] = number
            taken += 1
            whole = at
    return whole, taken
