"""One live connection: connect, subscribe, receive, and again, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.backoff import FIRST_SECONDS, LAST_SECONDS, Backoff
from chronicle.feed.dialects import Dialect

__all__ = ["ConnectionSettings", "LiveConnection"]

STABLE_SECONDS: Final = 10.0
"""A connection that held this long lets the backoff start anew; one that is closed at once does not."""
CLOSE_SECONDS: Final = 2.0
LISTS_SECONDS: Final = 3600.0

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
HTTP_BYTES_MAX: Final = 16 * 1024 * 1024
RECEIVE_FRAMES_MAX: Final = 1024
"""Frames that wait in the WebSocket layer before it stops reading from the socket."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Deadlines and delays, in seconds."""

    read_deadline: float = 60.0
    write_deadline: float = 10.0
    open_deadline: float = 20.0
    http_deadline: float = 20.0
    backoff_first: float = FIRST_SECONDS
    backoff_last: float = LAST_SECONDS


class LiveConnection:
    """Keeps one line up and hands over every frame with the time of its arrival.

    Parameters
    ----------
    number : int
        Connection number of its frames; it stays over reconnects.
    dialect : Dialect
        What to say.
    sink : callable
        Takes each frame, in order; it does not raise.
    clock : Clock
        Stamps frames, before anything looks into them.
    settings : ConnectionSettings
        Deadlines and delays.
    jitter : random.Random
        For the backoff.

    Attributes
    ----------
    is_up : bool
        Whether the WebSocket is open now.
    connect_count, failure_count : int
        How often it was opened, and how often it failed or was lost.
    last_frame_ts : int
        ts_recv of the last received frame, 0 before the first.
    last_error : str
        Why it went down last.
    """

    def __init__(
        self,
        number: int,
        dialect: Dialect,
        sink: Callable[[Frame], None],
        clock: Clock,
        settings: ConnectionSettings,
        jitter: random.Random,
    ) -> None:
        if not dialect.url.startswith(("ws://", "wss://")):
            raise ConfigError("a feed's address is no WebSocket", expected="ws:// or wss://", found=dialect.url)
        self.number = number
        self.dialect = dialect
        self.is_up = False
        self.connect_count = 0
        self.failure_count = 0
        self.last_frame_ts = 0
        self.last_error = ""
        self._sink = sink
        self._clock = clock
        self._settings = settings
        self._backoff = Backoff(jitter, first=settings.backoff_first, last=settings.backoff_last)
        self._socket: ClientConnection | None = None
        self._listed: float | None = None
        self._loading: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Hold the line until cancelled. The end of the capture says that it went down then."""
        while True:
            try:
                await self._connect()
                reason = "closed by the venue"
            except TimeoutError as error:
                reason = str(error) or "deadline passed"
            except (OSError, WebSocketException) as error:
                reason = f"{type(error).__name__}: {error}"
            self._lost(reason)
            await asyncio.sleep(self._backoff.next())

    def carries(self, symbol: str, channel: str) -> bool:
        """Whether this line is subscribed to `channel` of `symbol`."""
        return self.dialect.carries(symbol, channel)

    async def resync(self, symbol: str, channel: str) -> bool:
        """Ask for a new snapshot of one symbol; return False when the line is down (a reconnect brings one)."""
        socket = self._socket
        if socket is None:
            return False
        try:
            for text in self.dialect.resync(symbol, channel):
                await self._send(socket, text)
        except (OSError, TimeoutError, WebSocketException):
            return False  # the receiving side sees the same and reconnects
        self._load(self.dialect.snapshots(symbol))
        return True

    def _lost(self, reason: str) -> None:
        self.failure_count += 1
        self.last_error = reason[:500]
        if self.is_up:
            self.is_up = False
            self._put(WireForm.DISCONNECTED, self.last_error.encode("utf-8", "replace"))

    async def _connect(self) -> None:
        settings = self._settings
        await self._fetch_lists()
        async with connect(
            self.dialect.url,
            open_timeout=settings.open_deadline,
            close_timeout=CLOSE_SECONDS,
            max_size=FRAME_BYTES_MAX,
            max_queue=RECEIVE_FRAMES_MAX,
            ping_interval=settings.read_deadline / 3,
            ping_timeout=settings.read_deadline,
        ) as socket:
            self.is_up = True
            self.connect_count += 1
            self._put(WireForm.CONNECTED, b"")
            self._socket = socket
            try:
                for text in self.dialect.subscribe():
                    await self._send(socket, text)
                self._load(self.dialect.snapshots())
                await self._receive(socket)
            finally:
                self._socket = None
                for task in self._loading:
                    task.cancel()

    async def _fetch_lists(self) -> None:
        """Ask for the venue's instrument lists: before the first connection, later at most once an hour."""
        now = asyncio.get_running_loop().time()
        if self._listed is not None and now - self._listed < LISTS_SECONDS:
            return
        for url in self.dialect.lists():
            await self._fetch(url)
        self._listed = now

    async def _receive(self, socket: ClientConnection) -> None:
        """Take frames until the venue closes or is silent for the read deadline."""
        settings, dialect = self._settings, self.dialect
        quiet = min(dialect.keep_alive_seconds, settings.read_deadline / 3)
        loop = asyncio.get_running_loop()
        silent_since = up_since = loop.time()
        while True:
            try:
                async with asyncio.timeout(quiet):
                    message = await socket.recv()
            except TimeoutError:
                if loop.time() - silent_since >= settings.read_deadline:
                    raise TimeoutError(f"no frame in {settings.read_deadline:g} s") from None
                if dialect.keep_alive is not None:
                    await self._send(socket, dialect.keep_alive)
                continue
            ts_recv = self._clock.now_ns()
            silent_since = loop.time()
            self.last_frame_ts = ts_recv
            if silent_since - up_since >= STABLE_SECONDS:
                self._backoff.reset()
            if isinstance(message, str):
                frame = Frame(WireForm.TEXT, self.number, dialect.url, ts_recv, message.encode("utf-8"))
            else:
                frame = Frame(WireForm.BINARY, self.number, dialect.url, ts_recv, message)
            self._sink(frame)

    async def _send(self, socket: ClientConnection, text: str) -> None:
        self._put(WireForm.SENT, text.encode("utf-8"))  # before it is sent, so that it stands before the reply
        async with asyncio.timeout(self._settings.write_deadline):
            await socket.send(text)

    def _put(self, form: WireForm, payload: bytes) -> None:
        self._sink(Frame(form, self.number, self.dialect.url, self._clock.now_ns(), payload))

    def _load(self, urls: list[str]) -> None:
        """Fetch book snapshots beside the stream; what fails shows as a book without a start."""
        if urls:
            task = asyncio.create_task(self._fetch_all(urls))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)

    async def _fetch_all(self, urls: list[str]) -> None:
        with contextlib.suppress(OSError):
            for url in urls:
                await self._fetch(url)

    async def _fetch(self, url: str) -> None:
        """Ask for `url` and hand over the answer as a frame of no line."""
        body = await asyncio.to_thread(_get, url, self._settings.http_deadline)
        self._sink(Frame(WireForm.HTTP, 0, url, self._clock.now_ns(), body))


def _get(url: str, deadline: float) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise ConfigError("a list's address is no URL of HTTP", expected="http:// or https://", found=url)
    request = urllib.request.Request(url, headers={"User-Agent": "chronicle"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=deadline) as response:  # noqa: S310
            body: bytes = response.read(HTTP_BYTES_MAX + 1)
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(f"cannot ask {url}: {error}") from error
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if len(body) > HTTP_BYTES_MAX:
        raise OSError(f"the answer of {url} is larger than {HTTP_BYTES_MAX} bytes")
    return body
