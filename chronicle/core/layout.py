"""The bytes of queues: offsets, sizes and struct formats, in the order of ``docs/format/queue.md``.

Nothing here imports NumPy or numba: commands that only look at headers start fast. The NumPy views of the same
bytes are in :mod:`chronicle.core.dtypes`; ``tests/unit/core/test_layout.py`` holds this file, the dtypes and the
tables of the document against one another.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

__all__ = ["Action", "Cause", "CheckRule", "Flag", "Kind", "Origin", "SegmentState", "SequenceRule", "Side"]

FORMAT_VERSION: Final = 1
ALIGNMENT: Final = 8
PAGE_BYTES: Final = 4096

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
NONE: Final = -1
"""The "there is none" value of sequence, source index, trade id and similar fields."""


class Kind(IntEnum):
    """Record kinds. Readers skip numbers they do not know by the record's length."""

    ROLL = 1
    INSTRUMENT = 16
    STATUS = 17
    GAP = 18
    CHECK = 19
    WIRE = 20
    BOOK_DELTA = 32
    BOOK_SNAPSHOT = 33
    ORDER = 34
    TRADE = 35
    QUOTE = 36
    CANDLE = 37
    ORDER_SNAPSHOT = 38
    PROGRESS = 48


class Flag(IntFlag):
    """Record flags; values of DBN where DBN has one."""

    LAST = 128
    SNAPSHOT = 32
    BAD_TS_RECV = 8
    MAYBE_BAD_BOOK = 4
    CORRECTION = 2
    """Of a CANDLE: it replaces an earlier record of the same bar. (DBN leaves this bit to the publisher.)"""


class Side(IntEnum):
    """Side of a level or order; of a trade, the aggressor's. Values are DBN's characters."""

    NONE = 0
    ASK = ord("A")
    BID = ord("B")


class Action(IntEnum):
    """What happened to an order; values are DBN's characters."""

    NONE = 0
    ADD = ord("A")
    CANCEL = ord("C")
    FILL = ord("F")
    MODIFY = ord("M")
    CLEAR = ord("R")
    TRADE = ord("T")


class Origin(IntEnum):
    """Who made a BOOK_SNAPSHOT."""

    VENUE = 1
    ETL = 2


class CheckRule(IntEnum):
    """The text and checksum rule of a CHECK record; numbers are part of the format."""

    NONE = 0
    KRAKEN_V1 = 1
    OKX_V5 = 2
    BITGET_V1 = 3


class Verdict(IntEnum):
    """The ETL's verdict on a CHECK record. Raw records are UNJUDGED."""

    UNJUDGED = 0
    PASSED = 1
    FAILED = 2
    NO_BOOK = 3


class SequenceRule(IntEnum):
    """How a venue numbers its book messages; the rules are in :mod:`chronicle.core.sequencing`."""

    NONE = 0
    BINANCE_SPOT = 1
    OKX_V5 = 2
    COUNT = 3
    BINANCE_FUTURES = 4
    CONNECTION = 5
    GROWING = 6


class Cause(IntEnum):
    """Why a GAP was declared."""

    SEQUENCE = 1
    CHECK = 2
    DISCONNECT = 3
    DROPPED = 4
    DECODE = 5
    NO_SNAPSHOT = 6
    ORDER = 7


class GapState(IntEnum):
    """OPEN when the hole is found; CLOSED when a venue snapshot (or a proven sequence) ends it."""

    OPEN = 1
    CLOSED = 2


class StatusCode(IntEnum):
    """Codes of STATUS records."""

    CONNECTED = 1
    SUBSCRIBED = 2
    DISCONNECTED = 3
    UNSUBSCRIBED = 4
    HEARTBEAT_LOST = 5
    VENUE = 6
    ERROR = 7
    DECODE_ERROR = 8
    HALTED = 9
    RESUMED = 10
    CAPTURE_START = 11
    CAPTURE_END = 12
    RESYNC = 13
    LOST = 14
    HEARTBEAT = 15
    JOINED = 16
    LEFT = 17


class BookStatus(IntEnum):
    """Trust in a book, as stored in BOOK_SNAPSHOT. The public words are the names in lower case."""

    UNVERIFIED = 0
    OK = 1
    GAP = 2
    STALE = 3
    CROSSED = 4


class VerifiedBy(IntEnum):
    """What stands behind an ``ok`` book."""

    NOTHING = 0
    SEQUENCE = 1
    CHECKSUM = 2


class WireForm(IntEnum):
    """Form of a WIRE record's payload."""

    TEXT = 1
    BINARY = 2
    SENT = 3
    CONNECTED = 4
    HTTP = 5
    CONFIG = 6
    DISCONNECTED = 7


class TradeType(IntEnum):
    """PLAIN: one fill. AGGREGATE: several fills of one taker order at one price (ids ``trade_id..trade_id_last``).

    HIDDEN: against an order that the book does not show. CROSS: an auction's single price.
    """

    PLAIN = 0
    AGGREGATE = 1
    HIDDEN = 2
    CROSS = 3


