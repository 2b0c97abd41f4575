"""Bitget v2 messages, as www.bitget.com/api-doc shows them."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.layout import CheckRule, Kind, SequenceRule, Side, WireForm
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.symbology import canonical, from_venue, to_venue
from chronicle.feed.venues.bitget import BitgetAdapter
from tests.support.frames import decoded, frame

REST = "https://api.bitget.com/api/v2"


@pytest.fixture
def adapter() -> BitgetAdapter:
    return BitgetAdapter(InstrumentRegistry())


def push(channel: str, action: str, *data: Any, kind: str = "SPOT", name: str = "BTCUSDT") -> dict[str, Any]:
    argument = {"instType": kind, "channel": channel, "instId": name}
    return {"action": action, "arg": argument, "data": list(data), "ts": 1695710946294}


def book(seq: int, checksum: int = -855196043) -> dict[str, Any]:
    return {"asks": [["26274.9", "0.0009"]], "bids": [["26274.8", "0.0009"]], "checksum": checksum, "seq": seq} | {
        "ts": "1695710946294"
    }


def test_a_book_has_a_number_that_grows_and_a_checksum(adapter: BitgetAdapter) -> None:
    definition, snapshot, check = decoded(adapter, push("books", "snapshot", book(100)))
    fields = InstrumentFields.unpack(definition.body)
    assert (fields.symbol, fields.sequence_rule, fields.check_rule) == (
        *("bitget:BTC-USDT", SequenceRule.GROWING),
        CheckRule.BITGET_V1,
    )
    assert (fields.check_price_decimals, fields.check_size_decimals) == (1, 4)
    assert (snapshot.sequence, snapshot.ts_event) == (100, 1695710946294000000)
    assert check.fields()["expected"] == -855196043
    records = decoded(adapter, push("books", "update", book(108, 0)))
    assert [(r.kind, r.sequence) for r in records] == [(Kind.BOOK_DELTA, 108)] * 2, "no checksum, no CHECK"


def test_books_of_few_levels_come_whole(adapter: BitgetAdapter) -> None:
    records = decoded(adapter, push("books5", "snapshot", book(123, 0)))
    assert InstrumentFields.unpack(records[0].body).book_depth == 5
    assert len(SnapshotFields.unpack(records[1].body).bids) == 1


def test_trades_have_ids_and_come_oldest_first(adapter: BitgetAdapter) -> None:
    rows = [
        {"ts": "1695709835822", "price": "26293.4", "size": "0.0013", "side": "buy", "tradeId": "1000000001"},
        {"ts": "1695709835722", "price": "26293.5", "size": "0.1", "side": "sell", "tradeId": "1000000000"},
    ]
    first = decoded(adapter, push("trade", "snapshot", *rows))[1:]
    assert [(r.side, r.fields()["trade_id"]) for r in first] == [(Side.ASK, 1000000000), (Side.BID, 1000000001)]
    assert decoded(adapter, push("trade", "snapshot", *rows)) == [], "again at the next subscription"


def test_a_ticker_s_best_prices(adapter: BitgetAdapter) -> None:
    ticker = {"instId": "BTCUSDT", "lastPr": "27000.5", "bidPr": "27000", "bidSz": "2.71", "askPr": "27000.5"} | {
        "askSz": "8.76",
        "ts": "1695715383021",
    }
    quote = decoded(adapter, push("ticker", "snapshot", ticker, kind="USDT-FUTURES"))[-1]
    assert (quote.fields()["bid_price"], quote.fields()["ask_size"]) == (270000, 876)


def test_both_versions_name_one_instrument(adapter: BitgetAdapter) -> None:
    two = push("books", "snapshot", book(5), kind="USDT-FUTURES")
    one = {"action": "snapshot", "arg": {"instType": "mc", "channel": "books", "instId": "BTCUSDT"}}
    numbers = {decoded(adapter, message)[-1].instrument for message in (two, one | {"data": [book(6)]})}
    assert len(numbers) == 1


def test_lists_of_v2(adapter: BitgetAdapter) -> None:
    spot = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "pricePrecision": "2"} | {
        "quantityPrecision": "6",
        "status": "online",
    }
    contract = {"baseCoin": "BTC", "pricePlace": "1", "priceEndStep": "5", "volumePlace": "3"} | {
        "sizeMultiplier": "0.001",
        "symbolStatus": "normal",
    }
    contracts = [
        contract | {"symbol": "BTCUSDT", "quoteCoin": "USDT", "symbolType": "perpetual"},
        contract | {"symbol": "BTCPERP", "quoteCoin": "USDC", "symbolType": "perpetual"},
        contract
        | {"symbol": "BTCUSDZ24", "quoteCoin": "USD", "symbolType": "delivery", "deliveryTime": "1735286400000"},
    ]
    for path, data in (("spot/public/symbols", [spot]), ("mix/market/contracts?productType=USDT-FUTURES", contracts)):
        answer = {"code": "00000", "msg": "success", "data": data}
        assert decoded(adapter, frame(answer, form=WireForm.HTTP, address=f"{REST}/{path}")) == []
    assert adapter.registry.listed_names("bitget") == {
        "bitget:BTC-USDT": "sp|BTCUSDT",
        "bitget:BTC-USDT-PERP": "mc|BTCUSDT",
        "bitget:BTC-USDC-PERP": "mc|BTCPERP",
        "bitget:BTC-USD-241227": "mc|BTCUSDZ24",
    }
    fields = InstrumentFields.unpack(
        decoded(adapter, push("books5", "snapshot", book(1), kind="USDT-FUTURES"))[0].body
    )
    assert (fields.tick, fields.price_exponent, fields.lot, fields.size_exponent) == (5, 1, 10, 4)


def test_contracts_in_usdc_are_named_perp() -> None:
    assert canonical("bitget:BTCPERP") == "bitget:BTC-USDC-PERP"
    assert to_venue(from_venue("bitget", "mc|BTCPERP")) == "BTCPERP"
