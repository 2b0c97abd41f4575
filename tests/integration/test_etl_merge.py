"""Several raw queues in one order: random runs, shared instruments, joins and leaves, units, and what status says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.merge_runs import MergeRun

RUNS_SOAK = 10_000


@pytest.mark.parametrize("seed", range(12))
def test_random_pieces_shards_and_crashes_equal_a_rebuild_and_the_obvious_merge(tmp_path: Path, seed: int) -> None:
    run = MergeRun(tmp_path / "home", seed, queues=1 + seed % 3, rounds=40)
    run.play(acts=4)
    assert run.check(tmp_path / "into")
