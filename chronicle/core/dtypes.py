"""NumPy structured dtypes of records: the same bytes as :mod:`chronicle.core.layout`, as columns.

``DTYPES[kind]`` covers the fixed part of a record of that kind, header included; for kinds with a variable tail
(levels, msgpack details, frames) the tail follows the fixed part.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.core.layout import Kind

__all__ = ["DTYPES", "HEADER_DTYPE", "LEVEL_DTYPE", "SEEK_DTYPE"]

_HEADER: Final[list[tuple[str, str]]] = [
    ("length", "<u4"),
    ("kind", "<u2"),
    ("flags", "u1"),
    ("side", "u1"),
    ("ts_recv", "<i8"),
    ("ts_event", "<i8"),
    ("source_index", "<i8"),
    ("instrument", "<u4"),
    ("source", "<u2"),
    ("ordinal", "<u2"),
    ("sequence", "<i8"),
]

_BODIES: Final[dict[Kind, list[tuple[str, str]]]] = {
    Kind.ROLL: [("next_segment", "<i8"), ("next_base_index", "<i8")],
    Kind.INSTRUMENT: [
        ("price_exponent", "<i2"),
        ("size_exponent", "<i2"),
        ("driver", "u1"),
        ("check_rule", "u1"),
        ("sequence_rule", "u1"),
        ("_reserved", "u1"),
        ("check_price_decimals", "<i2"),
        ("check_size_decimals", "<i2"),
        ("book_depth", "<u4"),
        ("tick", "<i8"),
        ("lot", "<i8"),
        ("details_bytes", "<u4"),
        ("_pad", "V4"),
    ],
    Kind.STATUS: [("code", "<u2"), ("_pad", "V2"), ("details_bytes", "<u4")],
    Kind.GAP: [
        ("cause", "u1"),
        ("state", "u1"),
        ("_pad", "V6"),
        ("first_missing", "<i8"),
        ("last_missing", "<i8"),
        ("last_good_ts", "<i8"),
        ("recovery_ts", "<i8"),
        ("last_good_index", "<i8"),
    ],
    Kind.CHECK: [("rule", "u1"), ("verdict", "u1"), ("_pad", "V6"), ("expected", "<i8"), ("computed", "<i8")],
    Kind.WIRE: [
        ("form", "<u2"),
        ("_reserved", "<u2"),
        ("address_bytes", "<u4"),
        ("payload_bytes", "<u4"),
        ("_pad", "V4"),
    ],
    Kind.BOOK_DELTA: [
        ("price", "<i8"),
        ("size", "<i8"),
        ("sequence_first", "<i8"),
        ("sequence_previous", "<i8"),
    ],
    Kind.BOOK_SNAPSHOT: [
        ("bid_count", "<u4"),
        ("ask_count", "<u4"),
        ("origin", "u1"),
        ("status", "u1"),
        ("verified_by", "u1"),
        ("_reserved", "u1"),
        ("_pad", "V4"),
        ("bid_floor", "<i8"),
        ("ask_ceiling", "<i8"),
        ("last_good_ts", "<i8"),
    ],
    Kind.ORDER: [
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("action", "u1"),
        ("code", "u1"),
        ("_pad", "V6"),
    ],
    Kind.ORDER_SNAPSHOT: [("bid_count", "<u4"), ("ask_count", "<u4")],
    Kind.TRADE: [
        ("price", "<i8"),
        ("size", "<i8"),
        ("trade_id", "<i8"),
        ("trade_id_last", "<i8"),
        ("type", "u1"),
        ("_pad", "V7"),
    ],
    Kind.QUOTE: [("bid_price", "<i8"), ("bid_size", "<i8"), ("ask_price", "<i8"), ("ask_size", "<i8")],
    Kind.CANDLE: [
        ("timeframe", "<u4"),
        ("state", "u1"),
        ("_pad", "V3"),
        ("trade_count", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume_high", "<i8"),
        ("volume_low", "<u8"),
        ("notional_high", "<i8"),
        ("notional_low", "<u8"),
        ("buy_volume_high", "<i8"),
        ("buy_volume_low", "<u8"),
    ],
    Kind.PROGRESS: [
        ("source_segment", "<i8"),
        ("frontier_index", "<i8"),
        ("frontier_ts", "<i8"),
        ("records_total", "<i8"),
    ],
}

HEADER_DTYPE: Final[np.dtype[Any]] = np.dtype(_HEADER)
"""The 48-byte record header."""

DTYPES: Final[dict[Kind, np.dtype[Any]]] = {kind: np.dtype(_HEADER + body) for kind, body in _BODIES.items()}
"""Header and fixed body of each kind."""

LEVEL_DTYPE: Final[np.dtype[Any]] = np.dtype([("price", "<i8"), ("size", "<i8")])
"""One level of a BOOK_SNAPSHOT."""

SEEK_DTYPE: Final[np.dtype[Any]] = np.dtype(
    [("index", "<i8"), ("offset", "<i8"), ("ts_recv", "<i8"), ("kind", "<i8")]
)
"""One entry of a seek index."""
