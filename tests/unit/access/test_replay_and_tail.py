"""replay() and tail(): events in order of time, whole, each once, while places change."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import chronicle
from chronicle.access.ranges.replay import Replay
from chronicle.access.ranges.tail import tail
from chronicle.core.clock import FakeClock
from chronicle.core.errors import ConfigError
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000


def test_replay_merges_channels_and_symbols_by_time(tmp_path: Path) -> None:
    for symbol, shift in (("kraken:BTC-EUR", 0), ("kraken:ETH-EUR", 1)):
        book = CleanQueue(tmp_path, symbol)
        book.venue_snapshot(START, [(100, 1)], [(101, 1)])
        trades = CleanQueue(tmp_path, symbol, "trade")
        for step in range(50):
            book.deltas(START + 4 * step + shift, ("bid", 100, step + 1), ("ask", 101, step + 1))
            trades.trade(START + 4 * step + 2 + shift, "bid", 101, 1)
        book.close()
        trades.close(seal=True)
    with chronicle.open(tmp_path) as store:
        events = list(store.replay(["kraken:ETH-EUR", "kraken:BTC-EUR"]))
        assert [event.ts_recv for event in events] == sorted(event.ts_recv for event in events)
        assert len(events) == 2 * 101
        assert all(event.records[-1].is_last for event in events)
        part = list(store.replay(SYMBOL, START + 8, START + 16))
        assert [event.ts_recv - START for event in part] == [8, 10, 12, 14]


def test_replay_keeps_the_pace_it_was_asked_for(tmp_path: Path) -> None:
    book = CleanQueue(tmp_path)
    for step in range(5):
        book.deltas(START + 1_000 * step, ("bid", 100, step + 1))
    book.close()
    clock = FakeClock()
    with chronicle.open(tmp_path) as store:
        seen = [clock.steady_ns for _ in Replay(store._shelf, [SYMBOL], None, None, speed=2.0, clock=clock)]
        assert seen == [0, 500, 1_000, 1_500, 2_000]
        with pytest.raises(ConfigError):
            store.replay(SYMBOL, speed=0)


class Writing(FakeClock):
    """A clock whose sleeper lets the writer take its next step."""

    def __init__(self, steps: list[object]) -> None:
        super().__init__()
        self.steps = steps

    def sleep_ns(self, duration_ns: int) -> None:
        super().sleep_ns(duration_ns)
        if self.steps:
            self.steps.pop(0)()  # type: ignore[operator]


def test_tail_goes_from_history_to_live_without_seam_while_segments_roll_and_move(tmp_path: Path) -> None:
    book = CleanQueue(tmp_path, segment_bytes=1 << 16)
    written = iter(range(10_000))

    def write(count: int) -> None:
        for _ in range(count):
            step = next(written)
            book.deltas(START + step, ("bid", 100 + step % 7, step % 5))

    def move() -> None:
        book.seal()
        run_once(tmp_path, default_policy(tmp_path), everything=True)

    write(1_000)
    move()
    write(500)
    clock = Writing([lambda: write(300), move, lambda: write(1_200), move, lambda: write(1)])
    with chronicle.open(tmp_path) as store:
        events = list(tail(store._shelf.source, lambda: [SYMBOL], START, timeout_ns=20_000_000, clock=clock))
        assert [event.ts_recv - START for event in events] == list(range(3_001))
        assert [event.records[0].index for event in events] == list(range(3_001))
        live = Writing([lambda: write(2)])
        assert len(list(tail(store._shelf.source, lambda: [SYMBOL], None, timeout_ns=20_000_000, clock=live))) == 2
    book.close()


def test_a_tail_that_stood_still_looks_once_more_before_it_ends(tmp_path: Path) -> None:
    book = CleanQueue(tmp_path)
    book.venue_snapshot(START, [(1, 1)], [(2, 1)])

    class Stopped(FakeClock):
        """Stands still for seconds before every look at the time; meanwhile others write."""

        looks = 0

        def monotonic_ns(self) -> int:
            self.looks += 1
            if 3 <= self.looks < 6:
                if self.looks == 5:
                    other = CleanQueue(tmp_path, "kraken:ETH-EUR")
                    other.venue_snapshot(START + self.looks, [(1, 1)], [(2, 1)])
                    other.close()
                else:
                    book.deltas(START + self.looks, ("bid", 1, self.looks))
            super().sleep_ns(4_000_000_000)
            return super().monotonic_ns()

    with chronicle.open(tmp_path) as store:
        find = store._directory.matching
        events = tail(store._shelf.source, lambda: find(["kraken:*"]), START, timeout_ns=1_000, clock=Stopped())
        seen = [(event.symbol, event.ts_recv - START) for event in events]
    book.close()
    assert seen == [(SYMBOL, 0), (SYMBOL, 3), (SYMBOL, 4), ("kraken:ETH-EUR", 5)]


def test_open_store_reads_on_while_the_agent_moves_its_segments(tmp_path: Path) -> None:
    book = CleanQueue(tmp_path, segment_bytes=1 << 16)
    book.venue_snapshot(START, [(100, 1)], [(200, 1)])
    for step in range(1, 4_000):
        book.deltas(START + step, ("bid", 100 + step % 7, 1 + step % 5))
    with chronicle.open(tmp_path) as store:
        moments = range(START, START + 4_000, 97)
        before = [store.book(SYMBOL, at=at).bid_levels for at in moments]
        scan = store.scan(SYMBOL, columns=["ts_recv", "index"], kinds=["delta"]).batches(500)
        first = next(scan)
        book.close(seal=True)
        run_once(tmp_path, default_policy(tmp_path), everything=True)
        rest = [row for part in [first, *scan] for row in part["index"].tolist()]
        assert rest == list(range(1, 4_000))
        assert [store.book(SYMBOL, at=at).bid_levels for at in moments] == before
        assert {segment.place for segment in store.coverage(SYMBOL).segments} == {"warm"}


def test_store_pickles_by_place_and_an_archive_alone_will_do(tmp_path: Path) -> None:
    home = tmp_path / "home"
    book = CleanQueue(home)
    book.venue_snapshot(START, [(100, 1)], [(200, 1)])
    book.close(seal=True)
    run_once(home, default_policy(home), everything=True)
    shutil.move(home / "archive", tmp_path / "alone")
    with chronicle.open(tmp_path / "alone") as store, pickle.loads(pickle.dumps(store)) as other:
        assert other.book("kraken:XBT/EUR").bid_levels == store.book(SYMBOL).bid_levels == ((100, 1),)
