"""Which stream each record of a window goes to: one pass that finds the streams, one that lists their records.

A stream's key is (instrument number, source, channel) in one word. The streams of a window get places in the order of
their first records, by a small hash table; the records of each are listed in their order, as a counting sort does.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["Groups", "group_records"]

CHANNEL_BITS = 2
NUMBER_SHIFT = 16 + CHANNEL_BITS
EMPTY = -1
NOT_OURS = -1
UNDEFINED = 0
"""No instrument has this number."""
_SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)
"""Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4), as int64."""

FULL = -1
UNDEFINED_NUMBER = -2
KINDS = 1 << 16


@numba.njit(cache=True, nogil=True)
def group_records(
    heads: Any,
    first: int,
    end: int,
    channel_of_kind: Any,
    number_of: Any,
    table: Any,
    slots: Any,
    keys: Any,
    bounds: Any,
    places: Any,
    chosen: Any,
    skipped: Any,
) -> int:
    """List the records [first, end) of each stream; return how many streams there are.

    heads int64[n] as index_records fills it; channel_of_kind int64[65536], negative: of no stream; number_of
    int64[m]: instrument number to canonical number, NOT_OURS, or UNDEFINED.

    Out: keys int64[s] (number << 18 | source << 2 | channel) in the order of first records; bounds int64[s + 1] into
    chosen int64[end - first], the record numbers, ascending within a stream; skipped int64[65536] counts the records
    of no stream by kind. Scratch: table int64[2^k, 2], its first column EMPTY on entry and exit; slots int64[s];
    places int64[end - first].

    FULL when there are more than s streams or half the table (try again with more), UNDEFINED_NUMBER - record when a
    record names an instrument that is not defined. O(records).
    """
    mask = table.shape[0] - 1
    streams_max = min(len(keys), table.shape[0] >> 1)
    streams, status = 0, 0
    for record in range(first, end):
        places[record - first] = EMPTY
        head = heads[record]
        channel = channel_of_kind[(head >> 48) & 0xFFFF]
        if channel < 0:
            continue
        instrument = head & 0xFFFFFFFF
        number = number_of[instrument] if instrument < len(number_of) else UNDEFINED
        if number == UNDEFINED:
            status = UNDEFINED_NUMBER - record
            break
        if number < 0:
            continue
        key = number << NUMBER_SHIFT | ((head >> 32) & 0xFFFF) << CHANNEL_BITS | channel
        slot = ((key * _SPREAD) >> 20) & mask
        while table[slot, 0] != EMPTY and table[slot, 0] != key:
            slot = (slot + 1) & mask
        if table[slot, 0] == EMPTY:
            if streams == streams_max:
                status = FULL
                break
            table[slot, 0], table[slot, 1] = key, streams
            keys[streams], slots[streams], bounds[streams + 1] = key, slot, 0
            streams += 1
        place = table[slot, 1]
        places[record - first] = place
        bounds[place + 1] += 1
    for place in range(streams):
        table[slots[place], 0] = EMPTY
    if status < 0:
        return status
    bounds[0] = 0
    for place in range(streams):
        slots[place] = bounds[place]
        bounds[place + 1] += bounds[place]
    for record in range(first, end):
        place = places[record - first]
        if place != EMPTY:
            chosen[slots[place]] = record
            slots[place] += 1
        else:
            kind = (heads[record] >> 48) & 0xFFFF
            if channel_of_kind[kind] < 0:
                skipped[kind] += 1
    return streams


class Groups:
    """The streams of a window and their records; the arrays are kept from window to window.

    Attributes
    ----------
    keys : int64[s]
        Of the last :meth:`find`: number << 18 | source << 2 | channel.
    bounds : int64[s + 1]
        Into `chosen`.
    chosen : int64[n]
        Record numbers, stream after stream.
    """

    def __init__(self, channel_of_kind: Any) -> None:
        self._channel_of_kind = channel_of_kind
        self.skipped = np.zeros(KINDS, dtype=np.int64)
        self.chosen = np.empty(0, dtype=np.int64)
        self._places = np.empty(0, dtype=np.int64)
        self._make(64)

    def find(self, heads: Any, first: int, end: int, number_of: Any) -> int:
        """Group records [first, end); return the number of streams, or UNDEFINED_NUMBER - record."""
        if end - first > len(self.chosen):
            self.chosen = np.empty(end - first, dtype=np.int64)
            self._places = np.empty(end - first, dtype=np.int64)
        while True:
            streams = group_records(
                heads,
                first,
                end,
                self._channel_of_kind,
                number_of,
                self._table,
                self._slots,
                self.keys,
                self.bounds,
                self._places,
                self.chosen,
                self.skipped,
            )
            if streams != FULL:
                return int(streams)
            self._make(4 * len(self.keys))

    def _make(self, streams: int) -> None:
        self._table = np.full((2 * streams, 2), EMPTY, dtype=np.int64)
        self._slots = np.empty(streams, dtype=np.int64)
        self.keys = np.empty(streams, dtype=np.int64)
        self.bounds = np.zeros(streams + 1, dtype=np.int64)
