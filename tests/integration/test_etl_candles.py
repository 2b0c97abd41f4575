"""Candles on disk, in the store and in the archive, against pandas over the same trades."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import chronicle
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.config import TIMEFRAMES
from chronicle.feed.replay import replay_capture
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.etl_streams import BID, RawStream, instrument

SYMBOL = "kraken:BTC-EUR"
RULES = dict(zip(TIMEFRAMES, ("1s", "1min", "5min", "15min", "30min", "1h", "4h", "1D", "W-MON"), strict=True))
START = 1_709_000_000_000_000_000


def _write(home: Path, stream: RawStream, first: int = 0, end: int | None = None) -> None:
    with Queue.create(home / "raw/main.q", name="raw/main.q", exist_ok=True).appender() as appender:
        for _, data in stream.events[first:end]:
            appender.append_event(data, 1)


def _stream(count: int = 3000) -> RawStream:
    """Trades in order of time but for one in twenty, which comes up to three seconds late."""
    generator = np.random.default_rng(5)
    stream = RawStream(START)
    stream.define(1, instrument())
    for number in range(count):
        stream.ts_recv += int(generator.exponential(2e9))
        late = int(generator.integers(0, 3_000_000_000)) if number % 20 == 0 else 0
        price, size = int(generator.integers(9_000, 11_000)), int(generator.integers(1, 5_000))
        side = BID if generator.random() < 0.5 else 65
        stream.begin().trade(1, side, price, size, ts_event=stream.ts_recv - late)
        stream.end()
    return stream


def _final(store: Any, symbol: str) -> pd.DataFrame:
    """Return the last row of each bar."""
    frame = store.scan(symbol, channel="candle", decimals="int").to_pandas()
    return frame.drop_duplicates(["timeframe", "ts_open"], keep="last")


def _compare_with_pandas(store: Any, symbol: str) -> int:
    """Compare every bar of every timeframe with a resample of the trades; return how many there were."""
    trades = store.scan(symbol, channel="trade", decimals="int").to_pandas()
    trades = trades.sort_values("ts_event", kind="stable").set_index("ts_event")
    trades["notional"] = [int(p) * int(s) for p, s in zip(trades["price"], trades["size"], strict=True)]
    trades["buys"] = trades["size"].where(trades["side"] == "bid", 0)
    bars, compared = _final(store, symbol), 0
    for name, rule in RULES.items():
        grouped = trades.resample(rule, label="left", closed="left")
        wanted = grouped["price"].ohlc()
        wanted["volume"], wanted["buy_volume"] = grouped["size"].sum(), grouped["buys"].sum()
        wanted["trade_count"], wanted["notional"] = grouped["price"].count(), grouped["notional"].sum()
        wanted = wanted[wanted["trade_count"] > 0]
        found = bars[bars["timeframe"] == name].set_index("ts_open").sort_index()
        found = found[found.index.isin(wanted.index)]
        assert len(found) == len(bars[bars["timeframe"] == name])
        wanted = wanted[wanted.index.isin(found.index)]  # bars under way have no record yet
        for column in ("open", "high", "low", "close", "volume", "buy_volume", "trade_count", "notional"):
            assert [int(v) for v in found[column]] == [int(v) for v in wanted[column]], (name, column)
        compared += len(found)
    return compared


def test_candles_are_what_pandas_makes_of_the_trades(tmp_path: Path) -> None:
    stream = _stream()
    _write(tmp_path, stream)
    report = run_shard(tmp_path, drain=True)
    assert "lost_trades" not in report.counts
    assert report.counts["late_trades"] > 20
    with chronicle.open(str(tmp_path)) as store:
        assert "candle" in store.channels(SYMBOL)
        assert _compare_with_pandas(store, SYMBOL) > 2_400


def test_restarts_and_windows_change_no_candle(tmp_path: Path) -> None:
    stream = _stream(800)
    once, often = tmp_path / "once", tmp_path / "often"
    _write(once, stream)
    run_shard(once, drain=True)
    for start in range(0, len(stream.events), 97):
        _write(often, stream, start, start + 97)
        run_shard(often, drain=True, window_bytes=2048)
    with chronicle.open(str(once)) as one, chronicle.open(str(often)) as other:
        assert one.scan(SYMBOL, channel="candle").to_arrow().equals(other.scan(SYMBOL, channel="candle").to_arrow())


def test_a_home_from_before_candles_goes_on_and_gets_them(tmp_path: Path) -> None:
    stream = _stream(500)
    _write(tmp_path, stream, 0, 300)
    run_shard(tmp_path, drain=True, config=EtlConfig(candles=()))
    assert LocalSource(tmp_path).queues("clean/") == ["clean/kraken/btc_eur/trade.q"]
    _write(tmp_path, stream, 300)
    assert run_shard(tmp_path, drain=True).lanes[0].resumed_at == 0
    with chronicle.open(str(tmp_path)) as store:
        assert len(store.scan(SYMBOL, channel="trade").to_numpy()["price"]) == 500
        assert _compare_with_pandas(store, SYMBOL) > 400


def test_candles_leave_as_floats_integers_and_decimals(tmp_path: Path) -> None:
    _write(tmp_path, _stream(50))
    run_shard(tmp_path, drain=True)
    with chronicle.open(str(tmp_path)) as store:
        scans = {how: store.scan(SYMBOL, channel="candle", decimals=how) for how in ("float", "int", "decimal")}
        arrays = {how: scan.to_numpy() for how, scan in scans.items()}
        tables = {how: scan.to_arrow() for how, scan in scans.items()}
    assert tables["int"].schema.field("notional").type == pa.decimal128(38, 0)
    assert tables["decimal"].schema.field("notional").type == pa.decimal128(38, 5)
    for row in range(len(arrays["int"]["open"])):
        notional, volume = arrays["int"]["notional"][row], arrays["int"]["volume"][row]
        assert arrays["decimal"]["notional"][row] == Decimal(notional).scaleb(-5)
        assert tables["decimal"]["notional"][row].as_py() == Decimal(notional).scaleb(-5)
        assert tables["int"]["volume"][row].as_py() == volume
        assert arrays["float"]["volume"][row] == volume / 1000
        assert tables["float"]["volume"][row].as_py() == volume / 1000
        assert arrays["float"]["vwap"][row] == pytest.approx(notional / volume / 100, rel=1e-15)
    assert set(arrays["int"]["timeframe"]) >= {"1s", "1m"}


def test_archived_candles_are_the_same(tmp_path: Path) -> None:
    _write(tmp_path, _stream(2000))
    run_shard(tmp_path, drain=True)
    with chronicle.open(str(tmp_path)) as store:
        before = store.scan(SYMBOL, channel="candle").to_arrow()
    report = run_once(tmp_path, default_policy(tmp_path), everything=True)
    assert report.moved
    assert not report.failures
    with chronicle.open(str(tmp_path)) as store:
        assert store.scan(SYMBOL, channel="candle").to_arrow().equals(before)


@pytest.mark.data
def test_candles_of_captures_are_what_pandas_makes_of_their_trades(shared_data: Path, tmp_path: Path) -> None:
    lobster, spot = tmp_path / "lobster", tmp_path / "spot"
    replay_capture(lobster, [shared_data / "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"])
    run_shard(lobster, drain=True)
    with chronicle.open(str(lobster)) as store:
        assert _compare_with_pandas(store, store.instruments()[0].symbol) > 1_000
    replay_capture(spot, sorted((shared_data / "hftbacktest-binance/spot").glob("*.gz")))
    run_shard(spot, drain=True)
    with chronicle.open(str(spot)) as store:
        assert _compare_with_pandas(store, "binance:BTC-USDT") > 600
