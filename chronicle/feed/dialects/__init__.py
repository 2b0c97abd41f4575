"""What a client says to each venue: subscriptions, resync of one symbol, keep-alives, lists and snapshots over HTTP.

One file a venue, pure functions from a feed's specification to texts and addresses.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Final

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects.base import CHANNELS, LINES_MAX, Dialect, FeedSpec, venue_symbols

__all__ = ["DIALECTS", "KEY_VARIABLES", "Dialect", "FeedSpec", "dialect_for", "dialects_for", "venue_symbols"]

DIALECTS: Final = {
    "binance": "binance:Binance",
    "binance-coinm": "binance:BinanceCoin",
    "binance-us": "binance:BinanceUs",
    "binance-usdm": "binance:BinanceUsd",
    "bitfinex": "bitfinex:Bitfinex",
    "bitget": "bitget:Bitget",
    "bitmex": "bitmex:Bitmex",
    "bybit": "bybit:Bybit",
    "coinbase": "coinbase:Coinbase",
    "coinbase-exchange": "coinbase_exchange:CoinbaseExchange",
    "deribit": "deribit:Deribit",
    "gateio": "gateio:Gateio",
    "kraken": "kraken:Kraken",
    "kraken-futures": "kraken_futures:KrakenFutures",
    "kucoin": "kucoin:Kucoin",
    "okx": "okx:Okx",
    "polygon": "polygon:Polygon",
}
"""Module and class of each venue that has a live feed."""

KEY_VARIABLES: Final = {"polygon": "POLYGON_API_KEY"}
"""The environment variable that holds the key of a venue which asks for one, unless another is named."""


def dialect_class(spec: FeedSpec) -> type[Dialect]:
    """Return the dialect's class of the feed's venue.

    Raises
    ------
    ConfigError
        When the venue has no live feed, or the specification names nothing it has.
    """
    place = DIALECTS.get(spec.venue)
    if place is None:
        raise ConfigError(f"there is no live feed for {spec.venue!r}", expected=", ".join(DIALECTS), found=spec.venue)
    unknown = sorted(set(spec.channels) - set(CHANNELS))
    if unknown or not spec.channels or not spec.symbols:
        raise ConfigError(
            f"the feed of {spec.venue} asks for nothing, or what there is not",
            expected="symbols, and channels of book, trade, quote",
            found=", ".join(unknown) or "nothing",
        )
    if not 1 <= spec.lines <= LINES_MAX:
        raise ConfigError("a feed's number of lines cannot be", expected=f"1 to {LINES_MAX}", found=spec.lines)
    if spec.venue == "kraken" and spec.url.rstrip("/").endswith("/v2"):
        place = "kraken:KrakenV2"
    if spec.venue == "bitget" and spec.url.rstrip("/").endswith(("/v1", "/v1/stream")):
        place = "bitget:BitgetV1"
    module, _, name = place.partition(":")
    maker: type[Dialect] = getattr(import_module(f"chronicle.feed.dialects.{module}"), name)
    return maker


def dialects_for(spec: FeedSpec) -> list[tuple[Dialect, int]]:
    """Return (dialect, line) of each connection that a feed needs; lines count from 1, the same for what is the same.

    Raises
    ------
    ConfigError
        When the venue has no live feed, or the specification names nothing it has.
    """
    maker = dialect_class(spec)
    if not set(spec.channels) & set(maker.names):
        raise ConfigError(
            f"{spec.venue} has none of these channels",
            expected=", ".join(maker.names),
            found=", ".join(spec.channels),
        )
    return [(maker(replace(part, lines=1)), line) for line in range(1, spec.lines + 1) for part in maker.split(spec)]


def dialect_for(spec: FeedSpec) -> Dialect:
    """Return the dialect of a feed that fits one connection (the first, where it needs several).

    Raises
    ------
    ConfigError
        As :func:`dialects_for`.
    """
    return dialects_for(spec)[0][0]
