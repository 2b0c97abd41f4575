"""Polygon.io's messages: the documented examples of polygon.io/docs and of the client's websocket specification."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, NONE, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.symbology import canonical, from_venue, to_venue
from chronicle.feed.venues.polygon import PolygonAdapter
from tests.support.frames import TS, decoded, frame
from tests.support.naive_book import taken

TRADE = {"ev": "T", "sym": "MSFT", "x": 4, "i": "12345", "z": 3, "p": 114.125, "s": 100, "c": [0, 12]} | {
    "t": 1536036818784,
    "q": 3681328,
}
"""stocks/ws_stocks_t"""
QUOTE = {"ev": "Q", "sym": "MSFT", "bx": 4, "bp": 114.125, "bs": 100, "ax": 7, "ap": 114.128, "as": 160, "c": 0} | {
    "i": [604],
    "t": 1536036818784,
    "q": 50385480,
    "z": 3,
}
"""stocks/ws_stocks_q"""
FOREX = {"ev": "C", "p": "USD/CNH", "x": "44", "a": 6.83366, "b": 6.83363, "t": 1536036818784}
"""forex/ws_forex_c"""
BANDS = {"ev": "LULD", "T": "MSFT", "h": 218.94, "l": 218.25, "i": [21], "z": 3, "t": 1601316612585, "q": 8918506}
TICKERS = "https://api.polygon.io/v3/reference/tickers"


@pytest.fixture
def adapter() -> PolygonAdapter:
    return PolygonAdapter(InstrumentRegistry())


def test_the_documented_trade_is_exact(adapter: PolygonAdapter) -> None:
    definition, trade = decoded(adapter, [TRADE])
    fields = InstrumentFields.unpack(definition.body)
    assert (fields.symbol, fields.price_exponent, fields.sequence_rule) == ("polygon:MSFT", 3, SequenceRule.GROWING)
    assert (trade.kind, trade.side, trade.ts_event, trade.sequence) == (
        *(Kind.TRADE, Side.NONE, 1536036818784 * 10**6),
        3681328,
    )
    assert [trade.fields()[key] for key in ("price", "size", "trade_id")] == [114125, 100, 12345]


@pytest.mark.parametrize(
    ("stamp", "ns"),
    [
        (1536036818784, 1536036818784 * 10**6),
        (1536036818784001, 1536036818784001 * 10**3),
        (1536036818784001002, 1536036818784001002),
    ],
)
def test_a_time_says_its_unit_by_its_size(adapter: PolygonAdapter, stamp: int, ns: int) -> None:
    assert decoded(adapter, [TRADE | {"t": stamp}])[-1].ts_event == ns


def test_ids_of_letters_and_messages_without_a_number(adapter: PolygonAdapter) -> None:
    message = {key: value for key, value in TRADE.items() if key != "q"}
    trade = decoded(adapter, [message | {"i": "00MGON"}])[-1]
    assert (trade.sequence, trade.fields()["trade_id"]) == (NONE, NONE)


def test_the_documented_quote_and_its_empty_sides(adapter: PolygonAdapter) -> None:
    quote = decoded(adapter, [QUOTE])[-1]
    names = ("bid_price", "bid_size", "ask_price", "ask_size")
    assert [quote.fields()[name] for name in names] == [114125, 100, 114128, 160]
    assert (quote.ts_event, quote.sequence) == (1536036818784 * 10**6, 50385480)
    one_sided = {key: value for key, value in QUOTE.items() if key not in ("ax", "ap", "as")}
    fields = decoded(adapter, [one_sided])[-1].fields()
    assert (fields["bid_price"], fields["ask_price"], fields["ask_size"]) == (114125, INT64_MIN, 0)
    assert decoded(adapter, [QUOTE | {"bp": 0}])[-1].fields()["bid_price"] == INT64_MIN


def test_the_documented_forex_quote_has_no_size(adapter: PolygonAdapter) -> None:
    definition, quote = decoded(adapter, [FOREX])
    assert InstrumentFields.unpack(definition.body).symbol == "polygon:USD-CNH"
    assert list(quote.fields().values())[:4] == [683363, 0, 683366, 0]


def test_a_message_that_cannot_be_read_leaves_the_others(adapter: PolygonAdapter) -> None:
    out = EventBuilder()
    out.begin(TS)
    with pytest.raises(DecodeError, match="AAPL"):
        adapter.decode(frame([TRADE, TRADE | {"sym": "AAPL", "p": "NaN"}, {"ev": "ZZ"}, QUOTE]), out)
    records = [record for record in taken(out) if record.kind != Kind.INSTRUMENT]
    assert [record.kind for record in records] == [Kind.TRADE, Kind.STATUS, Kind.STATUS, Kind.QUOTE]
    assert [record.instrument for record in records] == [1, 2, 0, 1], "the unknown event names nobody"


def test_reference_tickers_are_the_instruments(adapter: PolygonAdapter) -> None:
    stock = {"ticker": "BACpB", "market": "stocks", "locale": "us", "primary_exchange": "XNYS", "type": "PFD"} | {
        "active": True,
        "currency_name": "usd",
    }
    pair = {"ticker": "C:EURUSD", "market": "fx", "base_currency_symbol": "EUR", "currency_symbol": "USD"}
    answer = {"status": "OK", "results": [stock, pair], "next_url": f"{TICKERS}?cursor=x"}
    assert decoded(adapter, frame(answer, form=WireForm.HTTP, address=f"{TICKERS}?market=stocks")) == []
    assert adapter.registry.listed_names("polygon") == {"polygon:BACPB": "BACpB", "polygon:EUR-USD": "EUR/USD"}
    details = InstrumentFields.unpack(decoded(adapter, [TRADE | {"sym": "BACpB"}])[0].body).details
    assert details is not None
    assert (details["from"], details["primary_exchange"], details["share_type"]) == ("list", "XNYS", "PFD")
    (refused,) = decoded(
        adapter, frame({"status": "ERROR", "error": "Unknown API Key"}, form=WireForm.HTTP, address=TICKERS)
    )
    assert refused.fields()["code"] == StatusCode.ERROR


def test_status_messages_are_statuses(adapter: PolygonAdapter) -> None:
    def status(status: str, message: str) -> list[Any]:
        return decoded(adapter, [{"ev": "status", "status": status, "message": message}])

    assert status("auth_success", "authenticated")[0].fields()["code"] == StatusCode.VENUE
    assert status("auth_failed", "authentication failed")[0].fields()["code"] == StatusCode.ERROR
    assert status("max_connections", "Maximum number of websocket connections exceeded.")[0].fields()["code"] == (
        StatusCode.ERROR
    )
    _, subscribed, _, other = status("success", "subscribed to: T.MSFT,Q.AAPL")
    assert (subscribed.fields()["code"], subscribed.fields()["details"]["channel"]) == (
        StatusCode.SUBSCRIBED,
        "trade",
    )
    assert other.fields()["details"]["channel"] == "quote"
    bands = decoded(adapter, [BANDS])[-1]
    assert (bands.instrument, bands.fields()["details"]["high"]) == (subscribed.instrument, "218.94")


def test_tickers_and_pairs_are_told_apart() -> None:
    assert canonical("polygon:aapl") == "polygon:AAPL"
    assert canonical("polygon:BRK.A") == "polygon:BRK.A"
    assert {canonical(f"polygon:{name}") for name in ("EUR-USD", "eur/usd", "C:EURUSD")} == {"polygon:EUR-USD"}
    assert to_venue(from_venue("polygon", "C:EURUSD")) == "EUR/USD"
    assert to_venue(from_venue("polygon", "AAPL")) == "AAPL"
