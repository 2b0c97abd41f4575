"""Kernels that carry the book of an instrument from snapshot to snapshot, to see which snapshots follow.

Near the touch a side is a ladder: one size for each tick of a window, 0 where there is no level. Prices outside the
window, and those between ticks, are in a hash table.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = [
    "FULL",
    "GROUP",
    "NO_PRICE",
    "ROW",
    "STATES",
    "apply_groups",
    "fill_book",
    "follow",
    "follows",
    "proper_levels",
]

NO_PRICE = -0x8000000000000000
"""No proper book has a level there."""
GROUP, ROW, FULL, STATES = 4, 5, 6, 7
"""Words of the state of a book: the next group, its first row, whether a table became full; how many there are."""


@numba.njit(cache=True, nogil=True)
def _rung(price: Any, origin: Any, shift: Any, inverse: Any) -> Any:
    """Return how many ticks `price` is above `origin`, u64; more than any ladder has where that is no whole number.

    A tick is 2**shift times an odd number whose inverse modulo 2**64 is `inverse` (H. Warren, "Hacker's Delight",
    10-17: what is no multiple has its lowest bits turned to the top). Each rung belongs to one price modulo 2**64.
    """
    product = np.uint64(price - origin) * inverse
    return (product >> np.uint64(shift)) | (product << np.uint64((64 - shift) & 63))


@numba.njit(cache=True, nogil=True)
def _slot(books: Any, half: Any, price: Any, shift: Any, inverse: Any) -> Any:
    """Return where `price` is or belongs in one side's table: books int64[2, t, 2].

    Open, hashed by multiplication (Knuth, TAOCP 6.4), but that prices of eight neighbouring ticks stay side by side:
    changes come in the order of prices, and so do levels. The next place to try is in the next eight: where two
    eights meet, each price of the second one is moved once.
    """
    mask = np.uint64(books.shape[1] - 1)
    tick = np.uint64(price >> shift) * inverse
    at = ((tick >> np.uint64(3)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    at = ((at << np.uint64(3)) | (tick & np.uint64(7))) & mask
    while True:
        known = books[half, at, 0]
        if known in (price, NO_PRICE):
            return at
        at = (at + np.uint64(9)) & mask


@numba.njit(cache=True, nogil=True)
def proper_levels(levels: Any, bids: Any, bound: Any, origin: Any, shift: Any, inverse: Any, rungs: Any) -> Any:
    """Return how many of levels int64[n, 2] are outside a ladder of so many rungs, -1 where they are not proper.

    Proper are levels that are strictly ordered by side, bids first, within `bound`, with no size of 0.
    """
    bad, outside, most = False, np.int64(0), np.uint64(rungs)
    for row in range(len(levels)):
        price = levels[row, 0]
        bad |= price < -bound or price > bound or levels[row, 1] == 0
        outside += np.int64(_rung(price, origin, shift, inverse) >= most)
    for row in range(1, bids):
        bad |= levels[row, 0] >= levels[row - 1, 0]
    for row in range(bids + 1, len(levels)):
        bad |= levels[row, 0] <= levels[row - 1, 0]
    return np.int64(-1) if bad else outside


@numba.njit(cache=True, nogil=True)
def fill_book(
    levels: Any, bids: Any, origin: Any, shift: Any, inverse: Any, ladder: Any, books: Any, state: Any
) -> Any:
    """Put proper levels int64[n, 2] into an empty book (see :func:`apply_groups`); False where a table is full."""
    rungs, full = np.uint64(ladder.shape[1]), books.shape[1] * 3 // 4
    for side in range(2):
        half, used = np.uint64(side), np.int64(0)
        first, end = (0, bids) if side == 0 else (bids, len(levels))
        for row in range(first, end):
            price, size = levels[row, 0], levels[row, 1]
            rung = _rung(price, origin, shift, inverse)
            if rung < rungs:
                ladder[half, rung] = size
                continue
            if used == full:
                return False
            used += 1
            at = _slot(books, half, price, shift, inverse)
            books[half, at, 0] = price
            books[half, at, 1] = size
        state[side], state[2 + side] = end - first, used
    return True


@numba.njit(cache=True, nogil=True)
def apply_groups(
    prices: Any,
    sizes: Any,
    counts: Any,
    start: Any,
    stop: Any,
    row: Any,
    bound: Any,
    origin: Any,
    shift: Any,
    inverse: Any,
    ladder: Any,
    books: Any,
    state: Any,
) -> Any:
    """Apply the rows of groups [start, stop), the first of which is `row`; return the row after the last.

    -1 when a table may become full or a price is beyond `bound`. prices and sizes int64[n], counts int64[2, g] (bids,
    asks). The book is the caller's: ladder int64[2, w] (sizes of the w ticks from `origin` on, all within `bound`;
    zeros at first), books int64[2, t, 2] (t a power of two; price, size; NO_PRICE where free) for what is outside,
    state int64[4] (live levels of each side, used slots of each). `shift` and `inverse` divide by a tick. 2 ns a row.
    """
    rungs, full = np.uint64(ladder.shape[1]), books.shape[1] * 3 // 4
    wide = False
    for group in range(start, stop):
        for side in range(2):
            half, end = np.uint64(side), row + counts[side, group]
            live = state[side]
            for each in range(row, end):
                price, size = prices[each], sizes[each]
                rung = _rung(price, origin, shift, inverse)
                if rung < rungs:
                    held = ladder[half, rung]
                    ladder[half, rung] = size
                else:
                    wide |= price < -bound or price > bound
                    at = _slot(books, half, price, shift, inverse)
                    held = books[half, at, 1]
                    if books[half, at, 0] == NO_PRICE:
                        held = np.int64(0)
                        state[2 + side] += 1
                        if state[2 + side] > full:
                            return np.int64(-1)
                    books[half, at, 0] = price
                    books[half, at, 1] = size
                live += np.int64(size != 0) - np.int64(held != 0)
            state[side] = live
            row = end
    return np.int64(-1) if wide else row


@numba.njit(cache=True, nogil=True)
def follows(
    levels: Any,
    bids: Any,
    bound: Any,
    origin: Any,
    shift: Any,
    inverse: Any,
    ladder: Any,
    books: Any,
    state: Any,
) -> Any:
    """Tell whether levels int64[n, 2] are proper and all of the book's. Some 2 ns a level."""
    if state[0] != bids or state[1] != len(levels) - bids:
        return False
    rungs = np.uint64(ladder.shape[1])
    same = True
    for side in range(2):
        half = np.uint64(side)
        first, end = (0, bids) if side == 0 else (bids, len(levels))
        before = np.int64(0)
        for row in range(first, end):
            price, size = levels[row, 0], levels[row, 1]
            rising = price > before if side else price < before
            same &= rising or row == first
            before = price
            rung = _rung(price, origin, shift, inverse)
            if rung < rungs:
                same &= ladder[half, rung] == size
            else:
                at = _slot(books, half, price, shift, inverse)
                same &= -bound <= price <= bound and books[half, at, 0] == price and books[half, at, 1] == size
            same &= size != 0
    return same


