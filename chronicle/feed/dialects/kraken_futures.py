"""Kraken Futures WebSocket v1: one request per feed; a new snapshot comes after unsubscribing.

Source: docs.kraken.com/api/docs/futures-api/websocket (a ping frame at least every 60 s; 100 requests a second).
"""

from __future__ import annotations

from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of, venue_symbols

__all__ = ["KrakenFutures"]


class KrakenFutures(Dialect):
    """Texts for ``futures.kraken.com/ws/v1``."""

    venue = "kraken-futures"
    public_url = "wss://futures.kraken.com/ws/v1"
    public_rest = "https://futures.kraken.com"
    names: ClassVar = {"book": "book", "trade": "trade", "quote": "ticker"}
    items_max = 50

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        return [symbol.upper() for symbol in venue_symbols(spec)]

    def lists(self) -> list[str]:
        return [f"{self.rest}/derivatives/api/v3/instruments"] if self.rest else []

    def subscribe(self) -> list[str]:
        return [
            self._request("subscribe", part, channel)
            for channel in self.channels
            for part in parts(self.symbols, self.items_max)
        ]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], channel) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, products: list[str], channel: str) -> str:
        return text_of({"event": event, "feed": self.names[channel], "product_ids": products})
