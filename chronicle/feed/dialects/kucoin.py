"""KuCoin spot: the address of a connection, with its token, is asked for by REST; book snapshots come over HTTP.

Source: www.kucoin.com/docs (websocket: POST bullet-public gives token, endpoint and ping interval; 100 topics a
request, 100 messages in 10 s, 400 topics a connection). The whole order book needs a key: the public one has 100
levels a side, and the book is known that far.
"""

from __future__ import annotations

import json
from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, parts, text_of

__all__ = ["Kucoin"]


class Kucoin(Dialect):
    """Texts for KuCoin's public socket. `url` stays without the token, which is nobody's business."""

    venue = "kucoin"
    public_url = "wss://ws-api-spot.kucoin.com/"
    public_rest = "https://api.kucoin.com"
    names: ClassVar = {"book": "/market/level2", "trade": "/market/match", "quote": "/market/ticker"}
    keep_alive_seconds = 15.0
    starts_on_stream = False
    streams_max = 300
    items_max = 90
    send_seconds = 0.12
    rest_per_second, rest_burst = 8.0, 20
    _requests = 0

    @property
    def keep_alive(self) -> str | None:
        return '{"id":"0","type":"ping"}'

    def lists(self) -> list[str]:
        return [f"{self.rest}/api/v1/symbols"] if self.rest else []

    def token_request(self) -> str | None:
        return f"{self.rest}/api/v1/bullet-public" if self.rest else None

    def address(self, answer: bytes) -> str:
        try:
            data = json.loads(answer)["data"]
            endpoint, token = data["instanceServers"][0]["endpoint"], data["token"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise OSError(f"the answer to the token request is none: {type(error).__name__}: {error}") from error
        if (
            not isinstance(endpoint, str)
            or not endpoint.startswith(("ws://", "wss://"))
            or not isinstance(token, str)
        ):
            raise OSError("the answer to the token request names no WebSocket")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}token={token}"

    def begin(self) -> None:
        self._requests = 0

    def subscribe(self) -> list[str]:
        return [
            self._request("subscribe", part, channel)
            for channel in self.channels
            for part in parts(self.symbols, self.items_max)
        ]

    def snapshots(self, symbol: str | None = None) -> list[str]:
        if not self.rest or "book" not in self.channels:
            return []
        symbols = self.symbols if symbol is None else [symbol]
        return [f"{self.rest}/api/v1/market/orderbook/level2_100?symbol={name}" for name in symbols]

    def renew(self, symbol: str, channel: str) -> list[str]:
        return [self._request(kind, [symbol], channel) for kind in ("unsubscribe", "subscribe")]

    def _request(self, event: str, symbols: list[str], channel: str) -> str:
        self._requests += 1
        topic = f"{self.names[channel]}:{','.join(symbols)}"
        return text_of({"id": str(self._requests), "type": event, "topic": topic, "response": True})
