"""From a socket to committed records: a live session against a server that sends as fast as it is read.

Messages per second of the feed process' own processor time, all of its threads (sealing, preparing segments), so
that the figure is that of one core however busy the machine is; and by the wall clock. Peers receive the same
messages from the same server and keep nothing: no wire, no records, no queue.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from chronicle.core.layout import WireForm
from chronicle.feed.captures.capture import open_capture
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession
from tools.benches.figure import Figure
from tools.benches.flood import flood
from tools.benches.market import CAPTURES, depth_payloads, note, shared_data, venue_payloads, work_folder

MESSAGES = 150_000
PEER_MESSAGES = 20_000
WARM_UP = 5_000
ROUNDS = 3
BATCH = 500
RECORDED = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second of processor time and of the wall clock."""

    processor: float
    wall: float


class Meter:
    """Takes both clocks when WARM_UP messages are through, and when `count` are."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._started: tuple[int, int, int] | None = None

    def look(self, messages: int) -> Rate | None:
        """Return the rate once all messages are through."""
        now = messages, time.process_time_ns(), time.perf_counter_ns()
        if self._started is None:
            if messages >= WARM_UP:
                self._started = now
            return None
        if messages < self.count:
            return None
        done = messages - self._started[0]
        return Rate(done / (now[1] - self._started[1]) * 1e9, done / (now[2] - self._started[2]) * 1e9)


def quotes(count: int) -> list[bytes]:
    """Return best prices of Binance."""
    return [
        b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
        b'"a":"61837.64000000","A":"1.54698000"}}' % number
        for number in range(count)
    ]


def run() -> Iterator[Figure]:
    """Yield the figures."""
    for name, venue, payloads in _cases():
        source = work_folder() / f"{name}.jsonl"
        source.write_bytes(b"\n".join(payloads))
        rate = _best(source, MESSAGES, lambda url, venue=venue: asyncio.run(_session(url, venue)))  # type: ignore[misc]
        figure = f"feed.socket_messages_per_s_{name}"
        for peer, receive in PEERS.items():
            if peer.startswith("picows") and find_spec("picows") is None:
                note(f"peer {peer} is skipped: picows is not installed")
                continue
            found = _best(source, PEER_MESSAGES, lambda url, receive=receive: asyncio.run(receive(url)))  # type: ignore[misc]
            yield Figure(figure, rate.processor, "1/s", MESSAGES, peer, found.processor)
        yield Figure(f"feed.socket_wall_messages_per_s_{name}", rate.wall, "1/s", MESSAGES)


def _cases() -> Iterator[tuple[str, str, list[bytes]]]:
    """Yield (name, venue, messages): a recorded hour's first messages, and seeded ones of each kind."""
    if shared_data() is not None:
        yield "recorded", "binance", _recorded()
    yield "quote", "binance", quotes(BATCH)
    yield "depth_diff", "binance", venue_payloads("binance", BATCH)[1]
    yield "depth20", "binance", depth_payloads(BATCH)
    first, changes = venue_payloads("okx", BATCH)
    yield "okx_books", "okx", [*first, *changes]


def _recorded() -> list[bytes]:
    """Return messages of Binance spot as they came: changes of 100 ms, trades, best prices."""
    folder = shared_data()
    assert folder is not None
    capture = open_capture([folder / path for path in CAPTURES["binance"]], None, None)
    texts = (frame.payload for frame in capture.frames() if frame.form == WireForm.TEXT)
    return list(islice(texts, RECORDED))


def _best(source: Path, count: int, run_once: Callable[[str], Rate]) -> Rate:
    with flood(source, count) as url:
        return max((run_once(url) for _ in range(ROUNDS)), key=lambda rate: rate.processor)


async def _session(url: str, venue: str) -> Rate:
    """Capture what the server sends, wire and raw, into a home in shared memory."""
    home = work_folder() / "socket"
    symbol = {"binance": "BTCUSDT", "okx": "BTC-USDT-SWAP"}[venue]
    spec = FeedSpec(venue, url, (symbol,), ("book",), rest_url="")
    session = FeedSession(home, [spec], settings=ConnectionSettings(backoff_first=30.0))
    stop = asyncio.Event()
    meter, rate = Meter(MESSAGES), None
    task = asyncio.create_task(session.run(stop))
    try:
        while rate is None and not task.done():
            await asyncio.sleep(0.005)
            rate = meter.look(session.connections[0].frame_count)
        records = session.records
    finally:
        stop.set()
        await task
        shutil.rmtree(home, ignore_errors=True)
    if rate is None or records < MESSAGES:
        raise RuntimeError(f"the session ended with {records} records of {MESSAGES} messages")
    return rate


async def _websockets_json(url: str) -> Rate:
    """Receive with `websockets`, parse with json, levels as Decimals in a dict: what Python collectors do."""
    meter, rate, count = Meter(PEER_MESSAGES), None, 0
    async with connect(url, max_size=None, compression=None) as socket:
        while rate is None:
            try:
                message = json.loads(await socket.recv(), parse_float=Decimal)
            except ConnectionClosed:
                break
            _as_decimals(message)
            count += 1
            if count % BATCH == 0:
                rate = meter.look(count)
    assert rate is not None
    return rate


def _as_decimals(message: Any) -> dict[str, dict[Decimal, Decimal]]:
    data = message.get("data", message)
    if type(data) is list:
        data = data[0]
    best = {side: {Decimal(data[side]): Decimal(data[side.upper()])} for side in "ba" if type(data.get(side)) is str}
    return best | {
        side: {Decimal(row[0]): Decimal(row[1]) for row in data[side]}
        for side in ("b", "a", "bids", "asks")
        if type(data.get(side)) is list
    }


async def _picows_msgspec(url: str) -> Rate:
    """Receive with picows, parse with msgspec, and look at nothing."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    meter = Meter(PEER_MESSAGES)
    decode = msgspec.json.Decoder().decode
    found: asyncio.Future[Rate] = asyncio.get_running_loop().create_future()

    class Listener(WSListener):
        def __init__(self) -> None:
            self.count = 0

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.TEXT:
                decode(frame.get_payload_as_bytes())
                self.count += 1
                if self.count % BATCH == 0 and not found.done():
                    rate = meter.look(self.count)
                    if rate is not None:
                        found.set_result(rate)

    transport, _ = await ws_connect(Listener, url)
    rate = await found
    transport.disconnect()
    await transport.wait_disconnected()
    return rate


PEERS: dict[str, Callable[[str], Any]] = {
    "websockets, json, Decimals (keeps nothing)": _websockets_json,
    "picows, msgspec generic (keeps nothing)": _picows_msgspec,
}
