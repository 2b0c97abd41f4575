"""Kraken spot, WebSocket v1 and v2: one subscription per channel; a new snapshot comes after unsubscribing.

Sources: docs.kraken.com/api/docs/websocket-v1 and docs.kraken.com/exchange (WebSocket v2). v1 is what the captures
hold; a feed whose address ends in ``/v2`` speaks v2.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of, venue_symbols
from chronicle.feed.symbology import KRAKEN_NAMES

__all__ = ["Kraken", "KrakenV2"]

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


class KrakenV2(Kraken):
    """Texts for ``ws.kraken.com/v2``."""

    public_url = "wss://ws.kraken.com/v2"

    @classmethod
    def rest_root(cls, spec: FeedSpec) -> str:
        if spec.rest_url is None and spec.url == cls.public_url:
            return cls.public_rest
        return super().rest_root(spec)

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        pairs = [symbol.split("/") for symbol in venue_symbols(spec)]
        return ["/".join(KRAKEN_NAMES.get(part, part) for part in pair) for pair in pairs]

    @property
    def keep_alive(self) -> str | None:
        return '{"method":"ping"}'

    def _request(self, event: str, symbols: list[str], channel: str) -> str:
        parameters: dict[str, Any] = {"channel": self.names[channel], "symbol": symbols}
        if channel == "book":
            parameters["depth"] = self.spec.depth
        if channel == "quote":
            parameters["event_trigger"] = "bbo"
        return text_of({"method": event, "params": parameters})
