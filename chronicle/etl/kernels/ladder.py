"""Kernels over a tick ladder: the levels near the touch by direct index, everything else in the sorted arrays.

Four of five updates of a real BTC book insert or delete a level, which moves the levels behind it in a sorted array;
nine of ten lie within 16,384 ticks of the best price. There a level is one word and one bit. A ladder is a tuple:

- ``sizes`` int64[2, slots]: size at slot ``(key - base) / quantum`` of bids and asks, 0 where there is no level;
- ``bits`` uint64[2, slots / 64]: which slots are in use;
- ``meta`` int64[META];
- ``inverse`` float64[1]: 1 / quantum. It only proposes a slot, which is then checked in integers.

Keys are those of :mod:`chronicle.etl.kernels.levels`: they ascend to the best price on both sides. A key outside the
window, or off the quantum's grid, lives in ``levels`` and ``counts`` (the overflow), which have room for all.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chronicle.etl.kernels.levels import ASK, BID, set_level

__all__ = ["apply_ladder", "apply_records", "best_key", "copy_side", "lift", "settle"]

KIND_BOOK_DELTA = 32

ON = 0
QUANTUM = 1
SPAN = 2
"""Width of the window: slots * quantum."""
OVERFLOW = 3
UPDATES = 4
BASE = 5
USED = 7
TOP = 9
"""Of each side: the word of `bits` above which no bit is set."""
META = 11


@numba.njit(cache=True, nogil=True)
def apply_ladder(
    levels: Any, counts: Any, ladder: Any, sides: Any, prices: Any, sizes: Any, first: int, end: int
) -> None:
    """Apply level updates [first, end) in order, as ``set_level`` does; the ladder may be off.

    sides uint8[n], prices and sizes int64[n]; there is room for all.
    """
    slots, bits, meta, inverses = ladder
    overflow = end - first
    if meta[ON] != 0:
        overflow = _in_window(slots, bits, meta, inverses[0], sides, prices, sizes, first, end)
    if overflow:  # a price is in or out for as long as the window stands, so that order between the two is free
        for position in range(first, end):
            if _is_outside(meta, inverses[0], sides[position], prices[position]):
                set_level(levels, counts, sides[position], prices[position], sizes[position])
    meta[OVERFLOW] += overflow
    meta[UPDATES] += end - first


@numba.njit(cache=True, nogil=True)
def apply_records(levels: Any, counts: Any, ladder: Any, out: Any, out_starts: Any, first: int, end: int) -> None:
    """Apply the BOOK_DELTA records [first, end) of a block; as :func:`apply_ladder`."""
    slots, bits, meta, inverses = ladder
    overflow = end - first
    if meta[ON] != 0:
        overflow = _records_in_window(slots, bits, meta, inverses[0], out, out_starts, first, end)
    if overflow:
        for number in range(first, end):
            at = out_starts[number]
            side = (out[at] >> 56) & 0xFF
            if (out[at] >> 32) & 0xFFFF == KIND_BOOK_DELTA and _is_outside(meta, inverses[0], side, out[at + 6]):
                set_level(levels, counts, side, out[at + 6], out[at + 7])
    meta[OVERFLOW] += overflow
    meta[UPDATES] += end - first


@numba.njit(cache=True, nogil=True)
def _is_outside(meta: Any, inverse: float, side: int, price: int) -> bool:
    """Return whether a price belongs to the overflow (a remainder by division would cost 10 ns)."""
    if meta[ON] == 0:
        return True
    key, base = (price, meta[BASE]) if side == BID else (-price, meta[BASE + 1])
    if key < base or key >= base + meta[SPAN]:
        return True
    distance = key - base
    return bool(np.int64(distance * inverse + 0.5) * meta[QUANTUM] != distance)


# The next two differ in where an update is read, and the body between is written twice: shared as a function, or
# inlined by numba, it costs 50 to 100 ns an update instead of 17, all of it in counting references to the arrays.


@numba.njit(cache=True, nogil=True)
def _in_window(
    slots: Any, bits: Any, meta: Any, inverse: float, sides: Any, prices: Any, sizes: Any, first: int, end: int
) -> int:
    """Apply the updates in the window; return how many lie outside."""
    span, quantum, overflow = meta[SPAN], meta[QUANTUM], 0
    for position in range(first, end):
        size = sizes[position]
        if sides[position] == BID:
            half, key = 0, prices[position]
        elif sides[position] == ASK:
            half, key = 1, -prices[position]
        else:
            continue
        base = meta[BASE + half]
        if key < base or key >= base + span:
            overflow += 1
            continue
        distance = key - base
        slot = np.int64(distance * inverse + 0.5)
        if slot * quantum != distance:
            overflow += 1
            continue
        old = slots[half, slot]
        slots[half, slot] = size
        if (old == 0) != (size == 0):
            word = slot >> 6
            bits[half, word] ^= np.uint64(1) << np.uint64(slot & 63)
            if old == 0:
                meta[USED + half] += 1
                if word > meta[TOP + half]:
                    meta[TOP + half] = word
            else:
                meta[USED + half] -= 1
    return overflow


@numba.njit(cache=True, nogil=True)
def _records_in_window(
    slots: Any, bits: Any, meta: Any, inverse: float, out: Any, out_starts: Any, first: int, end: int
) -> int:
    """Apply the deltas in the window; return how many lie outside.

    The loop's body is that of the columns' twin above, written out: a helper that takes the arrays costs 20 to 80 ns
    of reference counting a level, more than the level itself.
    """
    span, quantum, overflow = meta[SPAN], meta[QUANTUM], 0
    for number in range(first, end):
        at = out_starts[number]
        head = out[at]
        if (head >> 32) & 0xFFFF != KIND_BOOK_DELTA:
            continue
        size, side = out[at + 7], (head >> 56) & 0xFF
        if side == BID:
            half, key = 0, out[at + 6]
        elif side == ASK:
            half, key = 1, -out[at + 6]
        else:
            continue
        base = meta[BASE + half]
        if key < base or key >= base + span:
            overflow += 1
            continue
        distance = key - base
        slot = np.int64(distance * inverse + 0.5)
        if slot * quantum != distance:
            overflow += 1
            continue
        old = slots[half, slot]
        slots[half, slot] = size
        if (old == 0) != (size == 0):
            word = slot >> 6
            bits[half, word] ^= np.uint64(1) << np.uint64(slot & 63)
            if old == 0:
                meta[USED + half] += 1
                if word > meta[TOP + half]:
                    meta[TOP + half] = word
            else:
                meta[USED + half] -= 1
    return overflow


@numba.njit(cache=True, nogil=True)
def _gcd(one: int, other: int) -> int:
    while other:
        one, other = other, one % other
    return one


@numba.njit(cache=True, nogil=True)
def lift(levels: Any, counts: Any, ladder: Any, sample: int) -> None:
    """Move the levels of both sides that lie in the window from the (whole) sorted arrays into the empty ladder.

    The quantum is the greatest common divisor of the best `sample` prices of each side; the best price comes to three
    quarters of the window, because it moves both ways while levels lie behind it. O(levels).
    """
    sizes, bits, meta, inverse = ladder
    slots = sizes.shape[1]
    quantum = 0
    for half in range(2):
        for number in range(max(0, counts[half] - sample), counts[half]):
            quantum = _gcd(quantum, abs(levels[2 * half, number]))
    if quantum == 0 or quantum > (1 << 60) // slots:
        return
    meta[QUANTUM], meta[SPAN] = quantum, quantum * slots
    inverse[0] = 1.0 / quantum
    meta[OVERFLOW] = meta[UPDATES] = 0
    for half in range(2):
        if counts[half] and abs(levels[2 * half, counts[half] - 1]) > 1 << 61:
            return
    meta[ON] = 1
    for half in range(2):
        keys, held = levels[2 * half], levels[2 * half + 1]
        count, kept, used = counts[half], 0, 0
        best = keys[count - 1] if count else 0
        if not count and counts[1 - half]:
            best = -levels[2 * (1 - half), counts[1 - half] - 1]
        base = best - quantum * (slots - (slots >> 2))
        meta[BASE + half] = base
        meta[TOP + half] = 0
        for number in range(count):
            key = keys[number]
            if base <= key < base + meta[SPAN] and (key - base) % quantum == 0:
                slot = (key - base) // quantum
                sizes[half, slot] = held[number]
                bits[half, slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)
                meta[TOP + half] = slot >> 6
                used += 1
            else:
                keys[kept], held[kept] = key, held[number]
                kept += 1
        counts[half], meta[USED + half] = kept, used


@numba.njit(cache=True, nogil=True)
def settle(levels: Any, counts: Any, ladder: Any) -> None:
    """Move everything back into the sorted arrays; the ladder is empty and off. O(levels + slots / 64)."""
    sizes, bits, meta, _ = ladder
    meta[ON] = 0
    for half in range(2):
        keys, held = levels[2 * half], levels[2 * half + 1]
        over, used = counts[half] - 1, meta[USED + half]
        to = counts[half] + used
        counts[half] = to
        meta[USED + half] = 0
        word = meta[TOP + half]
        while used:
            left = bits[half, word]
            bits[half, word] = np.uint64(0)
            place = 63
            while left:
                while not (left >> np.uint64(place)) & np.uint64(1):
                    place -= 1
                left ^= np.uint64(1) << np.uint64(place)
                slot = (word << 6) + place
                key = meta[BASE + half] + slot * meta[QUANTUM]
                while over >= 0 and keys[over] > key:
                    to -= 1
                    keys[to], held[to] = keys[over], held[over]
                    over -= 1
                to -= 1
                keys[to], held[to] = key, sizes[half, slot]
                sizes[half, slot] = 0
                used -= 1
            word -= 1


@numba.njit(cache=True, nogil=True)
def best_key(levels: Any, counts: Any, ladder: Any, half: int, out: Any) -> bool:
    """Put the best (key, size) of a side into out int64[2]; False when there is none. O(1) but for empty words."""
    sizes, bits, meta, _ = ladder
    count = counts[half]
    found = bool(count > 0)
    if found:
        out[0], out[1] = levels[2 * half, count - 1], levels[2 * half + 1, count - 1]
    if meta[ON] == 0 or meta[USED + half] == 0:
        return found
    word = meta[TOP + half]
    while not bits[half, word]:
        word -= 1
    meta[TOP + half] = word
    place = 63
    while not (bits[half, word] >> np.uint64(place)) & np.uint64(1):
        place -= 1
    slot = (word << 6) + place
    key = meta[BASE + half] + slot * meta[QUANTUM]
    if not found or key > out[0]:
        out[0], out[1] = key, sizes[half, slot]
    return True


@numba.njit(cache=True, nogil=True)
def copy_side(levels: Any, counts: Any, ladder: Any, half: int, sign: int, out: Any) -> None:
    """Write the best levels of a side, (sign * key, size), best first into out int64[n, 2]; it has that many.

    The arrays and the ladder are merged; nothing is moved. O(n + empty words).
    """
    slots, bits, meta, _ = ladder
    keys, held = levels[2 * half], levels[2 * half + 1]
    over, used = counts[half] - 1, meta[USED + half] if meta[ON] != 0 else 0
    word = meta[TOP + half]
    left = bits[half, word] if used else np.uint64(0)
    place, written, wanted = 63, 0, out.shape[0]
    while written < wanted:
        slot, key = 0, 0
        if used:
            while not left:
                word -= 1
                left, place = bits[half, word], 63
            while not (left >> np.uint64(place)) & np.uint64(1):
                place -= 1
            slot = (word << 6) + place
            key = meta[BASE + half] + slot * meta[QUANTUM]
        if used and (over < 0 or key > keys[over]):
            out[written, 0], out[written, 1] = sign * key, slots[half, slot]
            left ^= np.uint64(1) << np.uint64(place)
            used -= 1
        else:
            out[written, 0], out[written, 1] = sign * keys[over], held[over]
            over -= 1
        written += 1
