"""Candles: which trades make which bar, when it is written, and what amends it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import ConfigError
from chronicle.core.layout import CandleState, Flag, Kind, StatusCode, TradeType
from chronicle.etl.config import TIMEFRAMES, EtlConfig
from chronicle.etl.kernels.candles import open_of
from chronicle.etl.kernels.wide import add_pair, add_product
from tests.support import naive_candles
from tests.support.etl_streams import ASK, BID, MemorySink, RawStream, instrument, kinds, pipeline, run
from tests.support.naive_etl import summary

SECOND = 1_000_000_000
QUEUE = "clean/kraken/btc_eur/candle.q"
START = int(datetime(2024, 2, 26, 10, 0, 0, tzinfo=UTC).timestamp()) * SECOND  # a Monday
int64 = st.integers(-(2**63), 2**63 - 1)


class Trades:
    """A raw stream of one instrument's trades at given times."""

    def __init__(self, **changes: Any) -> None:
        self.stream = RawStream(START)
        self.fields = instrument(**changes)
        self.stream.define(1, self.fields)

    def at(self, seconds: float, price: int, size: int, side: int = BID, late: float = 0, **values: Any) -> None:
        """Trade at `seconds` after the start, received `late` seconds later."""
        ts_event = START + int(seconds * SECOND)
        self.stream.ts_recv = max(self.stream.ts_recv, ts_event + int(late * SECOND))
        self.stream.begin(1, 0).trade(1, side, price, size, ts_event=ts_event, **values)
        self.stream.end()

    def bars(self, timeframe: str, config: EtlConfig | None = None) -> list[tuple[Any, ...]]:
        """Return (open after START in s, state, correction, count, o, h, l, c, volume, notional, buys)."""
        rows = [what for kind, _, _, what in summary(run(self.stream, config).records(QUEUE)) if kind == "CANDLE"]
        wanted = [row for row in rows if row[0] == TIMEFRAMES[timeframe]]
        return [((row[1] - START) // SECOND, row[2], bool(row[3]), *row[4:]) for row in wanted]


@given(st.sampled_from([(0, 0), (0, 5), (-1, 2**63 - 1), (7, -(2**63))]), int64, int64)
def test_sums_are_exact_in_128_bits(start: tuple[int, int], one: int, other: int) -> None:
    row = np.array([9, *start, 9], dtype=np.int64)
    value = (start[0] << 64) + (start[1] & (1 << 64) - 1)
    add_product(row, 1, one, other)
    assert (int(row[1]) << 64) + (int(row[2]) & (1 << 64) - 1) == value + one * other
    add_pair(row, 1, -1, one)
    expected = value + one * other - (1 << 64) + (one & (1 << 64) - 1)
    assert (int(row[1]) << 64) + (int(row[2]) & (1 << 64) - 1) == expected
    assert (row[0], row[3]) == (9, 9)


@given(st.integers(1, 4 * 10**18))
def test_bars_open_by_the_utc_calendar(ts: int) -> None:
    for name, seconds in TIMEFRAMES.items():
        assert open_of(ts, seconds * SECOND) == naive_candles.open_of(ts, name)


def test_a_bar_is_written_when_a_trade_of_a_later_bar_comes() -> None:
    trades = Trades()
    trades.at(0.0, 100, 2)
    trades.at(0.4, 103, 1, ASK)
    trades.at(0.9, 99, 5)
    trades.at(3.0, 101, 1)
    trades.at(61.0, 90, 1)
    assert trades.bars("1s") == [
        (0, CandleState.CLOSED, False, 3, 100, 103, 99, 99, 8, 200 + 103 + 495, 7),
        (3, CandleState.CLOSED, False, 1, 101, 101, 101, 101, 1, 101, 1),
    ]
    assert trades.bars("1m") == [(0, CandleState.CLOSED, False, 4, 100, 103, 99, 101, 9, 899, 8)]
    assert trades.bars("5m") == []
    records = run(trades.stream).records(QUEUE)
    assert kinds(records) == ["INSTRUMENT", "CANDLE", "CANDLE", "CANDLE"]
    assert [record.source_index for record in records] == [0, 4, 5, 5]
    assert [record.ordinal for record in records] == [0, 0, 0, 1]
    assert [bool(record.flags & Flag.LAST) for record in records] == [True, True, False, True]
    assert records[1].ts_event == START
    assert records[1].ts_recv == START + 3 * SECOND


def test_weeks_begin_on_monday_and_days_at_midnight() -> None:
    trades = Trades()
    for day in range(15):
        trades.at(day * 86_400, 100 + day, 1)
    hours = 10 * 3600
    assert [bar[:4] for bar in trades.bars("1w")] == [(-hours, 1, False, 7), (7 * 86_400 - hours, 1, False, 7)]
    assert [bar[0] for bar in trades.bars("1d")] == [day * 86_400 - hours for day in range(14)]


def test_a_late_trade_amends_every_closed_bar_that_holds_it() -> None:
    trades = Trades()
    trades.at(0.5, 100, 1)
    trades.at(10, 101, 1)
    trades.at(70, 102, 1)
    trades.at(0.2, 98, 4, late=80)
    assert trades.bars("1s")[-1] == (0, CandleState.CLOSED, True, 2, 98, 100, 98, 100, 5, 98 * 4 + 100, 5)
    assert trades.bars("1m")[-1] == (0, CandleState.CLOSED, True, 3, 98, 101, 98, 101, 6, 98 * 4 + 201, 6)
    assert trades.bars("5m") == []  # it is still open, and has the trade
    trades.at(400, 103, 1)
    assert trades.bars("5m") == [(0, CandleState.CLOSED, False, 4, 98, 102, 98, 102, 7, 98 * 4 + 303, 7)]


def test_a_late_trade_of_an_empty_bar_makes_one_and_one_too_late_is_counted() -> None:
    trades = Trades()
    for second in (0, 2, 3, 4, 5, 6):
        trades.at(second, 100, 1)
    trades.at(1, 99, 1, late=9)  # four bars are kept: 2, 3, 4, 5
    trades.at(3, 98, 1, late=9)
    machine = pipeline(sink := MemorySink())
    machine.feed(trades.stream.memory(), 0)
    machine.flush()
    assert machine.candles()[0].counts == {"late_trades": 2, "lost_trades": 1}
    assert trades.bars("1s")[-1][:4] == (3, CandleState.CLOSED, True, 2)
    assert len(sink.records(QUEUE)) == 1 + 5 + 1
    trades = Trades()
    trades.at(0, 100, 1)
    trades.at(5, 100, 1)
    trades.at(3, 98, 1, late=9)
    assert trades.bars("1s")[-1][:4] == (3, CandleState.CLOSED, False, 1)


def test_a_lost_line_leaves_partial_bars_that_go_on() -> None:
    trades = Trades()
    trades.at(0.1, 100, 1)
    trades.at(1.1, 101, 1)
    trades.stream.status(StatusCode.DISCONNECTED, reason="test")
    trades.stream.status(StatusCode.CAPTURE_START, source=0, capture="again")
    assert trades.bars("1s")[-1] == (1, CandleState.PARTIAL, False, 1, 101, 101, 101, 101, 1, 101, 1)
    assert trades.bars("1w")[-1][1:4] == (CandleState.PARTIAL, False, 2)
    trades.at(1.5, 102, 1)
    trades.stream.status(StatusCode.DISCONNECTED, reason="test")
    assert trades.bars("1s")[-1][:4] == (1, CandleState.PARTIAL, True, 2)
    trades.at(2.5, 103, 1)
    assert trades.bars("1s")[-1][:4] == (1, CandleState.CLOSED, True, 2)


def test_aggregates_count_once_and_hidden_trades_count() -> None:
    trades = Trades()
    trades.at(0.1, 100, 7, trade_type=TradeType.AGGREGATE, trade_id=5, trade_id_last=9)
    trades.at(0.2, 105, 1, 0, trade_type=TradeType.HIDDEN)
    trades.at(1.2, 100, 1)
    assert trades.bars("1s") == [(0, CandleState.CLOSED, False, 2, 100, 105, 100, 105, 8, 805, 7)]


def test_a_trade_without_its_own_time_or_far_ahead_counts_at_its_receipt() -> None:
    trades = Trades()
    trades.at(0.1, 100, 1)
    out = trades.stream.begin(1, 0)
    out.trade(1, BID, 101, 1, ts_event=0)
    out.trade(1, BID, 102, 1, ts_event=START + 86_400 * SECOND)
    trades.stream.end()
    trades.at(1.2, 100, 1)
    assert trades.bars("1s")[0][3:8] == (3, 100, 102, 100, 102)


def test_volumes_beyond_int64_are_exact() -> None:
    trades = Trades()
    for number in range(5):
        trades.at(0.1 * number, 2**40, 2**62)
    trades.at(2, 1, 1)
    assert trades.bars("1s")[0][-3:] == (5 * 2**62, 5 * 2**102, 5 * 2**62)


def test_a_redefinition_rescales_bars_or_cuts_them() -> None:
    trades = Trades(price_exponent=2)
    trades.at(0.1, 105, 3)
    trades.stream.define(1, instrument(price_exponent=4))
    trades.at(0.2, 10_600, 1)
    trades.at(1.2, 1, 1)
    assert trades.bars("1s") == [(0, 1, False, 2, 10_500, 10_600, 10_500, 10_600, 4, 42_100, 4)]
    trades = Trades(price_exponent=2)
    trades.at(0.1, 105, 3)
    trades.stream.define(1, instrument(price_exponent=1))  # 1.05 has two decimals
    trades.at(0.2, 11, 1)
    trades.at(1.2, 12, 1)
    assert trades.bars("1s") == [
        (0, CandleState.PARTIAL, False, 1, 105, 105, 105, 105, 3, 315, 3),
        (0, CandleState.PARTIAL, True, 1, 11, 11, 11, 11, 1, 11, 1),
    ]
    records = run(trades.stream).records(QUEUE)
    marked = [record for record in records if record.kind == Kind.INSTRUMENT][1]
    assert (marked.source_index, marked.ordinal) == (2, 9)


def test_candles_can_be_left_out_or_chosen() -> None:
    trades = Trades()
    trades.at(0.1, 105, 3)
    trades.at(100, 105, 3)
    assert QUEUE not in run(trades.stream, EtlConfig(candles=())).queues
    assert trades.bars("1s", EtlConfig(candles=("1m", "1h"))) == []
    assert len(trades.bars("1m", EtlConfig(candles=("1m", "1h")))) == 1
    with pytest.raises(ConfigError):
        EtlConfig(candles=("1h", "1m"))
    with pytest.raises(ConfigError):
        EtlConfig(candles=("7m",))


def test_an_event_larger_than_the_room_is_written_whole() -> None:
    trades = Trades()
    out = trades.stream.begin(1, 0)
    for number in range(300):
        out.trade(1, BID, 100 + number, 1, ts_event=START + number * SECOND)
    trades.stream.end()
    records = run(trades.stream).records(QUEUE)
    assert len(trades.bars("1s")) == 299
    assert sum(bool(record.flags & Flag.LAST) for record in records) == 2
