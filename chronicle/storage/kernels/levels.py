"""Kernels that bring one side of a book from one snapshot to the next."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["is_proper", "merge_changes", "pack_changes"]


@numba.njit(cache=True, nogil=True)
def pack_changes(
    prices: Any, sides: Any, side: Any, sign: Any, start: Any, stop: Any, low: Any, shift: Any, out: Any
) -> Any:
    """Write (sign * price - low) << shift | row for the rows [start, stop) of `side`; return how many.

    prices int64[n], sides u8[n]; out int64[stop - start] (the caller's). Sorted, the last of equal ranks is the
    latest row. The caller made sure that everything fits.
    """
    count = 0
    for row in range(start, stop):
        if sides[row] == side:
            out[count] = ((sign * prices[row] - low) << shift) | (row - start)
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def merge_changes(base: Any, changes: Any, sizes: Any, sign: Any, start: Any, low: Any, shift: Any, out: Any) -> Any:
    """Merge a side's levels with its sorted changes; return how many levels there are, at most len(out) of them.

    base int64[b, 2] (price, size), best first; changes int64[c] of :func:`pack_changes`, sorted; sizes int64[n] by
    row. out int64[limit, 2] is the caller's. The last size of a price counts, 0 removes it. O(b + c), some 3 ns each.
    """
    count, at, old = 0, 0, 0
    mask = (np.int64(1) << shift) - 1
    while count < len(out):
        if at < len(changes):
            while at + 1 < len(changes) and changes[at + 1] >> shift == changes[at] >> shift:
                at += 1
            rank = (changes[at] >> shift) + low
        elif old >= len(base):
            break
        else:
            rank = np.int64(0x7FFFFFFFFFFFFFFF)
        if old < len(base) and sign * base[old, 0] < rank:
            out[count, 0] = base[old, 0]
            out[count, 1] = base[old, 1]
            count += 1
            old += 1
            continue
        if old < len(base) and sign * base[old, 0] == rank:
            old += 1
        size = sizes[start + (changes[at] & mask)]
        at += 1
        if size != 0:
            out[count, 0] = sign * rank
            out[count, 1] = size
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def is_proper(levels: Any, bids: Any, bound: Any) -> Any:
    """Tell whether levels int64[n, 2], bids first, are strictly ordered by side, within bounds, with no size of 0."""
    before = np.int64(0)
    for row in range(len(levels)):
        price = levels[row, 0]
        if price < -bound or price > bound or levels[row, 1] == 0:
            return False
        if 0 < row < bids and price >= before:
            return False
        if row > bids and price <= before:
            return False
        before = price
    return True
