"""Tardis.dev's CSV: messages as they were taken, and what each data type becomes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronicle
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, NONE, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.etl import run_shard
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import detect_format, open_capture
from chronicle.feed.captures.tardis import type_of
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.replay import replay_capture
from chronicle.feed.venues.tardis import TardisAdapter
from tests.support.frames import decoded
from tests.support.naive_book import records_of

L2 = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
ROWS = (
    L2
    + b"""\
deribit,BTC-PERPETUAL,1585699200245000,1585699200355684,true,ask,6421.5,18640
deribit,BTC-PERPETUAL,1585699200245000,1585699200355684,true,bid,6421,20
deribit,BTC-PERPETUAL,1585699200250000,1585699200355700,false,bid,6421,0
deribit,BTC-PERPETUAL,1585699200250000,1585699200355700,false,bid,6420.25,7
deribit,BTC-PERPETUAL,1585699200250000,1585699200355701,false,ask,6421.5,3
deribit,BTC-PERPETUAL,1585699200350000,1585699200455701,true,ask,6430,3
"""
)


def adapter() -> TardisAdapter:
    return TardisAdapter(InstrumentRegistry())


def rows(kind: str, text: str, exchange: str = "bitmex", symbol: str = "XBTUSD") -> Frame:
    return Frame(WireForm.TEXT, 1, f"tardis:{exchange}:{kind}:{symbol}", 5_000, text.encode())


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_rows_of_one_message_are_one_event_and_a_snapshot_starts_the_book_anew(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"deribit_incremental_book_L2.{ending}"
    path.write_bytes(gzip.compress(ROWS) if ending.endswith("gz") else ROWS)
    assert detect_format(path) == "tardis"
    frames = list(open_capture([path]).frames())
    assert [(frame.ts_recv, frame.payload.count(b"\n") + 1) for frame in frames] == [
        (1_585_699_200_355_684_000, 2),
        (1_585_699_200_355_700_000, 2),
        (1_585_699_200_355_701_000, 1),
        (1_585_699_200_455_701_000, 1),
    ]
    home = tmp_path / "home"
    replay_capture(home, [path])
    run_shard(home, drain=True)
    with chronicle.open(home) as store:
        book = store.book("deribit:BTC-PERPETUAL", at=frames[2].ts_recv)
        assert (book.status, book.verified_by) == ("ok", "nothing")
        assert [(str(p), str(s)) for p, s in book.bids + book.asks] == [("6420.25", "7"), ("6421.50", "3")]
        assert len(store.book("deribit:BTC-PERPETUAL", at=frames[3].ts_recv).bids) == 0


def test_trades_keep_the_takers_side_and_numbers_for_ids() -> None:
    text = (
        "bitmex,XBTUSD,1583020803145000,1583020803307160,ccc3c1fa-212c,sell,8531.5,2152\n"
        "bitmex,XBTUSD,1583020803145000,1583020803307160,77,buy,8531,1\n"
        "bitmex,XBTUSD,1583020803145000,1583020803307160,,unknown,8531,2"
    )
    instrument, *trades = decoded(adapter(), rows("trades", text))
    assert InstrumentFields.unpack(instrument.body).symbol == "bitmex:BTC-USD-PERP"
    assert [(t.side, t.fields()["price"], t.fields()["size"], t.fields()["trade_id"]) for t in trades] == [
        (Side.ASK, 85315, 2152, NONE),
        (Side.BID, 85310, 1, 77),
        (Side.NONE, 85310, 2, NONE),
    ]
    assert {trade.ts_event for trade in trades} == {1_583_020_803_145_000_000}


def test_quotes_may_lack_a_side() -> None:
    _, quote = decoded(adapter(), rows("quotes", "bitmex,XBTUSD,1,2,5,8629.5,,"))
    assert quote.fields() == {"bid_price": INT64_MIN, "bid_size": 0, "ask_price": 86295, "ask_size": 5}


def test_a_snapshot_of_n_levels_is_a_venue_snapshot_of_that_depth() -> None:
    text = "binance-futures,BTCUSDT,1,2,11.5,1,11,2,12,3,10,0.5"
    instrument, snapshot = decoded(adapter(), rows("book_snapshot_2", text, "binance-futures", "BTCUSDT"))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.book_depth, fields.sequence_rule) == ("binance-usdm:BTC-USDT-PERP", 2, 0)
    assert (snapshot.fields()["bids"], snapshot.fields()["asks"]) == ([(110, 20), (100, 5)], [(115, 10), (120, 30)])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("trades", "bitmex,XBTUSD,1,2,x,steal,8531.5,2152"),
        ("trades", "bitmex,XBTUSD,1,2,x,buy,NaN,2152"),
        ("trades", "bitmex,XBTUSD,x,2,x,buy,1,2152"),
        ("quotes", "bitmex,XBTUSD,1,2,5"),
        ("quotes", "bitmex,XBTUSD,1,2,-5,1,1,1"),
        ("incremental_book_L2", "bitmex,XBTUSD,1,2,maybe,bid,1,1"),
        ("incremental_book_L2", "bitmex,XBTUSD,1,2,false,mid,1,1"),
        ("book_snapshot_1", "bitmex,XBTUSD,1,2,5,1,4"),
        ("derivative_ticker", "bitmex,XBTUSD,1,2,5,1,4"),
    ],
)
def test_what_cannot_be_read_is_told_of_the_instrument(kind: str, text: str) -> None:
    out = EventBuilder()
    out.begin(1_000)
    with pytest.raises(DecodeError):
        adapter().decode(rows(kind, text), out)
    last = records_of(out.take()[0])[-1]
    assert (last.kind, last.fields()["code"], last.instrument) == (Kind.STATUS, StatusCode.DECODE_ERROR, 1)


@given(st.sampled_from(["trades", "quotes", "incremental_book_L2", "book_snapshot_2", "x"]), st.text(max_size=80))
def test_no_text_breaks_the_adapter_otherwise(kind: str, text: str) -> None:
    out = EventBuilder()
    out.begin(1_000)
    try:
        adapter().decode(rows(kind, text), out)
    except DecodeError:
        return


def test_headers_tell_the_type() -> None:
    start = b"exchange,symbol,timestamp,local_timestamp,"
    level = b"asks[%d].price,asks[%d].amount,bids[%d].price,bids[%d].amount"
    assert type_of(start + b",".join(level % ((n,) * 4) for n in range(25))) == "book_snapshot_25"
    assert type_of(start + b",".join(level % ((n,) * 4) for n in (0, 2))) is None
    assert type_of(start + b"asks[0].price") is None
    assert type_of(start + b"open_interest") is None


def test_damaged_rows_and_torn_files_lose_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    text = ROWS.replace(b"deribit,BTC-PERPETUAL,1585699200250000,1585699200355701", b"deribit,,1,x")
    path.write_bytes(gzip.compress(text)[:-30])
    capture = open_capture([path])
    frames = list(capture.frames())
    assert len(capture.damage) == 1
    path.write_bytes(gzip.compress(text))
    frames = list(open_capture([path]).frames())
    assert [frame.address.split(":")[0] for frame in frames] == ["tardis", "tardis", "chronicle", "tardis"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("deribit_incremental_book_L2_BTC-PERPETUAL.csv", Kind.BOOK_SNAPSHOT, 1),
        ("binance-futures_book_snapshot_25_BTCUSDT.csv", Kind.BOOK_SNAPSHOT, 10),
        ("binance-futures_book_snapshot_5_BTCUSDT.csv", Kind.BOOK_SNAPSHOT, 10),
        ("bitmex_trades_XBTUSD.csv", Kind.TRADE, 10),
        ("huobi-dm-swap_quotes_BTC-USD.csv", Kind.QUOTE, 10),
    ],
)
def test_samples_are_read_whole(shared_data: Path, name: str, kind: Kind, count: int) -> None:
    out, reader, found = EventBuilder(), adapter(), []
    for frame in open_capture([shared_data / "tardis-csv" / name]).frames():
        out.begin(frame.ts_recv)
        reader.decode(frame, out)
        found += [record.kind for record in records_of(out.take()[0])]
    assert found.count(kind) == count
    assert set(found) == {Kind.INSTRUMENT, kind}
