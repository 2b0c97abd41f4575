"""The clients of a simulated exchange: each with an outbox, the faults of its line, and an end when it lags."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chronicle.feed.simulator.faults import Delivery, FaultInjector, Signal
from chronicle.feed.simulator.speakers import Channels

__all__ = ["Session"]

OUTBOX_MESSAGES_MAX: Final = 20_000
"""A client that falls this far behind is disconnected, as exchanges do."""


class Session:
    """One client.

    Attributes
    ----------
    channels : Channels
        What it is subscribed to.
    lagging : bool
        Whether it fell too far behind.
    frozen : bool
        Whether its connection is half open: nothing is sent or read any more.
    """

    def __init__(self, connection: ServerConnection, faults: FaultInjector) -> None:
        self.connection = connection
        self.channels = Channels()
        self.lagging = False
        self.frozen = False
        self._lane = faults.lane()
        self._outbox: asyncio.Queue[Delivery] = asyncio.Queue(OUTBOX_MESSAGES_MAX)
        self._muted = False

    def answer(self, message: str) -> None:
        """Say what no fault befalls: the reply to a request."""
        self._put(Delivery(message))

    def tell(self, message: str) -> None:
        """Say something of the market, subject to the faults."""
        if not (self._muted or self.frozen):
            for delivery in self._lane.take(message):
                self._put(delivery)

    def mute(self) -> None:
        """Say nothing any more, but stay connected."""
        self._muted = True

    def cut(self) -> None:
        """Cut the connection without a close frame, as a network does."""
        self.connection.transport.abort()

    def _put(self, delivery: Delivery) -> None:
        if self._outbox.full():
            self.lagging = True
        elif not self._muted:
            self._outbox.put_nowait(delivery)

    async def send(self) -> None:
        """Work off the outbox until the client is gone or lags."""
        with contextlib.suppress(ConnectionClosed):
            while not self.lagging:
                delivery = await self._outbox.get()
                if delivery.delay_seconds:
                    await asyncio.sleep(delivery.delay_seconds)
                if delivery.what is Signal.CUT:
                    self.cut()
                elif delivery.what is Signal.FREEZE:
                    self._muted = self.frozen = True
                    self.connection.transport.pause_reading()  # pings go unanswered, too
                    return
                else:
                    await self.connection.send(delivery.what)
            await self.connection.close(1008, "too slow")
