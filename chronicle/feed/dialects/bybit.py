"""Bybit API v5: one address per market; topics of depth, trades and tickers; a snapshot follows each subscription.

Source: bybit-exchange.github.io/docs/v5 (ws/connect: ping every 20 s, 10 topics in a request of spot, 21,000
characters of topics in one; websocket/public/orderbook: depths 1, 50, 200, 1000, options 25 and 100).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of
from chronicle.feed.symbology import Symbol, candidates, to_venue

__all__ = ["Bybit"]

MARKETS: Final = ("spot", "linear", "inverse", "option")
DEPTHS: Final = {"spot": (1, 50, 200, 1000), "option": (25, 100)}
CONTRACT_DEPTHS: Final = (1, 50, 200, 1000)


class Bybit(Dialect):
    """Texts for ``stream.bybit.com/v5/public/MARKET``."""

    venue = "bybit"
    public_url = "wss://stream.bybit.com/v5/public"
    public_rest = "https://api.bybit.com"
    names: ClassVar = {"book": "orderbook", "trade": "publicTrade", "quote": "tickers"}
    items_max = 10
    streams_max = 400
    send_seconds = 0.05
    rest_per_second, rest_burst = 20.0, 50

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec)
        if spec.market not in MARKETS:
            raise ConfigError("a connection to Bybit is about one market", expected=", ".join(MARKETS))
        if not spec.url or not spec.url.rstrip("/").endswith(MARKETS):
            self.url = f"{self.url.rstrip('/')}/{spec.market}"
        depths = DEPTHS.get(spec.market, CONTRACT_DEPTHS)
        self._depth = next((depth for depth in depths if depth >= spec.depth), depths[-1])

    @classmethod
    def markets(cls, spec: FeedSpec) -> list[FeedSpec]:
        found: dict[str, list[str]] = {}
        for text in spec.symbols:
            name = text.partition(":")[2] if ":" in text else text
            symbols = candidates("bybit", name)
            market = market_of(symbols[0]) if symbols else "linear"
            found.setdefault(market, []).append(to_venue(symbols[0]) if symbols else name)
        return [replace(spec, market=market, symbols=tuple(names)) for market, names in found.items()]

    @property
    def market(self) -> str:
        return self.spec.market

    @property
    def keep_alive(self) -> str | None:
        return '{"op":"ping"}'

    def lists(self) -> list[str]:
        if not self.rest:
            return []
        return [f"{self.rest}/v5/market/instruments-info?category={self.market}&limit=1000"]

    def subscribe(self) -> list[str]:
        topics = [self._topic(symbol, channel) for channel in self.channels for symbol in self.symbols]
        return [self._request("subscribe", part) for part in parts(topics, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [self._topic(symbol, channel)]) for event in ("unsubscribe", "subscribe")]

    def _topic(self, symbol: str, channel: str) -> str:
        depth = f".{self._depth}" if channel == "book" else ""
        return f"{self.names[channel]}{depth}.{symbol}"

    def _request(self, event: str, topics: list[str]) -> str:
        return text_of({"op": event, "args": topics})


def market_of(symbol: Symbol) -> str:
    """Return the market that an instrument is traded in."""
    if symbol.kind == "spot":
        return "spot"
    if symbol.kind == "option":
        return "option"
    return "inverse" if symbol.quote == "USD" else "linear"
