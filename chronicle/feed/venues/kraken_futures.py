"""Kraken Futures WebSocket v1: book, trade, ticker; REST instruments.

Source: docs.kraken.com/api/docs/futures-api/websocket. A book starts with ``book_snapshot``, then each ``book``
message sets one level; ``seq`` counts the messages of a product by one. The side of a trade is the taker's.
``ticker_lite`` names prices without sizes and gives no QUOTE.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Origin, SequenceRule, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import from_venue
from chronicle.feed.venues.levels import Level, add_deltas, known
from chronicle.feed.venues.messages import (
    FreshTrades,
    MessageAdapter,
    json_value,
    numbers_as_text,
    read_trades,
    stamp_ns,
    whole,
)

__all__ = ["KrakenFuturesAdapter"]

_SIDES: Final = {"buy": Side.BID, "sell": Side.ASK}
_IGNORED: Final = ("ticker_lite", "heartbeat", "challenge", "open_orders", "fills", "notifications_auth")
_EXTRAS: Final = ("type", "underlying", "contractSize", "tradeable", "lastTradingTime")


class KrakenFuturesAdapter(MessageAdapter):
    """Frames of ``futures.kraken.com/ws/v1`` and of ``/derivatives/api/v3/instruments``."""

    venue = "kraken-futures"
    rules = VenueRules(sequence_rule=SequenceRule.COUNT)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._trades_seen = FreshTrades()

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a feed's message, or an event."""
        message = json_value(frame.payload, exact=True)
        if "event" in message:
            self._event(message, out)
            return
        feed = message["feed"]
        if feed == "book":
            self._change(out, message)
        elif feed == "book_snapshot":
            self._snapshot(out, message)
        elif feed == "trade":
            self._trades(frame, out, message["product_id"], [message], again=False)
        elif feed == "trade_snapshot":
            self._trades(frame, out, message["product_id"], message["trades"][::-1], again=True)
        elif feed == "ticker":
            self._quote(out, message)
        elif feed not in _IGNORED:
            raise DecodeError("a Kraken Futures message is of no known feed", found=str(feed)[:80])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of instruments."""
        if not urlsplit(frame.address).path.endswith("/instruments"):
            return
        answer = json_value(frame.payload, exact=True)
        if answer["result"] != "success":
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("error"))[:500]})
            return
        self.registry.learn(self.venue, [_listing(entry) for entry in answer["instruments"]])

    def _event(self, message: dict[str, Any], out: EventBuilder) -> None:
        event = message["event"]
        codes = {"subscribed": StatusCode.SUBSCRIBED, "unsubscribed": StatusCode.UNSUBSCRIBED}
        if event in codes:
            for product in message.get("product_ids") or [None]:
                self.say(out, codes[event], {"channel": message.get("feed")}, product)
        elif event in ("alert", "error"):
            self.say(out, StatusCode.ERROR, {"error": str(message.get("message"))[:500]})
        else:
            self.say(out, StatusCode.VENUE, {"event": str(event)[:80], "version": message.get("version")})

    def _snapshot(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["product_id"], "book")
        ts_event, sequence = stamp_ns(message["timestamp"], "timestamp"), whole(message["seq"], "seq")
        rows = [
            [numbers_as_text(level["price"], level["qty"]) for level in message[side]] for side in ("bids", "asks")
        ]
        bids, asks = reader.read(*rows)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _change(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["product_id"], "book")
        ts_event, sequence = stamp_ns(message["timestamp"], "timestamp"), whole(message["seq"], "seq")
        side = _SIDES[message["side"]]
        (levels,) = reader.read([numbers_as_text(message["price"], message["qty"])])
        add_deltas(out, reader.instrument.number, side, levels, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, product: Any, trades: list[Any], *, again: bool) -> None:
        """Add trades, the oldest first; of the last ones that come with a subscription (`again`) what is new."""
        reader = self.reader(out, product, "trade")
        (levels,) = reader.read([numbers_as_text(trade["price"], trade["qty"]) for trade in trades])
        for (price, size), (side, sequence, ts_event) in read_trades(reader, trades, levels, _trade_fields):
            if not (again and self._trades_seen.is_old(frame.connection, product, sequence)):
                self._trades_seen.note(frame.connection, product, sequence)
                out.trade(reader.instrument.number, side, price, size, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["product_id"], "quote")
        ts_event = stamp_ns(message["time"], "time") if "time" in message else 0
        rows = [
            [] if message.get(side) is None else [numbers_as_text(message[side], message[f"{side}_size"])]
            for side in ("bid", "ask")
        ]
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in reader.read(*rows)]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event)
        reader.report()
        reader.finish()


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one contract; the stream writes its name in capitals."""
    name = entry["symbol"].upper()
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key) is not None}
    tick = numbers_as_text(entry["tickSize"])[0] if entry.get("tickSize") is not None else ""
    return Listing(name, from_venue("kraken-futures", name), tick, "", extras)


def _trade_fields(trade: dict[str, Any]) -> tuple[Side, int, int]:
    """Return (aggressor, sequence, ts_event)."""
    return _SIDES[trade["side"]], whole(trade["seq"], "seq"), stamp_ns(trade["time"], "time")
