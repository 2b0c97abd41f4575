"""Quiet segments go together into one object, and are read, moved, proven and deleted one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.errors import ChronicleError
from chronicle.storage.manifest.entry import PACKS_FOLDER
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.requests import requests_made
from chronicle.storage.stores.source import ArchiveSource, TieredSource
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import apply_plan, make_plan
from chronicle.storage.tiers.moves import STEPS
from chronicle.storage.tiers.packs import read_pack_table
from chronicle.storage.tiers.policy import DELETE, Policy, Rule, TierPolicy
from chronicle.storage.tiers.repair import repair
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import BOOK, apply_all, book_events, book_home, fill, source_records, three_tiers

OTHER = "clean/kraken/eth_eur/book.q"
HOUR = 3600 * 10**9


def quiet_home(home: Path) -> Path:
    book_home(home, 3)
    fill(home, OTHER, book_events(150, seed=4), per_segment=50)
    return home


def truth_of(home: Path) -> dict[str, bytes]:
    source = TieredSource(home)
    return {name: source_records(source, name) for name in (BOOK, OTHER)}


def packs_in(root: Path) -> list[Path]:
    return sorted(root.rglob("*.czpk"))


def packed_home(home: Path, **options: object) -> tuple[Policy, dict[str, bytes]]:
    quiet_home(home)
    truth = truth_of(home)
    policy = three_tiers(home, pack_bytes=1 << 20, **options)  # type: ignore[arg-type]
    for _ in range(2):
        apply_all(home, policy).raise_for_failures()
    return policy, truth


def test_six_segments_are_one_object(tmp_path: Path) -> None:
    home = tmp_path / "home"
    policy, truth = packed_home(home)
    assert truth_of(home) == truth
    assert len(packs_in(home / "cold")) == 1
    assert list((home / "cold").rglob("*.czst")) == []
    assert list((home / "archive").rglob("*.czst")) == []
    source = ArchiveSource(home / "cold")
    assert {name: source_records(source, name) for name in (BOOK, OTHER)} == truth
    assert verify(home, deep=True).findings == ()
    assert verify(home / "cold", deep=True).findings == ()
    assert repair(home, policy).checked == 6


def test_a_pack_on_s3_needs_no_more_requests_than_an_object(
    tmp_path: Path, s3_root: tuple[str, dict[str, str]]
) -> None:
    home = quiet_home(tmp_path / "home")
    truth = truth_of(home)
    cold = TierPolicy("cold", s3_root[0], options=s3_root[1], pack_bytes=8 << 20)
    policy = Policy((cold,), (Rule("hot", "cold", 0),))
    before = requests_made()
    report = apply_all(home, policy)
    assert len(report.moved) == 6
    assert requests_made() - before <= 12  # looked at, put, read back, the catalog's part and pointer
    source = ArchiveSource(*s3_root)
    assert {name: source_records(source, name) for name in (BOOK, OTHER)} == truth
    before = requests_made()
    source.open(BOOK, 1).close()
    assert requests_made() - before == 1
    assert verify(s3_root[0], options=s3_root[1]).findings == ()


def test_a_pack_stays_until_its_last_segment_left(tmp_path: Path) -> None:
    home, clock = tmp_path / "home", FakeClock(1_900_000_000 * 10**9)
    policy, truth = packed_home(home)
    policy = replace(policy, rules=(*policy.rules, Rule("cold", DELETE, 0, (OTHER,))))
    plan, _ = make_plan(home, policy, clock=clock)
    assert {move.segment.queue for move in plan.moves} == {OTHER}
    report = apply_plan(home, plan, policy, clock=clock)
    assert len(report.expired) == 3
    assert len(packs_in(home / "cold")) == 1
    assert source_records(TieredSource(home)) == truth[BOOK]
    assert TieredSource(home).segments(OTHER) == []
    assert verify(home, deep=True).findings == ()
    near = replace(policy, tiers=(*policy.tiers, TierPolicy("near", home / "near", "none")))
    assert len(apply_all(home, near, clock=clock).moved) == 3
    assert packs_in(home / "cold") == []
    assert source_records(TieredSource(home)) == truth[BOOK]
    assert verify(home, deep=True).findings == ()


def test_a_rebuild_finds_the_segments_of_packs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    policy, truth = packed_home(home)
    (home / "manifest" / "data.mdb").write_bytes(b"garbage " * 1024)
    report = rebuild_manifest(home, policy)
    assert (report.segments, report.errors, report.conflicts) == (6, (), ())
    assert truth_of(home) == truth
    (home / "cold" / "chronicle-catalog.msgpack.zst").unlink()
    assert source_records(ArchiveSource(home / "cold"), OTHER) == truth[OTHER]


def test_every_flipped_bit_of_a_pack_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    packed_home(home)
    path = packs_in(home / "cold")[0]
    store, name = LocalStore(home / "cold"), path.relative_to(home / "cold").as_posix()
    data = path.read_bytes()
    rows = read_pack_table(store, name, len(data))
    behind = rows[-1].offset + rows[-1].length
    for position in [*range(0, behind, 997), *range(behind, len(data))]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        if position >= behind:
            with pytest.raises(ChronicleError):
                read_pack_table(store, name, len(data))
        else:
            assert not verify(home).ok, position
    path.write_bytes(data)
    assert verify(home).ok
    for cut in (0, 10, behind, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ChronicleError):
            read_pack_table(store, name, cut)


def test_a_damaged_segment_in_a_pack_is_repaired_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    policy, truth = packed_home(home, grace_ns=HOUR)
    path = packs_in(home / "cold")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    report = repair(home, policy)
    assert len(report.damaged) == 1
    assert report.lost == []
    assert path.exists()
    assert truth_of(home) == truth


@pytest.mark.parametrize("step", [step for step in STEPS if step != "cataloged"])
def test_a_kill_at_any_step_of_a_pack_is_settled(tmp_path: Path, step: str) -> None:
    home = quiet_home(tmp_path / "home")
    truth = truth_of(home)
    policy = three_tiers(home, pack_bytes=1 << 20)
    apply_all(home, policy)
    command = [sys.executable, "-m", "tests.crash.tier_agent", str(home), "zstd", "zstd", step, "1"]
    environment = os.environ | {"CHRONICLE_TEST_PACK": str(1 << 20)}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert truth_of(home) == truth
    for _ in range(2):
        apply_all(home, policy).raise_for_failures()
    assert truth_of(home) == truth
    assert len(packs_in(home / "cold")) == 1
    assert packs_in(home / "cold")[0].relative_to(home / "cold").as_posix().startswith(PACKS_FOLDER)
    assert list(home.rglob(".tmp-*")) == []
    assert verify(home, deep=True).findings == ()
    manifest = Manifest.open(home)
    assert manifest is not None
    assert all(not entry.intent and not entry.retired for entry in manifest.entries())
