"""Kernels that take ORDER and BOOK_DELTA records apart, order by order, and put them together again.

An order that was seen has a number: the first is 0. Rows refer to it by its age, how many orders were seen since, so
that only the encoder needs a table of ids. ``docs/format/archive.md`` (Order blocks) is the source.

Common arguments, the caller's: state int64[STATES] goes from call to call; orders int64[5, n] are id, side (0 bid, 1
ask), price, size and rank of each number; levels int64[LEVEL_SLOTS, 2] the last size of prices, key and size; shapes
int64[s, 3] what rows have in common: first word, last word of an ORDER, how the rest follows.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["add_orders", "join_rows", "split_rows"]

ROW_WORDS = 10
DELTA_HEAD = 80 | 32 << 32
ORDER_HEAD = 80 | 34 << 32
HEAD_MASK = 0xFFFFFFFFFFFF
LENGTH_MASK = 0xFFFFFFFF
SIDE_SHIFT = 56
ASK = 65
LAST_FLAG = 128 << 48
BOOK_SNAPSHOT, ORDER_SNAPSHOT = 33, 38
ADD, CANCEL, MODIFY, CLEAR = 65, 67, 77, 82
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
HAS_DELTA, FIRST, PREVIOUS = 32, 33, 34
STATES = 35
COUNTED = 7
"""Columns of values from AGES on."""

GOOD, SNAPSHOT, BAD, OTHER = 0, 1, 2, 3
"""Done; the next record is a snapshot; bytes that cannot be; more than such a block takes."""


@numba.njit(cache=True, nogil=True)
def _level(levels: Any, half: Any, price: Any) -> Any:
    """Return the slot of a price, emptied when another price had it."""
    key = (price << 1) ^ half
    slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(LEVEL_SHIFT)
    if levels[slot, 0] != key:
        levels[slot, 0] = key
        levels[slot, 1] = 0
    return slot


@numba.njit(cache=True, nogil=True)
def _append(orders: Any, state: Any, order_id: Any, half: Any, price: Any, size: Any) -> Any:
    """Give an order the next number and return it; the caller has room for it."""
    number = state[ORDERS]
    orders[0, number], orders[1, number] = order_id, half
    orders[2, number], orders[3, number], orders[4, number] = price, size, state[RANK]
    state[RANK] += 1
    state[ORDERS] += 1
    return number


@numba.njit(cache=True, nogil=True)
def _act(orders: Any, state: Any, action: Any, number: Any, half: Any, price: Any, size: Any) -> None:
    """Do what an ORDER row does to the order of that number (-1: none), and remember it for the rows to come."""
    state[CHANGE] = 0
    if action == ADD:
        state[CHANGE] = size
    elif action == CANCEL or action == 70:  # noqa: PLR1714 (no tuple in a kernel)
        state[CHANGE] = -size
    if number >= 0:
        if action == CANCEL:
            rest = orders[3, number]
            orders[3, number] = 0 if size >= rest else rest - size
        elif action == MODIFY:
            if price != orders[2, number] or size > orders[3, number]:
                orders[4, number] = state[RANK]
                state[RANK] += 1
            orders[2, number], orders[3, number] = price, size
    if action == CLEAR:
        state[ALIVE] = state[ORDERS]
    state[LAST] = number
    state[PRICES + half] = price
    state[ROW_PRICE] = price
    state[ROW_SIZE] = size


@numba.njit(cache=True, nogil=True)
def _find(table: Any, orders: Any, order_id: Any) -> Any:
    """Return the slot of an id in table int32[t], t a power of two, of numbers; -1 where free."""
    mask = np.uint64(len(table) - 1)
    slot = (np.uint64(order_id) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32) & mask
    while table[slot] >= 0 and orders[0, table[slot]] != order_id:
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def add_orders(rows: Any, bids: Any, orders: Any, state: Any, table: Any) -> Any:
    """Forget what rests and give the orders of a snapshot int64[n, 3], bids first, the next numbers.

    `table` int32[t] finds numbers by id (see :func:`split_rows`), or has no slot. False when there is no room.
    """
    if state[ORDERS] + len(rows) > orders.shape[1]:
        return False
    state[ALIVE] = state[ORDERS]
    for row in range(len(rows)):
        number = _append(orders, state, rows[row, 0], np.int64(row >= bids), rows[row, 1], rows[row, 2])
        if len(table):
            table[_find(table, orders, rows[row, 0])] = number
    return True


@numba.njit(cache=True, nogil=True)
def _group(words: Any, at: Any, is_delta: Any, groups: Any, splits: Any, state: Any) -> None:
    """Put a row into the group that is open, or open the next one: groups int64[7, g], splits int64[r]."""
    inside = state[IN_EVENT] != 0
    last = state[GROUPS] - 1
    joins = inside and (
        words[at + 1] == groups[0, last] and words[at + 2] == groups[1, last] and words[at + 5] == groups[4, last]
    )
    if joins and is_delta and state[HAS_DELTA]:
        joins = words[at + 8] == groups[5, last] and words[at + 9] == groups[6, last]
    line, source = words[at + 4] - state[LINE], words[at + 3] - state[SOURCE]
    if joins and state[STEP] < 0:
        if line & HEAD_MASK == 0 and ((line >> 48) | source) >> 1 == 0:
            state[STEP] = (line >> 48) | source << 1
    step, number = state[STEP], state[IN_GROUP]
    if joins and step >= 0 and line == ((step & 1) * number) << 48 and source == (step >> 1) * number:
        state[IN_GROUP] += 1
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
    if is_delta and not state[HAS_DELTA]:
        state[HAS_DELTA] = 1
        state[FIRST], state[PREVIOUS] = words[at + 8], words[at + 9]
        groups[5, last], groups[6, last] = words[at + 8], words[at + 9]


@numba.njit(cache=True, nogil=True)
def _put(columns: Any, state: Any, column: Any, value: Any) -> None:
    columns[column - AGES, state[column]] = value
    state[column] += 1


@numba.njit(cache=True, nogil=True)
def _split_order(words: Any, at: Any, half: Any, orders: Any, table: Any, columns: Any, state: Any) -> Any:
    """Write what does not follow of an ORDER row, and return how the rest does."""
    order_id, price, size, action = words[at + 6], words[at + 7], words[at + 8], words[at + 9] & 0xFF
    last, how, number = state[LAST], np.int64(NO_ID), np.int64(-1)
    if order_id == 0:
        how = np.int64(NO_ID)
    elif action != ADD and last >= 0 and orders[0, last] == order_id:
        how, number = np.int64(SAME_ID), last
    else:
        slot = _find(table, orders, order_id)
        number = np.int64(table[slot])
        if action != ADD and number >= 0:
            how = np.int64(KNOWN_ID)
            _put(columns, state, AGES, state[ORDERS] - 1 - number)
        else:
            how = np.int64(NEW_ID)
            if action == ADD:
                _put(columns, state, ADDED_IDS, order_id - state[LAST_ADDED])
                state[LAST_ADDED] = order_id
            else:
                _put(columns, state, OTHER_IDS, order_id - state[LAST_OTHER])
                state[LAST_OTHER] = order_id
            number = np.int64(-1)
            table[slot] = np.int32(state[ORDERS])
    known = number >= 0
    if known and orders[1, number] == half:
        how |= SIDE_FOLLOWS
    if known and orders[2, number] == price:
        how |= PRICE_FOLLOWS
    else:
        _put(columns, state, ORDER_PRICES, price - (orders[2, number] if known else state[PRICES + half]))
    if known and orders[3, number] == size:
        how |= SIZE_RESTS
    elif size == state[ROW_SIZE]:
        how |= SIZE_REPEATS
    else:
        _put(columns, state, ORDER_SIZES, size)
    if how & 3 == NEW_ID:
        number = _append(orders, state, order_id, half, price, size)
    _act(orders, state, action, number, half, price, size)
    return how


@numba.njit(cache=True, nogil=True)
def _split_delta(words: Any, at: Any, half: Any, levels: Any, columns: Any, state: Any) -> Any:
    """Write what does not follow of a BOOK_DELTA row, and return how the rest does."""
    price, size, how = words[at + 6], words[at + 7], np.int64(0)
    if price == state[ROW_PRICE]:
        how |= PRICE_OF_ORDER
    else:
        _put(columns, state, LEVEL_PRICES, price - state[EDGES + half])
        state[EDGES + half] = price
    slot = _level(levels, half, price)
    known = levels[slot, 1]
    if size == known + state[CHANGE]:
        how |= SIZE_CHANGED
    elif size == known:
        how |= SIZE_KNOWN
    else:
        _put(columns, state, LEVEL_SIZES, size)
    levels[slot, 1] = size
    return how


@numba.njit(cache=True, nogil=True)
def _shape(first: Any, last: Any, how: Any, shapes: Any, slots: Any, state: Any) -> Any:
    """Return the number of a shape, which is new or known; -1 when there are too many. slots int32[t], -1 where free."""
    mask = np.uint64(len(slots) - 1)
    mixed = np.uint64(first) ^ (np.uint64(last) << np.uint64(7)) ^ (np.uint64(how) << np.uint64(40))
    slot = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40) & mask
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        if shapes[number, 0] == first and shapes[number, 1] == last and shapes[number, 2] == how:
            return number
        slot = (slot + np.uint64(1)) & mask
    number = state[SHAPES]
    if number == len(shapes):
        return np.int64(-1)
    slots[slot] = np.int32(number)
    shapes[number, 0], shapes[number, 1], shapes[number, 2] = first, last, how
    state[SHAPES] += 1
    return number


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
    """Take records of words int64[n] apart as far as the next snapshot; return GOOD, SNAPSHOT, BAD or OTHER.

    groups int64[7, g] are ts_recv, ts_event, source_index, line, sequence, sequence_first, sequence_previous of runs
    of rows of one event; rows int64[r] the shape of each; others and places int64[d] the word of each other record and
    the rows before it; columns int64[7, r] what does not follow (AGES to LEVEL_SIZES). Some 25 ns a row.
    """
    at = state[POSITION]
    while at < len(words):
        head = words[at]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or at + (length >> 3) > len(words):
            return BAD
        kind = head & HEAD_MASK
        if kind == ORDER_HEAD or kind == DELTA_HEAD:  # noqa: PLR1714 (no tuple in a kernel)
            if state[INSTRUMENT] < 0:
                state[INSTRUMENT] = words[at + 4] & LENGTH_MASK
            if words[at + 4] & LENGTH_MASK != state[INSTRUMENT] or state[ORDERS] >= orders.shape[1]:
                return OTHER
            half = np.int64((head >> SIDE_SHIFT) & 0xFF == ASK)
            _group(words, at, kind == DELTA_HEAD, groups, splits, state)
            if kind == ORDER_HEAD:
                how = _split_order(words, at, half, orders, table, columns, state)
                last = words[at + 9]
                if how & SIDE_FOLLOWS and (head >> SIDE_SHIFT) & 0xFF == ASK + 1 - half:
                    head &= (np.int64(1) << SIDE_SHIFT) - 1
                else:
                    how &= ~np.int64(SIDE_FOLLOWS)
            else:
                how, last = _split_delta(words, at, half, levels, columns, state), np.int64(0)
            number = _shape(head, last, how, shapes, slots, state)
            if number < 0:
                return OTHER
            rows[state[ROWS]] = number
            state[ROWS] += 1
            state[IN_EVENT] = np.int64(head & LAST_FLAG == 0)
        else:
            number = (head >> 32) & 0xFFFF
            if number == BOOK_SNAPSHOT or number == ORDER_SNAPSHOT:  # noqa: PLR1714
                state[POSITION] = at
                return SNAPSHOT
            others[state[OTHERS]] = at
            places[state[OTHERS]] = state[ROWS]
            state[OTHERS] += 1
        at += length >> 3
    state[POSITION] = at
    return GOOD


@numba.njit(cache=True, nogil=True)
def _join_order(
    shape: Any, last: Any, side: Any, columns: Any, limits: Any, orders: Any, state: Any, out: Any, at: Any
) -> Any:
    """Write id, price and size of an ORDER row; return its side, or -1 where it refers to what is not there."""
    action, how = last & 0xFF, shape & 3
    number, order_id = np.int64(-1), np.int64(0)
    if how == SAME_ID:
        number = state[LAST]
        if number < 0:
            return np.int64(-1)
    elif how == KNOWN_ID:
        if state[AGES] >= limits[0]:
            return np.int64(-1)
        age = columns[state[AGES]]
        state[AGES] += 1
        if age < 0 or age >= state[ORDERS]:
            return np.int64(-1)
        number = state[ORDERS] - 1 - age
    elif how == NEW_ID:
        column = np.int64(ADDED_IDS) if action == ADD else np.int64(OTHER_IDS)
        if state[column] >= limits[column - AGES] or state[ORDERS] >= orders.shape[1]:
            return np.int64(-1)
        before = np.int64(LAST_ADDED) if action == ADD else np.int64(LAST_OTHER)
        order_id = columns[state[column]] + state[before]
        state[column] += 1
        state[before] = order_id
    known = number >= 0
    if shape & (SIDE_FOLLOWS | PRICE_FOLLOWS | SIZE_RESTS) and not known:
        return np.int64(-1)
    if known:
        order_id = orders[0, number]
    half = np.int64(side == ASK)
    if shape & SIDE_FOLLOWS:
        half = orders[1, number]
        side = np.int64(ASK) + 1 - half
    if shape & PRICE_FOLLOWS:
        price = orders[2, number]
    else:
        if state[ORDER_PRICES] >= limits[ORDER_PRICES - AGES]:
            return np.int64(-1)
        price = columns[state[ORDER_PRICES]]
        price += orders[2, number] if known else state[PRICES + half]
        state[ORDER_PRICES] += 1
    if shape & SIZE_RESTS:
        size = orders[3, number]
    elif shape & SIZE_REPEATS:
        size = state[ROW_SIZE]
    else:
        if state[ORDER_SIZES] >= limits[ORDER_SIZES - AGES]:
            return np.int64(-1)
        size = columns[state[ORDER_SIZES]]
        state[ORDER_SIZES] += 1
    if how == NEW_ID:
        number = _append(orders, state, order_id, half, price, size)
    _act(orders, state, action, number, half, price, size)
    out[at + 6], out[at + 7], out[at + 8], out[at + 9] = order_id, price, size, last
    return side


@numba.njit(cache=True, nogil=True)
def _join_delta(
    how: Any, half: Any, columns: Any, limits: Any, levels: Any, state: Any, out: Any, at: Any
) -> Any:
    """Write price and size of a BOOK_DELTA row; False where a column ends too early."""
    if how & PRICE_OF_ORDER:
        price = state[ROW_PRICE]
    else:
        if state[LEVEL_PRICES] >= limits[LEVEL_PRICES - AGES]:
            return False
        price = columns[state[LEVEL_PRICES]] + state[EDGES + half]
        state[LEVEL_PRICES] += 1
        state[EDGES + half] = price
    slot = _level(levels, half, price)
    if how & (SIZE_CHANGED | SIZE_KNOWN):
        size = levels[slot, 1] + (state[CHANGE] if how & SIZE_CHANGED else np.int64(0))
    else:
        if state[LEVEL_SIZES] >= limits[LEVEL_SIZES - AGES]:
            return False
        size = columns[state[LEVEL_SIZES]]
        state[LEVEL_SIZES] += 1
    levels[slot, 1] = size
    out[at + 6], out[at + 7] = price, size
    return True


@numba.njit(cache=True, nogil=True)
def join_rows(
    groups: Any,
    splits: Any,
    rows: Any,
    words: Any,
    starts: Any,
    places: Any,
    lengths: Any,
    columns: Any,
    limits: Any,
    orders: Any,
    levels: Any,
    shapes: Any,
    state: Any,
    out: Any,
) -> Any:
    """Put records together in out int64[n] as far as the next snapshot; return GOOD, SNAPSHOT or BAD.

    words int64[m] holds the other records, starts int64[d + 1] where each begins there, lengths int64[d] how many
    words it takes in `out` (the caller made sure that they and the rows fill it); a snapshot is not copied, `state`
    stands at it. Everything else that rows refer to is checked. columns int64[c] are AGES to LEVEL_SIZES side by
    side: state has where each goes on, limits int64[7] where it ends. Some 10 ns a row.
    """
    at, row, beside, total = state[POSITION], state[ROWS], state[OTHERS], len(rows)
    status = np.int64(GOOD)
    while True:
        if beside < len(places) and places[beside] == row:
            start, count = starts[beside], lengths[beside]
            kind = (words[start] >> 32) & 0xFFFF
            if kind == BOOK_SNAPSHOT or kind == ORDER_SNAPSHOT:  # noqa: PLR1714
                status = np.int64(SNAPSHOT)
                break
            for offset in range(count):
                out[at + offset] = words[start + offset]
            at += count
            beside += 1
            continue
        if row == total:
            break
        number = rows[row]
        if number < 0 or number >= len(shapes):
            return BAD
        head, how, last = shapes[number, 0], shapes[number, 2], shapes[number, 1]
        splits_here = state[SPLITS] < len(splits) and splits[state[SPLITS]] == row
        if state[IN_EVENT] == 0 or splits_here:
            state[SPLITS] += np.int64(splits_here)
            state[GROUPS] += 1
            state[IN_GROUP] = 0
            if state[GROUPS] > groups.shape[1]:
                return BAD
        group, step = state[GROUPS] - 1, state[IN_GROUP]
        side = (head >> SIDE_SHIFT) & 0xFF
        if head & HEAD_MASK == ORDER_HEAD:
            side = _join_order(how, last, side, columns, limits, orders, state, out, at)
            if side < 0:
                return BAD
            head = (head & ((np.int64(1) << SIDE_SHIFT) - 1)) | side << SIDE_SHIFT
        else:
            half = np.int64(side == ASK)
            if head & HEAD_MASK != DELTA_HEAD or not _join_delta(how, half, columns, limits, levels, state, out, at):
                return BAD
            out[at + 8], out[at + 9] = groups[5, group], groups[6, group]
        out[at] = head
        out[at + 1], out[at + 2] = groups[0, group], groups[1, group]
        out[at + 3] = groups[2, group] + (state[STEP] >> 1) * row
        out[at + 4] = groups[3, group] + (((state[STEP] & 1) * step) << 48)
        out[at + 5] = groups[4, group]
        state[IN_GROUP] += 1
        state[IN_EVENT] = np.int64(head & LAST_FLAG == 0)
        at += ROW_WORDS
        row += 1
    state[POSITION], state[ROWS], state[OTHERS] = at, row, beside
    return status
