"""The obvious, slow ETL: one event after another, dictionaries for books. The pipeline must say the same.

Written from the rules (docs and DESIGN), not from the pipeline: no windows, no kernels, no resume. It makes, for each
clean queue, a list of (kind, source_index, ordinal, what matters of the body).
"""

from __future__ import annotations

from typing import Any

from chronicle.core.layout import (
    NONE,
    BookStatus,
    Cause,
    Flag,
    GapState,
    Kind,
    Origin,
    SequenceRule,
    Side,
    StatusCode,
    Verdict,
)
from chronicle.core.paths import clean_queue
from chronicle.core.records import InstrumentFields, Record, SnapshotFields
from chronicle.etl.books.book import Book
from chronicle.etl.books.checks import checksum
from tests.support.naive_candles import NaiveCandles

CHANNEL = {
    Kind.BOOK_DELTA: "book",
    Kind.BOOK_SNAPSHOT: "book",
    Kind.ORDER: "book",
    Kind.CHECK: "book",
    Kind.TRADE: "trade",
    Kind.QUOTE: "quote",
}


class NaiveBook:
    """One line's book with everything that is known of it."""

    def __init__(self, fields: InstrumentFields) -> None:
        self.fields = fields
        self.levels: dict[tuple[int, int], int] = {}
        self.started = self.gap = self.lost = False
        self.last = NONE
        self.fresh = False
        self.good_ts = self.checked_ts = NONE
        self.gap_good_ts = NONE
        self.gap_cause = 0
        self.waiting: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        self.deltas = 0
        self.snapshot_ts: int | None = None

    def book(self) -> Book:
        out = Book(
            book_depth=self.fields.book_depth,
            price_exponent=self.fields.price_exponent,
            size_exponent=self.fields.size_exponent,
        )
        out.load(
            [(price, size) for (side, price), size in self.levels.items() if side == Side.BID],
            [(price, size) for (side, price), size in self.levels.items() if side == Side.ASK],
        )
        return out

    def set(self, side: int, price: int, size: int) -> None:
        self.levels.pop((side, price), None)
        if size and side in (Side.BID, Side.ASK):
            self.levels[side, price] = size

    def cut(self) -> None:
        bids, asks = self.book().depth(2**62)
        self.levels = {(Side.BID, price): size for price, size in bids}
        self.levels |= {(Side.ASK, price): size for price, size in asks}

    def status(self) -> BookStatus:
        if not self.started:
            return BookStatus.UNVERIFIED
        if self.gap:
            return BookStatus.GAP
        if self.lost:
            return BookStatus.STALE
        return BookStatus.CROSSED if self.book().crossed() else BookStatus.OK


