"""Gate.io's messages, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX, INT64_MIN, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.symbology import canonical, from_venue, to_venue
from chronicle.feed.venues.gateio import GateioAdapter
from tests.support.frames import decoded, frame

ADDRESS = "https://api.gateio.ws/api/v4/spot"


@pytest.fixture
def adapter() -> GateioAdapter:
    return GateioAdapter(InstrumentRegistry())


def update(channel: str, **result: Any) -> dict[str, Any]:
    return {"time": 1, "channel": f"spot.{channel}", "event": "update", "result": result}


def diff(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"t": 1619093547575, "s": "OMG_USDT", "U": 7, "u": 9, "b": [["7.884", "2.5"]], "a": []}
    return update("order_book_update", **(values | changes))


def test_names_go_both_ways() -> None:
    assert canonical("gateio:btc_usdt") == canonical("gateio:BTC-USDT") == "gateio:BTC-USDT"
    assert to_venue(from_venue("gateio", "QTUM3S_USDT")) == "QTUM3S_USDT"


def test_a_diff_carries_its_range(adapter: GateioAdapter) -> None:
    definition, delta = decoded(adapter, diff())
    assert definition.kind == Kind.INSTRUMENT
    assert (delta.side, delta.sequence, delta.ts_event) == (Side.BID, 9, 1619093547575 * 10**6)
    assert {key: delta.fields()[key] for key in ("price", "size", "sequence_first")} == {
        "price": 7884,
        "size": 25,
        "sequence_first": 7,
    }
    (empty,) = decoded(adapter, diff(b=[]))
    assert (empty.side, empty.fields()["size"]) == (Side.NONE, 0)


def test_a_snapshot_is_complete_where_it_is_not_full(adapter: GateioAdapter) -> None:
    book = {"id": 5, "current": 1, "update": 2, "bids": [["2", "1"], ["1", "1"]], "asks": [["3", "1"]]}
    query = "currency_pair=OMG_USDT&limit=2&with_id=true"
    records = decoded(adapter, frame(book, form=WireForm.HTTP, address=f"{ADDRESS}/order_book?{query}"))
    fields = SnapshotFields.unpack(records[-1].body)
    assert (records[-1].sequence, fields.bid_floor, fields.ask_ceiling) == (5, 1, INT64_MAX)
    records = decoded(
        adapter, frame(book, form=WireForm.HTTP, address=f"{ADDRESS}/order_book?currency_pair=OMG_USDT")
    )
    assert SnapshotFields.unpack(records[-1].body).bid_floor == INT64_MIN


def test_a_trade_s_time_is_exact(adapter: GateioAdapter) -> None:
    trade = {"id": 8, "create_time_ms": "1619093543708.2642", "side": "sell", "currency_pair": "OMG_USDT"}
    record = decoded(adapter, update("trades", **trade, amount="0.2010000000", price="121.5800000000"))[-1]
    assert (record.side, record.ts_event, record.fields()["trade_id"]) == (Side.ASK, 1619093543708264200, 8)


def test_quotes_and_sides_without_a_level(adapter: GateioAdapter) -> None:
    quote = {"t": 1, "u": 4, "s": "OMG_USDT", "b": "1.5", "B": "2", "a": "", "A": "0"}
    fields = decoded(adapter, update("book_ticker", **quote))[-1].fields()
    assert (fields["bid_price"], fields["ask_price"], fields["ask_size"]) == (15, INT64_MIN, 0)


def test_replies_answer_the_oldest_request_of_their_channel(adapter: GateioAdapter) -> None:
    def request(channel: str, *payload: str) -> Any:
        message = {"time": 0, "channel": f"spot.{channel}", "event": "subscribe", "payload": list(payload)}
        return frame(message, form=WireForm.SENT)

    def reply(channel: str, **more: Any) -> dict[str, Any]:
        return {"time": 1, "channel": f"spot.{channel}", "event": "subscribe", "result": {"status": "success"}} | more

    sent = [request("order_book_update", "A_USDT", "100ms"), request("trades", "A_USDT", "B_USDT")]
    records = decoded(adapter, *sent, reply("trades"))
    told = [record.fields() for record in records if record.kind == Kind.STATUS]
    assert [(fields["code"], fields["details"]["channel"]) for fields in told] == [
        (StatusCode.SUBSCRIBED, "trade")
    ] * 2
    (status,) = [record for record in decoded(adapter, reply("order_book_update")) if record.kind == Kind.STATUS]
    assert status.fields()["details"] == {"channel": "book"}
    (error,) = decoded(adapter, reply("trades", error={"code": 2, "message": "unknown pair"}))
    assert (error.instrument, error.fields()["code"]) == (0, StatusCode.ERROR)


def test_the_list_gives_decimals(adapter: GateioAdapter) -> None:
    entry = {"id": "OMG_USDT", "base": "OMG", "quote": "USDT", "precision": 4, "amount_precision": 0}
    pairs = frame([entry], form=WireForm.HTTP, address=f"{ADDRESS}/currency_pairs")
    fields = InstrumentFields.unpack(decoded(adapter, pairs, diff(b=[["7", "1"]]))[0].body)
    assert (fields.price_exponent, fields.size_exponent, fields.tick, fields.lot) == (4, 0, 1, 1)
    assert fields.details is not None
    assert fields.details["from"] == "list"


@pytest.mark.parametrize(
    "message",
    [
        {"time": 1, "channel": "spot.unknown", "event": "update", "result": {}},
        {"time": 1, "channel": "spot.trades", "event": "other"},
        diff(U="x"),
        [],
    ],
)
def test_what_is_not_known_is_an_error(adapter: GateioAdapter, message: Any) -> None:
    with pytest.raises(DecodeError):
        decoded(adapter, message)
