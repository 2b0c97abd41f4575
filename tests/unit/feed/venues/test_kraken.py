"""Kraken v1 messages."""

from __future__ import annotations

from chronicle.core.layout import Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.kraken import KrakenAdapter
from tests.support.frames import decoded, frame

SNAPSHOT = [
    1,
    {
        "as": [["5541.30000", "2.50700000", "1534614248.123678"]],
        "bs": [["5541.20000", "1.52900000", "1534614248.765567"]],
    },
    "book-100",
    "XBT/USD",
]
PAIRS = {
    "error": [],
    "result": {"XXBTZUSD": {"wsname": "XBT/USD", "pair_decimals": 1, "lot_decimals": 8, "altname": "XBTUSD"}},
}


def adapter() -> KrakenAdapter:
    return KrakenAdapter(InstrumentRegistry())


def test_snapshot_is_one_event_with_its_definition() -> None:
    instrument, snapshot = decoded(adapter(), SNAPSHOT)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.price_exponent, fields.size_exponent, fields.book_depth) == (
        "kraken:BTC-USD",
        5,
        8,
        100,
    )
    assert (fields.check_price_decimals, fields.check_size_decimals) == (5, 8)
    assert snapshot.ts_event == 1534614248_765567000
    assert snapshot.fields()["asks"] == [(554130000, 250700000)]


def test_update_of_two_sides_is_one_event_that_ends_in_its_check() -> None:
    update = [
        1,
        {"a": [["5541.30000", "0.00000000", "1534614335.345903"]]},
        {"b": [["5541.20000", "9.00000000", "1534614335.345904", "r"]], "c": "974942666"},
        "book-100",
        "XBT/USD",
    ]
    ask, bid, check = decoded(adapter(), SNAPSHOT, update)
    assert [(record.kind, record.side) for record in (ask, bid)] == [
        (Kind.BOOK_DELTA, Side.ASK),
        (Kind.BOOK_DELTA, Side.BID),
    ]
    assert (ask.fields()["size"], bid.fields()["size"]) == (0, 900000000)
    assert check.fields()["expected"] == 974942666
    assert {record.ts_event for record in (ask, bid, check)} == {1534614335_345904000}


def test_list_of_pairs_gives_tick_and_keeps_the_wire_decimals_for_the_check() -> None:
    listed = adapter()
    decoded(listed, frame(PAIRS, form=WireForm.HTTP, address="https://api.kraken.com/0/public/AssetPairs"))
    fields = InstrumentFields.unpack(decoded(listed, SNAPSHOT)[0].body)
    assert (fields.price_exponent, fields.tick, fields.lot, fields.check_price_decimals) == (5, 10_000, 1, 5)


def test_trades_of_one_message_keep_their_times_and_takers() -> None:
    trades = [0, [["5541.20000", "0.15850568", "1534614057.321597", "s", "l", ""]] * 2, "trade", "XBT/USD"]
    trades[1][1] = ["6060.00000", "0.02455000", "1534614057.324998", "b", "l", ""]  # type: ignore[index]
    _, first, second = decoded(adapter(), trades)
    assert [(record.side, record.ts_event) for record in (first, second)] == [
        (Side.ASK, 1534614057_321597000),
        (Side.BID, 1534614057_324998000),
    ]


def test_ticker_and_spread_are_quotes() -> None:
    ticker = [0, {"a": ["5525.4", 1, "1.5"], "b": ["5525.1", 1, "1.25"]}, "ticker", "XBT/USD"]
    quote = decoded(adapter(), ticker)[-1].fields()
    assert quote == {"bid_price": 55251, "bid_size": 125, "ask_price": 55254, "ask_size": 150}
    spread = [0, ["5698.4", "5700.0", "1542057299.545897", "1.25", "1.50"], "spread", "XBT/USD"]
    record = decoded(adapter(), spread)[-1]
    assert (record.kind, record.ts_event, record.fields()["ask_price"]) == (Kind.QUOTE, 1542057299_545897000, 57000)


def test_subscription_is_a_status_of_its_instrument_and_sets_the_depth() -> None:
    reply = {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/USD", "channelID": 7}
    reply |= {"channelName": "book-25", "subscription": {"name": "book", "depth": 25}}
    instrument, status = decoded(adapter(), reply)
    assert InstrumentFields.unpack(instrument.body).book_depth == 25
    assert (status.instrument, status.fields()["code"]) == (1, StatusCode.SUBSCRIBED)
    assert status.fields()["details"]["channel"] == "book-25"


def test_heartbeat_and_candles_give_nothing_and_an_error_says_so() -> None:
    assert decoded(adapter(), {"event": "heartbeat"}) == []
    assert decoded(adapter(), [1, ["1"], "ohlc-5", "XBT/USD"]) == []
    (status,) = decoded(adapter(), {"event": "error", "errorMessage": "Malformed request"})
    assert (status.instrument, status.fields()["code"]) == (0, StatusCode.ERROR)


def test_longer_decimals_redefine_in_the_same_event_before_the_level() -> None:
    update = [1, {"a": [["5541.300001", "1.0", "1534614335.345903"]], "c": "1"}, "book-100", "XBT/USD"]
    instrument, delta, check = decoded(adapter(), SNAPSHOT, update)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.price_exponent, fields.check_price_decimals, fields.check_size_decimals) == (6, 6, 8)
    assert (delta.fields()["price"], check.kind) == (5541300001, Kind.CHECK)
