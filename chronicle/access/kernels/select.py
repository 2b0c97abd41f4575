"""Kernel that finds the wanted records of a window in one pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.access.kernels  # noqa: F401  (keys the cache)
from chronicle.access.kernels.ahead import FAR_WORDS, fetch

__all__ = ["pick", "select"]

LENGTH_MASK = 0xFFFFFFFF
LAST_SHIFT = 48 + 7
KIND_BOOK_SNAPSHOT = 33
ORIGIN_VENUE = 1


@numba.njit(cache=True, nogil=True)
def select(words: Any, wanted: Any, start: Any, end: Any, at: Any, order: Any, last: Any) -> Any:
    """Find records of wanted kinds with start <= ts_recv < end; return (rows, venue snapshots among them).

    words int64[n] of whole events; wanted uint8[256] by kind; at, order int64[capacity] and last uint8[capacity]
    (the caller's, written) get each row's word, its number in the window, and whether it is the last row of its
    event. Of BOOK_SNAPSHOT only the venue's count. Rows are -1 at an impossible length. O(records).
    """
    total, position, number, count, snapshots = len(words), 0, 0, 0, 0
    open_event = False
    while position < total:
        head = words[position]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or position + (length >> 3) > total or count >= len(at):
            return -1, 0
        fetch(words, position + FAR_WORDS)
        kind = (head >> 32) & 0xFFFF
        ts = words[position + 1]
        if kind < 256 and wanted[kind] != 0 and start <= ts < end:
            venue = kind == KIND_BOOK_SNAPSHOT and words[position + 7] & 0xFF == ORIGIN_VENUE
            if venue or kind != KIND_BOOK_SNAPSHOT:
                at[count] = position
                order[count] = number
                last[count] = 0
                count += 1
                open_event = True
                snapshots += venue
        if (head >> LAST_SHIFT) & 1:
            if open_event:
                last[count - 1] = 1
            open_event = False
        position += length >> 3
        number += 1
    return count, snapshots


@numba.njit(cache=True, nogil=True)
def pick(words: Any, at: Any, offset: Any, out: Any) -> None:
    """Write word `offset` of each record: at int64[m] (from :func:`select`, inside words), out int64[m]."""
    for row in range(len(at)):
        out[row] = words[np.uint64(at[row] + offset)]
