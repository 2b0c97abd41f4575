"""One live connection: connect, subscribe, receive, and again, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.backoff import FIRST_SECONDS, LAST_SECONDS, Backoff
from chronicle.feed.dialects import Dialect
from chronicle.feed.rest import RestClient

__all__ = [
    "ConnectionSettings",
    "DeliveringSocket",
    "LiveConnection",
    "MessageSink",
    "Opener",
    "Socket",
    "open_websocket",
]

STABLE_SECONDS: Final = 10.0
"""A connection that held this long lets the backoff start anew; one that is closed at once does not."""
CLOSE_SECONDS: Final = 2.0
LISTS_SECONDS: Final = 3600.0
SILENCE_CHECKS: Final = 8
"""So often within the read deadline a delivering socket is asked about: silence is found an eighth late at most."""
LIST_PAGES_MAX: Final = 100

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
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


_TEXT, _BINARY = WireForm.TEXT, WireForm.BINARY


class Socket(Protocol):
    """What is needed of a WebSocket."""

    async def recv(self) -> str | bytes:
        """Return the next message."""
        ...

    async def send(self, message: str) -> None:
        """Send a text message."""
        ...


@runtime_checkable
class DeliveringSocket(Protocol):
    """A socket that calls with each message as it is read: no task is woken for it."""

    async def deliver(self, take: Callable[[bytes, bool], None]) -> None:
        """Call ``take(payload, is_text)`` with each message until the connection ends, then raise what ended it."""
        ...


class MessageSink(Protocol):
    """Takes received messages, in order and among the other frames; it does not raise."""

    def __call__(self, form: WireForm, connection: int, address: str, ts_recv: int, payload: bytes) -> None:
        """Take what would be a frame of these fields."""
        ...


Opener = Callable[[str, ConnectionSettings], AbstractAsyncContextManager[Socket]]


def open_websocket(url: str, settings: ConnectionSettings) -> AbstractAsyncContextManager[Socket]:
    """Return the context of a connection to `url`, closed with it."""
    return connect(
        url,
        open_timeout=settings.open_deadline,
        close_timeout=CLOSE_SECONDS,
        max_size=FRAME_BYTES_MAX,
        max_queue=RECEIVE_FRAMES_MAX,
        ping_interval=settings.read_deadline / 3,
        ping_timeout=settings.read_deadline,
    )


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
    rest : RestClient
        The venue's HTTP interface.
    opener : callable, optional
        Opens a WebSocket; default :func:`open_websocket`.
    message_sink : MessageSink, optional
        Takes received messages in place of `sink`, which then need not be made frames.

    Attributes
    ----------
    is_up : bool
        Whether the WebSocket is open now.
    up_since_ns : int
        Since when (wall time), 0 while it is not.
    connect_count, failure_count : int
        How often it was opened, and how often it failed or was lost.
    frame_count, byte_count : int
        What was received.
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
        rest: RestClient,
        opener: Opener = open_websocket,
        message_sink: MessageSink | None = None,
    ) -> None:
        if not dialect.url.startswith(("ws://", "wss://")):
            raise ConfigError("a feed's address is no WebSocket", expected="ws:// or wss://", found=dialect.url)
        self.number = number
        self.dialect = dialect
        self.rest = rest
        self.is_up = False
        self.up_since_ns = 0
        self.connect_count = 0
        self.failure_count = 0
        self.frame_count = 0
        self.byte_count = 0
        self.last_frame_ts = 0
        self.last_error = ""
        self._sink = sink
        self._message_sink = message_sink or self._frame_sink
        self._hears = type(dialect).hear is not Dialect.hear
        self._clock = clock
        self._settings = settings
        self._backoff = Backoff(jitter, first=settings.backoff_first, last=settings.backoff_last)
        self._opener = opener
        self._socket: Socket | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self.prepare: Callable[[], None] = lambda: None
        """Called before each connection, once the venue's lists were asked for."""
        self._receiver: asyncio.Task[None] | None = None
        self._dropped = ""

    async def run(self) -> None:
        """Hold the line until cancelled. The end of the capture says that it went down then."""
        while True:
            try:
                await self._connect()
                reason = self._dropped or "closed by the venue"
            except TimeoutError as error:
                reason = str(error) or "deadline passed"
            except (OSError, WebSocketException) as error:
                reason = self._dropped or f"{type(error).__name__}: {error}"
            self._lost(reason)
            await asyncio.sleep(self._backoff.next())

    def carries(self, symbol: str, channel: str) -> bool:
        """Whether this line is subscribed to `channel` of `symbol`."""
        return self.dialect.carries(symbol, channel)

    async def resync(self, symbol: str, channel: str) -> bool:
        """Ask for a new snapshot of one symbol; return False when the line is down (a reconnect brings one)."""
        return await self._ask(self.dialect.resync(symbol, channel), symbol, channel)

    async def renew(self, symbol: str, channel: str) -> bool:
        """Subscribe to one stream anew, and ask for its snapshot; return False when the line is down."""
        return await self._ask(self.dialect.renew(symbol, channel), symbol, channel)

    def drop(self, reason: str) -> None:
        """Give the line up, as if the venue had closed it: it comes back with fresh snapshots."""
        if self._receiver is not None and not self._receiver.done():
            self._dropped = reason
            self._receiver.cancel()

    async def _ask(self, texts: list[str], symbol: str, channel: str) -> bool:
        socket = self._socket
        if socket is None:
            return False
        try:
            for text in texts:
                await self._send(socket, text)
        except (OSError, TimeoutError, WebSocketException):
            return False  # the receiving side sees the same and reconnects
        if channel == "book":
            self._load(self.dialect.snapshots(symbol))
        return True

    def _lost(self, reason: str) -> None:
        self.failure_count += 1
        self.last_error = reason[:500]
        self._dropped = ""
        self.up_since_ns = 0
        if self.is_up:
            self.is_up = False
            self._put(WireForm.DISCONNECTED, self.last_error.encode("utf-8", "replace"))

    async def _connect(self) -> None:
        await self._fetch_lists()
        self.prepare()
        self.dialect.begin()
        url = await self._address()
        async with self._opener(url, self._settings) as socket:
            self.is_up = True
            self.up_since_ns = self._clock.now_ns()
            self.connect_count += 1
            self._put(WireForm.CONNECTED, b"")
            self._socket = socket
            self._receiver = asyncio.create_task(self._receive(socket))
            self._keep(self._keep_alive(socket))
            try:
                await self._subscribe(socket)
                self._load(self.dialect.snapshots())
                await self._receiver
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._dropped or (task is not None and task.cancelling()):
                    raise
            finally:
                self._socket = None
                for task in (self._receiver, *self._beside):
                    task.cancel()
                await asyncio.gather(self._receiver, *self._beside, return_exceptions=True)
                self._receiver = None

    async def _address(self) -> str:
        """Return where to connect to: the venue's address, or the one that it gives to those who ask."""
        request = self.dialect.token_request()
        if request is None:
            return self.dialect.url
        return self.dialect.address(await self.rest.fetch(request, method="POST"))

    async def _subscribe(self, socket: Socket) -> None:
        """Send the subscriptions at the venue's pace; the receiver runs beside it."""
        assert self._receiver is not None
        for number, text in enumerate(self.dialect.subscribe()):
            if number and self.dialect.send_seconds:
                await asyncio.sleep(self.dialect.send_seconds)
            if self._receiver.done():
                return
            await self._send(socket, text)

    async def _keep_alive(self, socket: Socket) -> None:
        """Say what the venue wants to hear every so often, whether it talks or not."""
        while (text := self.dialect.keep_alive) is not None:
            await asyncio.sleep(min(self.dialect.keep_alive_seconds, self._settings.read_deadline / 3))
            await self._send(socket, text)

    async def _fetch_lists(self) -> None:
        """Ask for the venue's lists: before the first connection, later at most once an hour.

        A list that does not come keeps nobody from the market data: decimals are then those of the wire.
        """
        for url in self.dialect.lists():
            if self.rest.list_is_due(url, LISTS_SECONDS):
                page: str | None = url
                try:
                    for _ in range(LIST_PAGES_MAX):
                        page = self.dialect.next_list(await self._fetch(page)) if page is not None else None
                    self.rest.note_list(url)
                except OSError as error:
                    self.last_error = f"no list from {url}: {error}"[:500]

    async def _receive(self, socket: Socket) -> None:
        """Take messages until the venue closes or is silent for the read deadline."""
        up_since, before = self._clock.monotonic_ns(), self.frame_count
        try:
            if isinstance(socket, DeliveringSocket):
                await self._have_delivered(socket)
            else:
                await self._fetch_messages(socket)
        finally:
            held = self._clock.monotonic_ns() - up_since
            if held >= STABLE_SECONDS * 1e9 and self.frame_count > before:
                self._backoff.reset()

    @property
    def _read_deadline(self) -> float | None:
        """Seconds of silence that end the line; None where quiet is normal: then pings find its end."""
        return None if self.dialect.quiet else self._settings.read_deadline

    async def _fetch_messages(self, socket: Socket) -> None:
        """Receive one message after the other."""
        deadline = self._read_deadline
        while True:
            try:
                async with asyncio.timeout(deadline):
                    message = await socket.recv()
            except TimeoutError:
                raise TimeoutError(f"no frame in {deadline:g} s") from None
            if isinstance(message, str):
                self._take(message.encode("utf-8"), is_text=True)
            else:
                self._take(message, is_text=False)

    async def _have_delivered(self, socket: DeliveringSocket) -> None:
        """Let the socket call with each message, and look from time to time whether there were any."""
        deadline = self._read_deadline
        steady = self._clock.monotonic_ns
        delivery = asyncio.ensure_future(socket.deliver(self._take))
        seen, seen_at = self.frame_count, steady()
        try:
            while not delivery.done():
                await asyncio.wait((delivery,), timeout=None if deadline is None else deadline / SILENCE_CHECKS)
                if self.frame_count != seen:
                    seen, seen_at = self.frame_count, steady()
                elif deadline is not None and steady() - seen_at >= deadline * 1e9 and not delivery.done():
                    raise TimeoutError(f"no frame in {deadline:g} s")
            delivery.result()
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)

    def _take(self, payload: bytes, is_text: bool) -> None:
        """Stamp a message and hand it over; answer what the venue wants answered at once."""
        ts_recv = self._clock.now_ns()
        self.last_frame_ts = ts_recv
        self.frame_count += 1
        self.byte_count += len(payload)
        form = _TEXT if is_text else _BINARY
        self._message_sink(form, self.number, self.dialect.url, ts_recv, payload)
        if is_text and self._hears:
            answers = self.dialect.hear(payload.decode("utf-8", "replace"))
            if answers and self._socket is not None:
                self._keep(self._answer(self._socket, answers))

    async def _answer(self, socket: Socket, answers: Sequence[str]) -> None:
        for answer in answers:
            await self._send(socket, answer)

    def _frame_sink(self, form: WireForm, connection: int, address: str, ts_recv: int, payload: bytes) -> None:
        self._sink(Frame(form, connection, address, ts_recv, payload))

    async def _send(self, socket: Socket, text: str) -> None:
        # Before it is sent, so that it stands before the reply.
        self._put(WireForm.SENT, self.dialect.recorded(text).encode("utf-8"))
        try:
            async with asyncio.timeout(self._settings.write_deadline):
                await socket.send(text)
        except TimeoutError:
            raise TimeoutError(f"a message was not taken in {self._settings.write_deadline:g} s") from None

    def _put(self, form: WireForm, payload: bytes) -> None:
        self._sink(Frame(form, self.number, self.dialect.url, self._clock.now_ns(), payload))

    def _load(self, urls: list[str]) -> None:
        """Fetch book snapshots beside the stream; what fails for good shows as a book without a start."""
        if urls:
            self._keep(self._fetch_all(urls))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside the receiver; when it finds the line broken, the line is given up."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._receiver is not None and not self._receiver.done():
            self._dropped = self._dropped or str(error) or type(error).__name__
            self._receiver.cancel()

    async def _fetch_all(self, urls: list[str]) -> None:
        for url in urls:
            try:
                body = await self.rest.fetch_surely(url)
            except OSError as error:
                self.last_error = f"no snapshot from {url}: {error}"[:500]
            else:
                # A frame of this line: the snapshot starts its book, and goes stale with it.
                self._sink(Frame(WireForm.HTTP, self.number, url, self._clock.now_ns(), body))

    async def _fetch(self, url: str) -> bytes:
        """Ask for `url`, hand over the answer as a frame of no line, and return it."""
        body = await self.rest.fetch(url)
        self._sink(Frame(WireForm.HTTP, 0, url, self._clock.now_ns(), body))
        return body
