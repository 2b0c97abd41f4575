"""Frames that exchanges once sent, made hostile: each gives records or a counted error, and the feed goes on."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.etl import run_shard
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import open_capture
from chronicle.feed.decoder import FrameDecoder
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.lanes import open_lane, prepare_home
from chronicle.feed.marks import CaptureMark, Line, start_frame
from chronicle.feed.replay import replay_capture
from chronicle.feed.venues import adapter_for
from chronicle.feed.writer import FRAME_BYTES_MAX, FeedWriter
from tests.support.etl_streams import split
from tests.support.hostile import TEXTS, mutated

pytestmark = pytest.mark.data

CAPTURES = {
    "binance": "jsonl/BINANCE.jsonl.zst",
    "binance-coinm": "jsonl/BINANCE_DELIVERY.jsonl.zst",
    "binance-us": "jsonl/BINANCE_US.jsonl.zst",
    "binance-usdm": "jsonl/BINANCE_FUTURES.jsonl.zst",
    "bitfinex": "jsonl/BITFINEX.jsonl.zst",
    "bitget": "jsonl/BITGET.jsonl.zst",
    "bitmex": "raw-text/BITMEX.ws.1.0.zst",
    "bybit": "jsonl/BYBIT.jsonl.zst",
    "coinbase": "jsonl/COINBASE.jsonl.zst",
    "coinbase-exchange": "raw-text/COINBASE.ws.28.0.zst",
    "deribit": "jsonl/DERIBIT.jsonl.zst",
    "gateio": "jsonl/GATEIO.jsonl.zst",
    "kraken": "jsonl/KRAKEN.jsonl.zst",
    "kraken-futures": "jsonl/KRAKEN_FUTURES.jsonl.zst",
    "kucoin": "jsonl/KUCOIN.jsonl.zst",
    "okx": "jsonl/OKX.jsonl.zst",
}
SAMPLE = 80
BYTES_MAX = 60_000
SOAK = os.environ.get("CHRONICLE_HYPOTHESIS") == "soak"


@cache
def session(folder: Path, venue: str) -> tuple[tuple[Frame, ...], tuple[Frame, ...], tuple[Line, ...]]:
    """Return (the frames that open the session, a sample of those after, its lines)."""
    capture = open_capture([folder / "cryptofeed-ws" / CAPTURES[venue]])
    frames = [frame for frame in capture.frames() if len(frame.payload) <= BYTES_MAX]
    opening = frames[:150]
    rest = frames[150:]
    return tuple(opening), tuple(rest[:: max(len(rest) // SAMPLE, 1)]), capture.lines


def decoder_of(lines: tuple[Line, ...]) -> FrameDecoder:
    registry = InstrumentRegistry()
    decoder = FrameDecoder(lambda name: adapter_for(name, registry))
    decoder.decode(start_frame(CaptureMark("c", "live", (), lines), 1), ts_recv=1, wire_index=0)
    return decoder


def take(decoder: FrameDecoder, frame: Frame) -> list[Record]:
    """Decode and check what must hold of every event, whatever the frame held."""
    before = decoder.decode_errors
    data, count = decoder.decode(frame, ts_recv=frame.ts_recv, wire_index=7)
    records = list(split(bytes(data)))
    assert len(records) == count
    assert all(record.ts_recv == frame.ts_recv and record.source == frame.connection for record in records)
    told = [r for r in records if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.DECODE_ERROR]
    assert bool(told) == (decoder.decode_errors > before), "an error is counted and told, or neither"
    for record in records:
        record.fields()
    return records


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("venue", sorted(CAPTURES))
@settings(max_examples=1_500 if SOAK else 12)
@given(seeds=st.lists(st.integers(0, 1 << 60), min_size=1, max_size=12))
def test_a_hostile_session_gives_records_or_counted_errors(shared_data: Path, venue: str, seeds: list[int]) -> None:
    opening, sample, lines = session(shared_data, venue)
    decoder = decoder_of(lines)
    for frame in opening:
        take(decoder, frame)
    everything = (*opening, *sample)
    for seed in seeds:
        frame = everything[seed % len(everything)]
        other = everything[(seed >> 20) % len(everything)].payload
        hostile = mutated(frame.payload, other, seed)
        take(decoder, Frame(frame.form, frame.connection, frame.address, frame.ts_recv, hostile))
    for frame in sample[:5]:
        # The feed lives on. What follows may be refused, and is counted then: a number near the end of int64 that
        # was taken keeps its instrument from growing decimals, and names given by earlier frames may be lost.
        take(decoder, frame)


@pytest.mark.parametrize("venue", sorted(CAPTURES))
def test_frames_of_64_mib_and_nested_bombs_are_errors_at_once(shared_data: Path, venue: str) -> None:
    _, _, lines = session(shared_data, venue)
    decoder = decoder_of(lines)
    address = "wss://x/v5/public/linear"
    for number, payload in enumerate((b"[" * (64 << 20), b'{"a":' * (4 << 20), b"\x00" * (64 << 20)), start=1):
        records = take(decoder, Frame(WireForm.TEXT, 1, address, 5, payload))
        assert decoder.decode_errors == number
        assert all(len(record.data) < 4096 for record in records), "the error quotes a little of it"


def test_a_frame_that_no_record_holds_is_told_and_the_feed_goes_on(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    with FeedWriter(open_lane(tmp_path, 0, segment_bytes=1 << 26), tmp_path) as writer:
        lines = (Line(1, "wss://ws.kraken.com", "kraken"),)
        writer.write(start_frame(CaptureMark("c", "live", (), lines), 1))
        writer.write(Frame(WireForm.TEXT, 1, "wss://ws.kraken.com", 2, b"x" * (FRAME_BYTES_MAX + 1)))
        writer.write(Frame(WireForm.TEXT, 1, "wss://ws.kraken.com", 3, b'{"event":"heartbeat"}'))
        assert writer.decoder.decode_errors == 1
    wire = [record.fields() for record in Queue.open(tmp_path / "wire/main.q").tailer().drain()]
    assert len(wire) == 3
    assert "larger than" in wire[1]["address"]


def test_no_symbol_leaves_the_home(tmp_path: Path) -> None:
    """Symbols such as ``../../x`` through feed and ETL: queues of escaped names inside, or counted errors."""
    names = [json.loads(f'"{name}"') for name in TEXTS if "\\ud800" not in name and "C:\\" not in name]
    rows = ['{"t":"header","format":2,"exchange":"OKX","config":"","recorded":1.0}']
    address = "wss://ws.okx.com:8443/ws/v5/public"
    rows.append(json.dumps({"t": "connect", "conn": "OKX.ws.1", "ts": 1652459225.0, "addr": address}))
    for number, name in enumerate(names):
        level = {"asks": [["2", "1", "0", "1"]], "bids": [["1", "1", "0", "1"]], "ts": "1652459225464", "checksum": 0}
        trade = {"tradeId": "1", "px": "1", "sz": "2", "side": "buy", "ts": "1652459225464"}
        for message in (
            {"arg": {"channel": "books", "instId": name}, "action": "snapshot", "data": [level]},
            {"arg": {"channel": "trades", "instId": name}, "data": [trade | {"instId": name}]},
        ):
            row = {"t": "recv", "conn": "OKX.ws.1", "ts": 1652459226.0 + number, "data": json.dumps(message)}
            rows.append(json.dumps(row))
    capture = tmp_path / "hostile" / "OKX.jsonl.zst"
    capture.parent.mkdir()
    capture.write_bytes(zstandard.compress("\n".join(rows).encode()))
    home = tmp_path / "deep" / "in" / "home"
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")}
    report = replay_capture(home, [capture])
    run_shard(home, drain=True)
    assert report.decode_errors > 0
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")} == outside
    assert {path.name for path in home.iterdir()} <= {"raw", "wire", "control", "clean", "etl", "manifest"}
    for path in (home / "clean").rglob("*"):
        assert path.resolve().is_relative_to(home.resolve())
        assert "/" not in path.name
        assert ".." not in path.name.split("=")
    kept = {path.parent.name for path in (home / "clean").glob("*/*/book.q")}
    assert any("x" in name and "=2f" in name for name in kept), kept
