"""What a client says to each venue: subscriptions, resync of one symbol, keep-alives, lists and snapshots over HTTP.

Pure functions from a feed's specification to texts and URLs. Sources: docs.kraken.com/api/docs/websocket-v1;
okx.com/docs-v5 (WebSocket: subscribe, ping after 30 s of silence); github.com/binance/binance-spot-api-docs
(web-socket-streams.md, rest-api.md: depth snapshots).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Protocol

from chronicle.core.errors import ConfigError
from chronicle.feed.symbology import candidates, to_venue

__all__ = ["Dialect", "FeedSpec", "dialect_for", "venue_symbols"]

KRAKEN_DEPTHS: Final = (10, 25, 100, 500, 1000)
REQUEST_ITEMS_MAX: Final = 200
"""Symbols or streams in one request: messages to a venue are limited in bytes and in number."""
OKX_INSTRUMENT_TYPES: Final = ("SPOT", "SWAP", "FUTURES")


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """One live connection.

    Parameters
    ----------
    venue : str
        ``kraken``, ``okx`` or ``binance``.
    url : str
        Address of the WebSocket; empty for the venue's public one.
    symbols : tuple of str
        In the venue's own spelling (``XBT/EUR``) or the canonical one (``kraken:BTC-EUR``).
    channels : tuple of str
        Of ``book``, ``trade``, ``quote``.
    depth : int
        Depth of the book where the venue lets one choose.
    rest_url : str, optional
        Root of the venue's HTTP interface for lists and snapshots; None: the public one when `url` is empty, else
        none is asked.
    """

    venue: str
    url: str = ""
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ("book", "trade", "quote")
    depth: int = 100
    rest_url: str | None = None


class Dialect(Protocol):
    """How to speak to one venue about one feed."""

    url: str
    keep_alive: str | None
    """Text sent when nothing was received for `keep_alive_seconds`."""
    keep_alive_seconds: float

    def lists(self) -> list[str]:
        """Return the URLs of the venue's instrument lists, asked before each connection."""
        ...

    def subscribe(self) -> list[str]:
        """Return the texts that subscribe to everything."""
        ...

    def snapshots(self, symbol: str | None = None) -> list[str]:
        """Return the URLs of book snapshots that the venue does not send itself, of all symbols or one."""
        ...

    def carries(self, symbol: str, channel: str) -> bool:
        """Whether the feed is subscribed to `channel` of `symbol` (the venue's spelling)."""
        ...

    def resync(self, symbol: str, channel: str) -> list[str]:
        """Return the texts after which the venue sends a new snapshot of one symbol."""
        ...


def venue_symbols(spec: FeedSpec) -> list[str]:
    """Return the symbols of a feed in the venue's spelling, each once.

    Raises
    ------
    SymbolError
        When one cannot be a symbol of the venue.
    """
    found: dict[str, None] = {}
    for text in spec.symbols:
        if ":" in text:
            symbols = candidates(*_split(text))
            found[to_venue(symbols[0]) if symbols else text.partition(":")[2]] = None
        else:
            found[text] = None
    return list(found)


def dialect_for(spec: FeedSpec) -> Dialect:
    """Return the dialect of a feed.

    Raises
    ------
    ConfigError
        When the venue has no live feed, or the specification names nothing it has.
    """
    makers: dict[str, type[Kraken] | type[Okx] | type[Binance]] = {"kraken": Kraken, "okx": Okx, "binance": Binance}
    maker = makers.get(spec.venue)
    if maker is None:
        raise ConfigError(f"there is no live feed for {spec.venue!r}", expected=", ".join(makers), found=spec.venue)
    unknown = sorted(set(spec.channels) - {"book", "trade", "quote"})
    if unknown or not spec.channels or not spec.symbols:
        raise ConfigError(
            f"the feed of {spec.venue} asks for nothing, or what there is not",
            expected="symbols, and channels of book, trade, quote",
            found=", ".join(unknown) or "nothing",
        )
    return maker(spec)


