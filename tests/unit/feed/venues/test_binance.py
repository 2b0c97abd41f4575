"""Binance spot messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX, INT64_MIN, Kind, Side, StatusCode, TradeType, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.binance import BinanceAdapter
from tests.support.frames import decoded, frame

DIFF = {
    "e": "depthUpdate",
    "E": 1672515782136,
    "s": "BNBBTC",
    "U": 157,
    "u": 160,
    "b": [["0.0024", "10"]],
    "a": [["0.0026", "0"]],
}
TRADE = {
    "e": "trade",
    "E": 2,
    "s": "BNBBTC",
    "t": 12345,
    "p": "0.001",
    "q": "100",
    "T": 1672515782136,
    "m": True,
    "M": True,
}
TICKER = {"u": 400900217, "s": "BNBBTC", "b": "25.35", "B": "31.21", "a": "25.36", "A": "0.00"}


def adapter() -> BinanceAdapter:
    return BinanceAdapter(InstrumentRegistry())


def depth(bids: int, asks: int) -> dict[str, Any]:
    return {
        "lastUpdateId": 159,
        "bids": [[f"{1000 - at}.5", "1"] for at in range(bids)],
        "asks": [[f"{1001 + at}.5", "1"] for at in range(asks)],
    }


@pytest.mark.parametrize("message", [DIFF, {"stream": "bnbbtc@depth@100ms", "data": DIFF}])
def test_diff_carries_its_range_of_update_ids(message: dict[str, Any]) -> None:
    instrument, bid, ask = decoded(adapter(), message)
    assert InstrumentFields.unpack(instrument.body).symbol == "binance:BNB-BTC"
    for record, side in ((bid, Side.BID), (ask, Side.ASK)):
        assert (record.side, record.sequence, record.fields()["sequence_first"]) == (side, 160, 157)
        assert record.ts_event == 1672515782_136000000


def test_diff_without_levels_keeps_the_chain() -> None:
    (delta,) = decoded(adapter(), DIFF, DIFF | {"b": [], "a": [], "U": 161, "u": 163})
    assert (delta.side, delta.sequence, delta.fields()["sequence_first"], delta.fields()["size"]) == (
        Side.NONE,
        163,
        161,
        0,
    )


def test_times_in_microseconds_are_told_by_their_size() -> None:
    assert decoded(adapter(), DIFF | {"E": 1672515782136123})[-1].ts_event == 1672515782_136123000


def test_trade_of_a_buying_maker_has_a_selling_taker() -> None:
    assert decoded(adapter(), TRADE)[-1].side == Side.ASK
    assert decoded(adapter(), TRADE | {"m": False})[-1].side == Side.BID


def test_aggregate_trade_keeps_its_first_and_last_id() -> None:
    message = {
        "e": "aggTrade",
        "E": 1,
        "s": "BNBBTC",
        "a": 5,
        "p": "1",
        "q": "2",
        "f": 100,
        "l": 105,
        "T": 3,
        "m": True,
    }
    record = decoded(adapter(), message)[-1]
    assert (record.sequence, record.ts_event) == (5, 3_000_000)
    fields = record.fields()
    assert (fields["trade_id"], fields["trade_id_last"], fields["type"]) == (100, 105, TradeType.AGGREGATE)


def test_book_ticker_has_no_time_and_its_update_id() -> None:
    record = decoded(adapter(), TICKER)[-1]
    assert (record.kind, record.ts_event, record.sequence) == (Kind.QUOTE, 0, 400900217)
    assert record.fields() == {"bid_price": 2535, "bid_size": 3121, "ask_price": INT64_MIN, "ask_size": 0}


def test_full_side_of_a_snapshot_bounds_what_is_known() -> None:
    address = "https://api.binance.com/api/v3/depth?symbol=BNBBTC&limit=10"
    record = decoded(adapter(), frame(depth(10, 9), form=WireForm.HTTP, address=address))[-1]
    fields = record.fields()
    assert (record.kind, record.sequence, fields["bid_floor"], fields["ask_ceiling"]) == (33, 159, 9915, INT64_MAX)
    asks = decoded(adapter(), frame(depth(3, 10), form=WireForm.HTTP, address=address))[-1].fields()
    assert (asks["bid_floor"], asks["ask_ceiling"]) == (INT64_MIN, 10105)


@pytest.mark.parametrize(
    ("count", "cut"), [(1000, True), (5000, True), (300, True), (20, True), (999, False), (0, False)]
)
def test_snapshot_of_unknown_limit_is_cut_at_round_counts(count: int, cut: bool) -> None:
    record = decoded(adapter(), frame(depth(count, 1), address="hftbacktest:binance:bnbbtc"))[-1]
    assert (record.fields()["bid_floor"] > INT64_MIN) == cut


def test_bare_snapshot_belongs_to_the_only_symbol_of_its_connection() -> None:
    assert decoded(adapter(), DIFF, depth(1, 1))[-1].kind == Kind.BOOK_SNAPSHOT
    with pytest.raises(DecodeError, match="names no symbol"):
        decoded(adapter(), DIFF, DIFF | {"s": "ETHBTC"}, depth(1, 1))
    with pytest.raises(DecodeError, match="names no symbol"):
        decoded(adapter(), depth(1, 1))


def test_reply_to_a_subscription_names_its_streams() -> None:
    request = {"method": "SUBSCRIBE", "params": ["bnbbtc@depth", "!ticker@arr"], "id": 1}
    records = decoded(adapter(), frame(request, form=WireForm.SENT), {"result": None, "id": 1})
    assert [record.kind for record in records] == [Kind.INSTRUMENT, Kind.STATUS]
    assert records[1].fields() == {"code": StatusCode.SUBSCRIBED, "details": {"channel": "depth"}}
    (refused,) = decoded(adapter(), {"error": {"code": 2, "msg": "Invalid request"}, "id": 9})
    assert refused.fields()["code"] == StatusCode.ERROR


def test_candles_give_nothing_and_unknown_events_are_errors() -> None:
    assert decoded(adapter(), {"stream": "bnbbtc@kline_1m", "data": {"e": "kline", "s": "BNBBTC"}}) == []
    assert decoded(adapter(), {"stream": "!miniTicker@arr", "data": [{"e": "24hrMiniTicker"}]}) == []
    with pytest.raises(DecodeError, match="no known event"):
        decoded(adapter(), {"e": "surprise"})


def test_exchange_info_gives_tick_and_lot() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.00010000"},
        {"filterType": "LOT_SIZE", "stepSize": "1.00000000"},
    ]
    info = {"symbols": [{"symbol": "BNBBTC", "baseAsset": "BNB", "quoteAsset": "BTC", "filters": filters}]}
    listed = adapter()
    decoded(listed, frame(info, form=WireForm.HTTP, address="https://api.binance.com/api/v3/exchangeInfo"))
    fields = InstrumentFields.unpack(decoded(listed, DIFF)[0].body)
    assert (fields.price_exponent, fields.tick, fields.lot) == (4, 1, 1)
