"""Frames about several instruments: what is wrong with one does not take the others with it."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, StatusCode
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for
from tests.support.frames import TS, frame
from tests.support.naive_book import taken

TIME = "2023-09-25T07:49:37.708706Z"


def coinbase(price: str) -> dict[str, Any]:
    trades = [
        {"trade_id": str(number), "product_id": product, "price": text, "size": "1", "side": "BUY", "time": TIME}
        for number, (product, text) in enumerate((("BTC-USD", "1.5"), ("ETH-USD", price), ("SOL-USD", "2.5")), 1)
    ]
    event = {"type": "update", "trades": trades}
    return {"channel": "market_trades", "timestamp": TIME, "sequence_num": 1, "events": [event]}


def bitmex(price: str) -> dict[str, Any]:
    rows = [
        {"symbol": symbol, "side": "Buy", "size": 1, "price": text, "timestamp": TIME, "trdMatchID": "x"}
        for symbol, text in (("XBTUSD", "1.5"), ("ETHUSD", price), ("SOLUSD", "2.5"))
    ]
    return {"table": "trade", "action": "insert", "data": rows}


def kraken(price: str) -> dict[str, Any]:
    rows = [
        {"symbol": symbol, "side": "buy", "price": text, "qty": "1.0", "trade_id": 3, "timestamp": TIME}
        for symbol, text in (("BTC/USD", "1.5"), ("ETH/USD", price), ("SOL/USD", "2.5"))
    ]
    return {"channel": "trade", "type": "update", "data": rows}


def deribit(price: str) -> dict[str, Any]:
    rows = [
        {"instrument_name": name, "direction": "buy", "price": text, "amount": "1", "timestamp": 1, "trade_seq": 1}
        | {"trade_id": "7"}
        for name, text in (("BTC-PERPETUAL", "1.5"), ("ETH-PERPETUAL", price), ("SOL-PERPETUAL", "2.5"))
    ]
    return {"method": "subscription", "params": {"channel": "trades.future.any.100ms", "data": rows}}


def polygon(price: str) -> list[dict[str, Any]]:
    return [
        {"ev": "T", "sym": symbol, "p": text, "s": 1, "t": 1536036818784}
        for symbol, text in (("A", "1.5"), ("B", price), ("C", "2.5"))
    ]


@pytest.mark.parametrize("make", [coinbase, bitmex, kraken, deribit, polygon], ids=lambda make: make.__name__)
def test_one_bad_instrument_leaves_the_others(make: Any) -> None:
    adapter, out = adapter_for(make.__name__, InstrumentRegistry(), scanning=False), EventBuilder()
    out.begin(TS, source=1)
    adapter.decode(frame(make("3.5")), out)
    assert [record.kind for record in taken(out)].count(Kind.TRADE) == 3
    out.begin(TS + 1, source=1)
    with pytest.raises(DecodeError):
        adapter.decode(frame(make("NaN")), out)
    records = taken(out)
    assert [record.instrument for record in records if record.kind == Kind.TRADE] == [1, 3]
    marks = [record for record in records if record.kind == Kind.STATUS]
    assert [(r.fields()["code"], r.instrument) for r in marks if r.fields()["code"] != StatusCode.LOST] == [
        (StatusCode.DECODE_ERROR, 2)
    ], "told once, of the one that is concerned"
