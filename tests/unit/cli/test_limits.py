"""The soft limit of open files is raised as far as the host lets us."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.etl.clean import clean_writer

SCRIPT = """
import resource
from chronicle.cli.limits import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("soft", "hard", "expected"), [(300, 900, 900), (900, 900, 900)])
def test_the_soft_limit_goes_up_to_the_hard_one(soft: int, hard: int, expected: int) -> None:
    script = SCRIPT.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(expected)] * 2


@pytest.mark.parametrize(("allowed", "expected"), [(1_024, 768), (100, 64), (resource.RLIM_INFINITY, None)])
def test_a_shard_keeps_as_many_queues_open_as_the_limits_allow(
    monkeypatch: pytest.MonkeyPatch, allowed: int, expected: int | None
) -> None:
    maps = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (allowed, allowed))
    assert clean_writer.open_queues_max() == maps // 4, "locks that maps keep need no descriptor"
    assert clean_writer.open_queues_max(need_descriptors=True) == (expected or maps // 4)
