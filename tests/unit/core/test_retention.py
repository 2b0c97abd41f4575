"""Retention never passes a named tailer unless forced, and then that tailer is told what it missed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.errors import (
    ConfigError,
    ForeignFileError,
    NotFoundError,
    QueueLockedError,
    RangeError,
    StateError,
)
from chronicle.core.layout import NONE, Cause, SegmentState
from chronicle.core.retention import RetentionPolicy, plan_retention, retirements
from chronicle.core.source import SegmentInfo
from tests.support.queues import append_random, small_queue


def info(
    number: int, *, records: int = 10, ts_last: int = 0, state: SegmentState = SegmentState.SEALED
) -> SegmentInfo:
    return SegmentInfo("q", number, 1, number * records, records, ts_last, ts_last, state, 100, 100, "hot", "")


SEGMENTS = [
    *(info(number, ts_last=number * 100) for number in range(5)),
    info(5, ts_last=500, state=SegmentState.OPEN),
]


def plan(
    policy: RetentionPolicy, *, segments: list[SegmentInfo] = SEGMENTS, mark: int = 0, force: bool = False, **at: int
):
    return plan_retention(segments, at, policy, now_ns=1_000, next_number=mark, force=force)


def test_plan_retires_by_age_and_by_bytes_oldest_first() -> None:
    assert plan(RetentionPolicy()).numbers == ()
    assert plan(RetentionPolicy(age_ns=800)).numbers == (0, 1)
    assert plan(RetentionPolicy(bytes_max=350)).numbers == (0, 1, 2)
    both = plan(RetentionPolicy(age_ns=800, bytes_max=350))
    assert (both.numbers, both.first_index, both.freed_bytes) == ((0, 1, 2), 30, 300)
    assert plan(RetentionPolicy(age_ns=0, bytes_max=0)).numbers == (0, 1, 2, 3, 4), "never the open one"


def test_plan_keeps_the_last_segment_unless_the_tail_mark_knows_where_the_queue_continues() -> None:
    sealed = SEGMENTS[:5]
    assert plan(RetentionPolicy(bytes_max=0), segments=sealed).numbers == (0, 1, 2, 3)
    assert plan(RetentionPolicy(bytes_max=0), segments=sealed, mark=5).numbers == (0, 1, 2, 3, 4)


def test_plan_stops_at_the_slowest_tailer_and_force_names_what_each_will_miss() -> None:
    policy = RetentionPolicy(bytes_max=0)
    blocked = plan(policy, fast=50, slow=15)
    assert (blocked.numbers, blocked.blocked_by, blocked.dropped) == ((0,), "slow", {})
    forced = plan(policy, fast=45, slow=15, force=True)
    assert forced.numbers == (0, 1, 2, 3, 4)
    assert forced.dropped == {"fast": (45, 50), "slow": (15, 50)}
    with pytest.raises(ConfigError):
        RetentionPolicy(age_ns=-1)


def filled(folder: Path, count: int = 3_000) -> Queue:
    queue = small_queue(folder)
    with queue.appender() as appender:
        append_random(appender, count, seed=4)
    return queue


def test_retained_queue_keeps_what_the_slowest_tailer_has_not_read(tmp_path: Path) -> None:
    queue = filled(tmp_path)
    with queue.tailer("slow") as slow:
        while slow.index < queue.segments()[2].base_index + 5:
            slow.next_event()
        slow.commit()
    queue.register_tailer("never")
    assert queue.retain(RetentionPolicy(bytes_max=0), 0).blocked_by == "never"
    assert [(t.name, t.state) for t in queue.tailers()] == [("never", "new"), ("slow", "parked")]
    queue.drop_tailer("never")
    third = queue.segments()[2]
    done = queue.retain(RetentionPolicy(bytes_max=0), 0)
    assert (done.numbers, done.blocked_by) == ((0, 1), "slow")
    assert queue.first_index() == third.base_index
    records = list(queue.tailer("slow").drain())
    assert [r.index for r in records] == list(range(records[0].index, queue.end_index()))
    assert records[0].index > third.base_index


@pytest.mark.parametrize("opened", [True, False])
def test_lagging_tailer_of_a_forced_drop_sees_one_gap_and_goes_on(tmp_path: Path, opened: bool) -> None:
    queue = filled(tmp_path)
    tailer = queue.tailer("lagging")
    for _ in range(10):
        tailer.next_event()
    tailer.commit()
    at = tailer.index
    if not opened:
        tailer.close()
    done = queue.retain(RetentionPolicy(bytes_max=0), 77, force=True)
    assert done.dropped == {"lagging": (at, done.first_index)}
    assert retirements(queue.path)[-1] | {"segments": []} == {
        "retired_ns": 77,
        "first_index": done.first_index,
        "segments": [],
        "forced": True,
        "dropped": {"lagging": [at, done.first_index]},
    }
    if not opened:
        tailer = queue.tailer("lagging")
    assert tailer.index == at
    records = list(tailer.drain())
    (place,) = (number for number, record in enumerate(records) if record.index == NONE)
    gap = records[place].fields()
    # An open tailer still reads what it has mapped: the gap begins where that ends.
    missing = at + place if opened else at
    assert place > 0 if opened else place == 0
    assert (records[place].kind, gap["cause"]) == (Kind.GAP, Cause.DROPPED)
    assert (gap["first_missing"], gap["last_missing"]) == (missing, done.first_index - 1)
    assert [r.index for r in records[:place]] == list(range(at, missing))
    assert [r.index for r in records[place + 1 :]] == list(range(done.first_index, queue.end_index()))
    assert tailer.lag() == 0


def test_everything_retired_is_one_gap_up_to_the_next_record(tmp_path: Path) -> None:
    queue = filled(tmp_path, 200)
    tailer = queue.tailer("late")
    with queue.appender() as appender:
        appender.seal()
        end = appender.next_index
    done = queue.retain(RetentionPolicy(age_ns=0), 10**18, force=True)
    assert (done.first_index, queue.segments(), queue.first_index()) == (end, [], end)
    (gap,) = tailer.drain()
    assert (gap.fields()["first_missing"], gap.fields()["last_missing"]) == (0, end - 1)
    with queue.appender() as appender:
        assert appender.append(Kind.STATUS, ts_recv=10**18) == end
    assert [r.index for r in tailer.drain()] == [end]


def test_records_that_moved_to_another_tier_are_no_gap(tmp_path: Path) -> None:
    queue = filled(tmp_path)
    tailer = queue.tailer()
    next(iter(queue.segment_files().values())).unlink()
    tailer.cursor.close()
    with pytest.raises(RangeError):
        tailer.next_event()


def test_tailer_states_tell_new_parked_live_and_dead_apart(tmp_path: Path) -> None:
    queue = filled(tmp_path, 100)
    queue.register_tailer("new")
    queue.tailer("parked").close()
    live = queue.tailer("live")
    live.next_event()
    live.commit()
    script = (
        "import os, signal, sys; from chronicle.core import Queue; t = Queue.open(sys.argv[1]).tailer('dead');"
        "t.next_event(); t.commit(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(queue.path)])
    assert process.wait() == -signal.SIGKILL
    states = {tailer.name: (tailer.state, tailer.pid) for tailer in queue.tailers()}
    assert states == {
        "dead": ("dead", process.pid),
        "live": ("live", os.getpid()),
        "new": ("new", None),
        "parked": ("new", None),
    }
    with pytest.raises(QueueLockedError, match=str(os.getpid())):
        queue.tailer("live")
    with pytest.raises(StateError, match="open"):
        queue.drop_tailer("live")
    with pytest.raises(NotFoundError):
        queue.drop_tailer("absent")
    queue.drop_tailer("dead")
    assert queue.tailer("dead").index == 0, "a dropped tailer starts anew"
    live.close()
    assert {t.name: t.state for t in queue.tailers()}["live"] == "parked"
    assert [t.lag for t in queue.tailers() if t.name == "live"] == [queue.end_index() - live.index]


def test_foreign_tailer_and_retirement_files_are_errors(tmp_path: Path) -> None:
    queue = filled(tmp_path, 10)
    queue.register_tailer("mine")
    (queue.path / "tailers" / "mine.json").write_text("{}")
    with pytest.raises(ForeignFileError):
        queue.tailers()
    (queue.path / "retired.json").write_text(json.dumps([1]))
    with pytest.raises(ForeignFileError):
        retirements(queue.path)


def test_tailer_on_read_only_media_reads_and_registers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = filled(tmp_path, 50)
    opened = os.open

    def read_only(path: object, flags: int, *rest: int, **named: object) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return opened(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    tailer = queue.tailer("reader")
    assert len(list(tailer.drain())) == queue.end_index()
    assert tailer.wait(1_000_000) is False
    assert queue.tailers() == []


def test_seal_dead_finishes_what_a_killed_writer_left_and_spares_a_live_one(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    script = (
        "import os, signal, sys; from chronicle.core import Queue; a = Queue.open(sys.argv[1]).appender();"
        "[a.append(17, ts_recv=n) for n in range(9)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(queue.path)], check=False).returncode == -signal.SIGKILL
    assert [s.state for s in queue.segments()] == [SegmentState.OPEN]
    assert queue.seal_dead() == [0]
    assert [s.state for s in queue.segments()] == [SegmentState.SEALED]
    assert queue.seal_dead() == []
    with queue.appender() as appender:
        assert appender.append(Kind.STATUS, ts_recv=9) == 9
        with pytest.raises(QueueLockedError, match=str(os.getpid())):
            queue.seal_dead()
    assert [r.index for r in queue.tailer().drain()] == list(range(10))


@pytest.mark.parametrize("lock", ["lock", "tailers/name.lock"])
def test_asking_for_the_holder_never_costs_a_writer_or_a_tailer_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    queue = filled(tmp_path, 10)
    queue.tailer("name").close()
    refused = 0
    flock = fcntl.flock
    with open(queue.path / lock, "rb") as asker:  # someone who asks, caught between taking and giving back
        flock(asker, fcntl.LOCK_SH)

        def count(file: object, operation: int) -> None:
            nonlocal refused
            try:
                flock(file, operation)  # type: ignore[arg-type]
            except OSError:
                refused += 1
                if refused == 3:
                    flock(asker, fcntl.LOCK_UN)
                raise

        monkeypatch.setattr(fcntl, "flock", count)
        queue.appender().close()
        queue.tailer("name").close()
    assert refused == 3


def test_a_tailer_can_be_placed_at_a_record_that_is_on_another_tier(tmp_path: Path) -> None:
    """A shard reads raw through all tiers and tells the raw queue only what retention must leave."""
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(6):
            appender.append(Kind.WIRE, bytes([number]) * 40_000, ts_recv=number)
            appender.seal()
    queue.register_tailer("etl-default")
    for info in queue.segments()[:3]:
        Path(info.location).unlink()  # the agent published them elsewhere
    for index in (0, 2, 5):
        queue.place_tailer("etl-default", index)
        known = queue.tailers()[0]
        assert (known.name, known.index, known.state) == ("etl-default", index, "parked")
    with queue.tailer("etl-default"), pytest.raises(QueueLockedError):
        queue.place_tailer("etl-default", 1)
