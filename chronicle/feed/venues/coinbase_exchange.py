"""Coinbase Exchange (the former Pro and GDAX): level2, level2_batch, matches, ticker, heartbeat; REST products.

Source: docs.cdp.coinbase.com/exchange/websocket-feed (channels, overview). Changes of a book carry no number. What
shows that the feed dropped something is the count of trades: ids of ``matches`` grow by one per product, and a
heartbeat says the last id. A hole there is a hole of the connection, whose books are in doubt. A heartbeat may
overtake the match it speaks of, so that it counts only when the next one comes and the trade still has not. The side
of a match is the maker's; a record's side is the taker's. A ticker becomes a QUOTE where it carries sizes. Orders one
by one (``full``, ``level3``) are not read: the venue gives them to its customers only.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Origin, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import known
from chronicle.feed.venues.messages import FreshTrades, MessageAdapter, json_value, whole

__all__ = ["CoinbaseExchangeAdapter"]

_SIDES: Final = {"buy": Side.BID, "sell": Side.ASK}
_AGGRESSOR_OF_MAKER: Final = {"buy": Side.ASK, "sell": Side.BID}
_ORDERS: Final = ("received", "open", "done", "change", "activate", "noop")
_EXTRAS: Final = ("status", "min_market_funds", "base_min_size", "trading_disabled")


class _TradeCount:
    """The ids of one product's trades on one connection."""

    __slots__ = ("last", "promised")

    def __init__(self, last: int) -> None:
        self.last = last
        self.promised = last
        """What the last heartbeat said that came: the trades up to it must be there when the next one comes."""


