"""The pipeline against the naive ETL, and against itself: batch sizes, restarts and crashes change nothing."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle.core.layout import CheckRule, SequenceRule, StatusCode
from chronicle.core.paths import clean_queue
from chronicle.core.records import InstrumentFields
from chronicle.etl.books import ladder
from chronicle.etl.books.checks import checksum
from chronicle.etl.config import EtlConfig
from chronicle.etl.shards.checkpoint import capture_state, restore_state
from tests.support.etl_streams import ASK, BID, MemorySink, RawStream, follow, instrument, pipeline, split
from tests.support.naive_etl import NaiveBook, NaiveEtl, summary

CONFIG = EtlConfig(snapshot_deltas=7, snapshot_interval_ns=40_000_000)
RULES = (SequenceRule.NONE, SequenceRule.BINANCE_SPOT, SequenceRule.OKX_V5, SequenceRule.BINANCE_FUTURES)

levels = st.lists(
    st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=4
)
sides = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 9)), max_size=4, unique_by=lambda level: level[0])
numbers = st.integers(1, 4)
sources = st.sampled_from([1, 1, 1, 2])
SECOND = 1_000_000_000
offsets = st.sampled_from([0, 0, 0, -1, 5, 1, 2, 3, -2, -3, -61, -901, 61, 901, 3600, 3601, -9999])
"""Seconds by which a trade's own time differs from its receipt."""
steps = st.one_of(
    st.tuples(
        st.just("deltas"), numbers, sources, levels, st.sampled_from([0, 0, 0, 0, 0, 1, 3, -1]), st.integers(0, 9)
    ),
    st.tuples(
        st.just("deltas"), numbers, sources, levels, st.sampled_from([0, 0, 0, 0, 0, 1, 3, -1]), st.integers(0, 9)
    ),
    st.tuples(
        st.just("snapshot"), numbers, st.sampled_from([0, 1, 1, 2]), sides, sides, st.sampled_from([-3, 0, 0, 2])
    ),
    st.tuples(st.just("quote"), numbers, sources),
    st.tuples(st.just("trade"), numbers, sources, offsets, st.integers(-2, 9), st.integers(0, 2**62)),
    st.tuples(st.just("trade"), numbers, sources, offsets, st.integers(-2, 9), st.integers(0, 5)),
    st.tuples(st.just("disconnect"), sources),
    st.tuples(st.just("capture")),
    st.tuples(st.just("redefine"), numbers),
    st.tuples(st.just("decode"), numbers, sources),
    st.tuples(st.just("pause")),
)


class Script:
    """Turns drawn steps into a raw stream with sequences that mostly follow one another."""

    def __init__(self) -> None:
        self.stream = RawStream()
        self.naive = NaiveEtl(CONFIG.snapshot_interval_ns, CONFIG.snapshot_deltas)
        self.followed = 0
        self.fields: dict[int, InstrumentFields] = {}
        self.sequence = dict.fromkeys((1, 2, 3, 4), 100)
        for number, rule in enumerate(RULES, 1):
            self.fields[number] = instrument(
                f"venue{number}:BTC-EUR",
                sequence_rule=rule,
                check_rule=CheckRule.OKX_V5,
                book_depth=4 if number != 2 else 0,
            )
            self.stream.define(number, self.fields[number])
        self.follow()

    def play(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])
        self.follow()

    def follow(self) -> None:
        for base, data in self.stream.events[self.followed :]:
            records = list(split(data))
            for offset, record in enumerate(records):
                record.index = base + offset
            self.naive.event(records)
        self.followed = len(self.stream.events)

    def deltas(self, number: int, source: int, rows: list[Any], slip: int, check: int) -> None:
        last = self.sequence[number]
        rule = RULES[number - 1]
        values: dict[str, Any] = {}
        if rule == SequenceRule.BINANCE_SPOT:
            values = {"first": last + 1 + slip, "last": last + 2 + slip}
        elif rule == SequenceRule.BINANCE_FUTURES:
            values = {"first": last + 3 + slip, "previous": last + slip, "last": last + 4 + slip}
        elif rule == SequenceRule.OKX_V5:
            values = {"previous": last + slip, "last": last + 2 + slip}
        if values and slip >= 0:
            self.sequence[number] = values["last"]
        if check >= 5:
            values["check"] = check if check == 9 else self.checksum_after(number, source, rows)
        self.stream.deltas(number, *rows, source=source, **values)

    def checksum_after(self, number: int, source: int, rows: list[Any]) -> int:
        """Return what the venue would state, by the naive book of the line."""
        fields = self.fields[number]
        rank = self.naive.ranks.get((fields.symbol, "book"), {}).get(source, 0)
        held = self.naive.books.get(clean_queue(fields.symbol, "book", 1000 * rank))
        book = NaiveBook(fields) if held is None else copy.deepcopy(held)
        for row in rows:
            book.set(*row)
        book.cut()
        return checksum(CheckRule.OKX_V5, book.book(), fields) or 0

    def snapshot(self, number: int, source: int, bids: list[Any], asks: list[Any], shift: int) -> None:
        self.stream.snapshot(number, bids, asks, source=source, sequence=self.sequence[number] + shift)

    def quote(self, number: int, source: int) -> None:
        self.stream.begin(source).quote(number, 1, 2, 3, 4, ts_event=5)
        self.stream.end()

    def trade(self, number: int, source: int, offset: int, price: int, size: int) -> None:
        out = self.stream.begin(source)
        ts_event = self.stream.ts_recv + offset * SECOND
        out.trade(number, BID if size % 2 else ASK, price, size, ts_event=ts_event, trade_id=6)
        if price == 3:
            out.trade(number, BID, price + 1, 1, ts_event=ts_event + SECOND, trade_id=7)
        self.stream.end()

    def disconnect(self, source: int) -> None:
        self.stream.status(StatusCode.DISCONNECTED, source=source, reason="test")

    def capture(self) -> None:
        self.stream.status(StatusCode.CAPTURE_START, source=0, capture="test")

    def redefine(self, number: int) -> None:
        old = self.fields[number]
        if old.price_exponent < 6:
            values = {name: getattr(old, name) for name in InstrumentFields.__slots__}
            self.fields[number] = InstrumentFields(**(values | {"price_exponent": old.price_exponent + 1}))
        self.stream.define(number, self.fields[number])

    def decode(self, number: int, source: int) -> None:
        self.stream.status(StatusCode.DECODE_ERROR, source=source, number=number, channel="book")

    def pause(self) -> None:
        self.stream.ts_recv += 50_000_000


