"""The status of a book at each step, as the clean stream tells it."""

from __future__ import annotations

import pytest

from chronicle.core.errors import CorruptionError, RecordError
from chronicle.core.layout import NONE, Cause, CheckRule, Flag, GapState, Kind, Origin, StatusCode, Verdict
from chronicle.core.records import Record
from chronicle.etl.books.book import Book
from chronicle.etl.books.checks import checksum
from chronicle.etl.config import EtlConfig
from tests.support.etl_streams import (
    ASK,
    BID,
    MemorySink,
    RawStream,
    binance,
    final,
    instrument,
    kinds,
    okx,
    pipeline,
    run,
    statuses,
)

KRAKEN_BOOK = "clean/kraken/btc_eur/book.q"
BINANCE_BOOK = "clean/binance/btc_usdt/book.q"
OKX_BOOK = "clean/okx/btc_usdt/book.q"
BIDS, ASKS = [(100, 5), (99, 6)], [(101, 7), (103, 8)]


def _gaps(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.fields()["cause"], record.fields()["state"]) for record in records if record.kind == Kind.GAP]


def _check(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> int:
    book = Book(price_exponent=2, size_exponent=3)
    book.load(bids, asks)
    return checksum(CheckRule.OKX_V5, book, okx()) or 0


def test_a_book_is_unverified_before_the_venues_start_and_ok_after() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.deltas(1, (BID, 90, 1))
    stream.snapshot(1, BIDS, ASKS)
    stream.deltas(1, (BID, 100, 9))
    records = run(stream).records(KRAKEN_BOOK)
    assert statuses(records) == ["unverified", "unverified", "ok", "ok"]
    assert records[1].flags & Flag.MAYBE_BAD_BOOK
    assert not records[-1].flags & Flag.MAYBE_BAD_BOOK
    assert final(records)[0].depth(2) == ([(100, 9), (99, 6)], ASKS)


def test_lineage_ordinals_and_numbers_of_clean_records() -> None:
    stream = RawStream()
    stream.define(7, instrument())
    stream.snapshot(7, BIDS, ASKS, source=3)
    out = stream.begin(3)
    out.delta(7, BID, 100, 0, ts_event=4)
    out.delta(7, ASK, 101, 1, ts_event=4)
    out.trade(7, BID, 100, 5, ts_event=4, trade_id=9)
    stream.end()
    sink = run(stream)
    book, trade = sink.records(KRAKEN_BOOK), sink.records("clean/kraken/btc_eur/trade.q")
    assert [(r.source_index, r.ordinal, r.instrument, r.source) for r in book] == [
        (0, 0, 1, 0),
        (1, 0, 1, 0),
        (2, 0, 1, 0),
        (3, 0, 1, 0),
    ]
    assert [bool(record.flags & Flag.LAST) for record in book] == [True, True, False, True]
    assert kinds(trade) == ["INSTRUMENT", "TRADE"]
    assert trade[1].source_index == 4
    assert trade[1].flags & Flag.LAST


def test_binance_buffers_diffs_and_joins_them_to_the_snapshot() -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.deltas(1, (BID, 95, 1), first=90, last=98)
    stream.deltas(1, (BID, 96, 2), first=99, last=102)
    stream.deltas(1, (BID, 97, 3), first=103, last=104)
    stream.snapshot(1, BIDS, ASKS, source=0, sequence=100, bid_floor=99, ask_ceiling=103)
    stream.deltas(1, (ASK, 101, 0), first=105, last=106)
    records = run(stream).records(BINANCE_BOOK)
    assert statuses(records) == ["unverified"] * 4 + ["ok", "ok"]
    snapshot = records[4]
    assert (snapshot.sequence, snapshot.source_index) == (104, 4)
    fields = snapshot.fields()
    assert (fields["origin"], fields["bid_floor"], fields["ask_ceiling"]) == (Origin.VENUE, 99, 103)
    assert fields["bids"] == [(100, 5), (99, 6), (97, 3), (96, 2)]


def test_binance_drops_old_diffs_and_ignores_old_snapshots() -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, BIDS, ASKS, sequence=100)
    stream.deltas(1, (BID, 100, 0), first=95, last=100)
    stream.deltas(1, (BID, 100, 1), first=99, last=103)
    stream.snapshot(1, [(1, 1)], [(2, 2)], sequence=101)
    stream.deltas(1, (BID, 100, 2), first=104, last=104)
    machine = pipeline(sink := MemorySink())
    machine.feed(stream.memory(), 0)
    machine.flush()
    assert statuses(sink.records(BINANCE_BOOK)) == ["unverified", "ok", "ok", "ok"]
    assert machine.books()[0][1].counts == {"dropped": 1, "old_snapshots": 1}


