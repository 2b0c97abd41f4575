"""Live feeds against the simulated exchange: reconnect, resync, orderly end, and every checksum."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import chronicle
from chronicle.core.clock import SystemClock
from chronicle.core.errors import ConfigError, QueueLockedError
from chronicle.core.layout import STATUS_BODY, Kind, Side, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, Record, SnapshotFields, pack_details
from chronicle.etl import run_shard
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.ledger import Ledger
from chronicle.feed.live import FeedSession, LiveReport, run_feed
from chronicle.feed.replay import replay_capture
from chronicle.feed.simulator import SimulatedExchange
from chronicle.feed.status import read_status, read_statuses
from tests.support.captured import Captured
from tests.support.moved_time import open_patiently
from tests.support.polling import until

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = ConnectionSettings(backoff_first=0.02, backoff_last=0.1)


def records(home: Path, queue: str = "raw/main.q") -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def codes(home: Path) -> Counter[str]:
    """Count the STATUS records by code, but for the heartbeats: there are as many as there were idle seconds."""
    found = Counter(StatusCode(r.fields()["code"]).name for r in records(home) if r.kind == Kind.STATUS)
    del found["HEARTBEAT"]
    return found


def judge(rows: list[Record]) -> tuple[int, int]:
    """Rebuild the books naively and return how many CHECKs hold and how many do not."""
    fields: dict[int, InstrumentFields] = {}
    books: dict[int, dict[int, dict[int, int]]] = {}
    held = failed = 0
    for record in rows:
        if record.kind == Kind.INSTRUMENT:
            fields[record.instrument] = InstrumentFields.unpack(record.body)
        elif record.kind == Kind.BOOK_SNAPSHOT:
            snapshot = SnapshotFields.unpack(record.body)
            books[record.instrument] = {Side.BID: dict(snapshot.bids), Side.ASK: dict(snapshot.asks)}
        elif record.kind == Kind.BOOK_DELTA:
            level = record.fields()
            side = books[record.instrument][record.side]
            side[level["price"]] = level["size"]
        elif record.kind == Kind.CHECK:
            definition, book = fields[record.instrument], books[record.instrument]
            text = ""
            for key, sign in ((Side.ASK, 1), (Side.BID, -1)):
                prices = sorted((price for price, size in book[key].items() if size), key=lambda p, s=sign: s * p)
                book[key] = {price: book[key][price] for price in prices[: definition.book_depth]}
                for price in prices[:10]:
                    text += wire(price, definition.price_exponent, definition.check_price_decimals)
                    text += wire(book[key][price], definition.size_exponent, definition.check_size_decimals)
            good = zlib.crc32(text.encode()) == record.fields()["expected"]
            held, failed = held + good, failed + (not good)
    return held, failed


def wire(mantissa: int, exponent: int, decimals: int) -> str:
    return str(
        mantissa * 10 ** (decimals - exponent) if decimals >= exponent else mantissa // 10 ** (exponent - decimals)
    )


def capture(
    home: Path,
    play: Callable[[SimulatedExchange, FeedSession, Captured], Awaitable[None]],
    *,
    settings: ConnectionSettings = FAST,
    **named: Any,
) -> LiveReport:
    """Capture from an exchange whose market only `play` moves, from when all is subscribed until `play` returns."""

    async def run() -> LiveReport:
        async with SimulatedExchange(rate=0, seed=5) as exchange:
            spec = FeedSpec(
                "kraken",
                exchange.url,
                ("XBT/USD", "kraken:BTC-EUR", "ETH/USD"),
                depth=25,
                rest_url=f"http://127.0.0.1:{exchange.port}",
            )
            session = FeedSession(home, [spec], settings=settings, **named)
            captured, stop = Captured(home), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: task.done() or subscribed(captured), "the subscriptions")
                await play(exchange, session, captured)
            finally:
                stop.set()
            return await task

    return asyncio.run(run())


def subscribed(captured: Captured, times: int = 1) -> bool:
    """Whether three pairs with three channels each were subscribed to so often, and their books have started."""
    books = captured.kind(Kind.BOOK_SNAPSHOT)
    return captured.code(StatusCode.SUBSCRIBED) >= 9 * times and books >= 3 * times


async def checked(exchange: SimulatedExchange, captured: Captured, count: int) -> None:
    """Move the market by `count` messages, and wait until a part of them has come with checksums."""
    before = captured.kind(Kind.CHECK)
    exchange.pump(count)
    await until(lambda: captured.kind(Kind.CHECK) >= before + count // 5, "updates with checksums")


def test_every_frame_is_kept_and_every_checksum_holds(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(2000)
        await until(lambda: captured.kind(Kind.CHECK) > 600, "600 checksums")

    report = capture(tmp_path, play)
    assert report.decode_errors == 0
    held, failed = judge(records(tmp_path))
    assert failed == 0
    assert held > 600
    said = codes(tmp_path)
    assert [said[name] for name in ("CAPTURE_START", "CONNECTED", "SUBSCRIBED", "DISCONNECTED", "CAPTURE_END")] == [
        1,
        1,
        9,
        1,
        1,
    ]
    last = records(tmp_path)[-2:]
    assert [r.fields()["code"] for r in last] == [StatusCode.DISCONNECTED, StatusCode.CAPTURE_END]
    symbols = {r.fields()["details"]["symbol"] for r in records(tmp_path) if r.kind == Kind.INSTRUMENT}
    assert symbols == {"kraken:BTC-USD", "kraken:BTC-EUR", "kraken:ETH-USD"}
    sources = {r.fields()["details"]["from"] for r in records(tmp_path) if r.kind == Kind.INSTRUMENT}
    assert "list" in sources
    status = read_status(tmp_path)
    assert status is not None
    assert (status.lines[0].stream_count, status.lines[0].is_up) == (3, False)


def test_two_feeds_of_one_home_write_queues_of_their_own(tmp_path: Path) -> None:
    async def both() -> list[LiveReport]:
        async with SimulatedExchange(rate=0, seed=5) as exchange:
            rest = f"http://127.0.0.1:{exchange.port}"
            stop = asyncio.Event()
            sessions, captures = [], []
            for name, symbol in (("main", "kraken:BTC-EUR"), ("second", "kraken:ETH-USD")):
                spec = FeedSpec("kraken", exchange.url, (symbol,), depth=25, rest_url=rest)
                sessions.append(FeedSession(tmp_path, [spec], settings=FAST, name=name))
                captures.append(Captured(tmp_path, name))
            tasks = [asyncio.create_task(session.run(stop)) for session in sessions]
            try:
                await until(lambda: all(each.code(StatusCode.SUBSCRIBED) == 3 for each in captures), "subscriptions")
                await until(lambda: all(each.kind(Kind.BOOK_SNAPSHOT) == 1 for each in captures), "books")
                exchange.pump(400)
                await until(lambda: all(each.kind(Kind.CHECK) > 20 for each in captures), "updates")
            finally:
                stop.set()
            return [await task for task in tasks]

    reports = asyncio.run(both())
    assert [report.raw for report in reports] == ["raw/main.q", "raw/second.q"]
    assert [report.wire for report in reports] == ["wire/main.q", "wire/second.q"]
    assert [status.raw for status in read_statuses(tmp_path)] == ["raw/main.q", "raw/second.q"]
    assert [(entry.feed, entry.lane) for entry in Ledger(tmp_path).entries()] == [("main", 0), ("second", 0)]
    report = run_shard(tmp_path, drain=True)
    assert [lane.raw_queue for lane in report.lanes] == ["raw/main.q", "raw/second.q"]
    with chronicle.open(tmp_path) as store:
        for symbol, name in (("kraken:BTC-EUR", "main"), ("kraken:ETH-USD", "second")):
            assert store.book(symbol).bids
            origin = store.explain(next(iter(store.scan([symbol], channel="book").to_arrow().to_pylist())))
            assert origin.raw is not None
            assert origin.raw.queue == f"raw/{name}.q"
            assert origin.wire is None or origin.wire.queue == f"wire/{name}.q"


def test_a_cut_line_comes_back_and_its_books_start_anew(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        for times in (2, 3):
            await checked(exchange, captured, 200)
            exchange.cut_connections()
            await until(lambda n=times: subscribed(captured, n), "a reconnect, and its snapshots")  # type: ignore[misc]
        await checked(exchange, captured, 300)

    report = capture(tmp_path, play)
    assert (report.connects, report.failures) == (3, 2)
    said = codes(tmp_path)
    assert (said["CONNECTED"], said["DISCONNECTED"]) == (3, 3)
    assert sum(r.kind == Kind.BOOK_SNAPSHOT for r in records(tmp_path)) == 9
    assert judge(records(tmp_path))[1] == 0


class StillClock(SystemClock):
    """A clock for whose limits no time passes: three requests come within 5 s of it, however slow the machine is."""

    def monotonic_ns(self) -> int:
        return 0


def test_a_resync_brings_one_symbol_s_snapshot(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(300)
        exchange.drop_next()
        exchange.pump(300)
        with Queue.create(tmp_path / "control/resync.q", name="control/resync.q").appender() as appender:
            for _ in range(3):
                details = pack_details(
                    {"symbol": "kraken:BTC-EUR", "venue": "kraken", "venue_symbol": "XBT/EUR", "channel": "book"}
                )
                appender.append(Kind.STATUS, STATUS_BODY.pack(StatusCode.RESYNC, len(details)) + details, ts_recv=1)
        await until(lambda: captured.kind(Kind.BOOK_SNAPSHOT) == 4, "its snapshot")
        exchange.pump(100)

    report = capture(tmp_path, play, clock=StillClock())
    assert report.resyncs == 1
    rows = records(tmp_path)
    numbers = {r.fields()["details"]["symbol"]: r.instrument for r in rows if r.kind == Kind.INSTRUMENT}
    snapshots = Counter(r.instrument for r in rows if r.kind == Kind.BOOK_SNAPSHOT)
    assert snapshots == {numbers["kraken:BTC-EUR"]: 2, numbers["kraken:BTC-USD"]: 1, numbers["kraken:ETH-USD"]: 1}
    assert judge(rows)[1] > 0
    start = max(r.index for r in rows if r.kind == Kind.BOOK_SNAPSHOT)
    assert codes(tmp_path)["UNSUBSCRIBED"] == 1
    assert start > 100


def test_a_silent_line_is_given_up_after_the_read_deadline(tmp_path: Path) -> None:
    settings = ConnectionSettings(backoff_first=0.02, backoff_last=0.1, read_deadline=0.4)

    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        for task in exchange._tasks:
            task.cancel()
        exchange.mute()
        await until(lambda: session.connections[0].connect_count >= 2, "a reconnect")

    capture(tmp_path, play, settings=settings, opener=open_patiently)
    reasons = [
        r.fields()["details"]["reason"]
        for r in records(tmp_path)
        if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.DISCONNECTED
    ]
    assert reasons[0] == "no frame in 0.4 s"


def test_the_wire_of_a_live_feed_replays_to_the_same_raw(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        await checked(exchange, captured, 300)
        exchange.cut_connections()
        await until(lambda: session.connections[0].connect_count == 2, "a reconnect")

    capture(tmp_path / "live", play)
    report = replay_capture(tmp_path / "again", [tmp_path / "live"])
    assert report.decode_errors == 0
    for queue in ("raw/main.q", "wire/main.q"):
        first = [bytes(r.data) for r in records(tmp_path / "live", queue)]
        assert [bytes(r.data) for r in records(tmp_path / "again", queue)] == first


def test_a_second_live_feed_continues_the_queue_and_its_numbers(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        await checked(exchange, captured, 100)

    first = capture(tmp_path, play)
    second = capture(tmp_path, play)
    assert (first.lane, second.lane) == (0, 0)
    numbers: dict[str, set[int]] = {}
    for record in records(tmp_path):
        if record.kind == Kind.INSTRUMENT:
            numbers.setdefault(record.fields()["details"]["symbol"], set()).add(record.instrument)
    assert all(len(found) == 1 for found in numbers.values())
    assert codes(tmp_path)["CAPTURE_START"] == 2


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        other = FeedSession(tmp_path, [FeedSpec("kraken", exchange.url, ("XBT/USD",))], settings=FAST)
        with pytest.raises(QueueLockedError):
            await other.run(asyncio.Event())

    capture(tmp_path, play)


def test_what_cannot_be_a_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WebSocket"):
        FeedSession(tmp_path, [FeedSpec("kraken", "http://127.0.0.1", ("XBT/USD",))])
    with pytest.raises(ConfigError):
        FeedSession(tmp_path, [])


def test_the_exchange_and_the_feed_as_processes_and_threads(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "chronicle.feed.simulator",
        "--seed",
        "7",
        "--rate",
        "400",
        "--pairs",
        "XBT/USD,ETH/USD",
    ]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    stop = threading.Event()
    reports: list[LiveReport] = []
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        spec = FeedSpec(
            "kraken", f"ws://127.0.0.1:{port}", ("XBT/USD", "ETH/USD"), rest_url=f"http://127.0.0.1:{port}"
        )
        thread = threading.Thread(target=lambda: reports.append(run_feed(tmp_path, [spec], stop, settings=FAST)))
        thread.start()

        async def enough() -> None:
            captured = Captured(tmp_path)
            await until(lambda: captured.kind(Kind.CHECK) > 100 and len(captured.raw) > 500, "500 records")

        asyncio.run(enough())
        stop.set()
        thread.join(300)
        assert not thread.is_alive()
    finally:
        stop.set()
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 0
        process.stdout.close() if process.stdout else None
    assert reports[0].records > 500
    held, failed = judge(records(tmp_path))
    assert (held > 100, failed) == (True, 0)


def test_a_feed_that_finds_nobody_keeps_trying_and_stops_when_told(tmp_path: Path) -> None:
    async def run() -> LiveReport:
        session = FeedSession(tmp_path, [FeedSpec("kraken", "ws://127.0.0.1:9", ("XBT/USD",))], settings=FAST)
        stop = asyncio.Event()
        task = asyncio.create_task(session.run(stop))
        await until(lambda: session.connections[0].failure_count >= 3, "three tries")
        stop.set()
        return await task

    report = asyncio.run(run())
    assert report.connects == 0
    assert codes(tmp_path) == {"CAPTURE_START": 1, "CAPTURE_END": 1}
