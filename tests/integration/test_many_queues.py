"""Two thousand quiet queues through a day of hourly rolls stay within stated bounds."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.layout import SegmentState

HOUR_NS = 3_600_000_000_000
SEGMENT_BYTES = 64 * 1024
FILE_BYTES_MAX = 80 * 1024
"""An open segment of 64 KiB: header page, records, seek entries."""


def status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def roll_through_a_day(folder: Path, count: int, hours: int) -> None:
    gc.collect()
    descriptors, resident = len(os.listdir("/proc/self/fd")), status("VmRSS")
    maps = len(Path("/proc/self/maps").read_text().splitlines())
    queues = [
        Queue.create(
            folder / f"{number}.q",
            segment_bytes=SEGMENT_BYTES,
            segment_growth=4,
            segment_bytes_max=4 << 20,
            segment_adapts=True,
            cycle_ns=HOUR_NS,
            durability="shm",
        )
        for number in range(count)
    ]
    appenders = [queue.appender() for queue in queues]
    for hour in range(hours):
        for appender in appenders:
            appender.append(Kind.STATUS, b"one an hour", ts_recv=hour * HOUR_NS)
        # One descriptor a writer for its lock, one map for its control page and one for its open segment.
        assert len(os.listdir("/proc/self/fd")) - descriptors <= count + 16
        assert len(Path("/proc/self/maps").read_text().splitlines()) - maps <= 2 * count + 64
        assert status("VmRSS") - resident <= count * 48 * 1024 + (64 << 20)
    for queue, appender in zip(queues, appenders, strict=True):
        appender.close()
        segments = queue.segments()
        assert [segment.record_count for segment in segments] == [1] * hours
        assert [s.state for s in segments] == [SegmentState.SEALED] * (hours - 1) + [SegmentState.OPEN]
        assert segments[-1].size_bytes <= FILE_BYTES_MAX, "a quiet queue's segments stay small, however many"
        assert sum(s.size_bytes for s in segments[:-1]) <= (hours - 1) * 9 * 1024, "sealed: what it holds, no more"
    del appenders
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) - descriptors <= 16


def test_quiet_queues_cost_little_while_they_roll(tmp_path: Path) -> None:
    roll_through_a_day(tmp_path, 60, 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_thousand_queues_roll_through_a_day(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        roll_through_a_day(tmp_path, 2_000, 24)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
