"""Scanning a message along the shapes in which its venue writes: one pass, no object, any deviation a refusal.

A scan takes only what the venue's JSON reader and plain adapter read the same way: literals exactly as the shape has
them (so no key is missing, double or in another order), plain ASCII texts without escapes, integers and decimals of
at most 18 digits. It looks at no byte outside the message; a message that ends early does not match.

Addresses everywhere; the caller keeps what they point to. Cost: one operation after the other, about 5 ns for a
number of a level.
"""

from __future__ import annotations

from typing import Any

from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.memory import peek, poke
from chronicle.core.layout import NONE
from chronicle.feed.kernels.text import (
    BLOCK,
    POWERS,
    byte_at,
    byte_mask,
    digits,
    four_eights,
    integer,
    is_at,
    iso_time,
    lowest_bit,
    mantissa,
    mixed_hash,
    number,
    padded,
    seconds,
    shifted_down,
    text_end,
)
from chronicle.feed.scan_state import (
    INSTRUMENT,
    NAME_BYTES_MAX,
    NOT_COUNTED,
    ROW_BYTES,
    ROWS_MAX,
    SCALED_EXPONENT_MAX,
    SLOT_COUNT,
    TABLE_HEAD_BYTES,
    UNSET_COUNT,
    NameEntry,
    Operation,
    Plan,
    ShapeHead,
    Slot,
    Want,
    offset_in,
)

__all__ = ["matches"]

_LITERAL, _INTEGER, _SIGNED, _DIGITS, _TEXT, _NAME, _LEVELS = map(int, tuple(Operation)[:7])
_NUMBER, _CHOICE, _SECONDS, _TRADE_ID, _ISO, _COUNT, _UPDATES = map(int, tuple(Operation)[7:])
_INSTRUMENT = 8 * int(Slot.INSTRUMENT)
_NEWEST = 8 * int(Slot.NEWEST)
_LIMIT = 8 * int(Slot.LIMIT)
_SEEN, _SCALED, _COUNTED = 8 * int(Slot.SEEN), 8 * int(Slot.SCALED), 8 * int(Slot.COUNTED)
_PRICE_EXPONENT, _SIZE_EXPONENT = INSTRUMENT["price_exponent"], INSTRUMENT["size_exponent"]
_BIDS = 8 * int(Slot.BIDS)
_UNSET = int(UNSET_COUNT)
_SLOTS, _ROWS = offset_in(Plan, "slots"), offset_in(Plan, "rows")
_NAME_ROLE, _NAME_OFFSET = offset_in(Plan, "name_role"), offset_in(Plan, "name_offset")
_NAME_LENGTH = offset_in(Plan, "name_length")
_OPERATIONS, _OPERATION_COUNT = offset_in(ShapeHead, "operations"), offset_in(ShapeHead, "operation_count")
_ENTRY_BYTES = 8 * len(NameEntry._fields_)
_ENTRY_ROLE, _ENTRY_TEXT = offset_in(NameEntry, "role"), offset_in(NameEntry, "text")
_ENTRY_LENGTH, _ENTRY_INSTRUMENT = offset_in(NameEntry, "length"), offset_in(NameEntry, "instrument")
_ENTRY_LIMIT, _ENTRY_SEEN = offset_in(NameEntry, "limit"), offset_in(NameEntry, "seen")
_WANT_INSTRUMENT, _WANT_CHANGES, _WANT_WHOLE = int(Want.INSTRUMENT), int(Want.CHANGES), int(Want.WHOLE)
_OPEN, _CLOSE, _COMMA, _QUOTE, _POINT, _BACKSLASH = 0x5B, 0x5D, 0x2C, 0x22, 0x2E, 0x5C
_SHORT = 6
_THREE, _FIVE = 0xFFFFFF, 0xFFFFFFFFFF
_BETWEEN, _OPENING, _NEXT_ROW = (int.from_bytes(text, "little") for text in (b'","', b',["', b'"],["'))
_ID_DIGITS_MAX = 18


