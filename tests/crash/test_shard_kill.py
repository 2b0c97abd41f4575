"""Shards killed by a signal at 51 counted points, over one raw queue and over merged ones: nothing shows it.

Each death is a forked child's, which runs the shard as ``chronicle etl run --drain`` does. Half of them fall on a
counted call of Python's (start, recovery, checkpoint, seal, a write to a clean queue), half on a moment, at whatever
instruction, kernels included.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.etl import run_shard
from tests.support.killing import killed_after, killed_at
from tests.support.merge_runs import MergeRun, config

KILLS = 17
CALLS_MAX = 40_000
"""Calls and returns of a run over some dozens of events, about."""
SECONDS_MAX = 0.1


class KilledRun(MergeRun):
    """Acts as :class:`MergeRun` does, but deaths are real."""

    by_call = by_moment = 0

    def work(self, name: str, symbols: tuple[str, ...], *, killed: bool) -> None:
        """Run a shard to the end, or until its process is killed: once, always."""
        window_bytes = self.chance.choice([300, 900, 4096, None])

        def run() -> None:
            run_shard(self.home, shard=name, drain=True, config=config(*symbols), window_bytes=window_bytes)

        if not killed:
            run()
            return
        if self.kills % 2:
            number = int(CALLS_MAX ** self.chance.uniform(0.3, 1))
            while not killed_at(run, number):  # it was quicker than that; it is at its end now, and starts again
                number = number * 2 // 3
            self.by_call += 1
        else:
            seconds = SECONDS_MAX * self.chance.random() ** 2
            while not killed_after(run, seconds):
                seconds *= 2 / 3
            self.by_moment += 1
        self.kills += 1


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All kernels are there before the first child is forked: one that dies while it compiles leaves nothing."""
    for queues in (1, 3):
        home = tmp_path_factory.mktemp(f"compiled-{queues}")
        run = MergeRun(home / "home", queues, queues=queues)
        run.play(acts=1)
        run.check(home / "into")


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("queues", [1, 2, 3])
def test_a_shard_killed_at_17_points_gives_what_a_rebuild_gives(tmp_path: Path, queues: int) -> None:
    run = KilledRun(tmp_path / "home", 100 + queues, queues=queues, rounds=120)
    run.play(acts=13)
    assert run.kills >= KILLS
    assert min(run.by_call, run.by_moment) >= KILLS // 2
    assert run.check(tmp_path / "into")
