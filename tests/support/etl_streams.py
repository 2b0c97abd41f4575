"""Helpers of the ETL's tests: raw streams in memory, a sink that keeps what it gets, and reading books back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chronicle.core.cursor import Cursor
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, BookStatus, CheckRule, Flag, Kind, Origin, SequenceRule, Side
from chronicle.core.local import LocalSource
from chronicle.core.records import InstrumentFields, Record, SnapshotFields
from chronicle.etl.books.book import Book
from chronicle.etl.books.status import BookTrust
from chronicle.etl.clean.outlet import DAY_NS, Chunk, Tail
from chronicle.etl.config import EtlConfig
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.pipeline.row import Row

BID, ASK = Side.BID, Side.ASK


def instrument(symbol: str = "kraken:BTC-EUR", **changes: Any) -> InstrumentFields:
    """Return a definition with details as an adapter gives them."""
    venue, _, name = symbol.partition(":")
    details = {"symbol": symbol, "venue": venue, "venue_symbol": name.replace("-", "/"), "from": "wire"}
    values: dict[str, Any] = {"price_exponent": 2, "size_exponent": 3, "details": details}
    return InstrumentFields(**(values | changes))


def binance(symbol: str = "binance:BTC-USDT", **changes: Any) -> InstrumentFields:
    return instrument(symbol, sequence_rule=SequenceRule.BINANCE_SPOT, **changes)


def okx(symbol: str = "okx:BTC-USDT", **changes: Any) -> InstrumentFields:
    return instrument(symbol, sequence_rule=SequenceRule.OKX_V5, check_rule=CheckRule.OKX_V5, **changes)


class RawStream:
    """A raw queue in memory: events one after another, with the index of each one's first record."""

    def __init__(self, start_ts: int = 1_000_000_000_000) -> None:
        self.out = EventBuilder()
        self.events: list[tuple[int, bytes]] = []
        self.ts_recv = start_ts
        self.next_index = 0

    def begin(self, source: int = 1, step_ns: int = 1_000_000) -> EventBuilder:
        self.ts_recv += step_ns
        self.out.begin(self.ts_recv, source_index=NONE, source=source)
        return self.out

    def end(self) -> None:
        data, count = self.out.take()
        if count:
            self.events.append((self.next_index, bytes(data)))
            self.next_index += count

    def define(self, number: int, fields: InstrumentFields, source: int = 1) -> None:
        self.begin(source).instrument(number, fields)
        self.end()

    def status(self, code: int, *, source: int = 1, number: int = 0, **details: Any) -> None:
        self.begin(source).status(code, details, instrument=number)
        self.end()

    def snapshot(
        self,
        number: int,
        bids: list[tuple[int, int]],
        asks: list[tuple[int, int]],
        *,
        source: int = 1,
        sequence: int = NONE,
        check: int | None = None,
        rule: int = CheckRule.OKX_V5,
        **bounds: int,
    ) -> None:
        out = self.begin(source)
        out.snapshot(number, SnapshotFields(bids, asks, Origin.VENUE, **bounds), ts_event=1, sequence=sequence)
        if check is not None:
            out.check(number, rule, check, ts_event=1)
        self.end()

    def deltas(
        self,
        number: int,
        *levels: tuple[int, int, int],
        source: int = 1,
        first: int = NONE,
        last: int = NONE,
        previous: int = NONE,
        check: int | None = None,
        rule: int = CheckRule.OKX_V5,
        step_ns: int = 1_000_000,
    ) -> None:
        out = self.begin(source, step_ns)
        for side, price, size in levels:
            out.delta(
                number,
                side,
                price,
                size,
                ts_event=1,
                sequence=last,
                sequence_first=first,
                sequence_previous=previous,
            )
        if check is not None:
            out.check(number, rule, check, ts_event=1)
        self.end()

    def memory(self, first: int = 0, end: int | None = None) -> bytes:
        return b"".join(data for _, data in self.events[first:end])