@njit(cache=True, nogil=True)
def _entry(table: Any, role: Any, at: Any, length: Any, end: Any) -> Any:
    """Return the address of a name's entry in `table` (mask, then entries), 0 when it has none. Open addressing."""
    mask = peek(table)
    hashed = mixed_hash(at, length, end)
    place = hashed & mask
    while True:
        entry = table + TABLE_HEAD_BYTES + place * _ENTRY_BYTES
        text = peek(entry + _ENTRY_TEXT)
        if text == 0:
            return text
        if (
            peek(entry) == hashed
            and peek(entry + _ENTRY_ROLE) == role
            and peek(entry + _ENTRY_LENGTH) == length
            and is_at(at, end, text, length)
        ):
            return entry
        place = (place + 1) & mask


@njit(cache=True, nogil=True)
def _name(at: Any, end: Any, table: Any, plan: Any, start: Any, role: Any, want: Any) -> Any:
    """Return the place of the quote behind a name, 0 when it is no plain text or stands for something else.

    A name that no table has is told in the plan; the scan goes on, to see whether it is worth learning.
    """
    stop = text_end(at, end)
    length = stop - at
    if stop == 0 or length == 0 or length > NAME_BYTES_MAX:
        return 0
    entry = _entry(table, role, at, length, end)
    if entry == 0:
        poke(plan + _NAME_ROLE, role)
        poke(plan + _NAME_OFFSET, at - start)
        poke(plan + _NAME_LENGTH, length)
        return stop
    slots = peek(plan + _SLOTS)
    limit = peek(entry + _ENTRY_LIMIT)
    if (want == _WANT_CHANGES and limit != 0) or (want == _WANT_WHOLE and limit == 0):
        return 0
    if want != _WANT_CHANGES:
        poke(slots + _INSTRUMENT, peek(entry + _ENTRY_INSTRUMENT))
        poke(slots + _SEEN, peek(entry + _ENTRY_SEEN))
        if limit != 0:
            poke(slots + _LIMIT, limit)
    return stop


@njit(cache=True, nogil=True)
def _row_fast(at: Any, end: Any, row: Any, price_exponent: Any, size_exponent: Any) -> Any:
    """Write the row whose price begins at `at` and return the place of the quote that ends its size; 0: look closely.

    That is for what ends less than two blocks before the message, and for numbers of more than eight digits or
    decimals. The quotes of a whole row are found at once, and its digits joined at once, so that the next row need
    not wait for this one's. Mantissas where exponents are given (-1: none), else digits and decimals.
    """
    if at + BLOCK + 8 > end:
        return 0
    quotes, points = byte_mask(at, _QUOTE), byte_mask(at, _POINT)
    first = lowest_bit(quotes)
    rest = quotes & (quotes - 1)
    second = lowest_bit(rest)
    length = lowest_bit(rest & (rest - 1))
    start = first + 3
    if length >= BLOCK or second != first + 2 or byte_at(at + first + 1) != _COMMA:
        return 0
    price_point = min(lowest_bit(points), first)
    size_point = min(lowest_bit(shifted_down(points, start)) + start, length)
    price_places, size_places = max(first - price_point - 1, 0), max(length - size_point - 1, 0)
    size_count = size_point - start
    if not (0 < price_point <= 8 and 0 < size_count <= 8 and price_places <= 8 and size_places <= 8):
        return 0
    price, price_part, size, size_part, others = four_eights(
        padded(at, price_point),
        padded(at + price_point + 1, price_places),
        padded(at + start, size_count),
        padded(at + size_point + 1, size_places),
    )
    if others != 0:
        return 0
    if price_exponent < 0:
        poke(row, price * POWERS[price_places] + price_part)
        poke(row + 8, price_places)
        poke(row + 16, size * POWERS[size_places] + size_part)
        poke(row + 24, size_places)
    else:
        if price_places > price_exponent or size_places > size_exponent:
            return 0
        poke(row, price * POWERS[price_exponent] + price_part * POWERS[price_exponent - price_places])
        poke(row + 16, size * POWERS[size_exponent] + size_part * POWERS[size_exponent - size_places])
    return at + length


