"""The small HTTP server of a long-running feed: ``/healthz``, ``/readyz``, ``/metrics``, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Mapping
from typing import Final

from chronicle.core.errors import ConfigError, StoreError

__all__ = ["Answer", "StatusServer", "parse_address"]

REQUEST_BYTES_MAX: Final = 8192
REQUEST_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 32

Answer = tuple[int, str, str]
"""(status, content type, body)"""
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}
_PLAIN: Final = "text/plain; charset=utf-8"


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of ``127.0.0.1:9108``.

    Raises
    ------
    ConfigError
        When it is no address and port, or not one of loopback: what is served tells what is captured.
    """
    host, _, port = text.strip().rpartition(":")
    host = host.strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(
            "the HTTP address cannot be used",
            expected="a loopback address and port, as 127.0.0.1:9108",
            found=text,
            hint="put a proxy with access control before it to reach it from elsewhere",
        )
    return host, int(port)


class StatusServer:
    """Answers GET requests for a fixed set of paths, one request a connection.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one (see :attr:`port`).
    routes : mapping of str to callable
        Path to what gives its answer; called in the event loop, so it must be quick.
    """

    def __init__(self, host: str, port: int, routes: Mapping[str, Callable[[], Answer]]) -> None:
        self.host, self.port = host, port
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._open = 0

    async def __aenter__(self) -> StatusServer:
        try:
            self._server = await asyncio.start_server(
                self._serve, self.host, self.port, limit=REQUEST_BYTES_MAX, reuse_address=True
            )
        except OSError as error:
            raise StoreError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_encode(self._answer(head)))
                    await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_encode((400, _PLAIN, "request too large\n")))
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # a client that does not ask in time, or is gone, gets no answer
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                writer.close()

    def _answer(self, head: bytes) -> Answer:
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return 400, _PLAIN, "this is no HTTP request\n"
        if line[0] != "GET":
            return 405, _PLAIN, "only GET\n"
        route = self._routes.get(line[1].partition("?")[0])
        if route is None:
            return 404, _PLAIN, f"there are {', '.join(self._routes)}\n"
        return route()


def _encode(answer: Answer) -> bytes:
    status, content_type, body = answer
    data = body.encode("utf-8")
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(data)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + data
