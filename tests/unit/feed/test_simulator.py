"""The simulated exchange keeps the venue's promises: depth windows, checksums, seeds, replies."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect

from chronicle.feed.simulator import DEFAULT_PAIRS, Faults, Market, SimulatedExchange, protocol
from chronicle.feed.simulator.ladder import Entry, Ladder


class Book:
    """A client's book as the venue's guide tells to keep it."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[str, str]] = {"a": {}, "b": {}}

    def apply(self, message: list[Any]) -> None:
        for part in message[1:-2]:
            for key in ("a", "b"):
                for level in part.get(key, part.get(f"{key}s", [])):
                    if float(level[1]) == 0:
                        self.sides[key].pop(level[0], None)
                    else:
                        self.sides[key][level[0]] = level[1]
        for key in ("a", "b"):
            for price in self.prices(key)[self.depth :]:
                del self.sides[key][price]

    def prices(self, key: str) -> list[str]:
        return sorted(self.sides[key], key=float, reverse=key == "b")

    def checksum(self) -> int:
        text = ""
        for key in ("a", "b"):
            for price in self.prices(key)[:10]:
                text += price.replace(".", "").lstrip("0") + self.sides[key][price].replace(".", "").lstrip("0")
        return zlib.crc32(text.encode())


@pytest.mark.parametrize("pair", DEFAULT_PAIRS, ids=lambda pair: pair.name)
def test_a_client_of_every_depth_holds_the_exchange_s_book(pair: Any) -> None:
    market = Market(pair, seed=3, levels=60)
    books = {depth: Book(depth) for depth in (10, 25, 100)}
    for depth, book in books.items():
        book.apply(json.loads(protocol.book_snapshot(market, 1, depth, 10**18)))
    fills = 0
    for _ in range(1500):
        step = market.step(set(books))
        fills += len(step.fills)
        check = protocol.checksum(market)
        assert market.bids.price(0) < market.asks.price(0)
        for depth, book in books.items():
            if not (step.asks[depth] or step.bids[depth]):
                continue
            message = json.loads(
                protocol.book_update(market, 1, depth, step.asks[depth], step.bids[depth], check, 10**18)
            )
            book.apply(message)
            assert book.checksum() == int(message[-3]["c"])
            for key, ladder in (("a", market.asks), ("b", market.bids)):
                assert book.prices(key) == [protocol.price_text(pair, price) for price, _ in ladder.best(depth)]
    assert fills > 20


def test_a_removal_brings_the_level_that_moves_into_view() -> None:
    ladder = Ladder(1)
    for price in (5, 6, 7, 8):
        ladder.set(price, price * 10, {})
    depths: dict[int, list[Entry]] = {2: [], 3: []}
    ladder.set(5, 0, depths)
    assert depths == {2: [Entry(5, 0), Entry(7, 70, True)], 3: [Entry(5, 0), Entry(8, 80, True)]}
    depths = {2: []}
    ladder.set(8, 1, depths)
    assert depths == {2: []}


def test_the_same_seed_gives_the_same_market() -> None:
    def run(seed: int) -> list[Any]:
        market = Market(DEFAULT_PAIRS[0], seed)
        for _ in range(300):
            market.step({10})
        return [market.bids.best(50), market.asks.best(50), market.last, market.volume]

    assert run(1) == run(1)
    assert run(1) != run(2)


def serve(test: Callable[[SimulatedExchange, Any], Awaitable[None]], **named: Any) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(600),
            SimulatedExchange(rate=0, **named) as exchange,
            connect(exchange.url) as socket,
        ):
            assert json.loads(await socket.recv())["event"] == "systemStatus"
            await test(exchange, socket)

    asyncio.run(run())


async def hear(socket: Any) -> Any:
    """Return the next message that is no heartbeat: one comes each second, however far the test is."""
    while (message := json.loads(await socket.recv())) == {"event": "heartbeat"}:
        pass
    return message


async def ask(socket: Any, request: dict[str, Any]) -> Any:
    await socket.send(json.dumps(request))
    return await hear(socket)


def subscription(event: str, pair: str, **named: Any) -> dict[str, Any]:
    return {"event": event, "pair": [pair], "subscription": named}


def test_subscriptions_are_answered_as_the_venue_does() -> None:
    async def test(exchange: SimulatedExchange, socket: Any) -> None:
        reply = await ask(socket, subscription("subscribe", "XBT/USD", name="book", depth=25) | {"reqid": 5})
        assert (reply["status"], reply["channelName"], reply["reqid"]) == ("subscribed", "book-25", 5)
        snapshot = await hear(socket)
        assert (len(snapshot[1]["as"]), len(snapshot[1]["bs"]), snapshot[2:]) == (25, 25, ["book-25", "XBT/USD"])
        for wrong in (
            subscription("subscribe", "NO/PAIR", name="book"),
            subscription("subscribe", "XBT/USD", name="magic"),
            subscription("subscribe", "XBT/USD", name="book", depth=11),
            subscription("unsubscribe", "XBT/USD", name="trade"),
        ):
            assert (await ask(socket, wrong))["status"] == "error"
        assert (await ask(socket, {"event": "ping", "reqid": 9})) == {"event": "pong", "reqid": 9}
        assert (await ask(socket, {"event": []}))["event"] == "error"
        assert (await ask(socket, subscription("unsubscribe", "XBT/USD", name="book", depth=25)))[
            "status"
        ] == "unsubscribed"

    serve(test)


def test_faults_lose_and_corrupt_updates() -> None:
    async def test(exchange: SimulatedExchange, socket: Any) -> None:
        await ask(socket, subscription("subscribe", "XBT/USD", name="book", depth=10))
        book = Book(10)
        book.apply(await hear(socket))

        async def next_holds() -> bool:
            updates = len(exchange.truth)
            while len(exchange.truth) == updates:
                exchange.pump(1)  # (most steps change the book)
            message = await hear(socket)
            book.apply(message)
            return book.checksum() == int(message[-3]["c"])

        assert await next_holds()
        exchange.corrupt_next()
        assert not await next_holds()
        assert await next_holds()

    serve(test, pairs=DEFAULT_PAIRS[:1])


def test_faults_come_at_every_nth_message() -> None:
    async def test(exchange: SimulatedExchange, socket: Any) -> None:
        await ask(socket, subscription("subscribe", "XBT/USD", name="trade"))
        assert exchange.session_count == 1
        exchange.pump(50)
        await socket.wait_closed()

    serve(test, faults=Faults(close_every=50))
