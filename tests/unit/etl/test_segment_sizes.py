"""How large the segments of clean queues are: quiet instruments stay small, and restarts change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.layout import Flag, SegmentState
from chronicle.core.records import pack_record
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.outlet import DAY_NS, Outlet

QUEUE = "clean/kraken/btc_eur/trade.q"
OPEN_QUIET_BYTES = 40 * 1024
"""Pages of the header, the prologue and the seek entries, and a first step for records."""


def write_days(home: Path, days: list[list[bytes]], restart_each: int) -> Queue:
    """Write a list of events for each day; the sink and outlet are made anew after every `restart_each` events."""
    events = [(day, data) for day, entries in enumerate(days) for data in entries]
    written = 0
    for first in range(0, len(events), restart_each):
        with QueueSink(home) as sink:
            outlet = Outlet(QUEUE, sink, written=written, prologue=prologue)
            for number in range(first, min(first + restart_each, len(events))):
                day, body = events[number]
                ts = day * DAY_NS + number
                data = pack_record(
                    Kind.STATUS, body, ts_recv=ts, flags=Flag.LAST, source=0, source_index=number, instrument=1
                )
                outlet.prepare(ts, len(data) >> 3, number)
                outlet.put_event(data, 1, 0)
            outlet.flush()
            written = outlet.written
    return Queue.open(home / QUEUE)


def prologue(raw_index: int, whole: bool) -> dict[str, Any]:
    return {"schema": 1, "queue": QUEUE, "cursor": {"source": 0, "source_index": raw_index}, "whole": whole}


def test_a_quiet_queue_stays_small_for_as_many_days_as_it_lives(tmp_path: Path) -> None:
    queue = write_days(tmp_path, [[b"one a day"]] * 12, restart_each=100)
    segments = queue.segments()
    assert [info.record_count for info in segments] == [1] * 12
    assert segments[-1].state is SegmentState.OPEN
    assert segments[-1].size_bytes <= OPEN_QUIET_BYTES


def test_a_busy_day_gets_large_segments_and_a_quiet_one_after_it_small_ones_again(tmp_path: Path) -> None:
    busy = [bytes(1_000)] * 5_000
    queue = write_days(tmp_path, [[b"quiet"], busy, [b"quiet"], [b"quiet"]], restart_each=10_000)
    counts = [info.record_count for info in queue.segments()]
    assert len(counts) < 8
    assert counts[0] == counts[-1] == 1
    assert max(counts) > 1_000
    assert queue.segments()[-1].size_bytes <= OPEN_QUIET_BYTES


@pytest.mark.parametrize("restart_each", [1, 7, 333])
def test_restarts_move_no_segment_border(tmp_path: Path, restart_each: int) -> None:
    days = [[bytes(9_000)] * 250, [b"quiet"], [bytes(30_000)] * 120, [b"quiet"] * 3]
    whole = write_days(tmp_path / "whole", days, restart_each=10_000)
    pieces = write_days(tmp_path / "pieces", days, restart_each=restart_each)
    assert len(whole.segments()) > len(days)
    assert [(info.base_index, info.record_count) for info in pieces.segments()] == [
        (info.base_index, info.record_count) for info in whole.segments()
    ]


@pytest.mark.parametrize("restart_each", [1, 2, 100])
def test_events_that_must_stand_together_get_a_segment_that_holds_them(tmp_path: Path, restart_each: int) -> None:
    """A GAP and the snapshot behind it are larger than a new segment: the queue must not roll between them."""
    sizes = [[100], [100, 1_440_000, 3_200_000], [100], [100, 1_120_000], [50, 960_000, 144_000], [100]]
    written = 0
    for first in range(0, len(sizes), restart_each):
        with QueueSink(tmp_path) as sink:
            outlet = Outlet(QUEUE, sink, written=written, prologue=prologue)
            for number in range(first, min(first + restart_each, len(sizes))):
                parts = [
                    pack_record(
                        Kind.STATUS,
                        bytes(size),
                        ts_recv=number,
                        flags=Flag.LAST,
                        source_index=number,
                        ordinal=ordinal,
                    )
                    for ordinal, size in enumerate(sizes[number])
                ]
                outlet.prepare(number, sum(map(len, parts)) >> 3, number)
                for part in parts:
                    outlet.put_event(part, 1, 0)
            outlet.flush()
            written = outlet.written
    queue = Queue.open(tmp_path / QUEUE)
    assert [info.record_count for info in queue.segments()] == [1, 3, 7]
    for info in queue.segments():
        with queue.open_segment(info.number) as segment:
            assert segment.prologue()["whole"]
