"""Live feeds of every venue against a server that plays what that venue once sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import open_capture
from chronicle.feed.dialects import FeedSpec
from tests.support.captured import Captured
from tests.support.recorded_exchange import RecordedExchange, play

pytestmark = pytest.mark.data


@dataclass(frozen=True)
class Session:
    """A recorded session and what is asked of it.

    `by_path` tells recorded connections apart by a part of the path that the client connects to; `snapshots` are
    books that come over HTTP, `sends` the first request that the client must have sent.
    """

    capture: str
    venue: str
    symbols: tuple[str, ...]
    sends: Any
    instruments: int
    channels: tuple[str, ...] = ("book", "trade", "quote")
    depth: int = 100
    by_path: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0


SESSIONS = [
    Session(
        "jsonl/BINANCE_FUTURES.jsonl.zst",
        "binance-usdm",
        ("binance-usdm:SUSHI-USDT-PERP", "AKROUSDT", "KEEPUSDT", "CTKUSDT"),
        {"method": "SUBSCRIBE", "id": 1}
        | {"params": [f"{name}@depth@100ms" for name in ("sushiusdt", "akrousdt", "keepusdt", "ctkusdt")]},
        4,
        channels=("book",),
        snapshots=4,
    ),
    Session(
        "jsonl/BINANCE_DELIVERY.jsonl.zst",
        "binance-coinm",
        ("binance-coinm:LINK-USD-PERP", "BTCUSD_211231"),
        {"method": "SUBSCRIBE", "params": ["linkusd_perp@aggTrade", "btcusd_211231@aggTrade"], "id": 1},
        10,
        channels=("trade",),
    ),
    Session(
        "jsonl/BINANCE_US.jsonl.zst",
        "binance-us",
        ("CRVUSDT", "COMPUSDT", "OMGBUSD", "ZRXUSDT"),
        {"method": "SUBSCRIBE", "id": 1}
        | {"params": [f"{name}@depth@100ms" for name in ("crvusdt", "compusdt", "omgbusd", "zrxusdt")]},
        4,
        channels=("book",),
        snapshots=4,
    ),
    Session(
        "jsonl/BYBIT.jsonl.zst",
        "bybit",
        ("bybit:BTC-USDT-PERP", "bybit:ETH-USDT-PERP", "bybit:BTC-USDT", "bybit:ETH-USDT"),
        {"op": "subscribe"}
        | {
            "args": [
                *("orderbook.200.BTCUSDT", "orderbook.200.ETHUSDT", "publicTrade.BTCUSDT", "publicTrade.ETHUSDT"),
                *("tickers.BTCUSDT", "tickers.ETHUSDT"),
            ]
        },
        6,
        depth=200,
        by_path={"linear": 1, "spot": 2},
    ),
    Session(
        "jsonl/COINBASE.jsonl.zst",
        "coinbase",
        ("coinbase:BTC-USD", "ETH-USD"),
        {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "level2"},
        2,
    ),
    Session(
        "raw-text/COINBASE",
        "coinbase-exchange",
        ("coinbase-exchange:SKL-USD", "BAND-GBP"),
        {"type": "subscribe", "product_ids": ["SKL-USD", "BAND-GBP"]}
        | {"channels": ["level2_batch", "matches", "ticker", "heartbeat"]},
        10,
    ),
    Session(
        "jsonl/KRAKEN_FUTURES.jsonl.zst",
        "kraken-futures",
        ("PI_XRPUSD", "fi_ethusd_211231", "kraken-futures:BTC-USD-210924"),
        {"event": "subscribe", "feed": "book", "product_ids": ["PI_XRPUSD", "FI_ETHUSD_211231", "FI_XBTUSD_210924"]},
        10,
    ),
    Session(
        "jsonl/BITGET.jsonl.zst",
        "bitget",
        ("bitget:EOS-USDT", "bitget:DASH-USDT-PERP"),
        {"op": "subscribe"}
        | {
            "args": [
                {"instType": "SP", "channel": name, "instId": "EOSUSDT"} for name in ("books", "trade", "ticker")
            ]
        },
        10,
        by_path={"spot": 1, "mix": 2},
    ),
    Session(
        "jsonl/KUCOIN.jsonl.zst",
        "kucoin",
        ("kucoin:ANKR-BTC", "SNX-BTC"),
        {"id": "1", "type": "subscribe", "topic": "/market/level2:ANKR-BTC,SNX-BTC", "response": True},
        10,
        snapshots=2,
    ),
    Session(
        "jsonl/DERIBIT.jsonl.zst",
        "deribit",
        ("BTC-24SEP21-8000-P", "deribit:ETH-USD-210730-2800-C"),
        {"jsonrpc": "2.0", "id": 1, "method": "public/set_heartbeat", "params": {"interval": 10}},
        10,
    ),
    Session(
        "jsonl/GATEIO.jsonl.zst",
        "gateio",
        ("gateio:OMG-USDT", "NEO_BTC"),
        {"time": 0, "channel": "spot.order_book_update", "event": "subscribe", "payload": ["OMG_USDT", "100ms"]},
        10,
        snapshots=2,
    ),
    Session(
        "jsonl/BITFINEX.jsonl.zst",
        "bitfinex",
        ("bitfinex:BFT-USD", "tTESTBTC:TESTUSD"),
        {"event": "conf", "flags": 65536},
        7,
        channels=("book", "trade"),
    ),
    Session(
        "raw-text/BITMEX",
        "bitmex",
        ("bitmex:BTC-USD-PERP", "bitmex:XRP-BTC-210924"),
        {"op": "subscribe"}
        | {"args": [f"{t}:{s}" for t in ("orderBookL2", "trade", "quote") for s in ("XBTUSD", "XRPU21")]},
        10,
    ),
]


def records(home: Path, queue: str = "raw/main.q") -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def frames_of(shared_data: Path, name: str) -> list[Frame]:
    folder = shared_data / "cryptofeed-ws"
    paths = [folder / name] if name.endswith(".zst") else sorted((folder / name).parent.glob(f"{Path(name).name}.*"))
    return list(open_capture(paths).frames())


def token(exchange: RecordedExchange) -> Callable[[str], bytes]:
    """Answer KuCoin's token request with the address of this server."""
    body = exchange._body

    def answered(path: str) -> bytes:
        if path == "/api/v1/bullet-public":
            server = {"endpoint": f"ws://127.0.0.1:{exchange.port}/endpoint", "pingInterval": 18000}
            return json.dumps({"code": "200000", "data": {"token": "T0", "instanceServers": [server]}}).encode()
        return body(path)

    return answered


