"""Latencies, and the wait of a live shard."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from threading import Event

import pytest

from chronicle.core.control import Control
from chronicle.core.queue import Queue
from chronicle.etl import run_shard
from chronicle.etl.shards.latency import Latency
from chronicle.etl.shards.live_file import LIVE_NAME, read_latency
from chronicle.etl.shards.waiting import RawWaiter
from tests.support.etl_streams import BID, RawStream, instrument


@pytest.mark.parametrize("value", [0, 1, 15, 16, 17, 31, 32, 33, 1000, 123_456_789, 1 << 61])
def test_a_quantile_is_known_to_one_sixteenth(value: int) -> None:
    latency = Latency()
    latency.add(value)
    latency.add(1 << 62)
    found = latency.quantile(0.5)
    assert found is not None
    assert value <= found <= value + value // 16


def test_quantiles_of_nothing_and_of_many() -> None:
    latency = Latency()
    assert latency.to_dict() == {"count": 0, "p50_ns": None, "p99_ns": None, "worst_ns": None}
    for value in range(1, 1001):
        latency.add(value)
    latency.add(-5)
    answer = latency.to_dict()
    assert answer["count"] == 1001
    assert 500 <= answer["p50_ns"] <= 532
    assert 990 <= answer["p99_ns"] <= 1000
    assert answer["worst_ns"] == 1000


def test_a_waiter_is_woken_by_the_writer(tmp_path: Path) -> None:
    name = "raw/main.q"
    with Queue.create(tmp_path / name, name=name).appender() as appender:
        waiter = RawWaiter(tmp_path)
        waiter.watch(name)
        stop = Event()
        announced = waiter.announce()
        appender.append(17, bytes(8), ts_recv=1)  # between the announcement and the sleep: the sleep ends at once
        waiter.wait(announced, stop)
        control = Control.open(tmp_path / name, writable=False)
        assert control is not None
        assert waiter.announce() != announced
        stop.set()
        waiter.wait(waiter.announce(), stop)


def test_a_live_run_measures_from_receipt_to_the_clean_queue(tmp_path: Path) -> None:
    name = "raw/main.q"
    stop, behind = Event(), threading.Semaphore(0)
    with Queue.create(tmp_path / name, name=name).appender() as appender:
        stream = RawStream(start_ts=1 << 61)  # received after the run began
        stream.define(1, instrument())
        stream.snapshot(1, [(10, 1)], [(11, 1)])
        for number in range(5):
            stream.deltas(1, (BID, 10, 1 + number))

        def write() -> None:
            for _, data in stream.events:
                appender.append_event(data, 1)
                behind.acquire(timeout=120)
            stop.set()

        writer = threading.Thread(target=write)
        writer.start()
        report = run_shard(tmp_path, stop=stop, progress=lambda _: behind.release())
        writer.join()
    assert report.latency["work"]["count"] == len(stream.events)
    assert report.latency["raw_to_clean"]["count"] == len(stream.events)
    said = read_latency(tmp_path, "default")
    assert said == {"pid": os.getpid(), "latency": report.latency, "lines": {}, "race": {}}
    (tmp_path / "etl" / "default" / LIVE_NAME).write_text("[]")
    assert read_latency(tmp_path, "default") is None
