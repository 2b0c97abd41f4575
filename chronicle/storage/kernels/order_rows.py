"""Kernels that follow the rows of an order block: what each says of its order or level, as columns or records.

One loop serves both. It has one branch a row, order or level: all else that a row may do is a word of its shape's
plan, all ones or 0, so that nothing is foretold wrongly and the loads of later rows run ahead.
``docs/format/archive.md`` (Order blocks) is the source.

Common arguments, the caller's: rows int64[r] the shape of each row, checked by :func:`survey_rows`; plan
int64[s, PLAN_WORDS] what shapes do (:func:`plan_shapes`); orders int64[n + 1, 4] id, price, size and place of each
number, the last row for what has no order; state int64[STATES] goes from call to call.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.orders import (
    ADD,
    AGES,
    ALIVE,
    ASK,
    BAD,
    CANCEL,
    CHANGE,
    CLEAR,
    COUNTED,
    DELTA_HEAD,
    EDGES,
    FILL,
    GOOD,
    GROUPS,
    HEAD_MASK,
    IN_EVENT,
    IN_GROUP,
    KNOWN_ID,
    LAST,
    LAST_ADDED,
    LAST_FLAG,
    LAST_OTHER,
    LEVEL_SHIFT,
    MODIFY,
    MOVED,
    NEW_ID,
    ORDER_HEAD,
    ORDERS,
    PRICE_FOLLOWS,
    PRICE_OF_ORDER,
    PRICES,
    RANK,
    ROW_PRICE,
    ROW_SIZE,
    ROW_WORDS,
    SAME_ID,
    SIDE_FOLLOWS,
    SIDE_SHIFT,
    SIZE_CHANGED,
    SIZE_KNOWN,
    SIZE_REPEATS,
    SIZE_RESTS,
    SPLITS,
    STEP,
)
from chronicle.storage.kernels.rows import fill

__all__ = ["event_flags", "follow_rows", "plan_shapes", "row_numbers", "spread_groups", "survey_rows", "write_rows"]

WANTED, IS_DELTA, HALF, SIDE, SIDE_OF_ORDER = range(5)
SAME, KNOWN, NEW, ADDED, OTHER, PRICED, RESTS, REPEATS, SIZED = range(5, 14)
SIGN, CANCELS, MODIFIES, CLEARS = range(14, 18)
ENDS, SOUND, LEVELS = 18, 19, 20
PLAN_WORDS = 24
"""Of a shape: 1 where its rows are asked for; masks and numbers that :func:`follow_rows` names. Of a BOOK_DELTA,
RESTS says that the level's size is known, LEVELS that the change is added. ENDS: 1 with F_LAST."""

FIRST_ROW, STOP_ROW, STOP_WANTED, GROUPS_FOUND, SPLITS_FOUND, NEEDS = range(6)
FOUND_WORDS = NEEDS + COUNTED + 1
"""What :func:`survey_rows` finds; NEEDS and on: words of each column from AGES on, and new orders."""


@numba.njit(cache=True, nogil=True)
def _mask(holds: Any) -> Any:
    return -np.int64(holds)


