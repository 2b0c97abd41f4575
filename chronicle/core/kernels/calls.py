"""Single appends as C functions: what CPython calls for ``append``, ``append_event`` and a recorder, without a frame.

A jitted function costs 130 ns to call and 20 more an argument; struct.pack_into and a store 150 to 250. A C function
of the interpreter's own calling convention (METH_FASTCALL, "Common Object Structures" in its documentation) costs 30,
and its work about as much again. The bodies are numba's; the addresses of objects come in as integers, and every
object is taken apart by the interpreter's C functions.

Each takes the short way or none: where anything is unusual (no segment, a roll, a late record, a value that does not
fit, a seek entry at which the next segment is to be prepared) nothing was touched, and the Python method of the same
meaning is called with the same arguments. The caller of these functions holds the GIL, so that an append is atomic
among the threads of a process, and a signal comes before it or after it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numba import cfunc, njit, types

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.committing import ADDRESS, NAMES, NO_ROOM, commit_event, room
from chronicle.core.kernels.memory import copy_bytes, peek, poke, poke_u16, poke_u32, zero_bytes
from chronicle.core.layout import (
    HEADER_BYTES,
    INT64_MIN,
    NONE,
    RECORD_BYTES_MAX,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    WORD_SIDE_SHIFT,
    Flag,
    Kind,
)
from chronicle.core.writer_state import NAMES as _NAMES

__all__ = ["RecorderPlan", "append", "append_event", "append_record", "put"]

_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT
_ROLL = int(Kind.ROLL)
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)
_LONG_WAY = NO_ROOM
_U16 = 0xFFFF
_U32 = 0xFFFFFFFF

OBJECT_BYTES = 16
"""Size of an object's head in this interpreter; a ctypes object has the address of its bytes behind it."""
TYPE_OFFSET = 8

_TS_RECV, _TS_EVENT, _INSTRUMENT, _SOURCE_INDEX, _SEQUENCE, _SOURCE, _ORDINAL, _FLAGS, _SIDE, _BODY = (
    8 * place for place in range(10)
)
_LONG_APPEND, _LONG_EVENT, _BYTES, _BYTEARRAY = (8 * place for place in range(10, 14))
assert _NAMES[:10] == (
    *("ts_recv", "ts_event", "instrument", "source_index", "sequence", "source", "ordinal", "flags", "side", "body"),
)
assert _NAMES[10:] == ("_append_long", "_append_event_long")


class RecorderPlan(ctypes.Structure):
    """What a recorder decided once: the commit word, the record's length, the body's size, the kind."""

    _fields_ = (
        ("head", ctypes.c_uint64),
        ("length", ctypes.c_int64),
        ("body_bytes", ctypes.c_int64),
        ("kind", ctypes.c_int64),
    )


_as_long = types.ExternalFunction("PyLong_AsLongLong", types.int64(types.intp))
_from_long = types.ExternalFunction("PyLong_FromLongLong", types.intp(types.int64))
_error = types.ExternalFunction("PyErr_Occurred", types.intp())
_clear = types.ExternalFunction("PyErr_Clear", types.void())
_bytes_at = types.ExternalFunction("PyBytes_AsString", types.intp(types.intp))
_bytes_size = types.ExternalFunction("PyBytes_Size", types.int64(types.intp))
_bytearray_at = types.ExternalFunction("PyByteArray_AsString", types.intp(types.intp))
_bytearray_size = types.ExternalFunction("PyByteArray_Size", types.int64(types.intp))
_tuple_item = types.ExternalFunction("PyTuple_GetItem", types.intp(types.intp, types.intp))
_tuple_size = types.ExternalFunction("PyTuple_Size", types.intp(types.intp))
_attribute = types.ExternalFunction("PyObject_GetAttr", types.intp(types.intp, types.intp))
_call = types.ExternalFunction("PyObject_Vectorcall", types.intp(types.intp, types.intp, types.intp, types.intp))
_release = types.ExternalFunction("Py_DecRef", types.void(types.intp))

_CALL = types.intp(types.intp, types.intp, types.intp, types.intp)
"""PyObject *f(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)"""


