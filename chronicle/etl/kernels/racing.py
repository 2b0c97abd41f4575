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
def second_line(heads: Any, events: Any, count: int, line: int) -> tuple[int, int]:
    """Return the number of the first record of the first event of a second line (`count`: there is none), and the
    first line.

    heads, events int64[>= count] as index_records fills them; `line` is the first line so far, negative: none yet.
    Connection 0 of a raw queue is no line. O(records).
    """
    for record in range(count):
        own = heads[record] >> 32 & 0xFFFF
        if own != line and own & CONNECTION_MASK:
            if line < 0:
                line = own
                continue
            while record > 0 and events[record - 1] == events[record]:
                record -= 1
            return record, line
    return count, line


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
