"""Databento: what each schema becomes, in every version, and what is not to be read."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import chronicle
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Action, Flag, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.etl import run_shard
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import dbn_format as dbn
from chronicle.feed.captures import detect_format, open_capture
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.replay import replay_capture
from chronicle.feed.venues.dbn import DbnAdapter
from tests.support.frames import decoded
from tests.support.naive_book import records_of

CME = "dbn:cme:GLBX.MDP3:ESM4"


def adapter() -> DbnAdapter:
    return DbnAdapter(InstrumentRegistry())


def frame(payload: bytes, address: str = CME, form: WireForm = WireForm.BINARY) -> Frame:
    return Frame(form, 1, address, 1_000, payload)


def mbo(action: bytes = b"A", side: bytes = b"B", **changes: int) -> bytes:
    values = {"order_id": 7, "price": 5_000_000_000, "size": 3, "flags": 128, "sequence": 9} | changes
    return dbn.MBO_RECORD.pack(
        *(14, 0xA0, 1, 5602, 900, values["order_id"], values["price"], values["size"], values["flags"], 0),
        *(action, side, 1_000, 100, values["sequence"]),
    )


def priced(levels: list[tuple[int, int, int, int, int, int]], rtype: int, action: bytes = b"A") -> bytes:
    length = (48 + 32 * len(levels)) // 4
    head = dbn.TRADE_RECORD.pack(length, rtype, 1, 5602, 900, 77, 2, action, b"B", 130, 0, 1_000, 100, 9)
    return head + b"".join(dbn.LEVEL.pack(*level) for level in levels)


def records(path: Path) -> list[Record]:
    """Return the records of a whole file, as the raw queue would hold them."""
    out, found, reader = EventBuilder(), [], adapter()
    for each in open_capture([path]).frames():
        out.begin(each.ts_recv)
        reader.decode(each, out)
        found += records_of(out.take()[0])
    return found


def plain(found: list[Record]) -> list[Any]:
    return [
        (record.kind, record.flags, record.side, record.ts_recv, record.ts_event, record.sequence, record.fields())
        for record in found
    ]


def test_an_order_keeps_what_databento_says_of_it() -> None:
    instrument, order = decoded(adapter(), frame(mbo(flags=32 | 8 | 2, order_id=2**64 - 1)))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.driver, fields.price_exponent, fields.size_exponent) == (
        "cme:ESM4",
        Kind.ORDER,
        9,
        0,
    )
    assert order.fields() == {
        "order_id": 2**64 - 1,
        "price": 5_000_000_000,
        "size": 3,
        "action": Action.ADD,
        "code": 0,
    }
    assert order.flags == Flag.SNAPSHOT | Flag.BAD_TS_RECV | Flag.LAST
    assert (order.side, order.ts_event, order.sequence) == (Side.BID, 900, 9)


def test_a_match_is_one_event_with_its_trade() -> None:
    payload = mbo(b"T", b"A", order_id=0) + mbo(b"F") + mbo(b"C")
    found = decoded(adapter(), frame(payload))[1:]
    assert [Kind(record.kind).name for record in found] == ["ORDER", "TRADE", "ORDER", "ORDER"]
    assert [record.fields()["action"] for record in found if record.kind == Kind.ORDER] == [
        Action.TRADE,
        Action.FILL,
        Action.CANCEL,
    ]
    assert (found[1].side, found[1].fields()["price"], found[1].fields()["size"]) == (Side.ASK, 5_000_000_000, 3)


def test_one_level_is_a_quote_and_ten_are_a_venue_snapshot_unless_orders_are_known() -> None:
    level, none = (70, 80, 1, 2, 1, 1), (dbn.UNDEF_PRICE, dbn.UNDEF_PRICE, 0, 0, 0, 0)
    _, quote, trade = decoded(adapter(), frame(priced([level], dbn.MBP_1, b"T")))
    assert quote.fields() == {"bid_price": 70, "bid_size": 1, "ask_price": 80, "ask_size": 2}
    assert (trade.fields()["price"], trade.fields()["size"], trade.side) == (77, 2, Side.BID)
    _, quote = decoded(adapter(), frame(priced([none], dbn.MBP_1)))
    assert quote.fields()["bid_price"] == INT64_MIN
    reader, ten = adapter(), frame(priced([level] + [none] * 9, dbn.MBP_10))
    instrument, snapshot = decoded(reader, ten)
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.driver, fields.book_depth) == (Kind.BOOK_DELTA, 10)
    assert (snapshot.fields()["bids"], snapshot.fields()["asks"]) == ([(70, 1)], [(80, 2)])
    redefined, _ = decoded(reader, frame(mbo()))
    assert InstrumentFields.unpack(redefined.body).driver == Kind.ORDER
    assert [record.kind for record in decoded(reader, ten)] == [Kind.QUOTE]


def test_schemas_that_are_not_taken_are_named_and_counted() -> None:
    other = bytes([4, 0x15]) + bytes(14)
    (status,) = decoded(adapter(), frame(other * 3))
    assert status.fields() == {
        "code": StatusCode.VENUE,
        "details": {"skipped": "error", "count": 3, "venue": "cme"},
    }


@pytest.mark.parametrize(
    "payload",
    [
        mbo()[:-4],
        mbo(b"X"),
        mbo(side=b"Q"),
        b"\0" * 16,
        mbo() + b"\xff",
        priced([], dbn.MBP_1),
        b"\x05\x13" + bytes(18),
    ],
)
def test_what_cannot_be_read_puts_the_book_in_doubt(payload: bytes) -> None:
    out = EventBuilder()
    out.begin(1_000)
    with pytest.raises(DecodeError):
        adapter().decode(frame(payload), out)
    last = records_of(out.take()[0])[-1]
    assert (last.kind, last.fields()["code"], last.instrument) == (Kind.STATUS, StatusCode.DECODE_ERROR, 1)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_adapter_otherwise(payload: bytes) -> None:
    for form in (WireForm.BINARY, WireForm.TEXT):
        out = EventBuilder()
        out.begin(1_000)
        try:
            adapter().decode(frame(payload, form=form), out)
        except DecodeError:
            continue


@pytest.mark.parametrize("address", ["dbn:cme:GLBX.MDP3", "dbn:cme:GLBX.MDP3: ", "https://example.com", ""])
def test_a_foreign_address_is_refused(address: str) -> None:
    with pytest.raises(DecodeError):
        adapter().decode(frame(mbo(), address), EventBuilder())


def test_blanks_in_a_symbol_become_underscores_and_the_own_spelling_is_kept() -> None:
    fields = InstrumentFields.unpack(
        decoded(adapter(), frame(mbo(), "dbn:opra:OPRA.PILLAR:AAPL  240119C00100000"))[0].body
    )
    assert fields.symbol == "opra:AAPL_240119C00100000"
    assert fields.details is not None
    assert fields.details["raw_symbol"] == "AAPL  240119C00100000"


ROW = "2025-07-17T08:05:03.360842448Z,{ts},160,2,1108,A,B,5.51,100,0,817593,130,165200,851012,ARL"


def test_rows_pretty_or_not_are_the_same_order() -> None:
    address = "dbn:nasdaq:XNAS.ITCH:ARL"
    pretty = ROW.format(ts="2025-07-17T08:05:03.360677248Z").encode()
    raw = ROW.format(ts="1752739503360677248").replace(",5.51,", ",5510000000,").encode()
    one, other = (decoded(adapter(), frame(row, address, WireForm.TEXT))[1] for row in (pretty, raw))
    assert plain([one]) == plain([other])
    assert (one.fields()["price"], one.fields()["order_id"], one.ts_event) == (
        5_510_000_000,
        817593,
        1_752_739_503_360_677_248,
    )


@pytest.mark.data
def test_every_version_and_encoding_gives_the_same_records(shared_data: Path) -> None:
    files = sorted((shared_data / "databento/dbn-tests").glob("test_data.*"))
    by_schema = defaultdict(list)
    for path in files:
        if ".frag" not in path.name:
            assert detect_format(path) == "dbn"
            by_schema[path.name.split(".")[1]].append(path)
    assert len(by_schema) == 17
    for schema, paths in by_schema.items():
        # DBZ files of definitions are of another download (ts_recv of 2022), those of bars have another record type.
        same = [path for path in paths if path.suffix != ".dbz" or not schema.startswith(("definition", "ohlcv"))]
        found = [plain(records(path)) for path in same]
        assert all(each == found[0] for each in found), schema
    kinds = {schema: {row[0] for row in plain(records(paths[0]))} for schema, paths in by_schema.items()}
    assert kinds["mbo"] == {Kind.INSTRUMENT, Kind.ORDER}
    assert kinds["mbp-10"] == {Kind.INSTRUMENT, Kind.BOOK_SNAPSHOT}
    assert kinds["tbbo"] == {Kind.INSTRUMENT, Kind.QUOTE, Kind.TRADE}
    assert kinds["status"] == {Kind.INSTRUMENT, Kind.STATUS}
    assert kinds["ohlcv-1s"] == kinds["statistics"] == kinds["imbalance"] == {Kind.STATUS}


@pytest.mark.data
def test_a_torn_file_gives_what_it_has_and_says_so(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "databento/futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst").read_bytes()
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(whole), read_across_frames=True).read()
    torn = tmp_path / "torn.dbn"
    torn.write_bytes(data[:-20])
    capture = open_capture([torn])
    frames = list(capture.frames())
    assert sum(each.form == WireForm.BINARY for each in frames) == 119
    assert len(capture.damage) == 1
    halves = tmp_path / "frames.dbn.zst"
    halves.write_bytes(b"".join(zstandard.compress(data[at : at + 1_000]) for at in range(0, len(data), 1_000)))
    assert len(list(open_capture([halves]).frames())) == 120
    for size in (3, 7, 40, 200):
        torn.write_bytes(data[:size])
        with pytest.raises(DecodeError):
            open_capture([torn], format="dbn")


@pytest.mark.data
def test_a_file_that_ends_within_an_event_gives_what_came_of_it_and_no_trust(
    shared_data: Path, tmp_path: Path
) -> None:
    whole = shared_data / "databento/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(whole.read_bytes()), read_across_frames=True)
    data = reader.read()
    cut = tmp_path / "cut.dbn"
    cut.write_bytes(data[: len(data) - (13_796 - 10_000) * 56])
    capture = open_capture([cut])
    (only,) = capture.frames()
    assert (len(only.payload), capture.damage) == (10_000 * 56, [])
    home = tmp_path / "home"
    replay_capture(home, [cut])
    run_shard(home, drain=True)
    with chronicle.open(home) as store:
        assert store.book("cme:ESM4", at=only.ts_recv).status == "unverified"
        assert len(store.orders("cme:ESM4", at=only.ts_recv)) == 9_999


@pytest.mark.data
def test_a_definition_says_tick_kind_and_expiry(shared_data: Path) -> None:
    (record,) = records(shared_data / "databento/orderbooks_definition.dbn.zst")
    fields = InstrumentFields.unpack(record.body)
    assert fields.details is not None
    assert (fields.symbol, fields.tick) == ("cme:ESM4", 250_000_000)
    assert fields.details["type"] == "future"
    assert fields.details["expiration"] == 1_718_976_600_000_000_000


@pytest.mark.data
def test_hostile_metadata_and_definitions_are_refused_as_such(shared_data: Path, tmp_path: Path) -> None:
    folder, random = shared_data / "databento/dbn-tests", np.random.default_rng(1)
    plain_file = (folder / "test_data.definition.dbn").read_bytes()
    legacy, path = (folder / "test_data.definition.dbz").read_bytes(), tmp_path / "hostile.dbn"
    for data, end in ((plain_file, 400), (plain_file, len(plain_file)), (legacy, 152)):
        for _ in range(60):
            broken = bytearray(data)
            for at in random.integers(0, end, int(random.integers(1, 6))).tolist():
                broken[at] = int(random.integers(0, 256))
            path.write_bytes(broken)
            try:
                capture = open_capture([path], format="dbn")
                for each in capture.frames():
                    out = EventBuilder()
                    out.begin(1_000)
                    with contextlib.suppress(DecodeError):
                        adapter().decode(each, out)
            except DecodeError:
                continue
