"""BitMEX: topics ``table:symbol``; a table starts with ``partial`` after each subscription.

Source: www.bitmex.com/app/wsAPI (20 connections an hour in a burst, 720 an hour; a text ping within 5 s of silence;
topics in the address or in ``subscribe`` requests; 30 REST requests a minute without a key).
"""

from __future__ import annotations

from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["Bitmex"]


class Bitmex(Dialect):
    """Texts for ``ws.bitmex.com/realtime``."""

    venue = "bitmex"
    public_url = "wss://ws.bitmex.com/realtime"
    public_rest = "https://www.bitmex.com"
    names: ClassVar = {"book": "orderBookL2", "trade": "trade", "quote": "quote"}
    items_max = 20
    rest_per_second, rest_burst = 0.5, 5

    @property
    def keep_alive(self) -> str | None:
        return "ping"

    def lists(self) -> list[str]:
        return [f"{self.rest}/api/v1/instrument/active"] if self.rest else []

    def subscribe(self) -> list[str]:
        topics = [f"{self.names[channel]}:{symbol}" for channel in self.channels for symbol in self.symbols]
        return [text_of({"op": "subscribe", "args": part}) for part in parts(topics, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        topic = [f"{self.names[channel]}:{symbol}"]
        return [text_of({"op": event, "args": topic}) for event in ("unsubscribe", "subscribe")]
