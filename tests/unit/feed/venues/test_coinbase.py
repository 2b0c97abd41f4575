"""Coinbase Advanced Trade messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.coinbase import CoinbaseAdapter
from tests.support.frames import decoded, frame


def message(channel: str, number: int, *events: dict[str, Any]) -> dict[str, Any]:
    head = {"channel": channel, "timestamp": "2026-08-09T21:05:48.228568804Z", "sequence_num": number}
    return head | {"events": list(events)}


def book(number: int, kind: str, *levels: tuple[str, str, str]) -> dict[str, Any]:
    updates = [
        {"side": side, "event_time": "2026-08-09T21:05:48.1Z", "price_level": price, "new_quantity": size}
        for side, price, size in levels
    ]
    return message("l2_data", number, {"type": kind, "product_id": "BTC-USD", "updates": updates})


def trades(number: int, kind: str, *ids: int) -> dict[str, Any]:
    rows = [
        {"product_id": "BTC-USD", "trade_id": str(one), "price": "5.5", "size": "2", "side": "SELL"}
        | {"time": "2026-08-09T21:05:42.514318Z"}
        for one in ids
    ]
    return message("market_trades", number, {"type": kind, "trades": rows})


def adapter() -> CoinbaseAdapter:
    return CoinbaseAdapter(InstrumentRegistry())


def codes(records: list[Record]) -> list[int]:
    return [record.fields()["code"] for record in records if record.kind == Kind.STATUS]


def test_book_carries_the_connections_number_and_exact_time() -> None:
    instrument, snapshot = decoded(adapter(), book(1, "snapshot", ("bid", "1.5", "2"), ("offer", "1.6", "3")))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.sequence_rule) == ("coinbase:BTC-USD", SequenceRule.CONNECTION)
    assert (snapshot.kind, snapshot.sequence, snapshot.ts_event) == (Kind.BOOK_SNAPSHOT, 1, 1786309548_228568804)
    bid, ask = decoded(adapter(), book(1, "update", ("offer", "1.6", "0"), ("bid", "1.5", "9")))[1:]
    assert (bid.side, ask.side, ask.fields()["size"]) == (Side.BID, Side.ASK, 0)


def test_hole_in_the_count_is_told_before_the_message_that_shows_it() -> None:
    lost, bid = decoded(adapter(), book(4, "update", ("bid", "1", "1")), book(7, "update", ("bid", "1", "2")))
    assert lost.fields() == {"code": StatusCode.LOST, "details": {"first": 5, "last": 6}}
    assert (lost.instrument, lost.source, bid.kind) == (0, 1, Kind.BOOK_DELTA)
    (again,) = decoded(adapter(), message("heartbeats", 4), message("heartbeats", 4))
    assert again.fields()["details"] == {"after": 4, "number": 4}


def test_new_connection_counts_anew_and_each_connection_alone() -> None:
    by = adapter()
    decoded(by, message("heartbeats", 9))
    decoded(by, frame(b"", form=WireForm.CONNECTED))
    assert decoded(by, message("heartbeats", 0)) == []
    assert decoded(by, frame(message("heartbeats", 5), connection=2)) == []


def test_trade_names_the_makers_side_and_old_ones_come_once() -> None:
    by = adapter()
    records = decoded(by, trades(1, "snapshot", 8, 7))[1:]
    assert [(record.fields()["trade_id"], record.side) for record in records] == [(7, Side.BID), (8, Side.BID)]
    decoded(by, trades(2, "update", 9))
    decoded(by, frame(b"", form=WireForm.CONNECTED))
    assert [r.fields()["trade_id"] for r in decoded(by, trades(0, "snapshot", 10, 9, 8))] == [10]
    assert len(decoded(by, trades(1, "update", 10))) == 1


def test_ticker_is_a_quote_and_an_empty_side_is_none() -> None:
    ticker = {"product_id": "BTC-USD", "best_bid": "1.5", "best_bid_quantity": "2"}
    ticker |= {"best_ask": "0", "best_ask_quantity": "0"}
    quote = decoded(adapter(), message("ticker", 1, {"type": "update", "tickers": [ticker]}))[-1]
    assert quote.fields() == {"bid_price": 15, "bid_size": 2, "ask_price": INT64_MIN, "ask_size": 0}


def test_subscriptions_tell_what_changed() -> None:
    by = adapter()
    first = message("subscriptions", 1, {"subscriptions": {"level2": ["BTC-USD"]}})
    assert codes(decoded(by, first)) == [StatusCode.SUBSCRIBED]
    second = message("subscriptions", 2, {"subscriptions": {"ticker": ["BTC-USD"]}})
    assert codes(decoded(by, second)) == [StatusCode.SUBSCRIBED, StatusCode.UNSUBSCRIBED]


def test_errors_and_unknown_channels() -> None:
    assert codes(decoded(adapter(), {"type": "error", "message": "authentication failure"})) == [StatusCode.ERROR]
    with pytest.raises(DecodeError, match="no known channel"):
        decoded(adapter(), message("surprise", 1, {"type": "update"}))


def test_list_gives_tick_and_lot() -> None:
    by = adapter()
    entry = {"product_id": "BTC-USD", "product_type": "SPOT", "base_currency_id": "BTC", "quote_currency_id": "USD"}
    entry |= {"base_increment": "0.00000001", "quote_increment": "0.01", "price_increment": "0.01"}
    address = "https://api.coinbase.com/api/v3/brokerage/market/products"
    decoded(by, frame({"products": [entry]}, form=WireForm.HTTP, address=address))
    fields = InstrumentFields.unpack(decoded(by, book(1, "update", ("bid", "1", "1")))[0].body)
    assert (fields.price_exponent, fields.size_exponent, fields.tick, fields.lot) == (2, 8, 1, 1)
