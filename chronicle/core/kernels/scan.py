"""Kernels that walk commit words: offsets of records in a window, and a bounded spin for the next word."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.errors import CorruptionError
from chronicle.core.kernels.atomics import load_acquire, pause
from chronicle.core.layout import HEADER_BYTES, WORD_LENGTH_MASK

__all__ = ["record_offsets", "spin_until"]


@njit(cache=True, nogil=True)
def _walk(words: Any, starts: Any) -> Any:
    """words: u64[n] of whole records (caller's); starts: i64[capacity] (caller's, written).

    Returns the record count, or -1 - offset at an impossible length. One load and one store a record.
    """
    position = np.int64(0)
    size = words.size * 8
    count = 0
    while position < size:
        length = np.int64(words[position >> 3] & np.uint64(WORD_LENGTH_MASK))
        if length < HEADER_BYTES or length & 7 or position + length > size or count >= starts.size:
            return -1 - position
        starts[count] = position
        count += 1
        position += length
    return count


@njit(cache=True, nogil=True)
def spin_until(address: Any, spins: int) -> Any:
    """Return the first non-zero word seen at `address` within `spins` acquire loads, or 0."""
    word = np.uint64(0)
    for _ in range(spins):
        word = load_acquire(address)
        if word != 0:
            return word
        pause()
    return word


def record_offsets(memory: Any) -> Any:
    """Return the start of every record in `memory` (u8 array of whole records), int64 of shape (records,).

    Raises
    ------
    CorruptionError
        At an impossible length.
    """
    starts = np.empty(memory.size // HEADER_BYTES, dtype=np.int64)
    count = _walk(memory.view(np.uint64), starts)
    if count < 0:
        raise CorruptionError("a record's length is impossible", offset=int(-1 - count))
    return starts[:count].copy()
