"""Appending many records by kernel: one pass of copies, each event released by its first word, last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.errors import RecordError
from chronicle.core.kernels.atomics import store_release
from chronicle.core.layout import (
    EVENT_BYTES_MAX,
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

__all__ = ["append_batch"]

_LAST = np.uint64(int(Flag.LAST) << WORD_FLAGS_SHIFT)
_BAD_TS = np.uint64(int(Flag.BAD_TS_RECV) << WORD_FLAGS_SHIFT)
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)
_ROLL = int(Kind.ROLL)


@njit(cache=True, nogil=True)
def _append(
    source: Any,
    first: int,
    width: int,
    target: Any,
    base: np.uint64,
    state: Any,
    seek: Any,
    seek_capacity: int,
) -> int:
    """Copy whole events of `width`-word records into the segment until one does not fit.

    source: u64[rows, width] (caller's), read from row `first`. target: u64[file words] of the mapped segment, at
    address `base`. seek: i64[entries, 4] of the mapped segment. state: i64[8] (caller's, in and out): 0 position,
    1 limit, 2 index, 3 last ts_recv, 4 last entry offset, 5 seek count, 6 cycle end, 7 clamped count. Returns the
    next row. Cost: one 64-byte copy, two compares and one release store a record.
    """
    rows = source.shape[0]
    position, limit, index = state[0], state[1], state[2]
    last_ts, last_entry, seek_count, cycle_end, clamped = state[3], state[4], state[5], state[6], state[7]
    size = np.int64(width * 8)
    row = first
    while row < rows:
        stop = row
        snapshot = False
        while True:
            if (source[stop, 0] >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF) == _SNAPSHOT:
                snapshot = True
            if source[stop, 0] & _LAST:
                break
            stop += 1
        stop += 1
        ts = np.int64(source[row, 1])
        late = ts < last_ts
        if late:
            ts = last_ts
        if position + (stop - row) * size > limit or ts >= cycle_end:
            break
        cell = position >> 3
        head = source[row, 0]
        for record in range(row, stop):
            at = cell + (record - row) * width
            if record > row:
                word = source[record, 0]
                if late:
                    word |= _BAD_TS
                target[at] = word
            for column in range(1, width):
                target[at + column] = source[record, column]
            if late:
                target[at + 1] = np.uint64(ts)
                clamped += 1
        if late:
            head |= _BAD_TS
        store_release(base + np.uint64(position), head)
        if (snapshot or position - last_entry >= SEEK_INTERVAL_BYTES) and seek_count < seek_capacity:
            kind = np.int64((head >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF))
            seek[seek_count, 0] = index
            seek[seek_count, 1] = position
            seek[seek_count, 2] = ts
            seek[seek_count, 3] = _SNAPSHOT if snapshot else kind
            seek_count += 1
            last_entry = position
        last_ts = ts
        position += (stop - row) * size
        index += stop - row
        row = stop
    state[0], state[2], state[3], state[4] = position, index, last_ts, last_entry
    state[5], state[7] = seek_count, clamped
    return row


def append_batch(appender: Appender, records: Any) -> int:
    """Append a structured array of records; see :meth:`Appender.append_many`."""
    rows = _checked(records)
    first_index = appender.next_index
    width = rows.shape[1]
    done = 0
    while done < rows.shape[0]:
        window = appender.kernel_window()
        if window is not None:
            target, address, state, seek = window
            try:
                done = int(_append(rows, done, width, target, address, state, seek, seek.shape[0]))
            finally:
                appender.kernel_done(state)  # also when Ctrl-C follows the kernel: what it committed is committed
        if done < rows.shape[0]:
            stop = done + int(np.argmax((rows[done:, 0] & _LAST) != 0)) + 1
            event = bytearray(rows[done:stop].tobytes())
            appender.append_event(event, stop - done)
            done = stop
    return first_index


def _checked(records: Any) -> Any:
    size = records.dtype.itemsize
    if records.ndim != 1 or not records.flags.c_contiguous or size < HEADER_BYTES or size % 8:
        raise RecordError(
            "append_many takes a contiguous one-dimensional array of whole records",
            expected="a dtype of chronicle.core.dtypes.DTYPES",
            found=f"{records.ndim} dimensions of {size} bytes",
        )
    rows = records.view(np.uint64).reshape(len(records), size // 8)
    if not len(rows):
        return rows
    lengths = rows[:, 0] & np.uint64(WORD_LENGTH_MASK)
    kinds = (rows[:, 0] >> np.uint64(WORD_KIND_SHIFT)) & np.uint64(0xFFFF)
    wrong = (lengths != size) | (kinds == 0) | (kinds == _ROLL)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise RecordError(
            "a record in the batch is not whole", offset=at, expected=f"length {size}", found=int(lengths[at])
        )
    ends = np.flatnonzero(rows[:, 0] & _LAST)
    if not len(ends) or ends[-1] != len(rows) - 1:
        raise RecordError("the batch does not end an event", expected="F_LAST on its last record", found="none")
    longest = int(np.max(np.diff(np.concatenate((np.array([-1]), ends)))))
    if longest * size > EVENT_BYTES_MAX:
        raise RecordError("an event of the batch is too large", expected=EVENT_BYTES_MAX, found=longest * size)
    return rows
