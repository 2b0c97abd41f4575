"""Kernels over one L3 book: every resting order by its id, in the queue of its price.

Arrays, all owned by the caller (:class:`chronicle.etl.books.array_orders.ArrayOrderBook`):

- ``orders`` int64[rows, 4] and ``links`` int32[rows, 8], a view of the same bytes: words 0 id, 1 size, 2 queue;
  halves 6 and 7 the rows of the order before and after it at its price (-1: none). A free row's half 7 is the next
  free one.
- ``queues`` int64[rows, 4] and ``ends`` int32[rows, 8], a view of them: words 0 price, 1 total size; halves 4 number
  of orders, 5 side (0 bid, 1 ask), 6 first, 7 last order. A free row's half 7 is the next free one.
- ``table`` int64[2**bits]: open addressing with linear probing. An entry is the id's 32-bit hash above row + 1; 0 is
  empty. It is never more than half full. Deletion moves later entries back, so that there are no tombstones.
- ``levels``, ``counts``, ``ladder``: the prices in order, as in :mod:`chronicle.etl.kernels.ladder`, with queue + 1
  in place of a size.
- ``meta`` int64[META].

The hash is multiplicative (Knuth, The Art of Computer Programming 6.4); the deletion is algorithm R of that section.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chronicle.etl.kernels.ladder import BASE, ON, OVERFLOW, QUANTUM, SPAN, TOP, UPDATES, USED
from chronicle.etl.kernels.levels import set_level

__all__ = ["apply_orders", "find_order", "list_orders", "rehash"]

KIND_ORDER = 34
ASK = 65
BID = 66
ADD, CANCEL, FILL, MODIFY, CLEAR, TRADE = 65, 67, 70, 77, 82, 84
INT64_MAX = 2**63 - 1
PRICE_LIMIT = 1 << 62
ORDERS_MAX = 1 << 20
LOW = 0xFFFFFFFF
FACTOR = 0x61C88647
FACTOR_HIGH = 0x2545F491

# meta
ORDERS = 0
FREE_ORDER = 1
ORDERS_USED = 2
QUEUES = 3
FREE_QUEUE = 4
QUEUES_USED = 5
BITS = 6
WHY = 7
PROBLEMS = 8
"""Counters, one for each problem."""
META = 16

# Why apply_orders stopped; 1 to 7 are those of Problem.
DONE = 0
UNKNOWN_ORDER, DUPLICATE_ORDER, BAD_SIZE, BAD_PRICE, BAD_SIDE, FULL, BAD_ACTION = 1, 2, 3, 4, 5, 6, 7
NEAR = 24
"""A level so near the best comes and goes by a loop here; farther off by the search and the move of ``set_level``."""
ROOM = 100
"""No row, or no room for a level: the caller makes some and calls again at the same record."""


@numba.njit(cache=True, nogil=True)
def _clear(orders: Any, links: Any, table: Any, levels: Any, counts: Any, ladder: Any, meta: Any) -> None:
    """Forget all orders and levels; the ladder stands where it stood. O(table + slots / 64)."""
    sizes, bits, lmeta, _ = ladder
    if meta[ORDERS]:
        table[:] = 0
    if lmeta[ON] != 0:
        for half in range(2):
            if lmeta[USED + half]:
                sizes[half, :] = 0
                bits[half, :] = 0
            lmeta[USED + half] = 0
            lmeta[TOP + half] = 0
    counts[0] = counts[1] = 0
    meta[ORDERS] = meta[ORDERS_USED] = meta[QUEUES] = meta[QUEUES_USED] = 0
    meta[FREE_ORDER] = meta[FREE_QUEUE] = -1


# One long body: a helper that takes the arrays costs 20 to 80 ns of reference counting a call (kernels/ladder.py), as
# much as the whole of an update.


@numba.njit(cache=True, nogil=True)
def apply_orders(
    orders: Any,
    links: Any,
    queues: Any,
    ends: Any,
    table: Any,
    levels: Any,
    counts: Any,
    ladder: Any,
    meta: Any,
    words: Any,
    starts: Any,
    first: int,
    end: int,
    halt: int,
) -> int:
    """Apply the ORDER records [first, end) of a block; return the number of the record it stopped at, `end` if none.

    words int64[n] and starts int64[records + 1] are those of a :class:`~chronicle.etl.clean.block.Block`; other kinds
    are passed over. meta[WHY] says why it stopped: ROOM (nothing of that record was done), or, with `halt`, a problem
    (the record changed nothing and is counted; go on behind it). O(1) a record but for levels that come and go.
    """
    slots, bits, lmeta, inverses = ladder
    on, base_bid, base_ask = lmeta[ON] != 0, lmeta[BASE], lmeta[BASE + 1]
    span, quantum, inverse = lmeta[SPAN], lmeta[QUANTUM], inverses[0]
    mask, shift = (1 << meta[BITS]) - 1, 32 - meta[BITS]
    capacity, queue_capacity = len(orders), len(queues)
    outside, moves = 0, 0
    why, number = DONE, first
    while number < end:
        at = starts[number]
        head = words[at]
        if (head >> 32) & 0xFFFF != KIND_ORDER:
            number += 1
            continue
        action = words[at + 9] & 0xFF
        if action == CLEAR:
            _clear(orders, links, table, levels, counts, ladder, meta)
            number += 1
            continue
        if action != ADD and action != CANCEL and action != MODIFY:
            number += 1
            if action not in (FILL, TRADE, 0):
                meta[PROBLEMS + BAD_ACTION] += 1
                if halt != 0:
                    why = BAD_ACTION
                    number -= 1
                    break
            continue
        order_id, price, size = words[at + 6], words[at + 7], words[at + 8]
        tag = (((order_id & LOW) * FACTOR) ^ (((order_id >> 32) & LOW) * FACTOR_HIGH)) & LOW
        entry_at = tag >> shift
        row = -1
        entry = table[entry_at]
        while entry != 0:
            if (entry >> 32) & LOW == tag:
                row = (entry & LOW) - 1
                if orders[row, 0] == order_id:
                    break
                row = -1
            entry_at = (entry_at + 1) & mask
            entry = table[entry_at]
        side = (head >> 56) & 0xFF
        problem = DONE
        take, place, held, target, low = False, False, 0, -1, 0
        half = 0
        # --- what is to be done ---
        if action == CANCEL:
            if row < 0:
                problem = UNKNOWN_ORDER
            elif size < 0:
                problem = BAD_SIZE
            else:
                target = orders[row, 2]
                held = orders[row, 1]
                if size < held:
                    orders[row, 1] = held - size
                    queues[target, 1] -= size
                    number += 1
                    continue
                take = True
                half = ends[target, 5]
        else:
            if action == ADD:
                half = 0 if side == BID else 1
                if side != BID and side != ASK:
                    problem = BAD_SIDE
            elif row < 0:
                problem = UNKNOWN_ORDER
            else:
                half = ends[orders[row, 2], 5]
                if (side == BID and half == 1) or (side == ASK and half == 0):
                    problem = BAD_SIDE
            if problem == DONE:
                if price > PRICE_LIMIT or price < -PRICE_LIMIT:
                    problem = BAD_PRICE
                elif size <= 0:
                    problem = BAD_SIZE
                elif action == ADD and row >= 0:
                    problem = DUPLICATE_ORDER
            if problem == DONE:
                key, base = (price, base_bid) if half == 0 else (-price, base_ask)
                slot = np.int64(-1)
                if action == MODIFY:
                    held = orders[row, 1]
                    old = orders[row, 2]
                    if queues[old, 0] == price:
                        target = old
                        if size <= held:
                            orders[row, 1] = size
                            queues[old, 1] += size - held
                            number += 1
                            continue
                    take = True
                if target < 0:
                    if on and base <= key < base + span:
                        slot = np.int64((key - base) * inverse + 0.5)
                        if slot * quantum != key - base:
                            slot = np.int64(-1)
                    if slot >= 0:
                        target = slots[half, slot] - 1
                    else:  # gallop from the best, then halve
                        low, high, step = 0, counts[half], 1
                        while high - step >= 0 and levels[2 * half, high - step] >= key:
                            high -= step
                            step <<= 1
                        if high - step >= 0:
                            low = high - step + 1
                        while low < high:
                            middle = (low + high) >> 1
                            if levels[2 * half, middle] < key:
                                low = middle + 1
                            else:
                                high = middle
                        if low < counts[half] and levels[2 * half, low] == key:
                            target = levels[2 * half + 1, low] - 1
                place = True
                more = size - held if take and target == orders[row, 2] else size
                if target >= 0 and more > INT64_MAX - queues[target, 1]:
                    problem = BAD_SIZE
                elif action == ADD and meta[ORDERS] >= ORDERS_MAX:
                    problem = FULL
                elif (action == ADD and meta[ORDERS] >= capacity) or (
                    target < 0
                    and (meta[QUEUES] >= queue_capacity or counts[half] + lmeta[USED + half] >= levels.shape[1])
                ):
                    why = ROOM
                    break
        if problem != DONE:
            meta[PROBLEMS + problem] += 1
            if halt != 0:
                why = problem
                break
            number += 1
            continue
        # --- out of the queue ---
        if take:
            queue = orders[row, 2]
            before, after = links[row, 6], links[row, 7]
            if before >= 0:
                links[before, 7] = after
            else:
                ends[queue, 6] = after
            if after >= 0:
                links[after, 6] = before
            else:
                ends[queue, 7] = before
            queues[queue, 1] -= held
            ends[queue, 4] -= 1
            if ends[queue, 4] == 0 and not (place and queue == target):
                gone = queues[queue, 0]
                gone_key, gone_base = (gone, base_bid) if half == 0 else (-gone, base_ask)
                gone_slot = np.int64(-1)
                if on and gone_base <= gone_key < gone_base + span:
                    gone_slot = np.int64((gone_key - gone_base) * inverse + 0.5)
                    if gone_slot * quantum != gone_key - gone_base:
                        gone_slot = np.int64(-1)
                if gone_slot >= 0:
                    slots[half, gone_slot] = 0
                    bits[half, gone_slot >> 6] ^= np.uint64(1) << np.uint64(gone_slot & 63)
                    lmeta[USED + half] -= 1
                else:
                    outside += 1
                    at_level, end_level = counts[half] - 1, counts[half] - 1
                    while at_level > end_level - NEAR and at_level >= 0 and levels[2 * half, at_level] > gone_key:
                        at_level -= 1
                    if at_level >= 0 and levels[2 * half, at_level] == gone_key:
                        for place_at in range(at_level, end_level):
                            levels[2 * half, place_at] = levels[2 * half, place_at + 1]
                            levels[2 * half + 1, place_at] = levels[2 * half + 1, place_at + 1]
                        counts[half] = end_level
                    else:
                        set_level(levels, counts, BID if half == 0 else ASK, gone, 0)
                moves += 1
                ends[queue, 7] = meta[FREE_QUEUE]
                meta[FREE_QUEUE] = queue
                meta[QUEUES] -= 1
        if not place:  # the order is gone: its entry too, and later ones move back over it
            hole, probe = entry_at, entry_at
            while True:
                probe = (probe + 1) & mask
                entry = table[probe]
                if entry == 0:
                    break
                home = ((entry >> 32) & LOW) >> shift
                if ((probe - home) & mask) >= ((probe - hole) & mask):
                    table[hole] = entry
                    hole = probe
            table[hole] = 0
            links[row, 7] = meta[FREE_ORDER]
            meta[FREE_ORDER] = row
            meta[ORDERS] -= 1
            number += 1
            continue
        # --- into the queue ---
        if row < 0:
            row = meta[FREE_ORDER]
            if row >= 0:
                meta[FREE_ORDER] = links[row, 7]
            else:
                row = meta[ORDERS_USED]
                meta[ORDERS_USED] = row + 1
            meta[ORDERS] += 1
            orders[row, 0] = order_id
            table[entry_at] = tag << 32 | (row + 1)
        if target < 0:
            target = meta[FREE_QUEUE]
            if target >= 0:
                meta[FREE_QUEUE] = ends[target, 7]
            else:
                target = meta[QUEUES_USED]
                meta[QUEUES_USED] = target + 1
            meta[QUEUES] += 1
            queues[target, 0] = price
            queues[target, 1] = 0
            ends[target, 4], ends[target, 5], ends[target, 6], ends[target, 7] = 0, half, -1, -1
            if slot >= 0:
                slots[half, slot] = target + 1
                word = slot >> 6
                bits[half, word] ^= np.uint64(1) << np.uint64(slot & 63)
                lmeta[USED + half] += 1
                if word > lmeta[TOP + half]:
                    lmeta[TOP + half] = word
            else:
                outside += 1
                if action == ADD and counts[half] - low <= NEAR:
                    for place_at in range(counts[half], low, -1):
                        levels[2 * half, place_at] = levels[2 * half, place_at - 1]
                        levels[2 * half + 1, place_at] = levels[2 * half + 1, place_at - 1]
                    levels[2 * half, low], levels[2 * half + 1, low] = key, target + 1
                    counts[half] += 1
                else:
                    set_level(levels, counts, BID if half == 0 else ASK, price, target + 1)
            moves += 1
        last = ends[target, 7]
        orders[row, 1], orders[row, 2] = size, target
        links[row, 6], links[row, 7] = last, -1
        if last >= 0:
            links[last, 7] = row
        else:
            ends[target, 6] = row
        ends[target, 7] = row
        ends[target, 4] += 1
        queues[target, 1] += size
        number += 1
    meta[WHY] = why
    lmeta[OVERFLOW] += outside
    lmeta[UPDATES] += moves
    return number


@numba.njit(cache=True, nogil=True)
def rehash(old: Any, table: Any, bits: int) -> None:
    """Enter the entries of `old` into the empty `table` int64[2**bits]; it is the larger one. O(old)."""
    mask, shift = (1 << bits) - 1, 32 - bits
    for entry in old:
        if entry != 0:
            at = ((entry >> 32) & LOW) >> shift
            while table[at] != 0:
                at = (at + 1) & mask
            table[at] = entry


@numba.njit(cache=True, nogil=True)
def find_order(orders: Any, links: Any, table: Any, bits: int, order_id: int, out: Any) -> bool:
    """Put (row, size ahead of it) of an order into out int64[2]; False when it does not rest. O(orders ahead)."""
    mask, shift = (1 << bits) - 1, 32 - bits
    tag = (((order_id & LOW) * FACTOR) ^ (((order_id >> 32) & LOW) * FACTOR_HIGH)) & LOW
    at = tag >> shift
    while table[at] != 0:
        row = (table[at] & LOW) - 1
        if (table[at] >> 32) & LOW == tag and orders[row, 0] == order_id:
            out[0], out[1] = row, 0
            before = links[row, 6]
            while before >= 0:
                out[1] += orders[before, 1]
                before = links[before, 6]
            return True
        at = (at + 1) & mask
    return False


@numba.njit(cache=True, nogil=True)
def list_orders(orders: Any, links: Any, queues: Any, ends: Any, chosen: Any, out: Any) -> int:
    """Write (id, price, size, size ahead) of the orders in the `chosen` queues int64[n] into out int64[m, 4].

    In the order of `chosen`, then of arrival; return how many there are. There is room for all.
    """
    count = 0
    for queue in chosen:
        row, ahead = ends[queue, 6], 0
        while row >= 0:
            out[count, 0], out[count, 1] = orders[row, 0], queues[queue, 0]
            out[count, 2], out[count, 3] = orders[row, 1], ahead
            ahead += orders[row, 1]
            count += 1
            row = links[row, 7]
    return count
