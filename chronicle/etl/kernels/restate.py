"""A book in good standing as a BOOK_SNAPSHOT record, written straight to its place in the segment.

The twin is :func:`chronicle.etl.streams.snapshots.snapshot_record`. Levels come from the tick ladder and the sorted
arrays as they are: best first, the two merged, nothing moved.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chronicle.core.kernels.memory import peek, poke
from chronicle.core.layout import WORD_FLAGS_SHIFT, WORD_KIND_SHIFT, BookStatus, Flag, Kind, Origin, VerifiedBy
from chronicle.etl.kernels.events import CHECKS_PASSED, LAST_SEQUENCE, LAST_TS, SEQUENCE_HELD
from chronicle.etl.kernels.ladder import BASE, ON, QUANTUM, TOP, USED
from chronicle.etl.kernels.merging import apart
from chronicle.etl.kernels.row import (
    BITS,
    CAPACITY,
    CEILING,
    COUNTS,
    FLOOR,
    LEVELS,
    META,
    REGISTERS,
    SLOT_COUNT,
    SLOTS,
    VERIFIED_BY,
)

__all__ = ["FIXED_WORDS", "level_count", "restate"]

FIXED_WORDS = 11
"""A snapshot's words before its levels."""
_HEAD = int(Kind.BOOK_SNAPSHOT) << WORD_KIND_SHIFT
_FLAGS = int(Flag.SNAPSHOT | Flag.LAST) << WORD_FLAGS_SHIFT
_ORIGIN = int(Origin.ETL)
_OK, _CROSSED = int(BookStatus.OK), int(BookStatus.CROSSED)
_NOTHING, _SEQUENCE, _CHECKSUM = int(VerifiedBy.NOTHING), int(VerifiedBy.SEQUENCE), int(VerifiedBy.CHECKSUM)


@numba.njit(cache=True, nogil=True)
def level_count(row: Any) -> Any:
    """Return the number of levels of both sides."""
    counts, meta = peek(row + 8 * COUNTS), peek(row + 8 * META)
    return peek(counts) + peek(counts + 8) + peek(meta + 8 * USED) + peek(meta + 8 * (USED + 1))


@numba.njit(cache=True, nogil=True)
def restate(row: Any, to: Any, ts_recv: Any, ts_event: Any, position: Any) -> tuple[int, int]:
    """Write the record at address `to`, all but its first word; return (that word, bytes). About 3 ns a level.

    `position` is that of the raw record it stands before (:mod:`chronicle.etl.clean.lineage`).
    """
    source, raw_index = apart(position)
    registers = peek(row + 8 * REGISTERS)
    levels = to + 8 * FIXED_WORDS
    bids = _side(row, np.int64(0), levels)  # (a literal would be compiled as a type of its own)
    asks = _side(row, np.int64(1), levels + 16 * bids)
    crossed = bids > 0 and asks > 0 and peek(levels) > peek(levels + 16 * bids)
    verified_by = peek(row + 8 * VERIFIED_BY)
    if peek(registers + 8 * CHECKS_PASSED) > 0:
        verified_by = _CHECKSUM
    elif verified_by == _NOTHING and peek(registers + 8 * SEQUENCE_HELD) != 0:
        verified_by = _SEQUENCE
    poke(to + 8, ts_recv)
    poke(to + 16, ts_event)
    poke(to + 24, raw_index)
    poke(to + 32, 1 | source << 32)
    poke(to + 40, peek(registers + 8 * LAST_SEQUENCE))
    poke(to + 48, bids | asks << 32)
    poke(to + 56, _ORIGIN | (_CROSSED if crossed else _OK) << 8 | verified_by << 16)
    poke(to + 64, peek(row + 8 * FLOOR))
    poke(to + 72, peek(row + 8 * CEILING))
    poke(to + 80, peek(registers + 8 * LAST_TS))
    size = 8 * (FIXED_WORDS + 2 * (bids + asks))
    return size | _HEAD | _FLAGS, size


@numba.njit(cache=True, nogil=True)
def _side(row: Any, half: Any, to: Any) -> Any:
    """Write a side's (price, size) levels best first at address `to`; return how many there are."""
    stride, sign = 8 * peek(row + 8 * CAPACITY), 1 - 2 * half
    keys = peek(row + 8 * LEVELS) + 2 * half * stride
    over = peek(peek(row + 8 * COUNTS) + 8 * half) - 1
    meta, slot_count = peek(row + 8 * META), peek(row + 8 * SLOT_COUNT)
    written = 0
    left = peek(meta + 8 * (USED + half)) if peek(meta + 8 * ON) != 0 else 0
    base, quantum = peek(meta + 8 * (BASE + half)), peek(meta + 8 * QUANTUM)
    slots = peek(row + 8 * SLOTS) + 8 * half * slot_count
    bits = peek(row + 8 * BITS) + 8 * half * (slot_count >> 6)
    word = peek(meta + 8 * (TOP + half))
    while left > 0:
        marks = peek(bits + 8 * word)
        place = 63
        while marks != 0:
            while not (marks >> place) & 1:
                place -= 1
            marks ^= 1 << place
            slot = (word << 6) + place
            key = base + slot * quantum
            while over >= 0 and peek(keys + 8 * over) > key:
                poke(to + 16 * written, sign * peek(keys + 8 * over))
                poke(to + 16 * written + 8, peek(keys + stride + 8 * over))
                over -= 1
                written += 1
            poke(to + 16 * written, sign * key)
            poke(to + 16 * written + 8, peek(slots + 8 * slot))
            written += 1
            left -= 1
        word -= 1
    while over >= 0:
        poke(to + 16 * written, sign * peek(keys + 8 * over))
        poke(to + 16 * written + 8, peek(keys + stride + 8 * over))
        over -= 1
        written += 1
    return written
