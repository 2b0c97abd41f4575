"""Coinbase Exchange: one request for all products and channels; heartbeats count the trades.

Source: docs.cdp.coinbase.com/exchange/websocket-feed (overview, channels, rate limits: 100 messages a second from a
client; a connection that asks for nothing in 5 s is closed; a REST client has 10 requests a second). Since August
2023 ``level2`` asks for a key and ``level2_batch``, the same messages every 50 ms, does not.
"""

from __future__ import annotations

from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["CoinbaseExchange"]


class CoinbaseExchange(Dialect):
    """Texts for ``ws-feed.exchange.coinbase.com``."""

    venue = "coinbase-exchange"
    public_url = "wss://ws-feed.exchange.coinbase.com"
    public_rest = "https://api.exchange.coinbase.com"
    names: ClassVar = {"book": "level2_batch", "trade": "matches", "quote": "ticker"}
    items_max = 100
    send_seconds = 0.05
    rest_per_second, rest_burst = 8.0, 10

    def lists(self) -> list[str]:
        return [f"{self.rest}/products"] if self.rest else []

    def subscribe(self) -> list[str]:
        channels = [*(self.names[channel] for channel in self.channels), "heartbeat"]
        return [self._request("subscribe", part, channels) for part in parts(self.symbols, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], [self.names[channel]]) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, products: list[str], channels: list[str]) -> str:
        return text_of({"type": event, "product_ids": products, "channels": channels})