class CandleState(IntEnum):
    """CLOSED: a trade of a later bar came. PARTIAL: written because the line ended, or trades of it are missing."""

    CLOSED = 1
    PARTIAL = 2


class SegmentState(IntEnum):
    """State in a segment's header."""

    OPEN = 1
    SEALED = 2


# --- the record header -------------------------------------------------------------------------------------------

HEADER_BYTES: Final = 48
HEADER: Final = struct.Struct("<IHBBqqqIHHq")
"""length u32, kind u16, flags u8, side u8, ts_recv, ts_event, source_index i64, instrument u32, source u16,
ordinal u16, sequence i64."""

OFFSET_FLAGS: Final = 6
OFFSET_TS_RECV: Final = 8
OFFSET_TS_EVENT: Final = 16
OFFSET_SOURCE_INDEX: Final = 24
OFFSET_INSTRUMENT: Final = 32
OFFSET_SOURCE: Final = 36
OFFSET_ORDINAL: Final = 38
OFFSET_SEQUENCE: Final = 40

WORD_LENGTH_MASK: Final = 0xFFFFFFFF
WORD_KIND_SHIFT: Final = 32
WORD_FLAGS_SHIFT: Final = 48
WORD_SIDE_SHIFT: Final = 56

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024 + PAGE_BYTES
EVENT_BYTES_MAX: Final = 64 * 1024 * 1024

# --- bodies (offsets from the record's start are HEADER_BYTES + position) ----------------------------------------

ROLL_BODY: Final = struct.Struct("<qq")
"""next segment number, base index of the next segment."""

INSTRUMENT_BODY: Final = struct.Struct("<hhBBBBhhIqqI4x")
"""price_exponent, size_exponent, driver kind, check rule, sequence rule, reserved 0, check_price_decimals,
check_size_decimals, book_depth u32 (0 = unlimited), tick i64, lot i64 (mantissas, 0 = unknown), details_bytes
u32; then details (msgpack map)."""

STATUS_BODY: Final = struct.Struct("<H2xI")
"""code, details_bytes; then details (msgpack map)."""

GAP_BODY: Final = struct.Struct("<BB6xqqqqq")
"""cause, state, first_missing, last_missing sequence, last_good_ts, recovery_ts (ts_recv, NONE while open),
last_good_index (source index of the last good record)."""

CHECK_BODY: Final = struct.Struct("<BB6xqq")
"""rule, verdict, expected (the venue's value), computed (ours; 0 while unjudged)."""

WIRE_BODY: Final = struct.Struct("<HHII4x")
"""form, reserved 0, address_bytes, payload_bytes; then address, payload (verbatim)."""

BOOK_DELTA_BODY: Final = struct.Struct("<qqqq")
"""price, size, sequence_first, sequence_previous."""

BOOK_SNAPSHOT_BODY: Final = struct.Struct("<IIBBBB4xqqq")
"""bid_count, ask_count, origin, status, verified_by, reserved 0, bid_floor, ask_ceiling, last_good_ts; then
levels: bid_count x (price, size) best first, ask_count x (price, size) best first."""

ORDER_BODY: Final = struct.Struct("<QqqBB6x")
"""order_id u64, price, size, action, venue type code."""

ORDER_SNAPSHOT_BODY: Final = struct.Struct("<II")
"""bid_count, ask_count; then orders: bids best first, asks best first, at a price first come first; each is order_id
u64, price, size."""
ORDER_SNAPSHOT_ROW_BYTES: Final = 24

TRADE_BODY: Final = struct.Struct("<qqqqB7x")
"""price, size, trade_id, trade_id_last, type."""

QUOTE_BODY: Final = struct.Struct("<qqqq")
"""bid_price, bid_size, ask_price, ask_size (a price of INT64_MIN with size 0: side empty)."""

CANDLE_BODY: Final = struct.Struct("<IB3xqqqqqqQqQqQ")
"""timeframe (seconds), state, trade_count, open, high, low, close; then volume, notional (the sum of price times
size) and buy volume, each a 128-bit two's complement number as (high i64, low u64). The header's ts_event is the
bar's open."""

PROGRESS_BODY: Final = struct.Struct("<qqqq")
"""source_segment, frontier_index (raw records below it are finished), frontier_ts (ts_recv), records_total."""

ROLL_BYTES: Final = HEADER_BYTES + ROLL_BODY.size
BOOK_DELTA_BYTES: Final = HEADER_BYTES + BOOK_DELTA_BODY.size
GAP_BYTES: Final = HEADER_BYTES + GAP_BODY.size
CHECK_BYTES: Final = HEADER_BYTES + CHECK_BODY.size
ORDER_BYTES: Final = HEADER_BYTES + ORDER_BODY.size
TRADE_BYTES: Final = HEADER_BYTES + TRADE_BODY.size
QUOTE_BYTES: Final = HEADER_BYTES + QUOTE_BODY.size
CANDLE_BYTES: Final = HEADER_BYTES + CANDLE_BODY.size
PROGRESS_BYTES: Final = HEADER_BYTES + PROGRESS_BODY.size
SNAPSHOT_LEVELS_OFFSET: Final = HEADER_BYTES + BOOK_SNAPSHOT_BODY.size

