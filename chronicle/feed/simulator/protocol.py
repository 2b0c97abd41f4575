"""The simulated market in the words of Kraken's WebSocket protocol v1 and its REST list of pairs.

Sources: docs.kraken.com/api/docs/guides/spot-ws-book-v1 and docs.kraken.com/api/docs/websocket-v1.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any, Final

from chronicle.feed.simulator.ladder import Entry
from chronicle.feed.simulator.market import SIZE_DECIMALS, Fill, Market, Pair

__all__ = ["CHANNELS", "DEPTHS", "asset_pairs", "book_snapshot", "book_update", "checksum", "ticker", "trades"]

DEPTHS: Final = (10, 25, 100, 500, 1000)
CHANNELS: Final = ("book", "trade", "ticker")
CHECK_LEVELS: Final = 10


def dumps(value: Any) -> str:
    """Return `value` as the compact JSON that the exchange sends."""
    return json.dumps(value, separators=(",", ":"))


def decimal(mantissa: int, decimals: int) -> str:
    """Return a mantissa as text with fixed decimals."""
    digits = str(mantissa).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def price_text(pair: Pair, price: int) -> str:
    """Return a price with the wire's decimals."""
    return decimal(price * 10 ** (pair.wire_decimals - pair.decimals), pair.wire_decimals)


def time_text(ns: int) -> str:
    """Return Unix seconds with six decimals."""
    return decimal(ns // 1000, 6)


def checksum(market: Market) -> int:
    """Return the CRC32 of the ten best asks, then bids: digits of price and size without point and leading zeros."""
    parts = []
    for ladder in (market.asks, market.bids):
        for price, size in ladder.best(CHECK_LEVELS):
            parts += [_digits(price_text(market.pair, price)), _digits(decimal(size, SIZE_DECIMALS))]
    return zlib.crc32("".join(parts).encode("ascii"))


def book_snapshot(market: Market, channel_id: int, depth: int, ns: int) -> str:
    """Return the message that starts a book subscription."""
    time = time_text(ns)
    sides = {
        key: [
            [price_text(market.pair, price), decimal(size, SIZE_DECIMALS), time] for price, size in ladder.best(depth)
        ]
        for key, ladder in (("as", market.asks), ("bs", market.bids))
    }
    return dumps([channel_id, sides, f"book-{depth}", market.pair.name])


def book_update(
    market: Market, channel_id: int, depth: int, asks: list[Entry], bids: list[Entry], check: int, ns: int
) -> str:
    """Return an update: one map when one side changed, else two; the checksum stands in the last."""
    time = time_text(ns)
    parts: list[dict[str, Any]] = [
        {key: [_level(market.pair, entry, time) for entry in entries]}
        for key, entries in (("a", asks), ("b", bids))
        if entries
    ]
    parts[-1]["c"] = str(check)
    return dumps([channel_id, *parts, f"book-{depth}", market.pair.name])


def trades(market: Market, channel_id: int, fills: Iterable[Fill], ns: int) -> str:
    """Return a trade message."""
    rows = [
        [
            price_text(market.pair, fill.price),
            decimal(fill.size, SIZE_DECIMALS),
            time_text(ns),
            "b" if fill.buys else "s",
            "m",
            "",
        ]
        for fill in fills
    ]
    return dumps([channel_id, rows, "trade", market.pair.name])


def ticker(market: Market, channel_id: int) -> str:
    """Return a ticker message (one day is as long as the run)."""
    pair = market.pair
    ask, ask_size = market.asks.best(1)[0]
    bid, bid_size = market.bids.best(1)[0]
    volume = decimal(market.volume, SIZE_DECIMALS)
    last, low, high, opened = (
        price_text(pair, price) for price in (market.last, market.low, market.high, market.open)
    )
    values = {
        "a": [price_text(pair, ask), ask_size // 10**SIZE_DECIMALS, decimal(ask_size, SIZE_DECIMALS)],
        "b": [price_text(pair, bid), bid_size // 10**SIZE_DECIMALS, decimal(bid_size, SIZE_DECIMALS)],
        "c": [last, decimal(market.pair.size_scale, SIZE_DECIMALS)],
        "v": [volume, volume],
        "p": [last, last],
        "t": [market.trade_count, market.trade_count],
        "l": [low, low],
        "h": [high, high],
        "o": [opened, opened],
    }
    return dumps([channel_id, values, "ticker", pair.name])


def asset_pairs(pairs: Iterable[Pair]) -> str:
    """Return the body of ``GET /0/public/AssetPairs``."""
    result = {}
    for pair in pairs:
        base, quote = pair.name.split("/")
        name = f"{_asset(base)}{_asset(quote)}"
        result[name] = {
            "altname": f"{base}{quote}",
            "wsname": pair.name,
            "aclass_base": "currency",
            "base": _asset(base),
            "aclass_quote": "currency",
            "quote": _asset(quote),
            "lot": "unit",
            "pair_decimals": pair.decimals,
            "lot_decimals": SIZE_DECIMALS,
            "lot_multiplier": 1,
            "tick_size": decimal(1, pair.decimals),
            "ordermin": "0.0001",
            "status": "online",
        }
    return dumps({"error": [], "result": result})


def _asset(currency: str) -> str:
    if currency in {"USD", "EUR"}:
        return f"Z{currency}"
    return f"X{currency}" if currency in {"XBT", "ETH", "XDG"} else currency


def _level(pair: Pair, entry: Entry, time: str) -> list[str]:
    level = [price_text(pair, entry.price), decimal(entry.size, SIZE_DECIMALS), time]
    return [*level, "r"] if entry.republished else level


def _digits(text: str) -> str:
    return text.replace(".", "").lstrip("0")
