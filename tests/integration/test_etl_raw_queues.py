"""Several raw queues in one home: each its own runner, and an instrument in two of them refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import chronicle
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ConfigError
from chronicle.core.layout import Side
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.source import SegmentInfo
from chronicle.etl import EtlConfig, run_shard
from chronicle.storage.state import frontiers
from tests.support.etl_streams import RawStream, instrument, random_levels

CONFIG = EtlConfig(snapshot_deltas=30)


def _stream(symbol: str, seed: int, start_ts: int = 1_000_000_000_000) -> RawStream:
    stream = RawStream(start_ts)
    stream.define(1, instrument(symbol))
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    for row in random_levels(seed, 200).tolist():
        stream.deltas(1, tuple(row))
        stream.begin().trade(1, Side.BID, row[1], 1 + row[2], ts_event=1)
        stream.end()
    return stream


def _write(home: Path, queue: str, stream: RawStream, first: int = 0, end: int | None = None) -> None:
    with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
        for _, data in stream.events[first:end]:
            appender.append_event(data, 1)


def _segments(home: Path) -> dict[str, list[SegmentInfo]]:
    source = LocalSource(home)
    return {queue: source.segments(queue) for queue in source.queues("clean/")}


def test_raw_queues_of_their_own_instruments_do_not_see_one_another(tmp_path: Path) -> None:
    streams = {"raw/main.q": _stream("kraken:BTC-EUR", 1), "raw/okx.q": _stream("okx:BTC-USDT", 2)}
    home, alone = tmp_path / "home", {}
    for queue, stream in streams.items():
        apart = tmp_path / queue.removesuffix(".q").replace("/", "-")
        _write(apart, queue, stream)
        run_shard(apart, drain=True, config=CONFIG)
        alone |= {name: LocalSource(apart) for name in LocalSource(apart).queues("clean/")}
    for start in range(0, 402, 134):
        for queue, stream in streams.items():
            _write(home, queue, stream, start, start + 134)
        report = run_shard(home, drain=True, config=CONFIG, window_bytes=4096)
        assert [lane.raw_queue for lane in report.lanes] == sorted(streams)
        assert all(lane.resumed_at == start for lane in report.lanes)
    assert sorted(alone) == LocalSource(home).queues("clean/")
    for queue, source in alone.items():
        assert compare_queue(source, LocalSource(home), queue) is None
    assert sorted(LocalSource(home).queues("etl/")) == ["etl/default/progress-okx.q", "etl/default/progress.q"]
    assert frontiers(home) == {"raw/main.q": {"default": 402}, "raw/okx.q": {"default": 402}}
    with chronicle.open(home) as store:
        assert [item.symbol for item in store.instruments()] == ["kraken:BTC-EUR", "okx:BTC-USDT"]
        for symbol in ("kraken:BTC-EUR", "okx:BTC-USDT"):
            assert store.book(symbol, at=streams["raw/okx.q"].ts_recv).status in ("ok", "crossed")
            assert store.book(symbol, at=streams["raw/okx.q"].ts_recv + 1).status == "stale"


def test_an_instrument_in_two_raw_queues_is_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path, "raw/main.q", _stream("kraken:BTC-EUR", 1))
    _write(tmp_path, "raw/second.q", _stream("kraken:BTC-EUR", 2))
    with pytest.raises(ConfigError, match=r"raw/main\.q and raw/second\.q both deliver kraken:BTC-EUR"):
        run_shard(tmp_path, drain=True, config=CONFIG)


def test_an_instrument_that_another_raw_queue_delivered_before_is_refused(tmp_path: Path) -> None:
    stream = _stream("kraken:BTC-EUR", 1)
    _write(tmp_path, "raw/main.q", stream)
    run_shard(tmp_path, drain=True, config=CONFIG)
    before = _segments(tmp_path)
    _write(tmp_path, "raw/second.q", _stream("kraken:BTC-EUR", 2, stream.ts_recv))
    with pytest.raises(ConfigError, match="both deliver kraken:BTC-EUR"):
        run_shard(tmp_path, shard="other", drain=True, config=CONFIG)
    assert before == {
        queue: LocalSource(tmp_path).segments(queue) for queue in LocalSource(tmp_path).queues("clean/")
    }
