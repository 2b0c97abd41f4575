"""A writer's position as 64-bit words in memory: Python reads them as attributes, compiled code by their addresses.

There is one copy, so neither side can be behind the other, and compiled code that was interrupted by a signal after
its return has already told where the writer stands.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

__all__ = ["NAMES", "WriterState", "offset_of"]

NAMES = (
    *("ts_recv", "ts_event", "instrument", "source_index", "sequence", "source", "ordinal", "flags", "side", "body"),
    *("_append_long", "_append_event_long"),
)
"""Names that compiled code compares arguments with or looks up; ``_names`` is the address of a table of the objects,
with the types bytes and bytearray behind them."""


class WriterState(ctypes.Structure):
    """The numbers of a writer that compiled code reads and changes.

    Attributes
    ----------
    next_index : int
        The index the next record gets.
    last_ts_recv : int
        ts_recv of the last record; later records are clamped to it and flagged F_BAD_TS_RECV.
    clamped_count : int
        Records whose ts_recv was clamped by this appender.
    """

    __slots__ = ()
    _fields_ = (
        ("_position", ctypes.c_int64),  # offset of the next record
        ("_reach", ctypes.c_int64),  # up to where compiled code may append; -1: Python must be asked first
        ("_limit", ctypes.c_int64),  # no record may reach past it: space is reserved so far, and for a ROLL behind it
        ("_limit_max", ctypes.c_int64),  # how far the limit may come in this segment
        ("_data_offset", ctypes.c_int64),  # of the segment's first record
        ("_steps", ctypes.c_int64),  # whether compiled code may reserve more of the segment (core.reserving)
        ("_let_go", ctypes.c_int64),  # offset below which the segment's pages were let go
        ("next_index", ctypes.c_int64),
        ("last_ts_recv", ctypes.c_int64),
        ("_cycle_end", ctypes.c_int64),
        ("clamped_count", ctypes.c_int64),
        ("_address", ctypes.c_int64),  # of the mapped segment
        ("_last_entry", ctypes.c_int64),  # offset of the event that has the last seek entry
        ("_seek_count", ctypes.c_int64),
        ("_seek_capacity", ctypes.c_int64),
        ("_seek_offset", ctypes.c_int64),
        ("_gate", ctypes.c_int64),  # an event from here on that is due a seek entry goes through Python
        ("_control_address", ctypes.c_int64),  # of the mapped control page; 0: there is none
        ("_futex_call", ctypes.c_int64),  # number of the system call
        ("_names", ctypes.c_int64),  # address of the table of interned names (chronicle.core.compiled)
    )

    if TYPE_CHECKING:
        _position: int
        _reach: int
        _limit: int
        _limit_max: int
        _data_offset: int
        _steps: int
        _let_go: int
        next_index: int
        last_ts_recv: int
        _cycle_end: int
        clamped_count: int
        _address: int
        _last_entry: int
        _seek_count: int
        _seek_capacity: int
        _seek_offset: int
        _gate: int
        _control_address: int
        _futex_call: int
        _names: int


def offset_of(name: str) -> int:
    """Return where a field stands in a writer's state, for compiled code."""
    offset: int = getattr(WriterState, name).offset
    return offset
