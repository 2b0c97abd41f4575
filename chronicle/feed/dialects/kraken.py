"""Kraken spot, WebSocket v1: one subscription per channel; a new snapshot comes after unsubscribing.

Source: docs.kraken.com/api/docs/websocket-v1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of

__all__ = ["Kraken"]

DEPTHS: Final = (10, 25, 100, 500, 1000)


class Kraken(Dialect):
    """Texts for ``ws.kraken.com``."""

    venue = "kraken"
    public_url = "wss://ws.kraken.com"
    public_rest = "https://api.kraken.com"
    names: ClassVar = {"book": "book", "trade": "trade", "quote": "ticker"}
    rest_per_second, rest_burst = 1.0, 5

    def __init__(self, spec: FeedSpec) -> None:
        if spec.depth not in DEPTHS:
            raise ConfigError(
                "Kraken has no book of this depth", expected=", ".join(map(str, DEPTHS)), found=spec.depth
            )
        super().__init__(spec)

    @property
    def keep_alive(self) -> str | None:
        return '{"event":"ping"}'

    def lists(self) -> list[str]:
        return [f"{self.rest}/0/public/AssetPairs"] if self.rest else []

    def subscribe(self) -> list[str]:
        return [
            self._request("subscribe", part, channel)
            for channel in self.channels
            for part in parts(self.symbols, self.items_max)
        ]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], channel) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, symbols: list[str], channel: str) -> str:
        subscription: dict[str, Any] = {"name": self.names[channel]}
        if channel == "book":
            subscription["depth"] = self.spec.depth
        return text_of({"event": event, "pair": symbols, "subscription": subscription})
