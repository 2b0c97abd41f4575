"""What compiled scanning of messages shares with Python: words in memory, with the places where kernels find them.

A shape is the one way in which a venue writes a message, as a list of operations (`chronicle.feed.shapes` compiles
them from the venue's text). The numbers here are between the two sides of one process; nothing of them is stored.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from chronicle.core.layout import INT64_MIN
from chronicle.feed.instruments import InstrumentState

__all__ = [
    "CHANNELS",
    "Lag",
    "NameEntry",
    "Operation",
    "Path",
    "Plan",
    "Record",
    "ShapeHead",
    "Slot",
    "TableHead",
    "Want",
    "WriterCounts",
    "offset_in",
]

ROWS_MAX: Final = 5_000
"""Levels of one side that a scan takes; a message of more is for the plain adapter."""
ROW_BYTES: Final = 32
"""A level as it stands in the text: price digits, price decimals, size digits, size decimals. Where the instrument is
known before its levels (SCALED), both digits are mantissas of its exponents already."""
SCALED_EXPONENT_MAX: Final = 10
"""Up to this exponent eight digits and eight decimals fit int64 without a look."""
NAME_BYTES_MAX: Final = 96
CHANNELS: Final = ("book", "trade", "quote")
"""Streams of an instrument that a connection may carry, in the order of the words that tell when."""


class Operation(IntEnum):
    """What comes next in a message. Each takes three words."""

    LITERAL = 1
    INTEGER = 2
    SIGNED = 3
    DIGITS = 4
    TEXT = 5
    NAME = 6
    LEVELS = 7
    NUMBER = 8
    CHOICE = 9
    SECONDS = 10
    TRADE_ID = 11
    ISO = 12
    COUNT = 13
    UPDATES = 14


class Want(IntEnum):
    """What a name must stand for: an instrument, a stream of changes, a stream of whole books of so many levels."""

    INSTRUMENT = 0
    CHANGES = 1
    WHOLE = 2


class Record(IntEnum):
    """What a message becomes."""

    DELTAS = 1
    SNAPSHOT = 2
    TRADE = 3
    QUOTE = 4


class Slot(IntEnum):
    """Where the values of a message are kept; those that it does not have are NONE, times and counts 0."""

    SEQUENCE = 0
    FIRST = 1
    PREVIOUS = 2
    TRADE_ID = 3
    TRADE_LAST = 4
    SIDE = 5
    CHECK = 6
    DEPTH = 7
    IGNORED = 8
    INSTRUMENT = 9
    TIME = 10
    NEWEST = 11
    LIMIT = 12
    FILLS = 13
    BIDS = 14
    ASKS = 15
    PRICE = 16
    SIZE = 18
    ASK_PRICE = 20
    ASK_SIZE = 22
    SEEN = 24
    SCALED = 25
    COUNTED = 26


SLOT_COUNT: Final = 27
UNSET_COUNT: Final = Slot.TIME
"""Slots before this one start as NONE, the others as 0. A number takes two: its digits, its decimals."""


class ShapeHead(ctypes.Structure):
    """One shape. `timed`: the event's time is the newest of the levels, else TIME."""

    _fields_ = (
        ("operations", ctypes.c_int64),  # address of four words each: operation, a, b, c
        ("operation_count", ctypes.c_int64),
        ("record", ctypes.c_int64),
        ("timed", ctypes.c_int64),
        ("depth_rule", ctypes.c_int64),  # 0: any; 1: the instrument's depth is DEPTH; 2: it is LIMIT
        ("empty_rule", ctypes.c_int64),  # a diff without levels: 0 nothing; 1 one record; 2 one if SEQUENCE moved
        ("cut_rule", ctypes.c_int64),  # 1: a whole book of LIMIT levels a side goes on beyond them
        ("check_rule", ctypes.c_int64),
        ("check_zero", ctypes.c_int64),  # whether a checksum of 0 is one
        ("check_decimals", ctypes.c_int64),  # whether the first level must show no more decimals than the check's
        ("asks_first", ctypes.c_int64),
        ("hollow_rule", ctypes.c_int64),  # 1: a quote's side of size 0 is no side; 2: one of price 0 is not for scans
        ("trade_type", ctypes.c_int64),
    )


TABLE_HEAD_BYTES: Final = 16
"""Before a table's entries: its mask, and the address of the number of the connection's last message (0: none is
counted)."""
NOT_COUNTED: Final = INT64_MIN
"""In place of that number before the first message."""


