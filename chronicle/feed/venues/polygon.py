"""Polygon.io (Massive) WebSocket: stocks (T trades, Q quotes, LULD bands) and forex (C quotes); REST v3 tickers.

Source: polygon.io/docs (stocks/ws_stocks_t, ws_stocks_q, ws_stocks_luld, forex/ws_forex_c, websocket/quickstart) and
the specification ``.polygon/websocket.json`` of github.com/polygon-io/client-python. A frame is a list of messages of
many tickers. ``t`` is in milliseconds (nanoseconds in what the REST interface sends); ``q`` grows per ticker by any
step and starts anew each day, so that a hole cannot be seen in it: the rule is GROWING. Nobody says who the taker
was: trades have no side. The sizes of Q are round lots as the SIP counts them, those of T are shares; a forex quote
has no size, and says 0. Conditions, exchanges and tape stay in the wire frame, to which every record leads back.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, SequenceRule, Side, StatusCode
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.levels import Level
from chronicle.feed.venues.messages import MessageAdapter, json_value, numbers_as_text, whole

__all__ = ["PolygonAdapter"]

_CHANNELS: Final = {"T": "trade", "Q": "quote", "C": "quote"}
_AGGREGATES: Final = ("A", "AM", "CA", "CAS", "FMV", "NOI")
"""Bars, fair values and imbalances: nothing that a record is made of."""
_SUBSCRIBED: Final = {"subscribed to: ": StatusCode.SUBSCRIBED, "unsubscribed to: ": StatusCode.UNSUBSCRIBED}
_FINE: Final = ("connected", "auth_success", "success")
_EXTRAS: Final = {"type": "share_type"} | {key: key for key in ("primary_exchange", "currency_name", "active")}
_MICROSECONDS_FROM, _NANOSECONDS_FROM = 10**14, 10**17
"""From there on a time in milliseconds would lie after the year 5138, one in microseconds too."""


class PolygonAdapter(MessageAdapter):
    """Frames of ``socket.polygon.io/stocks`` and ``/forex``, and of ``/v3/reference/tickers``."""

    venue = "polygon"
    rules = VenueRules(sequence_rule=SequenceRule.GROWING)

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate each message of the list; one that cannot be read does not take the others with it."""
        messages = json_value(frame.payload, exact=True)
        if type(messages) is not list:
            raise DecodeError("a frame of Polygon is no list of messages", found=str(messages)[:80])
        self.take_each(frame, out, messages, lambda message: self._take(out, message))

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep a page of the list of tickers."""
        if urlsplit(frame.address).path.endswith("/v3/reference/tickers"):
            answer = json_value(frame.payload)
            if answer.get("status") in ("OK", "DELAYED"):
                self.registry.learn(self.venue, [_listing(entry) for entry in answer.get("results") or ()])
            else:
                details = {"address": frame.address, "error": str(answer.get("error"))[:500]}
                self.say(out, StatusCode.ERROR, details)

    def _take(self, out: EventBuilder, message: dict[str, Any]) -> None:
        kind = message["ev"]
        if kind == "T":
            self._trade(out, message)
        elif kind == "Q":
            self._quote(out, message["sym"], message, ("bp", "bs"), ("ap", "as"))
        elif kind == "C":
            self._quote(out, message["p"], message, ("b", ""), ("a", ""))
        elif kind == "status":
            self._status(out, message)
        elif kind == "LULD":
            self._bands(out, message)
        elif kind not in _AGGREGATES:
            raise DecodeError("a message of Polygon is of no known event", found=repr(kind)[:80])

    def _trade(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["sym"], "trade")
        ts_event, sequence, trade_id = _stamp(message["t"]), _sequence(message), _trade_id(message.get("i"))
        ((level,),) = reader.read([numbers_as_text(message["p"], message["s"])])
        if level is not None:
            out.trade(
                *(reader.instrument.number, Side.NONE, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, symbol: Any, message: dict[str, Any], *names: tuple[str, str]) -> None:
        """Add the best prices; a side without a price, or with none above zero, is empty."""
        reader = self.reader(out, symbol, "quote")
        ts_event, sequence = _stamp(message["t"]), _sequence(message)
        rows = []
        for price_name, size_name in names:
            price, size = numbers_as_text(message.get(price_name, 0), message.get(size_name, 0))
            rows.append([] if price == "0" else [(price, size)])
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in reader.read(*rows)]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _bands(self, out: EventBuilder, message: dict[str, Any]) -> None:
        """Tell the prices between which a stock may trade (limit up, limit down)."""
        high, low = numbers_as_text(message["h"], message["l"])
        details = {"event": "LULD", "high": high, "low": low, "indicators": message.get("i"), "ts": message.get("t")}
        self.say(out, StatusCode.VENUE, details, message["T"])

    def _status(self, out: EventBuilder, message: dict[str, Any]) -> None:
        status, text = message["status"], str(message.get("message", ""))
        for start, code in _SUBSCRIBED.items():
            if text.startswith(start):
                for stream in text.removeprefix(start).split(","):
                    kind, _, symbol = stream.strip().partition(".")
                    named = symbol if symbol != "*" else None
                    self.say(out, code, {"channel": _CHANNELS.get(kind, kind), "stream": stream[:80]}, named)
                return
        if status in _FINE:
            self.say(out, StatusCode.VENUE, {"event": status, "message": text[:500]})
        else:
            self.say(out, StatusCode.ERROR, {"error": text[:500], "code": str(status)[:80]})


def _sequence(message: dict[str, Any]) -> int:
    return whole(message["q"], "q") if "q" in message else NONE


def _stamp(value: Any) -> int:
    """Return ns UTC of a time in milliseconds, microseconds or nanoseconds; its size says which."""
    number = whole(value, "t")
    size = abs(number)
    ns = number * (1 if size >= _NANOSECONDS_FROM else 1_000 if size >= _MICROSECONDS_FROM else 1_000_000)
    if not INT64_MIN < ns <= INT64_MAX:
        raise DecodeError("the time 't' lies beyond int64 ns", found=number)
    return ns


def _trade_id(value: Any) -> int:
    """Return a trade's id where it is a number; some exchanges write letters, which stay in the wire frame."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return NONE


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one ticker, under the name that its stream uses."""
    ticker = entry["ticker"]
    extras = {name: str(entry[key]) for key, name in _EXTRAS.items() if entry.get(key) is not None}
    if entry.get("market") == "fx":
        base, quote = entry.get("base_currency_symbol"), entry.get("currency_symbol")
        pair = ticker.removeprefix("C:")
        base, quote = (base, quote) if base and quote else (pair[:3], pair[3:])
        return Listing(f"{base}/{quote}", Symbol("polygon", base, quote), extras=extras)
    return Listing(ticker, Symbol("polygon", ticker.upper(), kind="equity"), extras=extras)
