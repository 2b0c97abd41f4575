"""Batches by kernel against one append an event: mixed sizes, events at segment ends, clock steps, readers beside."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core import EventBuilder, Kind, Queue
from chronicle.core.dtypes import DTYPES
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Flag, Side
from chronicle.core.records import Record, SnapshotFields
from tests.support.patience import HANG_SECONDS
from tests.support.queues import contents, small_queue

RECORDS = st.sampled_from(["delta", "trade", "status", "wire", "snapshot"])
EVENTS = st.lists(
    st.tuples(st.integers(-50, 400), st.lists(st.tuples(RECORDS, st.integers(0, 900)), min_size=1, max_size=6)),
    min_size=1,
    max_size=60,
)
"""Events as (step of the clock, records as (kind, size)): the step may be backwards."""


def packed(events: list[tuple[int, list[tuple[str, int]]]], repeat: int) -> list[tuple[bytes, int]]:
    out, ts, made = EventBuilder(), 1_000, []
    for number in range(len(events) * repeat):
        step, records = events[number % len(events)]
        ts += step
        out.begin(ts, source_index=number)
        for kind, size in records:
            if kind == "delta":
                out.delta(1, Side.BID, size, number, ts_event=ts)
            elif kind == "trade":
                out.trade(1, Side.ASK, size, number, ts_event=ts)
            elif kind == "snapshot":
                out.snapshot(1, SnapshotFields([(1, 2)] * (size % 9), [(3, 4)], 2), ts_event=ts)
            else:
                out.record(Kind.WIRE if kind == "wire" else 3_000, bytes([number % 251]) * size)
        data, count = out.take()
        made.append((bytes(data), count))
    return made


def assert_same(one: Queue, other: Queue) -> None:
    assert contents(one) == contents(other)
    assert list(one.segment_files()) == list(other.segment_files())
    for number in one.segment_files():
        with one.open_segment(number) as a, other.open_segment(number) as b:
            assert a.seek_points() == b.seek_points()
            assert a.info.record_count == b.info.record_count
            # The header page names the queue, and the first checksum covers it; the rest is prologue and records.
            assert a.mapping.memory[4096 : a.data_end()] == b.mapping.memory[4096 : b.data_end()]


@settings(max_examples=30, deadline=None)
@given(EVENTS, st.integers(1, 8), st.lists(st.integers(1, 400), min_size=1, max_size=5), st.booleans())
def test_mixed_batches_are_one_append_an_event(
    events: list[tuple[int, list[tuple[str, int]]]], repeat: int, cuts: list[int], cycles: bool
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        cycle = {"cycle_ns": 20_000} if cycles else {}
        batches, single = (small_queue(folder, name, **cycle) for name in ("batches.q", "single.q"))
        made = packed(events, repeat)
        with batches.appender() as appender, single.appender() as plain:
            at = turn = 0
            while at < len(made):
                part = made[at : at + cuts[turn % len(cuts)]]
                first = append_mixed(appender, np.frombuffer(b"".join(data for data, _ in part), dtype=np.uint64))
                assert first == plain.next_index
                for data, count in part:
                    plain._append_event_long(data, count)
                assert appender.next_index == plain.next_index
                assert appender.last_ts_recv == plain.last_ts_recv
                assert appender.clamped_count == plain.clamped_count
                at, turn = at + len(part), turn + 1
        assert_same(batches, single)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-30, 300)), min_size=1, max_size=120),
    st.sampled_from([Kind.BOOK_DELTA, Kind.TRADE, Kind.CANDLE]),
    st.integers(0, 3),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=4),
)
def test_batches_of_one_size_are_one_append_an_event(
    events: list[tuple[int, int]], kind: Kind, plain_share: int, cuts: list[int]
) -> None:
    """Also plain ones (one record an event, in order), which are appended by runs; a snapshot among them, too."""
    folder = Path(tempfile.mkdtemp())
    try:
        sizes = [1 if plain_share else size for size, _ in events] * 8
        steps = [abs(step) if plain_share > 1 else step for _, step in events] * 8
        rows = np.zeros(sum(sizes), DTYPES[kind])
        ends = np.cumsum(sizes)
        rows["length"], rows["kind"] = rows.dtype.itemsize, kind
        rows["ts_recv"] = np.repeat(1_000 + np.cumsum(steps), sizes)
        rows["sequence"] = np.arange(len(rows))
        rows["flags"][ends - 1] = Flag.LAST
        if plain_share == 3:
            rows["kind"][:: max(1, len(rows) // 7)] = Kind.BOOK_SNAPSHOT
        batches, single = (small_queue(folder, name) for name in ("batches.q", "single.q"))
        starts = np.concatenate(([0], ends))
        with batches.appender() as appender, single.appender() as plain:
            at = turn = 0
            while at < len(sizes):
                stop = min(at + cuts[turn % len(cuts)], len(sizes))
                appender.append_many(rows[starts[at] : starts[stop]])
                for number in range(at, stop):
                    plain._append_event_long(rows[starts[number] : starts[number + 1]].tobytes(), sizes[number])
                assert (appender.next_index, appender.clamped_count) == (plain.next_index, plain.clamped_count)
                at, turn = stop, turn + 1
        assert_same(batches, single)
    finally:
        shutil.rmtree(folder)


def test_readers_beside_batches_see_whole_events_in_order(tmp_path: Path) -> None:
    """Batches and single appends of all ways in turn, while readers by event and by window read along."""
    queue = small_queue(tmp_path)
    total = 60_000
    failures: list[str] = []

    def check(record: Record, expected: int) -> None:
        if record.sequence != expected or record.index != expected:
            failures.append(f"record {record.index} holds {record.sequence}, {expected} was next")

    def by_event() -> None:
        tailer, seen = queue.tailer(), 0
        while seen < total and not failures:
            if tailer.wait(60_000_000_000):
                while (found := tailer.next_event()) is not None:
                    if not found[-1].is_last or any(record.is_last for record in found[:-1]):
                        failures.append(f"half an event at {seen}")
                    for record in found:
                        check(record, seen)
                        seen += 1

    def by_window() -> None:
        tailer, seen = queue.tailer(), 0
        while seen < total and not failures:
            if tailer.wait(60_000_000_000):
                while (window := tailer.next_window(4_096)) is not None:
                    for record in window.records():
                        check(record, seen)
                        seen += 1

    readers = [threading.Thread(target=by_event), threading.Thread(target=by_window)]
    [reader.start() for reader in readers]
    with queue.appender() as appender:
        number = 0
        while number < total:
            count = min(3 * (1 + number % 700), total - number)
            rows = np.zeros(count, DTYPES[Kind.BOOK_DELTA])
            rows["length"], rows["kind"], rows["ts_recv"] = 80, Kind.BOOK_DELTA, number
            rows["sequence"], rows["flags"][2::3] = number + np.arange(count), Flag.LAST
            rows["flags"][-1] = Flag.LAST
            appender.append_many(rows)
            number += count
            if number < total:
                appender.append(Kind.STATUS, b"between", ts_recv=number, sequence=number)
                number += 1
    [reader.join(HANG_SECONDS) for reader in readers]
    assert not failures
    assert not any(reader.is_alive() for reader in readers)
    assert len(queue.segments()) > 5
