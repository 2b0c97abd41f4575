"""ITCH 5.0 messages to ORDER and TRADE records: first what each message says, then what it leaves to be known.

:func:`decode_messages` knows no state: an execution names neither side nor price, a deletion no size, a replacement
no side. It leaves those fields open. :func:`complete_orders` fills them from the resting orders, which it keeps.

Records follow DBN: an execution is FILL and CANCEL of the executed size (and a TRADE), a replacement CANCEL of the
old order and ADD of the new one; each message is one event.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.layout import ORDER_BYTES, TRADE_BYTES, Flag, Kind, TradeType

__all__ = ["REGISTERS", "address_of", "complete_orders", "decode_messages", "rehash", "shapes_of"]

# Offsets and words are unsigned all through: a signed index costs numba a test for negative ones at each access, and
# keeps LLVM from reading a big-endian field with one load and one byte swap.

# registers of decode_messages, in and out: int64[REGISTERS]
POSITION = 0
"""Byte at which the next message's length begins."""
MESSAGES = 1
"""Messages that may still be taken; counted down."""
SEQUENCE = 2
"""Sequence of the next message."""
TS_RECV = 3
"""ts_recv of the records; with SPAN > 0 the least one, and raised to that of the last record."""
SPAN = 4
"""How far ts_recv may follow the messages' own times beyond its first value; 0: not at all."""
MIDNIGHT = 5
SOURCE_INDEX = 6
SOURCE = 7
FLAGS = 8
WORDS = 9
"""Words of `out` that are in use."""
STATUS = 10
FIRST_TS = 11
"""The frame's own ts_recv: what SPAN counts from."""
SKIPPED = 12
"""Counter: messages about orders of a stock whose name is not known."""
REGISTERS = 16

# registers of complete_orders, in and out: int64[STATES]
READ = 0
WRITTEN = 1
RECORDS = 2
EVENTS = 3
LAST_RECORD = 4
"""Word at which the last record written begins."""
ORDERS = 5
BITS = 6
UNKNOWN = 7
"""Counter: messages about orders that are not known."""
TABLE = 8
"""Address of the table."""
STATES = 9

# why a kernel stopped
DONE = 0
CALLER = 1
"""The message is the caller's: of another type, or of a stock without a number."""
MALFORMED = 2
"""The message is not what its type says: of another length, of an impossible side, size, price or time."""
CUT = 3
"""The bytes end before the message does."""
FULL = 4
"""No room: write out what there is, or make the table larger, and call again."""

UNTIL_END = 1 << 40
"""From so many messages on, the end of the bytes is the end of the messages."""
WORDS_PER_MESSAGE = np.uint64(31)
UNKNOWN_MAX = 64
AHEAD_WORDS = 80
"""Words between the record under way and the one whose slot is asked for: some eight records."""
ENTRY_BYTES = 16
SKIP = -1
"""Number of a stock whose orders are passed over: its name is not known."""

# columns of shapes
SIZE, CLASS, PRICE_AT, PRICE_MASK, SHARES_AT, SHARES_MASK, SIDE_AT, SIDE_MASK, ACTION, HEAD, PRICE_OR = range(11)
SHAPE = 16

# classes of messages
OTHER, ADDED, SINGLE, REPLACED, EXECUTED, TRADED = range(6)

_ORDER_WORDS = np.uint64(ORDER_BYTES >> 3)
_TRADE_WORDS = np.uint64(TRADE_BYTES >> 3)
_ORDER_HEAD = np.uint64(ORDER_BYTES | Kind.ORDER << 32)
_TRADE_HEAD = np.uint64(TRADE_BYTES | Kind.TRADE << 32)
_LAST = np.uint64(int(Flag.LAST) << 48)
_KIND_ORDER = np.uint64(int(Kind.ORDER))
_SIDE = np.uint64(0xFF << 56)
_BID, _ASK = np.uint64(66), np.uint64(65)
_ADD, _CANCEL, _FILL = np.uint64(65), np.uint64(67), np.uint64(70)
_HIDDEN, _CROSS = np.uint64(int(TradeType.HIDDEN)), np.uint64(int(TradeType.CROSS))
_OPEN = np.uint64(1 << 32)
"""Marks the TRADE of an execution until its side (and price) are filled in."""
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
_EMPTY = np.uint64(0)
PRICE_LIMIT = 1 << 31
"""Prices are at most 200,000 dollars of 10,000: a greater one is none."""
DAY_NS = 90_000 * 10**9
"""Times of a day end before this: a clock change makes a day of 25 hours."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_WORD = np.uint64(8)
_TIME = np.uint64((1 << 48) - 1)
"""A message's time of day is 6 bytes; they are read with the 2 before them."""
_HALF = np.uint64(32)


