"""KuCoin messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, NONE, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.kucoin import KucoinAdapter
from tests.support.frames import decoded, frame


def diff(first: int, last: int, bids: list[Any], asks: list[Any]) -> dict[str, Any]:
    data = {"symbol": "FET-BTC", "sequenceStart": first, "sequenceEnd": last, "changes": {"bids": bids, "asks": asks}}
    return {"type": "message", "topic": "/market/level2:FET-BTC", "subject": "trade.l2update", "data": data}


def adapter() -> KucoinAdapter:
    return KucoinAdapter(InstrumentRegistry())


def test_changes_come_in_their_order_and_price_zero_only_counts() -> None:
    rows = [["1.5", "0", "9"], ["1.5", "2", "8"], ["0", "0", "10"]]
    instrument, first, second = decoded(adapter(), diff(8, 10, [], rows))
    assert InstrumentFields.unpack(instrument.body).symbol == "kucoin:FET-BTC"
    assert [(record.side, record.fields()["size"]) for record in (first, second)] == [(Side.ASK, 2), (Side.ASK, 0)]
    assert (first.sequence, first.fields()["sequence_first"]) == (10, 8)
    empty = decoded(adapter(), diff(11, 11, [["0", "0", "11"]], []))[-1]
    assert (empty.kind, empty.side, empty.sequence) == (Kind.BOOK_DELTA, Side.NONE, 11)


@pytest.mark.parametrize(("name", "floor"), [("level2", INT64_MIN), ("level2_20", 15), ("level2_100", INT64_MIN)])
def test_http_book_is_cut_where_it_was_asked_for_so_many_levels(name: str, floor: int) -> None:
    bids = [[f"{3.4 - at / 10:.1f}", "1"] for at in range(20)]
    answer = {"code": "200000", "data": {"time": 5, "sequence": "77", "bids": bids, "asks": [["9", "1"]]}}
    address = f"https://api.kucoin.com/api/v3/market/orderbook/{name}?symbol=FET-BTC"
    record = decoded(adapter(), frame(answer, form=WireForm.HTTP, address=address))[-1]
    assert (record.kind, record.sequence, record.fields()["bid_floor"]) == (Kind.BOOK_SNAPSHOT, 77, floor)


def test_trade_has_ns_and_no_number() -> None:
    data = {"symbol": "FET-BTC", "sequence": "3", "side": "sell", "size": "1", "price": "1.5"}
    data |= {"time": "1619378327739050725", "tradeId": "6085c09769bc506996295e36"}
    trade = decoded(adapter(), {"type": "message", "topic": "/market/match:FET-BTC", "data": data})[-1]
    assert (trade.side, trade.ts_event, trade.fields()["trade_id"]) == (Side.ASK, 1619378327739050725, NONE)


def test_replies_name_their_requests() -> None:
    by = adapter()
    request = {"id": 1, "type": "subscribe", "topic": "/market/level2:FET-BTC,SNX-BTC", "response": True}
    decoded(by, frame(request, form=WireForm.SENT))
    records = decoded(by, {"id": "1", "type": "ack"})
    assert [record.fields()["details"] for record in records if record.kind == Kind.STATUS] == [
        {"channel": "level2"}
    ] * 2
    assert decoded(by, {"id": "x", "type": "welcome"}) == []
    assert decoded(by, {"id": "1", "type": "error", "data": "no"})[-1].fields()["code"] == StatusCode.ERROR
    with pytest.raises(DecodeError, match="no known topic"):
        decoded(by, {"type": "message", "topic": "/surprise:X", "data": {}})
