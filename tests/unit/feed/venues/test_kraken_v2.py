"""Kraken's WebSocket v2, by the examples of its documentation."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import CheckRule, Kind, Side, StatusCode
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.etl.books.book import Book
from chronicle.etl.books.checks import checksum
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.kraken import KrakenAdapter
from tests.support.frames import decoded

ASKS = (
    *(("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109"), ("45289.6", "1.54560911")),
    *(("45290.2", "0.15890660"), ("45291.8", "1.54553491"), ("45294.7", "0.04454749"), ("45296.1", "0.35380000")),
    *(("45297.5", "0.09945542"), ("45299.5", "0.18772827")),
)
BIDS = (
    *(("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000"), ("45281.0", "0.10000000")),
    *(("45280.3", "1.54592586"), ("45279.0", "0.07990000"), ("45277.6", "0.03310103"), ("45277.5", "0.30000000")),
    *(("45277.3", "1.54602737"), ("45276.6", "0.15445238")),
)
CHECKSUM = 3310070434
"""Of the documentation's example (guide "Book checksum (WebSocket v2)")."""


@pytest.fixture
def adapter() -> KrakenAdapter:
    return KrakenAdapter(InstrumentRegistry())


def book(kind: str, bids: Any, asks: Any, check: int) -> bytes:
    """Return the message as the wire writes it: numbers with all their decimals."""
    sides = [",".join(f'{{"price":{price},"qty":{size}}}' for price, size in side) for side in (bids, asks)]
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{sides[0]}],"asks":[{sides[1]}],'
        f'"checksum":{check},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}'
    ).encode()


def acknowledged(depth: int = 10) -> dict[str, Any]:
    result = {"channel": "book", "depth": depth, "snapshot": True, "symbol": "BTC/USD"}
    return {"method": "subscribe", "result": result, "success": True}


def test_the_documentation_s_book_has_the_documentation_s_checksum(adapter: KrakenAdapter) -> None:
    told = decoded(adapter, acknowledged())
    assert [record.kind for record in told] == [Kind.INSTRUMENT, Kind.STATUS]
    records = decoded(adapter, book("snapshot", BIDS, ASKS, CHECKSUM))
    assert [record.kind for record in records] == [Kind.INSTRUMENT, Kind.BOOK_SNAPSHOT, Kind.CHECK]
    fields = InstrumentFields.unpack(records[0].body)
    assert (fields.book_depth, fields.check_price_decimals, fields.check_size_decimals) == (10, 1, 8)
    assert fields.details is not None
    assert fields.details["symbol"] == "kraken:BTC-USD"
    snapshot = SnapshotFields.unpack(records[1].body)
    ours = Book()
    ours.price_exponent, ours.size_exponent = fields.price_exponent, fields.size_exponent
    ours.load(snapshot.bids, snapshot.asks)
    assert checksum(CheckRule.KRAKEN_V1, ours, fields) == records[2].fields()["expected"] == CHECKSUM
    assert records[1].ts_event == 1696613755440295000


def test_an_update_keeps_the_decimals_also_when_it_deletes(adapter: KrakenAdapter) -> None:
    decoded(adapter, acknowledged())
    decoded(adapter, book("snapshot", BIDS, ASKS, CHECKSUM))
    after = [("45283.5", "0.20000000"), *BIDS[2:], ("45270.0", "1.00000000")]
    text = "".join(price.replace(".", "") + size.replace(".", "").lstrip("0") for price, size in (*ASKS, *after))
    message = book("update", [("45283.5", "0.20000000"), ("45283.4", "0"), ("45270.0", "1.00000000")], [], 7)
    records = decoded(adapter, message)
    assert [record.kind for record in records] == [Kind.BOOK_DELTA] * 3 + [Kind.CHECK], "and no redefinition"
    assert [record.fields()["size"] for record in records[:3]] == [20_000_000, 0, 100_000_000]
    assert zlib.crc32(text.encode()) != CHECKSUM


def test_trades_are_told_once(adapter: KrakenAdapter) -> None:
    def trades(kind: str, *numbers: int) -> dict[str, Any]:
        rows = [
            {"symbol": "BTC/USD", "side": "sell", "price": 0.5117, "qty": 40.0, "ord_type": "market", "trade_id": n}
            | {"timestamp": "2023-09-25T07:49:37.708706Z"}
            for n in numbers
        ]
        return {"channel": "trade", "type": kind, "data": rows}

    first = [record for record in decoded(adapter, trades("snapshot", 1, 2)) if record.kind == Kind.TRADE]
    assert [(record.side, record.fields()["trade_id"]) for record in first] == [(Side.ASK, 1), (Side.ASK, 2)]
    again = decoded(adapter, trades("snapshot", 1, 2, 3))
    assert [record.fields()["trade_id"] for record in again] == [3]


def test_quotes_events_and_errors(adapter: KrakenAdapter) -> None:
    ticker = {"symbol": "BTC/USD", "bid": 0.10025, "bid_qty": 740.0, "ask": 0.10036, "ask_qty": 1361.44813783}
    quote = decoded(adapter, {"channel": "ticker", "type": "snapshot", "data": [ticker]})[-1].fields()
    assert (quote["bid_price"], quote["ask_price"]) == (10025, 10036)
    assert decoded(adapter, {"channel": "heartbeat"}) == []
    assert decoded(adapter, {"method": "pong", "time_in": "x"}) == []
    (status,) = decoded(adapter, {"channel": "status", "type": "update", "data": [{"system": "online"}]})
    assert status.fields()["code"] == StatusCode.VENUE
    refused = {"error": "Currency pair not supported", "method": "subscribe", "success": False, "symbol": "X/Y"}
    (error,) = decoded(adapter, refused)
    assert error.fields()["details"]["pair"] == "X/Y"
    for bad in ({"channel": "other"}, {"channel": "book", "type": "x", "data": [{"symbol": "BTC/USD"}]}):
        with pytest.raises(DecodeError):
            decoded(adapter, bad)