class NaiveEtl:
    """Feed it events; read `out`."""

    def __init__(self, interval_ns: int, deltas: int) -> None:
        self.interval_ns, self.deltas_max = interval_ns, deltas
        self.fields: dict[int, tuple[InstrumentFields, int]] = {}
        self.ranks: dict[tuple[str, str], dict[int, int]] = {}
        self.books: dict[str, NaiveBook] = {}
        self.candles: dict[str, NaiveCandles] = {}
        self.out: dict[str, list[tuple[Any, ...]]] = {}
        self.ordinals: dict[tuple[str, int], int] = {}

    def event(self, records: list[Record]) -> None:
        groups: dict[str, list[Record]] = {}
        for record in records:
            if record.kind == Kind.INSTRUMENT:
                self._define(record)
            elif record.kind == Kind.STATUS:
                self._status(record)
            elif record.kind in CHANNEL:
                for queue in self._queues(record):
                    groups.setdefault(queue, []).append(record)
        for queue, own in groups.items():
            if "/book" in queue:
                self._book_event(queue, own)
            else:
                for record in own:
                    self._put(queue, record.kind, record.index, tuple(record.fields().values()))
                    if record.kind == Kind.TRADE:
                        self._candles(queue, record)

    def _candles(self, trade_queue: str, record: Record) -> None:
        queue = trade_queue.replace("/trade", "/candle")
        fields, defined_at = self.fields[record.instrument]
        if queue not in self.out:
            self._create(queue, fields, defined_at)
            self.candles[queue] = NaiveCandles()
        values = record.fields()
        for candle in self.candles[queue].take(
            record.ts_recv, record.ts_event, values["price"], values["size"], record.side
        ):
            self._put(queue, Kind.CANDLE, record.index, candle)

    def _define(self, record: Record) -> None:
        fields = InstrumentFields.unpack(record.body)
        before = self.fields.get(record.instrument, (fields, 0))[0]
        changed = fields != self.fields.get(record.instrument, (None, 0))[0]
        self.fields[record.instrument] = (fields, record.index)
        for channel in ("book", "trade", "quote", "candle"):
            for lane in range(0, 4000, 1000):
                queue = clean_queue(fields.symbol, channel, lane)
                if queue not in self.out or not changed:
                    continue
                if channel == "candle":
                    price = 10 ** (fields.price_exponent - before.price_exponent)
                    self.candles[queue].rescale(price, 10 ** (fields.size_exponent - before.size_exponent))
                if channel != "book":
                    self._put(queue, Kind.INSTRUMENT, record.index, None)
                    continue
                book = self.books[queue]
                factor_price = 10 ** (fields.price_exponent - book.fields.price_exponent)
                factor_size = 10 ** (fields.size_exponent - book.fields.size_exponent)
                book.levels = {
                    (side, price * factor_price): size * factor_size for (side, price), size in book.levels.items()
                }
                book.waiting = [
                    (first, last, [(s, p * factor_price, z * factor_size) for s, p, z in levels])
                    for first, last, levels in book.waiting
                ]
                book.fields = fields
                book.cut()
                self._put(queue, Kind.INSTRUMENT, record.index, None)
                book.deltas, book.snapshot_ts = 0, record.ts_recv
                self._put_snapshot(queue, book, record.index, Origin.ETL)

    def _status(self, record: Record) -> None:
        code = record.fields()["code"]
        if record.instrument:
            fields, defined_at = self.fields[record.instrument]
            ranks = self.ranks.get((fields.symbol, "book"), {})
            if ranks and record.source not in ranks:
                return
            queue = clean_queue(fields.symbol, "book", 1000 * ranks.get(record.source, 0))
            self._create(queue, fields, defined_at)
            book = self.books[queue]
            if book.snapshot_ts is None:
                book.snapshot_ts = record.ts_recv
            if book.started and not book.gap:
                self._open(queue, book, Cause.DECODE, book.good_ts, record.index)
            self._put(queue, Kind.STATUS, record.index, code)
            return
        if code not in (StatusCode.DISCONNECTED, StatusCode.CAPTURE_START):
            return
        for (symbol, channel), ranks in self.ranks.items():
            for source in list(ranks):
                if code == StatusCode.CAPTURE_START or source == record.source:
                    queue = clean_queue(symbol, channel, 1000 * ranks.pop(source))
                    if channel == "trade":
                        candles = queue.replace("/trade", "/candle")
                        for candle in self.candles[candles].end_line():
                            self._put(candles, Kind.CANDLE, record.index, candle)
                    if channel == "book":
                        self._put(queue, Kind.STATUS, record.index, code)
                        book = self.books[queue]
                        book.lost = book.lost or (book.started and not book.gap)

    def _queues(self, record: Record) -> list[str]:
        fields, defined_at = self.fields[record.instrument]
        channel = CHANNEL[Kind(record.kind)]
        ranks = self.ranks.setdefault((fields.symbol, channel), {})
        if record.kind == Kind.BOOK_SNAPSHOT and record.source == 0:
            lanes = sorted(ranks.values()) or [0]
        else:
            if record.source not in ranks:
                ranks[record.source] = min(set(range(len(ranks) + 1)) - set(ranks.values()))
            lanes = [ranks[record.source]]
        queues = [clean_queue(fields.symbol, channel, 1000 * lane) for lane in lanes]
        for queue in queues:
            self._create(queue, fields, defined_at)
        return queues

    def _create(self, queue: str, fields: InstrumentFields, defined_at: int) -> None:
        if queue not in self.out:
            self.out[queue] = []
            self._put(queue, Kind.INSTRUMENT, defined_at, None)
            if "/book" in queue:
                self.books[queue] = NaiveBook(fields)

    def _book_event(self, queue: str, records: list[Record]) -> None:
        book = self.books[queue]
        if book.snapshot_ts is None:
            book.snapshot_ts = records[0].ts_recv
        snapshot = next((record for record in records if record.kind == Kind.BOOK_SNAPSHOT), None)
        if snapshot is not None:
            self._venue_snapshot(queue, book, records, snapshot)
        else:
            self._diff(queue, book, records)

    def _diff(self, queue: str, book: NaiveBook, records: list[Record]) -> None:
        ts_recv, index = records[0].ts_recv, records[0].index
        deltas = [record for record in records if record.kind == Kind.BOOK_DELTA]
        levels = [(record.side, record.fields()["price"], record.fields()["size"]) for record in deltas]
        cause = None
        trusted = book.started and not book.gap
        if deltas:
            first, last = deltas[0].fields()["sequence_first"], deltas[0].sequence
            previous = deltas[0].fields()["sequence_previous"]
            rule = book.fields.sequence_rule
            ranged = rule in (SequenceRule.BINANCE_SPOT, SequenceRule.BINANCE_FUTURES)
            if rule == SequenceRule.BINANCE_FUTURES and previous != NONE:
                first = previous + 1
            if trusted:
                proven = ranged
                if ranged:
                    if last <= book.last:
                        return
                    good = first <= book.last + 1 if book.fresh else first == book.last + 1
                elif rule == SequenceRule.OKX_V5:
                    proven = previous != NONE and book.last != NONE
                    good = not proven or previous == book.last
                    if not good and last == book.last:
                        return
                else:
                    good = True
                if book.lost and not (good and proven):
                    cause = Cause.DISCONNECT
                elif not good:
                    cause = Cause.SEQUENCE
        if book.deltas >= self.deltas_max or ts_recv - (book.snapshot_ts or 0) >= self.interval_ns:
            self._put_snapshot(queue, book, index, Origin.ETL)
            book.deltas, book.snapshot_ts = 0, ts_recv
        if deltas:
            book.lost = False
        if cause is not None:
            self._open(queue, book, cause, book.good_ts, index)
        if deltas:
            if ranged and (book.gap or not book.started):
                if not book.waiting or last > book.waiting[-1][1]:
                    if book.waiting and first != book.waiting[-1][1] + 1:
                        book.waiting = []
                    book.waiting.append((first, last, levels))
            elif last != NONE:
                book.last = last
            book.fresh = False
        for level in levels:
            book.set(*level)
        book.cut()
        book.deltas += len(levels)
        verdicts = [self._verdict(book, record) for record in records if record.kind == Kind.CHECK]
        if Verdict.FAILED in verdicts and book.started and not book.gap:
            self._open(queue, book, Cause.CHECK, book.checked_ts, index)
        elif Verdict.PASSED in verdicts and not book.gap:
            book.checked_ts = ts_recv
        if book.started and not book.gap and deltas:
            book.good_ts = ts_recv
        for record in records:
            if record.kind == Kind.CHECK:
                self._put(queue, record.kind, record.index, verdicts.pop(0))
            else:
                values = tuple(record.fields().values())
                self._put(queue, record.kind, record.index, (record.side, *values[:2]))

    def _venue_snapshot(self, queue: str, book: NaiveBook, records: list[Record], record: Record) -> None:
        index, ts_recv = record.index, record.ts_recv
        synced = book.started and not book.gap
        binance = book.fields.sequence_rule in (SequenceRule.BINANCE_SPOT, SequenceRule.BINANCE_FUTURES)
        last = record.sequence
        if binance and synced and book.last != NONE and last < book.last:
            return
        joined: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        if binance and not synced:
            joined = [diff for diff in book.waiting if diff[1] > last]
            if joined and joined[0][0] > last + 1:
                return
        if synced and book.lost:
            self._open(queue, book, Cause.DISCONNECT, book.good_ts, index)
        snapshot = SnapshotFields.unpack(record.body)
        book.levels = {(Side.BID, price): size for price, size in snapshot.bids if size}
        book.levels |= {(Side.ASK, price): size for price, size in snapshot.asks if size}
        book.cut()
        for _, sequence, levels in joined:
            for level in levels:
                book.set(*level)
            book.cut()
            last = sequence
        book.waiting = []
        was_gap, started, checked, good = book.gap, book.started, book.checked_ts, book.good_ts
        book.started, book.gap, book.lost = True, False, False
        book.last, book.fresh = last, not joined
        verdicts = [self._verdict(book, check) for check in records if check.kind == Kind.CHECK]
        book.checked_ts = ts_recv
        if Verdict.FAILED in verdicts:
            if was_gap:
                book.gap = True
            else:
                self._open(queue, book, Cause.CHECK, good if started else NONE, index)
        else:
            if was_gap:
                self._put(queue, Kind.GAP, index, (book.gap_cause, GapState.CLOSED, book.gap_good_ts))
            book.good_ts = ts_recv
        del checked
        book.deltas, book.snapshot_ts = 0, ts_recv
        for own in records:
            if own is record:
                self._put_snapshot(queue, book, own.index, Origin.VENUE)
            elif own.kind == Kind.CHECK:
                self._put(queue, own.kind, own.index, verdicts.pop(0))

    def _verdict(self, book: NaiveBook, record: Record) -> int:
        if not book.started:
            return Verdict.NO_BOOK
        computed = checksum(record.fields()["rule"], book.book(), book.fields)
        return Verdict.PASSED if computed == record.fields()["expected"] else Verdict.FAILED

    def _open(self, queue: str, book: NaiveBook, cause: int, good_ts: int, index: int) -> None:
        book.gap, book.lost, book.gap_good_ts, book.gap_cause = True, False, good_ts, cause
        self._put(queue, Kind.GAP, index, (cause, GapState.OPEN, good_ts))

    def _put_snapshot(self, queue: str, book: NaiveBook, index: int, origin: int) -> None:
        bids, asks = book.book().depth(2**62)
        self._put(queue, Kind.BOOK_SNAPSHOT, index, (origin, book.status(), bids, asks))

    def _put(self, queue: str, kind: int, index: int, what: Any) -> None:
        ordinal = self.ordinals.get((queue, index), 0)
        self.ordinals[queue, index] = ordinal + 1
        self.out[queue].append((Kind(kind).name, index, ordinal, what))


