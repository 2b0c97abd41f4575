"""Candles the obvious way: every trade of a bar is kept, and the bar is made from them anew each time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chronicle.core.layout import CandleState, Flag, Side
from chronicle.etl.config import TIMEFRAMES

__all__ = ["NaiveCandles", "bar_of", "open_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEPT = 4
HOUR_NS = 3_600_000_000_000
Trade = tuple[int, int, int, int]
"""(ts, price, size, side)"""


def open_of(ts: int, name: str) -> int:
    """Return the open of the bar that holds `ts`, by the calendar."""
    seconds = ts // 1_000_000_000
    moment = EPOCH + timedelta(seconds=seconds)
    day = moment.replace(hour=0, minute=0, second=0)
    if name == "1w":
        start = day - timedelta(days=day.weekday())
    elif name == "1d":
        start = day
    else:
        length = TIMEFRAMES[name]
        start = day + timedelta(seconds=int((moment - day).total_seconds()) // length * length)
    return int((start - EPOCH).total_seconds()) * 1_000_000_000


def bar_of(trades: list[Trade]) -> tuple[int, ...]:
    """Return (count, open, high, low, close, volume, notional, buy volume)."""
    by_time = sorted(trades, key=lambda trade: trade[0])
    prices = [trade[1] for trade in by_time]
    return (
        len(trades),
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(trade[2] for trade in trades),
        sum(trade[1] * trade[2] for trade in trades),
        sum(trade[2] for trade in trades if trade[3] == Side.BID),
    )


class _Timeframe:
    def __init__(self, name: str) -> None:
        self.name = name
        self.open: int | None = None
        self.trades: dict[int, list[Trade]] = {}
        self.written: dict[int, int] = {}
        self.floor: int | None = None

    def record(self, open_ts: int, state: int) -> tuple[Any, ...]:
        flags = int(Flag.CORRECTION) if open_ts in self.written else 0
        self.written[open_ts] = len(self.trades[open_ts])
        return (TIMEFRAMES[self.name], open_ts, state, flags, *bar_of(self.trades[open_ts]))

    def past(self) -> list[int]:
        return sorted(open_ts for open_ts in self.trades if open_ts != self.open)

    def forget(self) -> None:
        while len(self.past()) > KEPT:
            oldest = self.past()[0]
            del self.trades[oldest]
            self.floor = oldest if self.floor is None else max(self.floor, oldest)


class NaiveCandles:
    """One trade stream's candles; `take` and `end_line` yield what is written."""

    def __init__(self, names: tuple[str, ...] = tuple(TIMEFRAMES)) -> None:
        self.frames = [_Timeframe(name) for name in names]
        self.late = self.lost = self.ahead = 0

    def take(self, ts_recv: int, ts_event: int, price: int, size: int, side: int) -> Iterator[tuple[Any, ...]]:
        ts = ts_event if ts_event > 0 else ts_recv
        if ts - ts_recv > HOUR_NS:
            ts = ts_recv
            self.ahead += 1
        trade = (ts, price, size, side)
        for number, frame in enumerate(self.frames):
            open_ts = open_of(ts, frame.name)
            if frame.open is None or open_ts > frame.open:
                if frame.open is not None:
                    yield frame.record(frame.open, CandleState.CLOSED)
                frame.open = open_ts
                frame.trades[open_ts] = [trade]
                frame.forget()
            elif open_ts == frame.open:
                frame.trades[open_ts].append(trade)
            else:
                self.late += number == 0
                past = frame.past()
                too_old = open_ts not in past and len(past) == KEPT and open_ts < past[0]
                if too_old or (frame.floor is not None and open_ts <= frame.floor):
                    self.lost += 1
                    continue
                frame.trades.setdefault(open_ts, []).append(trade)
                frame.forget()
                yield frame.record(open_ts, CandleState.CLOSED)

    def end_line(self) -> Iterator[tuple[Any, ...]]:
        for frame in self.frames:
            if frame.open is not None and frame.written.get(frame.open) != len(frame.trades[frame.open]):
                yield frame.record(frame.open, CandleState.PARTIAL)

    def rescale(self, price_factor: int, size_factor: int) -> None:
        for frame in self.frames:
            for trades in frame.trades.values():
                trades[:] = [(ts, price * price_factor, size * size_factor, side) for ts, price, size, side in trades]
