"""book --follow shows each change once, ends when it is quiet, and redraws in place on a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chronicle
from chronicle.cli import show
from chronicle.cli.following import books_of
from chronicle.cli.main import run
from chronicle.core.clock import FakeClock
from tests.support.home_builder import CleanQueue

START = 1_700_000_000_000_000_000
SYMBOL = "kraken:BTC-EUR"


@pytest.fixture
def book(tmp_path: Path):
    book = CleanQueue(tmp_path, SYMBOL)
    book.venue_snapshot(START, [(100, 1)], [(101, 1)])
    yield book
    book.close()


def test_each_change_is_shown_once(tmp_path: Path, book: CleanQueue) -> None:
    class Writing(FakeClock):
        looks = 0

        def sleep_ns(self, duration_ns: int) -> None:
            super().sleep_ns(duration_ns)
            self.looks += 1
            if self.looks in (2, 4):
                book.deltas(START + self.looks, ("bid", 100, self.looks))

    clock = Writing()
    with chronicle.open(tmp_path) as store:
        seen = [one.bid_levels for one in books_of(store, SYMBOL, 5, interval_ns=10, quiet_ns=50, clock=clock)]
    assert seen == [((100, 1),), ((100, 2),), ((100, 4),)]
    assert clock.looks == 4 + 5


def test_a_view_that_stood_still_looks_once_more_before_it_ends(tmp_path: Path, book: CleanQueue) -> None:
    class Stopped(FakeClock):
        looks = 0

        def monotonic_ns(self) -> int:
            self.looks += 1
            if self.looks == 3:
                book.deltas(START + self.looks, ("bid", 100, self.looks))
            super().sleep_ns(4_000_000_000)
            return super().monotonic_ns()

    with chronicle.open(tmp_path) as store:
        found = books_of(store, SYMBOL, 5, interval_ns=10, quiet_ns=50, clock=Stopped())
        assert [one.bid_levels for one in found] == [((100, 1),), ((100, 3),)]


def test_a_pipe_gets_ladders_or_json_lines(tmp_path: Path, book: CleanQueue, capsys) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["book", SYMBOL, "--follow", "--timeout", "0", *home]) == 0
    assert "spread" in capsys.readouterr().out
    assert run(["book", SYMBOL, "--follow", "--timeout", "0", "--json", *home]) == 0
    assert json.loads(capsys.readouterr().out)["symbol"] == SYMBOL
    assert run(["book", SYMBOL, "--follow", "--at", "2023-11-14", *home]) == 2
    assert run(["book", "kraken:NO-PE", "--follow", *home]) == 3


def test_a_terminal_is_redrawn(tmp_path: Path, book: CleanQueue, monkeypatch, capsys) -> None:
    monkeypatch.setattr(show, "on_terminal", lambda: True)
    assert run(["book", SYMBOL, "--follow", "--timeout", "0", "--home", str(tmp_path)]) == 0
    assert "kraken:BTC-EUR" in capsys.readouterr().out


def test_ctrl_c_ends_a_view_with_130(tmp_path: Path, book: CleanQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chronicle.core.clock.SystemClock.sleep_ns", interrupted)
    assert run(["book", SYMBOL, "--follow", "--home", str(tmp_path)]) == 130
