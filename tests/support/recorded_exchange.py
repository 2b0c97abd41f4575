"""A server that plays a recorded session of one exchange: HTTP answers by their path, frames by connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession, LiveReport
from tests.support.polling import until


class RecordedExchange:
    """Answers HTTP by what was recorded, and plays each recorded connection to a client that subscribes like it.

    Parameters
    ----------
    frames : list of Frame
        The recorded session.
    speaks : callable, optional
        Given what a client sent first on a connection and the path it connected to, the recorded connection to play.
    """

    def __init__(self, frames: list[Frame], speaks: Callable[[str, str], int] | None = None) -> None:
        self.bodies = [(urlsplit(f.address), f.payload) for f in frames if f.form == WireForm.HTTP]
        self.texts: dict[int, list[str]] = {}
        for frame in frames:
            if frame.form == WireForm.TEXT:
                self.texts.setdefault(frame.connection, []).append(frame.payload.decode())
        self.speaks = speaks or (lambda first, path: next(iter(self.texts)))
        self.asked: list[str] = []
        self.said: list[tuple[str, Any]] = []
        self.port = 0

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request that is no WebSocket's."""
        if "upgrade" in {name.lower() for name in request.headers}:
            return None
        self.asked.append(request.path)
        body = self._body(request.path)
        head = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        status = HTTPStatus.OK if body else HTTPStatus.NOT_FOUND
        return Response(status, status.phrase, head, body)

    def _body(self, path: str) -> bytes:
        wanted = urlsplit(path)
        query = {key: value for key, value in parse_qs(wanted.query).items() if key != "limit"}
        for address, body in self.bodies:
            same = address.path == wanted.path or _snapshot(address.path) == _snapshot(wanted.path) != ""
            recorded = parse_qs(address.query.lstrip("&"))
            if same and all(recorded.get(key) == value for key, value in query.items()):
                return body
        return b""

    async def session(self, socket: ServerConnection) -> None:
        """Play a connection once its client has subscribed."""
        first = str(await socket.recv())
        path = socket.request.path if socket.request is not None else ""
        number = self.speaks(first, path)
        listener = asyncio.create_task(self._listen(socket, path, first))
        for text in self.texts[number]:
            await socket.send(text)
        await socket.wait_closed()
        listener.cancel()

    async def _listen(self, socket: ServerConnection, path: str, first: str) -> None:
        self.said.append((path, _read(first)))
        async for text in socket:
            self.said.append((path, _read(str(text))))


def _snapshot(path: str) -> str:
    """Return what two addresses of one venue's order books have in common: KuCoin's whole and public one."""
    return "orderbook/level2" if "/orderbook/level2" in path else ""


def _read(text: str) -> Any:
    return json.loads(text) if text[:1] in "{[" else text


def play(
    home: Path,
    exchange: RecordedExchange,
    make: Callable[[str, str], FeedSpec],
    done: Callable[[], bool],
) -> LiveReport:
    """Capture from the exchange until `done`, and return the report."""

    async def run() -> LiveReport:
        async with serve(
            exchange.session, "127.0.0.1", 0, process_request=exchange.answer, max_size=None, ping_interval=None
        ) as server:
            port = exchange.port = next(iter(server.sockets)).getsockname()[1]
            feed = FeedSession(home, [make(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")])
            stop = asyncio.Event()
            task = asyncio.create_task(feed.run(stop))
            try:
                await until(lambda: task.done() or done(), "the whole session")
            finally:
                stop.set()
            return await task

    return asyncio.run(run())
