"""Live feeds of OKX and Binance against a server that sends what those exchanges once sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import open_capture
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession, LiveReport
from tests.support.captured import Captured
from tests.support.polling import until

REPOSITORY = Path(__file__).resolve().parents[2]


def records(home: Path, queue: str = "raw/main.q") -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def play(
    home: Path, frames: list[Frame], books: int, make: Callable[[str, str], FeedSpec]
) -> tuple[LiveReport, list[Any]]:
    """Serve recorded `frames` after the client's first message; return the report (once so many `books` and all
    frames were taken) and what the client said."""
    bodies = {
        urlsplit(f.address).path + "?" + urlsplit(f.address).query: f.payload
        for f in frames
        if f.form == WireForm.HTTP
    }
    texts = [f.payload.decode() for f in frames if f.form == WireForm.TEXT]
    asked: list[Any] = []

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if "/api/" not in request.path:
            return None
        path = request.path if "?" in request.path else request.path + "?"
        body = bodies.get(path, b"{}")
        return Response(HTTPStatus.OK, "OK", Headers({"Content-Length": str(len(body)), "Connection": "close"}), body)

    async def session(socket: ServerConnection) -> None:
        asked.append(json.loads(await socket.recv()))
        for text in texts:
            await socket.send(text)
        await socket.wait_closed()

    async def run() -> LiveReport:
        async with serve(session, "127.0.0.1", 0, process_request=answer) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            feed = FeedSession(home, [make(f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}")])
            stop = asyncio.Event()
            task = asyncio.create_task(feed.run(stop))
            captured = Captured(home)

            def done() -> bool:
                return captured.form(WireForm.TEXT) >= len(texts) and captured.kind(Kind.BOOK_SNAPSHOT) >= books

            try:
                await until(lambda: task.done() or done(), "all frames and books")
            finally:
                stop.set()
            return await task

    return asyncio.run(run()), asked


def test_okx_is_captured_live_with_every_check(shared_data: Path, tmp_path: Path) -> None:
    frames = list(open_capture([shared_data / "cryptofeed-ws/jsonl/OKX.jsonl.zst"]).frames())
    symbols = ("BTC-USD-220527", "UNI-USD-SWAP", "okx:BTC-USDT")
    report, asked = play(tmp_path, frames, 3, lambda url, rest: FeedSpec("okx", url, symbols, rest_url=rest))
    assert report.decode_errors == 0
    assert [len(request["args"]) for request in asked] == [9]
    kinds = Counter(record.kind for record in records(tmp_path))
    assert (kinds[Kind.CHECK], kinds[Kind.BOOK_SNAPSHOT]) == (290, 3)
    sources = {r.fields()["details"]["from"] for r in records(tmp_path) if r.kind == Kind.INSTRUMENT}
    assert "list" in sources


def test_binance_is_captured_live_with_its_rest_snapshots(shared_data: Path, tmp_path: Path) -> None:
    frames = list(open_capture([shared_data / "cryptofeed-ws/jsonl/BINANCE.jsonl.zst"]).frames())
    symbols = ("NKNUSDT", "BLZETH", "binance:LRC-BTC", "RUNEEUR")

    def make(url: str, rest: str) -> FeedSpec:
        return FeedSpec("binance", url, symbols, ("book",), rest_url=rest)

    report, asked = play(tmp_path, frames, 4, make)
    assert report.decode_errors == 0
    assert asked[0]["params"] == [f"{name}@depth@100ms" for name in ("nknusdt", "blzeth", "lrcbtc", "runeeur")]
    kinds = Counter(record.kind for record in records(tmp_path))
    assert kinds[Kind.BOOK_SNAPSHOT] == 4
    assert kinds[Kind.BOOK_DELTA] == 422


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=REPOSITORY, env=environment)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_live_feed_killed_at_any_moment_is_continued(tmp_path: Path, seed: int) -> None:
    """After a kill -9 the next session appends behind it; the wire then replays to the very same raw queue."""
    from chronicle.feed.replay import replay_capture
    from chronicle.feed.simulator import DEFAULT_PAIRS, SimulatedExchange

    script = (
        "import sys, threading\nfrom chronicle.feed.dialects import FeedSpec\n"
        "from chronicle.feed.live import run_feed\n"
        "run_feed(sys.argv[1], [FeedSpec('kraken', sys.argv[2], ('XBT/USD',), depth=10)], threading.Event())\n"
    )
    home = tmp_path / "home"

    async def run() -> LiveReport:
        async with SimulatedExchange(seed=seed, pairs=DEFAULT_PAIRS[:1], rate=600) as exchange:
            process = start(script, str(home), exchange.url)
            try:
                queue = home / "raw/main.q"
                await until(
                    lambda: (queue / "queue.json").exists() and Queue.open(queue).end_index() > 150 * seed, "records"
                )
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            session = FeedSession(
                home, [FeedSpec("kraken", exchange.url, ("XBT/USD",), depth=10)], settings=ConnectionSettings()
            )
            stop = asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: session.records > 100, "records of the second session")
            finally:
                stop.set()
            return await task

    asyncio.run(run())
    rows = records(home)
    assert [r.ts_recv for r in rows] == sorted(r.ts_recv for r in rows)
    codes = Counter(r.fields()["code"] for r in rows if r.kind == Kind.STATUS)
    assert (codes[StatusCode.CAPTURE_START], codes[StatusCode.CAPTURE_END]) == (2, 1)
    replay_capture(tmp_path / "again", [home])
    for name in ("raw/main.q", "wire/main.q"):
        assert [bytes(r.data) for r in records(tmp_path / "again", name)] == [
            bytes(r.data) for r in records(home, name)
        ]
