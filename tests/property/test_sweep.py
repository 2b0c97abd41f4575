"""The sweep against its twin: what the kernel writes into queues is what the long way makes of one window."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle.core.layout import NONE, Kind, SequenceRule
from chronicle.core.local import LocalSource
from chronicle.etl.books import ladder
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.lineage import position_of, split_position
from chronicle.etl.clean.outlet import DAY_NS
from chronicle.etl.config import EtlConfig
from chronicle.etl.kernels import plain as kernel
from chronicle.etl.kernels.racing import stamp_positions
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.shards.checkpoint import capture_state, restore_state
from chronicle.etl.streams.book_stream import BookStream
from chronicle.etl.streams.candles import CandleStream
from chronicle.etl.streams.stream import PlainStream
from tests.property.test_etl_pipeline import CONFIG, _play, levels, numbers, scripts, steps
from tests.support.etl_streams import MemorySink, RawStream, binance, instrument, pipeline, queue_records, run, split

common = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
plain = st.tuples(st.just("deltas"), numbers, st.just(1), levels, st.just(0), st.integers(0, 7))
busy = st.lists(st.one_of(plain, plain, plain, steps), min_size=20, max_size=120).map(
    lambda rest: [("snapshot", number, 1, [(5, 1), (4, 2)], [(9, 1)], 0) for number in (1, 2, 3, 4)] + rest
)
"""Books that begin in good standing, and mostly stay so."""


NUMBERS = {"raw/main.q": 0, "raw/second.q": 1, "raw/third.q": 2}
turns = st.lists(st.integers(0, len(NUMBERS) - 1), min_size=1, max_size=9)
"""Which raw queue each event is of, over and over."""
GAP_GOOD = 88


def merging(machine: Pipeline) -> Pipeline:
    """Let a pipeline take records of several raw queues, as a lane that merges does."""
    machine.merge()
    machine.settings.sources = [{"queue": name, "generation": 1} for name in NUMBERS]
    return machine


def merged(stream: RawStream, queues: list[int]) -> RawStream:
    """Return the stream as a merge gives it: each record carries its raw queue and its index there."""
    out, counts = RawStream(), dict.fromkeys(NUMBERS.values(), 0)
    for place, (index, data) in enumerate(stream.events):
        queue = queues[place % len(queues)]
        words = np.frombuffer(data, dtype=np.int64).copy()
        stamp_positions(words, position_of(queue, counts[queue]))
        counts[queue] += len(list(split(data)))
        out.events.append((index, words.tobytes()))
    return out


def told_apart(data: bytes) -> bytes:
    """Return clean records with each position as source and index, the obvious way."""
    out = b""
    for record in split(data):
        parts = bytearray(record.data)
        source, index = split_position(record.source_index)
        parts[24:32] = index.to_bytes(8, "little", signed=True)
        parts[36:38] = source.to_bytes(2, "little")
        good = int.from_bytes(parts[GAP_GOOD : GAP_GOOD + 8], "little", signed=True)
        if record.kind == Kind.GAP and good > 0:
            queue, good = split_position(good)
            parts[GAP_GOOD : GAP_GOOD + 8] = (good if queue == source else NONE).to_bytes(8, "little", signed=True)
        out += parts
    return out


def long_way(stream: RawStream) -> MemorySink:
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    machine.feed(stream.memory(), 0)
    machine.flush()
    return sink


def merged_long_way(stream: RawStream, config: EtlConfig | None = None) -> MemorySink:
    sink = MemorySink()
    machine = merging(pipeline(sink, config))
    machine.feed(stream.memory(), 0)
    machine.flush()
    return sink


def stored(home: Path) -> dict[str, bytes]:
    """Return the records of every clean queue, and the prologues of its segments."""
    found = {}
    for queue in LocalSource(home).queues("clean/"):
        found[queue] = b"".join(bytes(record.data) for record in queue_records(home, queue))
    return found


def prologues(home: Path, queue: str) -> list[dict[str, Any]]:
    source = LocalSource(home)
    return [source.open(queue, info.number).prologue() for info in source.segments(queue)]


@common
@given(st.one_of(scripts, busy), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from([0, 64, 128]))
def test_the_sweep_writes_what_the_long_way_writes(script: list[Any], sizes: list[int], slots: int) -> None:
    stream = _play(script)
    twin = long_way(stream)
    small: dict[str, Any] = {"LEVELS_MIN": 0, "SLOTS": slots, "RECENTRE_UPDATES": 4, "OVERFLOW_SHARE": 64}
    with (
        mock.patch.multiple(ladder, **small) if slots else nullcontext(),
        tempfile.TemporaryDirectory() as folder,
        QueueSink(Path(folder)) as sink,
    ):
        machine = pipeline(sink, CONFIG)
        position = turn = 0
        while position < len(stream.events):
            end = min(len(stream.events), position + sizes[turn % len(sizes)])
            machine.feed(stream.memory(position, end), stream.events[position][0])
            machine.flush()
            position, turn = end, turn + 1
        assert stored(Path(folder)) == twin.bytes()
        for queue in twin.queues:
            assert prologues(Path(folder), queue) == [prologue for _, prologue in twin.prologues[queue]]


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_the_first_event_of_a_day_begins_a_segment(beside: int, tmp_path: Path) -> None:
    """Also one that comes with the stroke of midnight."""
    stream = RawStream(20_000 * DAY_NS - 50_000_000 + beside)
    stream.define(1, instrument("kraken:BTC-EUR"))
    stream.snapshot(1, [(100, 1)], [(101, 1)])
    for turn in range(90):
        stream.deltas(1, (66, 90 + turn % 9, turn))
        out = stream.begin(step_ns=0)
        out.trade(1, 66, 100 + turn, 3, ts_event=stream.ts_recv)
        stream.end()
    twin = run(stream)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink)
        for event in range(0, len(stream.events), 20):
            machine.feed(stream.memory(event, event + 20), stream.events[event][0])
            machine.flush()
        assert stored(tmp_path) == twin.bytes()
        for queue in twin.queues:
            assert prologues(tmp_path, queue) == [prologue for _, prologue in twin.prologues[queue]]
        assert {queue: len(found) for queue, found in twin.prologues.items()} == dict.fromkeys(twin.queues, 2)


@common
@given(busy, st.data())
def test_a_shard_that_died_in_between_goes_on(script: list[Any], data: st.DataObject) -> None:
    stream = _play(script)
    with tempfile.TemporaryDirectory() as folder:
        stop = data.draw(st.integers(1, len(stream.events)), label="checkpoint")
        crash = data.draw(st.integers(stop, len(stream.events)), label="crash")
        with QueueSink(Path(folder)) as sink:
            machine = pipeline(sink, CONFIG)
            for event in range(stop):
                machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
            state = capture_state(machine)
            for event in range(stop, crash):
                machine.feed(stream.memory(event, event + 1), stream.events[event][0])
                if event % 3:
                    machine.flush()
        with QueueSink(Path(folder)) as sink:
            again = pipeline(sink, CONFIG)
            restore_state(again, state)
            for event in range(stop, len(stream.events)):
                again.feed(stream.memory(event, event + 1), stream.events[event][0])
                again.flush()
            assert stored(Path(folder)) == long_way(stream).bytes()


def test_queues_that_had_to_be_closed_are_opened_again(tmp_path: Path) -> None:
    stream = RawStream()
    for number in range(1, 9):
        stream.define(number, binance(f"binance:A{number}-USDT"))
        stream.snapshot(number, [(100, 1)], [(101, 1)], sequence=10)
    sequences = dict.fromkeys(range(1, 9), 10)
    for turn in range(40):
        for number in (1, 1 + turn % 8, 1 + turn % 3):
            sequences[number] += 1
            stream.deltas(number, (66, 90 + turn % 9, turn), first=sequences[number], last=sequences[number])
    with QueueSink(tmp_path) as sink:
        sink._open_max = 3
        machine = pipeline(sink, CONFIG)
        for event in range(len(stream.events)):
            machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
        assert len(sink._open) == 3
        assert sink.records_written == sum(len(queue_records(tmp_path, name)) for name in sink.queues())
    assert stored(tmp_path) == long_way(stream).bytes()


def test_the_sweep_knows_when_a_ladder_strays() -> None:
    assert kernel.RECENTRE_UPDATES == ladder.RECENTRE_UPDATES
    assert kernel.OVERFLOW_SHARE == ladder.OVERFLOW_SHARE


def test_plain_events_do_not_come_back_to_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RawStream()
    for number, symbol in ((1, "venue1:BTC-EUR"), (2, "venue2:BTC-EUR")):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(100, 1)], [(101, 1)])
    for turn in range(60):
        number = 1 + turn % 2
        stream.deltas(number, (66, 90 + turn % 9, turn))
        out = stream.begin()
        out.trade(number, 66, 100 + turn, 3, ts_event=stream.ts_recv)
        out.quote(number, 1, 2, 3, 4, ts_event=5)
        stream.end()
        stream.ts_recv += 700_000_000
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink)
        machine.feed(stream.memory(0, 20), 0)
        machine.flush()
        for kind in (BookStream, CandleStream, PlainStream):
            monkeypatch.setattr(kind, "take", None)
        for event in range(20, len(stream.events)):
            machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
        monkeypatch.undo()
        machine.settle()
        written = {item.outlet.queue: item.outlet.written for item in machine.streams.values()}
    twin = MemorySink()
    machine = pipeline(twin)
    machine.feed(stream.memory(), 0)
    machine.flush()
    assert stored(tmp_path) == twin.bytes()
    assert written == {queue: len(twin.records(queue)) for queue in twin.queues}


def test_what_queues_have_already_does_not_come_back_to_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = RawStream()
    for number, symbol in ((1, "venue1:BTC-EUR"), (2, "venue2:BTC-EUR")):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(100, 1)], [(101, 1)])
    for turn in range(400):
        number = 1 + turn % 2
        stream.deltas(number, (66, 90 + turn % 9, turn), (65, 200 + turn % 7, turn % 5))
        stream.begin().trade(number, 66, 100 + turn, 3, ts_event=stream.ts_recv)
        stream.end()
        stream.ts_recv += 700_000_000
    count = len(stream.events)
    taken: list[int] = []
    for kind in (BookStream, CandleStream, PlainStream):
        take = kind.take

        def counted(self: Any, block: Any, take: Any = take) -> None:
            taken.append(len(block))
            take(self, block)

        monkeypatch.setattr(kind, "take", counted)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink, CONFIG)
        machine.feed(stream.memory(0, 20), 0)
        machine.flush()
        state = capture_state(machine)
        machine.feed(stream.memory(20, count - 100), stream.events[20][0])
        machine.flush()
    taken.clear()
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink, CONFIG)
        restore_state(machine, state)
        for event in range(20, count, 10):
            machine.feed(stream.memory(event, min(event + 10, count)), stream.events[event][0])
            machine.flush()
        machine.settle()
        assert all(not item.outlet.surplus for item in machine.streams.values())
    assert sum(taken) < count // 10
    assert stored(tmp_path) == long_way(stream).bytes()


@pytest.mark.parametrize("rule", list(SequenceRule))
def test_what_stands_behind_a_book_is_the_same_under_every_rule(rule: SequenceRule, tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, instrument(sequence_rule=rule))
    stream.snapshot(1, [(100, 1)], [(101, 1)], sequence=10)
    for turn in range(30):
        step = 11 + turn
        previous = NONE if rule == SequenceRule.COUNT else step - 1
        stream.deltas(1, (66, 90 + turn % 9, 1 + turn), first=step, last=step, previous=previous)
    with QueueSink(tmp_path) as sink:
        machine = pipeline(sink, CONFIG)
        for event in range(len(stream.events)):
            machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
        (book,) = [item for item in machine.streams.values() if isinstance(item, BookStream)]
        assert book.row.ready
    assert stored(tmp_path) == long_way(stream).bytes()


@common
@given(st.one_of(scripts, busy), turns, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_merged_records_keep_their_queue_and_index(script: list[Any], queues: list[int], sizes: list[int]) -> None:
    stream = merged(_play(script), queues)
    twin = merged_long_way(stream, CONFIG)
    expected = {queue: told_apart(data) for queue, data in twin.bytes().items()}
    with tempfile.TemporaryDirectory() as folder, QueueSink(Path(folder)) as sink:
        sink.numbers = NUMBERS
        machine = merging(pipeline(sink, CONFIG))
        position = turn = 0
        while position < len(stream.events):
            end = min(len(stream.events), position + sizes[turn % len(sizes)])
            machine.feed(stream.memory(position, end), stream.events[position][0])
            machine.flush()
            position, turn = end, turn + 1
        assert stored(Path(folder)) == expected
        for queue in twin.queues:
            assert prologues(Path(folder), queue) == [prologue for _, prologue in twin.prologues[queue]]


@common
@given(busy, turns, st.data())
def test_a_merging_shard_that_died_goes_on(script: list[Any], queues: list[int], data: st.DataObject) -> None:
    stream = merged(_play(script), queues)
    expected = {queue: told_apart(records) for queue, records in merged_long_way(stream, CONFIG).bytes().items()}
    stop = data.draw(st.integers(1, len(stream.events)), label="checkpoint")
    crash = data.draw(st.integers(stop, len(stream.events)), label="crash")
    with tempfile.TemporaryDirectory() as folder:
        with QueueSink(Path(folder)) as sink:
            sink.numbers = NUMBERS
            machine = merging(pipeline(sink, CONFIG))
            for event in range(stop):
                machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
            state = capture_state(machine)
            for event in range(stop, crash):
                machine.feed(stream.memory(event, event + 1), stream.events[event][0])
                if event % 3:
                    machine.flush()
        with QueueSink(Path(folder)) as sink:
            sink.numbers = NUMBERS
            again = merging(pipeline(sink, CONFIG))
            restore_state(again, state)
            for event in range(stop, len(stream.events)):
                again.feed(stream.memory(event, event + 1), stream.events[event][0])
                again.flush()
            assert stored(Path(folder)) == expected


def test_plain_merged_events_do_not_come_back_to_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RawStream()
    for number, symbol in ((1, "venue1:BTC-EUR"), (2, "venue2:BTC-EUR")):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(100, 1)], [(101, 1)])
    for turn in range(60):
        number = 1 + turn % 2
        stream.deltas(number, (66, 90 + turn % 9, turn))
        stream.begin().trade(number, 66, 100 + turn, 3, ts_event=stream.ts_recv)
        stream.end()
        stream.ts_recv += 700_000_000
    stream = merged(stream, [0, 1, 1, 2, 0])
    with QueueSink(tmp_path) as sink:
        sink.numbers = NUMBERS
        machine = merging(pipeline(sink))
        machine.feed(stream.memory(0, 20), 0)
        machine.flush()
        for kind in (BookStream, CandleStream, PlainStream):
            monkeypatch.setattr(kind, "take", None)
        for event in range(20, len(stream.events)):
            machine.feed(stream.memory(event, event + 1), stream.events[event][0])
            machine.flush()
        monkeypatch.undo()
    twin = merged_long_way(stream)
    assert stored(tmp_path) == {queue: told_apart(data) for queue, data in twin.bytes().items()}