@numba.njit(cache=True, nogil=True)
def plan_shapes(shapes: Any, orders: Any, deltas: Any, ids: Any, sides: Any, plan: Any) -> None:
    """Say what rows of shapes int64[s, 3] do: plan int64[s, PLAN_WORDS] (written).

    orders, deltas: 1 where such rows are asked for; where deltas are not, nothing is kept of them. `ids`: 1 where
    ids are. sides int64[256] is what a row says of its side, where that does not follow from its order.
    """
    plan[:] = 0
    for number in range(len(shapes)):
        head, tail, how = shapes[number, 0], shapes[number, 1], shapes[number, 2]
        words, kind, side = plan[number], head & HEAD_MASK, (head >> SIDE_SHIFT) & 0xFF
        words[ENDS] = np.int64(head & LAST_FLAG != 0)
        words[HALF] = np.int64(side == ASK)
        words[SIDE] = sides[side]
        if kind == ORDER_HEAD:
            action, refers = tail & 0xFF, how & 3
            has = refers in (SAME_ID, KNOWN_ID)
            words[WANTED] = orders
            words[SOUND] = np.int64(has or how & (SIDE_FOLLOWS | PRICE_FOLLOWS | SIZE_RESTS) == 0)
            words[SIDE_OF_ORDER] = _mask(how & SIDE_FOLLOWS != 0)
            words[SAME], words[KNOWN], words[NEW] = (
                _mask(refers == SAME_ID),
                _mask(refers == KNOWN_ID),
                _mask(refers == NEW_ID),
            )
            words[ADDED] = _mask(refers == NEW_ID and action == ADD and ids == 1)
            words[OTHER] = _mask(refers == NEW_ID and action != ADD and ids == 1)
            words[PRICED] = _mask(how & PRICE_FOLLOWS == 0)
            words[RESTS] = _mask(how & SIZE_RESTS != 0)
            words[REPEATS] = _mask(how & SIZE_RESTS == 0 and how & SIZE_REPEATS != 0)
            words[SIZED] = _mask(how & (SIZE_RESTS | SIZE_REPEATS) == 0)
            words[SIGN] = np.int64(action == ADD) - np.int64(action in (CANCEL, FILL))
            words[CANCELS], words[MODIFIES] = _mask(action == CANCEL), _mask(action == MODIFY)
            words[CLEARS] = _mask(action == CLEAR)
        else:
            words[WANTED], words[IS_DELTA] = deltas, 1
            words[SOUND] = np.int64(kind == DELTA_HEAD)
            words[PRICED] = _mask(how & PRICE_OF_ORDER == 0)
            words[LEVELS] = _mask(how & SIZE_CHANGED != 0)
            words[RESTS] = _mask(how & (SIZE_CHANGED | SIZE_KNOWN) != 0)
            words[SIZED] = _mask(how & (SIZE_CHANGED | SIZE_KNOWN) == 0)


@numba.njit(cache=True, nogil=True)
def survey_rows(rows: Any, plan: Any, splits: Any, low: Any, high: Any, counts: Any, sizes: Any, found: Any) -> Any:
    """Find the rows of groups [low, high) and what the rows up to there take from the columns; GOOD or BAD.

    splits int64[t]: rows at which a group opens within an event. counts int64[s] (zeros) and sizes int64[g], written:
    rows of each shape, rows of each group that are asked for. found int64[FOUND_WORDS], written. 1.5 ns a row.
    """
    shapes, groups, total, limit = np.uint64(len(plan)), len(sizes), len(rows), np.uint64(len(plan) - 1)
    found[:] = 0
    group, opens, size, first = np.int64(-1), np.int64(1), np.int64(0), np.int64(0)
    wanted, taken, stop = np.int64(0), np.int64(0), np.int64(total)
    split = splits[0] if len(splits) else np.int64(total)
    sound = np.uint8(1)
    for row in range(total):
        shape = np.uint64(rows[np.uint64(row)])
        sound &= np.uint8(shape < shapes)
        shape = min(shape, limit)
        if row == split:
            opens = np.int64(1)
            taken += 1
            split = splits[taken] if taken < len(splits) else np.int64(total)
            sound &= np.uint8(split > row)
        group += opens
        if group >= high:
            if group >= groups:
                return BAD
            stop = np.int64(row)
            break
        wants = plan[shape, WANTED]
        size = (size & (opens - 1)) + wants
        sizes[np.uint64(group)] = size
        first += np.int64(group < low)
        wanted += wants & _mask(group >= low)
        opens = plan[shape, ENDS]
        counts[shape] += 1
    found[FIRST_ROW], found[STOP_ROW], found[STOP_WANTED] = first, stop, wanted
    found[GROUPS_FOUND], found[SPLITS_FOUND] = group + np.int64(stop == total), taken
    for number in range(len(plan)):
        count, words = counts[number], plan[number]
        sound &= np.uint8(count == 0 or words[SOUND] == 1)
        if words[IS_DELTA]:
            found[NEEDS + 5] -= count * words[PRICED]
            found[NEEDS + 6] -= count * words[SIZED]
            continue
        for column, of in enumerate((KNOWN, ADDED, OTHER, PRICED, SIZED)):
            found[NEEDS + column] -= count * words[of]
        found[NEEDS + COUNTED] -= count * words[NEW]
    return GOOD if sound else BAD


