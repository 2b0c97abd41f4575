"""kill -9 at every step of a move leaves each segment readable at exactly one place; the next run settles."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.moves import STEPS
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import BOOK, apply_all, book_home, source_records, three_tiers

SEGMENTS = 3


def start(home: Path, encodings: tuple[str, str], step: str, count: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "tests.crash.tier_agent", str(home), *encodings, step, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def assert_readable_once(home: Path, truth: bytes) -> None:
    """All records, once, in order; each segment at the one place that the manifest (or the home) names."""
    source = TieredSource(home)
    infos = source.segments(BOOK)
    assert [info.number for info in infos] == list(range(len(infos)))
    assert all(Path(info.location).exists() for info in infos)
    assert source_records(source) == truth


def assert_settled(home: Path, truth: bytes, place: str, policy: object) -> None:
    """After the next run: nothing half-made anywhere, everything where it was meant to go."""
    assert_readable_once(home, truth)
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {place}
    report = verify(home, deep=True)
    assert report.ok, report.findings
    left = list(home.parent.rglob(".tmp-*"))
    assert left == []
    manifest = Manifest.open(home)
    assert manifest is not None
    assert all(entry.state == "published" and not entry.retired for entry in manifest.entries())
    assert manifest.dirty() == []


@pytest.mark.parametrize("encodings", [("zstd", "zstd"), ("none", "zstd"), ("zstd", "none"), ("none", "none")])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_is_settled_by_the_next_run(tmp_path: Path, encodings: tuple[str, str], step: str) -> None:
    home = tmp_path / "home"
    book_home(home, SEGMENTS)
    truth = source_records(TieredSource(home))
    policy = three_tiers(home, warm=encodings[0], cold=encodings[1])
    hop = "warm"
    if encodings != ("zstd", "zstd"):  # the second hop, from warm to cold, in three of the four
        apply_all(home, policy)
        hop = "cold"
    process = start(home, encodings, step, 2)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert_readable_once(home, truth)
    places = {info.number: info.place for info in TieredSource(home).segments(BOOK)}
    report = apply_all_to(home, policy, hop)
    assert report.failures == []
    assert report.broken == []
    assert_settled(home, truth, hop, policy)
    assert places.keys() == {0, 1, 2}


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_with_several_moves_under_way_is_settled(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHRONICLE_TEST_MOVES", "4")
    home = tmp_path / "home"
    book_home(home, 9, per_segment=40)
    truth = source_records(TieredSource(home))
    policy = three_tiers(home)
    process = start(home, ("zstd", "zstd"), step, 4)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert_readable_once(home, truth)
    report = apply_all_to(home, policy, "warm")
    assert (report.failures, report.broken) == ([], [])
    assert_settled(home, truth, "warm", policy)


def apply_all_to(home: Path, policy, hop: str):
    """Settle, then move what is not at `hop` yet (a segment that is there must not go farther)."""
    from dataclasses import replace

    from chronicle.storage.tiers.agent import apply_plan, make_plan

    empty, _ = make_plan(home, policy, prefix="nothing")
    apply_plan(home, empty, policy)
    plan, _ = make_plan(home, policy, everything=True)
    return apply_plan(home, replace(plan, moves=tuple(m for m in plan.moves if m.target == hop)), policy)


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(20261121)
    home = tmp_path / "home"
    book_home(home, 12, per_segment=60)
    truth = source_records(TieredSource(home))
    policy = three_tiers(home)
    for _ in range(6):
        process = start(home, ("zstd", "zstd"), "never", 1)
        assert process.stdout is not None
        wanted, seen = rng.randrange(1, 40), b""
        while seen.count(b"\n") < wanted:
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            seen += chunk
        process.kill()
        process.communicate()
        assert_readable_once(home, truth)
    for _ in range(3):  # one settles what the last death left, and two take it from hot over warm to cold
        apply_all(home, policy).raise_for_failures()
    assert_settled(home, truth, "cold", policy)


def test_one_apply_after_a_kill_settles_and_moves_what_it_settled(tmp_path, capsys):
    home = book_home(tmp_path / "home", SEGMENTS)
    (home / "chronicle.toml").write_text("")
    three_tiers(home)
    agent = start(home, ("zstd", "zstd"), STEPS[1], 1)
    agent.communicate()
    assert agent.returncode == -signal.SIGKILL
    assert run(["tier", "apply", "--all", "--home", str(home)]) == 0
    printed = capsys.readouterr().out
    assert "held" not in printed, printed
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"warm"}
