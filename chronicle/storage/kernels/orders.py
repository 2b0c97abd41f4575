"""Kernels that take ORDER and BOOK_DELTA records apart, order by order; order_rows has the way back.

An order that was seen has a number: the first is 0. Rows refer to it by its age, how many orders were seen since, so
that only the encoder needs a table of ids. ``docs/format/archive.md`` (Order blocks) is the source.

Common arguments, the caller's: state int64[STATES] goes from call to call; orders int64[n, 4] are id, price, size and
place (rank << 1 | side: 0 bid, 1 ask) of each number, one order on one line of the cache; levels
int64[LEVEL_SLOTS, 2] the last size of prices, key and size; shapes int64[s, 3] what rows have in common: first word,
last word of an ORDER, how the rest follows.

The loop is long on purpose: an array handed to a function is counted up and down, and with a dozen arrays that took
four fifths of the time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["add_orders", "fill_table", "merge_resting", "split_rows"]

ROW_WORDS = 10
DELTA_HEAD = 80 | 32 << 32
ORDER_HEAD = 80 | 34 << 32
HEAD_MASK = 0xFFFFFFFFFFFF
LENGTH_MASK = 0xFFFFFFFF
SIDE_SHIFT = 56
ASK = 65
LAST_FLAG = 128 << 48
BOOK_SNAPSHOT, ORDER_SNAPSHOT = 33, 38
ADD, CANCEL, FILL, MODIFY, CLEAR = 65, 67, 70, 77, 82
NO_KEY = -0x8000000000000000
LEVEL_SHIFT = 51

# How a row follows. Of an ORDER:
NO_ID, SAME_ID, KNOWN_ID, NEW_ID = 0, 1, 2, 3
SIDE_FOLLOWS = 4
PRICE_FOLLOWS = 8
SIZE_RESTS, SIZE_REPEATS = 16, 32
# Of a BOOK_DELTA:
PRICE_OF_ORDER = 1
SIZE_KNOWN, SIZE_CHANGED = 2, 4

POSITION, ROWS, GROUPS, OTHERS, ORDERS, ALIVE, RANK, LAST, LAST_ADDED, LAST_OTHER = range(10)
PRICES, EDGES, ROW_PRICE, ROW_SIZE, CHANGE = 10, 12, 14, 15, 16
AGES, ADDED_IDS, OTHER_IDS, ORDER_PRICES, ORDER_SIZES, LEVEL_PRICES, LEVEL_SIZES = range(17, 24)
IN_EVENT, SOURCE, LINE, IN_GROUP, STEP, SPLITS, SHAPES, INSTRUMENT = range(24, 32)
HAS_DELTA, FIRST, PREVIOUS, MOVED = 32, 33, 34, 35
STATES = 36
COUNTED = 7
"""Columns of values from AGES on."""

GOOD, SNAPSHOT, BAD, OTHER, GROW = range(5)
"""Done; the next record is a snapshot; bytes that cannot be; more than such a block takes; a table is half full."""


@numba.njit(cache=True, nogil=True)
def _level_slot(key: Any) -> Any:
    return (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(LEVEL_SHIFT)


@numba.njit(cache=True, nogil=True)
def _id_slot(order_id: Any, mask: Any) -> Any:
    return ((np.uint64(order_id) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask


@numba.njit(cache=True, nogil=True)
def _shape_slot(first: Any, last: Any, how: Any, mask: Any) -> Any:
    mixed = np.uint64(first) ^ (np.uint64(last) << np.uint64(7)) ^ (np.uint64(how) << np.uint64(40))
    return ((mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask


@numba.njit(cache=True, nogil=True)
def add_orders(rows: Any, bids: Any, orders: Any, state: Any, table: Any) -> Any:
    """Forget what rests and give the orders of a snapshot int64[n, 3], bids first, the next numbers.

    `table` int32[t] finds numbers by id (see :func:`split_rows`), or has no slot. False when there is no room.
    """
    number, rank = state[ORDERS], state[RANK]
    if number + len(rows) > len(orders) or (len(table) and 2 * (number + len(rows)) > len(table)):
        return False
    mask = np.uint64(len(table) - 1)
    state[ALIVE] = number
    for row in range(len(rows)):
        order_id = rows[row, 0]
        orders[number, 0], orders[number, 1], orders[number, 2] = order_id, rows[row, 1], rows[row, 2]
        orders[number, 3] = rank << 1 | np.int64(row >= bids)
        if len(table):
            slot = _id_slot(order_id, mask)
            while table[slot] >= 0 and orders[table[slot], 0] != order_id:
                slot = (slot + np.uint64(1)) & mask
            table[slot] = np.int32(number)
        number += 1
        rank += 1
    state[ORDERS], state[RANK] = number, rank
    return True


@numba.njit(cache=True, nogil=True)
def fill_table(orders: Any, count: Any, table: Any) -> None:
    """Put the numbers below `count` into an empty table int32[t], the latest of an id in its place."""
    mask = np.uint64(len(table) - 1)
    for number in range(count):
        slot = _id_slot(orders[number, 0], mask)
        while table[slot] >= 0 and orders[table[slot], 0] != orders[number, 0]:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = np.int32(number)


@numba.njit(cache=True, nogil=True)
def merge_resting(orders: Any, known: Any, fresh: Any, told: Any, numbers: Any, rows: Any) -> Any:
    """Merge the numbers of orders that rested int64[k] with those of new ones int64[f], both bids first and sorted.

    told int64[3]: how many of `known` and of `fresh` are bids, the first number that may rest. numbers int64[k + f]
    and rows int64[k + f, 3] (id, price, size) are the caller's, written. Returns (bids, orders) that rest.
    """
    out, bids = 0, 0
    for half in range(2):
        at, new = (told[0], told[1]) if half else (np.int64(0), np.int64(0))
        stop, new_stop = (np.int64(len(known)), np.int64(len(fresh))) if half else (told[0], told[1])
        while at < stop or new < new_stop:
            takes_known = new == new_stop
            if at < stop and new < new_stop:
                price, other = orders[known[at], 1], orders[fresh[new], 1]
                takes_known = price <= other if half else price >= other
            if takes_known:
                number = known[at]
                at += 1
            else:
                number = fresh[new]
                new += 1
            if number >= told[2] and orders[number, 2] > 0:
                numbers[out] = number
                rows[out, 0], rows[out, 1], rows[out, 2] = orders[number, 0], orders[number, 1], orders[number, 2]
                out += 1
        if half == 0:
            bids = out
    return bids, out


@numba.njit(inline="always")
def _pass(orders: Any, state: Any, number: Any, half: Any, action: Any, price: Any, size: Any) -> None:
    """Do what a row does to its order, and note what the rows to come may repeat.

    Inlined before compilation: a call that takes arrays costs reference counts for each row.
    """
    state[CHANGE] = size if action == ADD else -size if action in (CANCEL, FILL) else 0
    if number >= 0 and action == CANCEL:
        rest = orders[number, 2]
        orders[number, 2] = 0 if size >= rest else rest - size
    elif number >= 0 and action == MODIFY:
        if price != orders[number, 1] or size > orders[number, 2]:
            orders[number, 3] = state[RANK] << 1 | (orders[number, 3] & 1)
            state[RANK] += 1
            state[MOVED] = -1
        elif orders[number, 2] <= 0:
            state[MOVED] = -1
        orders[number, 1], orders[number, 2] = price, size
    elif action == CLEAR:
        state[ALIVE] = state[ORDERS]
    state[LAST], state[PRICES + half], state[ROW_PRICE], state[ROW_SIZE] = number, price, price, size


@numba.njit(cache=True, nogil=True)
def split_rows(
    words: Any,
    groups: Any,
    splits: Any,
    rows: Any,
    others: Any,
    places: Any,
    columns: Any,
    orders: Any,
    table: Any,
    levels: Any,
    shapes: Any,
    slots: Any,
    state: Any,
) -> Any:
    """Take records of words int64[n] apart as far as the next snapshot; return GOOD, SNAPSHOT, GROW, BAD or OTHER.

    groups int64[7, g] are ts_recv, ts_event, source_index, line, sequence, sequence_first, sequence_previous of runs
    of rows of one event, splits int64[r] the rows that open one within an event; rows int64[r] the shape of each;
    others and places int64[d] the word of each other record and the rows before it; columns int64[7, r] what does not
    follow (AGES to LEVEL_SIZES). table int32[t] finds numbers by id, slots int32[u] shapes (t and u powers of two, -1
    where free). GROW: the table is half full. Some 20 ns a row.
    """
    at, total = state[POSITION], len(words)
    many, find = np.uint64(len(table) - 1), np.uint64(len(slots) - 1)
    one, status = np.uint64(1), np.int64(GOOD)
    while at < total:
        head = words[at]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or at + (length >> 3) > total:
            status = np.int64(BAD)
            break
        kind = head & HEAD_MASK
        if kind not in (ORDER_HEAD, DELTA_HEAD):
            number = (head >> 32) & 0xFFFF
            if number in (BOOK_SNAPSHOT, ORDER_SNAPSHOT):
                status = np.int64(SNAPSHOT)
                break
            others[state[OTHERS]] = at
            places[state[OTHERS]] = state[ROWS]
            state[OTHERS] += 1
            at += length >> 3
            continue
        if state[INSTRUMENT] < 0:
            state[INSTRUMENT] = words[at + 4] & LENGTH_MASK
        if words[at + 4] & LENGTH_MASK != state[INSTRUMENT] or state[ORDERS] >= len(orders):
            status = np.int64(OTHER)
            break
        if 2 * state[ORDERS] >= len(table):
            status = np.int64(GROW)
            break
        is_delta, side = kind == DELTA_HEAD, (head >> SIDE_SHIFT) & 0xFF
        half = np.int64(side == ASK)

        # The group it belongs to.
        inside, last = state[IN_EVENT] != 0, state[GROUPS] - 1
        joins = inside and (
            words[at + 1] == groups[0, last] and words[at + 2] == groups[1, last] and words[at + 5] == groups[4, last]
        )
        if joins and is_delta and state[HAS_DELTA]:
            joins = words[at + 8] == groups[5, last] and words[at + 9] == groups[6, last]
        line, source = words[at + 4] - state[LINE], words[at + 3] - state[SOURCE]
        if joins and state[STEP] < 0 and line & HEAD_MASK == 0 and ((line >> 48) | source) >> 1 == 0:
            state[STEP] = (line >> 48) | source << 1
        step, inner = state[STEP], state[IN_GROUP]
        if joins and step >= 0 and line == ((step & 1) * inner) << 48 and source == (step >> 1) * inner:
            state[IN_GROUP] = inner + 1
        else:
            if inside:
                splits[state[SPLITS]] = state[ROWS]
                state[SPLITS] += 1
            last = state[GROUPS]
            state[GROUPS] += 1
            for field in range(5):
                groups[field, last] = words[at + 1 + field]
            state[SOURCE], state[LINE], state[IN_GROUP], state[HAS_DELTA] = words[at + 3], words[at + 4], 1, 0
            groups[5, last], groups[6, last] = state[FIRST], state[PREVIOUS]

        how, tail = np.int64(0), np.int64(0)
        if is_delta:
            if not state[HAS_DELTA]:
                state[HAS_DELTA] = 1
                state[FIRST], state[PREVIOUS] = words[at + 8], words[at + 9]
                groups[5, last], groups[6, last] = words[at + 8], words[at + 9]
            price, size = words[at + 6], words[at + 7]
            if price == state[ROW_PRICE]:
                how |= PRICE_OF_ORDER
            else:
                columns[LEVEL_PRICES - AGES, state[LEVEL_PRICES]] = price - state[EDGES + half]
                state[LEVEL_PRICES] += 1
                state[EDGES + half] = price
            key = (price << 1) ^ half
            slot = _level_slot(key)
            known = levels[slot, 1] if levels[slot, 0] == key else np.int64(0)
            if size == known + state[CHANGE]:
                how |= SIZE_CHANGED
            elif size == known:
                how |= SIZE_KNOWN
            else:
                columns[LEVEL_SIZES - AGES, state[LEVEL_SIZES]] = size
                state[LEVEL_SIZES] += 1
            levels[slot, 0], levels[slot, 1] = key, size
        else:
            order_id, price, size, tail = words[at + 6], words[at + 7], words[at + 8], words[at + 9]
            action, count, number = tail & 0xFF, state[ORDERS], np.int64(-1)
            before = state[LAST]
            if order_id == 0:
                how = np.int64(NO_ID)
            elif action != ADD and before >= 0 and orders[before, 0] == order_id:
                how, number = np.int64(SAME_ID), before
            else:
                slot = _id_slot(order_id, many)
                while table[slot] >= 0 and orders[table[slot], 0] != order_id:
                    slot = (slot + one) & many
                number = np.int64(table[slot])
                if action != ADD and number >= 0:
                    how = np.int64(KNOWN_ID)
                    columns[0, state[AGES]] = count - 1 - number
                    state[AGES] += 1
                else:
                    how = np.int64(NEW_ID)
                    column = np.int64(ADDED_IDS) if action == ADD else np.int64(OTHER_IDS)
                    base = np.int64(LAST_ADDED) if action == ADD else np.int64(LAST_OTHER)
                    columns[column - AGES, state[column]] = order_id - state[base]
                    state[column] += 1
                    state[base] = order_id
                    table[slot] = np.int32(count)
                    number = np.int64(-1)
            reference = state[PRICES + half]
            if number >= 0:
                reference = orders[number, 1]
                if orders[number, 3] & 1 == half and side == ASK + 1 - half:
                    how |= SIDE_FOLLOWS
                    head &= (np.int64(1) << SIDE_SHIFT) - 1
            if number >= 0 and reference == price:
                how |= PRICE_FOLLOWS
            else:
                columns[ORDER_PRICES - AGES, state[ORDER_PRICES]] = price - reference
                state[ORDER_PRICES] += 1
            if number >= 0 and orders[number, 2] == size:
                how |= SIZE_RESTS
            elif size == state[ROW_SIZE]:
                how |= SIZE_REPEATS
            else:
                columns[ORDER_SIZES - AGES, state[ORDER_SIZES]] = size
                state[ORDER_SIZES] += 1
            if how & 3 == NEW_ID:
                number = count
                orders[number, 0], orders[number, 1], orders[number, 2] = order_id, price, size
                orders[number, 3] = state[RANK] << 1 | half
                state[RANK] += 1
                state[ORDERS] += 1
            _pass(orders, state, number, half, action, price, size)

        # Its shape, new or known.
        slot = _shape_slot(head, tail, how, find)
        while True:
            number = np.int64(slots[slot])
            if number < 0 or (shapes[number, 0] == head and shapes[number, 1] == tail and shapes[number, 2] == how):
                break
            slot = (slot + one) & find
        if number < 0:
            number = state[SHAPES]
            if number == len(shapes):
                return OTHER
            slots[slot] = np.int32(number)
            shapes[number, 0], shapes[number, 1], shapes[number, 2] = head, tail, how
            state[SHAPES] += 1
        rows[state[ROWS]] = number
        state[ROWS] += 1
        state[IN_EVENT] = np.int64(head & LAST_FLAG == 0)
        at += ROW_WORDS
    state[POSITION] = at
    return status