def test_a_break_opens_one_gap_until_the_next_snapshot() -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, BIDS, ASKS, sequence=100)
    stream.deltas(1, (BID, 100, 1), first=101, last=101)
    good_ts = stream.ts_recv
    stream.deltas(1, (BID, 100, 2), first=105, last=106)
    stream.deltas(1, (BID, 100, 3), first=110, last=111)
    stream.snapshot(1, BIDS, ASKS, sequence=104)
    stream.snapshot(1, BIDS, ASKS, sequence=110)
    records = run(stream).records(BINANCE_BOOK)
    assert _gaps(records) == [(Cause.SEQUENCE, GapState.OPEN), (Cause.SEQUENCE, GapState.CLOSED)]
    opened, closed = [record.fields() for record in records if record.kind == Kind.GAP]
    assert (opened["first_missing"], opened["last_missing"]) == (102, 104)
    assert opened["last_good_ts"] == closed["last_good_ts"] == good_ts
    assert (opened["recovery_ts"], closed["recovery_ts"]) == (NONE, stream.ts_recv)
    assert statuses(records)[-1] == "ok"
    assert final(records)[0].best_bid == (100, 3), "the diff up to 111 was joined"


def test_a_failed_check_distrusts_the_book_from_the_last_check_that_passed() -> None:
    stream = RawStream()
    stream.define(1, okx())
    stream.snapshot(1, BIDS, ASKS, check=_check(BIDS, ASKS))
    stream.deltas(1, (BID, 99, 0), check=_check(BIDS[:1], ASKS))
    passed_ts = stream.ts_recv
    stream.deltas(1, (BID, 98, 1))
    stream.deltas(1, (BID, 97, 1), check=12345)
    stream.deltas(1, (BID, 96, 1), check=12345)
    stream.snapshot(1, BIDS, ASKS, check=_check(BIDS, ASKS))
    records = run(stream).records(OKX_BOOK)
    assert _gaps(records) == [(Cause.CHECK, GapState.OPEN), (Cause.CHECK, GapState.CLOSED)]
    gap = next(record for record in records if record.kind == Kind.GAP)
    assert gap.fields()["last_good_ts"] == passed_ts
    failed = [r for r in records if r.kind == Kind.CHECK and r.fields()["verdict"] == Verdict.FAILED]
    assert len(failed) == 2
    assert gap.index < failed[0].index, "the hole is announced before the event that shows it"
    assert statuses(records)[-1] == "ok"


def test_a_snapshot_whose_own_check_fails_starts_no_trust() -> None:
    stream = RawStream()
    stream.define(1, okx())
    stream.snapshot(1, BIDS, ASKS, check=1)
    stream.snapshot(1, BIDS, ASKS, check=2)
    stream.snapshot(1, BIDS, ASKS, check=_check(BIDS, ASKS))
    records = run(stream).records(OKX_BOOK)
    assert _gaps(records) == [(Cause.CHECK, GapState.OPEN), (Cause.CHECK, GapState.CLOSED)]
    assert (
        statuses(records) == ["unverified", "gap", "gap", "gap", "unverified", "ok"] or statuses(records)[-1] == "ok"
    )


def test_a_check_without_a_book_is_not_judged() -> None:
    stream = RawStream()
    stream.define(1, okx())
    stream.deltas(1, (BID, 1, 1), check=5)
    records = run(stream).records(OKX_BOOK)
    assert records[-1].fields()["verdict"] == Verdict.NO_BOOK


def test_unbroken_numbers_after_a_disconnect_prove_that_nothing_was_lost() -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, BIDS, ASKS, sequence=100)
    stream.status(StatusCode.DISCONNECTED, reason="end of file")
    stream.status(StatusCode.CAPTURE_END, source=0)
    stream.status(StatusCode.CAPTURE_START, source=0)
    stream.status(StatusCode.CONNECTED, source=2)
    stream.deltas(1, (BID, 100, 1), first=101, last=102, source=2)
    records = run(stream).records(BINANCE_BOOK)
    assert _gaps(records) == []
    assert statuses(records) == ["unverified", "ok", "ok", "stale", "ok"] or statuses(records) == [
        "unverified",
        "ok",
        "stale",
        "ok",
    ]


