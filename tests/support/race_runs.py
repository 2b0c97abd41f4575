"""A venue's true messages over several lines that lose, delay and end: what must be in the one clean stream."""

from __future__ import annotations

import random
from pathlib import Path

from chronicle.core.layout import NONE, Kind, SequenceRule, Side, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields
from tests.support.etl_streams import RawStream, instrument, queue_records

BOOK, TRADES = "clean/binance/btc_usdt/book.q", "clean/binance/btc_usdt/trade.q"
LAG_MAX = 35


class RaceRun:
    """Messages 1 to `count` over `lines` lines in `queues` raw queues; each line loses some, and may end.

    Attributes
    ----------
    brought : set of int
        Messages that at least one line brought.
    """

    def __init__(
        self,
        seed: int,
        *,
        lines: int = 2,
        count: int = 150,
        rule: int = SequenceRule.BINANCE_SPOT,
        queues: int = 1,
    ) -> None:
        chance = self.chance = random.Random(seed)
        self.rule, self.count = rule, count
        self.streams = [RawStream() for _ in range(queues)]
        self.ts_recv = self.streams[0].ts_recv
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
        ends = {line: at * 10 + LAG_MAX for line, at in down.items() if at is not None}
        self._write(sorted(sends), ends, lines)

    def _write(self, sends: list[tuple[int, int, int]], ends: dict[int, int], lines: int) -> None:
        for stream in self.streams:
            self._at(stream).status(StatusCode.CAPTURE_START, source=0)
        for line in range(1, lines + 1):
            self._of(line).status(StatusCode.CONNECTED, source=line)
        for stream in self.streams:
            self._at(stream).define(1, self._fields())
        self._of(1).snapshot(1, [(10, 1)], [(11, 1)], sequence=0, source=1)
        for at, line, number in sends:
            for other in [other for other, end in ends.items() if end <= at]:
                self._of(other).status(StatusCode.DISCONNECTED, source=other)
                del ends[other]
            self.brought.add(number)
            self._message(line, number)

    def _of(self, line: int) -> RawStream:
        """Return the stream of a line, at the time of now."""
        return self._at(self.streams[(line - 1) % len(self.streams)])

    def _at(self, stream: RawStream) -> RawStream:
        self.ts_recv += 1_000_000
        stream.ts_recv = self.ts_recv - 1_000_000
        return stream

    def _fields(self) -> InstrumentFields:
        return instrument("binance:BTC-USDT", sequence_rule=self.rule)

    def _message(self, line: int, number: int) -> None:
        first = 2 * number - 1 if self.rule == SequenceRule.BINANCE_SPOT else NONE
        previous = NONE if self.rule == SequenceRule.BINANCE_SPOT else 2 * number - 2
        self._of(line).deltas(1, self.levels[number], source=line, first=first, last=2 * number, previous=previous)
        stream = self._of(line)
        stream.begin(line).trade(1, Side.BID, 10, 1, ts_event=number, trade_id=1000 + number)
        stream.end()

    def write(self, home: Path) -> None:
        for number, stream in enumerate(self.streams):
            name = f"raw/{'abc'[number]}.q"
            with Queue.create(home / name, name=name, segment_bytes=64 * 1024).appender() as appender:
                for place, (index, data) in enumerate(stream.events):
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
