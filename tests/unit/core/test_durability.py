"""Each durability level does what it says: what is synced when, and what is never claimed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.clock import FakeClock
from chronicle.core.durability import Durability, Syncer
from chronicle.core.errors import ConfigError, RangeError, StateError, StoreError
from chronicle.core.mapping import MemoryMap
from tests.support.queues import append_random, event, small_queue

pytestmark = pytest.mark.usefixtures("as_on_disk")


class Device:
    """Counts the syncs of mapped segments; fails when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.fails = False
        self.called = threading.Event()
        real = MemoryMap.sync

        def sync(mapping: MemoryMap) -> None:
            if self.fails:
                raise StoreError("could not sync: Input/output error")
            real(mapping)
            self.syncs += 1
            self.called.set()

        monkeypatch.setattr(MemoryMap, "sync", sync)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def test_buffered_claims_nothing_until_sync_and_every_seal_is_synced(tmp_path: Path, device: Device) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 20, seed=1)
        assert device.syncs == 0
        assert queue.watermarks().to_dict() == {"committed": appender.next_index, "synced": 0, "tiered": 0}
        assert queue.wait_synced(1, 1_000_000) is False
        end = appender.sync()
        assert (device.syncs, queue.synced_index(), end) == (1, end, appender.next_index)
        assert queue.wait_synced(end)
        append_random(appender, 2_000, seed=2)
        rolled = queue.segments()[-1].base_index
        assert queue.synced_index() == rolled > end
        appender.seal()
        assert queue.synced_index() == appender.next_index


def test_fsync_by_count_syncs_before_append_returns_on_every_path(tmp_path: Path, device: Device) -> None:
    import numpy as np

    from chronicle.core.dtypes import DTYPES

    queue = small_queue(tmp_path, durability="fsync", sync_records=3)
    rows = np.zeros(3, DTYPES[Kind.BOOK_DELTA])
    rows["length"], rows["kind"], rows["flags"], rows["ts_recv"] = 80, Kind.BOOK_DELTA, 128, 10
    with queue.appender() as appender:
        put = appender.recorder(Kind.STATUS, 0)
        synced = []
        for ts, call in enumerate(
            [
                lambda ts: appender.append(Kind.STATUS, ts_recv=ts),
                lambda ts: put(ts, b""),
                lambda ts: put(ts, b""),
                lambda ts: appender.append_event(*event(ts, 2)),
                lambda ts: appender.append_event(*event(ts, 5)),
                lambda ts: appender.append_many(rows),
            ]
        ):
            call(ts)
            synced.append(queue.synced_index())
        assert synced == [0, 0, 3, 3, 10, 13]
        put(20, b"")
    assert queue.synced_index() == 14, "closing syncs the rest"
    assert device.syncs == 4


def test_fsync_of_one_record_is_the_default_bound(tmp_path: Path, device: Device) -> None:
    queue = small_queue(tmp_path, durability="fsync")
    with queue.appender() as appender:
        for number in range(5):
            appender.append(Kind.STATUS, ts_recv=number)
            assert queue.synced_index() == number + 1
    assert device.syncs >= 5


def test_fsync_by_time_syncs_an_idle_queue_too(tmp_path: Path, device: Device) -> None:
    queue = small_queue(tmp_path, durability="fsync", sync_ns=1_000_000)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
        assert queue.wait_synced(1, 600_000_000_000), "no further append was needed"
    assert device.called.is_set()


def test_shm_never_claims_to_survive_power(tmp_path: Path, device: Device) -> None:
    queue = small_queue(tmp_path, durability="shm")
    with queue.appender() as appender:
        append_random(appender, 2_000, seed=1)
        assert appender.sync() == 0
        appender.seal()
    assert device.syncs == 0
    assert queue.watermarks().synced == 0
    with pytest.raises(StateError, match="never synced"):
        queue.wait_synced(1)


def test_failing_device_leaves_the_watermark_and_the_records(tmp_path: Path, device: Device) -> None:
    queue = small_queue(tmp_path, durability="fsync", sync_records=2)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
        device.fails = True
        with pytest.raises(StoreError):
            appender.append(Kind.STATUS, ts_recv=2)
        assert (queue.end_index(), queue.synced_index()) == (2, 0)
        device.fails = False
        appender.append(Kind.STATUS, ts_recv=3)
        assert queue.synced_index() == 3


def test_syncer_keeps_an_error_for_the_writer(tmp_path: Path) -> None:
    class Writer:
        next_index, _synced = 1, 0
        tried = threading.Event()

        def sync(self) -> int:
            self.tried.set()
            raise StoreError("device")

    writer = Writer()
    syncer = Syncer(writer, 1)
    assert writer.tried.wait(600)
    with pytest.raises(StoreError, match="device"):
        syncer.close()


def test_tiered_watermark_only_rises_and_survives_reopening(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 50, seed=1)
    assert queue.mark_tiered(30) == 30
    assert queue.mark_tiered(10) == 30
    assert Queue.open(queue.path).watermarks().tiered == 30
    with pytest.raises(RangeError):
        queue.mark_tiered(10**9)
    (queue.path / "control").unlink()
    assert queue.watermarks().tiered == 0, "a lower bound"
    with pytest.raises(StateError):
        queue.mark_tiered(1)


def test_wait_synced_without_a_control_page_polls_on_the_clock(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
    (queue.path / "control").unlink()
    clock = FakeClock()
    assert queue.wait_synced(1, 20_000_000, clock=clock) is False
    assert clock.monotonic_ns() == 20_000_000


def test_levels_survive_reopening_and_impossible_ones_are_refused(tmp_path: Path) -> None:
    queue = small_queue(tmp_path, durability="fsync", sync_records=7, sync_ns=5)
    assert Durability.of(Queue.open(queue.path).settings) == Durability("fsync", 7, 5)
    for number, wrong in enumerate(
        (
            {"durability": "magic"},
            {"sync_records": 1},
            {"durability": "fsync", "sync_ns": -1},
            {"durability": "shm", "sync_ns": 1},
        )
    ):
        with pytest.raises(ConfigError):
            small_queue(tmp_path, f"{number}.q", **wrong)


@pytest.mark.parametrize("durability", ["shm", "buffered", "fsync"])
def test_every_level_survives_kill_of_the_process(tmp_path: Path, durability: str) -> None:
    queue = small_queue(tmp_path, durability=durability)
    script = (
        "import os, signal, sys; from chronicle.core import Queue; a = Queue.open(sys.argv[1]).appender();"
        "[a.append(17, b'x' * 99, ts_recv=n) for n in range(200)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(queue.path)], check=False)
    with queue.appender() as appender:
        assert appender.next_index == 200
    assert [r.ts_recv for r in queue.tailer().drain()] == list(range(200))