@pytest.mark.parametrize("session", SESSIONS, ids=[session.venue for session in SESSIONS])
def test_a_recorded_session_is_captured_live(shared_data: Path, tmp_path: Path, session: Session) -> None:
    frames = frames_of(shared_data, session.capture)
    speaks: Callable[[str, str], int] | None = None
    if session.by_path:

        def speaks(first: str, path: str) -> int:
            return next(number for part, number in session.by_path.items() if part in path)

    exchange = RecordedExchange(frames, speaks)
    if session.venue == "kucoin":
        exchange._body = token(exchange)  # type: ignore[method-assign]
    count = sum(map(len, exchange.texts.values())) if session.by_path else len(next(iter(exchange.texts.values())))

    def make(url: str, rest: str) -> FeedSpec:
        url += "/v1" if session.venue == "bitget" else ""  # what was recorded
        return FeedSpec(session.venue, url, session.symbols, session.channels, session.depth, rest)

    captured = Captured(tmp_path)

    def done() -> bool:
        books = min(captured.answers("depth", "level2", "order_book"), captured.kind(Kind.BOOK_SNAPSHOT))
        return captured.form(WireForm.TEXT) >= count and books >= session.snapshots

    report = play(tmp_path, exchange, make, done)
    rows = records(tmp_path)
    assert report.decode_errors == 0, [r.fields() for r in rows if r.kind == Kind.STATUS][:20]
    place = next(iter(session.by_path), "")
    first = next(said for path, said in exchange.said if place in path)
    assert first == session.sends
    kinds = Counter(record.kind for record in rows)
    assert kinds[Kind.BOOK_DELTA] > 0
    assert kinds[Kind.BOOK_SNAPSHOT] >= session.snapshots
    codes = Counter(record.fields()["code"] for record in rows if record.kind == Kind.STATUS)
    assert codes[StatusCode.LOST] == 0
    instruments = {r.instrument: r.fields()["details"] for r in rows if r.kind == Kind.INSTRUMENT}
    assert len(instruments) >= session.instruments - 2
    assert {details["from"] for details in instruments.values()} & {"list"}
    wire = [record.fields() for record in records(tmp_path, "wire/main.q")]
    kept = Counter(fields["payload"] for fields in wire if fields["form"] == WireForm.TEXT)
    played = [text.encode() for number in exchange.texts for text in exchange.texts[number]]
    if session.by_path or len(exchange.texts) == 1:
        assert kept == Counter(played)
    assert not any(b"T0" in str(fields["address"]).encode() for fields in wire), "the token is nobody's business"