@njit(inline="always")
def _u16(data: Any, at: Any) -> Any:
    return np.uint64(data[at]) << np.uint64(8) | np.uint64(data[at + np.uint64(1)])


@njit(inline="always")
def _u32(data: Any, at: Any) -> Any:
    return (
        np.uint64(data[at]) << np.uint64(24)
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(3)])
    )


@njit(inline="always")
def _u64(data: Any, at: Any) -> Any:
    return _u32(data, at) << _HALF | _u32(data, at + np.uint64(4))


@njit(inline="always")
def _header(out: Any, at: Any, head: Any, ts_recv: Any, ts_event: Any, index: Any, place: Any, sequence: Any) -> None:
    out[at] = head
    out[at + np.uint64(1)] = ts_recv
    out[at + np.uint64(2)] = ts_event
    out[at + np.uint64(3)] = index
    out[at + np.uint64(4)] = place
    out[at + np.uint64(5)] = sequence


@njit(inline="always")
def _order(out: Any, at: Any, order_id: Any, price: Any, size: Any, code: Any) -> None:
    out[at + np.uint64(6)] = order_id
    out[at + np.uint64(7)] = price
    out[at + np.uint64(8)] = size
    out[at + np.uint64(9)] = code


@njit(inline="always")
def _trade(out: Any, at: Any, price: Any, size: Any, match: Any, code: Any) -> None:
    out[at + np.uint64(6)] = price
    out[at + np.uint64(7)] = size
    out[at + np.uint64(8)] = match
    out[at + np.uint64(9)] = _NONE
    out[at + np.uint64(10)] = code


