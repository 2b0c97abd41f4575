"""Kernels that bring one side of a book from one snapshot to the next."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = [
    "is_proper",
    "latest_changes",
    "merge_changes",
    "pack_changes",
]


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