assert HEADER.size == HEADER_BYTES
assert (ROLL_BYTES, BOOK_DELTA_BYTES, GAP_BYTES, CHECK_BYTES) == (64, 80, 96, 72)
assert (ORDER_BYTES, TRADE_BYTES, QUOTE_BYTES, CANDLE_BYTES, PROGRESS_BYTES) == (80, 88, 80, 144, 80)
assert (INSTRUMENT_BODY.size, STATUS_BODY.size, WIRE_BODY.size, SNAPSHOT_LEVELS_OFFSET) == (40, 8, 16, 88)

# --- the segment file --------------------------------------------------------------------------------------------

SEGMENT_MAGIC: Final = b"CHRQSEG1"
SEGMENT_END_MAGIC: Final = b"CHRQEND1"
BYTE_ORDER_MARK: Final = 0x01020304
SEGMENT_HEADER_BYTES: Final = PAGE_BYTES

SEGMENT_HEADER: Final = struct.Struct("<8sII16sqqqqqqqQqqqqqII")
"""magic, version, byte order mark, queue id, generation, segment number, base_index, data_offset, data_capacity,
prologue_offset, prologue_bytes, prologue checksum (xxh3_64), seek_offset, seek_capacity, cycle_ns, cycle_start_ns,
base_ts_recv, state, reserved 0."""

SEGMENT_TOTALS: Final = struct.Struct("<qqqqqqq")
"""Sealed only, else 0: record_count, data_bytes, ts_first, ts_last, seek_count, footer_offset, file_bytes."""
SEGMENT_TOTALS_OFFSET: Final = SEGMENT_HEADER.size
SEGMENT_CHECKSUM_OFFSET: Final = 504
"""u64 xxh3_64 of header bytes [0, 504)."""
SEGMENT_SEEK_COUNT_OFFSET: Final = 512
"""u64, open only: published seek entries (release store after the entry)."""

SEEK_ENTRY: Final = struct.Struct("<qqqq")
"""index, offset (in the file), ts_recv of the record there, kind of the record there."""
SEEK_ENTRY_BYTES: Final = 32
SEEK_INTERVAL_BYTES: Final = 16 * 1024
"""An entry at the first event that starts this far or farther behind the last entry, and at every event that
opens with a BOOK_SNAPSHOT."""
SEEK_BYTES_PER_ENTRY: Final = 8192
"""An open segment reserves one entry for this many bytes of capacity (at least 64)."""

CHECKSUM_BLOCK_BYTES: Final = 64 * 1024
FOOTER_TRAILER: Final = struct.Struct("<8sqqqQQQ8x")
"""magic, seek_count, block_count, block_bytes, footer checksum (of seek entries and block checksums), file
checksum (of all bytes before the trailer), trailer checksum (of the trailer's first 48 bytes)."""
FOOTER_TRAILER_BYTES: Final = 64

assert SEGMENT_TOTALS_OFFSET == 144
assert SEEK_ENTRY.size == SEEK_ENTRY_BYTES
assert FOOTER_TRAILER.size == FOOTER_TRAILER_BYTES

# --- the queue's control file ------------------------------------------------------------------------------------

CONTROL_BYTES: Final = PAGE_BYTES
CONTROL_MAGIC: Final = b"CHRQCTL1"
CONTROL: Final = struct.Struct("<8sII16sq")
"""magic, version, byte order mark, queue id, generation."""
CONTROL_EPOCH_OFFSET: Final = 64
CONTROL_SEGMENT_OFFSET: Final = 72
CONTROL_SYNCED_OFFSET: Final = 80
CONTROL_TIERED_OFFSET: Final = 88
CONTROL_FUTEX_OFFSET: Final = 128
CONTROL_WAITERS_OFFSET: Final = 132

SEGMENT_OPEN_SUFFIX: Final = ".open"
SEGMENT_SEALED_SUFFIX: Final = ".seg"


def word(length: int, kind: int, flags: int = 0, side: int = 0) -> int:
    """Return the commit word of a record: length, kind, flags and side in one u64."""
    return length | kind << WORD_KIND_SHIFT | flags << WORD_FLAGS_SHIFT | side << WORD_SIDE_SHIFT


def aligned(size: int) -> int:
    """Return `size` rounded up to the record alignment."""
    return (size + ALIGNMENT - 1) & -ALIGNMENT


def segment_name(number: int, state: SegmentState) -> str:
    """Return the file name of a segment: ten digits, then ``.open`` or ``.seg``."""
    suffix = SEGMENT_OPEN_SUFFIX if state is SegmentState.OPEN else SEGMENT_SEALED_SUFFIX
    return f"{number:010d}{suffix}"
