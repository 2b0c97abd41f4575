"""Raw queues in one order: random pieces, windows, shards and crashes against a rebuild and the obvious merge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.merge_runs import MergeRun

KILLS_SOAK = 10_000


@pytest.mark.parametrize("seed", range(10))
def test_random_pieces_shards_and_crashes_equal_a_rebuild_and_the_obvious_merge(tmp_path: Path, seed: int) -> None:
    run = MergeRun(tmp_path / "home", seed, queues=1 + seed % 3, rounds=40)
    run.play(acts=4)
    assert run.check(tmp_path / "into")
    assert run.kills >= 3, "so that all seeds come to fifty"


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_thousand_crashes_change_nothing(tmp_path: Path) -> None:
    kills, seed = 0, 1_000
    while kills < KILLS_SOAK:
        run = MergeRun(tmp_path / f"home-{seed}", seed, queues=1 + seed % 3)
        run.play()
        assert run.check(tmp_path / f"into-{seed}"), f"seed {seed}"
        kills, seed = kills + run.kills, seed + 1