@numba.njit(cache=True, nogil=True)
def follow_rows(
    rows: Any,
    plan: Any,
    begin: Any,
    end: Any,
    shown: Any,
    values: Any,
    orders: Any,
    levels: Any,
    state: Any,
    names: Any,
    prices: Any,
    sizes: Any,
    sides: Any,
    ids: Any,
    place: Any,
) -> Any:
    """Follow rows [begin, end); write those from `shown` on that are asked for, from `place` on; return the place.

    values int64[v]: the columns AGES to LEVEL_SIZES, each with a word to spare; state has where each goes on, and
    survey_rows told that it lasts. levels int64[LEVEL_SLOTS, 2], or of no row where deltas are not asked for. names
    int64[2]: what bids and asks are called. prices, sizes int64[m + 1] and sides u8[m + 1] are written, ids int64
    [m + 1] where it has rows. Returns -1 where a row refers to an order that is none.
    """
    limit = np.uint64(len(orders) - 1)
    with_ids, with_levels = len(ids) > 0, len(levels) > 0
    bid_name, ask_name = names[0], names[1]
    count, alive, rank, moved = state[ORDERS], state[ALIVE], state[RANK], state[MOVED]
    last, added_id, other_id = state[LAST], state[LAST_ADDED], state[LAST_OTHER]
    bid_price, ask_price, bid_edge, ask_edge = state[PRICES], state[PRICES + 1], state[EDGES], state[EDGES + 1]
    row_price, row_size, change = state[ROW_PRICE], state[ROW_SIZE], state[CHANGE]
    at_age, at_added, at_other = np.uint64(state[AGES]), np.uint64(state[AGES + 1]), np.uint64(state[AGES + 2])
    at_price, at_size = np.uint64(state[AGES + 3]), np.uint64(state[AGES + 4])
    at_level, at_level_size = np.uint64(state[AGES + 5]), np.uint64(state[AGES + 6])
    out, bad = np.uint64(place), np.int64(0)
    for row in range(np.uint64(begin), np.uint64(end)):
        words = plan[np.uint64(rows[row])]
        shows = np.uint64(words[WANTED]) & np.uint64(row >= np.uint64(shown))
        priced, sized, rests = words[PRICED], words[SIZED], words[RESTS]
        if words[IS_DELTA]:
            if not with_levels:
                continue
            half = words[HALF]
            turn = -half
            step = (ask_edge & turn) | (bid_edge & ~turn)
            price = ((step + values[at_level]) & priced) | (row_price & ~priced)
            at_level -= np.uint64(priced)
            ask_edge = (price & (turn & priced)) | (ask_edge & ~(turn & priced))
            bid_edge = (price & (~turn & priced)) | (bid_edge & ~(~turn & priced))
            key = (price << 1) ^ half
            slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(LEVEL_SHIFT)
            known = levels[slot, 1] & _mask(levels[slot, 0] == key)
            size = ((known + (change & words[LEVELS])) & rests) | (values[at_level_size] & sized)
            at_level_size -= np.uint64(sized)
            levels[slot, 0], levels[slot, 1] = key, size
            prices[out], sizes[out], sides[out] = price, size, words[SIDE]
            if with_ids:
                ids[out] = 0
            out += shows
            continue
        same, known, new = words[SAME], words[KNOWN], words[NEW]
        has = same | known
        number = ((count - 1 - values[at_age]) & known) | (last & same) | ~has
        at_age -= np.uint64(known)
        bad |= has & ~_mask(np.uint64(number) < np.uint64(count))
        slot = min(np.uint64(number), limit)
        known_id, known_price, rest, known_place = (
            orders[slot, 0],
            orders[slot, 1],
            orders[slot, 2],
            orders[slot, 3],
        )
        of_order = words[SIDE_OF_ORDER]
        half = ((known_place & 1) & of_order) | (words[HALF] & ~of_order)
        turn = -half
        touch = (ask_price & turn) | (bid_price & ~turn)
        price = ((known_price & has) | (touch & ~has)) + (values[at_price] & priced)
        at_price -= np.uint64(priced)
        ask_price, bid_price = (price & turn) | (ask_price & ~turn), (price & ~turn) | (bid_price & turn)
        size = (rest & rests) | (row_size & words[REPEATS]) | (values[at_size] & sized)
        at_size -= np.uint64(sized)
        added, other = words[ADDED], words[OTHER]
        added_id += values[at_added] & added
        other_id += values[at_other] & other
        at_added -= np.uint64(added)
        at_other -= np.uint64(other)
        order_id = (known_id & has) | (added_id & added) | (other_id & other)
        row_price, row_size, change = price, size, size * words[SIGN]

        prices[out], sizes[out] = price, size
        sides[out] = (words[SIDE] & ~of_order) | (((ask_name & turn) | (bid_name & ~turn)) & of_order)
        if with_ids:
            ids[out] = order_id
        out += shows

        # What it does to its order; `moves`: it takes the last place at its price.
        cancels, modifies = words[CANCELS], words[MODIFIES]
        number = (count & new) | (number & ~new)
        slot = (np.uint64(count) & np.uint64(new)) | (slot & ~np.uint64(new))
        rest = (size & new) | (rest & ~new)
        left = (rest - size) & _mask(size < rest)
        loses = modifies & has & _mask((price != known_price) | (size > rest))
        moves = new | loses
        moved |= loses | (modifies & has & _mask(rest <= 0))
        half = (half & new) | (known_place & 1 & ~new)
        takes = new | modifies
        orders[slot, 0] = order_id
        orders[slot, 1] = (price & takes) | (known_price & ~takes)
        orders[slot, 2] = (left & cancels) | (size & modifies) | (rest & ~(cancels | modifies))
        orders[slot, 3] = (((rank << 1) | half) & moves) | (known_place & ~moves)
        rank -= moves
        count -= new
        clears = words[CLEARS]
        alive = (count & clears) | (alive & ~clears)
        last = number
    if bad:
        return np.int64(-1)
    state[ORDERS], state[ALIVE], state[RANK], state[MOVED] = count, alive, rank, moved
    state[LAST], state[LAST_ADDED], state[LAST_OTHER] = last, added_id, other_id
    state[PRICES], state[PRICES + 1], state[EDGES], state[EDGES + 1] = bid_price, ask_price, bid_edge, ask_edge
    state[ROW_PRICE], state[ROW_SIZE], state[CHANGE] = row_price, row_size, change
    state[AGES], state[AGES + 1], state[AGES + 2] = np.int64(at_age), np.int64(at_added), np.int64(at_other)
    state[AGES + 3], state[AGES + 4] = np.int64(at_price), np.int64(at_size)
    state[AGES + 5], state[AGES + 6] = np.int64(at_level), np.int64(at_level_size)
    return np.int64(out)


