"""From the values of a scanned message to the bytes of its event, as `EventBuilder` packs them.

First everything is checked and scaled to the instrument's exponents (`prepare` changes nothing but the scan's own
rows), then the event is written in one go. What the exponents cannot hold, or an instrument whose definition is due
again, is refused: the plain adapter grows and redefines.
"""

from __future__ import annotations

from typing import Any

from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.memory import peek, poke
from chronicle.core.layout import (
    BOOK_DELTA_BYTES,
    CHECK_BYTES,
    INT64_MAX,
    INT64_MIN,
    NONE,
    QUOTE_BYTES,
    SNAPSHOT_LEVELS_OFFSET,
    TRADE_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_SIDE_SHIFT,
    Flag,
    Kind,
    Origin,
    Side,
)
from chronicle.feed.kernels.text import mantissa
from chronicle.feed.scan_state import INSTRUMENT, ROW_BYTES, ROWS_MAX, Plan, Record, ShapeHead, Slot, offset_in

__all__ = ["prepare", "write"]

_MICROSECONDS_FROM = 10**15
_MILLISECONDS_MAX, _MICROSECONDS_MAX = INT64_MAX // 1_000_000, INT64_MAX // 1_000
_DELTAS, _SNAPSHOT, _TRADE, _QUOTE = map(int, Record)
_KIND_DELTA, _KIND_SNAPSHOT = int(Kind.BOOK_DELTA), int(Kind.BOOK_SNAPSHOT)
_KIND_TRADE, _KIND_QUOTE, _KIND_CHECK = int(Kind.TRADE), int(Kind.QUOTE), int(Kind.CHECK)
_LAST, _IN_SNAPSHOT, _VENUE = int(Flag.LAST), int(Flag.SNAPSHOT), int(Origin.VENUE)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_SEQUENCE, _FIRST, _PREVIOUS = 8 * int(Slot.SEQUENCE), 8 * int(Slot.FIRST), 8 * int(Slot.PREVIOUS)
_TRADE_ID, _TRADE_LAST, _SIDE = 8 * int(Slot.TRADE_ID), 8 * int(Slot.TRADE_LAST), 8 * int(Slot.SIDE)
_CHECK, _DEPTH, _LIMIT, _FILLS = 8 * int(Slot.CHECK), 8 * int(Slot.DEPTH), 8 * int(Slot.LIMIT), 8 * int(Slot.FILLS)
_CELLS, _TIME, _NEWEST = 8 * int(Slot.INSTRUMENT), 8 * int(Slot.TIME), 8 * int(Slot.NEWEST)
_BIDS, _ASKS, _PRICE = 8 * int(Slot.BIDS), 8 * int(Slot.ASKS), 8 * int(Slot.PRICE)
_SCALED, _COUNTED = 8 * int(Slot.SCALED), 8 * int(Slot.COUNTED)
_SIZE, _ASK_PRICE, _ASK_SIZE = 8 * int(Slot.SIZE), 8 * int(Slot.ASK_PRICE), 8 * int(Slot.ASK_SIZE)
_NUMBER, _PRICE_EXPONENT, _SIZE_EXPONENT = (
    INSTRUMENT[name] for name in ("number", "price_exponent", "size_exponent")
)
_PRICE_MOST, _SIZE_MOST, _BOOK_DEPTH = (INSTRUMENT[name] for name in ("price_most", "size_most", "book_depth"))
_CHECK_PRICE, _CHECK_SIZE = INSTRUMENT["check_price_decimals"], INSTRUMENT["check_size_decimals"]
_CURRENT = INSTRUMENT["current"]
_SLOTS, _ROWS = offset_in(Plan, "slots"), offset_in(Plan, "rows")
_COUNT, _LAST_OFFSET = offset_in(Plan, "count"), offset_in(Plan, "last_offset")
_RECORD, _TIMED = offset_in(ShapeHead, "record"), offset_in(ShapeHead, "timed")
_DEPTH_RULE, _EMPTY_RULE = offset_in(ShapeHead, "depth_rule"), offset_in(ShapeHead, "empty_rule")
_CUT_RULE, _CHECK_RULE = offset_in(ShapeHead, "cut_rule"), offset_in(ShapeHead, "check_rule")
_CHECK_ZERO, _CHECK_DECIMALS = offset_in(ShapeHead, "check_zero"), offset_in(ShapeHead, "check_decimals")
_ASKS_FIRST, _HOLLOW = offset_in(ShapeHead, "asks_first"), offset_in(ShapeHead, "hollow_rule")
_TRADE_TYPE = offset_in(ShapeHead, "trade_type")
_ASK_ROWS = ROWS_MAX * ROW_BYTES