class NameEntry(ctypes.Structure):
    """One name of a table: what it stands for. Tables are powers of two; an unused entry has no text."""

    _fields_ = (
        ("hash", ctypes.c_int64),
        ("role", ctypes.c_int64),
        ("text", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("instrument", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("seen", ctypes.c_int64),  # address of a word per CHANNELS: ts_recv of the last event
    )

    if TYPE_CHECKING:
        hash: int
        role: int
        text: int
        length: int
        instrument: int
        limit: int
        seen: int


class TableHead(ctypes.Structure):
    """Where a connection's names are now; 0: they no longer hold."""

    _fields_ = (("table", ctypes.c_int64),)

    if TYPE_CHECKING:
        table: int


class Lag(ctypes.Structure):
    """How far a connection's last event whose venue told a time was behind it, and that event's ts_recv."""

    _fields_ = (("ts_recv", ctypes.c_int64), ("lag_ns", ctypes.c_int64))

    if TYPE_CHECKING:
        ts_recv: int
        lag_ns: int


class WriterCounts(ctypes.Structure):
    """Where a feed's writer stands; one copy for Python and for direct writes.

    Attributes
    ----------
    next_index : int
        Wire index of the next frame.
    last_ts : int
        ts_recv of the last frame.
    frames, records, events : int
        What was appended: frames to the wire queue, records and events to the raw queue.
    """

    _fields_ = (
        ("next_index", ctypes.c_int64),
        ("last_ts", ctypes.c_int64),
        ("frames", ctypes.c_int64),
        ("records", ctypes.c_int64),
        ("events", ctypes.c_int64),
    )

    if TYPE_CHECKING:
        next_index: int
        last_ts: int
        frames: int
        records: int
        events: int


class Path(ctypes.Structure):
    """One connection's way from a message to both queues; the object that a compiled direct write is bound to.

    Addresses all, but for the connection's number and the length of its address. `event`, `event_bytes` and
    `last_offset` tell of the last event: where in the raw queue it stands.
    """

    _fields_ = (
        ("plan", ctypes.c_int64),
        ("head", ctypes.c_int64),  # of the connection's TableHead
        ("lag", ctypes.c_int64),  # of its Lag
        ("wire", ctypes.c_int64),  # of the writers' states
        ("raw", ctypes.c_int64),
        ("counts", ctypes.c_int64),
        ("connection", ctypes.c_int64),
        ("address", ctypes.c_int64),
        ("address_bytes", ctypes.c_int64),
        ("event", ctypes.c_int64),
        ("event_bytes", ctypes.c_int64),
    )

    if TYPE_CHECKING:
        plan: int
        head: int
        lag: int
        wire: int
        raw: int
        counts: int
        connection: int
        address: int
        address_bytes: int
        event: int
        event_bytes: int


class Plan(ctypes.Structure):
    """The shapes of an adapter and the state of its scans; the object that a compiled scan is bound to.

    Attributes
    ----------
    count, last_offset : int
        Of the event that the last scan gave: its records, and where the last one begins.
    name_role, name_offset, name_length : int
        The name in the last message that no table has; length 0 when there was none.
    scanned, declined : int
        Messages that a scan took, and that it left to the plain adapter.
    """

    _fields_ = (
        ("shapes", ctypes.c_int64),
        ("shape_count", ctypes.c_int64),
        ("last_shape", ctypes.c_int64),
        ("slots", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("bytes_type", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("last_offset", ctypes.c_int64),
        ("name_role", ctypes.c_int64),
        ("name_offset", ctypes.c_int64),
        ("name_length", ctypes.c_int64),
        ("scanned", ctypes.c_int64),
        ("declined", ctypes.c_int64),
    )

    if TYPE_CHECKING:
        shapes: int
        shape_count: int
        last_shape: int
        slots: int
        rows: int
        bytes_type: int
        count: int
        last_offset: int
        name_role: int
        name_offset: int
        name_length: int
        scanned: int
        declined: int


def offset_in(owner: type[ctypes.Structure], name: str) -> int:
    """Return where a field stands, for compiled code."""
    offset: int = getattr(owner, name).offset
    return offset


INSTRUMENT: Final = {name: offset_in(InstrumentState, name) for name, _ in InstrumentState._fields_}
"""Where the words of an instrument stand."""
