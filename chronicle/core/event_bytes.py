"""Packed events as bytes: checking that they are whole, and raising late receive times."""

from __future__ import annotations

import struct

from chronicle.core import layout
from chronicle.core.errors import RecordError
from chronicle.core.layout import (
    HEADER_BYTES,
    OFFSET_TS_RECV,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)

__all__ = ["check_event", "check_events", "clamped_event"]

_TIME = struct.Struct("<q")
_HEAD = struct.Struct("<Qq")
_FLAGS_OFFSET = 6
_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT


def clamped_event(data: bytes | bytearray, floor_ts: int) -> tuple[bytearray, int]:
    """Return (copy of the event with no ts_recv below `floor_ts`, records changed); those carry F_BAD_TS_RECV."""
    changed = bytearray(data)
    position = count = 0
    while position < len(changed):
        if _TIME.unpack_from(changed, position + OFFSET_TS_RECV)[0] < floor_ts:
            _TIME.pack_into(changed, position + OFFSET_TS_RECV, floor_ts)
            changed[position + _FLAGS_OFFSET] |= Flag.BAD_TS_RECV
            count += 1
        position += int.from_bytes(changed[position : position + 4], "little")
    return changed, count


def check_event(data: bytes | bytearray, count: int) -> bool:
    """Check that `data` is one whole event of `count` records; return whether it holds a BOOK_SNAPSHOT.

    Raises
    ------
    RecordError
        When a length or kind is impossible, the count differs, or F_LAST is not on the last record alone.
    """
    position, seen, size, snapshot, ended = 0, 0, len(data), False, False
    while not ended and position + HEADER_BYTES <= size:
        word = int.from_bytes(data[position : position + 8], "little")
        length, kind = word & WORD_LENGTH_MASK, (word >> WORD_KIND_SHIFT) & 0xFFFF
        if length < HEADER_BYTES or length & 7 or length > layout.RECORD_BYTES_MAX or kind in (0, Kind.ROLL):
            break
        snapshot = snapshot or kind == Kind.BOOK_SNAPSHOT
        position += length
        seen += 1
        ended = bool(word & _LAST)
    if not ended or position != size or seen != count or not count:
        raise RecordError(
            "the bytes are not one whole event",
            offset=position,
            expected=f"{count} records, F_LAST on the last alone",
            found=f"{seen} records in {position} of {size} bytes",
            hint="build it with EventBuilder and append what take() returns",
        )
    return snapshot


def check_events(data: bytes | bytearray, count: int) -> list[tuple[int, int, int]]:
    """Check that `data` is whole events of together `count` records.

    Returns
    -------
    list of (offset, record number, kind)
        Where each event begins; its kind is BOOK_SNAPSHOT when it holds one, else that of its first record.

    Raises
    ------
    RecordError
        When a length or kind is impossible, the count differs, the last record carries no F_LAST, or ts_recv
        decreases.
    """
    events: list[tuple[int, int, int]] = []
    position, seen, size = 0, 0, len(data)
    event, first, event_kind, ended = 0, 0, 0, False
    last_ts = layout.INT64_MIN
    while position + HEADER_BYTES <= size:
        word, ts = _HEAD.unpack_from(data, position)
        length, kind = word & WORD_LENGTH_MASK, (word >> WORD_KIND_SHIFT) & 0xFFFF
        if length < HEADER_BYTES or length & 7 or kind in (0, Kind.ROLL) or ts < last_ts:
            break
        if not event_kind or kind == Kind.BOOK_SNAPSHOT:
            event_kind = kind
        last_ts = ts
        position += length
        seen += 1
        ended = bool(word & _LAST)
        if ended:
            events.append((event, first, event_kind))
            event, first, event_kind = position, seen, 0
    if not ended or position != size or seen != count:
        raise RecordError(
            "the bytes are not whole events",
            offset=position,
            expected=f"{count} records in order of ts_recv, F_LAST on the last",
            found=f"{seen} records in {position} of {size} bytes",
            hint="build them with EventBuilder and append what take() returns",
        )
    return events