@njit(cache=True, nogil=True)
def _row_closely(at: Any, end: Any, row: Any, price_exponent: Any, size_exponent: Any) -> Any:
    """Do what :func:`_row_fast` does for any row; 0: it is none, or the exponents cannot hold it."""
    at, price, price_places = number(at, end)
    if at == 0 or at + 8 > end or peek(at) & _THREE != _BETWEEN:
        return 0
    at, size, size_places = number(at + 3, end)
    if at == 0:
        return at
    if price_exponent >= 0:
        price = mantissa(price, price_places, price_exponent)
        size = mantissa(size, size_places, size_exponent)
        if price < 0 or size < 0:
            return 0
    poke(row, price)
    poke(row + 8, price_places)
    poke(row + 16, size)
    poke(row + 24, size_places)
    return at


@njit(cache=True, nogil=True)
def _levels(at: Any, end: Any, rows: Any, timed: Any, price_exponent: Any, size_exponent: Any) -> Any:
    """Return (place after it, count, newest ns) of a list of levels: ``[["1.0","2",...],...]``.

    rows: address of ROWS_MAX rows. Texts behind price and size are passed over; when `timed`, the first is a time.
    Exponents: of an instrument that is known, else -1.
    """
    newest = 0
    if at + 2 > end or byte_at(at) != _OPEN:
        return 0, 0, newest
    if byte_at(at + 1) == _CLOSE:
        return at + 2, 0, newest
    if at + 8 > end or byte_at(at + 1) != _OPEN or byte_at(at + 2) != _QUOTE:
        return 0, 0, newest
    at += 3
    row = rows
    stop_row = rows + ROWS_MAX * ROW_BYTES
    while row < stop_row:
        after = _row_fast(at, end, row, price_exponent, size_exponent)
        if after == 0:
            after = _row_closely(at, end, row, price_exponent, size_exponent)
            if after == 0:
                break
        at = after
        row += ROW_BYTES
        if at + 8 <= end and not timed and peek(at) & _FIVE == _NEXT_ROW:
            at += 5
            continue
        at, time = _row_end(at, end, timed)
        newest = max(newest, time)
        if at == 0 or at + 2 > end:
            break
        if byte_at(at) == _CLOSE:
            return at + 1, (row - rows) // ROW_BYTES, newest
        if at + 8 > end or peek(at) & _THREE != _OPENING:
            break
        at += 3
    return 0, 0, newest


@njit(cache=True, nogil=True)
def _known_levels(at: Any, end: Any, rows: Any, timed: Any, slots: Any, side: Any) -> Any:
    """Do what :func:`_levels` does, with mantissas for rows where the instrument stood before them."""
    cells = peek(slots + _INSTRUMENT)
    price_exponent = size_exponent = -1
    if cells > 0:
        price_exponent, size_exponent = peek(cells + _PRICE_EXPONENT), peek(cells + _SIZE_EXPONENT)
        if max(price_exponent, size_exponent) > SCALED_EXPONENT_MAX:
            price_exponent = size_exponent = -1
    at, count, newest = _levels(at, end, rows, timed, price_exponent, size_exponent)
    if price_exponent >= 0:
        poke(slots + _SCALED, peek(slots + _SCALED) | (1 << side))
    return at, count, newest


@njit(cache=True, nogil=True)
def _short_end(at: Any, end: Any) -> Any:
    """Do what :func:`text_end` does, for a text that is rarely longer than some characters."""
    for _ in range(_SHORT):
        if at >= end:
            return 0
        char = byte_at(at)
        if char == _QUOTE:
            return at
        if char < 0x20 or char > 0x7E or char == _BACKSLASH:
            return 0
        at += 1
    return text_end(at, end)


