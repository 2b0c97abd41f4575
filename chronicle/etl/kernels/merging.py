"""Kernels of the merge: the events of a window with their keys, their order over several queues, and copying them.

Record layout in words (docs/format/queue.md): 0 length, kind, flags, side; 1 ts_recv; 3 source_index; 4 instrument,
source, ordinal.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["apart", "copy_events", "list_events", "merge_events", "split_positions"]

FLAG_LAST_WORD = 128 << 48
LENGTH_MASK = 0xFFFFFFFF
INDEX_MASK = (1 << 48) - 1
POSITION_SHIFT = 48
INSTRUMENT_SHIFT = 20
CONNECTION_SHIFT = 12
INSTRUMENTS = 1 << INSTRUMENT_SHIFT
CONNECTIONS = 1 << CONNECTION_SHIFT
KIND_GAP = 18
GAP_LAST_GOOD = 11
"""Word of a GAP record that holds the position of the last good record."""
NONE = -1

START, SIZE, KEY, RECORDS = 0, 1, 2, 3
FIELDS = 4


@numba.njit(cache=True, nogil=True)
def list_events(words: Any, floor: int, events_max: int, records_max: int, table: Any) -> int:
    """List the whole events of a window in table int64[>= n, 4]; return how many, -1 where a length is impossible.

    A row: word offset, words, key (ts_recv, at least `floor`), records. At most `records_max` records and
    `events_max` events are listed. O(records).
    """
    position, total, count = 0, len(words), 0
    begin, records, seen = 0, 0, 0
    while position < total and count < events_max:
        head = words[position]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or position + (length >> 3) > total:
            return -1
        position += length >> 3
        records += 1
        if head & FLAG_LAST_WORD:
            seen += records
            if seen > records_max:
                break
            table[count, START] = begin
            table[count, SIZE] = position - begin
            table[count, KEY] = max(words[begin + 1], floor)
            table[count, RECORDS] = records
            count += 1
            begin, records = position, 0
    return count


@numba.njit(cache=True, nogil=True)
def merge_events(
    table: Any, bounds: Any, stops: Any, fresh: Any, heads: Any, offsets: Any, words_max: int, records_max: int
) -> int:
    """Put events of several queues in the order of (key, queue, index); return the words of those that were taken.

    Parameters
    ----------
    table : int64[n, 4]
        Their events, queue after queue, as list_events fills it.
    bounds : int64[k + 1]
        Where each queue's events begin.
    stops : int64[k]
        What a queue without events left may still bring has a key no smaller; INT64_MAX: nobody waits for it.
    fresh : int64[k]
        1 where nothing of the queue was taken yet: its first event begins a batch; set to 0 by that.
    heads : int64[k]
        Out: the first event of each queue that was not taken.
    offsets : int64[n]
        Out: for each taken event its word offset in the merged batch.

    O(events * k).
    """
    queues = len(stops)
    for queue in range(queues):
        heads[queue] = bounds[queue]
    total, records = 0, 0
    while total < words_max:
        best = -1
        for queue in range(queues):
            if heads[queue] < bounds[queue + 1] and (best < 0 or table[heads[queue], KEY] < table[heads[best], KEY]):
                best = queue
        if best < 0:
            break
        event = heads[best]
        key = table[event, KEY]
        held = records + table[event, RECORDS] > records_max or (fresh[best] and total > 0)
        for queue in range(queues):
            if heads[queue] == bounds[queue + 1]:
                held = held or key > stops[queue] or (key == stops[queue] and best > queue)
        if held:
            break
        fresh[best] = 0
        offsets[event] = total
        total += table[event, SIZE]
        records += table[event, RECORDS]
        heads[best] += 1
    return total


@numba.njit(cache=True, nogil=True)
def copy_events(words: Any, table: Any, offsets: Any, first_index: int, number: int, out: Any) -> int:
    """Copy events of raw queue `number` to their places in `out`; return -1 where a number does not fit, else 0.

    table int64[n, 4] and offsets int64[n] are those of the events, `first_index` the first one's raw index. Records
    get their position in word 3 (:mod:`chronicle.etl.clean.lineage`), their instrument and connection the queue's own
    range. O(words).
    """
    index = first_index
    for event in range(len(offsets)):
        position, to = table[event, START], offsets[event]
        end = position + table[event, SIZE]
        while position < end:
            step = (words[position] & LENGTH_MASK) >> 3
            for offset in range(step):
                out[to + offset] = words[position + offset]
            where = words[position + 4]
            instrument, connection = where & LENGTH_MASK, where >> 32 & 0xFFFF
            if instrument >= INSTRUMENTS or connection >= CONNECTIONS:
                return -1
            if instrument:
                where += number << INSTRUMENT_SHIFT
            out[to + 3] = number << POSITION_SHIFT | index
            out[to + 4] = where + (number << CONNECTION_SHIFT << 32)
            index += 1
            position += step
            to += step
    return 0


@numba.njit(cache=True, nogil=True)
def apart(position: Any) -> tuple[Any, Any]:
    """Return what a record at `position` says: (source, source_index)."""
    if position < 0:
        return np.int64(0), position
    return position >> POSITION_SHIFT, position & INDEX_MASK


@numba.njit(cache=True, nogil=True)
def split_positions(words: Any) -> None:
    """Write the positions in clean records apart: source into word 4, index into word 3. O(records).

    The last good record of a GAP is named only where it is of the GAP's own source.
    """
    position = 0
    while position < len(words):
        head = words[position]
        number, index = apart(words[position + 3])
        words[position + 3] = index
        if number > 0:
            words[position + 4] = (words[position + 4] & ~(0xFFFF << 32)) | number << 32
        if head >> 32 & 0xFFFF == KIND_GAP and words[position + GAP_LAST_GOOD] > 0:
            good = words[position + GAP_LAST_GOOD]
            words[position + GAP_LAST_GOOD] = good & INDEX_MASK if good >> POSITION_SHIFT == number else NONE
        position += (head & LENGTH_MASK) >> 3
