"""A server that plays a capture as the venue that it was recorded from: HTTP answers by path, frames by connection.

A client is given the recorded connections whose address has the path that it connects to (all of them when none has),
and of several that were asked for the same (redundant lines) one: the first client the first, the next the next. A
client that connects again hears the session from its start, with its snapshots. One that leaves a book and subscribes
to it again, or asks for its snapshot again, is answered as :mod:`rejoining` says.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.http11 import Request, Response
from websockets.protocol import State

from chronicle.core.errors import ConfigError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import open_capture
from chronicle.feed.simulator.faults import Delivery, FaultInjector, Signal
from chronicle.feed.simulator.rejoining import BookFrames, LineFrames, requested

__all__ = ["PlaybackExchange", "Recording", "load_recording"]

BYTES_MAX: Final = 1 << 30
"""A recording is held in memory; larger ones are refused."""
ADDRESS_PATH: Final = "/api/v1/bullet-public"
"""KuCoin's request for the address of a connection, answered with our own."""
PAUSE_SECONDS_MAX: Final = 3600.0
REPEAT_SECONDS: Final = 0.02
_LEAVES: Final = re.compile(r"unsub", re.IGNORECASE)


@dataclass(slots=True)
class RecordedLine:
    """One recorded connection: its address, what the client said, and (ts_recv, payload) of what the venue said."""

    address: str = ""
    asked: list[str] = field(default_factory=list)
    frames: list[tuple[int, str | bytes]] = field(default_factory=list)
    number: int = 0


@dataclass(slots=True)
class _Play:
    """Where a client's play has come: frames that were sent of each line, and what is to be sent again."""

    sent: Counter[int] = field(default_factory=Counter)
    again: deque[str | bytes] = field(default_factory=deque)
    left: set[str] = field(default_factory=set)
    """Books that the client unsubscribed from."""


@dataclass(slots=True)
class Recording:
    """A session of one venue: its connections by number, and its HTTP answers in their order."""

    venues: tuple[str, ...]
    lines: dict[int, RecordedLine] = field(default_factory=dict)
    answers: list[tuple[str, bytes]] = field(default_factory=list)

    def groups(self, path: str) -> list[list[RecordedLine]]:
        """Return the connections for a client that connects to `path`: one list per subscription, lines inside."""
        spoken = [line for line in self.lines.values() if line.frames]
        here = [line for line in spoken if _path(line.address) == path.rstrip("/")]
        found: dict[tuple[str, ...], list[RecordedLine]] = {}
        for number, line in enumerate(here or spoken):
            found.setdefault(tuple(line.asked) or (str(number),), []).append(line)
        return list(found.values())

    def answer(self, target: str) -> bytes | None:
        """Return the recorded body for an HTTP request: same path, and all that it asks but limits."""
        wanted = urlsplit(target)
        query = {key: value for key, value in parse_qs(wanted.query).items() if key != "limit"}
        for address, body in self.answers:
            recorded = urlsplit(address)
            if _same_path(recorded.path, wanted.path):
                known = parse_qs(recorded.query.lstrip("&"))
                if all(known.get(key) == value for key, value in query.items()):
                    return body
        return None


def load_recording(paths: Iterable[Path | str], *, format: str | None = None, venue: str | None = None) -> Recording:
    """Read a capture into memory.

    Raises
    ------
    ConfigError
        When it holds no connection, those of several venues, or more than ``BYTES_MAX`` bytes.
    DecodeError, NotFoundError
        When it cannot be read.
    """
    capture = open_capture(list(paths), format, venue)
    recording = Recording(capture.venues)
    size = 0
    for frame in capture.frames():
        size += len(frame.payload)
        if size > BYTES_MAX:
            raise ConfigError("the capture is too large to be played", expected=f"at most {BYTES_MAX} bytes")
        _take(recording, frame)
    if len(capture.venues) != 1 or not any(line.frames for line in recording.lines.values()):
        raise ConfigError(
            "a played exchange is one venue with frames that it sent",
            found=", ".join(capture.venues) or "none",
            hint="give the captures of one venue",
        )
    return recording