@njit(cache=True, nogil=True)
def _scale_side(rows: Any, count: Any, cells: Any, most: Any, scaled: Any) -> Any:
    """Scale `count` rows in place and return the greatest (price, size) of them and of `most`; (-1, -1): refused.

    Rows that are `scaled` already are only looked at.
    """
    if scaled:
        price_most, size_most = most
        for _ in range(count):
            price_most, size_most = max(price_most, peek(rows)), max(size_most, peek(rows + 16))
            rows += ROW_BYTES
        return price_most, size_most
    price_exponent, size_exponent = peek(cells + _PRICE_EXPONENT), peek(cells + _SIZE_EXPONENT)
    price_most, size_most = most
    for _ in range(count):
        price = mantissa(peek(rows), peek(rows + 8), price_exponent)
        size = mantissa(peek(rows + 16), peek(rows + 24), size_exponent)
        if price < 0 or size < 0:
            return -1, -1
        price_most, size_most = max(price_most, price), max(size_most, size)
        poke(rows, price)
        poke(rows + 16, size)
        rows += ROW_BYTES
    return price_most, size_most


@njit(cache=True, nogil=True)
def _scale_slots(slots: Any, price_at: Any, size_at: Any, cells: Any, most: Any) -> Any:
    """Do for a single level in slots what :func:`_scale_side` does for rows."""
    price = mantissa(peek(slots + price_at), peek(slots + price_at + 8), peek(cells + _PRICE_EXPONENT))
    size = mantissa(peek(slots + size_at), peek(slots + size_at + 8), peek(cells + _SIZE_EXPONENT))
    if price < 0 or size < 0:
        return -1, -1
    poke(slots + price_at, price)
    poke(slots + size_at, size)
    return max(most[0], price), max(most[1], size)


@njit(cache=True, nogil=True)
def _time_ns(number: Any) -> Any:
    """Return ns of an integer time in milliseconds or microseconds, -1 where that is beyond int64."""
    if number >= _MICROSECONDS_FROM:
        return number * 1_000 if number <= _MICROSECONDS_MAX else -1
    return number * 1_000_000 if 0 <= number <= _MILLISECONDS_MAX else -1


@njit(cache=True, nogil=True)
def _shows_check_decimals(slots: Any, rows: Any, cells: Any, asks_first: Any) -> Any:
    """Whether the first level has no more decimals than the instrument's checksum text is known to have."""
    bids, asks = peek(slots + _BIDS), peek(slots + _ASKS)
    if bids == 0 and asks == 0:
        return True
    row = rows + _ASK_ROWS if (asks_first and asks > 0) or bids == 0 else rows
    return peek(row + 8) <= peek(cells + _CHECK_PRICE) and peek(row + 24) <= peek(cells + _CHECK_SIZE)


