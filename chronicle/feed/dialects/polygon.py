"""Polygon.io (Massive): a cluster for stocks and one for forex, a key before anything else, lists in pages.

Source: polygon.io/docs/websocket/quickstart (greeting, ``auth``, ``subscribe``; one connection per cluster and key)
and polygon.io/docs/rest/stocks/tickers/all-tickers. The key goes into the first message and into a header of HTTP
requests; what the wire queue keeps of them does not hold it. Outside of trading hours the venue says nothing: the
pings of the WebSocket prove the line. The symbol ``*`` is the whole cluster. Redundant lines need a plan that allows
more than one connection: without it the second cuts the first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects.base import Dialect, FeedSpec, parts, text_of
from chronicle.feed.symbology import candidates, to_venue

__all__ = ["Polygon"]

SINGLE_MAX: Final = 20
"""So many tickers are asked for one by one; for more the whole list is read."""
_STREAMS: Final = {"stocks": {"trade": "T", "quote": "Q"}, "forex": {"quote": "C"}}
_LISTED: Final = {"stocks": "stocks", "forex": "fx"}
_HIDDEN: Final = "***"
_ALL: Final = "*"
"""All tickers of a cluster, as one stream."""


class Polygon(Dialect):
    """Texts for ``socket.polygon.io/stocks`` and ``/forex``."""

    venue = "polygon"
    public_url = "wss://socket.polygon.io"
    public_rest = "https://api.polygon.io"
    names: ClassVar = {"trade": "T", "quote": "Q"}
    quiet = True
    items_max = 200
    rest_per_second, rest_burst = 5.0, 5

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec)
        if not spec.key and not spec.url:
            raise ConfigError(
                "Polygon asks for a key before it says anything",
                expected="a key in the environment variable POLYGON_API_KEY",
                hint="or name another variable: --key-env, or key_env in [[feeds]]",
            )
        self._cluster = spec.market or "stocks"
        self._streams = _STREAMS[self._cluster]
        self.channels = tuple(channel for channel in self.channels if channel in self._streams)
        if urlsplit(self.url).path in ("", "/"):
            self.url = f"{self.url.rstrip('/')}/{self._cluster}"

    @classmethod
    def markets(cls, spec: FeedSpec) -> list[FeedSpec]:
        found: dict[str, list[str]] = {}
        for text in spec.symbols:
            name = text.partition(":")[2] if text.startswith("polygon:") else text
            symbol = next(iter(candidates("polygon", name)), None)
            cluster = "stocks" if symbol is None or symbol.kind == "equity" else "forex"
            found.setdefault(cluster, []).append(to_venue(symbol) if symbol is not None else name)
        unheard = [cluster for cluster in found if not set(spec.channels) & set(_STREAMS[cluster])]
        if unheard:
            raise ConfigError(
                f"Polygon has none of these channels for {unheard[0]}",
                expected=", ".join(_STREAMS[unheard[0]]),
                found=", ".join(spec.channels),
            )
        return [replace(spec, market=cluster, symbols=tuple(names)) for cluster, names in found.items()]

    @property
    def rest_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.spec.key}"} if self.spec.key else {}

    def recorded(self, text: str) -> str:
        return self._authentication(_HIDDEN) if text == self._authentication(self.spec.key) else text

    def lists(self) -> list[str]:
        if not self.rest:
            return []
        root = f"{self.rest}/v3/reference/tickers?market={_LISTED[self._cluster]}&active=true"
        if len(self.symbols) > SINGLE_MAX or _ALL in self.symbols:
            return [f"{root}&limit=1000"]
        return [f"{root}&ticker={quote(self._ticker(symbol))}" for symbol in self.symbols]

    def next_list(self, answer: bytes) -> str | None:
        """Return the next page's address; one of another host is not followed, the key would go there."""
        try:
            found = json.loads(answer).get("next_url")
        except (ValueError, AttributeError):
            return None
        return found if isinstance(found, str) and found.startswith(f"{self.rest}/v3/reference/tickers?") else None

    def subscribe(self) -> list[str]:
        if self.spec.key:
            return [self._authentication(self.spec.key)]
        return self._wanted_streams()

    def hear(self, text: str) -> Sequence[str]:
        """Subscribe once the key was taken."""
        if self.spec.key and '"auth_success"' in text:
            try:
                messages: Any = json.loads(text)
                if any(message["status"] == "auth_success" for message in messages if message["ev"] == "status"):
                    return self._wanted_streams()
            except (ValueError, KeyError, TypeError):
                return ()  # the adapter reads the same frame, and says what is wrong with it
        return ()

    def renew(self, symbol: str, channel: str) -> list[str]:
        stream = f"{self._streams[channel]}.{symbol}"
        return [text_of({"action": action, "params": stream}) for action in ("unsubscribe", "subscribe")]

    @staticmethod
    def _authentication(key: str) -> str:
        return text_of({"action": "auth", "params": key})

    def _wanted_streams(self) -> list[str]:
        wanted = [f"{self._streams[channel]}.{symbol}" for channel in self.channels for symbol in self.symbols]
        return [text_of({"action": "subscribe", "params": ",".join(part)}) for part in parts(wanted, self.items_max)]

    def _ticker(self, symbol: str) -> str:
        return f"C:{symbol.replace('/', '')}" if self._cluster == "forex" else symbol
