"""Kraken Futures messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.kraken_futures import KrakenFuturesAdapter
from tests.support.frames import decoded, frame

PRODUCT: dict[str, Any] = {"product_id": "PI_XBTUSD", "timestamp": 1626994925378}
SNAPSHOT = PRODUCT | {"feed": "book_snapshot", "seq": 7, "bids": [{"price": 439.3, "qty": 20108.0}], "asks": []}


def adapter() -> KrakenFuturesAdapter:
    return KrakenFuturesAdapter(InstrumentRegistry())


def test_numbers_keep_their_decimals_and_whole_ones_have_none() -> None:
    instrument, snapshot = decoded(adapter(), SNAPSHOT)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.sequence_rule) == ("kraken-futures:BTC-USD-PERP", SequenceRule.COUNT)
    assert (fields.price_exponent, fields.size_exponent, snapshot.sequence) == (1, 0, 7)
    assert snapshot.fields()["bids"] == [(4393, 20108)]
    exact = b'{"feed":"book","product_id":"PI_XBTUSD","side":"sell","seq":8,"price":0.1234567890123456,"qty":1e-7,'
    delta = decoded(adapter(), frame(exact + b'"timestamp":1}'))[-1]
    assert (delta.side, delta.fields()["price"], delta.fields()["size"]) == (Side.ASK, 1234567890123456, 1)


def test_last_trades_come_once_and_oldest_first() -> None:
    def trade(number: int) -> dict[str, Any]:
        return PRODUCT | {"feed": "trade", "side": "buy", "seq": number, "time": 5, "qty": 50.0, "price": 439.2}

    by = adapter()
    last = PRODUCT | {"feed": "trade_snapshot", "trades": [trade(3), trade(2)]}
    assert [record.sequence for record in decoded(by, last)[1:]] == [2, 3]
    assert [record.side for record in decoded(by, trade(4))] == [Side.BID]
    assert [record.sequence for record in decoded(by, last | {"trades": [trade(5), trade(4)]})] == [5]


def test_ticker_is_a_quote_and_ticker_lite_none() -> None:
    ticker = PRODUCT | {"feed": "ticker", "bid": 1.5, "bid_size": 3, "time": 4}
    quote = decoded(adapter(), ticker)[-1]
    assert (quote.kind, quote.ts_event) == (Kind.QUOTE, 4_000_000)
    assert quote.fields() == {"bid_price": 15, "bid_size": 3, "ask_price": INT64_MIN, "ask_size": 0}
    assert decoded(adapter(), PRODUCT | {"feed": "ticker_lite", "bid": 1.5, "ask": 1.6}) == []


def test_events_and_unknown_feeds() -> None:
    subscribed = {"event": "subscribed", "feed": "book", "product_ids": ["PI_XBTUSD"]}
    assert decoded(adapter(), subscribed)[-1].fields()["code"] == StatusCode.SUBSCRIBED
    assert decoded(adapter(), {"event": "alert", "message": "x"})[-1].fields()["code"] == StatusCode.ERROR
    with pytest.raises(DecodeError, match="no known feed"):
        decoded(adapter(), {"feed": "surprise"})


def test_list_writes_names_small() -> None:
    by = adapter()
    answer = {
        "result": "success",
        "instruments": [{"symbol": "pi_xbtusd", "type": "futures_inverse", "tickSize": 0.5}],
    }
    address = "https://futures.kraken.com/derivatives/api/v3/instruments"
    decoded(by, frame(answer, form=WireForm.HTTP, address=address))
    fields = InstrumentFields.unpack(decoded(by, SNAPSHOT)[0].body)
    assert (fields.symbol, fields.tick) == ("kraken-futures:BTC-USD-PERP", 5)
