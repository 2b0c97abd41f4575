"""Bitget WebSocket v1: spot and contracts at addresses of their own; a text ping every 30 s or the line is closed.

Source: Bitget API v1 documentation (WebSocket: 240 subscriptions an hour, 4,096 bytes and 10 messages a second;
fewer than 50 channels on a connection are advised).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of
from chronicle.feed.symbology import candidates, to_venue

__all__ = ["Bitget"]

_PATHS: Final = {"sp": "spot", "mc": "mix"}
_LISTS: Final = {
    "sp": ("/api/spot/v1/public/products",),
    "mc": tuple(f"/api/mix/v1/market/contracts?productType={kind}" for kind in ("umcbl", "dmcbl", "cmcbl")),
}


class Bitget(Dialect):
    """Texts for ``ws.bitget.com/spot/v1/stream`` and ``/mix/v1/stream``."""

    venue = "bitget"
    public_url = "wss://ws.bitget.com"
    public_rest = "https://api.bitget.com"
    names: ClassVar = {"book": "books", "trade": "trade", "quote": "ticker"}
    keep_alive_seconds = 25.0
    streams_max = 48
    items_max = 40
    send_seconds = 0.15
    rest_per_second, rest_burst = 10.0, 20

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec)
        self._path = _PATHS[spec.market or "sp"]
        if not self.url.endswith("/stream"):
            self.url = f"{self.url.rstrip('/')}/{self._path}/v1/stream"

    @classmethod
    def markets(cls, spec: FeedSpec) -> list[FeedSpec]:
        found: dict[str, list[str]] = {}
        for text in spec.symbols:
            name = text.partition(":")[2] if ":" in text else text
            symbols = candidates("bitget", name)
            market = "sp" if not symbols or symbols[0].kind == "spot" else "mc"
            found.setdefault(market, []).append(to_venue(symbols[0]) if symbols else name)
        return [replace(spec, market=market, symbols=tuple(names)) for market, names in found.items()]

    @property
    def market(self) -> str:
        return self.spec.market or "sp"

    @property
    def keep_alive(self) -> str | None:
        return "ping"

    def lists(self) -> list[str]:
        return [f"{self.rest}{path}" for path in _LISTS[self.market]] if self.rest else []

    def subscribe(self) -> list[str]:
        arguments = [self._argument(symbol, channel) for channel in self.channels for symbol in self.symbols]
        return [text_of({"op": "subscribe", "args": part}) for part in parts(arguments, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [
            text_of({"op": event, "args": [self._argument(symbol, channel)]})
            for event in ("unsubscribe", "subscribe")
        ]

    def _argument(self, symbol: str, channel: str) -> dict[str, str]:
        return {"instType": self.market.upper(), "channel": self.names[channel], "instId": symbol}
