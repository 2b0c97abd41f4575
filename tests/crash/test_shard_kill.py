"""Shards killed by a signal at 51 counted points or more, over one raw queue and over merged ones: nothing shows it.

Each death is a forked child's, which runs the shard as ``chronicle etl run --drain`` does. Half of them fall on a
counted call of Python's (start, recovery, checkpoint, seal, a write to a clean queue), half on a moment, at whatever
instruction, kernels included. The parent has everything compiled and loaded, so that a death costs a tenth of a
second; ``make soak`` brings about 10,000 of them.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from chronicle.etl import run_shard
from tests.support.killing import killed_after, killed_at
from tests.support.merge_runs import MergeRun, config

KILLS = 17
KILLS_SOAK = 10_000
SEED_SOAK = 1_000
REPORT_KILLS = 500
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


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("compiled")
def test_ten_thousand_killed_shards_give_what_a_rebuild_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = by_call = homes = records = 0
    different: dict[int, str] = {}
    began, reported = time.monotonic(), 0

    def tell() -> None:
        with capsys.disabled():
            rate = kills / (time.monotonic() - began)
            print(
                f"\n{kills} kills ({by_call} at a call, {kills - by_call} at a moment; {rate:.1f}/s), {homes} homes, "
                f"{records} clean records compared, {len(different)} homes differ {sorted(different)}",
                end="",
                flush=True,
            )

    while kills < KILLS_SOAK:
        seed = SEED_SOAK + homes
        home, into = tmp_path / f"home-{seed}", tmp_path / f"into-{seed}"
        run = KilledRun(home, seed, queues=1 + seed % 3, rounds=(60, 120, 400)[seed // 3 % 3])
        try:
            run.play(acts=13)
            records += run.check(into)
            shutil.rmtree(home)
        except Exception as error:  # the next homes may say more of it
            different[seed] = f"{type(error).__name__}: {error}"
        shutil.rmtree(into, ignore_errors=True)
        kills, by_call, homes = kills + run.kills, by_call + run.by_call, homes + 1
        if kills >= reported + REPORT_KILLS:
            reported = kills
            tell()
    tell()
    assert not different, different