@njit(cache=True, nogil=True)
def decode_messages(data: Any, shapes: Any, numbers: Any, registers: Any, out: Any) -> int:
    """Decode messages with their lengths before them until one needs the caller; return why it stopped.

    data: u8[n], the frame. shapes: u64[256 * SHAPE], what :func:`shapes_of` makes. numbers: i64[65536], stock locate
    to instrument; 0 without one, SKIP to pass over. registers: i64[REGISTERS]. out: u64[words], the records one
    behind the other, from word registers[WORDS]. All arrays are the caller's; nothing outside `data` is read and
    nothing outside `out` written. Cost: a load per field, a store per word of the records. Where the fields of an
    order message stand is looked up, not branched for: in real flow the next type cannot be predicted, and one wrong
    guess costs as much as the rest of a message.
    """
    size = np.uint64(len(data))
    capacity = np.uint64(len(out))
    position = np.uint64(registers[POSITION])
    messages, sequence, words = registers[MESSAGES], registers[SEQUENCE], np.uint64(registers[WORDS])
    ts_recv, span, midnight, first_ts = registers[TS_RECV], registers[SPAN], registers[MIDNIGHT], registers[FIRST_TS]
    index = np.uint64(registers[SOURCE_INDEX])
    source = np.uint64(registers[SOURCE]) << _HALF
    flags = np.uint64(registers[FLAGS]) << np.uint64(48)
    skipped = registers[SKIPPED]
    status = DONE
    while messages > 0:
        if position + np.uint64(2) > size:
            status = DONE if position == size and messages >= UNTIL_END else CUT
            break
        length = _u16(data, position)
        at = position + np.uint64(2)
        end = at + length
        if end > size:
            status = CUT
            break
        kind = np.uint64(data[at]) if length > 0 else np.uint64(0)
        row = kind * np.uint64(SHAPE)
        form = shapes[row + np.uint64(CLASS)]
        if length != shapes[row + np.uint64(SIZE)]:
            status = MALFORMED if shapes[row + np.uint64(SIZE)] > 0 else CALLER
            break
        if words + WORDS_PER_MESSAGE > capacity:
            status = FULL
            break
        if form == OTHER:
            status = CALLER
            break
        number = numbers[_u16(data, at + np.uint64(1))]
        if number <= 0:
            if number == SKIP and form != ADDED and form != TRADED:
                skipped += 1
                position, sequence, messages = end, sequence + 1, messages - 1
                continue
            status = CALLER
            break
        since = np.int64(_u64(data, at + np.uint64(3)) & _TIME)
        event_ts = midnight + since
        if span > 0 and event_ts > ts_recv:
            ts_recv = min(event_ts, first_ts + span)
        stamp, ts = np.uint64(ts_recv), np.uint64(event_ts)
        place = np.uint64(number) | source
        mark = np.uint64(sequence)
        price = _u32(data, at + shapes[row + np.uint64(PRICE_AT)]) & shapes[row + np.uint64(PRICE_MASK)]
        shares = _u32(data, at + shapes[row + np.uint64(SHARES_AT)]) & shapes[row + np.uint64(SHARES_MASK)]
        if form == TRADED:
            is_cross = kind == 81
            if is_cross:
                shares = _u64(data, at + np.uint64(11))
            match = _u64(data, at + np.uint64(31 if is_cross else 36))
            if shares >> np.uint64(62) or price >= PRICE_LIMIT or since >= DAY_NS:
                status = MALFORMED
                break
            if shares > 0:  # a cross without shares took place and traded nothing
                _header(out, words, _TRADE_HEAD | flags | _LAST, stamp, ts, index, place, mark)
                _trade(out, words, price, shares, match, _CROSS if is_cross else _HIDDEN)
                words += _TRADE_WORDS
            position, sequence, messages = end, sequence + 1, messages - 1
            continue
        side = np.uint64(data[at + shapes[row + np.uint64(SIDE_AT)]]) & shapes[row + np.uint64(SIDE_MASK)]
        side -= np.uint64(18) & (_EMPTY - np.uint64(side == 83))  # S is the ask
        impossible = (side != 66) & (side != 65) & (shapes[row + np.uint64(SIDE_MASK)] != 0)
        impossible |= (shares == 0) & (shapes[row + np.uint64(SHARES_MASK)] != 0)
        if impossible | (price >= PRICE_LIMIT) | (since >= DAY_NS):
            status = MALFORMED
            break
        order_id = _u64(data, at + np.uint64(11))
        head = shapes[row + np.uint64(HEAD)] | flags | side << np.uint64(56)
        _header(out, words, head, stamp, ts, index, place, mark)
        _order(
            out, words, order_id, price | shapes[row + np.uint64(PRICE_OR)], shares, shapes[row + np.uint64(ACTION)]
        )
        words += _ORDER_WORDS
        if form > SINGLE:
            code = kind << _WORD
            if form == REPLACED:
                shares, price = _u32(data, at + np.uint64(27)), _u32(data, at + np.uint64(31))
                if shares == 0 or price >= PRICE_LIMIT:
                    words -= _ORDER_WORDS
                    status = MALFORMED
                    break
                _header(out, words, _ORDER_HEAD | flags | _LAST, stamp, ts, index, place, mark)
                _order(out, words, _u64(data, at + np.uint64(19)), price, shares, _ADD | code)
                words += _ORDER_WORDS
            else:
                printed = kind == 69 or data[at + np.uint64(31)] == 89
                last = _EMPTY if printed else _LAST
                _header(out, words, _ORDER_HEAD | flags | last, stamp, ts, index, place, mark)
                _order(out, words, order_id, _EMPTY, shares, _CANCEL | code)
                words += _ORDER_WORDS
                if printed:
                    _header(out, words, _TRADE_HEAD | flags | _LAST, stamp, ts, index, place, mark)
                    _trade(
                        out,
                        words,
                        price | shapes[row + np.uint64(PRICE_OR)],
                        shares,
                        _u64(data, at + np.uint64(23)),
                        _OPEN,
                    )
                    words += _TRADE_WORDS
        position, sequence, messages = end, sequence + 1, messages - 1
    registers[POSITION], registers[MESSAGES], registers[SEQUENCE] = position, messages, sequence
    registers[WORDS], registers[TS_RECV], registers[SKIPPED] = words, ts_recv, skipped
    registers[STATUS] = status
    return status