@njit(cache=True)
def _number(object_: Any) -> Any:
    """Return the int's value, or INT64_MIN when it is none or does not fit: the long way says what is wrong."""
    value = _as_long(object_)
    if value == -1 and _error() != 0:
        _clear()
        return INT64_MIN
    return value


@njit(cache=True)
def _long_way(self: Any, state: Any, name: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Call the method of `self` under the table's `name` with the same arguments, and return what it returns."""
    method = _attribute(self, peek(peek(state + NAMES) + name))
    if method == 0:
        return method
    result = _call(method, arguments, count, keywords)
    _release(method)
    return result


@njit(cache=True)
def append_record(
    state: Any,
    head: Any,
    length: Any,
    kind: Any,
    ts_recv: Any,
    ts_event: Any,
    source_index: Any,
    instrument: Any,
    source: Any,
    ordinal: Any,
    sequence: Any,
    body: Any,
    body_bytes: Any,
) -> Any:
    """Append one record and return its index, or _LONG_WAY with nothing touched; for kernels that append, too.

    state: address of the writer's :class:`WriterState`. body: address of `body_bytes` bytes of the caller's. The
    record is an event of its own: `head` carries F_LAST and `length`.
    """
    if (
        instrument < 0
        or instrument > _U32
        or source < 0
        or source > _U16
        or ordinal < 0
        or ordinal > _U16
        or min(ts_recv, ts_event, source_index, sequence) == INT64_MIN
    ):
        return _LONG_WAY
    position = room(state, length, ts_recv, kind)
    if position < 0:
        return _LONG_WAY
    at = peek(state + ADDRESS) + position
    poke(at + 8, ts_recv)
    poke(at + 16, ts_event)
    poke(at + 24, source_index)
    poke_u32(at + 32, instrument)
    poke_u16(at + 36, source)
    poke_u16(at + 38, ordinal)
    poke(at + 40, sequence)
    copy_bytes(at + HEADER_BYTES, body, body_bytes)
    padding = length - HEADER_BYTES - body_bytes
    if padding > 0:
        zero_bytes(at + HEADER_BYTES + body_bytes, 0, padding)
    return commit_event(state, position, position + length, head, 1, ts_recv, kind)


@cfunc(_CALL, cache=True)
def put(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """A recorder's ``put(ts_recv, body, ts_event, instrument, source_index, sequence, source, ordinal)``.

    self: tuple of (appender, plan, the Python function for everything unusual).
    """
    state = peek(_tuple_item(self, 0) + OBJECT_BYTES)
    index = _LONG_WAY
    if keywords == 0 and 2 <= count <= 8:
        plan = peek(_tuple_item(self, 1) + OBJECT_BYTES)
        length, size, kind = peek(plan + 8), peek(plan + 16), peek(plan + 24)
        body = peek(arguments + 8)
        if peek(body + TYPE_OFFSET) == peek(peek(state + NAMES) + _BYTES):
            body_bytes = _bytes_size(body)
            ts_event = instrument = source = ordinal = 0
            source_index = sequence = NONE
            if count > 2:
                ts_event = _number(peek(arguments + 16))
            if count > 3:
                instrument = _number(peek(arguments + 24))
            if count > 4:
                source_index = _number(peek(arguments + 32))
            if count > 5:
                sequence = _number(peek(arguments + 40))
            if count > 6:
                source = _number(peek(arguments + 48))
            if count > 7:
                ordinal = _number(peek(arguments + 56))
            ts_recv = _number(peek(arguments))
            if body_bytes <= size:
                index = append_record(
                    state,
                    peek(plan),
                    length,
                    kind,
                    ts_recv,
                    ts_event,
                    source_index,
                    instrument,
                    source,
                    ordinal,
                    sequence,
                    _bytes_at(body),
                    body_bytes,
                )
    if index >= 0:
        return _from_long(index)
    return _call(_tuple_item(self, 2), arguments, count, keywords)


@njit(cache=True)
def _append_any(state: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Append the record that the arguments of :meth:`Appender.append` name; return its index or _LONG_WAY."""
    if count < 1 or count > 2 or keywords == 0:
        return _LONG_WAY
    names = peek(state + NAMES)
    kind = _number(peek(arguments))
    body = peek(arguments + 8) if count == 2 else 0
    ts_recv = source_index = INT64_MIN
    ts_event = instrument = source = ordinal = flags = side = 0
    source_index = sequence = NONE
    for number in range(_tuple_size(keywords)):
        name = _tuple_item(keywords, number)
        value = peek(arguments + 8 * (count + number))
        if name == peek(names + _BODY) and body == 0:
            body = value
            continue
        value = _number(value)
        if name == peek(names + _TS_RECV):
            ts_recv = value
        elif name == peek(names + _TS_EVENT):
            ts_event = value
        elif name == peek(names + _INSTRUMENT):
            instrument = value
        elif name == peek(names + _SOURCE_INDEX):
            source_index = value
        elif name == peek(names + _SEQUENCE):
            sequence = value
        elif name == peek(names + _SOURCE):
            source = value
        elif name == peek(names + _ORDINAL):
            ordinal = value
        elif name == peek(names + _FLAGS):
            flags = value
        elif name == peek(names + _SIDE):
            side = value
        else:
            return _LONG_WAY
    size = start = 0
    if body != 0:
        if peek(body + TYPE_OFFSET) != peek(names + _BYTES):
            return _LONG_WAY
        size, start = _bytes_size(body), _bytes_at(body)
    length = (HEADER_BYTES + size + 7) & -8
    if kind <= _ROLL or kind > _U16 or min(flags, side) < 0 or max(flags, side) > 0xFF or length > RECORD_BYTES_MAX:
        return _LONG_WAY
    head = length | (kind << WORD_KIND_SHIFT) | (flags << WORD_FLAGS_SHIFT) | (side << WORD_SIDE_SHIFT) | _LAST
    return append_record(
        state,
        head,
        length,
        kind,
        ts_recv,
        ts_event,
        source_index,
        instrument,
        source,
        ordinal,
        sequence,
        start,
        size,
    )


@cfunc(_CALL, cache=True)
def append(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """``Appender.append(kind, body, *, ts_recv, ...)``."""
    state = peek(self + OBJECT_BYTES)
    index = _append_any(state, arguments, count, keywords)
    if index >= 0:
        return _from_long(index)
    return _long_way(self, state, _LONG_APPEND, arguments, count, keywords)


@njit(cache=True)
def _append_whole(state: Any, data: Any, count: Any) -> Any:
    """Append one packed event of `count` records; return its index, or _LONG_WAY for what is late, odd or wrong."""
    names = peek(state + NAMES)
    kind = peek(data + TYPE_OFFSET)
    if kind == peek(names + _BYTES):
        size, start = _bytes_size(data), _bytes_at(data)
    elif kind == peek(names + _BYTEARRAY):
        size, start = _bytearray_size(data), _bytearray_at(data)
    else:
        return _LONG_WAY
    offset = seen = 0
    ended = False
    kind = 0
    while not ended and offset + HEADER_BYTES <= size:
        word = peek(start + offset)
        length, record_kind = word & WORD_LENGTH_MASK, (word >> WORD_KIND_SHIFT) & _U16
        if length < HEADER_BYTES or length & 7 or length > RECORD_BYTES_MAX or record_kind <= _ROLL:
            return _LONG_WAY
        if kind == 0 or record_kind == _SNAPSHOT:
            kind = record_kind
        offset += length
        seen += 1
        ended = word & _LAST != 0
    if not ended or offset != size or seen != count:
        return _LONG_WAY
    ts_recv = peek(start + 8)
    position = room(state, size, ts_recv, kind)
    if position < 0:
        return _LONG_WAY
    copy_bytes(peek(state + ADDRESS) + position + 8, start + 8, size - 8)
    return commit_event(state, position, position + size, peek(start), count, ts_recv, kind)


@cfunc(_CALL, cache=True)
def append_event(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """``Appender.append_event(data, count)``."""
    state = peek(self + OBJECT_BYTES)
    index = _LONG_WAY
    if keywords == 0 and count == 2:
        index = _append_whole(state, peek(arguments), _number(peek(arguments + 8)))
    if index >= 0:
        return _from_long(index)
    return _long_way(self, state, _LONG_EVENT, arguments, count, keywords)
