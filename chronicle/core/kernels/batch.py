"""Appending many events by kernel: runs of whole events, each run one copy released by its first word, last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.errors import RecordError
from chronicle.core.kernels.atomics import store_release
from chronicle.core.kernels.committing import (
    ADDRESS,
    CLAMPED,
    CYCLE_END,
    LAST_ENTRY,
    LAST_TS,
    LIMIT,
    NEXT_INDEX,
    POSITION,
    add_entry,
    extend,
    is_due,
    wake,
)
from chronicle.core.kernels.memory import copy_bytes, peek, poke
from chronicle.core.layout import (
    EVENT_BYTES_MAX,
    HEADER_BYTES,
    INT64_MIN,
    OFFSET_TS_RECV,
    SEEK_INTERVAL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["append_batch", "append_events", "append_words"]

_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT
_BAD_TS = int(Flag.BAD_TS_RECV) << WORD_FLAGS_SHIFT
_HEADER_WORDS = HEADER_BYTES >> 3
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)
_ROLL = int(Kind.ROLL)
_BAD_LENGTH = -1
_UNENDED = -2


@njit(cache=True, nogil=True)
def _event_at(words: Any, first: Any) -> tuple[int, int, int]:
    """Return (word after the event at word `first`, its record count, its kind for the seek rule).

    Instead of the first: _BAD_LENGTH or _UNENDED. words: i64[n] (caller's). One load a record.
    """
    count = words.size
    stop = first
    records = 0
    kind = 0
    while stop < count:
        head = words[stop]
        length = head & WORD_LENGTH_MASK
        record_kind = (head >> WORD_KIND_SHIFT) & 0xFFFF
        if length < HEADER_BYTES or length & 7 or stop + (length >> 3) > count or record_kind <= _ROLL:
            return _BAD_LENGTH, records, kind
        if kind == 0 or record_kind == _SNAPSHOT:
            kind = record_kind
        stop += length >> 3
        records += 1
        if head & _LAST:
            return stop, records, kind
    return _UNENDED, records, kind


@njit(cache=True, nogil=True)
def _run_from(
    source: Any, first: Any, stop_max: Any, room: Any, records: Any, ts: Any, cycle_end: Any, width: Any
) -> Any:
    """Return (word after the last event that joins the run, records, ts_recv): events that start before `stop_max`.

    source: address of the words. An event joins when it is whole before `room`, in time, and holds no BOOK_SNAPSHOT;
    what stops the run is judged as the first event of the next. `width` is the words of each record when all are of
    one size, else 0: a step that does not wait for a load is three times as fast.
    """
    stop = first
    joined, joined_ts = records, ts
    while stop < stop_max and stop + _HEADER_WORDS <= room:
        event_ts = peek(source + stop * 8 + 8)
        if event_ts < joined_ts or event_ts >= cycle_end:
            break
        end = stop
        seen = joined
        ended = False
        while not ended and end + _HEADER_WORDS <= room:
            head = peek(source + end * 8)
            length = head & WORD_LENGTH_MASK
            kind = (head >> WORD_KIND_SHIFT) & 0xFFFF
            if length < HEADER_BYTES or length & 7 or kind <= _ROLL or kind == _SNAPSHOT:
                break
            end += width if width > 0 else length >> 3
            seen += 1
            ended = head & _LAST != 0
        if not ended or end > room:
            break
        stop, joined, joined_ts = end, seen, event_ts
    return stop, joined, joined_ts


@njit(cache=True, nogil=True)
def _raise_times(at: Any, size: Any, floor: Any) -> int:
    """Raise each ts_recv below `floor` of the records in the `size` bytes at `at` and flag it; return how many."""
    offset = 0
    changed = 0
    while offset < size:
        head = peek(at + offset)
        if peek(at + offset + OFFSET_TS_RECV) < floor:
            poke(at + offset + OFFSET_TS_RECV, floor)
            poke(at + offset, head | _BAD_TS)
            changed += 1
        offset += head & WORD_LENGTH_MASK
    return changed


@njit(cache=True, nogil=True)
def append_events(words: Any, first: Any, state: Any, width: Any, plain: bool) -> int:
    """Copy whole events of `words` from word `first` into the segment until one needs Python.

    words: i64[n] (caller's). state: address of the writer's state, changed as events are committed. width: words of
    each record when :func:`_check` found them of one size, else 0; plain: its word that every record is an event, in
    order, and none a BOOK_SNAPSHOT. Returns the next word to append (an event that does not fit or starts a cycle is
    left to the caller), or _BAD_LENGTH or _UNENDED; the events before it are appended.

    A run is the events up to the next one that is due a seek entry: they are copied together, commit words included,
    but for the first word; its release store shows them all. A late event is a run of its own: its first word is
    stored flagged. Cost: a copy, one store and entry for 16 KiB; unless plain, two loads and a few compares a record.
    """
    source = words.ctypes.data
    count = words.size
    word = first
    status = 0
    while word < count:
        position, limit = peek(state + POSITION), peek(state + LIMIT)
        last_ts, cycle_end = peek(state + LAST_TS), peek(state + CYCLE_END)
        stop, records, kind = _event_at(words, word)
        if stop < 0:
            status = stop
            break
        ts = words[word + 1]
        late = ts < last_ts
        if late:
            ts = last_ts
        size = (stop - word) * 8
        if ts >= cycle_end:
            break
        if position + size > limit:
            if not extend(state, position + size):
                break
            limit = peek(state + LIMIT)
        due = is_due(state, position, kind)
        run_ts = ts
        if not late:
            entry = position if due else peek(state + LAST_ENTRY)
            # A run ends where its next event would start at a due entry, or might not fit.
            room = min(count, word + (limit - position) // 8)
            stop_max = min(room, word + (entry + SEEK_INTERVAL_BYTES - position + 7) // 8)
            if plain and stop < stop_max:
                records = (min(stop_max - word + width - 1, room - word)) // width
                run_ts = words[word + (records - 1) * width + 1]
                plain = run_ts < cycle_end  # else the run is cut where the cycle ends, record by record
                if plain:
                    stop = word + records * width
                else:
                    records, run_ts = 1, ts
            if not plain:
                stop, records, run_ts = _run_from(source, stop, stop_max, room, records, ts, cycle_end, width)
            size = (stop - word) * 8
        at = peek(state + ADDRESS) + position
        copy_bytes(at + 8, source + word * 8 + 8, size - 8)
        head = words[word]
        if late:
            if words[word + 1] < last_ts:
                poke(at + OFFSET_TS_RECV, last_ts)
                head |= _BAD_TS
                poke(state + CLAMPED, peek(state + CLAMPED) + 1)
            first_size = head & WORD_LENGTH_MASK
            changed = _raise_times(at + first_size, size - first_size, last_ts)
            poke(state + CLAMPED, peek(state + CLAMPED) + changed)
        index = peek(state + NEXT_INDEX)
        store_release(at, head)
        poke(state + POSITION, position + size)
        poke(state + NEXT_INDEX, index + records)
        poke(state + LAST_TS, run_ts)
        if due:
            add_entry(state, index, position, ts, kind)
        wake(state)
        word = stop
    return status if status < 0 else word


@njit(cache=True, nogil=True)
def _check(words: Any, width: Any) -> tuple[int, int, bool]:
    """Return (first wrong row or -1, longest event in rows or -1 when the last is not ended, whether all is plain).

    words: i64[rows * width] (caller's). Two loads a record. Plain: every record is an event of its own and none a
    BOOK_SNAPSHOT, and no ts_recv is below the one before it.
    """
    rows = words.size // width
    source = words.ctypes.data
    at = source
    step = width * 8
    last_ts = INT64_MIN
    wrong = falls = snapshots = ended = 0
    for _ in range(rows):
        head = peek(at)
        ts = peek(at + OFFSET_TS_RECV)
        kind = (head >> WORD_KIND_SHIFT) & 0xFFFF
        wrong += (head & WORD_LENGTH_MASK != step) | (kind <= _ROLL)
        snapshots += kind == _SNAPSHOT
        ended += head & _LAST != 0
        falls += ts < last_ts
        last_ts = ts
        at += step
    if wrong == 0 and falls == 0 and snapshots == 0 and ended == rows:
        return -1, 1, True
    longest = start = 0
    for row in range(rows):
        head = peek(source + row * step)
        if head & WORD_LENGTH_MASK != step or (head >> WORD_KIND_SHIFT) & 0xFFFF <= _ROLL:
            return row, 0, False
        if head & _LAST:
            longest = max(longest, row + 1 - start)
            start = row + 1
    return -1, longest if start == rows else -1, False


def append_batch(appender: Appender, records: Any) -> int:
    """Append a structured array of records; see :meth:`Appender.append_many`."""
    words, plain = _checked(records)
    return append_words(appender, words, width=records.dtype.itemsize // 8, plain=plain)


def append_words(appender: Appender, words: Any, *, width: int = 0, plain: bool = False) -> int:
    """Append whole events that lie side by side in `words` (i64[n]) and return the index of the first record.

    `width` and `plain` are what :func:`_check` found out; by default nothing is known of the words.

    Raises
    ------
    RecordError
        When a length or kind is impossible or the last event is not ended; the events before it are appended.
    """
    first_index = appender.next_index
    done, count = 0, len(words)
    while done < count:
        state = appender.kernel_state()
        if state is not None:
            try:
                reached = int(append_events(words, done, state, width, plain))
            finally:
                appender.kernel_done()  # also when Ctrl-C follows the kernel
            if reached < 0:
                raise RecordError(
                    "the bytes are not whole events",
                    offset=done * 8,
                    expected="records of possible lengths, the last with F_LAST",
                    found="an impossible length or kind" if reached == _BAD_LENGTH else "an event without its end",
                )
            done = reached
        if done < count:
            stop, records, _ = _event_at(words, done)
            stop = stop if stop > 0 else count  # (the append refuses it)
            appender.append_event(words[done:stop].tobytes(), records)
            done = stop
    return first_index


def _checked(records: Any) -> tuple[Any, bool]:
    size = records.dtype.itemsize
    if records.ndim != 1 or not records.flags.c_contiguous or size < HEADER_BYTES or size % 8:
        raise RecordError(
            "append_many takes a contiguous one-dimensional array of whole records",
            expected="a dtype of chronicle.core.dtypes.DTYPES",
            found=f"{records.ndim} dimensions of {size} bytes",
        )
    words = records.view(np.int64)
    wrong, longest, plain = _check(words, size // 8)
    if wrong >= 0:
        raise RecordError(
            "a record in the batch is not whole",
            offset=wrong,
            expected=f"length {size} and a kind from 2 up",
            found=hex(int(words[wrong * (size // 8)]) & 0xFFFFFFFFFFFFFFFF),
        )
    if longest < 0:
        raise RecordError("the batch does not end an event", expected="F_LAST on its last record", found="none")
    if longest * size > EVENT_BYTES_MAX:
        raise RecordError("an event of the batch is too large", expected=EVENT_BYTES_MAX, found=longest * size)
    return words, plain