@numba.njit(cache=True, nogil=True)
def follow(
    words: Any,
    snapshots: Any,
    prices: Any,
    sizes: Any,
    counts: Any,
    bound: Any,
    origin: Any,
    shift: Any,
    inverse: Any,
    ladder: Any,
    books: Any,
    state: Any,
) -> Any:
    """Carry a book from snapshot to snapshot; return how many of them follow, one after the other.

    snapshots int64[4, s]: the word of words int64[n] at which its levels begin, bids, asks, the group before which it
    stands. state int64[STATES] says how far the book has come; for the rest see :func:`apply_groups`.
    """
    for number in range(snapshots.shape[1]):
        place, bids = snapshots[3, number], snapshots[1, number]
        row = apply_groups(
            prices,
            sizes,
            counts,
            state[GROUP],
            place,
            state[ROW],
            bound,
            origin,
            shift,
            inverse,
            ladder,
            books,
            state,
        )
        if row < 0:
            state[FULL] = 1
            return number
        state[GROUP], state[ROW] = place, row
        begin, levels = snapshots[0, number], bids + snapshots[2, number]
        stored = words[begin : begin + 2 * levels].reshape((levels, 2))
        if not follows(stored, bids, bound, origin, shift, inverse, ladder, books, state):
            return number
    return snapshots.shape[1]
