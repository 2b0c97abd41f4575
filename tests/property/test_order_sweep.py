"""Books of orders in the sweep against their twin: the kernel writes what the long way makes of one window."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle.core.layout import Flag, Kind, Origin, SequenceRule, VerifiedBy
from chronicle.core.queue_settings import QueueSettings
from chronicle.core.records import Record
from chronicle.etl.books import array_orders, ladder
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.outlet import DAY_NS
from chronicle.etl.kernels import order_sweep
from chronicle.etl.shards.checkpoint import capture_state, restore_state
from chronicle.etl.streams.order_stream import OrderStream
from tests.property.test_order_pipeline import CONFIG, QUEUE, Script, scripts, steps, whole
from tests.property.test_sweep import (
    NUMBERS,
    merged,
    merged_long_way,
    merging,
    prologues,
    stored,
    told_apart,
    turns,
)
from tests.support.etl_streams import MemorySink, RawStream, instrument, pipeline, run, split
from tests.support.naive_orders import ASK, BID

many = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fresh = st.tuples(
    st.just("A"), st.integers(10, 200), st.sampled_from([BID, ASK]), st.integers(1, 90), st.integers(1, 9)
)
"""Additions that seldom contradict the book."""
plain = st.tuples(st.just("orders"), st.lists(fresh, min_size=1, max_size=3), st.just(0), st.just(1))
busy = st.lists(st.one_of(plain, plain, plain, plain, steps), min_size=10, max_size=60).map(
    lambda rest: [("start", [("A", 1, BID, 5, 5), ("A", 2, ASK, 6, 5)], 0), *rest]
)
"""Books that begin in good standing, and mostly stay so."""
rules = st.sampled_from([SequenceRule.COUNT, SequenceRule.CONNECTION, SequenceRule.NONE])


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory: on a device Python reserves a segment's next step."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    with tempfile.TemporaryDirectory(prefix="chronicle-test-", dir="/dev/shm") as folder:
        yield Path(folder)


def feed(machine: Any, stream: RawStream, sizes: list[int], position: int = 0) -> None:
    turn = 0
    while position < len(stream.events):
        end = min(len(stream.events), position + sizes[turn % len(sizes)])
        machine.feed(stream.memory(position, end), stream.events[position][0])
        machine.flush()
        position, turn = end, turn + 1


@many
@given(st.one_of(scripts, busy), rules, st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from([0, 64]))
def test_the_sweep_writes_orders_as_the_long_way_does(
    script: list[Any], rule: int, sizes: list[int], slots: int
) -> None:
    stream = Script(script, rule).stream
    twin = whole(stream)
    small: dict[str, Any] = {"LEVELS_MIN": 0, "SLOTS": slots, "RECENTRE_UPDATES": 4, "OVERFLOW_SHARE": 64}
    with (
        mock.patch.multiple(ladder, **small) if slots else nullcontext(),
        tempfile.TemporaryDirectory() as folder,
        QueueSink(Path(folder)) as sink,
    ):
        feed(pipeline(sink, CONFIG), stream, sizes)
        assert stored(Path(folder)) == twin.bytes()
        for queue in twin.queues:
            assert prologues(Path(folder), queue) == [prologue for _, prologue in twin.prologues[queue]]


@many
@given(busy, rules, st.sampled_from([1_500, 3_000]))
def test_segments_that_end_often_change_nothing(script: list[Any], rule: int, words: int) -> None:
    stream = Script(script, rule).stream
    with mock.patch.object(QueueSettings, "capacity", return_value=8 * words):
        twin = whole(stream)
        with tempfile.TemporaryDirectory() as folder, QueueSink(Path(folder)) as sink:
            feed(pipeline(sink, CONFIG), stream, [7, 3])
            assert stored(Path(folder)) == twin.bytes()
            for queue in twin.queues:
                assert prologues(Path(folder), queue) == [prologue for _, prologue in twin.prologues[queue]]


@many
@given(busy, st.data(), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_shard_of_orders_that_died_goes_on(script: list[Any], data: st.DataObject, sizes: list[int]) -> None:
    stream = Script(script).stream
    with tempfile.TemporaryDirectory() as folder:
        stop = data.draw(st.integers(1, len(stream.events)), label="checkpoint")
        crash = data.draw(st.integers(stop, len(stream.events)), label="crash")
        with QueueSink(Path(folder)) as sink:
            machine = pipeline(sink, CONFIG)
            feed_between(machine, stream, 0, stop)
            state = capture_state(machine)
            feed_between(machine, stream, stop, crash)
        with QueueSink(Path(folder)) as sink:
            again = pipeline(sink, CONFIG)
            restore_state(again, state)
            feed(again, stream, sizes, stop)  # what the queue holds already is made again, and left out
            assert stored(Path(folder)) == whole(stream).bytes()


def feed_between(machine: Any, stream: RawStream, first: int, end: int) -> None:
    for event in range(first, end):
        machine.feed(stream.memory(event, event + 1), stream.events[event][0])
        machine.flush()


@many
@given(busy, turns, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_merged_orders_keep_their_queue_and_index(script: list[Any], queues: list[int], sizes: list[int]) -> None:
    stream = merged(Script(script).stream, queues)
    expected = {queue: told_apart(data) for queue, data in merged_long_way(stream, CONFIG).bytes().items()}
    with tempfile.TemporaryDirectory() as folder, QueueSink(Path(folder)) as sink:
        sink.numbers = NUMBERS
        feed(merging(pipeline(sink, CONFIG)), stream, sizes)
        assert stored(Path(folder)) == expected


def day(events: int, orders_each: int = 1, start_ts: int = 1_000_000_000_000) -> RawStream:
    """Return a day of one instrument that contradicts nothing: additions, changes, executions, deletions."""
    stream = RawStream(start_ts)
    stream.define(1, instrument("nasdaq:AMZN", driver=Kind.ORDER))
    out = stream.begin()
    out.order(1, 0, 0, 0, 0, action=ord("R"), ts_event=1)
    stream.end()
    number = 0
    for _ in range(events):
        out = stream.begin()
        for _ in range(orders_each):
            number += 1
            side = BID if number % 2 else ASK
            price = 500 - number % 40 if side == BID else 501 + number % 40
            out.order(1, side, number, price, 1 + number % 9, action=ord("A"), ts_event=1)
            if number % 3 == 0 and number > 90:
                old = number - 90
                out.order(1, BID if old % 2 else ASK, old, 0, 1 << 20, action=ord("C"), ts_event=1)
            if number % 5 == 0:
                price += 100 if side == ASK else -100
                out.order(1, side, number, price, 20, action=ord("M"), ts_event=1)
        stream.end()
    return stream


@pytest.mark.parametrize("orders_each", [1, 40, 700])
def test_plain_orders_do_not_come_back_to_python(
    orders_each: int, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = day(1200 // orders_each + 6, orders_each)
    expected = MemorySink()
    machine = pipeline(expected)
    machine.feed(stream.memory(), 0)
    machine.flush()
    decided: list[int] = []
    decide = OrderStream._decide

    def noted(self: OrderStream, block: Any, event: int, refused: int | None = None) -> None:
        decided.append(event)
        decide(self, block, event, refused)

    monkeypatch.setattr(OrderStream, "_decide", noted)
    monkeypatch.setattr(OrderStream, "_run", lambda _self, _block, event: event)
    with QueueSink(memory_path) as sink:
        machine = pipeline(sink)
        machine.feed(stream.memory(0, 3), 0)
        machine.flush()
        del decided[:]
        for event in range(3, len(stream.events), 5):
            machine.feed(stream.memory(event, event + 5), stream.events[event][0])
        machine.flush()
        assert stored(memory_path) == expected.bytes()
        rolls = len(prologues(memory_path, "clean/nasdaq/amzn/book.q")) - 1
    of_size = 0 if orders_each * 5 // 3 < order_sweep.CHUNK_RECORDS else len(stream.events)
    assert len(decided) <= rolls + of_size, "only rolls, and events that no chunk holds"


def test_the_sweep_restates_orders_when_it_is_due(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = day(400)
    expected = whole(stream)
    monkeypatch.setattr(OrderStream, "_own_snapshot", None)
    with QueueSink(memory_path) as sink:
        machine = pipeline(sink, CONFIG)
        machine.feed(stream.memory(0, 6), 0)
        for event in range(6, 200):
            machine.feed(stream.memory(event, event + 1), stream.events[event][0])
        machine.flush()
        written = stored(memory_path)["clean/nasdaq/amzn/book.q"]
    twin = b"".join(expected.queues["clean/nasdaq/amzn/book.q"])
    assert written == twin[: len(written)]
    assert written.count(int(Kind.ORDER_SNAPSHOT).to_bytes(2, "little") + bytes([Flag.SNAPSHOT | Flag.LAST])) > 2


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_the_first_event_of_a_day_begins_a_segment(beside: int, tmp_path: Path) -> None:
    """Also one that comes with the stroke of midnight."""
    stream = day(90, 2, 20_000 * DAY_NS - 50_000_000 + beside)
    twin = run(stream)
    with QueueSink(tmp_path) as sink:
        feed(pipeline(sink), stream, [20])
        assert stored(tmp_path) == twin.bytes()
        for queue in twin.queues:
            found = prologues(tmp_path, queue)
            assert found == [prologue for _, prologue in twin.prologues[queue]]
            assert len(found) == 2


@pytest.mark.parametrize("crash", range(30, 37))
@pytest.mark.parametrize("orders_each", [2, 5])
def test_what_is_made_again_ends_with_an_event(orders_each: int, crash: int, tmp_path: Path) -> None:
    """The sweep leaves the last records that the queue holds to be compared: of the event there, none or all."""
    stream = day(60, orders_each)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink)
        feed_between(machine, stream, 0, 10)
        state = capture_state(machine)
        feed_between(machine, stream, 10, crash)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink)
        restore_state(machine, state)
        feed(machine, stream, [40], 10)
        assert stored(tmp_path) == run(stream).bytes()


@pytest.mark.parametrize("flags", [0, int(Flag.SNAPSHOT)])
def test_numbers_of_a_retransmission_stand_behind_no_book(flags: int, tmp_path: Path) -> None:
    """What an own snapshot says of its book: verified by the venue's numbers, once live ones were seen unbroken."""
    told = Script([("start", [("A", number, BID, 5, 5) for number in range(1, 9)], int(Flag.SNAPSHOT))])
    for number in range(20, 60):
        told._orders([("A", number, ASK, 9, 5)], flags, 1)
        if number % 12 == 0:
            told._pause()
    twin = whole(told.stream)
    found = [record.fields()["verified_by"] for record in split(b"".join(twin.queues[QUEUE])) if is_own(record)]
    assert len(found) > 2
    assert set(found[1:]) == {VerifiedBy.NOTHING if flags else VerifiedBy.SEQUENCE}
    with QueueSink(tmp_path) as sink:
        feed(pipeline(sink, CONFIG), told.stream, [7])
        assert stored(tmp_path) == twin.bytes()


