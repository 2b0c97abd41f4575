"""Gate.io spot, API v4: a request per pair for books, one for many pairs for the rest; book snapshots over HTTP.

Source: www.gate.com/docs/developers/apiv4/ws and the REST documentation (200 requests in 10 s; an order book
``with_id`` of up to 100 levels). Requests carry the client's time in seconds, which the venue does not read: it is 0.
"""

from __future__ import annotations

from typing import ClassVar

from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of, venue_symbols

__all__ = ["Gateio"]

SNAPSHOT_LEVELS = 100


class Gateio(Dialect):
    """Texts for ``api.gateio.ws/ws/v4``."""

    venue = "gateio"
    public_url = "wss://api.gateio.ws/ws/v4/"
    public_rest = "https://api.gateio.ws"
    names: ClassVar = {"book": "spot.order_book_update", "trade": "spot.trades", "quote": "spot.book_ticker"}
    starts_on_stream = False
    items_max = 100
    send_seconds = 0.02
    rest_per_second, rest_burst = 10.0, 20

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        return [symbol.upper() for symbol in venue_symbols(spec)]

    @property
    def keep_alive(self) -> str | None:
        return '{"time":0,"channel":"spot.ping"}'

    def lists(self) -> list[str]:
        return [f"{self.rest}/api/v4/spot/currency_pairs"] if self.rest else []

    def subscribe(self) -> list[str]:
        found = []
        for channel in self.channels:
            if channel == "book":
                found += [self._request("subscribe", channel, [symbol]) for symbol in self.symbols]
            else:
                found += [self._request("subscribe", channel, part) for part in parts(self.symbols, self.items_max)]
        return found

    def snapshots(self, symbol: str | None = None) -> list[str]:
        if not self.rest or "book" not in self.channels:
            return []
        root = f"{self.rest}/api/v4/spot/order_book"
        symbols = self.symbols if symbol is None else [symbol.upper()]
        return [f"{root}?currency_pair={name}&limit={SNAPSHOT_LEVELS}&with_id=true" for name in symbols]

    def renew(self, symbol: str, channel: str) -> list[str]:
        return [self._request(event, channel, [symbol]) for event in ("unsubscribe", "subscribe")]

    def _request(self, event: str, channel: str, symbols: list[str]) -> str:
        payload = [*symbols, "100ms"] if channel == "book" else symbols
        return text_of({"time": 0, "channel": self.names[channel], "event": event, "payload": payload})
