"""Holes are the same whether segments that are known to hold none are passed over or every one is opened.

Homes of any history: packed, compacted and hot segments, entries of releases that knew nothing of kinds, copies that
were damaged and replaced, segments that are gone.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

import chronicle
from chronicle.access import Gap, Store
from chronicle.core.layout import Cause, Verdict
from chronicle.storage.codec.archive_layout import Holds
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import Policy
from chronicle.storage.tiers.repair import repair
from chronicle.storage.tiers.state import visible
from tests.support.home_builder import CleanQueue
from tests.support.naive_gaps import Hole, Unlooked, naive_gaps
from tests.support.tiers import apply_all, three_tiers

START = 1_700_000_000 * 10**9
DAY = 86_400 * 10**9
BTC, ETH, SOL = "kraken:BTC-EUR", "kraken:ETH-EUR", "okx:SOL-USDT"
WEEK_NS = 7 * DAY


class Feed:
    """One lane of a book that is written on and on, some of its segments with holes."""

    def __init__(self, home: Path, symbol: str, lane: int, chance: random.Random) -> None:
        self.clean, self.chance, self.ts, self.began = CleanQueue(home, symbol, lane=lane), chance, START, False
        self.clean.define(self.ts)

    def write(self, segments: int, *, leave_open: bool = False) -> None:
        """Write segments: mostly quiet ones, a few with a hole, some that end within one."""
        for number in range(segments):
            self.clean.venue_snapshot(self.ts + 1, [(100, 1)], [(101, 1)])
            holed = self.chance.random() < 0.3
            for step in range(self.chance.choice([1, 3, 40])):
                self.ts += self.chance.choice([1, 1_000, DAY // 50])
                roll = self.chance.random()
                if holed and roll < 0.2:
                    self.hole()
                elif roll < 0.3:
                    self.clean.status(self.ts, 2)
                else:
                    check = self.chance.choice([None, None, Verdict.PASSED])
                    self.clean.deltas(self.ts, ("bid", 90 + step % 7, 1 + step), check=check)
            if not (leave_open and number == segments - 1):
                self.clean.seal()

    def hole(self) -> None:
        cause = self.chance.choice([Cause.SEQUENCE, Cause.CHECK, Cause.DISCONNECT])
        if self.began and self.chance.random() < 0.8:
            self.clean.gap_closed(self.ts, self.ts - 5, cause)
            self.began = False
        else:
            self.clean.gap_open(self.ts, self.ts - 5, cause)
            self.began = True


def forget(home: Path, policy: Policy, chance: random.Random) -> None:
    """Take what is known of some segments out of the manifest and catalogs, as a release would that knew nothing."""
    manifest = Manifest.open(home)
    assert manifest is not None
    some = [entry for entry in manifest.entries() if entry.place != "hot" and chance.random() < 0.3]
    manifest.put([replace(entry, holds=0) for entry in some], dirty={entry.place for entry in some})
    run_once(home, policy)


def built(home: Path, seed: int) -> tuple[Policy, list[Feed]]:
    """Write a home whose segments are hot, warm and in cold, some of them in packs."""
    chance = random.Random(seed)
    feeds = [Feed(home, symbol, lane, chance) for symbol, lane in ((BTC, 0), (BTC, 1), (ETH, 0), (SOL, 0))]
    options = {"cold": "compacted", "pack_bytes": chance.choice([0, 1 << 20])}
    policy = three_tiers(home, warm=chance.choice(["zstd", "zstd", "none"]), **options)  # type: ignore[arg-type]
    for _ in range(2):
        for feed in feeds:
            feed.write(chance.randrange(1, 5))
        apply_all(home, policy)
        forget(home, policy, chance)
    for feed in feeds:
        feed.write(chance.randrange(1, 4), leave_open=True)
    return policy, feeds


def asked(store: Store) -> list[list[Gap]]:
    """Return what a store says of holes, in every form."""
    ranges = [
        (None, None),
        (START + DAY, None),
        (None, START + DAY),
        (START - 9, START + 2 * DAY),
        (None, START * 2),
    ]
    found = [store.gaps(start=start, end=end) for start, end in ranges]
    assert found[0] == [gap for symbol in store._directory.symbols() for gap in store.gaps(symbol)]
    return found


def compare(places: Path | list[Path]) -> list[Gap]:
    """Compare what is found with the naive reader, and with what opening everything finds."""
    with chronicle.open(places) as store:
        found = asked(store)
        store._shelf_here.close()
        store._shelf_here.source = Unlooked(store._shelf_here.source)
        assert asked(store) == found
    plain = [Hole(*(getattr(gap, name) for name in Hole._fields)) for gap in found[0]]
    assert plain == [hole for symbol in (BTC, ETH, SOL) for hole in naive_gaps(places, symbol)]
    return found[0]


@pytest.mark.parametrize("seed", range(6))
def test_holes_are_those_that_opening_everything_finds(tmp_path: Path, seed: int) -> None:
    policy, feeds = built(tmp_path, seed)
    assert compare(tmp_path), "there are holes to find"
    for places in ([tmp_path / "archive", tmp_path / "cold"], tmp_path / "archive", [tmp_path / "cold", tmp_path]):
        compare(places)  # alone a tier lacks what the other has
    for feed in feeds:
        feed.clean.close(seal=True)
    for _ in range(2):
        apply_all(tmp_path, policy)
    before = compare(tmp_path)
    assert before == compare(tmp_path / "cold")
    repair(tmp_path, policy)  # looks through what nobody knew
    run_once(tmp_path, policy)
    manifest = Manifest.open(tmp_path)
    assert manifest is not None
    assert all(entry.holds & Holds.KNOWN for entry in manifest.entries())
    assert compare(tmp_path) == compare(tmp_path / "cold") == before


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_that_took_the_place_of_a_damaged_one_says_the_same(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    policy = replace(three_tiers(tmp_path), grace_ns=WEEK_NS)  # the hot copies stay for a while
    for symbol in (BTC, ETH):
        feed = Feed(tmp_path, symbol, 0, chance)
        feed.write(6)
        feed.clean.close()
    apply_all(tmp_path, policy)
    before = compare(tmp_path)
    manifest = Manifest.open(tmp_path)
    assert manifest is not None
    chosen = [entry for entry in manifest.entries() if chance.random() < 0.5]
    for entry in chosen:
        flip(tmp_path / "archive" / entry.object)
    report = repair(tmp_path, policy)
    assert len(report.damaged) == len(chosen)
    assert not report.lost
    assert compare(tmp_path) == before
    run_once(tmp_path, policy)
    assert compare(tmp_path) == before
    assert compare(tmp_path / "archive") == before


def test_segments_that_are_gone_are_holes_in_any_case(tmp_path: Path) -> None:
    chance = random.Random(5)
    policy = three_tiers(tmp_path)
    feed = Feed(tmp_path, BTC, 0, chance)
    feed.write(7)
    feed.clean.close()
    apply_all(tmp_path, policy)
    manifest = Manifest.open(tmp_path)
    assert manifest is not None
    entries = visible(tmp_path, manifest.entries(), manifest)
    whole = compare(tmp_path)
    for gone in ([entries[3]], [entries[0]], [entries[-1]]):
        lose(manifest, gone)
        run_once(tmp_path, policy)
        found = compare(tmp_path)
        assert len(found) >= len(whole) - 3
        assert any(gap.cause == "missing_segment" for gap in found)
        compare(tmp_path / "archive")


def lose(manifest: Manifest, entries: list[Entry]) -> None:
    """Take entries out of the manifest as if they had never been archived."""
    manifest.put(entries, dirty={entry.place for entry in entries})
    manifest.remove([entry.key for entry in entries])


def flip(path: Path) -> None:
    """Damage an object in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))
