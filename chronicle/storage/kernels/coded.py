"""Prices and sizes of compacted event blocks, decoded: an adaptive binary arithmetic coder.

``docs/format/archive.md`` (Compacted event blocks) is the source: the carryless coder of M. Mahoney's lpaq (a range
of 32 bits, probabilities of 16, counts that slow adaptation), over a model of what order books do: gaps grow outward
from the touch, a size often is one that the price had before. Decisions follow one another: 250 to 370 ns a row
were measured (processor time, three BTC books, a busy machine), 15 times the ordinary encoding in the same run.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.tokens import bit_length

__all__ = ["decode_rows"]

MODELS = 1 << 18
"""Binary models; the first OWN are placed by hand, the rest by a hash of what they are of."""
OWN = 1 << 14
SLOTS = 1 << 15
"""Prices whose last sizes are known; a price takes the place of another with the same hash."""
COUNT_MASK, COUNT_MAX = 0x3FF, 255
DESCENDING, REVERSED = 1, 2
EDGE_1, EDGE_2, EDGE_3 = 3, 15, 63
LOW, HIGH, FOUND, PLACE = range(4)
"""Of the coder: the range, the code as far as it was read, bytes so far."""

FIRSTS, GAPS, SIZES, ZEROS, SAME_ONE, SAME_TWO = 0, 2048, 4096, 8192, 8448, 8704
"""Where the models of lengths and flags begin."""


@numba.njit(cache=True, nogil=True, inline="always")
def _bit(coder: Any, data: Any, models: Any, at: Any) -> Any:
    """Decode one bit with model `at`."""
    model = models[at]
    chance = np.uint64(model) >> np.uint64(16)  # of 16 bits
    chance = np.uint64(1) if chance == np.uint64(0) else chance  # (16 bits: 65535 at most)
    low, high = coder[LOW], coder[HIGH]
    middle = low + (((high - low) * chance) >> np.uint64(16))
    bit = np.int64(coder[FOUND] <= middle)
    # The probability has 22 bits above a count of 10, which slows its steps down.
    count = np.int64(model & np.uint32(COUNT_MASK))
    known = np.int64(model >> np.uint32(10))
    target = np.int64(0x3FFFFF) if bit else np.int64(0)
    known += ((target - known) * RATES[count]) >> 16
    models[at] = np.uint32(known << 10) | np.uint32(count + np.int64(count < COUNT_MAX))
    if bit:
        high = middle
    else:
        low = middle + np.uint64(1)
    while (low ^ high) & np.uint64(0xFF000000) == 0:
        place = coder[PLACE]
        following = np.uint64(data[place]) if place < np.uint64(len(data)) else np.uint64(0)
        coder[FOUND] = ((coder[FOUND] << np.uint64(8)) & np.uint64(0xFFFFFFFF)) | following
        coder[PLACE] = place + np.uint64(1)
        low = (low << np.uint64(8)) & np.uint64(0xFFFFFFFF)
        high = ((high << np.uint64(8)) & np.uint64(0xFFFFFFFF)) | np.uint64(255)
    coder[LOW], coder[HIGH] = low, high
    return bit


RATES = np.array([int(65536 / (count + 1.6)) for count in range(COUNT_MAX + 1)], dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def _word(coder: Any, data: Any, models: Any, base: Any, kind: Any) -> Any:
    """Decode a u64: how many bits it has (four decisions, six more from 15 bits on), then those below the highest."""
    node = np.int64(1)
    for _ in range(4):
        node = 2 * node + _bit(coder, data, models, base + node)
    short = node - 16
    if short == 15:
        node = np.int64(1)
        for _ in range(6):
            node = 2 * node + _bit(coder, data, models, np.int64(12288) + node)
        short = min(15 + node - 64, np.int64(64))
    if short <= 1:
        return np.uint64(short)
    found = np.uint64(1)
    key = np.uint64(kind * 64 + short)
    for number in range(short - 2, -1, -1):
        if number + 18 >= short:
            mixed = (found ^ (key << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
            at = np.int64(mixed >> np.uint64(46))
            at = at if at >= OWN else at + OWN
        else:
            at = np.int64(12416) + number  # the lowest bits of very long words
        bit = _bit(coder, data, models, at)
        found = (found << np.uint64(1)) | np.uint64(bit)
    return found


@numba.njit(cache=True, nogil=True)
def _unzigzag(word: Any) -> Any:
    return np.int64(word >> np.uint64(1)) ^ -np.int64(word & np.uint64(1))


@numba.njit(cache=True, nogil=True)
def decode_rows(
    bids: Any,
    asks: Any,
    forms: Any,
    facts: Any,
    data: Any,
    models: Any,
    slots: Any,
    coder: Any,
    prices: Any,
    sizes: Any,
) -> Any:
    """Decode the rows of all groups from data u8[m]; return the bytes of the code, which may be more than `m`.

    bids, asks int64[g], checked; forms int64[2]: DESCENDING and REVERSED. facts int64[3]: base and unit of prices,
    unit of sizes. prices, sizes int64[n] are the caller's, written. models u32[MODELS], slots int64[SLOTS + 2, 4] and
    coder u64[4] are scratch.
    """
    base, unit, size_unit = facts[0], facts[1], facts[2]
    models[:] = np.uint32(1 << 31)
    slots[:SLOTS, 3] = 0
    coder[LOW], coder[HIGH], coder[FOUND] = np.uint64(0), np.uint64(0xFFFFFFFF), np.uint64(0)
    coder[PLACE] = np.uint64(0)
    for _ in range(4):
        place = coder[PLACE]
        following = np.uint64(data[place]) if place < np.uint64(len(data)) else np.uint64(0)
        coder[FOUND] = (coder[FOUND] << np.uint64(8)) | following
        coder[PLACE] = place + np.uint64(1)
    row = np.int64(0)
    firsts, steps = slots[SLOTS], slots[SLOTS + 1]  # of bids and asks: the first price before, bits of its step
    firsts[:] = base
    steps[:] = 0
    was_zero = np.int64(0)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            if rows == 0:
                continue
            sign = np.int64(-1) if forms[half] & DESCENDING else np.int64(1)
            at, stride = (row + rows - 1, np.int64(-1)) if forms[half] & REVERSED else (row, np.int64(1))
            before = np.int64(0)
            price = np.int64(0)
            for number in range(rows):
                left = rows - 1 - number
                part = (
                    np.int64(left > 0) + np.int64(left > EDGE_1) + np.int64(left > EDGE_2) + np.int64(left > EDGE_3)
                )
                if number == 0:
                    models_at = np.int64(FIRSTS) + 16 * (half * 32 + min(steps[half], np.int64(31)))
                    word = _word(coder, data, models, models_at, 1 + half)
                    steps[half] = bit_length(word)
                    price = firsts[half] + _unzigzag(word) * unit
                    firsts[half] = price
                else:
                    models_at = np.int64(GAPS) + 16 * (part * 20 + min(before, np.int64(19)))
                    word = _word(coder, data, models, models_at, 3 + part)
                    before = bit_length(word)
                    price += (_unzigzag(word) + 1) * unit * sign
                prices[at] = price
                # What the price held before, as far as it is known.
                slot = np.int64(
                    ((np.uint64(price) + np.uint64(half)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(49)
                )
                if slots[slot, 3] == 0 or slots[slot, 0] != price:
                    slots[slot, 0], slots[slot, 1], slots[slot, 2], slots[slot, 3] = price, 0, 0, 1
                known = slots[slot, 3]  # 1: nothing, 2: there is none now, 3: there is some
                last, other = slots[slot, 1], slots[slot, 2]
                state = known * 16 + min(np.int64(number), np.int64(7)) * 2 + was_zero
                is_zero = _bit(coder, data, models, np.int64(ZEROS) + state)
                size = np.int64(0)
                if not is_zero:
                    same = np.int64(0)
                    if known > 1:
                        same = _bit(coder, data, models, np.int64(SAME_ONE) + state)
                        if same:
                            size = last
                        elif other != 0:
                            same = _bit(coder, data, models, np.int64(SAME_TWO) + state)
                            if same:
                                size = other
                    if not same:
                        models_at = np.int64(SIZES) + 16 * (
                            min(bit_length(np.uint64(last)), np.int64(31)) * 4 + known
                        )
                        size = np.int64(_word(coder, data, models, models_at, 10))
                    if size != last:
                        slots[slot, 2] = last
                        slots[slot, 1] = size
                slots[slot, 3] = 2 if is_zero else 3
                was_zero = is_zero
                sizes[at] = size * size_unit
                at += stride
            row += rows
    return np.int64(coder[PLACE])
