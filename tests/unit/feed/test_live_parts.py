"""Parts of live feeds that need no network: dialects, backoff, resync limits, status."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.errors import ConfigError
from chronicle.core.layout import STATUS_BODY, Kind, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import pack_details
from chronicle.feed.backoff import Backoff
from chronicle.feed.dialects import FeedSpec, dialect_for, venue_symbols
from chronicle.feed.resync import BURST, INTERVAL_NS, RESYNC_QUEUE, ResyncRequest, ResyncRequests
from chronicle.feed.status import read_status


def test_symbols_are_taken_in_either_spelling() -> None:
    assert venue_symbols(FeedSpec("kraken", symbols=("XBT/EUR", "kraken:BTC-EUR", "kraken:ETH-USD"))) == [
        "XBT/EUR",
        "ETH/USD",
    ]
    assert venue_symbols(FeedSpec("okx", symbols=("okx:BTC-USD-PERP",))) == ["BTC-USD-SWAP"]
    assert venue_symbols(FeedSpec("binance", symbols=("binance:BTC-USDT", "ETHUSDT"))) == ["BTCUSDT", "ETHUSDT"]


def test_kraken_is_spoken() -> None:
    dialect = dialect_for(FeedSpec("kraken", "ws://x", ("XBT/EUR", "ETH/USD"), ("book", "quote"), depth=25))
    assert [json.loads(text) for text in dialect.subscribe()] == [
        {"event": "subscribe", "pair": ["XBT/EUR", "ETH/USD"], "subscription": {"name": "book", "depth": 25}},
        {"event": "subscribe", "pair": ["XBT/EUR", "ETH/USD"], "subscription": {"name": "ticker"}},
    ]
    assert [json.loads(text)["event"] for text in dialect.resync("XBT/EUR", "book")] == ["unsubscribe", "subscribe"]
    assert dialect.lists() == []
    assert dialect_for(FeedSpec("kraken", symbols=("XBT/EUR",))).lists() == [
        "https://api.kraken.com/0/public/AssetPairs"
    ]


def test_okx_is_spoken() -> None:
    dialect = dialect_for(FeedSpec("okx", "ws://x", ("BTC-USDT",), ("book", "trade"), rest_url="http://y/"))
    assert [json.loads(text) for text in dialect.subscribe()] == [
        {
            "op": "subscribe",
            "args": [{"channel": "books", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "BTC-USDT"}],
        }
    ]
    assert dialect.lists()[0] == "http://y/api/v5/public/instruments?instType=SPOT"
    assert [json.loads(text)["op"] for text in dialect.resync("BTC-USDT", "book")] == ["unsubscribe", "subscribe"]


def test_binance_is_spoken() -> None:
    dialect = dialect_for(FeedSpec("binance", "ws://x", ("btcusdt",), ("book",), rest_url="http://y"))
    assert json.loads(dialect.subscribe()[0])["params"] == ["btcusdt@depth@100ms"]
    assert dialect.snapshots() == ["http://y/api/v3/depth?symbol=BTCUSDT&limit=1000"]
    assert dialect.resync("BTCUSDT", "book") == []
    assert dialect.carries("BTCUSDT", "book")
    assert not dialect.carries("BTCUSDT", "trade")


@pytest.mark.parametrize(
    "spec",
    [
        FeedSpec("nasdaq", "ws://x", ("AMZN",)),
        FeedSpec("kraken", "ws://x", ()),
        FeedSpec("kraken", "ws://x", ("XBT/EUR",), ("candle",)),
        FeedSpec("kraken", "ws://x", ("XBT/EUR",), depth=11),
    ],
)
def test_feeds_that_cannot_be_are_refused(spec: FeedSpec) -> None:
    with pytest.raises(ConfigError):
        dialect_for(spec)


def test_backoff_doubles_to_its_bound_with_jitter_and_starts_anew() -> None:
    backoff = Backoff(random.Random(4))
    delays = [backoff.next() for _ in range(10)]
    for delay, most in zip(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert most / 2 <= delay <= most
    backoff.reset()
    assert backoff.next() <= 1.0


def ask(appender: Any, symbol: str, **changes: Any) -> None:
    details = {"symbol": f"kraken:{symbol}", "venue": "kraken", "venue_symbol": symbol, "channel": "book"} | changes
    packed = pack_details(details)
    appender.append(Kind.STATUS, STATUS_BODY.pack(StatusCode.RESYNC, len(packed)) + packed, ts_recv=1)


def test_resyncs_are_limited_per_symbol_and_over_all(tmp_path: Path) -> None:
    clock = FakeClock()
    requests = ResyncRequests(tmp_path, clock)
    assert requests.poll() == []
    with Queue.create(tmp_path / RESYNC_QUEUE, name=RESYNC_QUEUE).appender() as appender:
        ask(appender, "A")
        ask(appender, "A")
        ask(appender, "B", channel="nonsense")
        ask(appender, "B", venue=7)
        appender.append(Kind.STATUS, b"", ts_recv=2)
        assert requests.poll() == [ResyncRequest("kraken", "A", "book", "kraken:A")]
        clock.sleep_ns(INTERVAL_NS)
        for number in range(BURST + 5):
            ask(appender, f"S{number}")
        assert len(requests.poll()) == BURST
        assert requests.dropped_count == 6
        clock.sleep_ns(2 * 10**9)
        for number in range(BURST, BURST + 5):
            ask(appender, f"S{number}")
        assert len(requests.poll()) == 2
    requests.close()


def test_requests_of_before_the_session_are_not_answered(tmp_path: Path) -> None:
    with Queue.create(tmp_path / RESYNC_QUEUE, name=RESYNC_QUEUE).appender() as appender:
        ask(appender, "A")
        requests = ResyncRequests(tmp_path, FakeClock())
        assert requests.poll() == []
        ask(appender, "B")
        assert [request.venue_symbol for request in requests.poll()] == ["B"]
    requests.close()


def test_a_missing_or_foreign_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "control").mkdir()
    (tmp_path / "control/feed.json").write_text("[1]")
    assert read_status(tmp_path) is None
