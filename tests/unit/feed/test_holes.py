"""Holes in the venues' numbers, counted over windows of raw records: against a plain walk over the same records."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, Kind, Origin, SequenceRule, Side, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, Record, SnapshotFields
from chronicle.core.sequencing import BUFFERING_RULES
from chronicle.feed.holes import HoleCounts

RULES = {
    1: SequenceRule.COUNT,
    2: SequenceRule.BINANCE_SPOT,
    3: SequenceRule.BINANCE_FUTURES,
    4: SequenceRule.OKX_V5,
    5: SequenceRule.GROWING,
    6: SequenceRule.NONE,
}


class Stream:
    """A raw queue written by hand."""

    def __init__(self, path: Path) -> None:
        self.queue = Queue.create(path, segment_bytes=1 << 20)
        self.out = EventBuilder()
        self.ts = 1
        self.appender = self.queue.appender()

    def add(self, source: int, make: Callable[[EventBuilder], None]) -> None:
        self.ts += 1
        self.out.begin(self.ts, source=source)
        make(self.out)
        data, count = self.out.take()
        self.appender.append_event(data, count)

    def define(self) -> None:
        for number, rule in RULES.items():
            details = {"symbol": f"x:S{number}", "venue": "x", "venue_symbol": f"S{number}"}
            fields = InstrumentFields(price_exponent=0, size_exponent=0, sequence_rule=rule, details=details)
            self.add(1, lambda out, n=number, f=fields: out.instrument(n, f))  # type: ignore[misc]

    def delta(self, source: int, number: int, sequence: int, first: int = NONE, previous: int = NONE) -> None:
        def make(out: EventBuilder) -> None:
            for price in range(2):  # a message of two levels is one step of the numbers
                out.delta(
                    *(number, Side.BID, price, 1),
                    ts_event=1,
                    sequence=sequence,
                    sequence_first=first,
                    sequence_previous=previous,
                )

        self.add(source, make)

    def snapshot(self, source: int, number: int, sequence: int) -> None:
        fields = SnapshotFields([(1, 1)], [(2, 1)], Origin.VENUE)
        self.add(source, lambda out: out.snapshot(number, fields, ts_event=1, sequence=sequence))

    def status(self, source: int, code: StatusCode) -> None:
        self.add(source, lambda out: out.status(code, {"line": "x"}))

    def counted(self, max_bytes: int = 1 << 20) -> Counter[tuple[int, int]]:
        counts, tailer = HoleCounts({}), self.queue.tailer()
        while (window := tailer.next_window(max_bytes)) is not None:
            counts.take(window)
        return counts.holes

    def naive(self) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        last: dict[tuple[int, int], int] = {}
        for record in self.queue.tailer().drain():
            if record.kind == Kind.STATUS:
                last = {key: value for key, value in last.items() if record.source and key[0] != record.source}
                continue
            rule = RULES.get(record.instrument, SequenceRule.NONE)
            is_book = record.kind in (Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT)
            if not is_book or record.sequence == NONE or rule == SequenceRule.NONE:
                continue
            if record.kind == Kind.BOOK_SNAPSHOT and rule in BUFFERING_RULES:
                continue
            key = record.source, record.instrument
            before = last.get(key, NONE)
            last[key] = record.sequence
            if before != NONE and record.kind == Kind.BOOK_DELTA and record.sequence != before:
                found[key] += broken(rule, before, record)
        return +found


def broken(rule: int, last: int, record: Record) -> bool:
    fields: dict[str, Any] = record.fields()
    return {
        SequenceRule.COUNT: record.sequence != last + 1,
        SequenceRule.BINANCE_SPOT: fields["sequence_first"] > last + 1,
        SequenceRule.BINANCE_FUTURES: fields["sequence_previous"] > last,
        SequenceRule.OKX_V5: fields["sequence_previous"] not in (NONE, last),
        SequenceRule.GROWING: record.sequence < last,
    }[SequenceRule(rule)]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    made = Stream(tmp_path / "raw.q")
    made.define()
    yield made
    made.appender.close()


def test_each_rule_s_hole_is_one_of_its_stream(stream: Stream) -> None:
    for number in (1, 2, 3, 4, 5, 6):
        for sequence in (10, 11, 12, 15, 16):  # 13 and 14 never came
            previous = sequence - 1
            stream.delta(1, number, sequence, first=sequence, previous=previous)
    assert stream.counted() == {(1, 1): 1, (1, 2): 1, (1, 3): 1, (1, 4): 1}, "GROWING and NONE cannot tell"
    stream.delta(2, 5, 20)
    stream.delta(2, 5, 19)
    assert stream.counted()[2, 5] == 1, "out of order"


def test_a_connection_and_a_snapshot_begin_the_numbers_anew(stream: Stream) -> None:
    stream.delta(1, 1, 10)
    stream.status(1, StatusCode.DISCONNECTED)
    stream.status(1, StatusCode.CONNECTED)
    stream.delta(1, 1, 50)
    stream.delta(2, 1, 7)
    stream.snapshot(1, 1, 90)
    stream.delta(1, 1, 91)
    stream.delta(1, 2, 100, first=96)
    stream.snapshot(1, 2, 93)  # over HTTP, of the past
    stream.delta(1, 2, 105, first=101)
    stream.status(0, StatusCode.CAPTURE_START)
    stream.delta(2, 1, 300)
    assert stream.counted() == {}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_bytes", [1 << 12, 1 << 20])
def test_windows_count_as_a_walk_over_the_records_does(stream: Stream, seed: int, max_bytes: int) -> None:
    rng = random.Random(seed)
    last = {(source, number): 100 for source in (1, 2) for number in RULES}
    for _ in range(1_500):
        source, number = rng.choice((1, 2)), rng.choice(list(RULES))
        step = rng.choice((1, 1, 1, 1, 1, 0, 3, -2))
        before, after = last[source, number], last[source, number] + step
        last[source, number] = after
        chance = rng.random()
        if chance < 0.01:
            stream.status(source, rng.choice((StatusCode.CONNECTED, StatusCode.DISCONNECTED)))
        elif chance < 0.03:
            stream.snapshot(source, number, after)
        else:
            skipped = rng.random() < 0.05
            stream.delta(source, number, after, first=before + 1 + 4 * skipped, previous=before + 4 * skipped)
    found = stream.counted(max_bytes)
    assert found == stream.naive()
    assert sum(found.values()) > 20
