"""Bitfinex WebSocket v2: a request per channel and symbol, up to 25 channels a connection, messages counted.

Source: docs.bitfinex.com (ws-general: 25 channels a connection, 20 connections a minute; Configuration: flag 65536
numbers the messages). A channel is left by the number that the reply to its subscription gave.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from chronicle.feed.dialects.base import Dialect, FeedSpec, text_of, venue_symbols

__all__ = ["Bitfinex"]

FLAG_SEQUENCES: Final = 65536
DEPTHS: Final = (1, 25, 100, 250)


class Bitfinex(Dialect):
    """Texts for ``api-pub.bitfinex.com/ws/2``. There are no quotes: a ticker's sizes are sums of levels."""

    venue = "bitfinex"
    public_url = "wss://api-pub.bitfinex.com/ws/2"
    public_rest = "https://api-pub.bitfinex.com"
    names: ClassVar = {"book": "book", "trade": "trades"}
    streams_max = 25
    send_seconds = 0.05
    rest_per_second, rest_burst = 0.5, 5

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec)
        self._depth = next((depth for depth in DEPTHS if depth >= spec.depth), DEPTHS[-1])
        self._numbers: dict[tuple[str, str], int] = {}

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        return [symbol if symbol.startswith("t") else f"t{symbol}" for symbol in venue_symbols(spec)]

    @property
    def keep_alive(self) -> str | None:
        return '{"event":"ping"}'

    def begin(self) -> None:
        self._numbers.clear()

    def hear(self, text: str) -> Sequence[str]:
        if text.startswith('{"event":"subscribed"'):
            try:
                reply: Any = json.loads(text)
                key = str(reply["channel"]), str(reply["symbol"])
                if key[1] in self.symbols:
                    self._numbers[key] = int(reply["chanId"])
            except (ValueError, KeyError, TypeError):
                return ()  # the adapter reads the same frame, and says what is wrong with it
        return ()

    def lists(self) -> list[str]:
        if not self.rest:
            return []
        return [f"{self.rest}/v2/conf/pub:list:pair:{kind}" for kind in ("exchange", "futures")]

    def subscribe(self) -> list[str]:
        wanted = [self._request(symbol, channel) for channel in self.channels for symbol in self.symbols]
        return [text_of({"event": "conf", "flags": FLAG_SEQUENCES}), *wanted]

    def resync(self, symbol: str, channel: str) -> list[str]:
        number = self._numbers.get((self.names[channel], symbol))
        if number is None:
            return []
        return [text_of({"event": "unsubscribe", "chanId": number}), self._request(symbol, channel)]

    def _request(self, symbol: str, channel: str) -> str:
        request = {"event": "subscribe", "channel": self.names[channel], "symbol": symbol}
        if channel == "book":
            request |= {"prec": "P0", "freq": "F0", "len": str(self._depth)}
        return text_of(request)