@njit(cache=True, nogil=True)
def prepare(shape: Any, plan: Any) -> Any:
    """Scale the scanned values to the instrument and return the size of the event in bytes; 0: refused.

    shape: address of the ShapeHead that matched; plan: of its Plan.
    """
    slots, rows = peek(plan + _SLOTS), peek(plan + _ROWS)
    cells = peek(slots + _CELLS)
    if cells <= 0 or peek(cells + _CURRENT) == 0:
        return 0
    depth_rule = peek(shape + _DEPTH_RULE)
    if depth_rule != 0:
        depth = peek(slots + (_DEPTH if depth_rule == 1 else _LIMIT))
        if depth != peek(cells + _BOOK_DEPTH):
            return 0
    ts_event = peek(slots + _NEWEST) if peek(shape + _TIMED) != 0 else _time_ns(peek(slots + _TIME))
    if ts_event < 0:
        return 0
    record = peek(shape + _RECORD)
    most = peek(cells + _PRICE_MOST), peek(cells + _SIZE_MOST)
    bids, asks = peek(slots + _BIDS), peek(slots + _ASKS)
    if record in (_DELTAS, _SNAPSHOT):
        if peek(shape + _CHECK_DECIMALS) != 0 and not _shows_check_decimals(
            slots, rows, cells, peek(shape + _ASKS_FIRST) != 0
        ):
            return 0
        scaled = peek(slots + _SCALED)
        most = _scale_side(rows, bids, cells, most, scaled & 1 != 0)
        if most[0] >= 0:
            most = _scale_side(rows + _ASK_ROWS, asks, cells, most, scaled & 2 != 0)
        size = (bids + asks) * 16 + SNAPSHOT_LEVELS_OFFSET
        if record == _DELTAS:
            size = (bids + asks) * BOOK_DELTA_BYTES
            if size == 0 and _says_empty(shape, slots):
                size = BOOK_DELTA_BYTES
        if _has_check(shape, slots):
            size += CHECK_BYTES
    else:
        most = _scale_slots(slots, _PRICE, _SIZE, cells, most)
        size = TRADE_BYTES
        if record == _QUOTE:
            if peek(shape + _HOLLOW) == 2 and (peek(slots + _PRICE) == 0 or peek(slots + _ASK_PRICE) == 0):
                return 0
            if most[0] >= 0:
                most = _scale_slots(slots, _ASK_PRICE, _ASK_SIZE, cells, most)
            size = QUOTE_BYTES
    if most[0] < 0:
        return 0
    poke(slots + _TIME, ts_event)
    poke(cells + _PRICE_MOST, most[0])
    poke(cells + _SIZE_MOST, most[1])
    return size


@njit(cache=True, nogil=True)
def _says_empty(shape: Any, slots: Any) -> Any:
    """Whether a diff without levels is a record all the same."""
    rule = peek(shape + _EMPTY_RULE)
    return rule == 1 or (rule == 2 and peek(slots + _SEQUENCE) != peek(slots + _PREVIOUS))


@njit(cache=True, nogil=True)
def _has_check(shape: Any, slots: Any) -> Any:
    """Whether the message carries a checksum."""
    if peek(shape + _CHECK_RULE) == 0:
        return False
    return peek(shape + _CHECK_ZERO) != 0 or peek(slots + _CHECK) != 0


@njit(cache=True, nogil=True)
def _word(length: Any, kind: Any, flags: Any, side: Any) -> Any:
    """Return a record's first word."""
    return length | (kind << WORD_KIND_SHIFT) | (flags << WORD_FLAGS_SHIFT) | (side << WORD_SIDE_SHIFT)


@njit(cache=True, nogil=True)
def _header(at: Any, ts_recv: Any, ts_event: Any, source_index: Any, owner: Any, sequence: Any) -> None:
    """Write a record's header but for its first word. owner: instrument, and the source above it."""
    poke(at + 8, ts_recv)
    poke(at + 16, ts_event)
    poke(at + 24, source_index)
    poke(at + 32, owner)
    poke(at + 40, sequence)


