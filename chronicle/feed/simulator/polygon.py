"""The simulated market in the words of Polygon.io: auth, trades and quotes of tickers, quotes of currency pairs.

Source: polygon.io/docs (websocket/quickstart, stocks/ws_stocks_t, stocks/ws_stocks_q, forex/ws_forex_c). Each market
is there under two names: a ticker (``ETHUSD``) with T and Q, and a pair (``ETH/USD``) with C.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.feed.simulator.market import SIZE_DECIMALS, Market, Pair, Step
from chronicle.feed.simulator.protocol import decimal, dumps
from chronicle.feed.simulator.speakers import Channels, Speaker

__all__ = ["PolygonSpeaker"]

_AUTHENTICATED: Final = ("auth", "")
_CHANNELS: Final = {"T": "trade", "Q": "ticker", "C": "ticker"}


class PolygonSpeaker(Speaker):
    """Polygon.io; any key is good but an empty one."""

    venue = "polygon"

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        super().__init__(markets, now_ns)
        self.markets |= {market.pair.name: market for market in markets.values()}
        self.names = list(self.markets)
        self._sequences = dict.fromkeys(self.names, 0)

    @staticmethod
    def spell(pair: Pair) -> str:
        return pair.name.replace("/", "")

    def key(self, text: str) -> int:
        return int(json.loads(text)[0]["t"])

    def hello(self, connection: int) -> list[str]:
        return [_status("connected", "Connected Successfully")]

    def request(self, channels: Channels, text: str) -> list[str]:
        try:
            request = json.loads(text)
            action, params = request["action"], str(request["params"])
        except (ValueError, KeyError, TypeError):
            return [_status("error", "invalid request")]
        if action == "auth":
            if not params:
                return [_status("auth_failed", "authentication failed")]
            channels.wanted[_AUTHENTICATED] = 0
            return [_status("auth_success", "authenticated")]
        if _AUTHENTICATED not in channels.wanted:
            return [_status("auth_required", "authentication required")]
        if action not in ("subscribe", "unsubscribe"):
            return [_status("error", f"unknown action {action}")]
        return [self._subscribe(channels, stream.strip(), action == "subscribe") for stream in params.split(",")]

    def _subscribe(self, channels: Channels, stream: str, wanted: bool) -> str:
        kind, _, name = stream.partition(".")
        channel = _CHANNELS.get(kind)
        if channel is None or name not in self.markets or (kind == "C") != ("/" in name):
            return _status("error", f"invalid subscription {stream}")
        if wanted:
            channels.wanted[channel, name] = 0
        else:
            channels.wanted.pop((channel, name), None)
        return _status("success", f"{'subscribed' if wanted else 'unsubscribed'} to: {stream}")

    def book(self, name: str, depth: int, step: Step) -> str:
        raise NotImplementedError("Polygon.io sends no books")

    def trades(self, name: str, step: Step) -> list[str]:
        pair = self.markets[name].pair
        rows = []
        for fill in step.fills:
            price, size = decimal(fill.price, pair.decimals), decimal(fill.size, SIZE_DECIMALS)
            number, ms = self._next(name), self.now_ns() // 10**6
            row = f'"ev":"T","sym":"{name}","x":4,"i":"{number}","z":3,"p":{price},"s":{size},"c":[12],"t":{ms}'
            rows.append(f'{{{row},"q":{number}}}')
        return [f"[{','.join(rows)}]"]

    def quote(self, name: str) -> str:
        market = self.markets[name]
        (bid, bid_size), (ask, ask_size) = (side.best(1)[0] for side in (market.bids, market.asks))
        bid_text, ask_text = (decimal(price, market.pair.decimals) for price in (bid, ask))
        ms = self.now_ns() // 10**6
        if "/" in name:
            return f'[{{"ev":"C","p":"{name}","x":"44","a":{ask_text},"b":{bid_text},"t":{ms}}}]'
        sizes = [max(size // 10 ** (SIZE_DECIMALS + 2), 1) for size in (bid_size, ask_size)]  # round lots
        return (
            f'[{{"ev":"Q","sym":"{name}","bx":4,"bp":{bid_text},"bs":{sizes[0]},"ax":7,"ap":{ask_text},'
            f'"as":{sizes[1]},"c":0,"t":{ms},"q":{self._next(name)},"z":3}}]'
        )

    def http(self, target: str) -> str | None:
        address = urlsplit(target)
        if address.path != "/v3/reference/tickers":
            return None
        query = parse_qs(address.query)
        forex, wanted = query.get("market") == ["fx"], query.get("ticker", [""])[0]
        rows: list[dict[str, Any]] = []
        for name in self.names:
            if forex and "/" in name:
                base, _, quote = name.partition("/")
                rows.append({"ticker": f"C:{base}{quote}", "market": "fx", "active": True})
                rows[-1] |= {"base_currency_symbol": base, "currency_symbol": quote}
            elif not forex and "/" not in name:
                rows.append(
                    {"ticker": name, "market": "stocks", "active": True, "type": "CS", "currency_name": "usd"}
                )
        return dumps({"status": "OK", "results": [row for row in rows if wanted in ("", row["ticker"])]})

    def _next(self, name: str) -> int:
        """Return the next number of a ticker: they grow, and not by one."""
        self._sequences[name] += 1 + self._sequences[name] % 3
        return self._sequences[name]


def _status(status: str, message: str) -> str:
    return dumps([{"ev": "status", "status": status, "message": message}])
