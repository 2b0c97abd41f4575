"""Runs over several raw queues with everything that may happen: pieces, windows, shards, crashes, leaves and joins.

Afterwards a rebuild by one shard must be equal record for record, and the obvious merge must say the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from chronicle.core.compare import compare_queue
from chronicle.core.layout import Side, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.membership import Decision, DecisionLog
from chronicle.core.queue import Queue
from chronicle.etl import EtlConfig, rebuild, run_shard
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.outlet import Chunk
from chronicle.etl.shards import lane, shard
from tests.support.etl_streams import RawStream, instrument, queue_records, random_levels
from tests.support.naive_merge import compared, merged_events, naive_run

SHARED = ("kraken:BTC-EUR", "kraken:ETH-EUR")
SYMBOLS = {
    "raw/main.q": (*SHARED, "okx:SOL-USDT"),
    "raw/second.q": (*SHARED, "bitget:BTC-USDT"),
    "raw/third.q": ("kraken:BTC-EUR", "bybit:XRP-USDT"),
}
DELTAS = 20


class Crash(Exception):
    pass


def _crash_at(count: int) -> Callable[[], None]:
    """Return what raises at its `count`-th call."""
    left = [count]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Crash

    return step


def config(*symbols: str) -> EtlConfig:
    return EtlConfig(snapshot_deltas=DELTAS, symbols=symbols or ("*",))


class MergeRun:
    """One home, made by the drawn sequence of acts of `seed`."""

    def __init__(self, home: Path, seed: int, *, queues: int, rounds: int = 60) -> None:
        self.home, self.chance, self.kills = home, random.Random(seed), 0
        self.streams = {
            name: self._stream(name, number + 7 * seed, rounds) for number, name in enumerate(list(SYMBOLS)[:queues])
        }
        self.written = dict.fromkeys(self.streams, 0)

    def _stream(self, name: str, seed: int, rounds: int) -> RawStream:
        chance = self.chance
        stream = RawStream(1_000_000_000_000 + chance.choice([0, 0, 1, 7_000_000]))
        symbols = SYMBOLS[name]
        stream.status(StatusCode.CAPTURE_START, source=0, capture=name)
        for number, symbol in enumerate(symbols, 1):
            stream.define(number, instrument(symbol, book_depth=10))
            stream.snapshot(number, [(10, 1)], [(11, 1)], source=1 + number % 2)
        for row in random_levels(seed, rounds).tolist():
            number = chance.randrange(1, len(symbols) + 1)
            source = 1 + number % 2
            act = chance.random()
            if act < 0.6:
                stream.deltas(number, tuple(row), source=source, step_ns=chance.choice([0, 1_000_000, 3_000_000]))
            elif act < 0.9:
                stream.begin(source).trade(number, Side.BID, row[1], 1 + row[2], ts_event=stream.ts_recv)
                stream.end()
            elif act < 0.95:
                stream.status(StatusCode.DISCONNECTED, source=source)
            else:
                stream.snapshot(number, [(9, 1)], [(12, 1)], source=source)
        return stream

    def write(self, name: str, events: int) -> None:
        stream = self.streams[name]
        first = self.written[name]
        end = self.written[name] = min(len(stream.events), first + events)
        queue = Queue.create(self.home / name, name=name, segment_bytes=64 * 1024, exist_ok=True)
        with queue.appender() as appender:
            for place in range(first, end):
                index, data = stream.events[place]
                following = stream.events[place + 1][0] if place + 1 < len(stream.events) else stream.next_index
                appender.append_event(data, following - index)

    def work(self, name: str, symbols: tuple[str, ...], *, killed: bool) -> None:
        """Run a shard to the end, or until it dies: between two clean queues' appends, or between two windows."""
        write = QueueSink.write
        step = _crash_at(self.chance.choice([1, 2, 3, 5, 8])) if killed else lambda: None
        in_write = killed and len(self.streams) > 1 and self.chance.random() < 0.7  # one queue is written by a kernel

        def dying(sink: QueueSink, queue: str, chunks: list[Chunk]) -> None:
            step()
            write(sink, queue, chunks)

        def said(_: object) -> None:
            step()

        try:
            with mock.patch.object(QueueSink, "write", dying if in_write else write):
                run_shard(
                    self.home,
                    shard=name,
                    drain=True,
                    config=config(*symbols),
                    window_bytes=self.chance.choice([300, 900, 4096, None]),
                    progress=said if killed and not in_write else None,
                )
        except Crash:
            self.kills += 1

    def play(self, acts: int = 8) -> None:
        """Write, work and crash `acts` times; then write and work off all."""
        chance = self.chance
        everything = sorted({symbol for symbols in SYMBOLS.values() for symbol in symbols})
        with (
            mock.patch.object(lane, "CHECKPOINT_RECORDS_MIN", chance.choice([25, 25, 100, 400])),
            mock.patch.object(lane, "PROGRESS_RECORDS", 20),
            mock.patch.object(shard, "PROGRESS_INTERVAL_NS", 0),
        ):
            for act in range(acts + 1):
                last = act == acts
                for name in self.streams:
                    self.write(name, 10**6 if last else chance.choice([0, 3, 20]))
                owner = {symbol: chance.choice("ab" if last else "abc") for symbol in everything}  # c does not run
                for name in chance.sample("ab", 2):
                    symbols = tuple(symbol for symbol in everything if owner[symbol] == name)
                    if symbols:
                        self.work(name, symbols, killed=not last and chance.random() < 0.85)
                if chance.random() < 0.2:
                    for path in (self.home / "etl" / chance.choice("ab")).glob("checkpoint-*"):
                        path.unlink()

    def decisions(self) -> list[Decision]:
        log = DecisionLog(self.home)
        log.poll()
        log.close()
        return log.decisions

    def check(self, into: Path) -> int:
        """Compare with a rebuild and with the obvious merge; return the number of clean records."""
        rebuild(self.home, into, config=config())
        here, there = LocalSource(self.home), LocalSource(into)
        queues = here.queues("clean/")
        assert queues == there.queues("clean/")
        for queue in queues:
            difference = compare_queue(here, there, queue)
            assert difference is None, str(difference)
        naive = naive_run(merged_events(self.streams, self.decisions()), config())
        assert sorted(naive.queues) == queues
        count = 0
        for queue in queues:
            records = queue_records(self.home, queue)
            assert compared(records) == compared(naive.records(queue)), queue
            count += len(records)
        return count
