"""An audit rebuilds each book to its next snapshot; what does not follow is found, to the level."""

from __future__ import annotations

from pathlib import Path

import pytest

import chronicle
from chronicle.access.trust.audit import AuditDifference
from chronicle.cli.main import run
from chronicle.core.errors import NotFoundError
from tests.support.eventful import eventful
from tests.support.home_builder import CleanQueue

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000


@pytest.mark.parametrize("seed", range(4))
def test_what_the_etl_wrote_follows_from_the_records(tmp_path: Path, seed: int) -> None:
    eventful(tmp_path, seed, checks=seed % 2 == 1)
    with chronicle.open(tmp_path) as store:
        found = store.audit(SYMBOL)
        assert found.snapshots > 5
        assert found.deltas > 500
        assert (found.wrong, found.differences) == (0, [])
        part = store.audit(SYMBOL, START + 20 * 10**9, START + 60 * 10**9)
        assert 0 < part.deltas < found.deltas
        assert part.wrong == 0
    assert run(["audit", "--home", str(tmp_path)]) == 0


def test_a_snapshot_that_does_not_follow_is_told(tmp_path: Path, capsys) -> None:
    book = CleanQueue(tmp_path, SYMBOL)
    book.venue_snapshot(START, [(100, 1), (99, 2)], [(101, 1)])
    book.deltas(START + 1, ("bid", 100, 5))
    book.book.apply("bid", 98, 7)  # the writer's book goes astray
    book.book.apply("ask", 101, 0)
    book.etl_snapshot(START + 2)
    book.deltas(START + 3, ("bid", 100, 6))
    book.etl_snapshot(START + 4)
    book.venue_snapshot(START + 5, [(100, 9)], [])
    book.close()
    with chronicle.open(tmp_path) as store:
        found = store.audit(SYMBOL)
        assert (found.snapshots, found.wrong, found.venue_snapshots, found.venue_differing) == (2, 1, 1, 1)
        assert found.differences == [
            AuditDifference(0, 2, START + 2, "bid", 98, 7, None),
            AuditDifference(0, 2, START + 2, "ask", 101, None, 1),
        ]
        with pytest.raises(NotFoundError):
            store.audit("kraken:NO-PE")
    assert run(["audit", SYMBOL, "--json", "--home", str(tmp_path)]) == 5
    captured = capsys.readouterr()
    assert "1 snapshots are not what" in captured.err
    assert '"wrong": 1' in captured.out
