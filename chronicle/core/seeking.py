"""The seek rule: which events get an entry in a segment's sparse seek index.

An entry stands at the segment's first event, at every event that holds a BOOK_SNAPSHOT (its kind says so), and at
the first event that starts 16 KiB or farther behind the last entry. The rule looks at records alone, so an open
segment's index, a recovered one and a sealed one are equal.
"""

from __future__ import annotations

import sys

from chronicle.core.layout import (
    OFFSET_TS_RECV,
    SEEK_INTERVAL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)
from chronicle.core.source import SeekPoint

__all__ = ["seek_index"]

_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT
_KERNEL_BYTES_MIN = 256 * 1024
"""Below this the Python walk is as quick as a kernel's call and its arrays."""


def seek_index(words: memoryview, start: int, end: int, index: int) -> list[SeekPoint]:
    """Return the seek index of the whole, valid events in [start, end).

    Parameters
    ----------
    words : memoryview of u64
        The segment as words.
    start, end : int
        Offsets of the first record and after the last (the ROLL not included).
    index : int
        Index of the first record.
    """
    kernels = sys.modules.get("chronicle.core.kernels.walking")
    if kernels is not None and end - start >= _KERNEL_BYTES_MIN:
        return [SeekPoint(*entry) for entry in kernels.seek_index_entries(words, start, end, index)]
    points: list[SeekPoint] = []
    offset = event = start
    event_index, kind = index, 0
    last_entry = start - SEEK_INTERVAL_BYTES
    while offset < end:
        word = words[offset >> 3]
        record_kind = (word >> WORD_KIND_SHIFT) & 0xFFFF
        if not kind or record_kind == Kind.BOOK_SNAPSHOT:
            kind = record_kind
        offset += word & WORD_LENGTH_MASK
        index += 1
        if word & _LAST:
            if event - last_entry >= SEEK_INTERVAL_BYTES or kind == Kind.BOOK_SNAPSHOT:
                ts_recv = words[(event + OFFSET_TS_RECV) >> 3]
                points.append(SeekPoint(event_index, event, _signed(ts_recv), kind))
                last_entry = event
            event, event_index, kind = offset, index, 0
    return points


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
