"""A live feed and its ETL against a simulated exchange with faults; every `ok` book is compared with the truth."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from chronicle.core.layout import GapState, Kind, Origin, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.etl import run_shard
from chronicle.etl.books.book import Book
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession, LiveReport
from chronicle.feed.simulator import DEFAULT_PAIRS, FaultInjector, SimulatedExchange
from chronicle.feed.simulator.market import SIZE_DECIMALS, Pair
from chronicle.feed.simulator.server import TRUTH_LEVELS, pack_levels
from tests.support.captured import Captured
from tests.support.etl_streams import follow, queue_records, status_word
from tests.support.polling import until

PATIENT = ConnectionSettings(backoff_first=0.02, backoff_last=0.2)
HASTY = ConnectionSettings(read_deadline=1.0, backoff_first=0.02, backoff_last=0.2)
"""For lines that fall silent; elsewhere a machine that stands still for a second is no fault of the venue."""
ENDS_LINE = frozenset({"disconnect", "half_open", "giant"})
PAIRS = DEFAULT_PAIRS[:2]
KEYS_ARE_TIMES = frozenset({"kraken", "coinbase-exchange"})


@dataclass
class Outcome:
    """What a run gave: faults by kind, gaps, and how many `ok` books were compared, with those that differ."""

    report: LiveReport
    faults: Counter[str]
    gaps: int = 0
    recovered: int = 0
    snapshots: int = 0
    disconnects: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    final: dict[str, str] = field(default_factory=dict)
    resident: list[int] = field(default_factory=list)
    errors: list[dict[str, object]] = field(default_factory=list)


def run_with_faults(
    home: Path,
    venue: str,
    rates: dict[str, float],
    *,
    seed: int,
    steps: int,
    limit: int = 0,
    pairs: tuple[Pair, ...] = PAIRS,
) -> Outcome:
    """Pump `steps` market messages through exchange, faults, feed and ETL; then let it recover, and judge."""
    injector = FaultInjector(rates, seed=seed, delay_seconds=0.1, giant_bytes=17 << 20, limit=limit)
    stop_etl = threading.Event()
    failures: list[BaseException] = []

    def etl() -> None:
        try:
            run_shard(home, stop=stop_etl)
        except BaseException as error:
            failures.append(error)

    resident: list[int] = []

    async def play() -> tuple[LiveReport, SimulatedExchange]:
        async with SimulatedExchange(venue=venue, seed=seed, pairs=pairs, rate=0, injector=injector) as exchange:
            spec = FeedSpec(
                venue,
                exchange.url,
                tuple(exchange.speaker.names),
                ("book",),
                depth=10 if venue == "kraken" else 100,
                rest_url=f"http://127.0.0.1:{exchange.port}",
            )
            session = FeedSession(home, [spec], settings=HASTY if "half_open" in rates else PATIENT)
            captured, stop = Captured(home), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            thread = threading.Thread(target=etl)
            try:
                await until(lambda: task.done() or _subscribed(captured, len(pairs)), "the subscriptions")
                thread.start()
                for step in range(steps):
                    exchange.pump(4)
                    await asyncio.sleep(0.005)
                    if step % 200 == 0:
                        resident.append(_resident())
                await until(lambda: _all_happened(exchange, limit), "the last fault")
                injector.rates = {}
                await _recover(home, exchange, session, captured)
            finally:
                stop.set()
                report = await task
                stop_etl.set()
                if thread.ident is not None:
                    await asyncio.to_thread(thread.join)
            return report, exchange

    report, exchange = asyncio.run(play())
    assert not failures, failures
    run_shard(home, drain=True)
    outcome = Outcome(report, injector.counts, resident=resident)
    _judge(home, exchange, venue, outcome)
    return outcome


def _resident() -> int:
    """Return the bytes of memory that are this process' own: pages of mapped queues are the kernel's to reclaim."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _subscribed(captured: Captured, pairs: int) -> bool:
    """Whether all books were subscribed to, and have started."""
    return captured.code(StatusCode.SUBSCRIBED) >= pairs and captured.kind(Kind.BOOK_SNAPSHOT) >= pairs


def _all_happened(exchange: SimulatedExchange, limit: int) -> bool:
    """Whether as many faults happened as should; while a line is down, none does: the market goes on until then."""
    if exchange.injector.counts.total() < limit:
        exchange.pump(4)
    return exchange.injector.counts.total() >= limit


