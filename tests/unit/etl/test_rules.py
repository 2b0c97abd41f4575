"""Sequence rules, checksums, the diff buffer, lines and trust: each alone."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from chronicle.core.layout import (
    INT64_MIN,
    NONE,
    BookStatus,
    Cause,
    CheckRule,
    GapState,
    SequenceRule,
    Verdict,
    VerifiedBy,
)
from chronicle.core.sequencing import Step, accepts_snapshot, judge, proves_continuity
from chronicle.etl.books.book import Book
from chronicle.etl.books.checks import checksum, verdict_of
from chronicle.etl.books.status import BookTrust
from chronicle.etl.config import EtlConfig
from chronicle.etl.merge.lines import Lines
from chronicle.etl.streams.diff_buffer import EVENTS_MAX, Diff, DiffBuffer
from chronicle.etl.streams.gaps import Gap, missing_range
from tests.support.etl_streams import instrument

BINANCE, OKX, COUNT = SequenceRule.BINANCE_SPOT, SequenceRule.OKX_V5, SequenceRule.COUNT
FUTURES, LINE = SequenceRule.BINANCE_FUTURES, SequenceRule.CONNECTION


@pytest.mark.parametrize(
    ("rule", "last", "fresh", "numbers", "step"),
    [
        (BINANCE, NONE, False, (1, 2, NONE), Step.NEED_SNAPSHOT),
        (BINANCE, 10, True, (8, 10, NONE), Step.DROP),
        (BINANCE, 10, True, (8, 12, NONE), Step.APPLY),
        (BINANCE, 10, True, (11, 12, NONE), Step.APPLY),
        (BINANCE, 10, True, (12, 13, NONE), Step.GAP),
        (BINANCE, 10, False, (11, 13, NONE), Step.APPLY),
        (BINANCE, 10, False, (10, 13, NONE), Step.GAP),
        (BINANCE, 10, False, (12, 13, NONE), Step.GAP),
        (BINANCE, 10, False, (9, 10, NONE), Step.DROP),
        (OKX, 10, False, (NONE, NONE, NONE), Step.APPLY),
        (OKX, 10, False, (NONE, 15, 10), Step.APPLY),
        (OKX, 10, False, (NONE, 10, 10), Step.APPLY),
        (OKX, 10, False, (NONE, 3, 10), Step.APPLY),
        (OKX, 10, False, (NONE, 15, 12), Step.GAP),
        (OKX, 10, False, (NONE, 10, 7), Step.DROP),
        (OKX, NONE, True, (NONE, 10, 7), Step.APPLY),
        (COUNT, 10, False, (NONE, 11, NONE), Step.APPLY),
        (COUNT, 10, False, (NONE, 10, NONE), Step.DROP),
        (COUNT, 10, False, (NONE, 12, NONE), Step.GAP),
        (FUTURES, NONE, False, (1, 2, 0), Step.NEED_SNAPSHOT),
        (FUTURES, 10, True, (6, 10, 4), Step.DROP),
        (FUTURES, 10, True, (6, 12, 4), Step.APPLY),
        (FUTURES, 10, True, (12, 13, 10), Step.APPLY),
        (FUTURES, 10, True, (12, 13, 11), Step.GAP),
        (FUTURES, 10, False, (15, 17, 10), Step.APPLY),
        (FUTURES, 10, False, (15, 17, 12), Step.GAP),
        (FUTURES, 10, False, (9, 10, 7), Step.DROP),
        (LINE, 10, False, (NONE, 14, NONE), Step.APPLY),
        (LINE, 10, False, (NONE, 10, NONE), Step.DROP),
        (LINE, 10, False, (NONE, 3, NONE), Step.GAP),
        (LINE, NONE, True, (NONE, 3, NONE), Step.APPLY),
        (SequenceRule.GROWING, 10, False, (NONE, 14, NONE), Step.APPLY),
        (SequenceRule.GROWING, 10, False, (NONE, 3, NONE), Step.GAP),
        (SequenceRule.NONE, 10, False, (NONE, 3, NONE), Step.APPLY),
        (99, 10, False, (1, 3, 1), Step.APPLY),
    ],
)
def test_sequence_rules(rule: int, last: int, fresh: bool, numbers: tuple[int, int, int], step: Step) -> None:
    first, sequence, previous = numbers
    assert judge(rule, last=last, after_snapshot=fresh, first=first, sequence=sequence, previous=previous) is step


def test_only_a_number_that_was_compared_proves_continuity() -> None:
    assert proves_continuity(BINANCE, last=5, sequence=6, previous=NONE)
    assert proves_continuity(OKX, last=5, sequence=6, previous=5)
    assert not proves_continuity(OKX, last=5, sequence=6, previous=NONE)
    assert not proves_continuity(BINANCE, last=NONE, sequence=6, previous=NONE)
    assert proves_continuity(LINE, last=5, sequence=9, previous=NONE)
    assert not proves_continuity(SequenceRule.GROWING, last=5, sequence=6, previous=NONE)
    assert not proves_continuity(LINE, last=5, sequence=9, previous=NONE, line_lost=True)
    assert not proves_continuity(SequenceRule.NONE, last=5, sequence=6, previous=5)


def test_a_late_snapshot_does_not_replace_a_book_in_sync() -> None:
    assert not accepts_snapshot(BINANCE, last=10, synced=True, sequence=9)
    assert accepts_snapshot(BINANCE, last=10, synced=True, sequence=10)
    assert accepts_snapshot(BINANCE, last=10, synced=False, sequence=9)
    assert accepts_snapshot(OKX, last=10, synced=True, sequence=9)


def test_missing_range_is_told_where_numbers_count_by_one() -> None:
    assert missing_range(BINANCE, last=10, first=15, sequence=20) == (11, 14)
    assert missing_range(COUNT, last=10, first=NONE, sequence=13) == (11, 12)
    assert missing_range(OKX, last=10, first=NONE, sequence=13) == (NONE, NONE)
    assert missing_range(BINANCE, last=10, first=9, sequence=20) == (NONE, NONE)


def test_kraken_text_has_no_points_and_no_leading_zeros() -> None:
    book = Book(price_exponent=5, size_exponent=8)
    book.load([(4_300, 20)], [(500_000, 12_345_678_900)])
    fields = instrument(price_exponent=5, size_exponent=8, check_price_decimals=5, check_size_decimals=8)
    assert checksum(CheckRule.KRAKEN_V1, book, fields) == crc32(b"50000012345678900430020")


def test_kraken_levels_in_other_decimals_are_rescaled_or_fail() -> None:
    book = Book(price_exponent=3, size_exponent=3)
    book.load([(4_300, 1)], [])
    fields = instrument(price_exponent=3, size_exponent=3, check_price_decimals=1, check_size_decimals=5)
    assert checksum(CheckRule.KRAKEN_V1, book, fields) == crc32(b"43100")
    book.apply("bid", 4_301, 1)
    assert checksum(CheckRule.KRAKEN_V1, book, fields) == NONE


def test_okx_text_alternates_and_strips() -> None:
    book = Book(price_exponent=2, size_exponent=4)
    book.load([(10_000, 5_000), (9_950, 10_000)], [(10_100, 1)])
    unsigned = crc32(b"100:0.5:101:0.0001:99.5:1")
    signed = unsigned - (1 << 32) if unsigned >> 31 else unsigned
    assert checksum(CheckRule.OKX_V5, book, instrument()) == signed


def test_bitget_text_keeps_the_decimals_of_the_wire() -> None:
    book = Book(price_exponent=3, size_exponent=4)
    book.load([(10_000, 5_000), (9_950, 10_000)], [(10_100, 1)])
    fields = instrument(check_price_decimals=2, check_size_decimals=4)
    unsigned = crc32(b"10.00:0.5000:10.10:0.0001:9.95:1.0000")
    signed = unsigned - (1 << 32) if unsigned >> 31 else unsigned
    assert checksum(CheckRule.BITGET_V1, book, fields) == signed
    book.apply("bid", 10_001, 1)
    assert checksum(CheckRule.BITGET_V1, book, fields) == INT64_MIN


def test_an_unknown_rule_is_not_judged() -> None:
    assert checksum(77, Book(), instrument()) is None
    assert verdict_of(5, None) == (Verdict.UNJUDGED, 0)
    assert verdict_of(5, 5) == (Verdict.PASSED, 5)
    assert verdict_of(5, 6) == (Verdict.FAILED, 6)


def _diff(first: int, last: int, rows: int = 1) -> Diff:
    return Diff(first, last, np.ones((rows, 3), dtype=np.int64))


def test_diff_buffer_joins_what_reaches_back_to_the_snapshot() -> None:
    buffer = DiffBuffer()
    for first, last in ((5, 6), (7, 9), (7, 9), (10, 10)):
        buffer.add(_diff(first, last))
    assert len(buffer) == 3
    assert [diff.sequence for diff in buffer.join(6) or []] == [9, 10]
    assert [diff.sequence for diff in buffer.join(8) or []] == [9, 10]
    assert buffer.join(10) == []
    assert buffer.join(3) is None
    buffer.add(_diff(12, 13))
    assert len(buffer) == 1, "a break drops what lies before it"
    assert buffer.join(10) is None
    assert len(buffer.join(11) or []) == 1


def test_diff_buffer_is_bounded_and_survives_a_checkpoint() -> None:
    buffer = DiffBuffer()
    for number in range(EVENTS_MAX + 10):
        buffer.add(_diff(number, number))
    assert len(buffer) == EVENTS_MAX
    assert buffer.join(3) is None
    other = DiffBuffer()
    other.restore(buffer.state())
    assert (len(other), other.levels) == (len(buffer), buffer.levels)
    other.rescale(1, 2)
    assert other.join(EVENTS_MAX + 8)[0].levels.tolist() == [[1, 10, 100]]  # type: ignore[index]
    other.rescale(-1, 0)
    assert len(other) == 0


def test_the_first_line_leads_and_a_freed_rank_goes_to_the_next() -> None:
    lines = Lines()
    assert [lines.claim("a", "book", source) for source in (7, 8, 7, 9)] == [0, 1, 0, 2]
    assert lines.claim("a", "trade", 8) == 0
    assert lines.release(7) == [("a", "book", 0)]
    assert lines.ranks("a", "book") == [1, 2]
    assert lines.claim("a", "book", 10) == 0
    assert lines.claim("a", "book", 7) == 3
    other = Lines()
    other.restore(lines.state())
    assert other.release_queue(1) == []
    assert other.release_queue(0) == lines.release_queue(0)
    assert lines.ranks("a", "book") == []


def test_trust_names_the_strongest_doubt() -> None:
    trust = BookTrust()
    assert trust.status(crossed=True) is BookStatus.UNVERIFIED
    trust.snapshot_applied(5, 1, sequenced=False)
    assert trust.status(crossed=False) is BookStatus.OK
    assert trust.status(crossed=True) is BookStatus.CROSSED
    trust.line_lost = True
    assert trust.status(crossed=True) is BookStatus.STALE
    trust.gap_opened(4)
    assert trust.status(crossed=True) is BookStatus.GAP
    trust.check_passed(9, 2)
    assert trust.verified_by == VerifiedBy.NOTHING, "a check that holds by chance ends no gap"
    trust.snapshot_applied(10, 3, sequenced=True)
    assert (trust.status(crossed=False), trust.verified_by) == (BookStatus.OK, VerifiedBy.SEQUENCE)


def test_a_gap_record_is_an_event_of_its_own() -> None:
    gap = Gap(Cause.SEQUENCE, 5, 6, 7, 8)
    assert Gap(*gap.state()) == gap
    record = gap.record(GapState.OPEN, ts_recv=9, raw_index=10, ordinal=0)
    assert record[6] & 128


def test_symbols_are_chosen_by_globs() -> None:
    config = EtlConfig(symbols=("kraken:*", "*:BTC-USD*"))
    assert config.selection.selects("kraken:ETH-EUR")
    assert config.selection.selects("okx:btc-usdt")
    assert not config.selection.selects("okx:ETH-USDT")
