"""Several events that one frame carried are committed together, and stored as if each had been appended alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chronicle.core import EventBuilder, Kind, Side
from chronicle.core.errors import RecordError
from chronicle.core.layout import Flag
from tests.support.queues import contents, event, small_queue


def frames(seed: int, count: int) -> list[list[tuple[bytearray, int]]]:
    """Return frames of one to nine events each, their times growing (and now and then stepping back)."""
    rng = random.Random(seed)
    ts, found = 1_000, []
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 10)):
            ts += rng.randrange(30)
            parts.append(event(ts, rng.randrange(1, 6), price=rng.randrange(1_000)))
        found.append(parts)
        ts -= 10 * (rng.random() < 0.05)
    return found


def test_events_appended_together_are_stored_as_one_by_one(tmp_path: Path) -> None:
    one, together = small_queue(tmp_path, "one.q"), small_queue(tmp_path, "together.q")
    with one.appender() as single, together.appender() as several:
        for parts in frames(5, 400):
            for data, count in parts:
                single.append_event(data, count)
            joined = bytearray().join(data for data, _ in parts)
            index = several.append_events(joined, sum(count for _, count in parts))
            assert index + sum(count for _, count in parts) == several.next_index == single.next_index
            assert several.last_ts_recv == single.last_ts_recv
        assert several.clamped_count == single.clamped_count > 0
    assert contents(one) == contents(together)


def test_the_seek_index_is_what_recovery_finds_again(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for parts in frames(6, 300):
            joined = bytearray().join(data for data, _ in parts)
            appender.append_events(joined, sum(count for _, count in parts))
    live = {number: queue.open_segment(number).seek_points() for number in queue.segment_files()}
    with queue.appender() as appender:  # recovers the open segment
        appender.seal()
    for number in queue.segment_files():
        assert queue.open_segment(number).seek_points() == live[number]


def test_what_is_not_whole_events_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    data, count = event(10, 3)
    unended = bytearray(data)
    unended[-80 + 6] &= ~int(Flag.LAST) & 0xFF
    back = bytearray(event(20)[0] + event(10)[0])
    with small_queue(tmp_path).appender() as appender:
        for wrong, number in ((unended, 3), (data, 2), (data[:-8], 3), (bytearray(), 0), (back, 2)):
            with pytest.raises(RecordError):
                appender.append_events(wrong, number)
        assert appender.next_index == 0
        assert appender.append_events(data, count) == 0


def test_a_builder_ends_events_and_takes_packed_ones() -> None:
    out = EventBuilder()
    out.begin(5, source=1)
    out.end_event()
    assert out.events == 0
    out.delta(1, Side.BID, 1, 1, ts_event=1)
    assert out.events == 1
    out.end_event()
    packed, count = event(5, 2)
    out.packed(bytes(packed), count=count, events=1, last_offset=80)
    out.status(1, {})
    assert out.events == 3
    data, count = out.take()
    assert count == 4
    ends, position = [], 0
    while position < len(data):
        ends.append(bool(data[position + 6] & Flag.LAST))
        position += int.from_bytes(data[position : position + 4], "little")
    assert ends == [True, False, True, True]
    assert out.take() == (bytearray(), 0)
    assert data[4 + 3 * 80] == Kind.STATUS