@numba.njit(cache=True, nogil=True)
def write_rows(
    rows: Any,
    plan: Any,
    shapes: Any,
    begin: Any,
    end: Any,
    groups: Any,
    splits: Any,
    prices: Any,
    sizes: Any,
    sides: Any,
    ids: Any,
    state: Any,
    out: Any,
    at: Any,
) -> None:
    """Write the records of rows [begin, end), followed by :func:`follow_rows`, to words out[at:] (written).

    groups int64[7, g] are ts_recv, ts_event, source_index, line, sequence, sequence_first, sequence_previous of runs
    of rows; that they and the splits suffice was told by :func:`survey_rows`. Sides are 0 where the shape has them.
    """
    opens, inner, group, taken = 1 - state[IN_EVENT], state[IN_GROUP], state[GROUPS] - 1, state[SPLITS]
    ordinal_step, source_step = state[STEP] & 1, state[STEP] >> 1
    split = splits[taken] if taken < len(splits) else np.int64(-1)
    word, row_words = np.uint64(at), np.uint64(ROW_WORDS)
    for row in range(begin, end):
        shape, place = np.uint64(rows[row]), np.uint64(row - begin)
        if row == split:
            opens = np.int64(1)
            taken += 1
            split = splits[taken] if taken < len(splits) else np.int64(-1)
        group += opens
        inner = (inner + 1) & (opens - 1)
        own = np.uint64(group)
        price, size = prices[place], sizes[place]
        level = -plan[shape, IS_DELTA]
        out[word] = shapes[shape, 0] | np.int64(sides[place]) << SIDE_SHIFT
        out[word + np.uint64(1)], out[word + np.uint64(2)] = groups[0, own], groups[1, own]
        out[word + np.uint64(3)] = groups[2, own] + source_step * row
        out[word + np.uint64(4)] = groups[3, own] + ((ordinal_step * inner) << 48)
        out[word + np.uint64(5)] = groups[4, own]
        out[word + np.uint64(6)] = (price & level) | (ids[place] & ~level)
        out[word + np.uint64(7)] = (size & level) | (price & ~level)
        out[word + np.uint64(8)] = (groups[5, own] & level) | (size & ~level)
        out[word + np.uint64(9)] = (groups[6, own] & level) | (shapes[shape, 1] & ~level)
        opens = plan[shape, ENDS]
        word += row_words
    state[IN_EVENT], state[IN_GROUP], state[GROUPS], state[SPLITS] = 1 - opens, inner, group + 1, taken


