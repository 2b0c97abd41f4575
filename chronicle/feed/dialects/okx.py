"""OKX v5 public channels: requests of many arguments; a new snapshot comes after unsubscribing.

Source: okx.com/docs-v5 (WebSocket: 30 s of silence end a connection, 480 subscription requests an hour, 64 KiB each).
"""

from __future__ import annotations

from typing import ClassVar, Final

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["Okx"]

INSTRUMENT_TYPES: Final = ("SPOT", "SWAP", "FUTURES")


class Okx(Dialect):
    """Texts for ``ws.okx.com/ws/v5/public``."""

    venue = "okx"
    public_url = "wss://ws.okx.com:8443/ws/v5/public"
    public_rest = "https://www.okx.com"
    names: ClassVar = {"book": "books", "trade": "trades", "quote": "tickers"}
    items_max = 200
    send_seconds = 0.35
    rest_per_second, rest_burst = 10.0, 20

    @property
    def keep_alive(self) -> str | None:
        return "ping"

    def lists(self) -> list[str]:
        if not self.rest:
            return []
        return [f"{self.rest}/api/v5/public/instruments?instType={kind}" for kind in INSTRUMENT_TYPES]

    def subscribe(self) -> list[str]:
        return [self._request("subscribe", part, self.channels) for part in parts(self.symbols, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, [symbol], (channel,)) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, symbols: list[str], channels: tuple[str, ...]) -> str:
        arguments = [{"channel": self.names[channel], "instId": symbol} for channel in channels for symbol in symbols]
        return text_of({"op": event, "args": arguments})
