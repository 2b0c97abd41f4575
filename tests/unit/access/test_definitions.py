"""What is remembered of segments that were opened before: definitions are asked for once, and never mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import chronicle
from chronicle.access.opened import definitions
from chronicle.core.local import LocalSource
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue, definition

START = 1_700_000_000_000_000_000
BTC = "kraken:BTC-EUR"


def archived_home(home: Path, price_exponent: int) -> Path:
    """Make a home whose one book is in the archive; the sealed name of its segment is the same in every home."""
    book = CleanQueue(home, BTC, fields=definition(BTC, price_exponent=price_exponent))
    book.venue_snapshot(START, [(9990, 3)], [(10010, 4)])
    for step in range(1, 200):
        book.deltas(START + step, ("bid", 9990 - step % 3, 1 + step % 4))
    book.close(seal=True)
    run_once(home, default_policy(home), everything=True)
    return home


def prices_of(home: Path) -> list[Any]:
    with chronicle.open(home) as store:
        return list(store.scan(BTC, kinds=["delta"], columns=["price"], decimals="decimal").to_numpy()["price"])


def test_a_place_that_is_opened_again_is_not_asked_for_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = archived_home(tmp_path, 2)
    looks: list[str] = []
    look = ArchivedSegment.definition
    monkeypatch.setattr(ArchivedSegment, "definition", lambda view: looks.append(view.path) or look(view))
    first = prices_of(home)
    assert len(looks) == 1
    assert prices_of(home) == first
    assert len(looks) == 1


def test_segments_of_one_name_and_other_bytes_keep_their_own_definitions(tmp_path: Path) -> None:
    one, other = archived_home(tmp_path / "one", 2), archived_home(tmp_path / "other", 3)
    assert str(prices_of(one)[0]) == "99.89"
    assert str(prices_of(other)[0]) == "9.989"
    assert str(prices_of(one)[0]) == "99.89"


def test_only_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "KNOWN_MAX", 1)
    definitions._KNOWN.clear()
    one, other = archived_home(tmp_path / "one", 2), archived_home(tmp_path / "other", 3)
    for home in (one, other):
        prices_of(home)
    assert len(definitions._KNOWN) == 1
    assert str(prices_of(one)[0]) == "99.89"


def test_a_home_knows_whether_it_has_queues_at_all(tmp_path: Path) -> None:
    source = LocalSource(tmp_path)
    assert not source.has_queues()
    (tmp_path / "clean" / "kraken" / "btc_eur" / "book.q").mkdir(parents=True)
    assert not source.has_queues()  # a folder of that name is no queue
    archived_home(tmp_path, 2)
    assert source.has_queues()
    assert source.queues() == sorted(source.queues())
