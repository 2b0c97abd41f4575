"""Coinbase Advanced Trade: level2 (``l2_data``), market_trades, ticker, ticker_batch; REST products.

Source: docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket. ``sequence_num`` counts every message of a
connection, heartbeats too: a hole is one of the connection, whose books are in doubt. The side of a trade is the
maker's (in the captures, trades that say BUY are at the best bid); a record's side is the taker's.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Origin, SequenceRule, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol, from_venue
from chronicle.feed.venues import shapes
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import (
    ConnectionCount,
    FreshTrades,
    MessageAdapter,
    json_value,
    read_trades,
    whole,
)

__all__ = ["CoinbaseAdapter"]

_SIDES: Final = {"bid": Side.BID, "offer": Side.ASK}
_AGGRESSOR_OF_MAKER: Final = {"BUY": Side.ASK, "SELL": Side.BID}
_IGNORED: Final = ("heartbeats", "candles", "status", "user", "futures_balance_summary")
_EXTRAS: Final = ("product_type", "status", "base_min_size", "quote_min_size")


class CoinbaseAdapter(MessageAdapter):
    """Frames of ``advanced-trade-ws.coinbase.com`` and of ``/api/v3/brokerage/market/products``."""

    venue = "coinbase"
    rules = VenueRules(sequence_rule=SequenceRule.CONNECTION)
    shapes = shapes.COINBASE

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._count = ConnectionCount()
        self._trades_seen = FreshTrades()
        self._subscribed: dict[int, set[tuple[str, str]]] = {}

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate the events of one message; all of them carry its number and time."""
        message = json_value(frame.payload)
        if message.get("type") == "error":
            self.say(out, StatusCode.ERROR, {"error": str(message.get("message"))[:500]})
            return
        sequence = whole(message["sequence_num"], "sequence_num")
        self._count.take(out, frame.connection, sequence)
        channel, ts_event = message["channel"], parse_time(_text(message["timestamp"]))

        def take(event: dict[str, Any]) -> None:
            if channel == "l2_data":
                self._book(out, event, ts_event, sequence)
            elif channel == "market_trades":
                self._trades(frame, out, event, sequence)
            elif channel in ("ticker", "ticker_batch"):
                self.take_each(frame, out, event["tickers"], lambda item: self._quote(out, item, ts_event, sequence))
            elif channel == "subscriptions":
                self._subscriptions(frame, out, event["subscriptions"])
            elif channel not in _IGNORED:
                raise DecodeError("a Coinbase message is of no known channel", found=str(channel)[:80])

        self.take_each(frame, out, message["events"], take)

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of products."""
        if urlsplit(frame.address).path.endswith("/products"):
            answer = json_value(frame.payload)
            if "products" in answer:
                self.registry.learn(self.venue, [_listing(entry) for entry in answer["products"]])
            else:
                details = {"address": frame.address, "error": str(answer.get("message"))[:500]}
                self.say(out, StatusCode.ERROR, details)

    def count_of(self, connection: int) -> ctypes.c_int64:
        """Return where ``sequence_num`` of the connection's last message stands."""
        return self._count.cell(connection)

    def on_connection(self, frame: Frame) -> None:
        """Count anew, and forget subscriptions."""
        self._count.forget(frame.connection)
        self._subscribed.pop(frame.connection, None)

    def _book(self, out: EventBuilder, event: dict[str, Any], ts_event: int, sequence: int) -> None:
        reader = self.reader(out, event["product_id"], "book")
        rows: dict[Side, list[tuple[Any, Any]]] = {Side.BID: [], Side.ASK: []}
        for update in event["updates"]:
            rows[_SIDES[update["side"]]].append((update["price_level"], update["new_quantity"]))
        kind = event["type"]
        if kind not in ("snapshot", "update"):
            raise DecodeError("a Coinbase book has no known type", expected="snapshot or update", found=kind)
        bids, asks = reader.read(rows[Side.BID], rows[Side.ASK])
        number = reader.instrument.number
        if kind == "snapshot":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, event: dict[str, Any], sequence: int) -> None:
        """Add trades, the oldest first; those of a snapshot that were told before the reconnect are left out."""
        by_product: dict[Any, list[dict[str, Any]]] = {}
        for trade in reversed(event["trades"]):
            by_product.setdefault(trade["product_id"], []).append(trade)
        again = event["type"] == "snapshot"
        self.take_each(
            *(frame, out, by_product.items()),
            lambda part: self._product_trades(frame, out, *part, again=again, sequence=sequence),
        )

    def _product_trades(
        self, frame: Frame, out: EventBuilder, product: Any, trades: list[Any], *, again: bool, sequence: int
    ) -> None:
        seen = self._trades_seen
        reader = self.reader(out, product, "trade")
        (levels,) = reader.read([(trade["price"], trade["size"]) for trade in trades])
        for level, (side, ts_event, trade_id) in read_trades(reader, trades, levels, _trade):
            if again and seen.is_old(frame.connection, product, trade_id):
                continue
            seen.note(frame.connection, product, trade_id)
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, ticker: dict[str, Any], ts_event: int, sequence: int) -> None:
        reader = self.reader(out, ticker["product_id"], "quote")
        rows = [[ticker[f"best_{side}"], ticker[f"best_{side}_quantity"]] for side in ("bid", "ask")]
        levels = reader.read(*([] if row[0] in ("", "0") else [row] for row in rows))
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in levels]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _subscriptions(self, frame: Frame, out: EventBuilder, now: dict[str, list[Any]]) -> None:
        """Tell what was added and taken away: the venue sends the whole state each time."""
        before = self._subscribed.get(frame.connection, set())
        found = {(channel, product) for channel, products in now.items() for product in products}
        self._subscribed[frame.connection] = found
        for code, pairs in ((StatusCode.SUBSCRIBED, found - before), (StatusCode.UNSUBSCRIBED, before - found)):
            for channel, product in sorted(pairs):
                self.say(out, code, {"channel": channel}, product)


def _trade(trade: Any) -> tuple[Side, int, int]:
    """Return side of the taker, time and id of a trade."""
    trade_id, ts_event = whole(trade["trade_id"], "trade_id"), parse_time(_text(trade["time"]))
    return _AGGRESSOR_OF_MAKER[trade["side"]], ts_event, trade_id


def _text(value: Any) -> str:
    if type(value) is not str:
        raise DecodeError("a Coinbase time is no text", found=repr(value)[:80])
    return value


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one product; contracts but perpetuals go by their own names."""
    name = entry["product_id"]
    if entry.get("product_type", "SPOT") == "SPOT":
        symbol = Symbol("coinbase", entry["base_currency_id"], entry["quote_currency_id"])
    elif name.endswith("-PERP-INTX"):
        symbol = Symbol("coinbase", name.removesuffix("-PERP-INTX"), "USDC", "perpetual")
    else:
        symbol = from_venue("coinbase", name)
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key)}
    tick = entry.get("price_increment") or entry.get("quote_increment") or ""
    return Listing(name, symbol, tick, entry.get("base_increment") or "", extras)
