"""OKX v5 messages."""

from __future__ import annotations

from typing import Any

from chronicle.core.layout import INT64_MIN, NONE, Kind, Side, StatusCode, TradeType, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.okx import OkxAdapter
from tests.support.frames import decoded, frame

SWAP = "BTC-USD-SWAP"
STAMP = "1597026383085"
LIST_ADDRESS = "https://www.okex.com/api/v5/public/instruments?instType=SWAP"


def adapter() -> OkxAdapter:
    return OkxAdapter(InstrumentRegistry())


def book(action: str, bids: Any, asks: Any, channel: str = "books", **more: Any) -> dict[str, Any]:
    entry = {"asks": asks, "bids": bids, "ts": STAMP} | more
    return {"arg": {"channel": channel, "instId": SWAP}, "action": action, "data": [entry]}


SNAPSHOT = book("snapshot", [["8476.97", "256", "0", "12"]], [["8476.98", "415", "0", "13"]], checksum=-855196043)


def test_snapshot_and_update_end_in_their_signed_check() -> None:
    instrument, snapshot, check = decoded(adapter(), SNAPSHOT)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.price_exponent, fields.book_depth) == ("okx:BTC-USD-PERP", 2, 400)
    assert (snapshot.ts_event, snapshot.sequence) == (1597026383_085000000, NONE)
    assert check.fields()["expected"] == -855196043
    update = book("update", [], [["8476.98", "0", "0", "0"]], checksum=5, seqId=123457, prevSeqId=123456)
    delta, check = decoded(adapter(), SNAPSHOT, update)
    assert (delta.side, delta.sequence, delta.fields()["sequence_previous"]) == (Side.ASK, 123457, 123456)
    assert check.sequence == 123457


def test_checksum_of_zero_is_none() -> None:
    assert [record.kind for record in decoded(adapter(), SNAPSHOT, book("update", [["1", "1"]], [], checksum=0))] == [
        Kind.BOOK_DELTA
    ]


def test_update_without_levels_keeps_the_sequence_where_it_moves() -> None:
    (delta,) = decoded(adapter(), SNAPSHOT, book("update", [], [], seqId=3, prevSeqId=7))
    assert (delta.side, delta.sequence, delta.fields()["sequence_previous"]) == (Side.NONE, 3, 7)
    assert decoded(adapter(), SNAPSHOT, book("update", [], [], seqId=7, prevSeqId=7)) == []


def test_trades_name_the_taker_and_aggregates() -> None:
    trade = {"instId": SWAP, "tradeId": "130639474", "px": "42219.9", "sz": "0.12", "side": "buy", "ts": STAMP}
    message = {"arg": {"channel": "trades", "instId": SWAP}, "data": [trade, trade | {"side": "sell", "count": "3"}]}
    _, first, second = decoded(adapter(), message)
    assert (first.side, first.fields()["trade_id"], first.fields()["type"]) == (Side.BID, 130639474, TradeType.PLAIN)
    assert (second.side, second.fields()["type"]) == (Side.ASK, TradeType.AGGREGATE)


def test_ticker_without_a_side_is_a_quote_with_an_empty_side() -> None:
    entry = {"askPx": "2.5", "askSz": "3", "bidPx": "", "bidSz": "", "ts": STAMP}
    quote = decoded(adapter(), {"arg": {"channel": "tickers", "instId": SWAP}, "data": [entry]})[-1].fields()
    assert quote == {"bid_price": INT64_MIN, "bid_size": 0, "ask_price": 25, "ask_size": 3}


def test_few_level_books_are_snapshots_alone_and_quotes_beside_a_deep_book() -> None:
    top = {
        "arg": {"channel": "books5", "instId": SWAP},
        "data": [{"asks": [["2", "1"]], "bids": [["1", "1"]], "ts": "1"}],
    }
    instrument, snapshot = decoded(adapter(), top)
    assert (InstrumentFields.unpack(instrument.body).book_depth, snapshot.kind) == (5, Kind.BOOK_SNAPSHOT)
    assert [record.kind for record in decoded(adapter(), SNAPSHOT, top)] == [Kind.QUOTE]


def test_instrument_list_gives_contract_facts() -> None:
    row = {
        "instType": "SWAP",
        "instId": SWAP,
        "baseCcy": "",
        "quoteCcy": "",
        "tickSz": "0.1",
        "lotSz": "1",
        "uly": "BTC-USD",
    }
    row |= {"ctVal": "100", "ctType": "inverse", "settleCcy": "BTC"}
    listed = adapter()
    assert decoded(listed, frame({"code": "0", "data": [row]}, form=WireForm.HTTP, address=LIST_ADDRESS)) == []
    fields = InstrumentFields.unpack(decoded(listed, SNAPSHOT)[0].body)
    assert fields.details is not None
    assert (fields.tick, fields.lot, fields.details["type"], fields.details["ctVal"]) == (10, 1, "perpetual", "100")


def test_events_are_statuses_and_pong_is_nothing() -> None:
    instrument, status = decoded(adapter(), {"event": "subscribe", "arg": {"channel": "books", "instId": SWAP}})
    assert (instrument.kind, status.fields()["code"]) == (Kind.INSTRUMENT, StatusCode.SUBSCRIBED)
    (status,) = decoded(adapter(), {"event": "error", "code": "60012", "msg": "Invalid request"})
    assert (status.instrument, status.fields()["code"]) == (0, StatusCode.ERROR)
    assert decoded(adapter(), b"pong") == []
