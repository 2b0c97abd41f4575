"""Deribit messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, Kind, Side, StatusCode
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.deribit import DeribitAdapter
from tests.support.frames import decoded

NAME = "BTC-24SEP21-8000-P"


def push(channel: str, data: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def book(kind: str, number: int, bids: list[Any], asks: list[Any], **more: Any) -> dict[str, Any]:
    data = {"type": kind, "timestamp": 1626993723632, "instrument_name": NAME, "change_id": number} | more
    return push(f"book.{NAME}.raw", data | {"bids": bids, "asks": asks})


def adapter() -> DeribitAdapter:
    return DeribitAdapter(InstrumentRegistry())


def test_changes_name_the_one_before_and_deletions_have_no_size() -> None:
    instrument, snapshot = decoded(adapter(), book("snapshot", 5, [["new", 0.0015, 4714.0]], []))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.price_exponent, fields.size_exponent) == ("deribit:BTC-USD-210924-8000-P", 4, 0)
    assert snapshot.fields()["bids"] == [(15, 4714)]
    change = book("change", 9, [["delete", 0.0015, 0.0]], [["change", 0.002, 3.5]], prev_change_id=5)
    bid, ask = decoded(adapter(), change)[1:]
    assert (bid.sequence, bid.fields()["sequence_previous"], bid.fields()["size"]) == (9, 5, 0)
    assert (ask.side, ask.fields()["size"]) == (Side.ASK, 35)


def test_level_of_unknown_action_is_counted_and_the_rest_kept() -> None:
    by = adapter()
    decoded(by, book("snapshot", 5, [["new", 1, 1]], []))
    with pytest.raises(DecodeError, match="1 rows"):
        decoded(by, book("change", 6, [["surprise", 1, 1], ["new", 2, 1]], [], prev_change_id=5))


def test_grouped_book_is_whole_each_time() -> None:
    data = {"timestamp": 1, "instrument_name": NAME, "change_id": 5, "bids": [[1.5, 2.0]], "asks": []}
    instrument, snapshot = decoded(adapter(), push(f"book.{NAME}.none.10.100ms", data))
    assert (InstrumentFields.unpack(instrument.body).book_depth, snapshot.kind) == (10, Kind.BOOK_SNAPSHOT)


def test_trade_and_ticker() -> None:
    trade = {"trade_seq": 4, "trade_id": "ETH-91234", "timestamp": 3, "price": 1.5, "amount": 10.0}
    trade |= {"instrument_name": NAME, "direction": "sell"}
    record = decoded(adapter(), push(f"trades.{NAME}.raw", [trade]))[-1]
    assert (record.side, record.fields()["trade_id"], record.sequence) == (Side.ASK, 91234, 4)
    ticker = {"timestamp": 3, "instrument_name": NAME, "best_bid_price": 0.0, "best_bid_amount": 0.0}
    ticker |= {"best_ask_price": 0.5, "best_ask_amount": 7.0}
    quote = decoded(adapter(), push(f"ticker.{NAME}.raw", ticker))[-1]
    assert quote.fields() == {"bid_price": INT64_MIN, "bid_size": 0, "ask_price": 5, "ask_size": 7}


def test_replies() -> None:
    reply = {"jsonrpc": "2.0", "id": 0, "result": [f"book.{NAME}.raw", f"ticker.{NAME}.raw"]}
    codes = [r.fields()["code"] for r in decoded(adapter(), reply) if r.kind == Kind.STATUS]
    assert codes == [StatusCode.SUBSCRIBED] * 2
    assert decoded(adapter(), {"error": {"code": 1}})[-1].fields()["code"] == StatusCode.ERROR
    assert decoded(adapter(), {"method": "heartbeat", "params": {}}) == []
    with pytest.raises(DecodeError, match="no known channel"):
        decoded(adapter(), push("surprise.X", {}))
