"""Deribit API v2: JSON-RPC; heartbeats are asked for, and their test requests are answered.

Source: docs.deribit.com (subscriptions; public/set_heartbeat). The ``raw`` interval needs a key: books come every
100 ms; after unsubscribing and subscribing again a book starts with a snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["Deribit"]

HEARTBEAT_SECONDS: Final = 10
_TEST: Final = '"test_request"'


class Deribit(Dialect):
    """Texts for ``www.deribit.com/ws/api/v2``."""

    venue = "deribit"
    public_url = "wss://www.deribit.com/ws/api/v2"
    public_rest = "https://www.deribit.com"
    names: ClassVar = {"book": "book.{}.100ms", "trade": "trades.{}.100ms", "quote": "quote.{}"}
    streams_max = 450
    items_max = 100
    send_seconds = 0.1
    _requests = 0

    def lists(self) -> list[str]:
        if not self.rest:
            return []
        currencies = dict.fromkeys(_currency(symbol) for symbol in self.symbols)
        return [
            f"{self.rest}/api/v2/public/get_instruments?currency={currency}&expired=false" for currency in currencies
        ]

    def begin(self) -> None:
        self._requests = 0

    def subscribe(self) -> list[str]:
        channels = [self.names[channel].format(symbol) for channel in self.channels for symbol in self.symbols]
        heartbeat = self._request("public/set_heartbeat", {"interval": HEARTBEAT_SECONDS})
        wanted = [self._request("public/subscribe", {"channels": part}) for part in parts(channels, self.items_max)]
        return [heartbeat, *wanted]

    def hear(self, text: str) -> Sequence[str]:
        return [self._request("public/test", {})] if _TEST in text[:200] else ()

    def resync(self, symbol: str, channel: str) -> list[str]:
        channels = {"channels": [self.names[channel].format(symbol)]}
        return [self._request(f"public/{event}", channels) for event in ("unsubscribe", "subscribe")]

    def _request(self, method: str, parameters: dict[str, Any]) -> str:
        self._requests += 1
        return text_of({"jsonrpc": "2.0", "id": self._requests, "method": method, "params": parameters})


def _currency(symbol: str) -> str:
    """Return the currency under which the list has an instrument: ``UNI_USDC-PERPETUAL`` is in that of USDC."""
    base, mark, quote = symbol.partition("-")[0].partition("_")
    return quote if mark else base