class MemorySink:
    """Keeps clean queues as lists of events; :meth:`cut` loses the tail of one, as a crash between queues does."""

    def __init__(self) -> None:
        self.queues: dict[str, list[bytes]] = {}
        self.prologues: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def tail(self, queue: str) -> Tail:
        events = self.queues.get(queue, [])
        if not events:
            return Tail()
        last = list(split(events[-1]))[-1]
        count = sum(len(list(split(event))) for event in events)
        day_end = last.ts_recv - last.ts_recv % DAY_NS + DAY_NS
        words = sum(len(event) for event in events) >> 3
        return Tail(
            next_index=count,
            words=words,
            day_end=day_end,
            source_index=last.source_index,
            ordinal=last.ordinal,
        )

    def write(self, queue: str, chunks: list[Chunk]) -> None:
        events = self.queues.setdefault(queue, [])
        for chunk in chunks:
            if chunk.prologue is not None:
                self.prologues.setdefault(queue, []).append((len(events), chunk.prologue))
            event = b""
            for record in split(chunk.words.tobytes()):
                event += bytes(record.data)
                if record.flags & Flag.LAST:
                    events.append(event)
                    event = b""
            assert not event, "a chunk ends inside an event"

    def place(self, queue: str, row: Row) -> int:
        return 0

    def tend(self, queue: str) -> None:
        raise AssertionError("no kernel writes here")

    def cut(self, queue: str, events: int) -> None:
        del self.queues[queue][events:]

    def records(self, queue: str) -> list[Record]:
        return list(split(b"".join(self.queues.get(queue, []))))

    def bytes(self) -> dict[str, bytes]:
        return {queue: b"".join(events) for queue, events in sorted(self.queues.items())}


def split(data: bytes | memoryview) -> Iterator[Record]:
    """Yield the records that lie side by side in `data`."""
    memory, position, index = memoryview(data), 0, 0
    while position < len(memory):
        length = int.from_bytes(memory[position : position + 4], "little")
        yield Record(memory[position : position + length], index)
        position += length
        index += 1


def pipeline(sink: Any, config: EtlConfig | None = None) -> Pipeline:
    return Pipeline(lane=0, raw_queue="raw/main.q", raw_generation=1, config=config or EtlConfig(), sink=sink)


def run(stream: RawStream, config: EtlConfig | None = None, sink: MemorySink | None = None) -> MemorySink:
    """Feed the whole stream as one window and return the sink."""
    target = sink or MemorySink()
    machine = pipeline(target, config)
    machine.feed(stream.memory(), 0)
    machine.flush()
    return target


def follow(records: list[Record] | Iterator[Record]) -> Iterator[tuple[Record, Book, BookTrust]]:
    """Read a clean book queue as a reader does; yield after every event (record: the event's last)."""
    book, trust, fields, redefined = Book(), BookTrust(), None, False
    for record in records:
        redefined = redefined and record.kind == Kind.BOOK_SNAPSHOT
        if record.kind == Kind.INSTRUMENT:
            redefined = True
            fields = InstrumentFields.unpack(record.body)
            book.price_exponent, book.size_exponent = fields.price_exponent, fields.size_exponent
            book.book_depth = fields.book_depth
        assert fields is not None, "the first record is no INSTRUMENT"
        before = trust.status(crossed=book.crossed())
        levels = book.depth(1 << 40) if record.kind == Kind.BOOK_SNAPSHOT else None
        trust.follow(record, fields)
        if record.kind == Kind.BOOK_DELTA:
            values = record.fields()
            book.apply(record.side, values["price"], values["size"])
        elif record.kind == Kind.BOOK_SNAPSHOT:
            snapshot = SnapshotFields.unpack(record.body)
            if snapshot.origin == Origin.ETL:
                assert snapshot.status == before, "an injected snapshot says otherwise than its stream"
                assert redefined or levels == (snapshot.bids, snapshot.asks), "and its levels are others"
            book.load(snapshot.bids, snapshot.asks, bid_floor=snapshot.bid_floor, ask_ceiling=snapshot.ask_ceiling)
        if record.flags & Flag.LAST:
            book.truncate()
            yield record, book, trust


def statuses(records: list[Record]) -> list[str]:
    """Return the book's status word after every event."""
    return [trust.status(crossed=book.crossed()).name.lower() for _, book, trust in follow(records)]


def final(records: list[Record]) -> tuple[Book, BookTrust]:
    """Return book and trust at the end of a clean book queue."""
    last = None
    for last in follow(records):  # noqa: B007
        pass
    assert last is not None
    return last[1], last[2]


def queue_records(home: Path, queue: str) -> list[Record]:
    """Return all records of a queue on disk."""
    cursor = Cursor(LocalSource(home), queue)
    records: list[Record] = []
    while (window := cursor.next_window()) is not None:
        records += [record.copy() for record in window.records()]
    return records


def kinds(records: list[Record]) -> list[str]:
    return [Kind(record.kind).name for record in records]


def status_word(book: Book, trust: BookTrust) -> str:
    return BookStatus(trust.status(crossed=book.crossed())).name.lower()


def random_levels(seed: int, count: int, prices: int = 40) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return int64[count, 3] (side, price, size), a third of them deletions."""
    generator = np.random.default_rng(seed)
    out = np.empty((count, 3), dtype=np.int64)
    out[:, 0] = generator.choice([int(BID), int(ASK)], count)
    out[:, 1] = generator.integers(1, prices, count)
    out[:, 2] = np.where(generator.random(count) < 0.34, 0, generator.integers(1, 1000, count))
    return out