@njit(cache=True, nogil=True)
def _write_deltas(
    at: Any, start: Any, rows: Any, count: Any, word: Any, ts_recv: Any, source_index: Any, owner: Any, slots: Any
) -> Any:
    """Write a BOOK_DELTA for each row, with `word` first but for the one at `start`; return the place behind them."""
    ts_event, sequence = peek(slots + _TIME), peek(slots + _SEQUENCE)
    first, previous = peek(slots + _FIRST), peek(slots + _PREVIOUS)
    for _ in range(count):
        if at != start:
            poke(at, word)
        _header(at, ts_recv, ts_event, source_index, owner, sequence)
        poke(at + 48, peek(rows))
        poke(at + 56, peek(rows + 16))
        poke(at + 64, first)
        poke(at + 72, previous)
        at += BOOK_DELTA_BYTES
        rows += ROW_BYTES
    return at


@njit(cache=True, nogil=True)
def _write_levels(at: Any, rows: Any, count: Any) -> Any:
    """Write (price, size) of each row and return (place behind them, least price, greatest price)."""
    least, greatest = INT64_MAX, INT64_MIN
    for _ in range(count):
        price = peek(rows)
        poke(at, price)
        poke(at + 8, peek(rows + 16))
        least, greatest = min(least, price), max(greatest, price)
        at += 16
        rows += ROW_BYTES
    return at, least, greatest


@njit(cache=True, nogil=True)
def _write_snapshot(at: Any, shape: Any, slots: Any, rows: Any) -> Any:
    """Write a BOOK_SNAPSHOT's body and return the place behind it. `at` is the record's start."""
    bids, asks = peek(slots + _BIDS), peek(slots + _ASKS)
    body = at + 48
    poke(body, bids | (asks << 32))
    poke(body + 8, _VENUE)  # origin; status, what verified it and the reserved bytes are 0
    poke(body + 32, NONE)
    end, least, _ = _write_levels(at + SNAPSHOT_LEVELS_OFFSET, rows, bids)
    end, _, greatest = _write_levels(end, rows + _ASK_ROWS, asks)
    floor, ceiling = INT64_MIN, INT64_MAX
    if peek(shape + _CUT_RULE) != 0:
        limit = peek(slots + _LIMIT)
        if bids >= limit and bids > 0:
            floor = least
        if asks >= limit and asks > 0:
            ceiling = greatest
    poke(body + 16, floor)
    poke(body + 24, ceiling)
    return end


@njit(cache=True, nogil=True)
def _write_trade(at: Any, shape: Any, slots: Any) -> None:
    """Write a TRADE's body: an aggregate has the ids of its first and last fill, or a count of fills above 1."""
    first, last = peek(slots + _TRADE_ID), peek(slots + _TRADE_LAST)
    poke(at + 48, peek(slots + _PRICE))
    poke(at + 56, peek(slots + _SIZE))
    poke(at + 64, first)
    poke(at + 72, first if last == NONE else last)
    poke(at + 80, 1 if peek(slots + _FILLS) > 1 else peek(shape + _TRADE_TYPE))


@njit(cache=True, nogil=True)
def _write_quote(at: Any, shape: Any, slots: Any) -> None:
    """Write a QUOTE's body."""
    hollow = peek(shape + _HOLLOW) == 1
    bid_size, ask_size = peek(slots + _SIZE), peek(slots + _ASK_SIZE)
    poke(at + 48, INT64_MIN if hollow and bid_size == 0 else peek(slots + _PRICE))
    poke(at + 56, bid_size)
    poke(at + 64, INT64_MIN if hollow and ask_size == 0 else peek(slots + _ASK_PRICE))
    poke(at + 72, ask_size)


