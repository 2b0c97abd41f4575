"""Binance futures messages: what differs from spot."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX, INT64_MIN, Kind, SequenceRule, Side, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for
from chronicle.feed.venues.binance_futures import BinanceUsdAdapter
from tests.support.frames import decoded, frame

DIFF: dict[str, Any] = {
    "e": "depthUpdate",
    "E": 1723161256299,
    "T": 1723161256298,
    "s": "BTCUSDT",
    "U": 157,
    "u": 160,
    "pu": 149,
    "b": [["58710.20", "0.014"]],
    "a": [["61510.90", "0.000"]],
}


def adapter() -> BinanceUsdAdapter:
    return BinanceUsdAdapter(InstrumentRegistry())


def test_diff_names_the_update_before_it() -> None:
    instrument, bid, ask = decoded(adapter(), {"stream": "btcusdt@depth@0ms", "data": DIFF})
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.sequence_rule) == ("binance-usdm:BTC-USDT-PERP", SequenceRule.BINANCE_FUTURES)
    for record, side in ((bid, Side.BID), (ask, Side.ASK)):
        numbers = record.fields()
        assert (record.side, record.sequence) == (side, 160)
        assert (numbers["sequence_first"], numbers["sequence_previous"]) == (157, 149)
    with pytest.raises(DecodeError):
        decoded(adapter(), {key: value for key, value in DIFF.items() if key != "pu"})


@pytest.mark.parametrize(
    "sent",
    [
        frame({"stream": "btcusdt@depth5@100ms", "data": DIFF}),
        frame(DIFF, address="wss://fstream.binance.com/ws/btcusdt@depth5"),
    ],
)
def test_partial_depth_is_a_book_of_its_own(sent: Any) -> None:
    record = decoded(adapter(), sent)[-1]
    fields = record.fields()
    assert (record.kind, record.sequence, fields["bids"]) == (Kind.BOOK_SNAPSHOT, 160, [(5871020, 14)])
    assert (fields["bid_floor"], fields["ask_ceiling"]) == (INT64_MIN, INT64_MAX)


def test_snapshot_and_book_ticker_carry_times() -> None:
    answer = {"lastUpdateId": 7, "E": 1626992741264, "T": 1, "bids": [["1.0", "1"]], "asks": [["2.0", "1"]]}
    address = "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    snapshot = decoded(adapter(), frame(answer, form=WireForm.HTTP, address=address))[-1]
    assert (snapshot.sequence, snapshot.ts_event) == (7, 1626992741_264000000)
    ticker = {"e": "bookTicker", "u": 9, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4", "T": 5, "E": 6}
    quote = decoded(adapter(), ticker)[-1]
    assert (quote.kind, quote.sequence, quote.ts_event) == (Kind.QUOTE, 9, 6_000_000)


def test_list_tells_perpetuals_from_dated_contracts() -> None:
    coin = adapter_for("binance-coinm", InstrumentRegistry())
    base: dict[str, Any] = {"baseAsset": "BTC", "quoteAsset": "USD", "contractSize": 100}
    base["filters"] = [{"filterType": "PRICE_FILTER", "tickSize": "0.1"}, {"filterType": "LOT_SIZE", "stepSize": "1"}]
    entries = [
        base | {"symbol": "BTCUSD_PERP", "contractType": "PERPETUAL"},
        base | {"symbol": "BTCUSD_211231", "contractType": "NEXT_QUARTER"},
    ]
    address = "https://dapi.binance.com/dapi/v1/exchangeInfo"
    decoded(coin, frame({"symbols": entries}, form=WireForm.HTTP, address=address))
    found = []
    for name in ("BTCUSD_PERP", "BTCUSD_211231"):
        fields = InstrumentFields.unpack(decoded(coin, DIFF | {"s": name})[0].body)
        assert fields.details is not None
        found.append((fields.symbol, fields.details["type"], fields.tick > 0, fields.details["contractSize"]))
    assert found == [
        ("binance-coinm:BTC-USD-PERP", "perpetual", True, "100"),
        ("binance-coinm:BTC-USD-211231", "future", True, "100"),
    ]


def test_mark_prices_and_liquidations_give_nothing() -> None:
    assert decoded(adapter(), {"e": "markPriceUpdate", "s": "BTCUSDT"}) == []
    assert decoded(adapter(), {"e": "forceOrder", "o": {}}) == []