def is_own(record: Record) -> bool:
    return record.kind == Kind.BOOK_SNAPSHOT and record.fields()["origin"] == Origin.ETL


@pytest.mark.parametrize("words", range(1_500, 1_560, 6))
def test_a_segment_ends_where_the_long_way_ends_it(words: int, tmp_path: Path) -> None:
    """With room for what may have to be decided behind its last event, wherever that event ends."""
    stream = day(200, 2)
    with mock.patch.object(QueueSettings, "capacity", return_value=8 * words):
        twin = run(stream)
        with QueueSink(tmp_path) as sink:
            feed(pipeline(sink), stream, [40])
            assert stored(tmp_path) == twin.bytes()
            for queue in twin.queues:
                found = prologues(tmp_path, queue)
                assert found == [prologue for _, prologue in twin.prologues[queue]]
                assert len(found) > 3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("due", [False, True])
def test_a_record_refused_within_an_event_halts_there(place: int, due: bool, tmp_path: Path) -> None:
    told = Script([("start", [("A", number, BID, 5, 5) for number in range(1, 9)], 0)])
    told._orders([("A", 20, BID, 5, 5)], 0, 1)
    told._orders([("A", 21, BID, 5, 5)], 0, 1)
    if due:
        told._pause()
        for number in range(30, 40):
            told._orders([("A", number, ASK, 9, 5)], 0, 1)
        told._pause()
    bad = [("A", 50, BID, 4, 1), ("A", 51, BID, 4, 1)]
    bad.insert(place, ("C", 999, BID, 4, 1))
    told._orders(bad, 0, 1)
    told._orders([("A", 60, BID, 4, 1)], 0, 1)
    twin = whole(told.stream)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink, CONFIG)
        feed(machine, told.stream, [1])
        assert stored(tmp_path) == twin.bytes()
        (_, stream) = machine.books()[0]
        stream.disarm()
        assert stream.counts == {"orders_unknown_order": 1, "gaps": 1}
        assert stream.book.order(51) is not None, "what is behind the refused record counts"


def test_a_book_that_begins_without_room_grows_where_the_sweep_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = day(300)
    monkeypatch.setattr(array_orders, "CAPACITY_MIN", 1)
    expected = whole(stream)
    with QueueSink(tmp_path) as sink:
        feed(pipeline(sink, CONFIG), stream, [50])
        assert stored(tmp_path) == expected.bytes()