def _take(recording: Recording, frame: Frame) -> None:
    if frame.form == WireForm.HTTP:
        recording.answers.append((frame.address, frame.payload))
        return
    if not frame.connection:
        return
    line = recording.lines.setdefault(frame.connection, RecordedLine(number=frame.connection))
    if frame.form == WireForm.CONNECTED:
        line.address = frame.address
    elif frame.form == WireForm.SENT:
        line.asked.append(frame.payload.decode("utf-8", "replace"))
    elif frame.form == WireForm.TEXT:
        line.frames.append((frame.ts_recv, frame.payload.decode("utf-8", "replace")))
        line.address = line.address or frame.address
    elif frame.form == WireForm.BINARY:
        line.frames.append((frame.ts_recv, frame.payload))


class PlaybackExchange:
    """Plays a recording to every client.

    Parameters
    ----------
    recording : Recording
        What is played.
    speed : float or None
        N times as fast as it was recorded; None: as fast as the client takes it.
    injector : FaultInjector, optional
        What goes wrong.
    host, port
        Where to listen; port 0 takes a free one.

    Attributes
    ----------
    played : Counter
        Frames sent and HTTP requests answered and not found.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float | None = None,
        injector: FaultInjector | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.recording = recording
        self.injector = injector or FaultInjector()
        self.host = host
        self.played: Counter[str] = Counter()
        self._speed = speed
        self._port = port
        self._server: Server | None = None
        self._clients: Counter[str] = Counter()
        self._frozen: list[ServerConnection] = []
        self._plays: list[_Play] = []
        self._play_count = 0
        self._answered: Counter[str] = Counter()
        self._books: BookFrames | None = None
        self._line_frames: dict[int, LineFrames] = {}

    async def __aenter__(self) -> PlaybackExchange:
        self._server = await serve(
            self._session,
            self.host,
            self._port,
            process_request=self._http,
            compression=None,
            ping_interval=None,
            max_size=1 << 20,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self._frozen:  # nobody answers its closing
            socket.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Address of the WebSocket."""
        return f"ws://{self.host}:{self._port}"

    @property
    def rest_url(self) -> str:
        """Root of the HTTP interface."""
        return f"http://{self.host}:{self._port}"

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        if "upgrade" in {name.lower() for name in request.headers}:
            return None
        body = self._answer(request.path)
        if body is None and urlsplit(request.path).path == ADDRESS_PATH:
            server = {"endpoint": f"{self.url}/", "encrypt": False, "protocol": "websocket", "pingInterval": 18000}
            body = json.dumps(
                {"code": "200000", "data": {"token": "simulated", "instanceServers": [server]}}
            ).encode()
        self.played["http" if body is not None else "http_not_found"] += 1
        status = HTTPStatus.OK if body is not None else HTTPStatus.NOT_FOUND
        content = body or b""
        head = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
        return Response(status, status.phrase, Headers(head), content)

    def _answer(self, target: str) -> bytes | None:
        """Return the recorded answer; that of a book, asked for again while it is played, as it would be now."""
        body = self.recording.answer(target)
        if body is None:
            return None
        self._answered[target] += 1
        if self._answered[target] <= self._play_count or not self._plays or b'"bids"' not in body:
            return body  # what a client asks for as it connects
        play = max(self._plays, key=lambda item: item.sent.total())
        played = [(self._frames_of(number), count) for number, count in play.sent.items()]
        self.played["resync"] += 1
        return self._read_books().snapshot(target, body, played)

    def _read_books(self) -> BookFrames:
        """Return the books of the recording, which are read when they are first asked for."""
        if self._books is None:
            recording = self.recording
            self._books = BookFrames(recording.venues[0], recording.answers)
            for number, line in recording.lines.items():
                self._line_frames[number] = self._books.read(number, line.address, line.asked, line.frames)
        return self._books

    def _frames_of(self, number: int) -> LineFrames:
        self._read_books()
        return self._line_frames[number]

    def _take_request(self, play: _Play, lines: list[RecordedLine], text: str) -> None:
        """Take what a client says while it is played to: a book left and subscribed to again starts anew."""
        if not (_LEAVES.search(text) or play.left):
            return
        books = self._read_books()
        found = requested(text, books.symbols)
        if found is None:
            return
        symbol, leaves = found
        if leaves:
            play.left.add(symbol)
        elif symbol in play.left:
            play.left.discard(symbol)
            for line in lines:
                frames = books.again(self._frames_of(line.number), line.frames, symbol, play.sent[line.number])
                play.again.extend(payload for _, payload in frames)
            self.played["resync"] += 1

    async def _session(self, socket: ServerConnection) -> None:
        """Play to one client once it has subscribed, and hold the line open until it goes."""
        path = urlsplit(socket.request.path).path if socket.request is not None else ""
        groups = self.recording.groups(path)
        turn = self._clients[path]
        self._clients[path] += 1
        lines = [lines[turn % len(lines)] for lines in groups]
        try:
            await socket.recv()
            play = _Play()
            self._plays.append(play)
            self._play_count += 1
            listener = asyncio.create_task(self._listen(socket, play, lines))
            try:
                await self._play(socket, lines, play)
                while True:  # all is played; what is asked for again still comes
                    await self._repeat(socket, play)
                    await asyncio.sleep(REPEAT_SECONDS)
            finally:
                self._plays.remove(play)
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)
        except ConnectionClosed:
            return

    async def _listen(self, socket: ServerConnection, play: _Play, lines: list[RecordedLine]) -> None:
        """Take what the client says; a ping in text is answered, so that quiet captures keep their clients."""
        async for message in socket:
            if message == "ping":
                await socket.send("pong")
            elif isinstance(message, str):
                self._take_request(play, lines, message)

    async def _repeat(self, socket: ServerConnection, play: _Play) -> None:
        """Send what was asked for again, all at once: nothing new of the book comes between."""
        while play.again:
            await socket.send(play.again.popleft())
            self.played["frames"] += 1
        if socket.state is not State.OPEN:
            raise ConnectionClosedOK(None, None)

    async def _play(self, socket: ServerConnection, lines: list[RecordedLine], play: _Play) -> None:
        lane = self.injector.lane()
        clock = asyncio.get_running_loop().time
        origin: tuple[float, int] | None = None
        for ts_recv, payload, number in _merged(lines):
            if self._speed is not None:
                origin = origin or (clock(), ts_recv)
                ahead = origin[0] + (ts_recv - origin[1]) / 1e9 / self._speed - clock()
                if ahead > 0:
                    await asyncio.sleep(min(ahead, PAUSE_SECONDS_MAX))
            await self._repeat(socket, play)
            play.sent[number] += 1
            for delivery in lane.take(payload) if isinstance(payload, str) else [Delivery(payload)]:
                if not await self._deliver(socket, delivery):
                    return

    async def _deliver(self, socket: ServerConnection, delivery: Delivery) -> bool:
        """Do what is due; return whether anything more may follow."""
        if delivery.delay_seconds:
            await asyncio.sleep(delivery.delay_seconds)
        if delivery.what is Signal.CUT:
            socket.transport.abort()
            return False
        if delivery.what is Signal.FREEZE:
            socket.transport.pause_reading()
            self._frozen.append(socket)
            return False
        if not isinstance(delivery.what, Signal):
            await socket.send(delivery.what)
            self.played["frames"] += 1
        return True


def _merged(lines: list[RecordedLine]) -> Iterator[tuple[int, Any, int]]:
    """Yield (ts_recv, payload, line's number) of all lines in the order of time."""
    return heapq.merge(*map(_numbered, lines), key=lambda item: item[0])


def _numbered(line: RecordedLine) -> Iterator[tuple[int, Any, int]]:
    for ts_recv, payload in line.frames:
        yield ts_recv, payload, line.number


def _path(address: str) -> str:
    try:
        return urlsplit(address).path.rstrip("/")
    except ValueError:
        return ""


def _same_path(recorded: str, wanted: str) -> bool:
    """Whether two paths ask the same: KuCoin's whole order book, of captures, stands for its public part."""
    part = "/market/orderbook/level2"
    return recorded == wanted or (part in recorded and part in wanted)
