"""Holes are the same wherever their segments are; an archive's blocks that hold none are not read for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import chronicle
from chronicle.access.opened.segments import Shelf
from chronicle.core.errors import CorruptionError
from chronicle.core.source import summary_of
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.published import PublishedCatalog
from chronicle.storage.stores.source import ArchiveSource
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue

SYMBOL, OTHER = "kraken:BTC-EUR", "kraken:ETH-EUR"
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


def test_segments_that_hold_none_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    quiet = CleanQueue(tmp_path, OTHER)
    for number in range(4):
        quiet.venue_snapshot(START + number, [(100, 1)], [(101, 1)])
        quiet.seal()
    quiet.close()
    with chronicle.open(tmp_path) as store:
        expected = store.gaps()
    assert len(expected) == 2
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    opened: list[tuple[str, int]] = []
    look = Shelf.open
    monkeypatch.setattr(
        Shelf, "open", lambda shelf, info, *rest: opened.append((info.queue, info.number)) or look(shelf, info, *rest)
    )
    book = "clean/kraken/btc_eur/book.q"
    for place in (tmp_path, tmp_path / "archive"):
        steps: list[tuple[float, str]] = []
        with chronicle.open(place) as store:
            assert store.gaps(progress=lambda share, text, steps=steps: steps.append((share, text))) == expected
            assert set(opened) == {(book, 2), (book, 4), (book, 5)}
            opened.clear()
            assert store.gaps(OTHER) == []
            assert store.gaps(end=START) == store.gaps(OTHER, end=START + 3) == []
            assert {queue for queue, _ in opened} <= {book}
            opened.clear()
        shares = [share for share, _ in steps]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0 / 2 or steps[-1][1] == OTHER
        assert (1 / 6, f"{SYMBOL}: 1 of 3 segments opened") in steps


def test_a_quiet_queue_is_answered_for_without_a_look_at_its_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = CleanQueue(tmp_path, OTHER)
    for number in range(4):
        quiet.venue_snapshot(START + number, [(100, 1)], [(101, 1)])
        quiet.seal()
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    source = ArchiveSource(tmp_path / "archive")
    listed = summary_of(source.segments("clean/kraken/eth_eur/book.q"))
    monkeypatch.setattr(Manifest, "entries", lambda *_: pytest.fail("entries are read"))
    monkeypatch.setattr(PublishedCatalog, "entries", lambda *_: pytest.fail("entries are read"))
    for place in (tmp_path, tmp_path / "archive"):
        with chronicle.open(place) as store:
            assert store.gaps() == store.gaps(OTHER) == []
    assert ArchiveSource(tmp_path / "archive").summary("clean/kraken/eth_eur/book.q") == listed
    quiet.venue_snapshot(START + 9, [(100, 1)], [(101, 1)])  # the live end goes on beside it
    quiet.gap_open(START + 10, START + 9)
    with chronicle.open(tmp_path) as store:
        assert [gap.detected_ts for gap in store.gaps()] == [START + 10]
    quiet.close()


def test_a_damaged_segment_that_must_be_opened_is_an_error_and_no_answer(tmp_path: Path) -> None:
    build(tmp_path)
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    folder = tmp_path / "archive/clean/kraken/btc_eur/book.q"
    with chronicle.open(tmp_path) as store:
        expected = store.gaps()
    for number, is_needed in ((0, False), (2, True)):
        path = folder / f"{number:010d}.czst"
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        for place in (tmp_path, tmp_path / "archive"):
            with chronicle.open(place) as store:
                if is_needed:
                    with pytest.raises(CorruptionError):
                        store.gaps()
                else:
                    assert store.gaps() == expected
        path.write_bytes(data)
