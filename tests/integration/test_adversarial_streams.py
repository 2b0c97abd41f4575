"""Streams that no venue should send, and some do: huge, contradictory, out of order, cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.core.compare import compare_queue
from chronicle.core.errors import CorruptionError, RecordError
from chronicle.core.layout import (
    INT64_MAX,
    NONE,
    Cause,
    Flag,
    GapState,
    Kind,
    Origin,
    SequenceRule,
    StatusCode,
)
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.etl import EtlConfig, run_shard
from tests.support.both_ways import both_ways, swept
from tests.support.etl_streams import (
    ASK,
    BID,
    MemorySink,
    RawStream,
    binance,
    final,
    instrument,
    pipeline,
    queue_records,
    status_word,
    statuses,
)

BOOK = "clean/kraken/btc_eur/book.q"
BINANCE = "clean/binance/btc_usdt/book.q"


def _write(home: Path, stream: RawStream, first: int = 0, end: int | None = None) -> None:
    name = "raw/main.q"
    indexes = [index for index, _ in stream.events] + [stream.next_index]
    with Queue.create(home / name, name=name, segment_bytes=1 << 22, exist_ok=True).appender() as appender:
        for number, (index, data) in list(enumerate(stream.events))[first:end]:
            appender.append_event(data, indexes[number + 1] - index)


def test_a_million_levels_stand_in_segments_that_explain_themselves(tmp_path: Path) -> None:
    half = 500_000
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(10, 1)], [(half + 100, 1)])
    stream.deltas(1, (BID, 11, 1))
    bids = [(price, 1 + price % 7) for price in range(half, 0, -1)]
    asks = [(price, 1 + price % 5) for price in range(half + 1, 2 * half + 1)]
    stream.snapshot(1, bids, asks)
    for number in range(40):
        stream.deltas(1, (BID, half - number, 0), (ASK, half + 1 + number, 9))
    config = EtlConfig(snapshot_deltas=30)
    once, often = tmp_path / "once", tmp_path / "often"
    _write(once, stream)
    run_shard(once, drain=True, config=config)
    for first in range(0, len(stream.events), 9):
        _write(often, stream, first, first + 9)
        run_shard(often, drain=True, config=config, window_bytes=1 << 16)
    assert compare_queue(LocalSource(once), LocalSource(often), BOOK) is None
    source = LocalSource(once)
    infos = source.segments(BOOK)
    assert len(infos) > 2
    for info in infos[1:]:
        view = source.open(BOOK, info.number)
        assert view.prologue()["book"] is not None, f"segment {info.number} begins without its book"
        view.close()
    with chronicle.open(once) as store:
        book = store.book("kraken:BTC-EUR", depth=3)
        assert book.status == "ok"
        assert [int(level[0] * 100) for level in book.bids] == [half - 40, half - 41, half - 42]


def test_what_an_int64_can_say_is_kept_and_more_is_a_gap() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, INT64_MAX), (-5, 3)], [(INT64_MAX, INT64_MAX)])
    stream.deltas(1, (BID, 99, INT64_MAX), (ASK, INT64_MAX - 1, 1))
    records = both_ways(stream).records(BOOK)
    book, trust = final(records)
    assert status_word(book, trust) == "ok"
    assert book.depth(5) == (
        [(100, INT64_MAX), (99, INT64_MAX), (-5, 3)],
        [(INT64_MAX - 1, 1), (INT64_MAX, INT64_MAX)],
    )
    stream.define(1, instrument(price_exponent=4, size_exponent=5))
    records = both_ways(stream).records(BOOK)
    assert [record.fields()["cause"] for record in records if record.kind == Kind.GAP] == [Cause.DECODE]
    assert statuses(records)[-1] == "gap", "sizes that the new numbers cannot say are not guessed"
    stream.snapshot(1, [(10_000, 5)], [(10_100, 6)])
    assert statuses(both_ways(stream).records(BOOK))[-1] == "ok"


@pytest.mark.parametrize("in_snapshot", [False, True])
def test_a_negative_size_is_counted_and_a_gap(in_snapshot: bool) -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    stream.deltas(1, (BID, 99, 1))
    if in_snapshot:
        stream.snapshot(1, [(100, 5), (99, -5)], [(101, 5)])
    else:
        stream.deltas(1, (BID, 98, 1), (BID, 99, -5))
    stream.deltas(1, (ASK, 102, 1))
    sink = MemorySink()
    machine = pipeline(sink)
    machine.feed(stream.memory(), 0)
    machine.flush()
    assert machine.books()[0][1].counts == {"negative_sizes": 1, "gaps": 1}
    gaps = [record.fields() for record in sink.records(BOOK) if record.kind == Kind.GAP]
    assert [(gap["cause"], gap["state"]) for gap in gaps] == [(Cause.DECODE, GapState.OPEN)]
    assert statuses(sink.records(BOOK))[-1] == "gap"
    for at_once in (1, len(stream.events)):
        found, other = swept(stream, at_once=at_once)
        assert found == sink.bytes()
        assert other.books()[0][1].counts == {"negative_sizes": 1, "gaps": 1}
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    assert statuses(both_ways(stream).records(BOOK))[-1] == "ok"


def test_updates_of_an_instrument_that_nobody_defined_stop_the_shard_before_it_writes(tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    stream.deltas(7, (BID, 1, 1))
    sink = MemorySink()
    with pytest.raises(RecordError, match="instrument 7, which no INSTRUMENT record defines"):
        pipeline(sink).feed(stream.memory(), 0)
    assert sink.queues == {}
    _write(tmp_path, stream)
    with pytest.raises(RecordError, match="instrument 7, which no INSTRUMENT record defines"):
        run_shard(tmp_path, drain=True)
    assert LocalSource(tmp_path).queues("clean/") == []


def test_ticks_that_change_between_deltas_keep_every_level(tmp_path: Path) -> None:
    stream, generator = RawStream(), np.random.default_rng(5)
    stream.define(1, instrument(price_exponent=1, size_exponent=1))
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    exact: dict[tuple[int, int], int] = {(int(BID), 10**9): 5 * 10**7, (int(ASK), 101 * 10**7): 5 * 10**7}
    exponent = 1
    for number in range(300):
        if number % 60 == 59:
            exponent += 1
            stream.define(1, instrument(price_exponent=exponent, size_exponent=exponent))
        scale = 10 ** (8 - exponent)
        side = BID if generator.random() < 0.5 else ASK
        price = int(generator.integers(1, 100) if side == BID else generator.integers(101, 200)) * 10 ** (
            exponent - 1
        )
        size = 0 if generator.random() < 0.3 else int(generator.integers(1, 9))
        stream.deltas(1, (side, price, size))
        exact.pop((int(side), price * scale), None)
        if size:
            exact[int(side), price * scale] = size * scale
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True, config=EtlConfig(snapshot_deltas=40), window_bytes=4096)
    book, trust = final(queue_records(tmp_path, BOOK))
    assert status_word(book, trust) == "ok"
    found = {
        (side, price * scale): size * scale
        for side, levels in zip((int(BID), int(ASK)), book.depth(1 << 40), strict=True)
        for price, size in levels
    }
    assert found == exact


def test_a_clock_that_steps_back_is_clamped_and_every_queue_stays_in_order(tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    for number in range(60):
        stream.ts_recv += -90_000_000_000 if number % 7 == 3 else 13_000_000_000
        stream.deltas(1, (BID, 50 + number, 1))
        stream.begin().trade(1, BID, 100, 1, ts_event=10**12 - number * 10**9)
        stream.end()
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True, config=EtlConfig(snapshot_deltas=10))
    for queue in ["raw/main.q", *LocalSource(tmp_path).queues("clean/")]:
        times = [record.ts_recv for record in queue_records(tmp_path, queue)]
        assert times == sorted(times), queue
    records = queue_records(tmp_path, BOOK)
    assert any(record.flags & Flag.BAD_TS_RECV for record in records if record.kind == Kind.BOOK_DELTA)
    assert final(records)[0].depth(1)[0] == [(109, 1)]


def test_the_same_snapshot_twice_changes_nothing() -> None:
    stream = RawStream()
    stream.define(1, binance())
    for repeat in range(3):
        stream.snapshot(1, [(100, 5)], [(101, 5)], sequence=10)
        if repeat == 1:
            stream.deltas(1, (BID, 99, 1), first=11, last=12)
    stream.deltas(1, (BID, 98, 1), first=13, last=13)
    records = both_ways(stream).records(BINANCE)
    assert not [record for record in records if record.kind == Kind.GAP]
    book, trust = final(records)
    assert (status_word(book, trust), book.depth(9)[0]) == ("ok", [(100, 5), (99, 1), (98, 1)])
    stream.snapshot(1, [(100, 6)], [(101, 5)], sequence=13)  # the venue's word on where the book stands
    book, trust = final(both_ways(stream).records(BINANCE))
    assert (status_word(book, trust), book.depth(9)[0]) == ("ok", [(100, 6)])
    plain = RawStream()
    plain.define(1, instrument())
    for _ in range(3):
        plain.snapshot(1, [(100, 5)], [(101, 5)])
    assert set(statuses(both_ways(plain).records(BOOK))[1:]) == {"ok"}


def test_records_dropped_inside_a_snapshot_leave_no_trust() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    out = stream.begin()
    out.snapshot(1, SnapshotFields([(90, 1)], [(91, 1)], Origin.VENUE), ts_event=1)
    out.gap(0, Cause.DROPPED, GapState.OPEN, last_good_ts=NONE)
    out.delta(1, BID, 89, 1, ts_event=1)
    stream.end()
    stream.deltas(1, (BID, 88, 1))
    records = both_ways(stream).records(BOOK)
    assert statuses(records)[-1] == "gap"
    assert final(records)[0].depth(9)[0] == [(90, 1), (89, 1), (88, 1)]
    buffered = RawStream()
    buffered.define(1, binance())
    buffered.deltas(1, (BID, 99, 1), first=8, last=9)
    buffered.deltas(1, (BID, 98, 1), first=12, last=13)  # a hole among the diffs that wait for the snapshot
    buffered.snapshot(1, [(100, 5)], [(101, 5)], sequence=8)
    assert "ok" not in statuses(both_ways(buffered).records(BINANCE))


def test_a_stream_that_ends_inside_an_event_is_refused_or_waited_for(tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(100, 5)], [(101, 5)])
    stream.deltas(1, (BID, 99, 1), (BID, 98, 1), (ASK, 102, 1))
    stream.status(StatusCode.CONNECTED)
    for cut in (8, 48, 96, 200):
        with pytest.raises((CorruptionError, RecordError)):
            _feed_cut(stream.memory(0, 3), cut)
    _write(tmp_path, stream, 0, 2)
    name = "raw/main.q"
    with Queue.open(tmp_path / name, name=name).appender() as appender:
        data = bytearray(stream.events[2][1])
        first = int.from_bytes(data[:4], "little")
        with appender.reserve(Kind.BOOK_DELTA, first - 48, ts_recv=stream.ts_recv, flags=Flag.LAST, instrument=1):
            assert run_shard(tmp_path, drain=True).records == 2, "the reserved record is not there yet"
    assert run_shard(tmp_path, drain=True).records == 1


def _feed_cut(memory: bytes, cut: int) -> None:
    machine = pipeline(MemorySink())
    machine.feed(memory[:-cut], 0)
    machine.flush()


def _two_lines_with_holes(definition: InstrumentFields) -> RawStream:
    stream = RawStream()
    stream.define(1, definition)
    for source in (1, 2):
        stream.snapshot(1, [(100, 5)], [(101, 5)], sequence=10, source=source)
    for number in range(11, 40):
        for source in (1, 2):
            if source == 1 and 20 <= number < 25:
                continue  # the first line loses five messages
            if source == 2 and number == 35:
                continue
            stream.deltas(1, (BID, 90, number), first=number, last=number, source=source)
        if number == 30:
            stream.snapshot(1, [(100, 5)], [(101, 5)], sequence=30, source=1)
    return stream


def test_lines_that_number_alike_fill_each_other_s_holes(tmp_path: Path) -> None:
    _write(tmp_path, _two_lines_with_holes(binance()))
    run_shard(tmp_path, drain=True)
    with chronicle.open(tmp_path) as store:
        assert store.gaps("binance:BTC-USDT") == []
        assert [str(level[1]) for level in store.book("binance:BTC-USDT").bids] == ["0.005", "0.039"]
    numbers = [record.sequence for record in queue_records(tmp_path, BINANCE) if record.kind == Kind.BOOK_DELTA]
    assert numbers == list(range(11, 40)), "each once, in order"


def test_the_ledger_says_who_was_whole_while_a_line_had_a_hole(tmp_path: Path) -> None:
    """Lines that are not merged: numbers of a count may be a subscription's own."""
    _write(tmp_path, _two_lines_with_holes(instrument("bybit:BTC-USDT", sequence_rule=SequenceRule.COUNT)))
    run_shard(tmp_path, drain=True)
    with chronicle.open(tmp_path) as store:
        first, second = store.gaps("bybit:BTC-USDT")
        found = store.explain("bybit:BTC-USDT", "book", first.index, lane=first.lane)
    assert (first.lane, first.state, first.first_missing, first.last_missing) == (0, "closed", 20, 24)
    assert first.covered_by == 1000, "the second line was whole meanwhile"
    assert first.source == "raw/main.q"
    assert found.raw is not None
    assert (found.raw.queue, found.raw.record.index) == (first.source, first.source_index)
    assert (second.lane, second.state, second.first_missing, second.last_missing) == (1000, "open", 35, 35)
    assert second.covered_by == 0
