"""A day of hourly rolls of very many queues: descriptors, maps and memory stay within stated bounds."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.crash.day import descriptors_wanted


def measured(count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < descriptors_wanted(count):
        pytest.skip(f"{descriptors_wanted(count)} descriptors are needed, the limit is {hard}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.day", str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_a_day_of_hourly_rolls_of_200_queues() -> None:
    measured(200)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_day_of_hourly_rolls_of_2000_queues() -> None:
    measured(2_000)
