"""The seek rule: which events get an entry in a segment's sparse seek index.

An entry stands at the segment's first event, at every event that holds a BOOK_SNAPSHOT (its kind says so), and at
the first event that starts 16 KiB or farther behind the last entry. The rule looks at records alone, so an open
segment's index, a recovered one and a sealed one are equal.
"""

from __future__ import annotations

import sys

from chronicle.core.layout import (
    OFFSET_TS_RECV,
    SEEK_ENTRY,
    SEEK_INTERVAL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)
from chronicle.core.source import SeekPoint

__all__ = ["seek_entries", "seek_index"]

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
    if _has_kernels() and end - start >= _KERNEL_BYTES_MIN:
        from chronicle.core.kernels.walking import seek_index_array

        return [SeekPoint(*entry) for entry in seek_index_array(words, start, end, index).tolist()]
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


def seek_entries(words: memoryview, start: int, end: int, index: int) -> bytes:
    """Return the entries of :func:`seek_index` as they stand in a segment."""
    if _has_kernels() and end - start >= _KERNEL_BYTES_MIN:
        from chronicle.core.kernels.walking import seek_index_array

        return seek_index_array(words, start, end, index).astype("<i8", copy=False).tobytes()
    points = seek_index(words, start, end, index)
    return b"".join(SEEK_ENTRY.pack(point.index, point.offset, point.ts_recv, point.kind) for point in points)


def _has_kernels() -> bool:
    """Whether this process has loaded compiled code already: for a walk alone it is not worth it."""
    return "chronicle.core.kernels.walking" in sys.modules or "chronicle.core.kernels.calls" in sys.modules


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
