"""A venue's true messages over several lines that lose, delay and end: what must be in the one clean stream."""

from __future__ import annotations

import random
from pathlib import Path

from chronicle.core.layout import NONE, Kind, SequenceRule, Side, StatusCode
from chronicle.core.queue import Queue
from tests.support.etl_streams import RawStream, binance, instrument, okx, queue_records

BOOK, TRADES = "clean/binance/btc_usdt/book.q", "clean/binance/btc_usdt/trade.q"
LAG_MAX = 6


class RaceRun:
    """Messages 1 to `count` over `lines` lines; each loses some, and one may be down for a while.

    Attributes
    ----------
    brought : set of int
        Messages that at least one line brought.
    """

    def __init__(self, seed: int, *, lines: int = 2, count: int = 150, rule: int = SequenceRule.BINANCE_SPOT) -> None:
        chance = self.chance = random.Random(seed)
        self.rule, self.count = rule, count
        self.streams = [RawStream()]
        self.brought: set[int] = set()
        self.levels = {number: (chance.choice([Side.BID, Side.ASK]), chance.randrange(1, 9), chance.randrange(9))
                       for number in range(1, count + 1)}  # fmt: skip
        loss = chance.choice([0.0, 0.1, 0.3])
        down = {line: chance.randrange(1, count) if chance.random() < 0.5 else None for line in range(2, lines + 1)}
        sends: list[tuple[int, int, int]] = []
        for line in range(1, lines + 1):
            at = 0
            for number in range(1, count + 1):
                at = max(at + 1, number * 10 + chance.randrange(LAG_MAX))
                out = down.get(line) is not None and number >= down[line]  # type: ignore[operator]
                if not out and chance.random() >= loss:
                    sends.append((at, line, number))
        ends = {line: at * 10 + 20 for line, at in down.items() if at is not None}
        self._write(sorted(sends), ends, lines)

    def _write(self, sends: list[tuple[int, int, int]], ends: dict[int, int], lines: int) -> None:
        stream = self.streams[0]
        stream.status(StatusCode.CAPTURE_START, source=0)
        for line in range(1, lines + 1):
            stream.status(StatusCode.CONNECTED, source=line)
        stream.define(1, self._fields())
        stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=0, source=1)
        for at, line, number in sends:
            for other in [other for other, end in ends.items() if end <= at]:
                stream.status(StatusCode.DISCONNECTED, source=other)
                del ends[other]
            self.brought.add(number)
            self._message(stream, line, number)

    def _fields(self):  # type: ignore[no-untyped-def]
        if self.rule == SequenceRule.OKX_V5:
            fields = okx("binance:BTC-USDT", check_rule=0)
        elif self.rule == SequenceRule.BINANCE_FUTURES:
            fields = instrument("binance:BTC-USDT", sequence_rule=self.rule)
        else:
            fields = binance()
        return fields

    def _message(self, stream: RawStream, line: int, number: int) -> None:
        first = 2 * number - 1 if self.rule == SequenceRule.BINANCE_SPOT else NONE
        previous = NONE if self.rule == SequenceRule.BINANCE_SPOT else 2 * number - 2
        stream.deltas(1, self.levels[number], source=line, first=first, last=2 * number, previous=previous)
        stream.begin(line).trade(1, Side.BID, 10, 1, ts_event=number, trade_id=1000 + number)
        stream.end()

    def write(self, home: Path, queue: str = "raw/main.q", first: int = 0, end: int | None = None) -> None:
        stream = self.streams[0]
        with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
            for place in range(first, len(stream.events) if end is None else end):
                index, data = stream.events[place]
                following = stream.events[place + 1][0] if place + 1 < len(stream.events) else stream.next_index
                appender.append_event(data, following - index)

    def check(self, home: Path) -> int:
        """Every message that a line brought is there once, in order, and a gap stands where none did."""
        book = queue_records(home, BOOK)
        numbers = [record.sequence // 2 for record in book if record.kind == Kind.BOOK_DELTA]
        assert numbers == sorted(self.brought)
        gaps = [record.fields() for record in book if record.kind == Kind.GAP]
        missing = [number for number in range(1, max(numbers) + 1) if number not in self.brought]
        assert len(gaps) == min(len(missing), 1), "no snapshot comes, so that the first hole stays open"
        trades = [record.fields()["trade_id"] - 1000 for record in queue_records(home, TRADES) if record.kind == 35]
        assert sorted(trades) == sorted(self.brought)
        ts = [record.ts_recv for record in book]
        assert ts == sorted(ts)
        return len(missing)
