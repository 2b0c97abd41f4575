"""One level update on a book that is known by addresses: tick ladder and sorted arrays, as their array kernels do.

Arrays as arguments cost reference counts, 20 to 80 ns an update; addresses cost nothing. ``set_level`` of
:mod:`chronicle.etl.kernels.levels` and the ladder's loops stay the form for whole columns. A book is the words of a
stream's row (:mod:`chronicle.etl.kernels.row`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from chronicle.core.kernels.memory import peek, poke
from chronicle.etl.kernels.ladder import BASE, ON, QUANTUM, SPAN, TOP, USED
from chronicle.etl.kernels.levels import ASK, BID
from chronicle.etl.kernels.row import BITS, CAPACITY, COUNTS, LEVELS, META, SLOT_COUNT, SLOTS

__all__ = ["place_level"]

_move = types.ExternalFunction("memmove", types.intp(types.intp, types.intp, types.intp))


@numba.njit(cache=True, nogil=True)
def place_level(row: Any, inverse: Any, side: Any, price: Any, size: Any) -> Any:
    """Set one level, size 0 deletes; return 1 when it lies outside the ladder. There is room for one more.

    row: address of the row; inverse: 1 / quantum of its ladder.
    """
    if side == BID:
        half, key = 0, price
    elif side == ASK:
        half, key = 1, -price
    else:
        return 0
    meta = peek(row + 8 * META)
    if peek(meta + 8 * ON) != 0:
        distance = key - peek(meta + 8 * (BASE + half))
        if 0 <= distance < peek(meta + 8 * SPAN):
            slot = np.int64(distance * inverse + 0.5)
            if slot * peek(meta + 8 * QUANTUM) == distance:
                _in_window(row, meta, half, slot, size)
                return 0
    _in_arrays(row, half, key, size)
    return 1


@numba.njit(cache=True, nogil=True)
def _in_window(row: Any, meta: Any, half: Any, slot: Any, size: Any) -> None:
    slot_count = peek(row + 8 * SLOT_COUNT)
    at = peek(row + 8 * SLOTS) + 8 * (half * slot_count + slot)
    old = peek(at)
    poke(at, size)
    if (old == 0) != (size == 0):
        word = slot >> 6
        bits = peek(row + 8 * BITS) + 8 * (half * (slot_count >> 6) + word)
        poke(bits, peek(bits) ^ (1 << (slot & 63)))
        used = meta + 8 * (USED + half)
        if old == 0:
            poke(used, peek(used) + 1)
            top = meta + 8 * (TOP + half)
            if word > peek(top):
                poke(top, word)
        else:
            poke(used, peek(used) - 1)


@numba.njit(cache=True, nogil=True)
def _in_arrays(row: Any, half: Any, key: Any, size: Any) -> None:
    """As ``set_level``: search by galloping from the best level, the last."""
    stride = 8 * peek(row + 8 * CAPACITY)
    keys = peek(row + 8 * LEVELS) + 2 * half * stride
    sizes = keys + stride
    counts = peek(row + 8 * COUNTS) + 8 * half
    count = peek(counts)
    high, step = count, 1
    while high - step >= 0 and peek(keys + 8 * (high - step)) >= key:
        high -= step
        step <<= 1
    low = high - step + 1 if high - step >= 0 else 0
    while low < high:
        middle = (low + high) >> 1
        if peek(keys + 8 * middle) < key:
            low = middle + 1
        else:
            high = middle
    at = 8 * low
    behind = 8 * (count - low)
    if low < count and peek(keys + at) == key:
        if size != 0:
            poke(sizes + at, size)
        else:
            _move(keys + at, keys + at + 8, behind - 8)
            _move(sizes + at, sizes + at + 8, behind - 8)
            poke(counts, count - 1)
    elif size != 0:
        if behind > 0:
            _move(keys + at + 8, keys + at, behind)
            _move(sizes + at + 8, sizes + at, behind)
        poke(keys + at, key)
        poke(sizes + at, size)
        poke(counts, count + 1)
