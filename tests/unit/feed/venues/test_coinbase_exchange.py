"""Coinbase Exchange's messages, as docs.cdp.coinbase.com/exchange/websocket-feed/channels shows them."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.captures.names import venue_of_address
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.coinbase_exchange import CoinbaseExchangeAdapter
from tests.support.frames import decoded, frame

SNAPSHOT = {"type": "snapshot", "product_id": "BTC-USD", "bids": [["10101.10", "0.45054140"]]} | {
    "asks": [["10102.55", "0.57753524"]]
}
UPDATE = {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "10101.80000000", "0.162567"]]} | {
    "time": "2019-08-14T20:42:27.265Z"
}


@pytest.fixture
def adapter() -> CoinbaseExchangeAdapter:
    return CoinbaseExchangeAdapter(InstrumentRegistry())


def match(trade_id: int, kind: str = "match", side: str = "sell") -> dict[str, Any]:
    return {
        "type": kind,
        "trade_id": trade_id,
        "sequence": 50,
        "side": side,
        "size": "5.23512",
        "price": "400.23",
    } | {
        "product_id": "BTC-USD",
        "time": "2014-11-07T08:19:27.028459Z",
    }


def heartbeat(last: int) -> dict[str, Any]:
    return {"type": "heartbeat", "sequence": 90, "last_trade_id": last, "product_id": "BTC-USD"} | {
        "time": "2014-11-07T08:19:28.464459Z"
    }


def lost(records: list[Record]) -> list[tuple[int, int]]:
    details = [
        r.fields()["details"] for r in records if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.LOST
    ]
    return [(entry["first"], entry["last"]) for entry in details]


def test_a_book_starts_on_the_stream_and_goes_on_without_numbers(adapter: CoinbaseExchangeAdapter) -> None:
    definition, snapshot = decoded(adapter, SNAPSHOT)
    assert InstrumentFields.unpack(definition.body).symbol == "coinbase-exchange:BTC-USD"
    assert InstrumentFields.unpack(definition.body).sequence_rule == SequenceRule.NONE
    assert snapshot.kind == Kind.BOOK_SNAPSHOT
    delta = decoded(adapter, UPDATE)[-1]
    assert (delta.kind, delta.side, delta.ts_event) == (Kind.BOOK_DELTA, Side.BID, 1565815347265000000)


def test_a_trade_s_side_is_the_taker_s(adapter: CoinbaseExchangeAdapter) -> None:
    record = decoded(adapter, match(10))[-1]
    assert (record.side, record.sequence, record.ts_event) == (Side.BID, 50, 1415348367028459000)
    assert (record.fields()["price"], record.fields()["trade_id"]) == (40023, 10)


def test_a_hole_in_the_trades_is_one_of_the_connection(adapter: CoinbaseExchangeAdapter) -> None:
    assert lost(decoded(adapter, match(10), match(11))) == []
    records = decoded(adapter, match(14))
    assert lost(records) == [(12, 13)]
    assert next(r for r in records if r.kind == Kind.STATUS).instrument == 0


def test_a_heartbeat_may_overtake_a_match_but_not_the_next_heartbeat(adapter: CoinbaseExchangeAdapter) -> None:
    assert lost(decoded(adapter, match(10), heartbeat(11))) == []
    assert lost(decoded(adapter, match(11), heartbeat(11))) == []
    assert lost(decoded(adapter, heartbeat(13))) == []
    assert lost(decoded(adapter, heartbeat(13))) == [(12, 13)]
    assert lost(decoded(adapter, heartbeat(13), match(14))) == [], "told once"
    assert lost(decoded(adapter, frame(b"", form=WireForm.CONNECTED), match(20))) == [], "another connection"


def test_the_last_match_is_told_once(adapter: CoinbaseExchangeAdapter) -> None:
    assert decoded(adapter, match(10, "last_match"))[-1].kind == Kind.TRADE
    again = decoded(adapter, frame(b"", form=WireForm.CONNECTED), match(10, "last_match"))
    assert [record.kind for record in again] == []


def test_a_ticker_is_a_quote_where_it_has_sizes(adapter: CoinbaseExchangeAdapter) -> None:
    ticker = {"type": "ticker", "sequence": 37475248783, "product_id": "ETH-USD", "price": "1285.22"} | {
        "best_bid": "1285.04",
        "best_ask": "1285.27",
        "time": "2022-10-19T23:28:22.061769Z",
    }
    assert decoded(adapter, ticker) == []
    quote = decoded(adapter, ticker | {"best_bid_size": "0.46688654", "best_ask_size": "1.56637040"})[-1]
    assert (quote.kind, quote.sequence) == (Kind.QUOTE, 37475248783)
    assert quote.fields()["bid_price"] == 128504


def test_subscriptions_products_errors_and_orders(adapter: CoinbaseExchangeAdapter) -> None:
    subscriptions = {"type": "subscriptions", "channels": [{"name": "level2_batch", "product_ids": ["BTC-USD"]}]}
    status = decoded(adapter, subscriptions)[-1]
    assert (status.fields()["code"], status.fields()["details"]["channel"]) == (StatusCode.SUBSCRIBED, "level2_batch")
    product = {"id": "ETH-USD", "base_currency": "ETH", "quote_currency": "USD"} | {
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "status": "online",
    }
    address = "https://api.exchange.coinbase.com/products"
    assert decoded(adapter, frame([product], form=WireForm.HTTP, address=address)) == []
    assert decoded(adapter, {"type": "status", "products": [product], "currencies": []}) == []
    assert adapter.registry.listed_names("coinbase-exchange") == {"coinbase-exchange:ETH-USD": "ETH-USD"}
    error = decoded(adapter, {"type": "error", "message": "Failed to subscribe", "reason": "level2 requires auth"})
    assert error[0].fields()["code"] == StatusCode.ERROR
    order = {"type": "received", "product_id": "BTC-USD", "sequence": 10}
    assert decoded(adapter, order)[0].fields()["code"] == StatusCode.ERROR
    assert decoded(adapter, order) == [], "said once a connection"
    with pytest.raises(DecodeError):
        decoded(adapter, {"type": "surprise"})


def test_the_two_coinbases_are_told_apart_by_their_addresses() -> None:
    assert venue_of_address("wss://ws-feed.exchange.coinbase.com") == "coinbase-exchange"
    assert venue_of_address("wss://ws-feed.pro.coinbase.com") == "coinbase-exchange"
    assert venue_of_address("wss://advanced-trade-ws.coinbase.com") == "coinbase"
