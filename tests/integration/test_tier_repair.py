"""Damage at rest is found, set aside and replaced where another copy is whole; the tiered watermark follows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.core import Queue
from chronicle.core.clock import FakeClock
from chronicle.core.errors import CorruptionError
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.agent import apply_plan, make_plan
from chronicle.storage.tiers.repair import repair, scrub, scrub_budget
from chronicle.storage.tiers.status import tier_status
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import BOOK, apply_all, book_home, source_records, three_tiers

HOUR = 3600 * 10**9
NOW = 1_700_000_000 * 10**9


def flip(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    return bytes(data)


def test_a_damaged_object_is_replaced_from_a_copy_in_its_grace_period(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 3)
    truth = source_records(TieredSource(home))
    policy, clock = three_tiers(home, grace_ns=HOUR), FakeClock(NOW)
    for _ in range(2):
        apply_all(home, policy, clock=clock)
    damaged = home / "cold" / BOOK / "0000000001.czst"
    bytes_then = flip(damaged)
    with pytest.raises(CorruptionError):
        source_records(TieredSource(home))
    report = repair(home, policy, clock=clock)
    assert [(item.entry.number, bool(item.copy)) for item in report.damaged] == [(1, True)]
    assert report.checked == 3
    assert source_records(TieredSource(home)) == truth
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}
    assert (home / "cold" / "quarantine" / BOOK / "0000000001.czst").read_bytes() == bytes_then
    clock.sleep_ns(HOUR)
    empty, _ = make_plan(home, policy, prefix="none")
    apply_plan(home, empty, policy, clock=clock)
    assert source_records(TieredSource(home)) == truth
    assert verify(home, deep=True).findings == ()
    manifest = Manifest.open(home)
    assert manifest is not None
    assert "quarantined" in {event.action for event in manifest.history()}


def test_a_missing_object_is_replaced_as_well(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 2)
    truth = source_records(TieredSource(home))
    policy = three_tiers(home, grace_ns=HOUR)
    apply_all(home, policy)
    (home / "archive" / BOOK / "0000000000.czst").unlink()
    report = repair(home, policy)
    assert [item.entry.number for item in report.damaged] == [0]
    assert report.lost == []
    assert source_records(TieredSource(home)) == truth
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"warm"}


def test_without_a_copy_nothing_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = book_home(tmp_path / "home", 2)
    apply_all(home)
    damaged = home / "archive" / BOOK / "0000000001.czst"
    bytes_then = flip(damaged)
    assert run(["tier", "repair", "--home", str(home)]) == 5
    assert "no whole copy" in capsys.readouterr().out
    assert damaged.read_bytes() == bytes_then
    with pytest.raises(CorruptionError):
        source_records(TieredSource(home))
    assert run(["tier", "repair", "--json", "--home", str(home)]) == 5
    assert json.loads(capsys.readouterr().out)["damaged"][0]["number"] == 1


def test_a_copy_that_is_damaged_too_is_not_taken(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 1)
    policy = three_tiers(home, grace_ns=HOUR)
    apply_all(home, policy)
    flip(home / "archive" / BOOK / "0000000000.czst")
    flip(home / BOOK / "0000000000.seg")
    assert len(repair(home, policy).lost) == 1


def test_scrubbing_comes_round_and_remembers_damage(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 4)
    policy = three_tiers(home)
    apply_all(home, policy)
    manifest = Manifest.open(home)
    assert manifest is not None
    flip(home / "archive" / BOOK / "0000000002.czst")
    seen = []
    for _ in range(5):
        report = scrub(home, policy, budget_bytes=1)
        assert report.checked == 1
        seen.append(manifest.scrubbed()[2])  # type: ignore[index]
    assert seen == [0, 1, 2, 3, 0]
    assert [row["number"] for row in tier_status(home, policy).damaged] == [2]
    assert scrub(home, policy, budget_bytes=1 << 40).checked == 3
    assert [row["number"] for row in tier_status(home, policy).damaged] == [2]
    assert scrub_budget(1_000, 100, 10) == 100
    assert scrub_budget(1_001, 1_000, 1) == 2


def test_the_tiered_watermark_follows_what_is_published(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 3)
    queue = Queue.open(home / BOOK, name=BOOK)
    ends = [info.end_index for info in queue.segments()]
    policy = three_tiers(home)
    assert queue.watermarks().tiered == 0
    plan, _ = make_plan(home, policy, everything=True)
    apply_plan(home, replace(plan, moves=plan.moves[1:2]), policy)
    assert queue.watermarks().tiered == 0  # the segment before it is in the home alone
    apply_plan(home, replace(plan, moves=plan.moves[:1]), policy)
    assert queue.watermarks().tiered == ends[1]
    apply_all(home, policy)
    apply_all(home, policy)
    assert queue.watermarks().tiered == ends[2]
