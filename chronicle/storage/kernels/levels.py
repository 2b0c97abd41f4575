"""Kernels that bring one side of a book from one snapshot to the next."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = [
    "apply_groups",
    "fill_book",
    "follows",
    "is_proper",
    "latest_changes",
    "merge_changes",
    "pack_changes",
]

NO_PRICE = -0x8000000000000000
"""No proper book has a level there."""


@numba.njit(cache=True, nogil=True)
def pack_changes(
    prices: Any, sides: Any, side: Any, sign: Any, start: Any, stop: Any, low: Any, shift: Any, out: Any
) -> Any:
    """Write (sign * price - low) << shift | row for the rows [start, stop) of `side`; return how many.

    prices int64[n], sides u8[n]; out int64[stop - start] (the caller's). Sorted, the last of equal ranks is the
    latest row. The caller made sure that everything fits.
    """
    count = np.uint64(0)
    for row in range(start, stop):
        out[count] = ((sign * prices[row] - low) << shift) | (row - start)
        count += np.uint64(sides[row] == side)
    return np.int64(count)


@numba.njit(cache=True, nogil=True)
def latest_changes(changes: Any, shift: Any) -> Any:
    """Keep the last of equal ranks of sorted changes int64[c], in place; return how many are left. No branch."""
    count = np.uint64(0)
    for row in range(len(changes) - 1):
        key = changes[row]
        changes[count] = key
        count += np.uint64((key ^ changes[row + 1]) >> shift != 0)
    if len(changes):
        changes[count] = changes[len(changes) - 1]
        count += np.uint64(1)
    return np.int64(count)


@numba.njit(cache=True, nogil=True)
def merge_changes(base: Any, changes: Any, sizes: Any, sign: Any, start: Any, low: Any, shift: Any, out: Any) -> Any:
    """Merge a side's levels with its sorted changes; return how many levels there are, at most len(out) of them.

    base int64[b, 2] (price, size), best first, without a size of 0; changes int64[c] of :func:`latest_changes`; sizes
    int64[n] by row. out int64[limit, 2] is the caller's. Size 0 removes a price. O(b + c), some 3 ns each: which of
    the two comes next is chance, so that it is chosen without a branch.
    """
    count, at, old = np.uint64(0), np.uint64(0), np.uint64(0)
    levels, many, limit = np.uint64(len(base)), np.uint64(len(changes)), np.uint64(len(out))
    mask = (np.int64(1) << shift) - 1
    one = np.uint64(1)
    while old < levels and at < many and count < limit:
        mine, key = sign * base[old, 0], changes[at]
        rank = (key >> shift) + low
        kept, same = mine < rank, mine == rank
        size = base[old, 1] if kept else sizes[start + (key & mask)]
        out[count, 0] = sign * (mine if kept else rank)
        out[count, 1] = size
        count += np.uint64(size != 0)
        old += np.uint64(kept) | np.uint64(same)
        at += one - np.uint64(kept)
    while old < levels and count < limit:
        out[count, 0], out[count, 1] = base[old, 0], base[old, 1]
        count += one
        old += one
    while at < many and count < limit:
        key = changes[at]
        size = sizes[start + (key & mask)]
        out[count, 0], out[count, 1] = sign * ((key >> shift) + low), size
        count += np.uint64(size != 0)
        at += one
    return np.int64(count)


@numba.njit(cache=True, nogil=True)
def is_proper(levels: Any, bids: Any, bound: Any) -> Any:
    """Tell whether levels int64[n, 2], bids first, are strictly ordered by side, within bounds, with no size of 0."""
    bad = False
    for row in range(len(levels)):
        price = levels[row, 0]
        bad |= price < -bound or price > bound or levels[row, 1] == 0
    for row in range(1, bids):
        bad |= levels[row, 0] >= levels[row - 1, 0]
    for row in range(bids + 1, len(levels)):
        bad |= levels[row, 0] <= levels[row - 1, 0]
    return not bad


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
def fill_book(levels: Any, bids: Any, shift: Any, inverse: Any, books: Any, state: Any) -> Any:
    """Put proper levels int64[n, 2] into empty tables (see :func:`apply_groups`); False when they are full."""
    full = books.shape[1] * 3 // 4
    if bids > full or len(levels) - bids > full:
        return False
    for row in range(len(levels)):
        half = np.uint64(row >= bids)
        at = _slot(books, half, levels[row, 0], shift, inverse)
        books[half, at, 0] = levels[row, 0]
        books[half, at, 1] = levels[row, 1]
    state[0] = state[2] = bids
    state[1] = state[3] = len(levels) - bids
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
    shift: Any,
    inverse: Any,
    books: Any,
    state: Any,
) -> Any:
    """Apply the rows of groups [start, stop), the first of which is `row`; return the row after the last.

    -1 when a table may become full or a price is beyond `bound`. prices and sizes int64[n], counts int64[2, g] (bids,
    asks). books int64[2, t, 2] (t a power of two; price, size; NO_PRICE where free) and state int64[4] (live levels
    of each side, used slots of each) are the caller's. `shift` and `inverse` divide by a tick, about. 4 ns a row.
    """
    full = books.shape[1] * 3 // 4
    wide = False
    for group in range(start, stop):
        for side in range(2):
            half, end = np.uint64(side), row + counts[side, group]
            live, used = state[side], state[2 + side]
            if used + end - row > full:
                return np.int64(-1)
            for each in range(row, end):
                price, size = prices[each], sizes[each]
                wide |= price < -bound or price > bound
                at = _slot(books, half, price, shift, inverse)
                fresh = books[half, at, 0] == NO_PRICE
                held = np.int64(0) if fresh else books[half, at, 1]
                books[half, at, 0] = price
                books[half, at, 1] = size
                used += np.int64(fresh)
                live += np.int64(size != 0) - np.int64(held != 0)
            state[side], state[2 + side] = live, used
            row = end
    return np.int64(-1) if wide else row


@numba.njit(cache=True, nogil=True)
def follows(levels: Any, bids: Any, bound: Any, shift: Any, inverse: Any, books: Any, state: Any) -> Any:
    """Tell whether levels int64[n, 2] are proper and all of the book's. Some 2 ns a level."""
    if state[0] != bids or state[1] != len(levels) - bids or not is_proper(levels, bids, bound):
        return False
    same = True
    for row in range(len(levels)):
        half = np.uint64(row >= bids)
        at = _slot(books, half, levels[row, 0], shift, inverse)
        same &= (books[half, at, 0] == levels[row, 0]) & (books[half, at, 1] == levels[row, 1])
    return same
