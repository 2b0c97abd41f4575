"""BitMEX messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.bitmex import BitmexAdapter
from tests.support.frames import decoded, frame

STAMP = "2021-07-22T22:36:10.014Z"


def table(name: str, action: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"table": name, "action": action, "data": [{"symbol": "XBTUSD"} | row for row in rows]} | more


PARTIAL = table(
    "orderBookL2",
    "partial",
    {"id": 1, "side": "Buy", "size": 20, "price": 32180.5},
    {"id": 2, "side": "Sell", "size": 10, "price": 32181},
)


def adapter() -> BitmexAdapter:
    return BitmexAdapter(InstrumentRegistry())


def test_rows_are_known_by_their_ids() -> None:
    by = adapter()
    instrument, snapshot = decoded(by, PARTIAL)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.sequence_rule) == ("bitmex:BTC-USD-PERP", SequenceRule.NONE)
    assert snapshot.fields()["asks"] == [(321810, 10)]
    update = decoded(by, table("orderBookL2", "update", {"id": 1, "side": "Buy", "size": 7}))[-1]
    assert (update.side, update.fields()["price"], update.fields()["size"]) == (Side.BID, 321805, 7)
    gone = decoded(by, table("orderBookL2", "delete", {"id": 2, "side": "Sell"}))[-1]
    assert (gone.side, gone.fields()["price"], gone.fields()["size"]) == (Side.ASK, 321810, 0)


def test_row_of_an_unknown_id_is_counted_and_the_rest_kept() -> None:
    by = adapter()
    decoded(by, PARTIAL)
    rows = [{"id": 9, "side": "Buy", "size": 7}, {"id": 1, "side": "Buy", "size": 8}]
    with pytest.raises(DecodeError, match="1 rows"):
        decoded(by, table("orderBookL2", "update", *rows))
    decoded(by, frame(b"", form=WireForm.CONNECTED))
    with pytest.raises(DecodeError, match="1 rows"):
        decoded(by, table("orderBookL2", "update", rows[1]))


def test_empty_partial_is_an_empty_book() -> None:
    record = decoded(adapter(), table("orderBookL2", "partial", filter={"symbol": "XBTUSD"}))[-1]
    assert (record.kind, record.fields()["bids"]) == (Kind.BOOK_SNAPSHOT, [])


def test_message_of_several_symbols() -> None:
    rows = [{"symbol": name, "id": 1, "side": "Buy", "size": 1, "price": 1.5} for name in ("XBTUSD", "ETHUSD")]
    records = decoded(adapter(), table("orderBookL2", "insert", *rows))
    assert [record.instrument for record in records if record.kind == Kind.BOOK_DELTA] == [1, 2]


def test_quotes_and_trades() -> None:
    quotes = decoded(
        adapter(),
        table(
            "quote",
            "insert",
            {"bidSize": 1, "bidPrice": 1.5, "askPrice": None, "askSize": None, "timestamp": STAMP},
            {"bidSize": 2, "bidPrice": 1.5, "askPrice": 1.6, "askSize": 3, "timestamp": STAMP},
        ),
    )[1:]
    assert [quote.fields()["ask_price"] for quote in quotes] == [INT64_MIN, 16]
    by = adapter()
    trade = {"side": "Sell", "size": 5, "price": 1.5, "timestamp": STAMP}
    assert decoded(by, table("trade", "insert", trade))[-1].side == Side.ASK
    assert decoded(by, table("trade", "partial", trade)) == []


def test_replies() -> None:
    reply = {"success": True, "subscribe": "orderBookL2:XBTUSD", "request": {}}
    assert decoded(adapter(), reply)[-1].fields() == {"code": StatusCode.SUBSCRIBED, "details": {"channel": "book"}}
    assert decoded(adapter(), {"error": "x", "request": {}})[-1].fields()["code"] == StatusCode.ERROR
    assert decoded(adapter(), {"info": "Welcome"})[-1].fields()["code"] == StatusCode.VENUE
    with pytest.raises(DecodeError, match="no known form"):
        decoded(adapter(), {"surprise": 1})


def test_list_knows_the_day_of_a_dated_contract() -> None:
    by = adapter()
    entry = {"symbol": "XRPU21", "typ": "FFCCSX", "expiry": "2021-09-24T12:00:00.000Z", "underlying": "XRP"}
    entry |= {"quoteCurrency": "XBT"}
    body = b'[{"tickSize":1e-8,"lotSize":1,' + frame(entry).payload[1:] + b"]"
    decoded(by, frame(body, form=WireForm.HTTP, address="https://www.bitmex.com/api/v1/instrument/active"))
    row = {"symbol": "XRPU21", "id": 1, "side": "Buy", "size": 20, "price": 0.00001814}
    fields = InstrumentFields.unpack(decoded(by, table("orderBookL2", "partial", row))[0].body)
    assert (fields.symbol, fields.price_exponent, fields.tick) == ("bitmex:XRP-BTC-210924", 8, 1)
