"""Builds small homes by writing clean queues directly, by the clean stream contract (docs/architecture.md)."""

from __future__ import annotations

from pathlib import Path

from chronicle.core import layout
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, Cause, CheckRule, GapState, Kind, Origin, Side, Verdict, VerifiedBy
from chronicle.core.paths import clean_queue, raw_queue
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, Record, SnapshotFields, pack_record
from chronicle.etl.books.book import Book
from chronicle.etl.books.status import BookTrust

SIDES = {"bid": Side.BID, "ask": Side.ASK, "": Side.NONE}


def definition(symbol: str = "kraken:BTC-EUR", **changes: object) -> InstrumentFields:
    """Return a plausible INSTRUMENT for `symbol`."""
    venue, _, name = symbol.partition(":")
    base, _, quote = name.partition("-")
    details = {
        "symbol": symbol,
        "venue": venue,
        "venue_symbol": changes.pop("venue_symbol", f"{base}/{quote}"),
        "base": base,
        "quote": quote,
        "type": "spot",
        "from": "wire",
    }
    values = {"price_exponent": 2, "size_exponent": 3, "tick": 1, "lot": 0} | changes
    return InstrumentFields(details=details, **values)  # type: ignore[arg-type]


class CleanQueue:
    """Writes one clean queue as an ETL would; keeps the book beside it for prologues and injected snapshots."""

    def __init__(
        self,
        home: Path,
        symbol: str = "kraken:BTC-EUR",
        channel: str = "book",
        *,
        lane: int = 0,
        fields: InstrumentFields | None = None,
        segment_bytes: int = 1 << 20,
        shard: str = "main",
    ) -> None:
        self.home, self.symbol, self.channel, self.lane, self.shard = home, symbol, channel, lane, shard
        self.fields = fields or definition(symbol)
        self.book = Book(
            price_exponent=self.fields.price_exponent,
            size_exponent=self.fields.size_exponent,
            book_depth=self.fields.book_depth,
        )
        self.trust = BookTrust()
        self.raw_index = 100
        self.last_ts = NONE
        name = clean_queue(symbol, channel, lane)
        self.queue = Queue.create(home / name, name=name, segment_bytes=segment_bytes, exist_ok=True)
        self.appender = self.queue.appender(prologue=self._prologue)
        self.out = EventBuilder()

    def _prologue(self) -> dict[str, object]:
        instrument = pack_record(Kind.INSTRUMENT, self.fields.pack(), ts_recv=0, instrument=1)
        book = None
        if self.channel == "book" and self.last_ts != NONE:
            book = pack_record(Kind.BOOK_SNAPSHOT, self._snapshot_fields().pack(), ts_recv=self.last_ts, instrument=1)
        return {
            "schema": 1,
            "queue": self.queue.name,
            "symbol": self.symbol,
            "channel": self.channel,
            "lane": self.lane,
            "instrument": instrument,
            "book": book,
            "sources": [{"queue": raw_queue("main", self.lane % 1000), "generation": 1}],
            "cursor": {"source": 0, "source_index": self.raw_index},
            "etl": {"version": "test", "shard": self.shard, "config": {}},
        }

    def _snapshot_fields(self) -> SnapshotFields:
        status = self.trust.status(crossed=self.book.crossed())
        good = self.trust.last_good_ts if self.trust.in_gap else self.trust.last_checked_ts
        return self.book.snapshot(status=status, verified_by=self.trust.verified_by, last_good_ts=good)

    def begin(self, ts: int) -> EventBuilder:
        self.raw_index += 1
        self.out.begin(ts, source_index=self.raw_index, source=0)
        return self.out

    def commit(self, ts: int) -> int:
        data, count = self.out.take()
        for record in _records(bytes(data)):
            self._follow(record)
        self.last_ts = ts
        return self.appender.append_event(data, count)

    def _follow(self, record: Record) -> None:
        if record.kind == Kind.BOOK_DELTA:
            fields = record.fields()
            self.book.apply(record.side, fields["price"], fields["size"])
        elif record.kind == Kind.BOOK_SNAPSHOT:
            fields = record.fields()
            self.book.load(
                fields["bids"], fields["asks"], bid_floor=fields["bid_floor"], ask_ceiling=fields["ask_ceiling"]
            )
        self.trust.follow(record, self.fields)
        if record.is_last:
            self.book.truncate()

    def define(self, ts: int) -> int:
        self.begin(ts).instrument(1, self.fields)
        return self.commit(ts)

    def venue_snapshot(
        self,
        ts: int,
        bids: list[tuple[int, int]],
        asks: list[tuple[int, int]],
        *,
        floor: int = layout.INT64_MIN,
        ceiling: int = layout.INT64_MAX,
        verified_by: int = VerifiedBy.NOTHING,
    ) -> int:
        fields = SnapshotFields(bids, asks, Origin.VENUE, 1, verified_by, floor, ceiling)
        self.begin(ts).snapshot(1, fields, ts_event=ts - 5)
        return self.commit(ts)

    def etl_snapshot(self, ts: int) -> int:
        self.begin(ts).snapshot(1, self._snapshot_fields(), ts_event=ts - 5)
        return self.commit(ts)

    def deltas(
        self, ts: int, *changes: tuple[str, int, int], check: Verdict | None = None, sequence: int = NONE
    ) -> int:
        out = self.begin(ts)
        for side, price, size in changes:
            out.delta(1, SIDES[side], price, size, ts_event=ts - 5, sequence=sequence)
        if check is not None:
            out.check(1, CheckRule.KRAKEN_V1, 7, ts_event=ts - 5, verdict=check, computed=7)
        return self.commit(ts)

    def order(self, ts: int, side: str, order_id: int, price: int, size: int) -> int:
        self.begin(ts).order(1, SIDES[side], order_id, price, size, action=layout.Action.ADD, ts_event=ts - 5)
        return self.commit(ts)

    def gap_open(
        self, ts: int, last_good_ts: int, cause: int = Cause.SEQUENCE, missing: tuple[int, int] = (7, 9)
    ) -> int:
        self.begin(ts).gap(
            1, cause, GapState.OPEN, last_good_ts=last_good_ts, first_missing=missing[0], last_missing=missing[1]
        )
        return self.commit(ts)

    def gap_closed(self, ts: int, last_good_ts: int, cause: int = Cause.SEQUENCE) -> int:
        self.begin(ts).gap(1, cause, GapState.CLOSED, last_good_ts=last_good_ts, recovery_ts=ts)
        return self.commit(ts)

    def status(self, ts: int, code: int) -> int:
        self.begin(ts).status(code, {"reason": "test"}, instrument=1)
        return self.commit(ts)

    def redefine(self, ts: int, fields: InstrumentFields) -> int:
        self.book.redefine(
            price_exponent=fields.price_exponent, size_exponent=fields.size_exponent, book_depth=fields.book_depth
        )
        self.fields = fields
        out = self.begin(ts)
        out.instrument(1, fields)
        if self.channel == "book":
            out.snapshot(1, self._snapshot_fields(), ts_event=ts - 5)
        return self.commit(ts)

    def trade(self, ts: int, side: str, price: int, size: int, trade_id: int = NONE) -> int:
        self.begin(ts).trade(1, SIDES[side], price, size, ts_event=ts - 5, trade_id=trade_id)
        return self.commit(ts)

    def quote(self, ts: int, bid: tuple[int, int], ask: tuple[int, int]) -> int:
        self.begin(ts).quote(1, *bid, *ask, ts_event=ts - 5)
        return self.commit(ts)

    def seal(self) -> None:
        self.appender.seal()

    def close(self, *, seal: bool = False) -> None:
        if seal:
            self.appender.seal()
        self.appender.close()


def progress(home: Path, frontier_ts: int, *, shard: str = "main", lane: int = 0, index: int = 1_000) -> None:
    """Append a PROGRESS record: the shard has finished all up to `frontier_ts`."""
    name = f"etl/{shard}/progress{f'@{lane}' if lane else ''}.q"
    queue = Queue.create(home / name, name=name, segment_bytes=1 << 16, exist_ok=True)
    with queue.appender() as appender:
        body = layout.PROGRESS_BODY.pack(0, index, frontier_ts, index)
        appender.append(Kind.PROGRESS, body, ts_recv=frontier_ts)


def _records(data: bytes) -> list[Record]:
    out, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        out.append(Record(data[position : position + length]))
        position += length
    return out
