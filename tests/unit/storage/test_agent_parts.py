"""What the agent is made of: waking, throttling, several moves at once, stopping."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from chronicle.core import Queue
from chronicle.core.clock import FakeClock
from chronicle.core.errors import CapacityError, StoreError, UnavailableError
from chronicle.storage.manifest.catalogs import Catalogs
from chronicle.storage.manifest.manifest import Entry, Manifest
from chronicle.storage.stores.source import ArchiveSource, TieredSource
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers import run
from chronicle.storage.tiers.agent import AgentOptions, apply_plan, make_plan
from chronicle.storage.tiers.policy import default_policy
from chronicle.storage.tiers.throttle import Throttle
from chronicle.storage.tiers.verify import verify
from chronicle.storage.tiers.watching import SealWatch
from tests.support.tiers import BOOK, apply_all, book_events, book_home, fill, source_records, three_tiers


def test_a_sealed_segment_wakes_the_agent(tmp_path: Path) -> None:
    book_home(tmp_path, 1, seal=False)
    wake, again = threading.Event(), threading.Event()
    with SealWatch(tmp_path, wake) as watch:
        assert watch.failure == ""
        fill(tmp_path, "clean/kraken/eth_eur/book.q", book_events(5), seal=False)
        assert not wake.wait(0.2)
        with Queue.open(tmp_path / BOOK, name=BOOK).appender() as appender:
            data, count = book_events(1)[0]
            appender.append_event(data, count)
            appender.seal()
        assert wake.wait(600)
    with SealWatch(tmp_path, again):
        apply_all(tmp_path)
        assert not again.wait(0.2)  # what it does itself wakes nobody


def test_raw_in_memory_wakes_as_well(tmp_path: Path) -> None:
    home, memory = tmp_path / "home", tmp_path / "memory"
    (memory / "raw").mkdir(parents=True)
    home.mkdir()
    (home / "raw").symlink_to(memory / "raw")
    wake = threading.Event()
    with SealWatch(home, wake):
        fill(home, "raw/main.q", book_events(3))
        assert wake.wait(600)


def test_too_many_folders_to_watch_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchdog.observers import Observer

    def full(self: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Observer, "start", full)
    with SealWatch(tmp_path, threading.Event()) as watch:
        assert "limit" in watch.failure


def test_the_throttle_keeps_the_rate() -> None:
    clock = FakeClock()
    throttle = Throttle(1_000, clock)
    for _ in range(10):
        throttle.take(500)
    assert 4 * 10**9 <= clock.monotonic_ns() <= 5 * 10**9
    Throttle(0, clock).take(10**12)
    assert clock.monotonic_ns() <= 5 * 10**9


def test_a_bandwidth_slows_moves_down(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 2)
    clock = FakeClock()
    policy = default_policy(home)
    plan, _ = make_plan(home, policy, everything=True, clock=clock)
    report = apply_plan(home, plan, policy, clock=clock, options=AgentOptions(bandwidth_bytes=1_000))
    assert len(report.moved) == 2
    assert clock.monotonic_ns() >= report.target_bytes * 10**9 // 1_000


def test_several_moves_at_once_do_the_same(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 30, per_segment=20)
    truth = source_records(TieredSource(home))
    told: list[int] = []
    report = apply_all(home, options=AgentOptions(at_once=4), progress=lambda done, *_: told.append(done))
    assert len(report.moved) == 30
    assert told == list(range(1, 31))
    assert source_records(TieredSource(home)) == truth
    assert verify(home, deep=True).findings == ()


def test_a_stop_ends_after_the_move_in_hand(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 5)
    truth = source_records(TieredSource(home))
    done: list[int] = []
    options = AgentOptions(stop=lambda: len(done) >= 2)
    hook = lambda step, entry: done.append(entry.number) if step == "published" else None  # noqa: E731
    report = apply_all(home, options=options, hook=hook)
    assert len(report.moved) == 2
    assert (report.failures, report.retired_pending) == ([], 0)
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()


def test_a_stop_with_several_moves_under_way_finishes_those(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 40, per_segment=20)
    truth = source_records(TieredSource(home))
    done: list[int] = []
    options = AgentOptions(at_once=4, stop=lambda: len(done) >= 6)
    hook = lambda step, entry: done.append(entry.number) if step == "published" else None  # noqa: E731
    report = apply_all(home, options=options, hook=hook)
    assert 6 <= len(report.moved) < 6 + 4
    assert (report.failures, report.retired_pending) == ([], 0)
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()


def test_a_full_target_pauses_for_all_that_move_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = book_home(tmp_path / "home", 40, per_segment=20)
    truth, put, written, one = source_records(TieredSource(home)), LocalStore.put, [], threading.Lock()

    def full(self: LocalStore, name: str, parts: Iterable[bytes | memoryview], **options: Any) -> int:
        if name.endswith(".czst"):
            with one:
                written.append(name)
                is_full = len(written) > 9
            if is_full:
                raise CapacityError("no space", path=name)
        return put(self, name, parts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", full)
        report = apply_all(home, options=AgentOptions(at_once=4))
    assert list(report.paused) == ["warm"]
    assert len(report.moved) == 9
    assert 1 <= len(report.failures) <= 4
    assert len(written) <= 9 + 4
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()
    assert len(apply_all(home, options=AgentOptions(at_once=4)).moved) == 31
    assert source_records(TieredSource(home)) == truth


def test_moves_end_before_a_run_that_cannot_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = book_home(tmp_path / "home", 40, per_segment=20)
    truth = source_records(TieredSource(home))
    monkeypatch.setattr(run, "BATCH_MOVES", 5)
    published, refused = itertools.count(1), threading.Event()

    def hook(step: str, entry: Entry) -> None:
        if step == "published" and next(published) > 5:  # the fifth ends the batch, four more are in hand then
            assert refused.wait(600)

    with monkeypatch.context() as patch:

        def broken(self: Catalogs, tier: str) -> None:
            refused.set()
            raise StoreError("the catalog is refused", path=tier)

        patch.setattr(Catalogs, "publish", broken)
        with pytest.raises(StoreError, match="refused"):
            apply_all(home, hook=hook, options=AgentOptions(at_once=4))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("tier")]
    manifest = Manifest.open(home)
    assert manifest is not None
    moved = [entry for entry in manifest.entries() if entry.place == "warm"]
    assert 5 <= len(moved) < 5 + run.AHEAD, "what only waited for a thread was not begun"
    assert all(entry.retired and (home / entry.retired[0].object).exists() for entry in moved)
    assert source_records(TieredSource(home)) == truth
    assert len(apply_all(home, options=AgentOptions(at_once=4)).moved) >= 40 - len(moved)
    apply_all(home, options=AgentOptions(at_once=4))
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()


def test_copies_that_come_due_while_their_segments_move_on_are_deleted_once(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 40, per_segment=20)
    truth = source_records(TieredSource(home))
    clock = FakeClock(4_000_000_000 * 10**9)
    policy = three_tiers(home, grace_ns=3_600 * 10**9)
    apply_all(home, policy, clock=clock)
    assert len(list((home / BOOK).glob("*.seg"))) == 40
    published = itertools.count(1)

    def hook(step: str, entry: Entry) -> None:
        if step == "published" and next(published) == 20:
            clock.sleep_ns(3_600 * 10**9)  # the first copies come due in the middle of the run

    report = apply_all(home, policy, clock=clock, hook=hook, options=AgentOptions(at_once=4))
    assert len(report.moved) == 40
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}
    assert source_records(TieredSource(home)) == truth
    clock.sleep_ns(3_600 * 10**9)
    plan, _ = make_plan(home, policy, prefix="nothing", clock=clock)
    apply_plan(home, plan, policy, clock=clock, options=AgentOptions(at_once=4))
    assert not list((home / BOOK).glob("*.seg"))
    assert not list((home / "archive").rglob("*.czst"))
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()


def test_what_a_thread_is_moving_is_not_settled_behind_its_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is closed while segment 0, whose copy in hot is due, is published in cold and not yet told of."""
    home = book_home(tmp_path / "home", 6, per_segment=20)
    truth = source_records(TieredSource(home))
    clock = FakeClock(4_000_000_000 * 10**9)
    policy = three_tiers(home, grace_ns=3_600 * 10**9)
    apply_all(home, policy, clock=clock)
    in_hand, closed, close = threading.Event(), threading.Event(), run.Run._close_batch

    def hook(step: str, entry: Entry) -> None:
        if step == "published" and entry.number == 0:
            clock.sleep_ns(3_600 * 10**9)
            in_hand.set()
            assert closed.wait(600)
        elif step == "intent" and entry.number > 0:
            assert in_hand.wait(600)

    def closing(self: run.Run) -> None:
        has_begun = in_hand.is_set()
        close(self)
        if has_begun:
            closed.set()

    monkeypatch.setattr(run, "BATCH_MOVES", 1)
    monkeypatch.setattr(run.Run, "_close_batch", closing)
    report = apply_all(home, policy, clock=clock, hook=hook, options=AgentOptions(at_once=2))
    assert (len(report.moved), report.failures) == (6, [])
    assert [info.place for info in TieredSource(home).segments(BOOK)] == ["cold"] * 6
    clock.sleep_ns(3_600 * 10**9)
    plan, _ = make_plan(home, policy, prefix="nothing", clock=clock)
    apply_plan(home, plan, policy, clock=clock)
    assert not list((home / BOOK).glob("*.seg"))
    assert not list((home / "archive").rglob("*.czst"))
    assert source_records(TieredSource(home)) == truth
    assert verify(home).findings == ()


@pytest.mark.parametrize("silent", ["warm", "cold"])
def test_a_copy_stays_while_a_catalog_that_tells_of_it_cannot_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """A root alone tells of all that was in it, until another root does."""
    home = book_home(tmp_path / "home", 3)
    truth, policy = source_records(TieredSource(home)), three_tiers(home)
    apply_all(home, policy)
    publish = Catalogs.publish

    def unanswered(self: Catalogs, tier: str) -> None:
        if tier == silent:
            raise UnavailableError("the store does not answer", path=tier)
        publish(self, tier)

    with monkeypatch.context() as patch:
        patch.setattr(Catalogs, "publish", unanswered)
        report = apply_all(home, policy)
    assert (len(report.moved), list(report.paused)) == (3, [silent])
    assert source_records(TieredSource(home)) == truth
    assert len(list((home / "archive").rglob("*.czst"))) == 3
    assert silent == "cold" or source_records(ArchiveSource(home / "archive")) == truth
    apply_all(home, policy)
    assert not list((home / "archive").rglob("*.czst"))
    assert source_records(TieredSource(home)) == truth