def _play(script: list[Any]) -> RawStream:
    return _script(script).stream


def _script(script: list[Any]) -> Script:
    played = Script()
    for step in script:
        played.play(step)
    return played


def _whole(stream: RawStream) -> MemorySink:
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    machine.feed(stream.memory(), 0)
    machine.flush()
    return sink


scripts = st.lists(steps, min_size=1, max_size=60)
common = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@common
@given(scripts)
def test_pipeline_says_what_the_naive_etl_says(script: list[Any]) -> None:
    played = _script(script)
    sink = _whole(played.stream)
    assert sorted(sink.queues) == sorted(played.naive.out)
    for queue, wanted in played.naive.out.items():
        assert summary(sink.records(queue)) == wanted, queue


@common
@given(scripts, st.sampled_from([64, 128]))
def test_books_in_ladders_say_the_same(script: list[Any], slots: int) -> None:
    played = _script(script)
    with mock.patch.multiple(ladder, LEVELS_MIN=0, SLOTS=slots, RECENTRE_UPDATES=4, OVERFLOW_SHARE=64):
        sink = _whole(played.stream)
    for queue, wanted in played.naive.out.items():
        assert summary(sink.records(queue)) == wanted, queue


@common
@given(scripts)
def test_a_reader_comes_to_the_same_trust_as_the_injected_snapshots_say(script: list[Any]) -> None:
    sink = _whole(_play(script))
    for queue in sink.queues:
        if "/book" in queue:
            for _ in follow(sink.records(queue)):
                pass


@common
@given(scripts, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_batch_size_changes_nothing(script: list[Any], sizes: list[int]) -> None:
    stream = _play(script)
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    position = turn = 0
    while position < len(stream.events):
        end = min(len(stream.events), position + sizes[turn % len(sizes)])
        machine.feed(stream.memory(position, end), stream.events[position][0])
        machine.flush()
        position, turn = end, turn + 1
    assert sink.bytes() == _whole(stream).bytes()


@common
@given(scripts, st.data())
def test_crash_and_restart_change_nothing(script: list[Any], data: st.DataObject) -> None:
    stream = _play(script)
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    stop = data.draw(st.integers(0, len(stream.events)), label="checkpoint")
    if stop:
        machine.feed(stream.memory(0, stop), 0)
        machine.flush()
    state = capture_state(machine)
    written = {queue: len(events) for queue, events in sink.queues.items()}
    crash = data.draw(st.integers(stop, len(stream.events)), label="crash")
    if crash > stop:
        machine.feed(stream.memory(stop, crash), stream.events[stop][0])
        machine.flush()
    for queue in sorted(sink.queues):
        kept = data.draw(st.integers(written.get(queue, 0), len(sink.queues[queue])), label=queue)
        sink.cut(queue, kept)
    again = pipeline(sink, CONFIG)
    use_checkpoint = data.draw(st.booleans(), label="use the checkpoint")
    if use_checkpoint:
        restore_state(again, state)
    start = stop if use_checkpoint else 0
    if start < len(stream.events):
        again.feed(stream.memory(start), stream.events[start][0])
        again.flush()
    assert sink.bytes() == _whole(stream).bytes()