@njit(cache=True, nogil=True)
def _row_end(at: Any, end: Any, timed: Any) -> Any:
    """Return (place behind a level, its time) from the quote that ends its size: past what stands behind the size."""
    time = 0
    if at + 2 > end or byte_at(at) != _QUOTE:
        return 0, time
    at += 1
    if timed:
        if at + 2 > end or byte_at(at) != _COMMA or byte_at(at + 1) != _QUOTE:
            return 0, time
        at, time = seconds(at + 2, end)
        if at == 0 or at + 2 > end or byte_at(at) != _QUOTE:
            return 0, time
        at += 1
    while at + 2 <= end and byte_at(at) == _COMMA:
        at = _short_end(at + 2, end) if byte_at(at + 1) == _QUOTE else 0
        if at == 0:
            return 0, time
        at += 1
    if at >= end or byte_at(at) != _CLOSE:
        return 0, time
    return at + 1, time


@njit(cache=True, nogil=True)
def _counted(at: Any, end: Any, table: Any, slots: Any) -> Any:
    """Return (place after it, value) of the integer that follows the number of the connection's last message."""
    cell = peek(table + 8)
    if cell == 0:
        return 0, 0
    at, value = integer(at, end, False)
    last = peek(cell)
    if at == 0 or last == NOT_COUNTED or value != last + 1:
        return 0, 0
    poke(slots + _COUNTED, cell)
    return at, value


@njit(cache=True, nogil=True)
def _after(at: Any, end: Any, parts: Any, which: Any) -> Any:
    """Return the place behind literal `which` of `parts` (address, length), 0 when it is not at `at`."""
    length = peek(parts + 16 * which + 8)
    return at + length if is_at(at, end, peek(parts + 16 * which), length) else 0


