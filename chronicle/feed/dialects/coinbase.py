"""Coinbase Advanced Trade: one request per channel; heartbeats keep a quiet connection and count its messages.

Source: docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket (8 messages a second without a key; a
connection without subscription is closed after 5 s).
"""

from __future__ import annotations

from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["Coinbase"]


class Coinbase(Dialect):
    """Texts for ``advanced-trade-ws.coinbase.com``."""

    venue = "coinbase"
    public_url = "wss://advanced-trade-ws.coinbase.com"
    public_rest = "https://api.coinbase.com"
    names: ClassVar = {"book": "level2", "trade": "market_trades", "quote": "ticker"}
    items_max = 50
    send_seconds = 0.15
    rest_per_second, rest_burst = 8.0, 10

    def lists(self) -> list[str]:
        return [f"{self.rest}/api/v3/brokerage/market/products"] if self.rest else []

    def subscribe(self) -> list[str]:
        wanted = [
            self._request("subscribe", part, self.names[channel])
            for channel in self.channels
            for part in parts(self.symbols, self.items_max)
        ]
        return [*wanted, text_of({"type": "subscribe", "channel": "heartbeats"})]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], self.names[channel]) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, products: list[str], channel: str) -> str:
        return text_of({"type": event, "product_ids": products, "channel": channel})
