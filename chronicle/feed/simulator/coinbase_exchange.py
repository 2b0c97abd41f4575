"""The simulated market in the words of Coinbase Exchange: books, matches, tickers, heartbeats.

Source: docs.cdp.coinbase.com/exchange/websocket-feed/channels. Changes of a book have no number, trades count by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.times import format_ns, parse_time
from chronicle.feed.simulator.market import SIZE_DECIMALS, Market, Pair, Step
from chronicle.feed.simulator.protocol import decimal, dumps
from chronicle.feed.simulator.speakers import DEEP, NAMES, Channels, Speaker

__all__ = ["CoinbaseExchangeSpeaker"]

_OWN: Final = {"book": "level2_batch", "trade": "matches", "ticker": "ticker", "heartbeat": "heartbeat"}


class CoinbaseExchangeSpeaker(Speaker):
    """Coinbase Exchange without a key."""

    venue = "coinbase-exchange"
    channels: Final = {own: channel for channel, own in _OWN.items()}

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        super().__init__(markets, now_ns)
        self._trades = dict.fromkeys(self.names, 100)
        self._last: dict[str, dict[str, Any]] = {}

    @staticmethod
    def spell(pair: Pair) -> str:
        base, quote = pair.name.split("/")
        return f"{NAMES.get(base, base)}-{quote if quote == 'USD' else NAMES.get(quote, quote)}"

    def key(self, text: str) -> int:
        return parse_time(json.loads(text)["time"])

    def heartbeats(self, channels: Channels) -> list[str]:
        return [
            dumps(
                {"type": "heartbeat", "sequence": self._trades[name] * 3, "last_trade_id": self._trades[name]}
                | {"product_id": name, "time": self._time()}
            )
            for channel, name in channels.wanted
            if channel == "heartbeat"
        ]

    def request(self, channels: Channels, text: str) -> list[str]:
        try:
            request = json.loads(text)
            wanted = {"subscribe": True, "unsubscribe": False}[request["type"]]
            told: list[str] = []
            for own in request["channels"]:
                for name in request["product_ids"]:
                    told += self._subscribe(channels, str(own), str(name), wanted=wanted)
        except (ValueError, KeyError, TypeError, AttributeError):
            return [dumps({"type": "error", "message": "Malformed JSON"})]
        return [self._state(channels), *told]

    def _subscribe(self, channels: Channels, own: str, name: str, *, wanted: bool) -> list[str]:
        channel = self.channels.get(own)
        if channel is None or name not in self.markets:
            reason = f"{name} is not a valid product" if channel else f"{own} is not a valid channel"
            return [dumps({"type": "error", "message": "Failed to subscribe", "reason": reason})]
        if not wanted:
            channels.wanted.pop((channel, name), None)
            return []
        channels.wanted[channel, name] = DEEP if channel == "book" else 0
        if channel == "book":
            market = self.markets[name]
            sides = {
                key: [_level(market.pair, *level) for level in side.best(DEEP)]
                for key, side in (("bids", market.bids), ("asks", market.asks))
            }
            return [dumps({"type": "snapshot", "product_id": name, "time": self._time()} | sides)]
        if channel == "trade" and name in self._last:
            return [dumps(self._last[name] | {"type": "last_match"})]
        return [self.quote(name)] if channel == "ticker" else []

    def _state(self, channels: Channels) -> str:
        products: dict[str, list[str]] = {}
        for channel, name in channels.wanted:
            products.setdefault(_OWN[channel], []).append(name)
        entries = [{"name": own, "product_ids": names} for own, names in products.items()]
        return dumps({"type": "subscriptions", "channels": entries})

    def book(self, name: str, depth: int, step: Step) -> str:
        pair = self.markets[name].pair
        changes = [
            [side, *_level(pair, entry.price, entry.size)]
            for side, entries in (("buy", step.bids[depth]), ("sell", step.asks[depth]))
            for entry in entries
        ]
        return dumps({"type": "l2update", "product_id": name, "changes": changes, "time": self._time()})

    def trades(self, name: str, step: Step) -> list[str]:
        pair = self.markets[name].pair
        found = []
        for fill in step.fills:
            self._trades[name] += 1
            price, size = _level(pair, fill.price, fill.size)
            match = {"type": "match", "trade_id": self._trades[name], "sequence": self._trades[name] * 3}
            match |= {"side": "sell" if fill.buys else "buy", "size": size, "price": price}  # the maker's
            self._last[name] = match | {"product_id": name, "time": self._time()}
            found.append(dumps(self._last[name]))
        return found

    def quote(self, name: str) -> str:
        market = self.markets[name]
        (bid, bid_size), (ask, ask_size) = (_level(market.pair, *s.best(1)[0]) for s in (market.bids, market.asks))
        best = {"best_bid": bid, "best_bid_size": bid_size, "best_ask": ask, "best_ask_size": ask_size}
        head = {"type": "ticker", "sequence": self._trades[name] * 3, "product_id": name, "time": self._time()}
        return dumps(head | best)

    def http(self, target: str) -> str | None:
        if urlsplit(target).path != "/products":
            return None
        rows = []
        for name, market in self.markets.items():
            base, _, quote = name.partition("-")
            row = {"id": name, "base_currency": base, "quote_currency": quote, "status": "online"}
            steps = {
                "quote_increment": decimal(1, market.pair.decimals),
                "base_increment": decimal(1, SIZE_DECIMALS),
            }
            rows.append(row | steps)
        return dumps(rows)

    def _time(self) -> str:
        return format_ns(self.now_ns())


def _level(pair: Pair, price: int, size: int) -> list[str]:
    return [decimal(price, pair.decimals), decimal(size, SIZE_DECIMALS)]