@njit(cache=True, nogil=True)
def _updates(at: Any, end: Any, rows: Any, parts: Any, slots: Any) -> Any:
    """Return the place after a list of objects that are each a level of either side; 0: it is none, or too long.

    parts: literals: before the side, each side with what follows it, before price and size, behind the size.
    """
    cells = peek(slots + _INSTRUMENT)
    bids, asks = rows, rows + ROWS_MAX * ROW_BYTES
    bid_stop, ask_stop = asks, asks + ROWS_MAX * ROW_BYTES
    bid, ask = bids, asks
    price_exponent = size_exponent = -1
    if cells > 0:
        price_exponent, size_exponent = peek(cells + _PRICE_EXPONENT), peek(cells + _SIZE_EXPONENT)
        poke(slots + _SCALED, 3)
    if at >= end or byte_at(at) != _OPEN:
        return 0
    at += 1
    while bid < bid_stop and ask < ask_stop:
        at = _after(at, end, parts, 0)
        if at == 0:
            return 0
        after = _after(at, end, parts, 1)
        is_bid = after != 0
        if not is_bid:
            after = _after(at, end, parts, 2)
            if after == 0:
                return 0
        at = text_end(after, end)
        if at == 0:
            return 0
        at = _after(at, end, parts, 3)
        if at == 0:
            return 0
        at, price, price_places = number(at, end)
        if at == 0:
            return 0
        at = _after(at, end, parts, 4)
        if at == 0:
            return 0
        at, size, size_places = number(at, end)
        if at == 0:
            return 0
        at = _after(at, end, parts, 5)
        if at == 0 or at >= end:
            return 0
        if price_exponent >= 0:
            price, size = mantissa(price, price_places, price_exponent), mantissa(size, size_places, size_exponent)
            if price < 0 or size < 0:
                return 0
        row = bid if is_bid else ask
        poke(row, price)
        poke(row + 8, price_places)
        poke(row + 16, size)
        poke(row + 24, size_places)
        if is_bid:
            bid += ROW_BYTES
        else:
            ask += ROW_BYTES
        char = byte_at(at)
        at += 1
        if char == _CLOSE:
            poke(slots + _BIDS, (bid - bids) // ROW_BYTES)
            poke(slots + _BIDS + 8, (ask - asks) // ROW_BYTES)
            return at
        if char != _COMMA:
            return 0
    return 0


@njit(cache=True, nogil=True)
def _trade_id(at: Any, end: Any) -> Any:
    """Return (place of the quote behind it, id): a text that is no number of up to 18 digits has none."""
    stop = text_end(at, end)
    if stop == 0:
        return 0, NONE
    after, value, count = digits(at, stop)
    if after != stop or count == 0 or count > _ID_DIGITS_MAX:
        return stop, NONE
    return stop, value


@njit(cache=True, nogil=True)
def _choice(at: Any, end: Any, count: Any, table: Any) -> Any:
    """Return (place after it, value) of the first of `count` alternatives (text, length, value) that is at `at`."""
    for _ in range(count):
        length = peek(table + 8)
        if is_at(at, end, peek(table), length):
            return at + length, peek(table + 16)
        table += 24
    return 0, 0


@njit(cache=True, nogil=True)
def matches(shape: Any, plan: Any, table: Any, start: Any, end: Any) -> Any:
    """Whether the message from `start` to `end` is wholly of `shape`; then its values are in the plan's slots.

    shape: address of a ShapeHead; plan: of a Plan; table: of the connection's names.
    """
    slots = peek(plan + _SLOTS)
    for slot in range(_UNSET):
        poke(slots + 8 * slot, NONE)
    for slot in range(_UNSET, SLOT_COUNT):
        poke(slots + 8 * slot, 0)
    poke(plan + _NAME_LENGTH, 0)
    operation = peek(shape + _OPERATIONS)
    at = start
    for _ in range(peek(shape + _OPERATION_COUNT)):
        kind, first, second = peek(operation), peek(operation + 8), peek(operation + 16)
        value = 0
        if kind == _LITERAL:
            at = at + second if is_at(at, end, first, second) else 0
        elif kind == _LEVELS:
            rows = peek(plan + _ROWS) + first * (ROWS_MAX * ROW_BYTES)
            at, value, newest = _known_levels(at, end, rows, second != 0, slots, first)
            poke(slots + _BIDS + 8 * first, value)
            poke(slots + _NEWEST, max(newest, peek(slots + _NEWEST)))
        elif kind in (_INTEGER, _SIGNED):
            at, value = integer(at, end, kind == _SIGNED)
            poke(slots + 8 * first, value)
        elif kind == _TEXT:
            at = text_end(at, end)
        elif kind == _NAME:
            at = _name(at, end, table, plan, start, first, second)
        elif kind == _NUMBER:
            at, value, places = number(at, end)
            poke(slots + 8 * first, value)
            poke(slots + 8 * first + 8, places)
        elif kind == _DIGITS:
            at, value, count = digits(at, end)
            if count == 0 or count > second:
                at = 0
            poke(slots + 8 * first, value)
        elif kind == _CHOICE:
            at, value = _choice(at, end, second, peek(operation + 24))
            poke(slots + 8 * first, value)
        elif kind == _SECONDS:
            at, value = seconds(at, end)
            poke(slots + 8 * first, value)
        elif kind == _ISO:
            at, value = iso_time(at, end)
            poke(slots + 8 * first, value)
        elif kind == _COUNT:
            at, value = _counted(at, end, table, slots)
            poke(slots + 8 * first, value)
        elif kind == _UPDATES:
            at = _updates(at, end, peek(plan + _ROWS), first, slots)
        elif kind == _TRADE_ID:
            at, value = _trade_id(at, end)
            poke(slots + 8 * first, value)
        else:
            return False
        if at == 0:
            return False
        operation += 32
    return at == end
