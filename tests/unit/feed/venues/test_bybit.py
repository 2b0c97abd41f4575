"""Bybit v5 messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, NONE, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.bybit import BybitAdapter
from tests.support.frames import decoded, frame

LINEAR, SPOT = "wss://stream.bybit.com/v5/public/linear", "wss://stream.bybit.com/v5/public/spot"


def book(kind: str, number: int, depth: int = 50, **data: Any) -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": [["65114.20", "6.054"]], "a": [["65114.30", "0"]], "u": number, "seq": 9} | data
    return {"topic": f"orderbook.{depth}.BTCUSDT", "type": kind, "ts": 1786310818129, "cts": 1786310818120} | {
        "data": data
    }


def adapter() -> BybitAdapter:
    return BybitAdapter(InstrumentRegistry())


def linear(*messages: Any, by: BybitAdapter | None = None) -> list[Record]:
    return decoded(by or adapter(), *messages, address=LINEAR)


def test_snapshot_and_changes_are_counted_and_bounded() -> None:
    instrument, snapshot = linear(book("snapshot", 7))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.venue_symbol, fields.book_depth) == ("bybit:BTC-USDT-PERP", "BTCUSDT", 50)
    assert fields.sequence_rule == SequenceRule.COUNT
    assert (snapshot.kind, snapshot.sequence, snapshot.ts_event) == (Kind.BOOK_SNAPSHOT, 7, 1786310818_120000000)
    bid, ask = linear(book("snapshot", 7), book("delta", 8))
    assert (bid.side, bid.sequence, ask.side, ask.fields()["size"]) == (Side.BID, 8, Side.ASK, 0)


def test_one_name_is_an_instrument_of_each_market() -> None:
    both = adapter()
    found = []
    for address in (LINEAR, SPOT):
        fields = InstrumentFields.unpack(decoded(both, book("snapshot", 7), address=address)[0].body)
        assert fields.details is not None
        found.append((fields.symbol, fields.venue_symbol, fields.details["market"]))
    assert found == [("bybit:BTC-USDT-PERP", "BTCUSDT", "linear"), ("bybit:BTC-USDT", "BTCUSDT", "spot")]
    with pytest.raises(DecodeError, match="no known market"):
        decoded(adapter(), book("snapshot", 7))


def test_restart_finds_its_instruments_again() -> None:
    registry = InstrumentRegistry()
    decoded(BybitAdapter(registry), book("snapshot", 7), address=LINEAR)
    ((number, fields),) = registry.definitions().items()
    again = InstrumentRegistry()
    again.restore(number, InstrumentFields.unpack(fields.pack()))
    assert [r.kind for r in decoded(BybitAdapter(again), book("snapshot", 7), address=LINEAR)] == [Kind.BOOK_SNAPSHOT]


def test_deepest_topic_feeds_the_book() -> None:
    by = adapter()
    linear(book("snapshot", 3, depth=50), by=by)
    assert linear(book("snapshot", 9, depth=1), by=by) == []
    assert linear(book("snapshot", 5, depth=200), by=by)[-1].sequence == 5
    assert linear(book("delta", 4, depth=50), by=by) == []
    decoded(by, frame(b"", form=WireForm.CONNECTED, address=LINEAR))
    assert linear(book("snapshot", 1, depth=50), by=by)[-1].sequence == 1


def test_ticker_changes_complete_one_another() -> None:
    def ticker(kind: str, **data: str) -> dict[str, Any]:
        return {"topic": "tickers.BTCUSDT", "type": kind, "ts": 5, "cs": 3, "data": {"symbol": "BTCUSDT"} | data}

    first = ticker("snapshot", bid1Price="1.5", bid1Size="2", ask1Price="1.6", ask1Size="3")
    quote = linear(first, ticker("delta", bid1Size="9"))[-1]
    assert (quote.kind, quote.sequence, quote.ts_event) == (Kind.QUOTE, 3, 5_000_000)
    assert quote.fields() == {"bid_price": 15, "bid_size": 9, "ask_price": 16, "ask_size": 3}
    assert linear(first, ticker("delta", markPrice="1.55")) == []
    assert linear(ticker("delta", bid1Size="9")) == []
    empty = linear(first, ticker("delta", ask1Price="", ask1Size=""))[-1]
    assert empty.fields()["ask_price"] == INT64_MIN


def test_trade_side_is_the_takers_and_uuids_are_no_numbers() -> None:
    trade = {"T": 1672304486865, "s": "BTCUSDT", "S": "Sell", "v": "0.001", "p": "16578.50", "seq": 5}
    message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1}
    sold = linear(message | {"data": [trade | {"i": "20f43950-d8dd-5b31-9112-a178eb6023af"}]})[-1]
    assert (sold.side, sold.fields()["trade_id"], sold.sequence) == (Side.ASK, NONE, 5)
    assert linear(message | {"data": [trade | {"i": "2290000000"}]})[-1].fields()["trade_id"] == 2290000000


def test_replies_come_in_the_order_of_the_requests() -> None:
    requests = [
        frame({"op": "subscribe", "args": [topic]}, form=WireForm.SENT, address=LINEAR)
        for topic in ("orderbook.50.BTCUSDT", "tickers.ETHUSDT")
    ]
    good = {"success": True, "ret_msg": "", "req_id": "", "op": "subscribe"}
    bad = {"success": False, "ret_msg": "error:handler not found", "op": "subscribe"}
    by = adapter()
    assert linear(*requests, good, by=by)[-1].fields() == {
        "code": StatusCode.SUBSCRIBED,
        "details": {"channel": "orderbook.50"},
    }
    (refused,) = linear(bad, by=by)
    assert refused.fields()["details"]["topics"] == ["tickers.ETHUSDT"]
    assert linear({"success": True, "op": "ping", "ret_msg": "pong"}) == []


def test_list_names_markets_ticks_and_days() -> None:
    def answer(market: str, **entry: Any) -> Any:
        entry = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT"} | entry
        entry["priceFilter"] = {"tickSize": "0.10"}
        body = {"retCode": 0, "result": {"category": market, "list": [entry]}}
        address = f"https://api.bybit.com/v5/market/instruments-info?category={market}"
        return frame(body, form=WireForm.HTTP, address=address)

    by = adapter()
    dated = {"symbol": "BTCUSDT-26DEC25", "contractType": "LinearFutures", "deliveryTime": "1766736000000"}
    linear(answer("linear", contractType="LinearPerpetual", lotSizeFilter={"qtyStep": "0.001"}), by=by)
    linear(answer("linear", **dated), by=by)
    fields = InstrumentFields.unpack(linear(book("snapshot", 1), by=by)[0].body)
    assert fields.details is not None
    assert (fields.symbol, fields.tick > 0, fields.lot, fields.details["from"]) == (
        *("bybit:BTC-USDT-PERP", True, 1),
        "list",
    )
    future = book("snapshot", 1) | {"topic": "orderbook.50.BTCUSDT-26DEC25"}
    assert InstrumentFields.unpack(linear(future, by=by)[0].body).symbol == "bybit:BTC-USDT-251226"


def test_candles_give_nothing_and_unknown_topics_are_errors() -> None:
    assert linear({"topic": "kline.1.BTCUSDT", "type": "snapshot", "data": []}) == []
    with pytest.raises(DecodeError, match="no known topic"):
        linear({"topic": "surprise.BTCUSDT", "data": {}})
