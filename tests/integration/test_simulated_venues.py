"""Live feeds of venues that no capture holds, against a market that speaks as they do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession, LiveReport
from chronicle.feed.simulator import DEFAULT_PAIRS, SimulatedExchange
from tests.support.captured import Captured
from tests.support.moved_time import open_patiently
from tests.support.polling import until

KEY = "k3y-of-nobody"
SETTINGS = ConnectionSettings(backoff_first=0.02, backoff_last=0.1)


def records(home: Path, queue: str = "raw/main.q") -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def capture(
    home: Path,
    venue: str,
    make: Callable[[SimulatedExchange], list[FeedSpec]],
    done: Callable[[Captured], bool],
    *,
    step: Callable[[SimulatedExchange], None] = lambda exchange: exchange.pump(5),
    settings: ConnectionSettings = SETTINGS,
    **named: Any,
) -> LiveReport:
    """Capture from a market that moves by a `step` at each look, until what is captured is `done`."""

    async def run() -> LiveReport:
        async with SimulatedExchange(venue=venue, seed=3, pairs=DEFAULT_PAIRS[:2], rate=0) as exchange:
            session = FeedSession(home, make(exchange), settings=settings, **named)
            captured, stop = Captured(home), asyncio.Event()
            task = asyncio.create_task(session.run(stop))

            def over() -> bool:
                if task.done():
                    task.result()
                step(exchange)
                return done(captured)

            try:
                await until(over, "the end of the session")
            finally:
                stop.set()
            return await task

    return asyncio.run(run())


def enough(*kinds: Kind) -> Callable[[Captured], bool]:
    """Return whether both instruments are known and more than twenty records of each kind came."""

    def came(captured: Captured) -> bool:
        instruments = {record.instrument for record in captured.raw if record.kind == Kind.INSTRUMENT}
        return len(instruments) == 2 and min(captured.kind(kind) for kind in kinds) > 20

    return came


def polygon(exchange: SimulatedExchange, key: str = KEY) -> list[FeedSpec]:
    symbols = ("polygon:XBTUSD", "polygon:ETH-USD")
    return [FeedSpec("polygon", exchange.url, symbols, rest_url=f"http://127.0.0.1:{exchange.port}", key=key)]


def test_polygon_is_captured_with_a_key_that_no_queue_keeps(tmp_path: Path) -> None:
    report = capture(tmp_path, "polygon", polygon, enough(Kind.TRADE, Kind.QUOTE))
    assert (report.decode_errors, report.failures) == (0, 0)
    rows = records(tmp_path)
    kinds = Counter(record.kind for record in rows)
    assert min(kinds[Kind.TRADE], kinds[Kind.QUOTE]) > 20
    details = {r.instrument: r.fields()["details"] for r in rows if r.kind == Kind.INSTRUMENT}
    assert {entry["symbol"]: entry["from"] for entry in details.values()} == {
        "polygon:XBTUSD": "list",
        "polygon:ETH-USD": "list",
    }
    trades = [record.sequence for record in rows if record.kind == Kind.TRADE]
    assert trades == sorted(trades)
    sent = [r.fields()["payload"] for r in records(tmp_path, "wire/main.q") if r.fields()["form"] == WireForm.SENT]
    assert len([text for text in sent if b'"auth"' in text]) == 2, "a cluster each"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_polygon_s_silence_at_night_is_no_lost_line(tmp_path: Path) -> None:
    looks = Counter[str]()

    def quiet(captured: Captured) -> bool:
        looks["up"] += captured.form(WireForm.CONNECTED) == 2
        return looks["up"] > 350  # three read deadlines and more

    short = ConnectionSettings(read_deadline=1.0, backoff_first=0.02, backoff_last=0.1)
    still = {"step": lambda exchange: None, "settings": short, "opener": open_patiently}
    report = capture(tmp_path, "polygon", polygon, quiet, **still)
    assert (report.connects, report.failures) == (2, 0)


def test_polygon_without_a_good_key_says_so(tmp_path: Path) -> None:
    def refused(captured: Captured) -> bool:
        return captured.code(StatusCode.ERROR) > 0

    capture(tmp_path, "polygon", lambda exchange: polygon(exchange, key=""), refused)
    codes = [r.fields()["code"] for r in records(tmp_path) if r.kind == Kind.STATUS]
    assert StatusCode.ERROR in codes


def test_coinbase_exchange_finds_a_match_that_never_came(tmp_path: Path) -> None:
    def make(exchange: SimulatedExchange) -> list[FeedSpec]:
        rest = f"http://127.0.0.1:{exchange.port}"
        return [FeedSpec("coinbase-exchange", exchange.url, ("coinbase-exchange:BTC-USD", "ETH-USD"), rest_url=rest)]

    whole = enough(Kind.TRADE, Kind.QUOTE, Kind.BOOK_DELTA)
    report = capture(tmp_path, "coinbase-exchange", make, whole)
    assert report.decode_errors == 0
    rows = records(tmp_path)
    kinds = Counter(record.kind for record in rows)
    assert min(kinds[Kind.TRADE], kinds[Kind.QUOTE], kinds[Kind.BOOK_DELTA]) > 20
    codes = Counter(r.fields()["code"] for r in rows if r.kind == Kind.STATUS)
    assert codes[StatusCode.LOST] == 0
    assert codes[StatusCode.SUBSCRIBED] == 8, "two products, three channels and the heartbeat"

    def lossy(exchange: SimulatedExchange) -> None:
        exchange.injector.rates = {"drop": 0.05} if exchange.message_count > 200 else {}
        exchange.pump(5)

    def lost(captured: Captured) -> bool:
        return captured.code(StatusCode.LOST) > 0

    capture(tmp_path / "lossy", "coinbase-exchange", make, lost, step=lossy)
    codes = Counter(r.fields()["code"] for r in records(tmp_path / "lossy") if r.kind == Kind.STATUS)
    assert codes[StatusCode.LOST] > 0


def test_bitget_v2_is_captured_with_checks_and_numbers(tmp_path: Path) -> None:
    def make(exchange: SimulatedExchange) -> list[FeedSpec]:
        rest = f"http://127.0.0.1:{exchange.port}"
        return [FeedSpec("bitget", exchange.url, ("bitget:BTC-USDT", "ETHUSDT"), rest_url=rest)]

    whole = enough(Kind.TRADE, Kind.QUOTE, Kind.BOOK_DELTA, Kind.CHECK)
    report = capture(tmp_path, "bitget", make, whole)
    assert report.decode_errors == 0
    rows = records(tmp_path)
    kinds = Counter(record.kind for record in rows)
    assert min(kinds[kind] for kind in (Kind.TRADE, Kind.QUOTE, Kind.BOOK_DELTA, Kind.CHECK)) > 20
    assert {r.fields()["details"]["from"] for r in rows if r.kind == Kind.INSTRUMENT} == {"list"}
