"""Segments of queues that size them by a guess: space is reserved in steps, by Python and by kernels alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chronicle.core import Kind, Queue
from chronicle.core.check import check_queue
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import ROLL_BYTES, Flag
from chronicle.core.records import pack_record
from chronicle.core.repair import plan_repair
from chronicle.core.reserving import STEP_BYTES_MAX, STEP_BYTES_MIN, data_ranges, step_end
from tests.support.mounts import small_disk
from tests.support.queues import contents

CAPACITY = 1 << 20
AROUND = 32 * 1024
"""Header, prologue, seek entries, and what a file system keeps for itself."""


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    with small_disk(tmp_path, 16 << 20) as path:
        yield path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 16 << 20) as path:
        yield path


def adapting(folder: Path, name: str = "q.q") -> Queue:
    return Queue.create(
        folder / name,
        segment_bytes=CAPACITY,
        segment_growth=4,
        segment_bytes_max=4 * CAPACITY,
        segment_adapts=True,
        exist_ok=True,
    )


def records(count: int, size: int = 900, first: int = 0) -> list[bytes]:
    return [
        pack_record(Kind.WIRE, bytes([number % 251]) * size, ts_recv=number, flags=Flag.LAST)
        for number in range(first, first + count)
    ]


def stored_bytes(queue: Queue) -> int:
    return sum(os.stat(path).st_blocks * 512 for path in queue.segment_files().values())


@pytest.mark.parametrize("by_kernel", [False, True])
def test_a_segment_takes_little_more_than_it_holds(place: Path, by_kernel: bool) -> None:
    queue, held, total = adapting(place), 0, 0
    with queue.appender() as appender:
        for count in (1, 10, 100, 300, 500):
            data = records(count, first=total)
            if by_kernel:
                append_mixed(appender, np.frombuffer(b"".join(data), dtype=np.uint64))
            else:
                for record in data:
                    appender.append_event(record, 1)
            total, held = total + count, held + sum(map(len, data))
            step = min(max(held // 2, STEP_BYTES_MIN), STEP_BYTES_MAX)
            assert stored_bytes(queue) <= held + step + AROUND
            assert queue.segments()[0].size_bytes <= stored_bytes(queue)
        assert len(queue.segments()) == 1
    assert contents(queue) == records(total)


def test_kernel_and_python_reserve_alike(memory: Path) -> None:
    """The same events, one at a time: after each both writers may go equally far."""
    with adapting(memory, "a.q").appender() as by_python, adapting(memory, "b.q").appender() as by_kernel:
        for record in records(3_000, 1_500):
            by_python._append_event_long(record, 1)
            append_mixed(by_kernel, np.frombuffer(record, dtype=np.uint64))
            assert (by_python._number, by_python._limit, by_python._position) == (
                by_kernel._number,
                by_kernel._limit,
                by_kernel._position,
            )
            assert by_python._position <= by_python._limit
        assert by_python._number >= 1
    assert contents(Queue.open(memory / "a.q")) == contents(Queue.open(memory / "b.q"))


def test_a_step_ends_on_a_page_and_within_the_segment() -> None:
    for end in range(8192, 8192 + CAPACITY - ROLL_BYTES, 4_000):
        stop = step_end(8192, end, 8192 + CAPACITY)
        assert stop % 4096 == 0
        assert end + ROLL_BYTES <= stop <= 8192 + CAPACITY


@pytest.mark.parametrize("count", [0, 1, 20, 700])
def test_the_next_writer_goes_on_and_touches_no_hole(place: Path, count: int) -> None:
    queue = adapting(place)
    with queue.appender() as appender:
        for record in records(count):
            appender.append_event(record, 1)
    before = stored_bytes(queue)
    with queue.appender() as appender:
        assert appender.next_index == count
        assert stored_bytes(queue) <= before + STEP_BYTES_MAX + 4096
        for record in records(800, first=count):
            appender.append_event(record, 1)
        appender.seal()
    assert contents(queue) == records(count + 800)
    assert all(not found.problem for found in check_queue(queue))


def test_what_a_torn_event_left_behind_a_hole_is_cleaned(memory: Path) -> None:
    queue = adapting(memory)
    with queue.appender() as appender:
        for record in records(5):
            appender.append_event(record, 1)
        end, limit = appender._position, appender._limit_max
    path = queue.segment_files()[0]
    with open(path, "r+b") as file:
        for at in (end + 16, end + 400_000):
            file.seek(at)
            file.write(b"torn")
    (found,) = check_queue(queue)
    assert not found.problem
    assert found.torn_bytes == 400_004
    with queue.appender() as appender:
        data = path.read_bytes()
        assert not any(data[end:limit])
        assert len(list(data_ranges(path, end, limit))) == 2, "what was a hole is none now"
        for record in records(900, first=5):
            appender.append_event(record, 1)
    assert contents(queue) == records(905)


@pytest.mark.parametrize("size", range(0, 88, 8))
def test_a_roll_finds_its_space_wherever_the_last_record_ends(memory: Path, size: int) -> None:
    """Of a new segment and of one that is gone on with: what is reserved ends a ROLL behind the records, or later."""
    queue = adapting(memory)
    for part in range(2):
        with queue.appender() as appender:
            for record in records(700, size, first=700 * part):
                appender.append_event(record, 1)
                start = appender._position & -4096
                _, end = next(data_ranges(queue.path / f"{0:010d}.open", start, start + (1 << 20)))
                assert end >= appender._position + ROLL_BYTES


def test_pages_far_behind_the_writer_are_let_go(memory: Path) -> None:
    """The writer's map keeps a bounded part of what it wrote; the file keeps all."""
    queue = adapting(memory)
    with queue.appender() as appender:
        append_mixed(appender, np.frombuffer(b"".join(records(2_500, 1_500)), dtype=np.uint64))
        mapped = _resident(appender._map.address)  # type: ignore[union-attr]
        assert appender._number == 1
        assert mapped <= 64 * 1024 + 2 * STEP_BYTES_MAX + AROUND
    assert contents(queue) == records(2_500, 1_500)


def _resident(address: int) -> int:
    """Return the bytes of the map at `address` that are in this process' page tables."""
    lines = iter(Path("/proc/self/smaps").read_text(encoding="ascii").splitlines())
    for line in lines:
        if line.startswith(f"{address:x}-"):
            return next(int(row.split()[1]) * 1024 for row in lines if row.startswith("Rss:"))
    raise AssertionError("the map is not there")


def test_a_look_at_damage_asks_for_no_memory(memory: Path) -> None:
    queue = adapting(memory)
    with queue.appender() as appender:
        for record in records(40):
            appender.append_event(record, 1)
        end = appender._position
    path = queue.segment_files()[0]
    with open(path, "r+b") as file:
        file.seek(end - 952)
        file.write(b"\xff" * 8)
    before = stored_bytes(queue)
    assert check_queue(queue)[0].problem
    plan = plan_repair(queue)
    assert plan is not None
    assert plan.cut_offset == end - 952
    assert stored_bytes(queue) == before
