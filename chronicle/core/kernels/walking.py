"""Kernels over a segment's commit words: the walk to the tail, and the seek index by its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.atomics import load_acquire, store_release
from chronicle.core.layout import (
    HEADER_BYTES,
    OFFSET_TS_RECV,
    RECORD_BYTES_MAX,
    ROLL_BYTES,
    SEEK_INTERVAL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["last_start", "release_word", "seek_index_array", "walk_committed"]

_LAST = np.uint64(int(Flag.LAST) << WORD_FLAGS_SHIFT)
_ROLL = int(Kind.ROLL)
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)


@njit(cache=True, nogil=True)
def _walk_words(base: Any, offset: Any, index: Any, limit: int, result: Any) -> Any:
    """Walk committed events by acquire loads; the twin of :func:`chronicle.core.scan.walk`.

    base: address of the mapped file. result: i64[2] (caller's, written): end offset, end index. Returns 0 at the
    tail, 1 at a ROLL, or -1 - offset at an impossible word. One atomic load a record.
    """
    result[0], result[1] = offset, index
    while offset + HEADER_BYTES <= limit:
        word = load_acquire(np.uint64(base) + np.uint64(offset))
        if word == 0:
            return 0
        length = np.int64(word & np.uint64(WORD_LENGTH_MASK))
        kind = np.int64((word >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF))
        if length < HEADER_BYTES or length & 7 or length > RECORD_BYTES_MAX or offset + length > limit or kind == 0:
            return -1 - offset
        if kind == _ROLL:
            if offset != result[0] or length != ROLL_BYTES:
                return -1 - offset
            return 1
        offset += length
        index += 1
        if word & _LAST:
            result[0], result[1] = offset, index
    return 0


@njit(cache=True, nogil=True)
def last_start(base: Any, offset: Any, end: Any) -> Any:
    """Return where the last record in [offset, end) starts; -1 - offset of an impossible length.

    base: address of the mapped file. The twin of :func:`chronicle.core.scan.last_start`. One load a record.
    """
    last = offset
    while offset < end:
        last = offset
        length = np.int64(load_acquire(np.uint64(base) + np.uint64(offset)) & np.uint64(WORD_LENGTH_MASK))
        if length < HEADER_BYTES or length & 7:
            return -1 - offset
        offset += length
    return last


@njit(cache=True, nogil=True)
def _seek_entries(words: Any, start: Any, end: int, index: Any, entries: Any) -> int:
    """Write the seek index of whole, valid events; the twin of :func:`chronicle.core.seeking.seek_index`.

    words: u64[n] of the segment; entries: i64[capacity, 4] (caller's, written). Returns the entry count, or -1 when
    the capacity does not do. One load a record.
    """
    offset = event = start
    event_index = index
    kind = np.int64(0)
    last_entry = start - SEEK_INTERVAL_BYTES
    count = 0
    while offset < end:
        word = words[offset >> 3]
        record_kind = np.int64((word >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF))
        if kind == 0 or record_kind == _SNAPSHOT:
            kind = record_kind
        offset += np.int64(word & np.uint64(WORD_LENGTH_MASK))
        index += 1
        if word & _LAST:
            if event - last_entry >= SEEK_INTERVAL_BYTES or kind == _SNAPSHOT:
                if count >= entries.shape[0]:
                    return -1
                entries[count, 0] = event_index
                entries[count, 1] = event
                entries[count, 2] = np.int64(words[(event + OFFSET_TS_RECV) >> 3])
                entries[count, 3] = kind
                count += 1
                last_entry = event
            event, event_index, kind = offset, index, np.int64(0)
    return count


def seek_index_array(words: memoryview, start: int, end: int, index: int) -> NDArray[np.int64]:
    """Return the seek index of the events in [start, end): a row (index, offset, ts_recv, kind) for each entry."""
    array = np.frombuffer(words, dtype=np.uint64)
    capacity = (end - start) // SEEK_INTERVAL_BYTES + 1024
    while True:
        entries = np.empty((capacity, 4), dtype=np.int64)
        count = int(_seek_entries(array, start, end, index, entries))
        if count >= 0:
            return entries[:count]
        capacity *= 4


@njit(cache=True)
def release_word(address: Any, word: Any) -> None:
    """Commit: store `word` at `address` with release order. For machines where a plain store is not enough."""
    store_release(np.uint64(address), np.uint64(word))


def walk_committed(address: int, offset: int, index: int, limit: int) -> tuple[int, int, int]:
    """Return (end offset, end index, state) of the committed events behind `offset` of a file mapped at `address`.

    `state` is 0 at the tail, 1 at a ROLL, and -1 - offset at an impossible word.
    """
    result = np.empty(2, dtype=np.int64)
    state = int(_walk_words(np.uint64(address), offset, index, limit, result))
    return int(result[0]), int(result[1]), state
