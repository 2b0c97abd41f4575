"""Times that were asked for and never captured are told as holes, by the API and by the command alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chronicle
from chronicle.cli.main import run
from chronicle.core.layout import NONE
from tests.support.home_builder import CleanQueue, progress

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000
LAST, FRONTIER = START + 100, START + 500


@pytest.fixture
def home(tmp_path: Path) -> Path:
    queue = CleanQueue(tmp_path, SYMBOL)
    queue.define(START)
    queue.venue_snapshot(START + 10, [(100, 1)], [(101, 1)])
    queue.deltas(LAST, ("bid", 99, 1))
    queue.close()
    progress(tmp_path, FRONTIER)
    return tmp_path


Expected = list[tuple[int, int, int, str]]
"""(last good, detected, recovery, state) relative to START."""
RANGES: dict[str, tuple[int | None, int | None, Expected]] = {
    "no range": (None, None, []),
    "within": (0, 500, []),
    "up to the frontier": (50, 501, []),
    "one ns behind it": (50, 502, [(500, 500, NONE, "open")]),
    "from before": (-50, None, [(-50, 0, 0, "closed")]),
    "before alone": (-50, -20, [(-50, -20, -20, "closed")]),
    "behind": (None, 600, [(500, 500, NONE, "open")]),
    "behind alone": (550, 600, [(550, 550, NONE, "open")]),
    "all around": (-50, 600, [(-50, 0, 0, "closed"), (500, 500, NONE, "open")]),
}


def _absolute(moment: int) -> int:
    return NONE if moment == NONE else START + moment


@pytest.mark.parametrize(("start", "end", "expected"), RANGES.values(), ids=RANGES)
def test_what_was_not_captured_is_a_hole_of_the_range_that_is_asked_for(
    home: Path, start: int | None, end: int | None, expected: Expected, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {name: START + moment for name, moment in (("start", start), ("end", end)) if moment is not None}
    with chronicle.open(home) as store:
        found = store.gaps(SYMBOL, **asked)
        assert found == store.gaps(**asked), "also where no instrument is named"
    assert [(gap.last_good_ts, gap.detected_ts, gap.recovery_ts, gap.state) for gap in found] == [
        (_absolute(good), _absolute(detected), _absolute(recovery), state)
        for good, detected, recovery, state in expected
    ]
    assert {gap.cause for gap in found} <= {"not_captured"}
    assert {gap.symbol for gap in found} <= {SYMBOL}
    options = [word for name, moment in asked.items() for word in (f"--{name}", str(moment))]
    assert run(["gaps", SYMBOL, "--json", "--home", str(home), *options]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {name: None if value == NONE else value for name, value in gap.to_dict().items()} for gap in found
    ]
    assert run(["gaps", "--home", str(home), *options]) == 0
    told = capsys.readouterr().out
    assert told.count("not_captured") == len(expected)
    still_open = sum(state == "open" for *_, state in expected)
    last = f"{len(expected)} gaps, {still_open} still open" if expected else "No gap is known of."
    assert told.splitlines()[-1] == last


def test_lanes_that_begin_earlier_or_reach_further_fill_the_range(home: Path) -> None:
    second = CleanQueue(home, SYMBOL, lane=1000)
    second.define(START - 30)
    second.venue_snapshot(START + 550, [(100, 1)], [(101, 1)])
    second.close()
    with chronicle.open(home) as store:
        found = store.gaps(SYMBOL, start=START - 50, end=START + 600)
    assert [(gap.lane, gap.last_good_ts, gap.detected_ts) for gap in found] == [
        (1000, START - 50, START - 30),
        (1000, START + 550, START + 550),
    ]
