"""Raw queues in one order: random pieces, windows, shards and crashes against a rebuild and the obvious merge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.merge_runs import MergeRun


@pytest.mark.parametrize("seed", range(12))
def test_random_pieces_shards_and_crashes_equal_a_rebuild_and_the_obvious_merge(tmp_path: Path, seed: int) -> None:
    run = MergeRun(tmp_path / "home", seed, queues=1 + seed % 3, rounds=40)
    run.play(acts=4)
    assert run.check(tmp_path / "into")
