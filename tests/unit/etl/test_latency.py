"""Latencies, and the wait of a live shard."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from threading import Event

import numba
import numpy as np
import pytest

from chronicle.core.clock import SystemClock
from chronicle.core.control import Control
from chronicle.core.kernels.following import spin_any
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.etl import run_shard
from chronicle.etl.merge.intake import Intake
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


def test_the_spin_names_the_first_word_that_is_set() -> None:
    words, scratch = np.zeros(3, dtype=np.uint64), np.zeros(2, dtype=np.int64)
    addresses = words.ctypes.data + 8 * np.arange(3, dtype=np.int64)
    if numba.config.DISABLE_JIT:
        pytest.skip("addresses mean nothing to Python")
    for values in ((0, 0, 0), (0, 5, 0), (0, 5, 7), (1, 0, 0)):
        words[:] = values
        expected = next((place for place, value in enumerate(values) if value), -1)
        assert spin_any(addresses, 0, scratch.ctypes.data) == expected


def test_a_spin_ends_with_the_next_record_and_not_where_there_is_nothing_to_spin_on(tmp_path: Path) -> None:
    if numba.config.DISABLE_JIT:
        pytest.skip("addresses mean nothing to Python")
    name, clock = "raw/main.q", SystemClock()
    waiter = RawWaiter(tmp_path)
    with Queue.create(tmp_path / name, name=name).appender() as appender:
        appender.append(17, bytes(8), ts_recv=1)
        intake = Intake(LocalSource(tmp_path), [name])
        assert intake.next_words() == [], "what is there was not taken"
        batch = intake.take(1 << 20)
        assert batch is not None
        words = intake.next_words()
        assert len(words) == 1
        assert not waiter.spin(words, clock.monotonic_ns(), clock)
        writer = threading.Timer(0.01, lambda: appender.append(17, bytes(8), ts_recv=2))
        writer.start()
        far = clock.monotonic_ns() + 3_600_000_000_000
        assert waiter.spin(words, far, clock), "an hour's spin ends now"
        writer.join()
        assert not waiter.spin([], far, clock)
        del batch
        assert intake.take(1 << 20) is not None
        appender.seal()
        assert intake.next_words() == [], "the segment has rolled"
        intake.close()


@pytest.mark.parametrize("spin_ns", [0, 100_000, 1 << 62])
def test_a_live_run_measures_from_receipt_to_the_clean_queue(tmp_path: Path, spin_ns: int) -> None:
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
                behind.acquire(timeout=600)
            stop.set()

        writer = threading.Thread(target=write)
        writer.start()
        report = run_shard(tmp_path, stop=stop, progress=lambda _: behind.release(), spin_ns=spin_ns)
        writer.join()
    assert report.latency["work"]["count"] == len(stream.events)
    assert report.latency["raw_to_clean"]["count"] == len(stream.events)
    said = read_latency(tmp_path, "default")
    assert said == {"pid": os.getpid(), "latency": report.latency, "lines": {}, "race": {}}
    (tmp_path / "etl" / "default" / LIVE_NAME).write_text("[]")
    assert read_latency(tmp_path, "default") is None
