"""Appending many events of mixed record kinds by kernel: one copy an event, each released by its first word, last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.errors import RecordError
from chronicle.core.kernels.atomics import store_release
from chronicle.core.layout import (
    HEADER_BYTES,
    SEEK_INTERVAL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["append_mixed"]

_LAST = np.uint64(int(Flag.LAST) << WORD_FLAGS_SHIFT)
_LENGTH = np.uint64(WORD_LENGTH_MASK)
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)
_ROLL = int(Kind.ROLL)
_BAD_LENGTH = -1
_UNENDED = -2


@njit(cache=True, nogil=True)
def _append(
    source: Any, first: Any, count: int, target: Any, base: np.uint64, state: Any, seek: Any, seek_capacity: int
) -> int:
    """Copy whole events of `source` (u64 words) from word `first` into the segment until one needs Python.

    target, base, state, seek: as in ``chronicle.core.kernels.batch``. Returns the next word to append: an event
    that does not fit, is late, or starts a cycle is left to the caller. Negative: a record no appender writes.
    """
    position, limit, index = state[0], state[1], state[2]
    last_ts, last_entry, seek_count, cycle_end = state[3], state[4], state[5], state[6]
    word = first
    status = 0
    while word < count:
        stop = word
        records = 0
        snapshot = False
        ended = False
        while stop < count and not ended:
            head = source[stop]
            length = np.int64(head & _LENGTH)
            kind = np.int64((head >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF))
            if length < HEADER_BYTES or length & 7 or stop + (length >> 3) > count or kind == 0 or kind == _ROLL:
                status = _BAD_LENGTH
                break
            snapshot = snapshot or kind == _SNAPSHOT
            ended = head & _LAST != 0
            stop += int(length >> 3)
            records += 1
        if status < 0:
            break
        if not ended:
            status = _UNENDED
            break
        ts = np.int64(source[word + 1])
        size = (stop - word) * 8
        if ts < last_ts or ts >= cycle_end or position + size > limit:
            break
        cell = position >> 3
        for offset in range(1, stop - word):
            target[cell + offset] = source[word + offset]
        head = source[word]
        store_release(base + np.uint64(position), head)
        if (snapshot or position - last_entry >= SEEK_INTERVAL_BYTES) and seek_count < seek_capacity:
            seek[seek_count, 0] = index
            seek[seek_count, 1] = position
            seek[seek_count, 2] = ts
            seek[seek_count, 3] = (
                _SNAPSHOT if snapshot else np.int64((head >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF))
            )
            seek_count += 1
            last_entry = position
        last_ts = ts
        position += size
        index += records
        word = stop
    state[0], state[2], state[3], state[4], state[5] = position, index, last_ts, last_entry, seek_count
    return status if status < 0 else word


def append_mixed(appender: Appender, words: Any) -> int:
    """Append whole events that lie side by side and return the index of the first record.

    Parameters
    ----------
    words : uint64[n]
        The bytes of the events, each ending at a record with F_LAST. Records of one event share one ts_recv.

    Raises
    ------
    RecordError
        When a length or kind is impossible or the last event is not ended; the events before it are appended.
    """
    first_index = appender.next_index
    done, count = 0, len(words)
    while done < count:
        window = appender.kernel_window()
        if window is not None:
            target, address, state, seek = window
            reached = int(_append(words, done, count, target, address, state, seek, seek.shape[0]))
            appender.kernel_done(state)
            if reached < 0:
                raise RecordError(
                    "the bytes are not whole events",
                    offset=done * 8,
                    expected="records of possible lengths, the last with F_LAST",
                    found="an impossible length or kind" if reached == _BAD_LENGTH else "an event without its end",
                )
            done = reached
        if done < count:
            stop, records = _event_end(words, done)
            appender.append_event(words[done:stop].tobytes(), records)
            done = stop
    return first_index


def _event_end(words: Any, start: int) -> tuple[int, int]:
    """Return (word after the event that starts at `start`, its record count); the append checks its lengths."""
    stop, records = start, 0
    while stop < len(words):
        head = int(words[stop])
        stop += max(HEADER_BYTES, head & WORD_LENGTH_MASK) >> 3
        records += 1
        if head & int(_LAST):
            break
    return stop, records
