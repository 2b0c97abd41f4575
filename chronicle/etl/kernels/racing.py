"""Kernels of the race between lines: where a second one begins, and what each event of a batch is about."""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["event_heads", "second_line", "stamp_positions"]

LENGTH_MASK = 0xFFFFFFFF
CONNECTION_MASK = (1 << 12) - 1
FLAG_LAST_WORD = 128 << 48
KIND_INSTRUMENT = 16
KIND_GAP = 18
KIND_CHECK = 19
KIND_BOOK_DELTA = 32
KIND_BOOK_SNAPSHOT = 33
KIND_TRADE = 35
TRADE_ID = 8

BOOK, TRADE, OTHER, CONTROL = 0, 1, 2, 3
CHANNEL, INSTRUMENT, CONNECTION, SIMPLE = 0, 1, 2, 3


@numba.njit(cache=True, nogil=True)
def second_line(words: Any, found: Any) -> int:
    """Return the word offset of the first event of a second line, or the number of words where there is none.

    found int64[2]: the first line that was seen (negative: none yet; kept), and out the records before the offset.
    Connection 0 of a raw queue is no line. O(records).
    """
    position, event, records, whole = 0, 0, 0, 0
    while position < len(words):
        head = words[position]
        line = words[position + 4] >> 32 & 0xFFFF
        if line & CONNECTION_MASK:
            if found[0] < 0:
                found[0] = line
            elif found[0] != line:
                found[1] = whole
                return event
        position += (head & LENGTH_MASK) >> 3
        records += 1
        if head & FLAG_LAST_WORD:
            event, whole = position, records
    found[1] = records
    return len(words)


@numba.njit(cache=True, nogil=True)
def stamp_positions(words: Any, position: int) -> None:
    """Write consecutive positions into word 3 of the records, as a merge does. O(records)."""
    at = 0
    while at < len(words):
        words[at + 3] = position
        position += 1
        at += (words[at] & LENGTH_MASK) >> 3


@numba.njit(cache=True, nogil=True)
def event_heads(words: Any, table: Any, heads: Any) -> None:
    """Fill heads int64[n, 4] for the events of table int64[n, 4] (kernels.merging.list_events).

    A row: channel (BOOK, TRADE, OTHER; CONTROL where a record changes definitions or lines), instrument and
    connection of the first record, and 1 where all records are of it and plain: deltas and checks, or trades.
    O(records).
    """
    for event in range(len(table)):
        position, end = table[event, 0], table[event, 0] + table[event, 1]
        channel, simple = OTHER, 1
        instrument = words[position + 4] & LENGTH_MASK
        heads[event, INSTRUMENT] = instrument
        heads[event, CONNECTION] = words[position + 4] >> 32 & 0xFFFF
        while position < end:
            kind = words[position] >> 32 & 0xFFFF
            if KIND_INSTRUMENT <= kind <= KIND_GAP:
                channel = CONTROL
            elif channel != CONTROL and (kind == KIND_CHECK or KIND_BOOK_DELTA <= kind <= KIND_BOOK_SNAPSHOT):
                channel = BOOK
            elif channel == OTHER and kind == KIND_TRADE:
                channel = TRADE
            plain = kind == KIND_TRADE if channel == TRADE else kind in (KIND_BOOK_DELTA, KIND_CHECK)
            if not plain or words[position + 4] & LENGTH_MASK != instrument:
                simple = 0
            position += (words[position] & LENGTH_MASK) >> 3
        heads[event, CHANNEL], heads[event, SIMPLE] = channel, simple
