"""Kernels that find records, and gather and scatter the bodies that a block of columns keeps as they are."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["find_records", "gather_words", "scatter_bodies"]

LENGTH_MASK = 0xFFFFFFFF
HEADER_WORDS = 6
BOOK_SNAPSHOT = 33
SNAPSHOT_WORDS = 11


@numba.njit(cache=True, nogil=True)
def find_records(words: Any, out: Any) -> Any:
    """Write the byte offset of each record of words int64[n]; return how many, -1 when they are no whole records.

    out int64[n // 6 + 1] is the caller's. A nanosecond a record.
    """
    position, count = np.int64(0), np.int64(0)
    while position < len(words):
        length = words[position] & LENGTH_MASK
        if length < 8 * HEADER_WORDS or length & 7:
            return np.int64(-1)
        out[count] = 8 * position
        count += 1
        position += length >> 3
    return count if position == len(words) else np.int64(-1)


@numba.njit(cache=True, nogil=True)
def gather_words(words: Any, starts: Any, counts: Any, out: Any) -> None:
    """Put runs of words side by side: counts int64[r] words from starts int64[r] on; out int64[m], the caller's."""
    at = np.int64(0)
    for row in range(len(starts)):
        for offset in range(counts[row]):
            out[at + offset] = words[starts[row] + offset]
        at += counts[row]


@numba.njit(cache=True, nogil=True)
def scatter_bodies(rest: Any, rows: Any, offsets: Any, lengths: Any, kinds: Any, out: Any) -> Any:
    """Put the bodies rest int64[m] of rows int64[r] where they belong in out int64[n]; return the words used, or -1.

    offsets, lengths (bytes) and kinds int64[d] are of all records, and end in `out`. Of a BOOK_SNAPSHOT whose counts
    fit its length `rest` has no levels. -1: it ends too early.
    """
    used = np.int64(0)
    for number in range(len(rows)):
        row = rows[number]
        start, count = (offsets[row] >> 3) + HEADER_WORDS, (lengths[row] >> 3) - HEADER_WORDS
        if kinds[row] == BOOK_SNAPSHOT and lengths[row] >= 8 * SNAPSHOT_WORDS:
            if used >= len(rest):
                return np.int64(-1)
            levels = (rest[used] & LENGTH_MASK) + ((rest[used] >> 32) & LENGTH_MASK)
            if 8 * SNAPSHOT_WORDS + 16 * levels == lengths[row]:
                count = np.int64(SNAPSHOT_WORDS - HEADER_WORDS)
        if used + count > len(rest):
            return np.int64(-1)
        for offset in range(count):
            out[start + offset] = rest[used + offset]
        used += count
    return used
