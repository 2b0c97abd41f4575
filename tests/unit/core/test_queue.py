"""What append returned for is read by every tailer, in order, once, with the bytes that were given."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from chronicle.core import Kind, Queue
from chronicle.core.cursor import Cursor
from chronicle.core.dtypes import DTYPES
from chronicle.core.errors import (
    ConfigError,
    NotFoundError,
    QueueLockedError,
    RangeError,
    RecordError,
    StateError,
)
from chronicle.core.layout import EVENT_BYTES_MAX, INT64_MIN, RECORD_BYTES_MAX, Flag, SegmentState
from chronicle.core.local import QueueSource
from chronicle.core.segment_header import read_header
from chronicle.core.source import SegmentInfo
from tests.support.queues import SMALL, append_random, contents, event, small_queue


def deltas(count: int, *, ts: int = 1, every: int = 1) -> np.ndarray:
    rows = np.zeros(count, DTYPES[Kind.BOOK_DELTA])
    rows["length"], rows["kind"], rows["ts_recv"] = 80, Kind.BOOK_DELTA, ts
    rows["price"] = np.arange(count)
    rows["flags"][every - 1 :: every] = Flag.LAST
    rows["flags"][-1] = Flag.LAST
    return rows


def test_records_come_back_in_order_with_their_bytes(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    given = []
    with queue.appender() as appender:
        for number in range(3_000):
            data, count = event(1_000 + number, number % 5 + 1)
            assert appender.append_event(data, count) == len(given)
            position = 0
            for _ in range(count):
                given.append(bytes(data[position : position + 80]))
                position += 80
    assert contents(queue) == given
    assert len(queue.segments()) > 5
    assert [r.index for r in queue.tailer().drain()] == list(range(len(given)))


def test_kernel_batch_equals_single_appends(tmp_path: Path) -> None:
    rows = deltas(5_000, every=7)
    rows["ts_recv"] = np.sort(np.random.default_rng(3).integers(0, 10_000, 5_000))
    for begin, end in itertools.pairwise(range(0, 5_001, 7)):
        rows["ts_recv"][begin:end] = rows["ts_recv"][begin]
    one, many = small_queue(tmp_path, "one.q"), small_queue(tmp_path, "many.q")
    with one.appender() as appender:
        start = 0
        for end in np.flatnonzero(rows["flags"]) + 1:
            appender.append_event(bytearray(rows[start:end].tobytes()), int(end - start))
            start = end
    with many.appender() as appender:
        assert appender.append_many(rows[:14]) == 0
        assert appender.append_many(rows[14:]) == 14
    assert contents(one) == contents(many)
    assert [s.base_index for s in one.segments()] == [s.base_index for s in many.segments()]
    for number in one.segment_files():
        assert one.open_segment(number).seek_points() == many.open_segment(number).seek_points()


def test_ts_recv_is_clamped_and_flagged_on_both_paths(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=500)
        appender.append_event(*event(400, 2))
        appender.append_many(deltas(4, ts=300, every=2))
        appender.append(Kind.STATUS, ts_recv=600)
        assert appender.clamped_count == 2 + 4
    records = list(queue.tailer().drain())
    assert [r.ts_recv for r in records] == [500] * 7 + [600]
    assert [bool(r.flags & Flag.BAD_TS_RECV) for r in records] == [False] + [True] * 6 + [False]


def test_events_never_span_segments_and_are_never_split_by_windows(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 2_000, seed=5)
    tailer = queue.tailer()
    while (window := tailer.next_window(100)) is not None:
        flags = [record.flags & Flag.LAST for record in window.records()]
        assert flags[-1]
        assert len(window.offsets()) == len(window) == len(flags)


def test_next_writer_continues_at_the_next_index(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    for round_ in range(5):
        with queue.appender() as appender:
            append_random(appender, 300, seed=round_)
            if round_ % 2:
                appender.seal()
            end = appender.next_index
        assert queue.end_index() == end
    assert [r.index for r in queue.tailer().drain()] == list(range(end))


def test_second_writer_is_refused_and_told_who_holds_the_queue(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender(), pytest.raises(QueueLockedError, match="pid") as caught:
        Queue.open(queue.path).appender()
    assert caught.value.exit_code == 6
    queue.appender().close()


def test_queue_continues_when_all_sealed_segments_have_moved_away(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 100, seed=1)
        end, last = appender.next_index, appender.last_ts_recv
        appender.seal()
    for path in queue.segment_files().values():
        path.unlink()
    assert (queue.end_index(), queue.last_ts_recv()) == (end, last)
    with queue.appender() as appender:
        assert (appender.next_index, appender.last_ts_recv) == (end, last)
        assert appender.append(Kind.STATUS, ts_recv=last) == end
    assert queue.segments()[0].base_index == end


def test_sealing_is_a_pure_function_of_prologue_and_records(tmp_path: Path) -> None:
    def build(name: str, batches: int) -> dict[int, bytes]:
        queue = small_queue(tmp_path, name, queue_id=bytes(16))
        with queue.appender(prologue=lambda: {"schema": 1}) as appender:
            for batch in range(batches):
                append_random(appender, 600 // batches, seed=batch if batches == 1 else 0, start_ts=1)
                if batches > 1:
                    appender.sync()
            appender.seal()
        return {number: path.read_bytes() for number, path in queue.segment_files().items()}

    assert build("a.q", 1) == build("b.q", 1)
    first = build("c.q", 1)
    assert all(data[136] == SegmentState.SEALED for data in first.values())


def test_rolls_at_cycle_boundaries_of_ts_recv(tmp_path: Path) -> None:
    queue = small_queue(tmp_path, cycle_ns=1_000)
    with queue.appender() as appender:
        for ts in (100, 900, 1_000, 1_999, 5_500):
            appender.append(Kind.STATUS, ts_recv=ts)
    assert [(s.ts_first, s.ts_last) for s in queue.segments()] == [(100, 900), (1_000, 1_999), (5_500, 5_500)]


def test_event_larger_than_a_segment_gets_a_segment_of_its_size(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    body = bytes(range(256)) * 4_000
    with queue.appender() as appender:
        appender.append(Kind.STATUS, b"x", ts_recv=1)
        appender.append(Kind.WIRE, body, ts_recv=2)
        appender.append(Kind.STATUS, b"y", ts_recv=3)
    records = list(queue.tailer().drain())
    assert [len(r.body) for r in records] == [8, len(body), 8]
    assert bytes(records[1].body) == body


def test_oversized_and_malformed_events_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
        with pytest.raises(RecordError):
            appender.append(Kind.WIRE, bytes(RECORD_BYTES_MAX), ts_recv=2)
        good, _ = event(5, 2)
        broken = bytearray(good)
        broken[0] = 81
        unended = bytearray(good)
        unended[80 + 6] = 0
        early = bytearray(good)
        early[6] = Flag.LAST
        for data, count in ((good, 1), (good[:100], 2), (broken, 2), (unended, 2), (early, 2), (b"", 0)):
            with pytest.raises(RecordError):
                appender.append_event(data, count)
        for rows in (deltas(3)[::2], deltas(2).view(np.uint8), deltas(2)["price"]):
            with pytest.raises(RecordError):
                appender.append_many(rows)
        bad = deltas(3)
        bad["length"][1] = 72
        with pytest.raises(RecordError):
            appender.append_many(bad)
        assert appender.next_index == 1
    assert len(contents(queue)) == 1
    assert EVENT_BYTES_MAX > RECORD_BYTES_MAX


def test_creating_twice_bad_settings_and_absent_queues_are_clear_errors(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with pytest.raises(StateError):
        small_queue(tmp_path)
    assert Queue.create(queue.path, exist_ok=True).settings == queue.settings
    with pytest.raises(ConfigError):
        Queue.create(tmp_path / "tiny.q", segment_bytes=1)
    with pytest.raises(ConfigError):
        Queue.create(tmp_path / "id.q", queue_id=b"short")
    with pytest.raises(NotFoundError, match="no queue"):
        Queue.open(tmp_path / "absent.q")
    assert queue.end_index() == 0
    assert queue.last_ts_recv() == INT64_MIN
    assert queue.last_record() is None


def test_seek_by_time_and_index_lands_on_whole_events(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 1_500, seed=9)
    events = []
    tailer = queue.tailer()
    while (one := tailer.next_event()) is not None:
        events.append((one[0].index, one[-1].index, one[0].ts_recv))
    cursor = tailer.cursor
    for first, last, ts in events[::97]:
        for index in {first, last}:
            cursor.seek_index(index)
            window = cursor.next_window()
            assert window is not None
            assert window.base_index == first
        for asked in (ts, ts - 1):
            expected = next(event for event in events if event[2] >= asked)
            cursor.seek_time(asked)
            window = cursor.next_window()
            assert window is not None
            assert window.base_index == expected[0]
    cursor.seek_time(events[-1][2] + 1)
    assert cursor.next_window() is None
    with pytest.raises(RangeError):
        cursor.seek_index(10**9)


def test_named_tailer_continues_where_it_committed(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 50, seed=2)
        with queue.tailer("strategy") as tailer:
            for _ in range(10):
                tailer.next_event()
            tailer.commit()
            position = tailer.index
        assert queue.tailer("strategy").index == position
        assert queue.tailer("other").index == 0
        assert queue.tailer("strategy").lag() == appender.next_index - position
    with pytest.raises(ConfigError):
        queue.tailer("../escape")
    with pytest.raises(ConfigError):
        queue.tailer().commit()


def test_open_tail_is_followed_over_rolls_and_seals(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    tailer = queue.tailer()
    seen: list[int] = []
    with queue.appender() as appender:
        for round_ in range(40):
            append_random(appender, 60, seed=round_)
            if round_ % 7 == 3:
                appender.seal()
            if round_ % 3 == 0:
                seen += [record.index for record in tailer.drain()]
        seen += [record.index for record in tailer.drain()]
        assert seen == list(range(appender.next_index))


def test_views_stay_valid_after_the_segment_is_sealed_and_removed(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        data, count = event(1, 3)
        appender.append_event(data, count)
        window = queue.tailer().next_window()
        assert window is not None
        appender.seal()
    for path in queue.segment_files().values():
        path.unlink()
    assert bytes(window.memory) == bytes(data)


def test_unknown_kinds_are_skipped_by_their_length(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(40_000, b"from the future", ts_recv=1)
        appender.append(Kind.STATUS, ts_recv=2)
    first, second = queue.tailer().drain()
    assert first.fields() == {}
    assert first.to_dict()["kind"] == "unknown-40000"
    assert second.kind == Kind.STATUS


def test_capacity_grows_by_segment_number(tmp_path: Path) -> None:
    queue = small_queue(tmp_path, segment_growth=4, segment_bytes_max=16 * SMALL)
    assert [queue.settings.capacity(number) // SMALL for number in range(5)] == [1, 4, 16, 16, 16]


def test_adapting_segments_follow_the_rate_up_and_down_also_over_restarts(tmp_path: Path) -> None:
    def sizes(name: str, *, restart: bool, retire: bool) -> list[int]:
        queue = small_queue(
            tmp_path, name, segment_growth=4, segment_bytes_max=16 * SMALL, segment_adapts=True, cycle_ns=1_000
        )
        found: dict[int, int] = {}
        for cycle, count in enumerate((1, 700, 900, 3_000, 3_000, 1, 1)):
            with contextlib.ExitStack() as held:
                appender = held.enter_context(queue.appender())
                for number in range(count):
                    appender.append(Kind.WIRE, bytes(200), ts_recv=cycle * 1_000)
                    path = max(queue.path.glob("*.open"))
                    found.setdefault(int(path.stem), read_header(path).data_capacity)
                    if restart and number % 500 == 499:
                        appender.close()
                        appender = held.enter_context(queue.appender())
                if retire:
                    appender.seal()
                    for path in queue.segment_files().values():
                        path.unlink()
        return [size // SMALL for _, size in sorted(found.items())]

    whole = sizes("whole.q", restart=False, retire=False)
    assert whole[0] == 1
    assert max(whole) == 16
    assert whole[-1] == 1
    assert sizes("restart.q", restart=True, retire=False) == whole
    assert sizes("retired.q", restart=True, retire=True)[-1] == 1


def test_large_segments_are_prepared_and_sealed_off_the_append_path(tmp_path: Path) -> None:
    size = 16 << 20
    queue = Queue.create(tmp_path / "large.q", segment_bytes=size)
    rows = deltas(size // 80 // 3)
    with queue.appender() as appender:
        for _ in range(10):
            appender.append_many(rows)
    states = [segment.state for segment in queue.segments()]
    assert states[:-1] == [SegmentState.SEALED] * (len(states) - 1)
    assert len(states) >= 3
    assert not [path for path in queue.path.iterdir() if path.name.startswith(".tmp-")]
    tailer, total = queue.tailer(), 0
    while (window := tailer.next_window()) is not None:
        total += len(window)
    assert total == len(rows) * 10


class CountingSource(QueueSource):
    """Counts how often all segments are looked at."""

    looks = 0

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the local segments."""
        self.looks += 1
        return super().segments(queue)


@pytest.mark.parametrize("sealed", [True, False])
def test_reading_on_from_segment_to_segment_does_not_look_at_all_of_them(tmp_path: Path, sealed: bool) -> None:
    """Else a reader of many small segments falls behind its writer for ever: each step would cost their number."""
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(60):
            appender.append(Kind.WIRE, bytes([number]) * 30_000, ts_recv=number)
            if sealed and number % 2:
                appender.seal()
        source = CountingSource(queue)
        cursor = Cursor(source, queue.name)
        seen = [record.index for window in iter(cursor.next_window, None) for record in window.records()]
        assert seen == list(range(60))
        assert cursor.segments_opened >= 30
        assert source.looks <= 4
        appender.append(Kind.STATUS, ts_recv=100)
        window = cursor.next_window()
        assert window is not None
        assert [record.index for record in window.records()] == [60]
