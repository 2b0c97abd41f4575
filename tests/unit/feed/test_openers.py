"""Both libraries that open WebSockets give the same socket: messages whole and in order, the end as an error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from chronicle.feed.connection import (
    RECEIVE_FRAMES_MAX,
    ConnectionSettings,
    DeliveringSocket,
    Opener,
    open_websocket,
)
from chronicle.feed.openers import default_opener

MANY = 3 * RECEIVE_FRAMES_MAX
BYTES_MAX = 1 << 17
"""Small, so that a frame that is refused comes whole within the moment that picows waits before it closes."""


@pytest.fixture(params=["websockets", "picows"])
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    if request.param == "websockets":
        yield open_websocket
        return
    pytest.importorskip("picows", reason="the extra `fast` is not installed")
    from chronicle.feed.picows_socket import open_picows

    yield open_picows


async def _talk(connection: ServerConnection) -> None:
    asked = await connection.recv()
    await connection.send(f"heard {asked!s}")
    await connection.send(b"\x00\x01")
    await connection.send(["in ", "three ", "parts \u20ac"])
    for number in range(MANY):
        await connection.send(str(number))


async def _answers(opener: Opener) -> list[str | bytes]:
    async with serve(_talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found: list[str | bytes] = []
        async with opener(f"ws://127.0.0.1:{port}/", ConnectionSettings()) as socket:
            await socket.send("hello")
            try:
                async with asyncio.timeout(600):
                    while True:
                        found.append(await socket.recv())
            except (OSError, WebSocketException):
                return found


def test_messages_come_whole_and_in_order_and_the_end_is_an_error(opener: Opener) -> None:
    found = asyncio.run(_answers(opener))
    assert found[:3] == ["heard hello", b"\x00\x01", "in three parts \u20ac"]
    assert found[3:] == [str(number) for number in range(MANY)]


async def _delivered(opener: Opener) -> list[tuple[bytes, bool]]:
    async with serve(_talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found: list[tuple[bytes, bool]] = []
        async with opener(f"ws://127.0.0.1:{port}/", ConnectionSettings()) as socket:
            assert isinstance(socket, DeliveringSocket)
            await socket.send("hello")
            assert await socket.recv() == "heard hello", "what is there before may be fetched one by one"
            with pytest.raises(ConnectionResetError, match="closed by the venue"):
                async with asyncio.timeout(600):
                    await socket.deliver(lambda payload, is_text: found.append((payload, is_text)))
        return found


def test_messages_are_delivered_whole_and_in_order_and_the_end_is_an_error() -> None:
    pytest.importorskip("picows", reason="the extra `fast` is not installed")
    from chronicle.feed.picows_socket import open_picows

    found = asyncio.run(_delivered(open_picows))
    assert found[:2] == [(b"\x00\x01", False), ("in three parts \u20ac".encode(), True)]
    assert found[2:] == [(str(number).encode(), True) for number in range(MANY)]


async def _talk_too_big(connection: ServerConnection) -> None:
    await connection.send("before")
    await connection.send("x" * (BYTES_MAX + 1))
    await connection.send("after")


async def _until_the_end(opener: Opener) -> list[str | bytes]:
    async with serve(_talk_too_big, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        found: list[str | bytes] = []
        async with opener(f"ws://127.0.0.1:{port}/", ConnectionSettings()) as socket:
            try:
                async with asyncio.timeout(600):
                    while True:
                        found.append(await socket.recv())
            except (OSError, WebSocketException):
                return found


def test_a_message_that_is_too_big_ends_the_connection_and_nothing_behind_it_is_taken(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("connection", "picows_socket"):
        monkeypatch.setattr(f"chronicle.feed.{module}.FRAME_BYTES_MAX", BYTES_MAX)
    for _ in range(3):
        assert asyncio.run(_until_the_end(opener)) == ["before"]


async def _refused(opener: Opener) -> None:
    with socket.socket() as held:  # bound by nobody else meanwhile, and it does not listen
        held.bind(("127.0.0.1", 0))
        async with opener(f"ws://127.0.0.1:{held.getsockname()[1]}/", ConnectionSettings()):
            pass


def test_a_venue_that_does_not_answer_is_an_os_error(opener: Opener) -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(_refused(opener))


def test_a_proxy_of_the_environment_is_for_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert default_opener() is open_websocket
