"""Binance: spot, US, USD-M and COIN-M futures. Streams in their envelope; book snapshots come over HTTP.

Sources: github.com/binance/binance-spot-api-docs (web-socket-streams.md: 1,024 streams a connection, 5 messages a
second to it; rest-api.md: a depth of 1,000 levels weighs 50 of 6,000 a minute); developers.binance.com,
"Derivatives" (10 messages a second; a depth of 1,000 weighs 20 of 2,400 a minute; USD-M books are at ``/public``,
trades at ``/market``). The venue pings, and the WebSocket layer answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of, venue_symbols

__all__ = ["Binance", "BinanceCoin", "BinanceUs", "BinanceUsd"]


class Binance(Dialect):
    """Texts for ``stream.binance.com``."""

    venue = "binance"
    public_url = "wss://stream.binance.com:9443/stream"
    public_rest = "https://api.binance.com"
    names: ClassVar = {"book": "depth@100ms", "trade": "trade", "quote": "bookTicker"}
    path = "/api/v3"
    starts_on_stream = False
    streams_max = 1024
    items_max = 200
    send_seconds = 0.25
    rest_per_second, rest_burst = 1.5, 20

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        return [symbol.upper() for symbol in venue_symbols(spec)]

    def lists(self) -> list[str]:
        return [f"{self.rest}{self.path}/exchangeInfo"] if self.rest else []

    def subscribe(self) -> list[str]:
        streams = [f"{symbol.lower()}@{self.names[channel]}" for channel in self.channels for symbol in self.symbols]
        return [
            text_of({"method": "SUBSCRIBE", "params": part, "id": number})
            for number, part in enumerate(parts(streams, self.items_max), start=1)
        ]

    def snapshots(self, symbol: str | None = None) -> list[str]:
        if not self.rest or "book" not in self.channels:
            return []
        symbols = self.symbols if symbol is None else [symbol.upper()]
        return [f"{self.rest}{self.path}/depth?symbol={name}&limit=1000" for name in symbols]

    def renew(self, symbol: str, channel: str) -> list[str]:
        stream = [f"{symbol.lower()}@{self.names[channel]}"]
        return [text_of({"method": f"{verb}SUBSCRIBE", "params": stream, "id": 0}) for verb in ("UN", "")]

    # The diffs go on: for a resync a new REST snapshot is all that is needed.


class BinanceUs(Binance):
    """Texts for ``stream.binance.us``."""

    venue = "binance-us"
    public_url = "wss://stream.binance.us:9443/stream"
    public_rest = "https://api.binance.us"


class BinanceUsd(Binance):
    """Texts for ``fstream.binance.com``: books and best prices on one connection, trades on another."""

    venue = "binance-usdm"
    public_url = "wss://fstream.binance.com/public/stream"
    public_rest = "https://fapi.binance.com"
    names: ClassVar = {"book": "depth@100ms", "trade": "aggTrade", "quote": "bookTicker"}
    path = "/fapi/v1"
    send_seconds = 0.15

    @classmethod
    def markets(cls, spec: FeedSpec) -> list[FeedSpec]:
        trades = tuple(channel for channel in spec.channels if channel == "trade")
        rest = tuple(channel for channel in spec.channels if channel != "trade")
        if spec.url or not trades or spec.market:
            return [spec]
        found = [replace(spec, channels=rest)] if rest else []
        return [*found, replace(spec, channels=trades, market="trades")]

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec)
        if not spec.url and self.channels == ("trade",):
            self.url = self.url.replace("/public/", "/market/")


class BinanceCoin(Binance):
    """Texts for ``dstream.binance.com``."""

    venue = "binance-coinm"
    public_url = "wss://dstream.binance.com/stream"
    public_rest = "https://dapi.binance.com"
    names: ClassVar = {"book": "depth@100ms", "trade": "aggTrade", "quote": "bookTicker"}
    path = "/dapi/v1"
    streams_max = 200
    send_seconds = 0.15