@numba.njit(cache=True, nogil=True)
def spread_groups(values: Any, sizes: Any, out: Any) -> None:
    """Write each group's value int64[g] to as many rows as sizes int64[g] tells: out (written in runs)."""
    row = np.uint64(0)
    for group in range(len(sizes)):
        stop = row + np.uint64(sizes[group])
        fill(out, row, stop, values[group])
        row = stop


@numba.njit(cache=True, nogil=True)
def row_numbers(rows: Any, plan: Any, begin: Any, end: Any, places: Any, base: Any, out: Any) -> None:
    """Write `base`, the row's number and that of the records beside that come before it: out int64[m + 1] (written).

    places int64[d], ascending: the number of rows before each such record.
    """
    beside, place = np.int64(0), np.uint64(0)
    for row in range(begin, end):
        while beside < len(places) and places[beside] <= row:
            beside += 1
        out[place] = base + row + beside
        place += np.uint64(plan[np.uint64(rows[row]), WANTED])


@numba.njit(cache=True, nogil=True)
def shape_bytes(rows: Any, plan: Any, begin: Any, end: Any, of: Any, out: Any) -> None:
    """Write what `of` u8[s] says of each row's shape: out u8[m + 1] (written)."""
    place = np.uint64(0)
    for row in range(begin, end):
        shape = np.uint64(rows[row])
        out[place] = of[shape]
        place += np.uint64(plan[shape, WANTED])


@numba.njit(cache=True, nogil=True)
def event_flags(
    rows: Any, plan: Any, begin: Any, end: Any, places: Any, ends: Any, of: Any, last: Any, out: Any
) -> None:
    """Write each row's flags, `last` on the last row of an event that is asked for: out u8[m + 1] (written).

    places int64[d] and ends u8[d]: the rows before each other record, and 1 where an event ends with it; of u8[s]
    the flags of shapes but for `last`.
    """
    beside, place, opened = np.int64(0), np.uint64(0), np.uint8(0)
    one = np.uint64(1)
    while beside < len(places) and places[beside] <= begin:
        beside += 1
    for row in range(begin, end):
        while beside < len(places) and places[beside] <= row:
            if ends[beside] and opened:
                out[place - one] |= last
                opened = np.uint8(0)
            beside += 1
        shape = np.uint64(rows[row])
        wants = plan[shape, WANTED]
        out[place] = of[shape]
        place += np.uint64(wants)
        opened |= np.uint8(wants)
        if plan[shape, ENDS]:
            if opened:
                out[place - one] |= last
            opened = np.uint8(0)
    while opened and beside < len(places) and places[beside] <= end:
        if ends[beside]:
            out[place - one] |= last
            opened = np.uint8(0)
        beside += 1
