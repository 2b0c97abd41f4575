"""The sweep's part for books of orders: the plain events of one group, applied and written in chunks.

A chunk is whole events up to the next seek entry. It is looked at first (:func:`_plan`, the rules of
:func:`chronicle.etl.kernels.order_events.plan_orders`), then applied by one call of ``apply_orders``, then copied to
its place in the segment and shown. A record that contradicts the book stops the group in the middle of its event: the
events before are written, and the row says how much of this one is applied. The twin is ``OrderStream.take``.

Arrays are made of the row's addresses once a group: as arguments they cost reference counts, which a chunk outweighs.
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
    LIMIT,
    LIMIT_MAX,
    POSITION,
    extend,
    is_due,
)
from chronicle.core.kernels.committing import LAST_TS as STATE_LAST_TS
from chronicle.core.kernels.memory import as_pointer, peek, poke
from chronicle.core.layout import ORDER_BYTES, SEEK_INTERVAL_BYTES
from chronicle.etl.kernels.events import (
    DECISION_WORDS,
    DELTAS_MAX,
    DELTAS_SINCE,
    FLAG_LAST_WORD,
    INTERVAL_NS,
    KIND_BOOK_SNAPSHOT,
    KIND_ORDER,
    LAST_INDEX,
    LAST_SEQUENCE,
    LAST_TS,
    LENGTH_MASK,
    NONE,
    RULE,
    RULE_COUNT,
    SEQUENCE_HELD,
    SNAPSHOT_TS,
)
from chronicle.etl.kernels.ladder import META as LADDER_META
from chronicle.etl.kernels.ladder import USED
from chronicle.etl.kernels.merging import apart
from chronicle.etl.kernels.order_events import CLEAR, FLAG_MAYBE_BAD_WORD, SNAPSHOT_ORDERS, snapshot_is_due
from chronicle.etl.kernels.order_restate import SNAPSHOT_ORDERS_MAX, orders_words, restate_orders
from chronicle.etl.kernels.orders import ADD, META, MODIFY, ORDERS_MAX, QUEUES, apply_orders
from chronicle.etl.kernels.orders import BITS as TABLE_BITS
from chronicle.etl.kernels.orders import ORDERS as ORDERS_HELD
from chronicle.etl.kernels.plain import note_snapshot, origin_of, wants_care
from chronicle.etl.kernels.publishing import publish
from chronicle.etl.kernels.row import (
    BITS,
    BLOCKED,
    CAPACITY,
    COUNTS,
    DAY_END,
    DONE,
    INVERSE,
    LEVELS,
    LIMITS,
    NEEDED,
    NUMBERED,
    ORDER_CAPACITY,
    ORDER_META,
    ORDERS,
    QUEUE_CAPACITY,
    REARM,
    RECORDS_LEFT,
    RECORDS_TAKEN,
    REFUSED_AT,
    REGISTERS,
    SLOT_COUNT,
    SLOTS,
    SNAPSHOT_AT,
    STATE,
    TABLE,
    TENDED,
    WORDS_LEFT,
    WORDS_TAKEN,
)
from chronicle.etl.kernels.row import META as ROW_META
from chronicle.etl.kernels.row import QUEUES as ROW_QUEUES

__all__ = ["CHUNK_RECORDS", "take_orders"]

CHUNK_RECORDS = 1024
"""Records of one chunk; an event of more goes the long way."""
ROOM_LOW = 32
"""Free rows from which on Python is asked for more."""
_FLAG_SNAPSHOT_WORD = 32 << 48


@numba.njit(cache=True, nogil=True)
def take_orders(
    words: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    at: int,
    stop: int,
    row: int,
    raw_base: int,
    scratch: Any,
) -> tuple[int, int]:
    """Take the plain events of a group from chosen[at] on; return (where in `chosen` it stopped, the code).

    Arguments as those of ``sweep``. scratch int64[>= CHUNK_RECORDS + 1]: the kernel's own.
    """
    state, registers, meta = peek(row + 8 * STATE), peek(row + 8 * REGISTERS), peek(row + 8 * ORDER_META)
    base, began = peek(state + ADDRESS), peek(state + POSITION)
    own_limit = began + 8 * peek(row + 8 * WORDS_LEFT)
    late, early = min(peek(row + 8 * DAY_END), peek(state + CYCLE_END)), peek(state + STATE_LAST_TS)
    flat = carray(as_pointer(words.ctypes.data), (len(words),), np.int64)
    orders = carray(as_pointer(peek(row + 8 * ORDERS)), (peek(row + 8 * ORDER_CAPACITY), 4), np.int64)
    links = carray(as_pointer(peek(row + 8 * ORDERS)), (peek(row + 8 * ORDER_CAPACITY), 8), np.int32)
    queues = carray(as_pointer(peek(row + 8 * ROW_QUEUES)), (peek(row + 8 * QUEUE_CAPACITY), 4), np.int64)
    ends = carray(as_pointer(peek(row + 8 * ROW_QUEUES)), (peek(row + 8 * QUEUE_CAPACITY), 8), np.int32)
    order_meta = carray(as_pointer(meta), (META,), np.int64)
    table = carray(as_pointer(peek(row + 8 * TABLE)), (1 << order_meta[TABLE_BITS],), np.int64)
    levels = carray(as_pointer(peek(row + 8 * LEVELS)), (4, peek(row + 8 * CAPACITY)), np.int64)
    counts = carray(as_pointer(peek(row + 8 * COUNTS)), (2,), np.int64)
    slot_count = peek(row + 8 * SLOT_COUNT)
    ladder = (
        carray(as_pointer(peek(row + 8 * SLOTS)), (2, slot_count), np.int64),
        carray(as_pointer(peek(row + 8 * BITS)), (2, slot_count >> 6), np.uint64),
        carray(as_pointer(peek(row + 8 * ROW_META)), (LADDER_META,), np.int64),
        carray(as_pointer(peek(row + 8 * INVERSE)), (1,), np.float64),
    )
    write, total, code, ordinal = began, 0, DONE, 0
    records_left = peek(row + 8 * RECORDS_LEFT)
    poke(row + 8 * REFUSED_AT, NONE)
    while at < stop:
        if _is_tight(row, meta) or wants_care(row):
            poke(row + 8 * NEEDED, 0)
            code = REARM
            break
        bound = _bound(events, chosen, at, stop, records_left - total)
        if bound == at:
            code = BLOCKED
            break
        ts = flat[starts[chosen[at]] + 1]
        due = ordinal == 0 and _is_due(row, registers, ts)
        entry = write if is_due(state, write, KIND_ORDER) else peek(state + LAST_ENTRY)
        chunk_bytes = np.int64(0) if due else entry + SEEK_INTERVAL_BYTES - write
        limit = _room(state, write, np.int64(2 * SEEK_INTERVAL_BYTES), own_limit)
        planned, size, needed = _plan(
            flat, starts, events, chosen, at, bound, row, limit - write, chunk_bytes, early, late, due, scratch
        )
        if planned == at:
            poke(row + 8 * NEEDED, needed)
            code = REARM if needed else BLOCKED
            break
        if due:
            bytes_max = size + 8 * (DECISION_WORDS + orders_words(row))
            limit = _room(state, write, bytes_max, own_limit)
            if peek(meta + 8 * ORDERS_HELD) > SNAPSHOT_ORDERS_MAX or write + bytes_max > limit:
                code = BLOCKED
                break
            origin = origin_of(words.ctypes.data, starts.ctypes.data, chosen[at], raw_base)
            head, taken = restate_orders(row, base + write, ts, flat[starts[chosen[at]] + 2], origin)
            publish(state, write, write + taken, head, np.int64(2), ts, ts, np.int64(KIND_BOOK_SNAPSHOT))
            note_snapshot(row, ts)
            poke(registers + 8 * SNAPSHOT_ORDERS, peek(meta + 8 * ORDERS_HELD))
            poke(row + 8 * SNAPSHOT_AT, origin)
            write, total, early, ordinal = write + taken, total + 2, ts, 2
            continue
        count = planned - at
        done = apply_orders(
            orders, links, queues, ends, table, levels, counts, ladder, order_meta, flat, scratch, 0, count, 1
        )
        whole = at + done
        if done < count:
            while whole > at and events[chosen[whole - 1]] == events[chosen[at + done]]:
                whole -= 1
            poke(row + 8 * REFUSED_AT, at + done - whole)
            code = BLOCKED
        if whole > at:
            size = _write(flat, events, chosen, at, whole, base + write, raw_base, ordinal, scratch, row)
            first, last = scratch[0], scratch[whole - at - 1]
            head = flat[first] & ~FLAG_LAST_WORD
            if whole == at + 1 or events[chosen[at]] != events[chosen[at + 1]]:
                head |= FLAG_LAST_WORD
            publish(state, write, write + size, head, whole - at, flat[first + 1], flat[last + 1], KIND_ORDER)
            poke(registers + 8 * LAST_TS, flat[last + 1])
            index = origin_of(words.ctypes.data, starts.ctypes.data, chosen[whole - 1], raw_base)
            poke(registers + 8 * LAST_INDEX, index)
            poke(registers + 8 * DELTAS_SINCE, peek(registers + 8 * DELTAS_SINCE) + whole - at)
            write, total, early, at, ordinal = write + size, total + whole - at, flat[last + 1], whole, 0
        if code != DONE:
            break
    poke(row + 8 * WORDS_LEFT, (own_limit - write) >> 3)
    poke(row + 8 * WORDS_TAKEN, peek(row + 8 * WORDS_TAKEN) + ((write - began) >> 3))
    poke(row + 8 * RECORDS_TAKEN, peek(row + 8 * RECORDS_TAKEN) + total)
    poke(row + 8 * RECORDS_LEFT, records_left - total)
    if write >= peek(state + GATE):
        code |= TENDED
    return at, code


@numba.njit(cache=True, nogil=True)
def _bound(events: Any, chosen: Any, at: Any, stop: Any, records: Any) -> Any:
    """Return the end, in `chosen`, of the whole events from `at` on that have no more than `records` records."""
    if stop - at <= records:
        return stop
    end = at + max(records, 0)
    while end > at and events[chosen[end]] == events[chosen[end - 1]]:
        end -= 1
    return end


@numba.njit(cache=True, nogil=True)
def _room(state: Any, write: Any, wanted: Any, own_limit: Any) -> Any:
    """Return up to where may be written, `wanted` bytes reserved behind `write` where the segment may have them."""
    limit, end = peek(state + LIMIT), min(write + wanted, own_limit, peek(state + LIMIT_MAX))
    if end > limit and extend(state, end):
        limit = peek(state + LIMIT)
    return min(own_limit, limit)


@numba.njit(cache=True, nogil=True)
def _is_due(row: Any, registers: Any, ts_recv: Any) -> bool:
    limits = peek(row + 8 * LIMITS)
    return bool(
        snapshot_is_due(
            peek(registers + 8 * SNAPSHOT_TS),
            peek(registers + 8 * DELTAS_SINCE),
            peek(registers + 8 * SNAPSHOT_ORDERS),
            peek(limits + 8 * INTERVAL_NS),
            peek(limits + 8 * DELTAS_MAX),
            ts_recv,
        )
    )


@numba.njit(cache=True, nogil=True)
def _free(row: Any, meta: Any) -> Any:
    """Return how many additions surely find room; a full table of ORDERS_MAX refuses before it needs any."""
    capacity = peek(row + 8 * ORDER_CAPACITY)
    free = capacity - peek(meta + 8 * ORDERS_HELD) if capacity < ORDERS_MAX else ORDERS_MAX
    free = min(free, peek(row + 8 * QUEUE_CAPACITY) - peek(meta + 8 * QUEUES))
    counts, lmeta = peek(row + 8 * COUNTS), peek(row + 8 * ROW_META)
    bids = peek(counts) + peek(lmeta + 8 * USED)
    asks = peek(counts + 8) + peek(lmeta + 8 * (USED + 1))
    return min(free, peek(row + 8 * CAPACITY) - max(bids, asks))


@numba.njit(cache=True, nogil=True)
def _is_tight(row: Any, meta: Any) -> bool:
    return bool(_free(row, meta) < ROOM_LOW)


@numba.njit(cache=True, nogil=True)
def _plan(
    flat: Any,
    starts: Any,
    events: Any,
    chosen: Any,
    at: int,
    stop: int,
    row: int,
    room: int,
    chunk_bytes: int,
    early: int,
    late: int,
    due: bool,
    scratch: Any,
) -> tuple[int, int, int]:
    """Return (end of the plain events from chosen[at] on, their bytes, what the first one lacks in rows).

    They end at the first that reaches `chunk_bytes`, at a due snapshot before them (`due`: it is known of the
    first), or where `room` bytes or the book's rows end. scratch: out, the words at which their records begin.
    """
    registers, limits, meta = peek(row + 8 * REGISTERS), peek(row + 8 * LIMITS), peek(row + 8 * ORDER_META)
    counts_on = peek(limits + 8 * RULE) == RULE_COUNT
    last, since = peek(registers + 8 * LAST_SEQUENCE), peek(registers + 8 * DELTAS_SINCE)
    since_ts, in_snapshot = peek(registers + 8 * SNAPSHOT_TS), peek(registers + 8 * SNAPSHOT_ORDERS)
    interval_ns, records_max = peek(limits + 8 * INTERVAL_NS), peek(limits + 8 * DELTAS_MAX)
    free, added, size, end, first = _free(row, meta), 0, 0, at, at
    while first < stop:
        ts = flat[starts[chosen[first]] + 1]
        if ts >= late or ts < early:
            break
        if not due and snapshot_is_due(since_ts, since + first - at, in_snapshot, interval_ns, records_max, ts):
            break
        event = events[chosen[first]]
        number = first
        while number < stop and events[chosen[number]] == event:
            if number - at >= CHUNK_RECORDS:
                return end, size, 0
            here = starts[chosen[number]]
            head = flat[here]
            if (head >> 32) & 0xFFFF != KIND_ORDER or head & LENGTH_MASK < ORDER_BYTES or head & FLAG_MAYBE_BAD_WORD:
                return end, size, 0
            action, sequence = flat[here + 9] & 0xFF, flat[here + 5]
            if action == CLEAR:
                return end, size, 0
            if sequence != NONE:
                if counts_on and last != NONE and not last <= sequence <= last + 1:
                    return end, size, 0
                last = sequence
            if action in (ADD, MODIFY):
                added += 1
            scratch[number - at] = here
            size += head & LENGTH_MASK
            number += 1
        if size + 8 * DECISION_WORDS > room:
            break
        if added > free:
            return end, size, added if first == at else 0
        early, first, end = ts, number, number
        if size >= chunk_bytes:
            break
    return end, size, 0


@numba.njit(cache=True, nogil=True)
def _write(
    flat: Any,
    events: Any,
    chosen: Any,
    at: int,
    end: int,
    there: int,
    raw_base: int,
    ordinal: int,
    scratch: Any,
    row: int,
) -> int:
    """Copy the records chosen[at:end] to address `there` with clean headers, all but the first word; return bytes.

    The registers take the venue's numbers in passing. `ordinal` is the first record's.
    """
    registers = peek(row + 8 * REGISTERS)
    last, held, to = peek(registers + 8 * LAST_SEQUENCE), False, there
    for number in range(at, end):
        record, here = chosen[number], scratch[number - at]
        head = flat[here]
        size = head & LENGTH_MASK
        if number > at:
            ends = number + 1 == end or events[record] != events[chosen[number + 1]]
            poke(to, head | FLAG_LAST_WORD if ends else head & ~FLAG_LAST_WORD)
        poke(to + 8, flat[here + 1])
        poke(to + 16, flat[here + 2])
        source, index = apart(raw_base + record if raw_base >= 0 else flat[here + 3])
        poke(to + 24, index)
        poke(to + 32, 1 | source << 32 | ordinal << 48)
        ordinal = 0
        sequence = flat[here + 5]
        if sequence != NONE:
            last = sequence
            held = held or head & _FLAG_SNAPSHOT_WORD == 0
        for offset in range(5, size >> 3):
            poke(to + 8 * offset, flat[here + offset])
        to += size
    poke(registers + 8 * LAST_SEQUENCE, last)
    if held and peek(row + 8 * NUMBERED) != 0:
        poke(registers + 8 * SEQUENCE_HELD, 1)
    return to - there
