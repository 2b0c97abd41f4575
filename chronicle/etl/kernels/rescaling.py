"""Kernel that brings the prices and sizes of raw records to other exponents, in place."""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["find_definitions", "rescale_records"]

LENGTH_MASK = 0xFFFFFFFF
KIND_INSTRUMENT = 16
KIND_BOOK_DELTA = 32
KIND_BOOK_SNAPSHOT = 33
KIND_ORDER = 34
KIND_TRADE = 35
KIND_QUOTE = 36
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
FLOOR, LEVELS = 8, 11
"""Words of a BOOK_SNAPSHOT: its price range, and its levels."""


@numba.njit(cache=True, nogil=True)
def find_definitions(words: Any, found: Any) -> int:
    """Write the word offsets of the INSTRUMENT records into `found` int64[n]; return how many. O(records)."""
    position, count = 0, 0
    while position < len(words):
        head = words[position]
        if head >> 32 & 0xFFFF == KIND_INSTRUMENT:
            found[count] = position
            count += 1
        position += (head & LENGTH_MASK) >> 3
    return count


@numba.njit(cache=True, nogil=True)
def _times(words: Any, at: int, factor: int) -> int:
    """Multiply a word, which may be a bound or an absent value; 1 where it does not fit."""
    value = words[at]
    if value == INT64_MIN or value == INT64_MAX:  # noqa: SIM109 (numba builds a tuple otherwise)
        return 0
    if value > INT64_MAX // factor or -value > INT64_MAX // factor:
        return 1
    words[at] = value * factor
    return 0


@numba.njit(cache=True, nogil=True)
def rescale_records(words: Any, position: int, end: int, numbers: Any, factors: Any) -> int:
    """Multiply prices and sizes of the records in words [position, end) that are of one of `numbers`.

    numbers int64[n], ascending; factors int64[n, 2] for prices and sizes. Returns how many values did not fit (they
    stay as they are). O(records * log n), n being the instruments that two raw
    queues tell in different units.
    """
    lost = 0
    while position < end:
        head = words[position]
        kind, size = head >> 32 & 0xFFFF, (head & LENGTH_MASK) >> 3
        if KIND_BOOK_DELTA <= kind <= KIND_QUOTE:
            instrument = words[position + 4] & LENGTH_MASK
            low, high = 0, len(numbers)
            while low < high:
                middle = (low + high) >> 1
                if numbers[middle] < instrument:
                    low = middle + 1
                else:
                    high = middle
            if low < len(numbers) and numbers[low] == instrument:
                price, amount = factors[low, 0], factors[low, 1]
                if kind == KIND_BOOK_SNAPSHOT:
                    lost += _times(words, position + FLOOR, price) + _times(words, position + FLOOR + 1, price)
                    for at in range(position + LEVELS, position + size, 2):
                        lost += _times(words, at, price) + _times(words, at + 1, amount)
                else:
                    first = position + (7 if kind == KIND_ORDER else 6)
                    lost += _times(words, first, price) + _times(words, first + 1, amount)
                    if kind == KIND_QUOTE:
                        lost += _times(words, first + 2, price) + _times(words, first + 3, amount)
        position += size
    return lost
