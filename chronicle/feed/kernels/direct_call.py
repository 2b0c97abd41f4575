"""A message into both queues in one call: the frame verbatim as a WIRE record, and the event that it means.

The C function is of the interpreter's calling convention, as `scan_call` has it. It does the whole or nothing: both
queues must have room for bytes alone, the message must be of a shape and all of its names known, and only then is
anything written: the WIRE record first, committed, then the event. Else it returns 0 and Python goes the long way
with the same frame. The caller holds the GIL, so that a signal comes before or after.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.calls import OBJECT_BYTES, TYPE_OFFSET
from chronicle.core.kernels.committing import ADDRESS, commit_event, room
from chronicle.core.kernels.memory import copy_bytes, peek, poke
from chronicle.core.layout import (
    HEADER_BYTES,
    INT64_MIN,
    NONE,
    RECORD_BYTES_MAX,
    WIRE_BODY,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    Flag,
    Kind,
    WireForm,
)
from chronicle.feed.kernels.emit import write
from chronicle.feed.kernels.scan_call import scan, whole_number
from chronicle.feed.scan_state import Lag, Path, Plan, Record, ShapeHead, Slot, TableHead, WriterCounts, offset_in

__all__ = ["put_message"]

_from_long = types.ExternalFunction("PyLong_FromLongLong", types.intp(types.int64))
_bytes_at = types.ExternalFunction("PyBytes_AsString", types.intp(types.intp))
_bytes_size = types.ExternalFunction("PyBytes_Size", types.int64(types.intp))

_CALL = types.intp(types.intp, types.intp, types.intp, types.intp)
_PLAN, _HEAD, _WIRE, _RAW = (offset_in(Path, name) for name in ("plan", "head", "wire", "raw"))
_COUNTS, _CONNECTION = offset_in(Path, "counts"), offset_in(Path, "connection")
_FROM, _FROM_BYTES = offset_in(Path, "address"), offset_in(Path, "address_bytes")
_EVENT, _EVENT_BYTES = offset_in(Path, "event"), offset_in(Path, "event_bytes")
_NEXT, _LAST_TS = offset_in(WriterCounts, "next_index"), offset_in(WriterCounts, "last_ts")
_FRAMES, _RECORDS = offset_in(WriterCounts, "frames"), offset_in(WriterCounts, "records")
_EVENTS = offset_in(WriterCounts, "events")
_TABLE, _LAG = offset_in(TableHead, "table"), offset_in(Path, "lag")
_LAG_TS, _LAG_NS = offset_in(Lag, "ts_recv"), offset_in(Lag, "lag_ns")
_COUNT, _BYTES_TYPE, _SCANNED = offset_in(Plan, "count"), offset_in(Plan, "bytes_type"), offset_in(Plan, "scanned")
_SLOTS = offset_in(Plan, "slots")
_TIME, _SEEN = 8 * int(Slot.TIME), 8 * int(Slot.SEEN)
_RECORD = offset_in(ShapeHead, "record")
_DELTAS, _SNAPSHOT, _TRADE, _QUOTE = map(int, Record)
_KIND_WIRE, _KIND_DELTA, _KIND_SNAPSHOT = int(Kind.WIRE), int(Kind.BOOK_DELTA), int(Kind.BOOK_SNAPSHOT)
_WIRE_HEAD = (int(Kind.WIRE) << WORD_KIND_SHIFT) | (int(Flag.LAST) << WORD_FLAGS_SHIFT)
_TEXT, _BINARY = int(WireForm.TEXT), int(WireForm.BINARY)
_BODY_BYTES = WIRE_BODY.size
_ARGUMENTS = 3


@njit(cache=True)
def _put_wire(path: Any, position: Any, length: Any, form: Any, start: Any, size: Any, ts_recv: Any) -> Any:
    """Append the WIRE record of a message at `position` of the wire queue and return its index."""
    state = peek(path + _WIRE)
    at = peek(state + ADDRESS) + position
    address_bytes = peek(path + _FROM_BYTES)
    tail = at + length - 8
    poke(tail, 0)  # the padding; the payload then overwrites what of this word is its own
    poke(at + 8, ts_recv)
    poke(at + 16, 0)
    poke(at + 24, NONE)
    poke(at + 32, peek(path + _CONNECTION) << 32)
    poke(at + 40, NONE)
    poke(at + 48, form | (address_bytes << 32))
    poke(at + 56, size)
    copy_bytes(at + HEADER_BYTES + _BODY_BYTES, peek(path + _FROM), address_bytes)
    copy_bytes(at + HEADER_BYTES + _BODY_BYTES + address_bytes, start, size)
    return commit_event(state, position, position + length, length | _WIRE_HEAD, 1, ts_recv, _KIND_WIRE)


@njit(cache=True)
def _note(path: Any, plan: Any, record: Any, ts_recv: Any) -> None:
    """Note when this stream was seen, and how far its receipt lies behind the venue's time."""
    slots = peek(plan + _SLOTS)
    seen = peek(slots + _SEEN)
    channel = 8 if record == _TRADE else 16 if record == _QUOTE else 0
    poke(seen + channel, ts_recv)
    ts_event = peek(slots + _TIME)
    if ts_event > 0:
        lag = peek(path + _LAG)
        poke(lag + _LAG_TS, ts_recv)
        poke(lag + _LAG_NS, ts_recv - ts_event)


