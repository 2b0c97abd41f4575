"""Kernels over one book held in arrays.

A book is ``levels`` int64[4, capacity] (rows: bid keys, bid sizes, ask keys, ask sizes) and ``counts`` int64[2],
both owned by the caller. Keys ascend, the best level is last; the key of a bid is its price, of an ask minus its
price, so one body serves both sides. Real updates cluster at the best price: the search gallops from there.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.etl.kernels.moving import shift

__all__ = ["apply_levels", "load_levels", "set_level", "truncate"]

ASK = 65
BID = 66
"""``Side`` values as plain constants: kernels are cached with them, the cache is keyed by the layout's source."""


@numba.njit(cache=True, nogil=True, inline="never")
def set_level(levels: Any, counts: Any, side: int, price: int, size: int) -> None:
    """Set one level; size 0 deletes; a side that is neither bid nor ask changes nothing. O(log n + moved levels).

    The caller guarantees room for one more level.
    """
    if side == BID:
        row, key = 0, price
    elif side == ASK:
        row, key = 2, -price
    else:
        return
    keys, sizes = levels[row], levels[row + 1]
    count = counts[row >> 1]
    high, step = count, 1
    while high - step >= 0 and keys[high - step] >= key:
        high -= step
        step <<= 1
    low = high - step + 1 if high - step >= 0 else 0
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < count and keys[low] == key:
        if size != 0:
            sizes[low] = size
            return
        shift(keys, low + 1, count, -1)
        shift(sizes, low + 1, count, -1)
        counts[row >> 1] = count - 1
        return
    if size == 0:
        return
    shift(keys, low, count, 1)
    shift(sizes, low, count, 1)
    keys[low] = key
    sizes[low] = size
    counts[row >> 1] = count + 1


@numba.njit(cache=True, nogil=True, inline="never")
def truncate(levels: Any, counts: Any, depth: int) -> None:
    """Drop the worst levels beyond `depth` (0 = unlimited) on both sides. O(levels) when it drops."""
    if depth <= 0:
        return
    for half in range(2):
        surplus = counts[half] - depth
        if surplus > 0:
            keys, sizes = levels[2 * half], levels[2 * half + 1]
            shift(keys, surplus, counts[half], -surplus)
            shift(sizes, surplus, counts[half], -surplus)
            counts[half] = depth


@numba.njit(cache=True, nogil=True)
def apply_levels(levels: Any, counts: Any, sides: Any, prices: Any, sizes: Any) -> None:
    """Apply level updates in order. sides uint8[n], prices and sizes int64[n]; room for n more levels per side."""
    for position in range(len(prices)):
        set_level(levels, counts, sides[position], prices[position], sizes[position])


@numba.njit(cache=True, nogil=True)
def load_levels(levels: Any, counts: Any, words: Any, first: int, bids: int, asks: int) -> bool:
    """Load a snapshot's levels: int64 (price, size) pairs from word `first` on, bids then asks, best first.

    Returns False, with the book undone, where a size is zero or the prices are not in that order: such levels must be
    sorted. The caller guarantees room for the larger side and `words` for both. O(levels).
    """
    at = first
    for half in range(2):
        count = bids if half == 0 else asks
        sign = 1 if half == 0 else -1
        keys, sizes = levels[2 * half], levels[2 * half + 1]
        counts[half] = count
        for place in range(count - 1, -1, -1):
            key, size = sign * words[at], words[at + 1]
            if size == 0 or (place < count - 1 and key >= keys[place + 1]):
                counts[:] = 0
                return False
            keys[place] = key
            sizes[place] = size
            at += 2
    return True