@pytest.mark.parametrize("fields", [instrument(), okx(), binance()], ids=["none", "okx", "binance"])
def test_what_cannot_be_proved_after_a_disconnect_is_a_gap(fields: object) -> None:
    stream = RawStream()
    stream.define(1, fields)  # type: ignore[arg-type]
    stream.snapshot(1, BIDS, ASKS, sequence=100)
    good_ts = stream.ts_recv
    stream.status(StatusCode.DISCONNECTED, reason="reset")
    stream.deltas(1, (BID, 100, 1), first=140, last=141, previous=NONE)
    stream.snapshot(1, BIDS, ASKS, sequence=150)
    sink = run(stream)
    records = sink.records(next(iter(sink.queues)))
    assert _gaps(records) == [(Cause.DISCONNECT, GapState.OPEN), (Cause.DISCONNECT, GapState.CLOSED)]
    assert next(r for r in records if r.kind == Kind.GAP).fields()["last_good_ts"] == good_ts
    assert statuses(records)[-1] == "ok"


def test_a_disconnect_followed_by_a_snapshot_is_an_open_and_closed_gap() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    stream.status(StatusCode.DISCONNECTED, reason="reset")
    stream.snapshot(1, BIDS, ASKS)
    records = run(stream).records(KRAKEN_BOOK)
    assert kinds(records) == ["INSTRUMENT", "BOOK_SNAPSHOT", "STATUS", "GAP", "GAP", "BOOK_SNAPSHOT"]
    assert [record.ordinal for record in records[-3:]] == [0, 1, 2]


def test_an_unreadable_book_message_is_a_gap_and_an_unreadable_trade_is_not() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    stream.status(StatusCode.DECODE_ERROR, number=1, channel="trade")
    stream.deltas(1, (BID, 100, 1))
    stream.status(StatusCode.DECODE_ERROR, number=1, channel="book")
    records = run(stream).records(KRAKEN_BOOK)
    assert _gaps(records) == [(Cause.DECODE, GapState.OPEN)]
    assert kinds(records)[-2:] == ["GAP", "STATUS"]


def test_an_unreadable_frame_distrusts_books_that_nothing_else_would_tell_on() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.define(2, binance())
    stream.snapshot(1, BIDS, ASKS)
    stream.snapshot(2, BIDS, ASKS, sequence=5)
    stream.status(StatusCode.DECODE_ERROR, source=1, problem="no JSON")
    sink = run(stream)
    assert _gaps(sink.records(KRAKEN_BOOK)) == [(Cause.DECODE, GapState.OPEN)]
    assert _gaps(sink.records(BINANCE_BOOK)) == []


def test_snapshots_are_injected_before_the_next_event_and_idle_books_write_none() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    for number in range(1, 8):
        stream.deltas(1, (BID, 100, number))
    stream.deltas(1, (BID, 100, 50), step_ns=70_000_000_000)
    records = run(stream, EtlConfig(snapshot_deltas=3)).records(KRAKEN_BOOK)
    assert kinds(records) == [
        "INSTRUMENT",
        "BOOK_SNAPSHOT",
        *["BOOK_DELTA"] * 3,
        "BOOK_SNAPSHOT",
        *["BOOK_DELTA"] * 3,
        "BOOK_SNAPSHOT",
        "BOOK_DELTA",
        "BOOK_SNAPSHOT",
        "BOOK_DELTA",
    ]
    injected = records[5]
    assert injected.fields()["bids"][0] == (100, 3)
    assert (injected.source_index, injected.ordinal, records[6].ordinal) == (records[6].source_index, 0, 1)
    assert injected.flags == Flag.LAST | Flag.SNAPSHOT


def test_a_redefinition_comes_with_the_book_in_new_numbers_as_one_event() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    stream.define(1, instrument())
    stream.define(1, instrument(price_exponent=4))
    stream.deltas(1, (BID, 9_900, 0))
    sink = run(stream)
    records = sink.records(KRAKEN_BOOK)
    assert kinds(records) == ["INSTRUMENT", "BOOK_SNAPSHOT", "INSTRUMENT", "BOOK_SNAPSHOT", "BOOK_DELTA"]
    assert [bool(record.flags & Flag.LAST) for record in records] == [True, True, False, True, True]
    assert final(records)[0].depth(9) == ([(10_000, 5)], [(10_100, 7), (10_300, 8)])


