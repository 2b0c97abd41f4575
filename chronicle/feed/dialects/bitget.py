"""Bitget WebSocket v2: one address for all markets, a text ping every 30 s; and v1, as recorded.

Source: www.bitget.com/api-doc/common/websocket-intro (240 subscriptions an hour, 10 messages a second, fewer than 50
channels on a connection are advised), Bitget API v1 documentation (4,096 bytes a message). A feed whose address ends
in ``/v1`` speaks v1, where spot and contracts have addresses of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of
from chronicle.feed.symbology import candidates, to_venue

__all__ = ["Bitget", "BitgetV1"]

_PATHS: Final = {"sp": "spot", "mc": "mix"}
_LISTS_V1: Final = {
    "sp": ("/api/spot/v1/public/products",),
    "mc": tuple(f"/api/mix/v1/market/contracts?productType={kind}" for kind in ("umcbl", "dmcbl", "cmcbl")),
}
_TOPS: Final = (1, 5, 15)
_PATH: Final = "/v2/ws/public"


class Bitget(Dialect):
    """Texts for ``ws.bitget.com/v2/ws/public``; spot and contracts share names, and keep connections of their own."""

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
        if not self.url.endswith(_PATH):
            self.url = self.url.rstrip("/") + _PATH

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
        if not self.rest:
            return []
        if self.market == "sp":
            return [f"{self.rest}/api/v2/spot/public/symbols"]
        root = f"{self.rest}/api/v2/mix/market/contracts?productType="
        return [root + kind for kind in dict.fromkeys(map(self._kind, self.symbols))]

    def subscribe(self) -> list[str]:
        arguments = [self._argument(symbol, channel) for channel in self.channels for symbol in self.symbols]
        return [text_of({"op": "subscribe", "args": part}) for part in parts(arguments, self.items_max)]

    def resync(self, symbol: str, channel: str) -> list[str]:
        return [
            text_of({"op": event, "args": [self._argument(symbol, channel)]})
            for event in ("unsubscribe", "subscribe")
        ]

    def _argument(self, symbol: str, channel: str) -> dict[str, str]:
        return {"instType": self._kind(symbol), "channel": self._channel(channel), "instId": symbol}

    def _channel(self, channel: str) -> str:
        """Return the venue's name of a channel: of few levels the books that are sent whole."""
        if channel != "book" or self.spec.depth > max(_TOPS):
            return self.names[channel]
        return f"books{next(depth for depth in _TOPS if depth >= self.spec.depth)}"

    def _kind(self, symbol: str) -> str:
        if self.market == "sp":
            return "SPOT"
        return "USDC-FUTURES" if symbol.endswith("PERP") else "USDT-FUTURES" if "USDT" in symbol else "COIN-FUTURES"


class BitgetV1(Bitget):
    """Texts for ``ws.bitget.com/spot/v1/stream`` and ``/mix/v1/stream``."""

    def __init__(self, spec: FeedSpec) -> None:
        Dialect.__init__(self, spec)
        if not self.url.endswith("/stream"):
            root = self.url.rstrip("/").removesuffix("/v1")
            self.url = f"{root}/{_PATHS[spec.market or 'sp']}/v1/stream"

    def lists(self) -> list[str]:
        return [f"{self.rest}{path}" for path in _LISTS_V1[self.market]] if self.rest else []

    def _channel(self, channel: str) -> str:
        return self.names[channel]

    def _kind(self, symbol: str) -> str:
        return self.market.upper()