def shapes_of(sizes: dict[int, int]) -> Any:
    """Return u64[256 * SHAPE]: for each type where its fields stand, from the types' lengths.

    A field that a type does not have is read where the order's id is, and masked away.
    """
    shapes = np.zeros((256, SHAPE), dtype=np.uint64)
    shapes[:, PRICE_AT] = shapes[:, SHARES_AT] = 11
    for kind, size in sizes.items():
        shapes[kind, SIZE] = size
    last = int(_LAST)
    rows = (  # type, class, price at, shares at, has side, action, ends the event
        ("A", ADDED, 32, 20, True, _ADD, True),
        ("F", ADDED, 32, 20, True, _ADD, True),
        ("D", SINGLE, 0, 0, False, _CANCEL, True),
        ("X", SINGLE, 0, 19, False, _CANCEL, True),
        ("U", REPLACED, 0, 0, False, _CANCEL, False),
        ("E", EXECUTED, 0, 19, False, _FILL, False),
        ("C", EXECUTED, 32, 19, False, _FILL, False),
        ("P", TRADED, 32, 20, False, 0, True),
        ("Q", TRADED, 27, 0, False, 0, True),
    )
    for name, form, price_at, shares_at, has_side, action, ends in rows:
        row = shapes[ord(name)]
        row[CLASS] = form
        if price_at:
            row[PRICE_AT], row[PRICE_MASK] = price_at, 0xFFFFFFFF
        if shares_at:
            row[SHARES_AT], row[SHARES_MASK] = shares_at, 0xFFFFFFFF
        row[SIDE_AT], row[SIDE_MASK] = (19, 0xFF) if has_side else (11, 0)
        row[ACTION] = int(action) | ord(name) << 8
        row[HEAD] = int(_ORDER_HEAD) | (last if ends else 0)
        row[PRICE_OR] = int(_NONE) if name == "E" else 0
    return shapes.reshape(-1)


@njit(inline="always")
def _find(table: Any, order_id: Any, shift: Any, mask: Any) -> Any:
    """Return the slot of `order_id`, or the empty one where it would stand."""
    slot = (order_id * _GOLDEN) >> shift
    while table[slot, 1] != _EMPTY and table[slot, 0] != order_id:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(inline="always")
def _remove(table: Any, slot: Any, shift: Any, mask: Any) -> None:
    """Empty `slot`; later entries of its run move back (Knuth, The Art of Computer Programming 6.4, algorithm R)."""
    hole = slot
    probe = slot
    while True:
        probe = (probe + np.uint64(1)) & mask
        if table[probe, 1] == _EMPTY:
            break
        home = (table[probe, 0] * _GOLDEN) >> shift
        if (probe - home) & mask >= (probe - hole) & mask:
            table[hole, 0], table[hole, 1] = table[probe, 0], table[probe, 1]
            hole = probe
    table[hole, 1] = _EMPTY


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at `address`, for writing. It need not be readable."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *[ir.IntType(32)] * 3])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(ir.IntType(32), value) for value in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def address_of(table: Any) -> int:
    """Return the address of a table for states[TABLE]; 0 where nothing is compiled and nothing can be asked for."""
    return 0 if config.DISABLE_JIT else int(table.ctypes.data)


