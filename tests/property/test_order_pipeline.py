"""Books of orders through the pipeline: what a reader makes of the clean queue is the naive book, from wherever."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle.access.books.ladder import Ladder
from chronicle.core.layout import NONE, Action, Flag, GapState, Kind, SequenceRule, StatusCode
from chronicle.core.queue_settings import QueueSettings
from chronicle.core.records import InstrumentFields, Record, snapshot_orders
from chronicle.etl.config import EtlConfig
from chronicle.etl.shards.checkpoint import capture_state, restore_state
from tests.support.etl_streams import MemorySink, RawStream, instrument, pipeline, split
from tests.support.naive_orders import ASK, BID, NaiveOrders

CONFIG = EtlConfig(snapshot_deltas=9, snapshot_interval_ns=30_000_000)
QUEUE = "clean/cme/esm4/book.q"
SYMBOL = "cme:ESM4"
FLAGS = Flag.SNAPSHOT | Flag.MAYBE_BAD_BOOK

ids = st.integers(1, 9)
rows = st.tuples(
    st.sampled_from("AAAAAAAACCCCMMMTF"), ids, st.sampled_from([BID, ASK]), st.integers(1, 6), st.integers(1, 9)
)
steps = st.one_of(
    *[st.tuples(st.just("orders"), st.lists(rows, min_size=1, max_size=4), st.just(0), st.just(1))] * 6,
    st.tuples(st.just("orders"), st.lists(rows, min_size=1, max_size=2), st.sampled_from([4, 32]), st.just(1)),
    st.tuples(st.just("orders"), st.lists(rows, min_size=1, max_size=2), st.just(0), st.sampled_from([0, 2])),
    st.tuples(st.just("start"), st.lists(rows, max_size=6), st.sampled_from([0, 0, 32, 36])),
    st.tuples(st.just("start"), st.lists(rows, max_size=6), st.sampled_from([0, 0, 32])),
    st.tuples(st.just("lost")),
    st.tuples(st.just("decode")),
    st.tuples(st.just("redefine")),
    st.tuples(st.just("pause")),
    st.tuples(st.just("levels")),
)
scripts = st.lists(steps, max_size=40)
many = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


class Script:
    """Raw events of one instrument, and beside them what the obvious book says after each."""

    def __init__(self, script: list[Any], rule: int = SequenceRule.COUNT) -> None:
        self.stream, self.rule = RawStream(), rule
        self.fields: InstrumentFields = instrument(SYMBOL, driver=Kind.ORDER, sequence_rule=rule)
        self.stream.define(1, self.fields)
        self.naive = NaiveOrders()
        self.started = self.gap = self.lost = False
        self.sequence = 10
        self.states: dict[int, tuple[str, Any]] = {}
        """Status and orders after the raw event that begins at an index."""
        for step in script:
            getattr(self, "_" + step[0])(*step[1:])

    def _put(self, orders: list[Any], flags: int) -> None:
        out = self.stream.begin()
        for action, order_id, side, price, size in orders:
            values = {"action": ord(action), "ts_event": 1, "sequence": self.sequence, "flags": flags}
            out.order(1, side, order_id, price, size, **values)
        self.stream.end()

    def _orders(self, orders: list[Any], flags: int, step: int) -> None:
        self.sequence += step
        self._put(orders, flags)
        refused = [why for why in [self.naive.apply(*order) for order in orders] if why]
        if self.started and not self.gap:
            jumped = self.rule == SequenceRule.COUNT and step > 1
            self.gap = bool(refused or flags & Flag.MAYBE_BAD_BOOK or jumped or self.lost)
        self.lost = False
        self._note()

    def _start(self, orders: list[Any], flags: int) -> None:
        self.sequence += 1
        orders = [("R", 0, 0, 0, 0), *orders]
        self._put(orders, flags)
        refused = [why for why in [self.naive.apply(*order) for order in orders] if why]
        if flags & Flag.MAYBE_BAD_BOOK or refused:
            self.gap = self.gap or self.started
        else:
            self.started, self.gap = True, False
        self.lost = False
        self._note()

    def _lost(self) -> None:
        self.stream.status(StatusCode.DISCONNECTED, reason="test")
        self.lost = (self.started and not self.gap) or self.lost

    def _decode(self) -> None:
        self.stream.status(StatusCode.DECODE_ERROR, number=1, channel="book")
        if self.started and not self.gap:
            self.gap, self.lost = True, False

    def _redefine(self) -> None:
        more = self.fields.price_exponent + 1
        if more > 8:
            return
        self.fields = instrument(SYMBOL, driver=Kind.ORDER, sequence_rule=self.rule, price_exponent=more)
        self.stream.define(1, self.fields)
        for row in self.naive.rows:
            row[2] *= 10

    def _pause(self) -> None:
        self.stream.ts_recv += 40_000_000

    def _levels(self) -> None:
        self.stream.deltas(1, (BID, 3, 3))

    def _note(self) -> None:
        index = self.stream.events[-1][0]
        bids, asks = self.naive.levels(BID), self.naive.levels(ASK)
        status = "crossed" if bids and asks and bids[0][0] > asks[0][0] else "ok"
        status = "unverified" if not self.started else "gap" if self.gap else status
        self.states[index] = (status, [self.naive.orders(side) for side in (BID, ASK)])


def resting(ladder: Ladder) -> list[Any]:
    assert ladder.orders is not None
    return [[(o.order_id, o.price, o.size, o.ahead) for o in ladder.orders.orders(side)] for side in ("bid", "ask")]


def walk(events: list[bytes], ladder: Ladder) -> Iterator[tuple[list[Record], str, Any]]:
    """Yield the records of each event, and status and orders after it, as a reader comes to them."""
    for data in events:
        records = list(split(data))
        for record in records:
            ladder.apply(record)
        yield records, ladder.status().name.lower(), resting(ladder) if ladder.orders is not None else []


def whole(stream: RawStream) -> MemorySink:
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    machine.feed(stream.memory(), 0)
    machine.flush()
    return sink


@many
@given(scripts, st.sampled_from([SequenceRule.COUNT, SequenceRule.CONNECTION, SequenceRule.NONE]))
def test_a_reader_has_the_naive_book_and_its_trust_after_every_event(script: list[Any], rule: int) -> None:
    told = Script(script, rule)
    events = whole(told.stream).queues.get(QUEUE, [])
    seen = 0
    for records, status, orders in walk(events, Ladder()):
        if records[0].kind == Kind.ORDER:
            assert (status, orders) == told.states[records[0].source_index]
            raw = dict(told.stream.events)[records[0].source_index]
            assert [bytes(record.body) for record in records] == [bytes(record.body) for record in split(raw)]
            seen += 1
    assert seen == len(told.states)


@many
@given(scripts)
def test_snapshots_restate_the_book_and_a_reader_may_begin_at_any_of_them(script: list[Any]) -> None:
    told = Script(script)
    with mock.patch.object(QueueSettings, "capacity", return_value=3_000):
        sink = whole(told.stream)
    events = sink.queues.get(QUEUE, [])
    states = [(Ladder().status().name.lower(), [[], []])]
    states += [(status, orders) for _, status, orders in walk(events, Ladder())]
    opened = dict(sink.prologues.get(QUEUE, []))
    for number, data in enumerate(events):
        records = list(split(data))
        kinds = [record.kind for record in records]
        begins = Kind.BOOK_SNAPSHOT in kinds
        if begins:
            at = kinds.index(Kind.BOOK_SNAPSHOT)
            assert kinds[at + 1 :] == [Kind.ORDER_SNAPSHOT]
            assert all(record.flags & Flag.SNAPSHOT for record in records[at:])
            if at == 0:  # none that comes with a redefinition: the book is the one before
                assert states[number] == states[number + 1]
            bids, asks = snapshot_orders(records[at + 1].body)
            assert [[row[:3] for row in side] for side in states[number + 1][1]] == [bids, asks]
        if begins or number in opened:
            ladder = Ladder(InstrumentFields.unpack(definition_before(events, number).body))
            if number in opened:
                prologue = opened[number]
                assert (prologue["book"] is None) == (prologue["orders"] is None)
                if prologue["book"] is None:
                    continue
                ladder.open_with(Record(prologue["book"]), [Record(data) for data in prologue["orders"]])
                assert resting(ladder) == states[number][1]
            after = [(status, orders) for _, status, orders in walk(events[number:], ladder)]
            assert after == states[number + 1 :]


def definition_before(events: list[bytes], number: int) -> Record:
    found = [r for data in events[: number + 1] for r in split(data) if r.kind == Kind.INSTRUMENT]
    return found[-1]


@many
@given(scripts, st.lists(st.integers(1, 7), max_size=30))
def test_batch_sizes_change_nothing(script: list[Any], sizes: list[int]) -> None:
    stream = Script(script).stream
    sink, at = MemorySink(), 0
    machine = pipeline(sink, CONFIG)
    for size in [*sizes, len(stream.events)]:
        if at < len(stream.events):
            machine.feed(stream.memory(at, at + size), stream.events[at][0])
            machine.flush()
            at += size
    assert sink.bytes() == whole(stream).bytes()


@many
@given(scripts, st.data())
def test_crash_and_restart_change_nothing(script: list[Any], data: st.DataObject) -> None:
    stream = Script(script).stream
    stop = data.draw(st.integers(0, len(stream.events)), label="checkpoint")
    sink = MemorySink()
    machine = pipeline(sink, CONFIG)
    if stop:
        machine.feed(stream.memory(0, stop), 0)
        machine.flush()
    state = copy.deepcopy(capture_state(machine))
    written = {queue: len(events) for queue, events in sink.queues.items()}
    crash = data.draw(st.integers(stop, len(stream.events)), label="crash")
    if crash > stop:
        machine.feed(stream.memory(stop, crash), stream.events[stop][0])
        machine.flush()
    for queue in sorted(sink.queues):
        sink.cut(queue, data.draw(st.integers(written.get(queue, 0), len(sink.queues[queue])), label=queue))
    again = pipeline(sink, CONFIG)
    checkpoint = data.draw(st.booleans(), label="use the checkpoint")
    if checkpoint:
        restore_state(again, state)
    start = stop if checkpoint else 0
    if start < len(stream.events):
        again.feed(stream.memory(start), stream.events[start][0])
        again.flush()
    assert sink.bytes() == whole(stream).bytes()


def test_gaps_say_why_and_end_with_the_next_clear() -> None:
    told = Script(
        [
            ("start", [("A", 1, BID, 5, 5)], 0),
            ("orders", [("C", 9, BID, 5, 5)], 0, 1),  # nobody knows order 9
            ("orders", [("A", 2, BID, 4, 5)], 0, 1),
            ("start", [], 0),
            ("orders", [("A", 1, BID, 5, 5)], 4, 1),  # the feed doubts it
            ("start", [], 36),  # and this start too
            ("start", [], 32),
            ("lost",),
            ("orders", [("A", 1, BID, 5, 5)], 0, 1),
        ],
        SequenceRule.CONNECTION,
    )
    records = whole(told.stream).records(QUEUE)
    gaps = [record.fields() for record in records if record.kind == Kind.GAP]
    assert [(gap["cause"], gap["state"]) for gap in gaps] == [
        (7, GapState.OPEN),
        (7, GapState.CLOSED),
        (1, GapState.OPEN),
        (1, GapState.CLOSED),
        (3, GapState.OPEN),
    ]
    flags = [record.flags & Flag.MAYBE_BAD_BOOK for record in records if record.kind == Kind.ORDER]
    assert [bool(flag) for flag in flags] == [False, False, True, True, False, True, True, False, True]


def test_an_instrument_may_change_what_drives_its_book() -> None:
    stream = RawStream()
    stream.define(1, instrument(SYMBOL))
    stream.snapshot(1, [(5, 5)], [(6, 6)])
    stream.define(1, instrument(SYMBOL, driver=Kind.ORDER))
    out = stream.begin()
    for number, (action, side, price) in enumerate(
        [(Action.CLEAR, 0, 0), (Action.ADD, BID, 4), (Action.ADD, ASK, 7)]
    ):
        out.order(1, side, number, price, 2, action=action, ts_event=1)
    stream.end()
    stream.define(1, instrument(SYMBOL))
    stream.snapshot(1, [(3, 3)], [])
    events = whole(stream).queues[QUEUE]
    ladder = Ladder()
    told = [(ladder.status().name, ladder.levels.depth(9)) for _ in walk_levels(events, ladder)]
    assert told == [
        ("UNVERIFIED", ([], [])),
        ("OK", ([(5, 5)], [(6, 6)])),
        ("UNVERIFIED", ([], [])),
        ("OK", ([(4, 2)], [(7, 2)])),
        ("UNVERIFIED", ([], [])),
        ("OK", ([(3, 3)], [])),
    ]
    assert NONE not in [next(iter(split(event))).source_index for event in events]


def walk_levels(events: list[bytes], ladder: Ladder) -> Iterator[None]:
    for data in events:
        for record in split(data):
            ladder.apply(record)
        yield
