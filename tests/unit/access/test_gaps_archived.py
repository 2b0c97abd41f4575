"""Holes are the same wherever their segments are; an archive's blocks that hold none are not read for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import chronicle
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000
SEGMENTS, EVENTS, STEP = 6, 300, 1_000


def build(home: Path) -> None:
    """Write a book whose third segment has a hole, and whose fifth begins one that the sixth ends."""
    queue, ts = CleanQueue(home, SYMBOL), START
    queue.define(ts)
    for number in range(SEGMENTS):
        queue.venue_snapshot(ts + 1, [(100, 1)], [(101, 1)])
        for step in range(EVENTS):
            ts += STEP
            if (number, step) in {(2, 120), (4, 290)}:
                queue.gap_open(ts, ts - STEP)
            elif (number, step) in {(2, 130), (5, 10)}:
                queue.gap_closed(ts, ts - 10 * STEP)
            else:
                queue.deltas(ts, ("bid", 90 + step % 7, 1 + step))
        queue.seal()
    queue.close()


def test_holes_of_an_archive_are_found_without_reading_what_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)
    ranges = [(None, None), (START + 320 * STEP, START + 740 * STEP), (START + 1_500 * STEP, None)]
    with chronicle.open(tmp_path) as store:
        expected = [store.gaps(SYMBOL, start=start, end=end) for start, end in ranges]
    assert [len(found) for found in expected] == [2, 1, 1]
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    read: list[str] = []
    look = ArchivedSegment.piece
    monkeypatch.setattr(
        ArchivedSegment, "piece", lambda view, *span: read.append(view.info.location) or look(view, *span)
    )
    with chronicle.open(tmp_path / "archive") as store:
        assert [store.gaps(SYMBOL, start=start, end=end) for start, end in ranges] == expected
    assert {Path(name).stem for name in read} == {f"{number:010d}" for number in (2, 4, 5)}
