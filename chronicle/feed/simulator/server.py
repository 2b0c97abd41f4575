"""The WebSocket server of the simulated exchange: a seeded market in a venue's words, with faults on demand."""

from __future__ import annotations

import asyncio
import random
import struct
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ConfigError
from chronicle.feed.simulator.faults import CHECKSUM, FaultInjector
from chronicle.feed.simulator.market import DEFAULT_PAIRS, Market, Pair, Step
from chronicle.feed.simulator.sessions import Session
from chronicle.feed.simulator.venues import SPEAKERS

__all__ = ["TRUTH_LEVELS", "Faults", "SimulatedExchange", "Truth", "pack_levels"]

TICK_SECONDS: Final = 0.01
HEARTBEAT_SECONDS: Final = 1.0
BURST_MAX: Final = 2_000
"""Messages of one tick; a server that was stopped for a while does not make up for it."""
TRUTHS_MAX: Final = 200_000
TRUTH_LEVELS: Final = 10
_LEVEL: Final = struct.Struct("<qq")
_UNIT_NS: Final = 1_000
"""Times rise by at least this: Kraken writes microseconds, and names the state of a book by nothing else."""


@dataclass(slots=True)
class Faults:
    """What goes wrong in the market itself, each at every N-th market message (0 = never)."""

    drop_every: int = 0
    """A book update is not sent: the next checksum of that book fails."""
    corrupt_every: int = 0
    """A book update carries a wrong checksum."""
    close_every: int = 0
    """All connections are cut, without a close frame."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The best ten levels of a book as the exchange had them, as :func:`pack_levels` packs them."""

    bids: bytes
    asks: bytes


def pack_levels(levels: Iterable[tuple[int, int]]) -> bytes:
    """Return (price, size) pairs, in units of the pair's decimals and of 10**-8, as little-endian int64."""
    return b"".join(_LEVEL.pack(*level) for level in levels)


class SimulatedExchange:
    """An exchange on loopback: subscriptions, books, trades, best prices, heartbeats, lists and snapshots by HTTP.

    Parameters
    ----------
    venue : str
        Whose protocol it speaks: one of ``SPEAKERS`` (kraken, okx, binance, bitget, coinbase-exchange, polygon).
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
        What goes wrong in the market.
    injector : FaultInjector, optional
        What goes wrong on the lines.
    clock : Clock, optional
        For the times in messages.

    Attributes
    ----------
    truth : dict of (str, int) to Truth
        The book of (the venue's name, sequence or time of an update) after that update; the newest ones only.

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
        venue: str = "kraken",
        seed: int = 1,
        pairs: tuple[Pair, ...] = DEFAULT_PAIRS,
        rate: float = 200.0,
        depth: int = 200,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        injector: FaultInjector | None = None,
        clock: Clock | None = None,
    ) -> None:
        if venue not in SPEAKERS:
            raise ConfigError(
                f"no simulated market speaks as {venue!r}",
                expected=", ".join(SPEAKERS),
                hint="a capture of any venue can be played",
            )
        self.markets = {pair.name: Market(pair, seed, depth) for pair in pairs}
        self.rate = rate
        self.faults = faults or Faults()
        self.injector = injector or FaultInjector()
        self.message_count = 0
        self.host = host
        self._port = port
        self._clock = clock or SystemClock()
        self._random = random.Random(f"{seed}:order")  # noqa: S311 - a market, not a secret
        self._last_ns = 0
        self.speaker = SPEAKERS[venue](self.markets, self._now)
        self._names = list(self.speaker.markets)
        self._sessions: set[Session] = set()
        self.truth: OrderedDict[tuple[str, int], Truth] = OrderedDict()
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
        for session in list(self._sessions):
            if session.frozen:  # nobody answers its closing
                session.cut()
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
            session.mute()

    def cut_connections(self) -> None:
        """Cut all connections without a close frame, as a network does."""
        for session in list(self._sessions):
            session.cut()

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
                for beat in self.speaker.heartbeats(session.channels) if session.channels.wanted else ():
                    session.answer(beat)

    def _now(self) -> int:
        """Return the time, later than before by a unit that every venue can write."""
        self._last_ns = max(self._clock.now_ns() // 1000 * 1000, self._last_ns + _UNIT_NS)
        return self._last_ns

    def _step(self) -> None:
        self.message_count += 1
        count, faults = self.message_count, self.faults
        self._drop = self._drop or bool(faults.drop_every and count % faults.drop_every == 0)
        self._corrupt = self._corrupt or bool(faults.corrupt_every and count % faults.corrupt_every == 0)
        name = self._random.choice(self._names)
        market = self.speaker.markets[name]
        watchers = [
            (session, depth)
            for session in self._sessions
            if (depth := session.channels.wanted.get(("book", name), 0)) and not session.lagging
        ]
        step = market.step({depth for _, depth in watchers} | self.speaker.always)
        self._publish(name, market, step, watchers)
        if faults.close_every and count % faults.close_every == 0:
            self.cut_connections()

    def _publish(self, name: str, market: Market, step: Step, watchers: list[tuple[Session, int]]) -> None:
        texts = {
            depth: self.speaker.book(name, depth, step) for depth in step.asks if step.asks[depth] or step.bids[depth]
        }
        for depth, text in texts.items():
            self._remember(name, market, text)
            if self._corrupt:
                texts[depth] = _with_wrong_checksum(text)
        if texts:
            self._corrupt = False
            if self._drop:
                self._drop = False
                texts.clear()
        for session, depth in watchers:
            if depth in texts:
                session.tell(texts[depth])
        if step.fills:
            trades, quote = self.speaker.trades(name, step), self.speaker.quote(name)
            for session in self._sessions:
                for trade in trades if ("trade", name) in session.channels.wanted else ():
                    session.tell(trade)
                if ("ticker", name) in session.channels.wanted:
                    session.tell(quote)

    def _remember(self, name: str, market: Market, text: str) -> None:
        bids, asks = (pack_levels(side.best(TRUTH_LEVELS)) for side in (market.bids, market.asks))
        self.truth[name, self.speaker.key(text)] = Truth(bids, asks)
        if len(self.truth) > TRUTHS_MAX:
            self.truth.popitem(last=False)

    # --- connections -----------------------------------------------------------------------------------------

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        if "upgrade" in {name.lower() for name in request.headers}:
            return None
        text = self.speaker.http(request.path)
        status = HTTPStatus.NOT_FOUND if text is None else HTTPStatus.OK
        body = (text if text is not None else "not found\n").encode()
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        )
        return Response(status, status.phrase, headers, body)

    async def _session(self, connection: ServerConnection) -> None:
        session = Session(connection, self.injector)
        for text in self.speaker.hello(self._random.getrandbits(63)):
            session.answer(text)
        self._sessions.add(session)
        sender = asyncio.create_task(session.send())
        try:
            async for message in connection:
                asked = message if isinstance(message, str) else message.decode("utf-8", "replace")
                for answer in self.speaker.request(session.channels, asked):
                    session.answer(answer)
        except ConnectionClosed:
            pass
        finally:
            self._sessions.discard(session)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


def _with_wrong_checksum(text: str) -> str:
    return CHECKSUM.sub(lambda found: f"{found[1]}{int(found[2]) ^ 1}", text)