def summary(records: list[Record]) -> list[tuple[Any, ...]]:
    """Return the records of a clean queue as the naive ETL writes them down."""
    out = []
    for record in records:
        what: Any = None
        fields = record.fields()
        if record.kind == Kind.BOOK_SNAPSHOT:
            what = (fields["origin"], fields["status"], fields["bids"], fields["asks"])
        elif record.kind == Kind.GAP:
            what = (fields["cause"], fields["state"], fields["last_good_ts"])
        elif record.kind == Kind.CHECK:
            what = fields["verdict"]
        elif record.kind == Kind.STATUS:
            what = fields["code"]
        elif record.kind in (Kind.BOOK_DELTA, Kind.ORDER):
            what = (record.side, *tuple(fields.values())[:2])
        elif record.kind == Kind.CANDLE:
            sums = [
                (fields[f"{name}_high"] << 64) + fields[f"{name}_low"]
                for name in ("volume", "notional", "buy_volume")
            ]
            head = (fields["timeframe"], record.ts_event, fields["state"], record.flags & Flag.CORRECTION)
            what = (*head, *(fields[name] for name in ("trade_count", "open", "high", "low", "close")), *sums)
        elif record.kind != Kind.INSTRUMENT:
            what = tuple(fields.values())
        out.append((Kind(record.kind).name, record.source_index, record.ordinal, what))
    return out