async def _recover(home: Path, exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
    """Go on without faults until every book is `ok` again, as the ETL sees it, and for a while more."""
    queues = [_book_queue(home, exchange, name) for name in exchange.speaker.names]
    fault_count = exchange.injector.counts
    pairs = len(queues)
    if any(fault_count[fault] for fault in ENDS_LINE):

        def started_anew() -> bool:
            exchange.pump(1)
            return captured.code(StatusCode.CONNECTED) > 1 and captured.kind(Kind.BOOK_SNAPSHOT) >= 2 * pairs

        await until(started_anew, "a new line with its snapshots")
    sent = _newest_sent(exchange)

    def arrived() -> bool:
        exchange.pump(1)
        came = _newest_captured(captured, exchange.speaker.venue)
        return all(came.get(name, -1) > key for name, key in sent.items())

    await until(arrived, "updates of every book that are later than the faults")
    seen = session.records
    for _ in range(400):
        exchange.pump(2)
        await asyncio.sleep(0.1)
        if all(_is_ok(queue, seen) for queue in queues):
            break
    else:
        raise AssertionError("a book did not recover in 40 s: no snapshot came, or it was not taken")
    before = captured.kind(Kind.BOOK_DELTA)

    def went_on() -> bool:
        exchange.pump(5)
        return captured.kind(Kind.BOOK_DELTA) > before + 200

    await until(went_on, "updates of whole books")


def _newest_sent(exchange: SimulatedExchange) -> dict[str, int]:
    """Return what names the last update of each book, by the venue's names."""
    return dict(exchange.truth.keys())


def _newest_captured(captured: Captured, venue: str) -> dict[str, int]:
    """Return the same of the updates that came."""
    names: dict[int, str] = {}
    found: dict[str, int] = {}
    for record in captured.raw:
        if record.kind == Kind.INSTRUMENT:
            names[record.instrument] = record.fields()["details"]["venue_symbol"].rpartition("|")[2]
        elif record.kind == Kind.BOOK_DELTA:
            found[names[record.instrument]] = _key(record, venue)
    return found


def _key(record: Record, venue: str) -> int:
    return record.ts_event if venue in KEYS_ARE_TIMES else record.sequence


def _book_queue(home: Path, exchange: SimulatedExchange, name: str) -> Path:
    from chronicle.core.paths import clean_queue
    from chronicle.feed.symbology import from_venue

    return home / clean_queue(from_venue(exchange.speaker.venue, name).name, "book")


def _is_ok(path: Path, raw_index: int) -> bool:
    """Whether the clean book at `path` has come past `raw_index` and is `ok` there."""
    if not (path / "queue.json").exists():
        return False
    last = Queue.open(path).last_record()
    if last is None or last.source_index < raw_index:
        return False
    word = ""
    for _, book, trust in follow([record.copy() for record in Queue.open(path).tailer().drain()]):
        word = status_word(book, trust)
    return word == "ok"


def _judge(home: Path, exchange: SimulatedExchange, venue: str, outcome: Outcome) -> None:
    for record in queue_records(home, "raw/main.q"):
        if record.kind == Kind.STATUS:
            fields = record.fields()
            outcome.disconnects += fields["code"] == StatusCode.DISCONNECTED
            if fields["code"] == StatusCode.DECODE_ERROR:
                outcome.errors.append(fields["details"])
    for name, market in exchange.speaker.markets.items():
        folder = str(_book_queue(home, exchange, name).relative_to(home))
        records = queue_records(home, folder)
        keys = _keys(records, venue)
        for record in records:
            _count(record, outcome)
        for record, book, trust in follow(records):
            outcome.final[name] = word = status_word(book, trust)
            truth = exchange.truth.get((name, keys.get(record.index, -1)))
            if word != "ok" or truth is None:
                continue
            outcome.compared += 1
            if _best(book, market.pair) != (truth.bids, truth.asks):
                outcome.wrong.append(f"{name} at {keys[record.index]}")


def _keys(records: list[Record], venue: str) -> dict[int, int]:
    """Return what names the book's state after each event with changes, by the index of the event's last record."""
    found: dict[int, int] = {}
    key = -1
    for record in records:
        if record.kind == Kind.BOOK_DELTA:
            key = _key(record, venue)
        if record.is_last:
            if key >= 0:
                found[record.index] = key
            key = -1
    return found


def _count(record: Record, outcome: Outcome) -> None:
    if record.kind == Kind.GAP:
        state = record.fields()["state"]
        outcome.gaps += state == GapState.OPEN
        outcome.recovered += state != GapState.OPEN
    elif record.kind == Kind.BOOK_SNAPSHOT and record.fields()["origin"] == Origin.VENUE:
        outcome.snapshots += 1


def _best(book: Book, pair: Pair) -> tuple[bytes, bytes]:
    """Return the best levels as the exchange packs its own."""
    bids, asks = (
        pack_levels(
            (_scaled(price, book.price_exponent, pair.decimals), _scaled(size, book.size_exponent, SIZE_DECIMALS))
            for price, size in side
        )
        for side in book.depth(TRUTH_LEVELS)
    )
    return bids, asks


def _scaled(value: int, exponent: int, wanted: int) -> int:
    return value * 10 ** (wanted - exponent) if wanted >= exponent else value // 10 ** (exponent - wanted)