@njit(cache=True, nogil=True)
def complete_orders(words: Any, count: int, table: Any, states: Any, unknown: Any) -> int:
    """Fill in what the messages left open, from the orders in `table`; keep `table` up to date; return DONE or FULL.

    words: u64[>= count], records as decode_messages wrote them; they are completed in place. An execution or
    cancellation of an order that is not known keeps its id (without side and price), but a trade without a price and
    a new order without a side are taken out, and what follows moves up. table: u64[2**bits, 2], open addressing with
    linear probing, at most half full: id, then price << 33 | ask << 32 | shares (0: empty; shares are never 0).
    states: i64[STATES]. unknown: i64[UNKNOWN_MAX], gets the instruments of unknown orders, cyclically.
    Cost: one or two random accesses to `table` a record, asked for some records before (states[TABLE]: its address;
    0: nothing is asked for).
    """
    bits = states[BITS]
    shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    half = 1 << (bits - 1)
    read, written, last_record = states[READ], states[WRITTEN], states[LAST_RECORD]
    records, events, orders, misses = states[RECORDS], states[EVENTS], states[ORDERS], states[UNKNOWN]
    side = _EMPTY
    price = _NONE
    status = DONE
    base = states[TABLE]
    ahead = read
    while ahead < count and ahead < read + AHEAD_WORDS:
        ahead += np.int64(words[ahead] & np.uint64(0xFFFFFFFF)) >> 3
    while read < count:
        if ahead < count and base != 0:
            # (A trade has no id there: then any slot is asked for.)
            prefetch(base + np.int64((words[ahead + 6] * _GOLDEN) >> shift) * ENTRY_BYTES)
            ahead += np.int64(words[ahead] & np.uint64(0xFFFFFFFF)) >> 3
        head = words[read]
        length = np.int64(head & np.uint64(0xFFFFFFFF)) >> 3
        drop = False
        if (head >> _HALF) & np.uint64(0xFFFF) == _KIND_ORDER:
            order_id, code = words[read + 6], words[read + 9]
            action, message = code & np.uint64(0xFF), code >> _WORD
            if action == _ADD:
                if orders >= half:
                    status = FULL
                    break
                if message == 85:
                    head |= side  # that of the order it replaces
                drop = head & _SIDE == 0
                if not drop:
                    slot = _find(table, order_id, shift, mask)
                    if table[slot, 1] == _EMPTY:
                        orders += 1
                        table[slot, 0] = order_id
                    ask = np.uint64(1 if head >> np.uint64(56) == _ASK else 0)
                    table[slot, 1] = words[read + 7] << np.uint64(33) | ask << _HALF | words[read + 8]
            else:
                slot = _find(table, order_id, shift, mask)
                value = table[slot, 1]
                if value == _EMPTY:
                    side, price = _EMPTY, _NONE
                    if action == _CANCEL:
                        unknown[misses % UNKNOWN_MAX] = np.int64(words[read + 4] & np.uint64(0xFFFFFFFF))
                        misses += 1
                        if words[read + 8] == 0:
                            words[read + 8] = np.uint64(0x7FFFFFFFFFFFFFFF)  # whatever rests
                    elif words[read + 7] == _NONE:
                        words[read + 7] = _EMPTY
                else:
                    side = (_ASK if value >> _HALF & np.uint64(1) else _BID) << np.uint64(56)
                    head |= side
                    price = value >> np.uint64(33)
                    rest = value & np.uint64(0xFFFFFFFF)
                    if action == _FILL:
                        if words[read + 7] == _NONE:
                            words[read + 7] = price
                    else:
                        words[read + 7] = price
                        if words[read + 8] == 0:
                            words[read + 8] = rest
                        if words[read + 8] >= rest:
                            _remove(table, slot, shift, mask)
                            orders -= 1
                        else:
                            table[slot, 1] = value - words[read + 8]
        elif words[read + 10] & _OPEN:
            if words[read + 6] == _NONE:
                words[read + 6] = price
            drop = words[read + 6] == _NONE
            words[read + 10] &= ~_OPEN
            if side:  # the aggressor is on the other side
                head |= (_ASK if side >> np.uint64(56) == _BID else _BID) << np.uint64(56)
        if drop:
            words[last_record] |= _LAST  # the event ends with the record before
            events += 1
        else:
            words[read] = head
            if written != read:
                for offset in range(length):
                    words[written + offset] = words[read + offset]
            last_record = written
            written += length
            records += 1
            if head & _LAST:
                events += 1
        read += length
    states[READ], states[WRITTEN], states[LAST_RECORD] = read, written, last_record
    states[RECORDS], states[EVENTS], states[ORDERS], states[UNKNOWN] = records, events, orders, misses
    return status


@njit(cache=True, nogil=True)
def rehash(old: Any, table: Any, bits: int) -> None:
    """Put all orders of `old` into the empty `table` of 2**bits slots."""
    shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    for row in range(len(old)):
        if old[row, 1] != _EMPTY:
            slot = _find(table, old[row, 0], shift, mask)
            table[slot, 0], table[slot, 1] = old[row, 0], old[row, 1]