def test_a_redefinition_that_would_lose_digits_is_a_gap() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(101, 1)], [(203, 1)])
    stream.define(1, instrument(price_exponent=1))
    records = run(stream).records(KRAKEN_BOOK)
    assert _gaps(records) == [(Cause.DECODE, GapState.OPEN)]
    assert final(records)[0].count() == (0, 0)


def test_a_message_cut_by_a_redefinition_is_applied_whole() -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, BIDS, ASKS, sequence=100)
    out = stream.begin()
    out.delta(1, BID, 100, 1, ts_event=1, sequence=102, sequence_first=101)
    out.instrument(1, binance(price_exponent=3))
    out.delta(1, BID, 990, 2, ts_event=1, sequence=102, sequence_first=101)
    stream.end()
    stream.deltas(1, (BID, 1000, 3), first=103, last=103)
    records = run(stream).records(BINANCE_BOOK)
    assert _gaps(records) == []
    assert final(records)[0].depth(9)[0] == [(1000, 3), (990, 2)]


def test_redundant_lines_have_books_and_queues_of_their_own() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS, source=4)
    stream.snapshot(1, BIDS, ASKS, source=5)
    stream.deltas(1, (BID, 100, 1), source=4)
    stream.deltas(1, (BID, 100, 2), source=5)
    stream.status(StatusCode.DISCONNECTED, source=4)
    stream.snapshot(1, BIDS, ASKS, source=6)
    sink = run(stream)
    assert sorted(sink.queues) == [KRAKEN_BOOK, "clean/kraken/btc_eur/book@1000.q"]
    assert statuses(sink.records(KRAKEN_BOOK))[-1] == "ok"
    assert final(sink.records("clean/kraken/btc_eur/book@1000.q"))[0].best_bid == (100, 2)


def test_an_instrument_of_another_shard_is_left_out() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.define(2, binance())
    stream.snapshot(1, BIDS, ASKS)
    stream.snapshot(2, BIDS, ASKS, sequence=4)
    assert list(run(stream, EtlConfig(symbols=("binance:*",))).queues) == [BINANCE_BOOK]


def test_undefined_instruments_and_broken_bytes_are_errors() -> None:
    stream = RawStream()
    stream.deltas(3, (BID, 1, 1))
    with pytest.raises(RecordError):
        run(stream)
    with pytest.raises(CorruptionError):
        pipeline(MemorySink()).feed(b"\0" * 64, 0)


def test_clean_queues_of_another_run_are_noticed() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    for number in range(9):
        stream.deltas(1, (BID, 100, number))
    sink = run(stream, EtlConfig(snapshot_deltas=2))
    denser = pipeline(sink, EtlConfig(snapshot_deltas=4))
    denser.feed(stream.memory(), 0)
    with pytest.raises(CorruptionError, match="not what its raw queue gives"):
        denser.check_complete()
    sparser = pipeline(sink, EtlConfig(snapshot_deltas=1))
    with pytest.raises(CorruptionError, match="not what its raw queue gives"):
        sparser.feed(stream.memory(), 0)


def test_unknown_kinds_are_counted_and_skipped() -> None:
    stream = RawStream()
    stream.define(1, instrument())
    out = stream.begin()
    out.record(1024, b"later", instrument=9)
    stream.end()
    stream.snapshot(1, BIDS, ASKS)
    machine = pipeline(sink := MemorySink())
    machine.feed(stream.memory(), 0)
    machine.flush()
    assert machine.skipped == {1024: 1}
    assert statuses(sink.records(KRAKEN_BOOK)) == ["unverified", "ok"]


def test_prologue_holds_the_book_before_the_segments_first_event() -> None:
    stream = RawStream(start_ts=86_400_000_000_000 * 3 - 5_000_000)
    stream.define(1, instrument())
    stream.snapshot(1, BIDS, ASKS)
    for number in range(1, 8):
        stream.deltas(1, (BID, 100, number))
    sink = run(stream)
    (first, head), (second, after_midnight) = sink.prologues[KRAKEN_BOOK]
    assert first == 0
    assert head["symbol"] == "kraken:BTC-EUR"
    before = Record(after_midnight["book"]).fields()
    last = Record(sink.queues[KRAKEN_BOOK][second - 1]).fields()
    assert before["bids"][0] == (100, last["size"])
    assert after_midnight["cursor"]["source_index"] == Record(sink.queues[KRAKEN_BOOK][second]).source_index
    assert Record(after_midnight["instrument"]).kind == Kind.INSTRUMENT