@njit(cache=True, nogil=True)
def _write_all_deltas(at: Any, shape: Any, plan: Any, flags: Any, ts_recv: Any, source_index: Any, owner: Any) -> Any:
    """Write the BOOK_DELTAs of both sides, without the first word of the first; return (place behind, it, count)."""
    slots, rows = peek(plan + _SLOTS), peek(plan + _ROWS)
    bids, asks = peek(slots + _BIDS), peek(slots + _ASKS)
    start = at
    bid_word = _word(BOOK_DELTA_BYTES, _KIND_DELTA, flags, _BID)
    ask_word = _word(BOOK_DELTA_BYTES, _KIND_DELTA, flags, _ASK)
    if bids + asks == 0:
        poke(rows, 0)
        poke(rows + 16, 0)
        word = _word(BOOK_DELTA_BYTES, _KIND_DELTA, flags, 0)
        return _write_deltas(at, start, rows, 1, word, ts_recv, source_index, owner, slots), word, 1
    if peek(shape + _ASKS_FIRST) != 0:
        at = _write_deltas(at, start, rows + _ASK_ROWS, asks, ask_word, ts_recv, source_index, owner, slots)
        at = _write_deltas(at, start, rows, bids, bid_word, ts_recv, source_index, owner, slots)
        return at, ask_word if asks > 0 else bid_word, bids + asks
    at = _write_deltas(at, start, rows, bids, bid_word, ts_recv, source_index, owner, slots)
    at = _write_deltas(at, start, rows + _ASK_ROWS, asks, ask_word, ts_recv, source_index, owner, slots)
    return at, bid_word if bids > 0 else ask_word, bids + asks


@njit(cache=True, nogil=True)
def write(at: Any, shape: Any, plan: Any, ts_recv: Any, source_index: Any, source: Any, flags: Any) -> Any:
    """Write the event that :func:`prepare` gave the size of at `at`, and return its first word.

    That word alone is not written: in a queue it commits the event. F_LAST is on the last record. The plan gets the
    event's record count and the offset of its last record.
    """
    slots, rows = peek(plan + _SLOTS), peek(plan + _ROWS)
    owner = peek(peek(slots + _CELLS) + _NUMBER) | (source << 32)
    record, start = peek(shape + _RECORD), at
    bids, asks = peek(slots + _BIDS), peek(slots + _ASKS)
    ts_event, sequence = peek(slots + _TIME), peek(slots + _SEQUENCE)
    count, last, head = 1, at, 0
    if record == _DELTAS:
        count = 0
        if bids + asks > 0 or _says_empty(shape, slots):
            at, head, count = _write_all_deltas(at, shape, plan, flags, ts_recv, source_index, owner)
            last = at - BOOK_DELTA_BYTES
    elif record == _SNAPSHOT:
        head = _word(SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks), _KIND_SNAPSHOT, flags | _IN_SNAPSHOT, 0)
        _header(at, ts_recv, ts_event, source_index, owner, sequence)
        at = _write_snapshot(at, shape, slots, rows)
    elif record == _TRADE:
        head = _word(TRADE_BYTES, _KIND_TRADE, flags, peek(slots + _SIDE))
        _header(at, ts_recv, ts_event, source_index, owner, sequence)
        _write_trade(at, shape, slots)
    elif record == _QUOTE:
        head = _word(QUOTE_BYTES, _KIND_QUOTE, flags, 0)
        _header(at, ts_recv, ts_event, source_index, owner, sequence)
        _write_quote(at, shape, slots)
    if (record in (_DELTAS, _SNAPSHOT)) and _has_check(shape, slots):
        word = _word(CHECK_BYTES, _KIND_CHECK, flags, 0)
        if at == start:
            head = word
        else:
            poke(at, word)
        _header(at, ts_recv, ts_event, source_index, owner, sequence)
        poke(at + 48, peek(shape + _CHECK_RULE))
        poke(at + 56, peek(slots + _CHECK))
        poke(at + 64, 0)
        last = at
        count += 1
    if last == start:
        head |= _LAST << WORD_FLAGS_SHIFT
    else:
        poke(last, peek(last) | (_LAST << WORD_FLAGS_SHIFT))
    poke(plan + _COUNT, count)
    poke(plan + _LAST_OFFSET, last - start)
    counted = peek(slots + _COUNTED)
    if counted != 0:
        poke(counted, sequence)
    return head