class CoinbaseExchangeAdapter(MessageAdapter):
    """Frames of ``ws-feed.exchange.coinbase.com`` and of ``/products``."""

    venue = "coinbase-exchange"

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._trades_seen = FreshTrades()
        self._counts: dict[int, dict[str, _TradeCount]] = {}
        self._subscribed: dict[int, set[tuple[str, str]]] = {}
        self._orders_told: set[int] = set()

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate one message."""
        message = json_value(frame.payload)
        kind = message["type"]
        if kind == "l2update":
            self._changes(out, message)
        elif kind in ("match", "last_match"):
            self._trade(frame, out, message)
        elif kind == "heartbeat":
            self._heartbeat(frame, out, message)
        elif kind == "ticker":
            self._quote(out, message)
        elif kind == "snapshot":
            self._snapshot(out, message)
        elif kind == "subscriptions":
            self._subscriptions(frame, out, message["channels"])
        elif kind == "status":
            self.registry.learn(self.venue, [_listing(entry) for entry in message["products"]])
        elif kind == "error":
            details = {"error": str(message.get("message"))[:500], "reason": str(message.get("reason", ""))[:500]}
            self.say(out, StatusCode.ERROR, details)
        elif kind not in _ORDERS:
            raise DecodeError("a message of Coinbase Exchange is of no known type", found=str(kind)[:80])
        elif frame.connection not in self._orders_told:
            self._orders_told.add(frame.connection)
            self.say(out, StatusCode.ERROR, {"error": f"orders one by one are not read: {kind} and the like"})

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of products."""
        if urlsplit(frame.address).path.endswith("/products"):
            answer = json_value(frame.payload)
            if type(answer) is list:
                self.registry.learn(self.venue, [_listing(entry) for entry in answer])
            else:
                details = {"address": frame.address, "error": str(answer.get("message"))[:500]}
                self.say(out, StatusCode.ERROR, details)

    def on_connection(self, frame: Frame) -> None:
        """Count anew, and forget subscriptions."""
        self._counts.pop(frame.connection, None)
        self._subscribed.pop(frame.connection, None)
        self._orders_told.discard(frame.connection)

    def _snapshot(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["product_id"], "book")
        ts_event = parse_time(_text(message["time"])) if message.get("time") else 0
        bids, asks = reader.read(message["bids"], message["asks"])
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _changes(self, out: EventBuilder, message: dict[str, Any]) -> None:
        reader = self.reader(out, message["product_id"], "book")
        ts_event = parse_time(_text(message["time"]))
        rows: dict[Side, list[tuple[Any, Any]]] = {Side.BID: [], Side.ASK: []}
        for side, price, size in message["changes"]:
            rows[_SIDES[side]].append((price, size))
        bids, asks = reader.read(rows[Side.BID], rows[Side.ASK])
        add_changes(out, reader.instrument.number, bids, asks, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _trade(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Add a trade; the last one before a subscription only when it was not told before a reconnect."""
        product = message["product_id"]
        reader = self.reader(out, product, "trade")
        trade_id, ts_event = whole(message["trade_id"], "trade_id"), parse_time(_text(message["time"]))
        sequence, side = whole(message["sequence"], "sequence"), _AGGRESSOR_OF_MAKER[message["side"]]
        ((level,),) = reader.read([(message["price"], message["size"])])
        again = message["type"] == "last_match" and self._trades_seen.is_old(frame.connection, product, trade_id)
        self._count(frame.connection, out, product, trade_id)
        if level is not None and not again:
            self._trades_seen.note(frame.connection, product, trade_id)
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
            )
        reader.report()
        reader.finish()

    def _count(self, connection: int, out: EventBuilder, product: str, trade_id: int) -> None:
        """Note a trade's id; a hole before it is one of the connection."""
        counts = self._counts.setdefault(connection, {})
        count = counts.get(product)
        if count is None:
            counts[product] = _TradeCount(trade_id)
            return
        if trade_id > count.last + 1:
            self._lost(out, product, count.last + 1, trade_id - 1)
        count.last = max(count.last, trade_id)

    def _heartbeat(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Compare what the heartbeat before said with the trades that came since."""
        product, last = message["product_id"], whole(message["last_trade_id"], "last_trade_id")
        count = self._counts.get(frame.connection, {}).get(product)
        if count is None:
            return  # no trades are subscribed, or none came yet
        if count.promised > count.last:
            self._lost(out, product, count.last + 1, count.promised)
            count.last = count.promised
        count.promised = last

    def _lost(self, out: EventBuilder, product: str, first: int, last: int) -> None:
        self.say(out, StatusCode.LOST, {"first": first, "last": last, "count": "trade_id", "product": product})

    def _quote(self, out: EventBuilder, message: dict[str, Any]) -> None:
        if "best_bid_size" not in message or "best_ask_size" not in message:
            return
        reader = self.reader(out, message["product_id"], "quote")
        ts_event, sequence = parse_time(_text(message["time"])), whole(message["sequence"], "sequence")
        bids, asks = reader.read(
            [(message["best_bid"], message["best_bid_size"])], [(message["best_ask"], message["best_ask_size"])]
        )
        if bids[0] is not None and asks[0] is not None:
            out.quote(reader.instrument.number, *bids[0], *asks[0], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _subscriptions(self, frame: Frame, out: EventBuilder, channels: list[dict[str, Any]]) -> None:
        """Tell what was added and taken away: the venue sends the whole state each time."""
        before = self._subscribed.get(frame.connection, set())
        found = {(entry["name"], product) for entry in channels for product in entry.get("product_ids") or ()}
        self._subscribed[frame.connection] = found
        for code, pairs in ((StatusCode.SUBSCRIBED, found - before), (StatusCode.UNSUBSCRIBED, before - found)):
            for channel, product in sorted(pairs):
                self.say(out, code, {"channel": channel}, product)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise DecodeError("a time of Coinbase Exchange is no text", found=repr(value)[:80])
    return value


def _listing(entry: dict[str, Any]) -> Listing:
    symbol = Symbol("coinbase-exchange", entry["base_currency"], entry["quote_currency"])
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key) is not None}
    return Listing(entry["id"], symbol, entry.get("quote_increment") or "", entry.get("base_increment") or "", extras)