@njit(cache=True)
def _put(path: Any, start: Any, size: Any, form: Any, ts_recv: Any) -> Any:
    """Append a message to both queues and return 1; 0 with nothing touched but the plan."""
    table = peek(peek(path + _HEAD) + _TABLE)
    counts, plan = peek(path + _COUNTS), peek(path + _PLAN)
    length = (HEADER_BYTES + _BODY_BYTES + peek(path + _FROM_BYTES) + size + 7) & -8
    if table == 0 or ts_recv < peek(counts + _LAST_TS) or length > RECORD_BYTES_MAX:
        return 0
    wire, raw = peek(path + _WIRE), peek(path + _RAW)
    wire_position = room(wire, length, ts_recv, _KIND_WIRE)
    if wire_position < 0:
        return 0
    shape, event_bytes = scan(plan, table, start, start + size)
    if event_bytes <= 0:
        return 0
    record = peek(shape + _RECORD)
    kind = _KIND_SNAPSHOT if record == _SNAPSHOT else _KIND_DELTA  # any that is no snapshot
    raw_position = room(raw, event_bytes, ts_recv, kind)
    if raw_position < 0:
        return 0
    index = peek(counts + _NEXT)
    _put_wire(path, wire_position, length, form, start, size, ts_recv)
    at = peek(raw + ADDRESS) + raw_position
    head = write(at, shape, plan, ts_recv, index, peek(path + _CONNECTION), 0)
    records = peek(plan + _COUNT)
    kind = (head >> WORD_KIND_SHIFT) & 0xFFFF
    commit_event(raw, raw_position, raw_position + event_bytes, head, records, ts_recv, kind)
    poke(path + _EVENT, at)
    poke(path + _EVENT_BYTES, event_bytes)
    poke(counts + _NEXT, index + 1)
    poke(counts + _LAST_TS, ts_recv)
    poke(counts + _FRAMES, peek(counts + _FRAMES) + 1)
    poke(counts + _RECORDS, peek(counts + _RECORDS) + records)
    poke(counts + _EVENTS, peek(counts + _EVENTS) + 1)
    poke(plan + _SCANNED, peek(plan + _SCANNED) + 1)
    _note(path, plan, record, ts_recv)
    return 1


@cfunc(_CALL, cache=True)
def put_message(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """``put(payload, form, ts_recv)``: 1 when the message stands in both queues, 0 when nothing was written.

    self: the Path.
    """
    path = peek(self + OBJECT_BYTES)
    done = 0
    if keywords == 0 and count == _ARGUMENTS:
        payload = peek(arguments)
        form, ts_recv = whole_number(peek(arguments + 8)), whole_number(peek(arguments + 16))
        plain_bytes = peek(payload + TYPE_OFFSET) == peek(peek(path + _PLAN) + _BYTES_TYPE)
        if plain_bytes and ts_recv != INT64_MIN and form in (_TEXT, _BINARY):
            done = _put(path, _bytes_at(payload), _bytes_size(payload), form, ts_recv)
    return _from_long(done)