class Kraken:
    """Kraken WebSocket v1: one subscription per channel; a new snapshot comes after unsubscribing."""

    keep_alive: str | None = '{"event":"ping"}'
    keep_alive_seconds = 20.0
    _names: Final = {"book": "book", "trade": "trade", "quote": "ticker"}

    def __init__(self, spec: FeedSpec) -> None:
        if spec.depth not in KRAKEN_DEPTHS:
            raise ConfigError(
                "Kraken has no book of this depth", expected=", ".join(map(str, KRAKEN_DEPTHS)), found=spec.depth
            )
        self.url = spec.url or "wss://ws.kraken.com"
        self._rest = _rest(spec, "https://api.kraken.com")
        self._symbols = venue_symbols(spec)
        self._channels = spec.channels
        self._depth = spec.depth

    def lists(self) -> list[str]:
        return [f"{self._rest}/0/public/AssetPairs"] if self._rest else []

    def subscribe(self) -> list[str]:
        return [
            self._request("subscribe", part, channel) for channel in self._channels for part in _parts(self._symbols)
        ]

    def carries(self, symbol: str, channel: str) -> bool:
        return symbol in self._symbols and channel in self._channels

    def snapshots(self, symbol: str | None = None) -> list[str]:
        return []

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], channel) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, symbols: list[str], channel: str) -> str:
        subscription: dict[str, Any] = {"name": self._names[channel]}
        if channel == "book":
            subscription["depth"] = self._depth
        return _json({"event": event, "pair": symbols, "subscription": subscription})


class Okx:
    """OKX v5 public channels: one request for all; a new snapshot comes after unsubscribing."""

    keep_alive: str | None = "ping"
    keep_alive_seconds = 20.0
    _names: Final = {"book": "books", "trade": "trades", "quote": "tickers"}

    def __init__(self, spec: FeedSpec) -> None:
        self.url = spec.url or "wss://ws.okx.com:8443/ws/v5/public"
        self._rest = _rest(spec, "https://www.okx.com")
        self._symbols = venue_symbols(spec)
        self._channels = spec.channels

    def lists(self) -> list[str]:
        if not self._rest:
            return []
        return [f"{self._rest}/api/v5/public/instruments?instType={kind}" for kind in OKX_INSTRUMENT_TYPES]

    def subscribe(self) -> list[str]:
        return [self._request("subscribe", part, self._channels) for part in _parts(self._symbols)]

    def carries(self, symbol: str, channel: str) -> bool:
        return symbol in self._symbols and channel in self._channels

    def snapshots(self, symbol: str | None = None) -> list[str]:
        return []

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], (channel,)) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, symbols: list[str], channels: tuple[str, ...]) -> str:
        arguments = [
            {"channel": self._names[channel], "instId": symbol} for channel in channels for symbol in symbols
        ]
        return _json({"op": event, "args": arguments})


class Binance:
    """Binance spot streams in their envelope; book snapshots come over HTTP and are aligned by the ETL."""

    keep_alive: str | None = None  # the venue pings, and the WebSocket layer answers
    keep_alive_seconds = 3600.0
    _names: Final = {"book": "depth@100ms", "trade": "trade", "quote": "bookTicker"}

    def __init__(self, spec: FeedSpec) -> None:
        self.url = spec.url or "wss://stream.binance.com:9443/stream"
        self._rest = _rest(spec, "https://api.binance.com")
        self._symbols = [symbol.upper() for symbol in venue_symbols(spec)]
        self._channels = spec.channels

    def lists(self) -> list[str]:
        return [f"{self._rest}/api/v3/exchangeInfo"] if self._rest else []

    def subscribe(self) -> list[str]:
        streams = [
            f"{symbol.lower()}@{self._names[channel]}" for channel in self._channels for symbol in self._symbols
        ]
        return [
            _json({"method": "SUBSCRIBE", "params": part, "id": number})
            for number, part in enumerate(_parts(streams), start=1)
        ]

    def carries(self, symbol: str, channel: str) -> bool:
        return symbol in self._symbols and channel in self._channels

    def snapshots(self, symbol: str | None = None) -> list[str]:
        if not self._rest or "book" not in self._channels:
            return []
        symbols = self._symbols if symbol is None else [symbol.upper()]
        return [f"{self._rest}/api/v3/depth?symbol={name}&limit=1000" for name in symbols]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return []  # the diffs go on; a new REST snapshot is all that is needed


def _rest(spec: FeedSpec, public: str) -> str:
    if spec.rest_url is not None:
        return spec.rest_url.rstrip("/")
    return "" if spec.url else public


def _parts(items: list[str]) -> list[list[str]]:
    """Return `items` in parts that one request may name."""
    return [items[start : start + REQUEST_ITEMS_MAX] for start in range(0, len(items), REQUEST_ITEMS_MAX)]


def _split(text: str) -> tuple[str, str]:
    venue, _, name = text.partition(":")
    return venue, name


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
