"""Bitget v1 messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import CheckRule, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.bitget import BitgetAdapter
from tests.support.frames import decoded, frame


def push(channel: str, action: str, *data: Any, market: str = "sp") -> dict[str, Any]:
    argument = {"instType": market, "channel": channel, "instId": "EOSUSDT"}
    return {"action": action, "arg": argument, "data": list(data)}


BOOK = {
    "asks": [["2.4400", "195.6669"]],
    "bids": [["2.4300", "0"], ["2.4200", "1.0000"]],
    "checksum": -77,
    "ts": "1649290076333",
}


def adapter() -> BitgetAdapter:
    return BitgetAdapter(InstrumentRegistry())


def test_book_ends_with_the_venues_checksum_in_the_wires_decimals() -> None:
    instrument, snapshot, check = decoded(adapter(), push("books", "snapshot", BOOK))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.check_price_decimals, fields.check_size_decimals) == ("bitget:EOS-USDT", 4, 4)
    assert (snapshot.ts_event, check.fields()["rule"], check.fields()["expected"]) == (
        *(1649290076_333000000, CheckRule.BITGET_V1),
        -77,
    )
    records = decoded(adapter(), push("books", "update", BOOK))
    assert [record.side for record in records if record.kind == Kind.BOOK_DELTA] == [Side.BID, Side.BID, Side.ASK]


def test_one_name_is_a_pair_and_a_contract() -> None:
    by = adapter()
    names = [
        InstrumentFields.unpack(decoded(by, push("books", "snapshot", BOOK, market=market))[0].body).symbol
        for market in ("sp", "mc")
    ]
    assert names == ["bitget:EOS-USDT", "bitget:EOS-USDT-PERP"]


def test_last_trades_come_once_and_oldest_first() -> None:
    by = adapter()
    rows = [["1649290071016", "2.4383", "2.0", "buy"], ["1649290061015", "2.4376", "2.0", "sell"]]
    first = decoded(by, push("trade", "snapshot", *rows))[1:]
    assert [(record.side, record.ts_event // 10**6) for record in first] == [
        (Side.ASK, 1649290061015),
        (Side.BID, 1649290071016),
    ]
    assert len(decoded(by, push("trade", "snapshot", ["1649290071017", "2.4", "1", "buy"], *rows))) == 1
    assert len(decoded(by, push("trade", "update", rows[0]))) == 1


def test_ticker_is_a_quote_only_with_sizes() -> None:
    ticker = {"bestBid": "0.000036", "bestAsk": "0.000036", "ts": 1649290076193}
    assert decoded(adapter(), push("ticker", "snapshot", ticker)) == []
    assert (
        decoded(adapter(), push("ticker", "snapshot", ticker | {"bidSz": "1", "askSz": "2"}))[-1].kind == Kind.QUOTE
    )


def test_events_candles_and_unknown_channels() -> None:
    by = adapter()
    reply = {"event": "subscribe", "arg": {"instType": "sp", "channel": "books", "instId": "EOSUSDT"}}
    assert decoded(by, reply)[-1].fields() == {"code": StatusCode.SUBSCRIBED, "details": {"channel": "books"}}
    assert decoded(by, frame(b"pong")) == []
    assert decoded(by, push("candle1m", "update", [])) == []
    with pytest.raises(DecodeError, match="no known channel"):
        decoded(by, push("surprise", "update"))


def test_lists_give_ticks_that_may_move_by_five() -> None:
    by = adapter()
    contract = {"symbol": "EOSUSDT_UMCBL", "baseCoin": "EOS", "quoteCoin": "USDT", "priceEndStep": "5"}
    answer = {"code": "00000", "data": [contract | {"volumePlace": "0", "pricePlace": "3"}]}
    address = "https://api.bitget.com/api/mix/v1/market/contracts?productType=umcbl"
    decoded(by, frame(answer, form=WireForm.HTTP, address=address))
    fields = InstrumentFields.unpack(decoded(by, push("books", "snapshot", BOOK, market="mc"))[0].body)
    assert fields.details is not None
    assert (fields.symbol, fields.tick, fields.details["from"]) == ("bitget:EOS-USDT-PERP", 50, "list")
