"""The WebSocket server of the simulated exchange, with faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from chronicle.core.clock import Clock, SystemClock
from chronicle.feed.simulator import protocol
from chronicle.feed.simulator.market import DEFAULT_PAIRS, Market, Pair, Step

__all__ = ["Faults", "SimulatedExchange"]

OUTBOX_MESSAGES_MAX: Final = 20_000
"""A client that falls this far behind is disconnected, as exchanges do."""
TICK_SECONDS: Final = 0.01
HEARTBEAT_SECONDS: Final = 1.0
BURST_MAX: Final = 2_000
"""Messages of one tick; a server that was stopped for a while does not make up for it."""


@dataclass(slots=True)
class Faults:
    """What goes wrong, each at every N-th market message (0 = never)."""

    drop_every: int = 0
    """A book update is not sent: the next checksum of that book fails."""
    corrupt_every: int = 0
    """A book update carries a wrong checksum."""
    close_every: int = 0
    """All connections are cut, without a close frame."""


@dataclass(slots=True, eq=False)
class _Session:
    connection: ServerConnection
    outbox: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(OUTBOX_MESSAGES_MAX))
    channels: dict[tuple[str, str], int] = field(default_factory=dict)
    """(channel, pair) -> depth (0 where there is none)."""
    lagging: bool = False
    muted: bool = False

    def post(self, message: str) -> None:
        if self.muted:
            return
        if self.outbox.full():
            self.lagging = True
            return
        self.outbox.put_nowait(message)


class SimulatedExchange:
    """An exchange on loopback: systemStatus, subscriptions, book with CRC32, trade, ticker, heartbeat; AssetPairs.

    Parameters
    ----------
    seed : int
        The market's randomness; equal seeds give equal books after equal numbers of messages.
    pairs : sequence of Pair
        What is traded.
    rate : float
        Market messages a second, over all pairs; 0: only :meth:`pump` moves the market.
    depth : int
        Levels that each side of a book keeps, roughly.
    host, port
        Where to listen; port 0 takes a free one (see :attr:`port` once started).
    faults : Faults, optional
        What goes wrong.
    clock : Clock, optional
        For the times in messages.

    Examples
    --------
    >>> async def trade() -> int:
    ...     async with SimulatedExchange(seed=7, rate=0) as exchange:
    ...         exchange.pump(10)
    ...         return exchange.message_count
    >>> asyncio.run(trade())
    10
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        pairs: tuple[Pair, ...] = DEFAULT_PAIRS,
        rate: float = 200.0,
        depth: int = 200,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.markets = {pair.name: Market(pair, seed, depth) for pair in pairs}
        self.rate = rate
        self.faults = faults or Faults()
        self.message_count = 0
        self.host = host
        self._port = port
        self._clock = clock or SystemClock()
        self._random = random.Random(f"{seed}:order")  # noqa: S311 - a market, not a secret
        self._names = list(self.markets)
        self._sessions: set[_Session] = set()
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._drop = self._corrupt = False

    async def __aenter__(self) -> SimulatedExchange:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Address of the WebSocket."""
        return f"ws://{self.host}:{self._port}"

    @property
    def list_url(self) -> str:
        """Address of the list of pairs."""
        return f"http://{self.host}:{self._port}/0/public/AssetPairs"

    @property
    def session_count(self) -> int:
        """Clients that are connected."""
        return len(self._sessions)

    async def start(self) -> None:
        """Listen, and let the market move."""
        self._server = await serve(
            self._session, self.host, self._port, process_request=self._http, compression=None, ping_interval=None
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._heartbeats())]

    async def stop(self) -> None:
        """Close all connections and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def pump(self, count: int) -> None:
        """Move the market by `count` messages, now."""
        for _ in range(count):
            self._step()

    def drop_next(self) -> None:
        """Do not send the next book update."""
        self._drop = True

    def corrupt_next(self) -> None:
        """Send the next book update with a wrong checksum."""
        self._corrupt = True

    def mute(self) -> None:
        """Say nothing any more to those who are connected now, and stay connected."""
        for session in self._sessions:
            session.muted = True

    def cut_connections(self) -> None:
        """Cut all connections without a close frame, as a network does."""
        for session in list(self._sessions):
            session.connection.transport.abort()

    # --- the market ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        due = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            due = min(due + self.rate * TICK_SECONDS, BURST_MAX)
            while due >= 1.0:
                due -= 1.0
                self._step()

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for session in self._sessions:
                if session.channels:
                    session.post('{"event":"heartbeat"}')

    def _step(self) -> None:
        self.message_count += 1
        count, faults = self.message_count, self.faults
        self._drop = self._drop or bool(faults.drop_every and count % faults.drop_every == 0)
        self._corrupt = self._corrupt or bool(faults.corrupt_every and count % faults.corrupt_every == 0)
        market = self.markets[self._random.choice(self._names)]
        name = market.pair.name
        watchers = [
            (session, depth)
            for session in self._sessions
            if (depth := session.channels.get(("book", name), 0)) and not session.lagging
        ]
        step = market.step({depth for _, depth in watchers})
        self._publish(market, step, watchers)
        if faults.close_every and count % faults.close_every == 0:
            self.cut_connections()

    def _publish(self, market: Market, step: Step, watchers: list[tuple[_Session, int]]) -> None:
        name, now = market.pair.name, self._clock.now_ns()
        texts: dict[int, str] = {}
        if any(step.asks.values()) or any(step.bids.values()):
            check = protocol.checksum(market)
            if self._corrupt:
                self._corrupt = False
                check ^= 1
            for depth in step.asks:
                asks, bids = step.asks[depth], step.bids[depth]
                if asks or bids:
                    texts[depth] = protocol.book_update(
                        market, self._channel_id(name, depth), depth, asks, bids, check, now
                    )
            if self._drop and texts:
                self._drop = False
                texts.clear()
        for session, depth in watchers:
            if depth in texts:
                session.post(texts[depth])
        if step.fills:
            trade = protocol.trades(market, self._channel_id(name, 1), step.fills, now)
            ticker = protocol.ticker(market, self._channel_id(name, 2))
            for session in self._sessions:
                if ("trade", name) in session.channels:
                    session.post(trade)
                if ("ticker", name) in session.channels:
                    session.post(ticker)

    def _channel_id(self, name: str, part: int) -> int:
        return 64 + 2048 * self._names.index(name) + part

    # --- connections -----------------------------------------------------------------------------------------

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != "/0/public/AssetPairs":
            return None
        body = protocol.asset_pairs(market.pair for market in self.markets.values()).encode()
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        )
        return Response(HTTPStatus.OK, "OK", headers, body)

    async def _session(self, connection: ServerConnection) -> None:
        session = _Session(connection)
        session.post(
            protocol.dumps(
                {
                    "connectionID": self._random.getrandbits(63),
                    "event": "systemStatus",
                    "status": "online",
                    "version": "1.9.6",
                }
            )
        )
        self._sessions.add(session)
        sender = asyncio.create_task(self._send(session))
        try:
            async for text in connection:
                self._request(session, text)
        except ConnectionClosed:
            pass
        finally:
            self._sessions.discard(session)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, session: _Session) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not session.lagging:
                await session.connection.send(await session.outbox.get())
            await session.connection.close(1008, "too slow")

    def _request(self, session: _Session, text: str | bytes) -> None:
        try:
            request = json.loads(text)
            event = request["event"]
            if event == "ping":
                session.post(protocol.dumps({"event": "pong"} | _reqid(request)))
            elif event in ("subscribe", "unsubscribe"):
                for name in request["pair"]:
                    self._subscribe(session, request, str(name), wanted=event == "subscribe")
            else:
                raise ValueError("unknown event")  # noqa: TRY301
        except (ValueError, KeyError, TypeError, AttributeError):
            session.post(protocol.dumps({"errorMessage": "Malformed request", "event": "error"}))

    def _subscribe(self, session: _Session, request: dict[str, Any], name: str, *, wanted: bool) -> None:
        subscription = request["subscription"]
        channel, depth = subscription["name"], subscription.get("depth", 10)
        reply: dict[str, Any] = {"event": "subscriptionStatus", "pair": name, "subscription": dict(subscription)}
        problem = None
        if name not in self.markets:
            problem = f"Currency pair not supported {name}"
        elif channel not in protocol.CHANNELS:
            problem = "Subscription name invalid"
        elif channel == "book" and depth not in protocol.DEPTHS:
            problem = "Subscription depth not supported"
        elif not wanted and (channel, name) not in session.channels:
            problem = "Subscription Not Found"
        if problem is not None:
            session.post(protocol.dumps(reply | {"status": "error", "errorMessage": problem} | _reqid(request)))
            return
        if channel == "book":
            reply["subscription"]["depth"] = depth
        part = depth if channel == "book" else protocol.CHANNELS.index(channel)
        number = self._channel_id(name, part)
        reply |= {
            "channelID": number,
            "channelName": f"book-{depth}" if channel == "book" else channel,
            "status": "subscribed" if wanted else "unsubscribed",
        }
        session.post(protocol.dumps(reply | _reqid(request)))
        if not wanted:
            del session.channels[channel, name]
            return
        session.channels[channel, name] = depth if channel == "book" else 0
        market = self.markets[name]
        if channel == "book":
            session.post(protocol.book_snapshot(market, number, depth, self._clock.now_ns()))
        elif channel == "ticker":
            session.post(protocol.ticker(market, number))


def _reqid(request: dict[str, Any]) -> dict[str, Any]:
    return {"reqid": request["reqid"]} if "reqid" in request else {}
