"""Kernels over the bars of one trade stream: every timeframe from one pass.

Timeframes nest (each is a whole number of the one before), so a trade is added to the shortest bar alone, and a bar
that closes is merged into the next longer one. State, owned by the caller:

- ``bars`` int64[levels, FIELDS]: of each timeframe the bar under way, without what is still in shorter ones;
- ``history`` int64[levels, HISTORY, FIELDS]: the last closed bars, for trades that come late;
- ``floors`` int64[levels]: bars up to this open are no longer kept;
- ``spans`` int64[levels]: the timeframes in ns, ascending;
- ``registers`` int64[REGISTERS].
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.etl.kernels.wide import add_pair, add_product, plus, product

__all__ = ["put_partial", "take_trades"]

OPEN_TS = 0
COUNT = 1
OPEN = 2
HIGH = 3
LOW = 4
CLOSE = 5
VOLUME = 6
NOTIONAL = 8
BUY = 10
FIRST_TS = 12
LAST_TS = 13
WRITTEN = 14
"""Trades in the bar when a record of it was last written; 0: there is none."""
LACKS = 15
"""1 when trades of the bar are missing from it (a redefinition cut it)."""
FIELDS = 16
HISTORY = 4

RECORDS = 0
EVENTS = 1
LATE = 2
LOST = 3
AHEAD = 4
REGISTERS = 5

EMPTY = -(2**63)
CANDLE_WORDS = 18
MONDAY = 4 * 86_400 * 1_000_000_000
"""1970-01-05: weeks are counted from it, and all shorter timeframes divide four days."""
AHEAD_NS = 3_600 * 1_000_000_000
NS_PER_SECOND = 1_000_000_000

KIND_TRADE = 35
KIND_CANDLE = 37
BID = 66
FLAG_LAST_WORD = 128 << 48
FLAG_CORRECTION_WORD = 2 << 48
STATE_CLOSED = 1
STATE_PARTIAL = 2


@numba.njit(cache=True, nogil=True)
def open_of(ts: int, span: int) -> int:
    """Return the open of the bar that holds `ts`."""
    return ts - (ts - MONDAY) % span


@numba.njit(cache=True, nogil=True)
def add_trade(bar: Any, ts: int, price: int, size: int, side: int) -> None:
    """Add one trade to a bar. Open and close go by ts, equal times by arrival."""
    if bar[COUNT] == 0:
        bar[OPEN] = bar[HIGH] = bar[LOW] = bar[CLOSE] = price
        bar[FIRST_TS] = bar[LAST_TS] = ts
    else:
        if price > bar[HIGH]:
            bar[HIGH] = price
        if price < bar[LOW]:
            bar[LOW] = price
        if ts < bar[FIRST_TS]:
            bar[FIRST_TS] = ts
            bar[OPEN] = price
        if ts >= bar[LAST_TS]:
            bar[LAST_TS] = ts
            bar[CLOSE] = price
    bar[COUNT] += 1
    add_product(bar, VOLUME, size, 1)
    add_product(bar, NOTIONAL, price, size)
    if side == BID:
        add_product(bar, BUY, size, 1)


@numba.njit(cache=True, nogil=True)
def merge(bar: Any, other: Any) -> None:
    """Add the trades of bar `other` to `bar`."""
    if other[COUNT] == 0:
        return
    if bar[COUNT] == 0:
        bar[OPEN], bar[HIGH], bar[LOW], bar[CLOSE] = other[OPEN], other[HIGH], other[LOW], other[CLOSE]
        bar[FIRST_TS], bar[LAST_TS] = other[FIRST_TS], other[LAST_TS]
    else:
        bar[HIGH] = max(bar[HIGH], other[HIGH])
        bar[LOW] = min(bar[LOW], other[LOW])
        if other[FIRST_TS] < bar[FIRST_TS]:
            bar[FIRST_TS], bar[OPEN] = other[FIRST_TS], other[OPEN]
        if other[LAST_TS] >= bar[LAST_TS]:
            bar[LAST_TS], bar[CLOSE] = other[LAST_TS], other[CLOSE]
    bar[COUNT] += other[COUNT]
    for at in (VOLUME, NOTIONAL, BUY):
        add_pair(bar, at, other[at], other[at + 1])


@numba.njit(cache=True, nogil=True)
def clear(bar: Any, open_ts: int) -> None:
    """Begin an empty bar."""
    bar[:] = 0
    bar[OPEN_TS] = open_ts


@numba.njit(cache=True, nogil=True)
def emit(
    out: Any, out_starts: Any, registers: Any, bar: Any, span: int, state: int, stamp: Any, ordinal: int
) -> None:
    """Write a bar as a CANDLE record. stamp int64[2]: ts_recv and raw index of what made it known."""
    number = registers[RECORDS]
    at = number * CANDLE_WORDS
    out_starts[number] = at
    head = CANDLE_WORDS * 8 | KIND_CANDLE << 32
    if bar[WRITTEN] != 0:
        head |= FLAG_CORRECTION_WORD
    out[at] = head
    out[at + 1] = stamp[0]
    out[at + 2] = bar[OPEN_TS]
    out[at + 3] = stamp[1]
    out[at + 4] = 1 | ordinal << 48
    out[at + 5] = -1
    out[at + 6] = span // NS_PER_SECOND | state << 32
    for offset in range(COUNT, FIRST_TS):
        out[at + 6 + offset] = bar[offset]
    bar[WRITTEN] = bar[COUNT]
    registers[RECORDS] = number + 1


@numba.njit(cache=True, nogil=True)
def _keep(history: Any, floors: Any, level: int, bar: Any) -> int:
    """Put a bar in place of the oldest of its level; return its place."""
    place = 0
    for other in range(HISTORY):
        if history[level, other, OPEN_TS] < history[level, place, OPEN_TS]:
            place = other
    floors[level] = max(floors[level], history[level, place, OPEN_TS])
    history[level, place, :] = bar
    return place


@numba.njit(cache=True, nogil=True)
def _advance(
    bars: Any, history: Any, floors: Any, spans: Any, registers: Any, ts: int, stamp: Any, out: Any, out_starts: Any
) -> None:
    """Close the bars that end at or before `ts`, shortest first, and begin those that hold it."""
    levels, ordinal = len(spans), 0
    for level in range(levels):
        bar, open_ts = bars[level], open_of(ts, spans[level])
        if bar[OPEN_TS] == open_ts:
            return
        if bar[OPEN_TS] != EMPTY:
            state = STATE_PARTIAL if bar[LACKS] else STATE_CLOSED
            emit(out, out_starts, registers, bar, spans[level], state, stamp, ordinal)
            ordinal += 1
            if level + 1 < levels:
                merge(bars[level + 1], bar)
            _keep(history, floors, level, bar)
        clear(bar, open_ts)


@numba.njit(cache=True, nogil=True)
def _take_late(
    bars: Any,
    history: Any,
    floors: Any,
    spans: Any,
    registers: Any,
    trade: Any,
    stamp: Any,
    out: Any,
    out_starts: Any,
) -> None:
    """Add a trade to bars that closed before it came, and to the first that is still open.

    trade int64[4]: ts, price, size, side.
    """
    ts, ordinal = trade[0], 0
    registers[LATE] += 1
    for level in range(len(spans)):
        bar, open_ts = bars[level], open_of(ts, spans[level])
        if bar[OPEN_TS] == open_ts:
            add_trade(bar, ts, trade[1], trade[2], trade[3])
            return
        if open_ts <= floors[level]:
            registers[LOST] += 1
            continue
        place = -1
        for other in range(HISTORY):
            if history[level, other, OPEN_TS] == open_ts:
                place = other
        if place < 0:
            place = _insert(history, floors, level, open_ts)
        if place < 0:
            registers[LOST] += 1
            continue
        old = history[level, place]
        add_trade(old, ts, trade[1], trade[2], trade[3])
        state = STATE_PARTIAL if old[LACKS] else STATE_CLOSED
        emit(out, out_starts, registers, old, spans[level], state, stamp, ordinal)
        ordinal += 1


@numba.njit(cache=True, nogil=True)
def _insert(history: Any, floors: Any, level: int, open_ts: int) -> int:
    """Begin a bar in the past, where no trade had been; -1 where it is older than all that are kept."""
    place = 0
    for other in range(HISTORY):
        if history[level, other, OPEN_TS] < history[level, place, OPEN_TS]:
            place = other
    oldest = history[level, place, OPEN_TS]
    if oldest > open_ts:
        return -1
    floors[level] = max(floors[level], oldest)
    clear(history[level, place], open_ts)
    return place


@numba.njit(cache=True, nogil=True)
def take_trades(
    bars: Any,
    history: Any,
    floors: Any,
    spans: Any,
    registers: Any,
    words: Any,
    starts: Any,
    ends: Any,
    event: int,
    out: Any,
    out_starts: Any,
    out_ends: Any,
    scratch: Any,
) -> int:
    """Take trade events from `event` on and write the candles they make; return the event that found no room.

    words int64[n], starts int64[records + 1], ends int64[events]: a block of TRADE records. out int64[m * 18],
    out_starts int64[m + 1], out_ends int64[m] are the caller's; registers[RECORDS] and [EVENTS] say how much of them
    is used. scratch int64[6]. A trade without ts_event, or more than an hour ahead of its receipt, counts at its
    ts_recv. About 10 ns a trade.
    """
    levels, room = len(spans), len(out_ends)
    registers[RECORDS] = registers[EVENTS] = 0
    trade, stamp, base, span = scratch[:4], scratch[4:], bars[0], spans[0]
    while event < len(ends):
        first = ends[event - 1] if event > 0 else 0
        end = ends[event]
        before = registers[RECORDS]
        if before + levels * (end - first) > room:
            break
        for number in range(first, end):
            at = starts[number]
            if (words[at] >> 32) & 0xFFFF != KIND_TRADE:
                continue
            ts_recv, ts = words[at + 1], words[at + 2]
            if ts <= 0:
                ts = ts_recv
            elif ts > ts_recv and ts - ts_recv > AHEAD_NS:
                ts = ts_recv
                registers[AHEAD] += 1
            opened = base[OPEN_TS]
            side = (words[at] >> 56) & 0xFF
            if opened == EMPTY or ts < opened or ts - opened >= span:
                stamp[0], stamp[1] = ts_recv, words[at + 3]
                if opened != EMPTY and ts < opened:
                    trade[0], trade[1], trade[2], trade[3] = ts, words[at + 6], words[at + 7], side
                    _take_late(bars, history, floors, spans, registers, trade, stamp, out, out_starts)
                    continue
                _advance(bars, history, floors, spans, registers, ts, stamp, out, out_starts)
            price, size = words[at + 6], words[at + 7]
            if base[COUNT] == 0:
                add_trade(base, ts, price, size, side)
                continue
            # As add_trade, which would cost 30 ns more here, all of it in counting references to the bar.
            if price > base[HIGH]:
                base[HIGH] = price
            if price < base[LOW]:
                base[LOW] = price
            if ts < base[FIRST_TS]:
                base[FIRST_TS] = ts
                base[OPEN] = price
            if ts >= base[LAST_TS]:
                base[LAST_TS] = ts
                base[CLOSE] = price
            base[COUNT] += 1
            high, low = product(price, size)
            base[NOTIONAL], base[NOTIONAL + 1] = plus(base[NOTIONAL], base[NOTIONAL + 1], high, low)
            sign = -1 if size < 0 else 0
            base[VOLUME], base[VOLUME + 1] = plus(base[VOLUME], base[VOLUME + 1], sign, size)
            if side == BID:
                base[BUY], base[BUY + 1] = plus(base[BUY], base[BUY + 1], sign, size)
        written = registers[RECORDS]
        if written > before:
            out[out_starts[written - 1]] |= FLAG_LAST_WORD
            out_ends[registers[EVENTS]] = written
            registers[EVENTS] += 1
        event += 1
    out_starts[registers[RECORDS]] = registers[RECORDS] * CANDLE_WORDS
    return event


@numba.njit(cache=True, nogil=True)
def put_partial(
    bars: Any, spans: Any, registers: Any, out: Any, out_starts: Any, ts_recv: int, raw_index: int, scratch: Any
) -> None:
    """Write the bars under way that have trades no record tells of, as one event; they go on afterwards.

    scratch int64[FIELDS + 2].
    """
    registers[RECORDS] = 0
    total, stamp = scratch[:FIELDS], scratch[FIELDS:]
    stamp[0], stamp[1] = ts_recv, raw_index
    total[:] = 0
    ordinal = 0
    for level in range(len(spans)):
        bar = bars[level]
        if bar[OPEN_TS] == EMPTY:
            break
        written = bar[WRITTEN]
        merge(total, bar)
        total[OPEN_TS] = bar[OPEN_TS]
        total[WRITTEN] = written
        if total[COUNT] != written:
            emit(out, out_starts, registers, total, spans[level], STATE_PARTIAL, stamp, ordinal)
            ordinal += 1
            bar[WRITTEN] = total[COUNT]
    if registers[RECORDS]:
        out[out_starts[registers[RECORDS] - 1]] |= FLAG_LAST_WORD
    out_starts[registers[RECORDS]] = registers[RECORDS] * CANDLE_WORDS
