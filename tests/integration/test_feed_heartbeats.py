"""An idle feed says so in its queues, and a live shard over two feeds makes what a rebuild makes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event, Thread

import pytest

from chronicle.core.compare import compare_queue
from chronicle.core.layout import STATUS_BODY, Kind, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import pack_details
from chronicle.etl import EtlConfig, EtlReport, rebuild, run_shard
from chronicle.feed import live
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession
from chronicle.feed.redecode import redecode
from chronicle.feed.simulator import SimulatedExchange
from tests.support.captured import Captured
from tests.support.etl_streams import RawStream, instrument, random_levels
from tests.support.polling import until

CONFIG = EtlConfig(snapshot_deltas=30)


def _beats(home: Path) -> list[int]:
    records = [record.copy() for record in Queue.open(home / "raw/main.q").tailer().drain()]
    return [
        record.ts_recv
        for record in records
        if record.kind == Kind.STATUS and record.fields()["code"] == StatusCode.HEARTBEAT
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_an_idle_feed_writes_heartbeats(tmp_path: Path, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SHARED_NS" if shared else "HEARTBEAT_NS", 60_000_000)
    if shared:
        Queue.create(tmp_path / "raw/other.q", name="raw/other.q", segment_bytes=64 * 1024).close()

    async def run() -> None:
        async with SimulatedExchange(rate=0, seed=5) as exchange:
            spec = FeedSpec("kraken", exchange.url, ("XBT/USD",), rest_url=f"http://127.0.0.1:{exchange.port}")
            session = FeedSession(tmp_path, [spec], settings=ConnectionSettings(backoff_first=0.02))
            stop = asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            captured = Captured(tmp_path)
            try:
                await until(lambda: task.done() or captured.code(StatusCode.HEARTBEAT) >= 3, "three heartbeats")
            finally:
                stop.set()
                await task

    asyncio.run(run())
    beats = _beats(tmp_path)
    assert len(beats) >= 3
    assert beats == sorted(beats)
    again = tmp_path / "again"
    redecode(tmp_path, again)
    assert compare_queue(LocalSource(tmp_path), LocalSource(again), "raw/main.q") is None, "they are in the wire too"


def _stream(symbols: tuple[str, ...], seed: int) -> RawStream:
    stream = RawStream()
    for number, symbol in enumerate(symbols, 1):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(10, 1)], [(11, 1)])
    for place, row in enumerate(random_levels(seed, 300).tolist()):
        stream.deltas(1 + place % len(symbols), tuple(row))
    return stream


def test_a_live_shard_over_two_feeds_equals_a_rebuild(tmp_path: Path) -> None:
    streams = {
        "raw/a.q": _stream(("kraken:BTC-EUR", "kraken:ETH-EUR"), 1),
        "raw/b.q": _stream(("kraken:BTC-EUR", "okx:BTC-USDT"), 2),
    }
    home, stop, done = tmp_path / "home", Event(), Event()
    wanted = sum(stream.next_index for stream in streams.values())

    def said(report: EtlReport) -> None:
        if report.records >= wanted:
            done.set()

    with (
        Queue.create(home / "raw/a.q", name="raw/a.q", segment_bytes=64 * 1024).appender() as first,
        Queue.create(home / "raw/b.q", name="raw/b.q", segment_bytes=64 * 1024).appender() as second,
    ):
        first.append_event(streams["raw/a.q"].events[0][1], 1)
        second.append_event(streams["raw/b.q"].events[0][1], 1)
        shard = Thread(target=run_shard, args=(home,), kwargs={"config": CONFIG, "stop": stop, "progress": said})
        shard.start()
        for place in range(1, 304):
            for appender, name in ((first, "raw/a.q"), (second, "raw/b.q")):
                events = streams[name].events
                if place < len(events):
                    appender.append_event(events[place][1], 1)
        beat = STATUS_BODY.pack(StatusCode.HEARTBEAT, 1) + pack_details({})
        for appender in (first, second):
            appender.append(Kind.STATUS, beat, ts_recv=2_000_000_000_000)
        assert done.wait(600), "the shard did not come to the end"
        stop.set()
        shard.join()
    rebuild(home, tmp_path / "into", config=CONFIG)
    here, there = LocalSource(home), LocalSource(tmp_path / "into")
    assert here.queues("clean/") == there.queues("clean/")
    for queue in here.queues("clean/"):
        assert compare_queue(here, there, queue) is None
