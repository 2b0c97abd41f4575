"""The scan of one message as a C function of the interpreter's own calling convention, as `core.kernels.calls` has
for appends: without a frame, and with the event's bytes as the object that it returns."""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.calls import OBJECT_BYTES, TYPE_OFFSET
from chronicle.core.kernels.memory import peek, poke
from chronicle.core.layout import EVENT_BYTES_MAX, INT64_MIN
from chronicle.feed.kernels.emit import prepare, write
from chronicle.feed.kernels.scan import matches
from chronicle.feed.scan_state import Plan, ShapeHead, offset_in

__all__ = ["scan", "scan_bytes", "whole_number"]

_as_long = types.ExternalFunction("PyLong_AsLongLong", types.int64(types.intp))
_from_long = types.ExternalFunction("PyLong_FromLongLong", types.intp(types.int64))
_error = types.ExternalFunction("PyErr_Occurred", types.intp())
_clear = types.ExternalFunction("PyErr_Clear", types.void())
_bytes_at = types.ExternalFunction("PyBytes_AsString", types.intp(types.intp))
_bytes_size = types.ExternalFunction("PyBytes_Size", types.int64(types.intp))
_bytearray_new = types.ExternalFunction("PyByteArray_FromStringAndSize", types.intp(types.intp, types.int64))
_bytearray_at = types.ExternalFunction("PyByteArray_AsString", types.intp(types.intp))

_CALL = types.intp(types.intp, types.intp, types.intp, types.intp)
_SHAPE_BYTES = 8 * len(ShapeHead._fields_)
_SHAPES, _SHAPE_COUNT = offset_in(Plan, "shapes"), offset_in(Plan, "shape_count")
_LAST_SHAPE, _BYTES_TYPE = offset_in(Plan, "last_shape"), offset_in(Plan, "bytes_type")
_NAME_LENGTH = offset_in(Plan, "name_length")
_NAME_ROLE, _NAME_OFFSET = offset_in(Plan, "name_role"), offset_in(Plan, "name_offset")
_SCANNED, _DECLINED = offset_in(Plan, "scanned"), offset_in(Plan, "declined")
_ARGUMENTS = 6
_U16 = 0xFFFF


@njit(cache=True, nogil=True)
def scan(plan: Any, table: Any, start: Any, end: Any) -> Any:
    """Return (address of the shape that the message from `start` to `end` is of, size of its event); (0, 0): refused.

    The shape of the message before is tried first. A refused message may name what no table has: then the plan says
    where (for one that matches a shape but for that).
    """
    count = peek(plan + _SHAPE_COUNT)
    number = peek(plan + _LAST_SHAPE)
    for _ in range(count):
        shape = peek(plan + _SHAPES) + number * _SHAPE_BYTES
        if matches(shape, plan, table, start, end):
            poke(plan + _LAST_SHAPE, number)
            if peek(plan + _NAME_LENGTH) != 0:
                return 0, 0
            return shape, prepare(shape, plan)
        number = number + 1 if number + 1 < count else 0
    poke(plan + _NAME_LENGTH, 0)
    return 0, 0


@njit(cache=True)
def whole_number(object_: Any) -> Any:
    """Return the value of a Python int; INT64_MIN, and the error cleared, for what is none or too large."""
    value = _as_long(object_)
    if value == -1 and _error() != 0:
        _clear()
        return INT64_MIN
    return value


@cfunc(_CALL, cache=True)
def scan_bytes(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """``scan(payload, table, ts_recv, source_index, source, flags)``: the event as a bytearray, or 0 when refused.

    self: the Plan. table: address of the connection's names.
    """
    plan = peek(self + OBJECT_BYTES)
    if keywords == 0 and count == _ARGUMENTS:
        payload = peek(arguments)
        table = whole_number(peek(arguments + 8))
        ts_recv, source_index = whole_number(peek(arguments + 16)), whole_number(peek(arguments + 24))
        source, flags = whole_number(peek(arguments + 32)), whole_number(peek(arguments + 40))
        fits = table > 0 and ts_recv != INT64_MIN and source_index != INT64_MIN and 0 <= source <= _U16
        if fits and 0 <= flags <= 0xFF and peek(payload + TYPE_OFFSET) == peek(plan + _BYTES_TYPE):
            start = _bytes_at(payload)
            shape, size = scan(plan, table, start, start + _bytes_size(payload))
            if 0 < size <= EVENT_BYTES_MAX:
                event = _bytearray_new(0, size)
                if event != 0:
                    at = _bytearray_at(event)
                    poke(at, write(at, shape, plan, ts_recv, source_index, source, flags))
                    poke(plan + _SCANNED, peek(plan + _SCANNED) + 1)
                return event
    poke(plan + _DECLINED, peek(plan + _DECLINED) + 1)
    return _from_long(0)
