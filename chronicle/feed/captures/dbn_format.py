"""DBN's numbers: record types and where their fields lie, datasets and the venues they are of.

Sources: github.com/databento/dbn (rust/dbn/src: record.rs, enums.rs, flags.rs, publishers.rs), and
databento.com/docs/standards-and-conventions/databento-binary-encoding. Records are little-endian; a header of 16
bytes (length in 4-byte words, type, publisher, instrument, ts_event) and a body. Prices are fixed-point, 1e-9.
"""

from __future__ import annotations

import struct
from typing import Final

from chronicle.core.layout import INT64_MAX

__all__ = ["MBO", "UNDEF_PRICE", "record_name", "venue_of_dataset"]

HEADER: Final = struct.Struct("<BBHIQ")
"""length / 4, rtype, publisher_id, instrument_id, ts_event."""
HEADER_BYTES: Final = 16
MBO_RECORD: Final = struct.Struct("<BBHIQQqIBBccQiI")
"""Header, order_id, price, size, flags, channel_id, action, side, ts_recv, ts_in_delta, sequence."""
TRADE_RECORD: Final = struct.Struct("<BBHIQqIccBBQiI")
"""Header, price, size, action, side, flags, depth, ts_recv, ts_in_delta, sequence; then levels in MBP."""
LEVEL: Final = struct.Struct("<qqIIII")
"""bid price, ask price, bid size, ask size, bid orders, ask orders."""
STATUS_RECORD: Final = struct.Struct("<BBHIQQHHHccc")
"""Header, ts_recv, action, reason, trading event, is_trading, is_quoting, is_short_sell_restricted."""

TRADES, MBP_1, MBP_10, STATUS, DEFINITION, MBO = 0x00, 0x01, 0x0A, 0x12, 0x13, 0xA0
_NAMES: Final = {
    TRADES: "trades",
    MBP_1: "mbp-1",
    MBP_10: "mbp-10",
    0x11: "ohlcv",
    STATUS: "status",
    DEFINITION: "definition",
    0x14: "imbalance",
    0x15: "error",
    0x16: "symbol-mapping",
    0x17: "system",
    0x18: "statistics",
    0x20: "ohlcv-1s",
    0x21: "ohlcv-1m",
    0x22: "ohlcv-1h",
    0x23: "ohlcv-1d",
    0x24: "ohlcv-eod",
    MBO: "mbo",
    0xB1: "cmbp-1",
    0xC0: "cbbo-1s",
    0xC1: "cbbo-1m",
    0xC2: "tcbbo",
    0xC3: "bbo-1s",
    0xC4: "bbo-1m",
}
TAKEN: Final = frozenset({TRADES, MBP_1, MBP_10, STATUS, DEFINITION, MBO})
"""Types that become records of ours; others are skipped by name and counted."""

UNDEF_PRICE: Final = INT64_MAX
PRICE_EXPONENT: Final = 9
FLAG_LAST: Final = 128
FLAG_SNAPSHOT: Final = 32
FLAG_BAD_TS_RECV: Final = 8
FLAG_MAYBE_BAD_BOOK: Final = 4

SCHEME: Final = "dbn"
UNENDED: Final = "dbn-unended"
"""Schemes of frames' addresses; the second is of an event of orders in whose middle the file ends."""

_TS_RECV_AT: Final = {
    MBO: 40,
    **dict.fromkeys((TRADES, MBP_1, MBP_10, 0xB1, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4), 32),
    **dict.fromkeys((STATUS, DEFINITION, 0x14, 0x18), 16),
}
_U64: Final = struct.Struct("<Q")

_VENUES: Final = {
    "GLBX.MDP3": "cme",
    "XNAS.ITCH": "nasdaq",
    "XNAS.BASIC": "nasdaq",
    "XBOS.ITCH": "nasdaq-bx",
    "XPSX.ITCH": "nasdaq-psx",
    "BATS.PITCH": "cboe-bzx",
    "BATY.PITCH": "cboe-byx",
    "EDGA.PITCH": "cboe-edga",
    "EDGX.PITCH": "cboe-edgx",
    "XNYS.PILLAR": "nyse",
    "XCIS.PILLAR": "nyse-national",
    "XCIS.BBO": "nyse-national",
    "XCIS.TRADES": "nyse-national",
    "XASE.PILLAR": "nyse-american",
    "XCHI.PILLAR": "nyse-chicago",
    "ARCX.PILLAR": "nyse-arca",
    "MEMX.MEMOIR": "memx",
    "EPRL.DOM": "miax-pearl",
    "IEXG.TOPS": "iex",
    "OPRA.PILLAR": "opra",
    "DBEQ.BASIC": "dbeq",
    "XCBF.PITCH": "cfe",
    "IFEU.IMPACT": "ice-europe",
    "NDEX.IMPACT": "ice-endex",
    "IFUS.IMPACT": "ice-us",
    "XEUR.EOBI": "eurex",
    "XEEE.EOBI": "eex",
}
_DATASETS: Final = {
    1: "GLBX.MDP3",
    2: "XNAS.ITCH",
    3: "XBOS.ITCH",
    4: "XPSX.ITCH",
    5: "BATS.PITCH",
    6: "BATY.PITCH",
    7: "EDGA.PITCH",
    8: "EDGX.PITCH",
    9: "XNYS.PILLAR",
    10: "XCIS.PILLAR",
    11: "XASE.PILLAR",
    12: "XCHI.PILLAR",
    13: "XCIS.BBO",
    14: "XCIS.TRADES",
    15: "MEMX.MEMOIR",
    16: "EPRL.DOM",
    38: "IEXG.TOPS",
    **dict.fromkeys(range(20, 38), "OPRA.PILLAR"),
    **dict.fromkeys(range(39, 43), "DBEQ.BASIC"),
    43: "ARCX.PILLAR",
}
_BY_MESSAGE: Final = frozenset({"ITCH", "PILLAR", "PITCH", "MEMOIR", "DOM", "TOPS"})


def record_name(rtype: int) -> str:
    """Return the schema of a record type, as ``mbp-10``."""
    return _NAMES.get(rtype, f"rtype-{rtype}")


def venue_of_dataset(dataset: str) -> str:
    """Return the venue of a dataset: ``XNAS.ITCH`` is nasdaq; one not known here is named as it is, ``abcd-feed``."""
    return _VENUES.get(dataset, dataset.lower().replace(".", "-").replace("_", "-")) or "databento"


def dataset_of_publisher(publisher: int) -> str:
    """Return the dataset of a publisher's number; ``PUBLISHER.n`` when it is not known here."""
    return _DATASETS.get(publisher, f"PUBLISHER.{publisher}")


def is_by_message(dataset: str) -> bool:
    """Return whether each of the venue's messages is an event.

    There the records of one sequence number belong together and the book is whole after each. Elsewhere (CME) a
    match spans messages, and only F_LAST says that the book is whole.
    """
    return dataset.rpartition(".")[2] in _BY_MESSAGE


def received_at(record: bytes | memoryview, rtype: int, ts_event: int) -> int:
    """Return ts_recv of a record, its ts_event where it has none."""
    at = _TS_RECV_AT.get(rtype)
    value = int(_U64.unpack_from(record, at)[0]) if at is not None and len(record) >= at + 8 else ts_event
    return value if value <= INT64_MAX else ts_event
