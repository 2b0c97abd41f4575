"""What the name of a capture file, the exchange it states, or the address of a frame says about the venue."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

__all__ = ["FAMILIES", "connection_name", "natural_key", "venue_of_address", "venue_of_exchange"]

EXCHANGES: Final = {
    "KRAKEN": "kraken",
    "OKX": "okx",
    "OKEX": "okx",
    "BINANCE": "binance",
    "BINANCE_US": "binance-us",
    "BINANCE_FUTURES": "binance-usdm",
    "BINANCE_DELIVERY": "binance-coinm",
    "NASDAQ": "nasdaq",
    "BYBIT": "bybit",
    "COINBASE": "coinbase",
    "COINBASE_EXCHANGE": "coinbase-exchange",
    "BITGET": "bitget",
    "KRAKEN_FUTURES": "kraken-futures",
    "KUCOIN": "kucoin",
    "DERIBIT": "deribit",
    "BITFINEX": "bitfinex",
    "BITMEX": "bitmex",
    "GATEIO": "gateio",
    "POLYGON": "polygon",
}
"""The names that cryptofeed gives to exchanges; others are taken in lower case with ``-`` for ``_``."""

FAMILIES: Final = {"coinbase": frozenset({"coinbase-exchange"})}
"""Venues that recorders call by one name, told apart by their addresses."""

HOSTS: Final = {
    "api.kraken.com": "kraken",
    "ws.kraken.com": "kraken",
    "okx.com": "okx",
    "okex.com": "okx",
    "fapi.binance.com": "binance-usdm",
    "fstream.binance.com": "binance-usdm",
    "dapi.binance.com": "binance-coinm",
    "dstream.binance.com": "binance-coinm",
    "binance.com": "binance",
    "binance.us": "binance-us",
    "bybit.com": "bybit",
    "pro.coinbase.com": "coinbase-exchange",
    "exchange.coinbase.com": "coinbase-exchange",
    "coinbase.com": "coinbase",
    "bitget.com": "bitget",
    "futures.kraken.com": "kraken-futures",
    "kucoin.com": "kucoin",
    "deribit.com": "deribit",
    "bitfinex.com": "bitfinex",
    "bitmex.com": "bitmex",
    "api.gateio.ws": "gateio",
    "polygon.io": "polygon",
    "massive.com": "polygon",
}
"""Host names, or ends of them, longest first."""

_NAME = re.compile(
    r"(?P<connection>(?P<exchange>[A-Z0-9][A-Z0-9_.]*?)(?:\.(?P<role>ws|http)\.(?P<number>\w+))?(?:-[0-9a-f]{6})?)"
    r"(?:\.\d+)?(?:\.[0-9a-z]+)*"
)


def connection_name(file_name: str) -> str:
    """Return the connection that a file holds: ``KRAKEN.ws.50.0.zst`` -> ``KRAKEN.ws.50``."""
    match = _NAME.fullmatch(file_name)
    return match["connection"] if match else file_name.split(".")[0]


def exchange_of(file_name: str) -> str | None:
    """Return the exchange in a file or connection name, when it is one we know: ``OKEX.ws.1.0.zst`` -> ``OKEX``."""
    match = _NAME.fullmatch(file_name)
    return match["exchange"] if match and match["exchange"] in EXCHANGES else None


def is_http(connection: str) -> bool:
    """Whether a connection's name says that it holds HTTP responses or configuration only."""
    match = _NAME.fullmatch(connection)
    return match is not None and (match["role"] == "http" or (match["role"] is None and "-" not in connection))


def venue_of_exchange(exchange: str) -> str:
    """Return the venue for the name of an exchange: ``OKEX`` -> ``okx``."""
    return EXCHANGES.get(exchange.upper(), exchange.lower().replace("_", "-").replace(".", "-"))


def venue_of_address(address: str) -> str | None:
    """Return the venue of a URL by its host, of ``hftbacktest:VENUE:SYMBOL`` and the like, or None."""
    scheme, _, rest = address.partition(":")
    if scheme == "hftbacktest":
        return rest.partition(":")[0] or None
    if scheme == "lobster":
        return "nasdaq"
    if scheme in ("bybit", "dbn", "tardis"):
        return scheme
    if scheme == "dbn-unended":
        return "dbn"
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return None
    for end, venue in HOSTS.items():
        if host == end or host.endswith("." + end):
            return venue
    return None


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``ws.9`` before ``ws.10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdigit() and part.isascii() else (0, 0, part) for part in parts)
