"""Deribit API v2 (JSON-RPC over WebSocket): book, trades, ticker, quote; get_instruments.

Source: docs.deribit.com (subscriptions). ``book.NAME.raw`` and ``book.NAME.100ms`` send a snapshot, then changes
whose ``prev_change_id`` is the ``change_id`` before; ``book.NAME.GROUP.DEPTH.INTERVAL`` sends its levels whole.
Numbers are JSON numbers and are read by their text. The direction of a trade is the taker's.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, NONE, Origin, SequenceRule, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import from_venue
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import (
    UNREADABLE,
    MessageAdapter,
    json_value,
    numbers_as_text,
    stamp_ns,
    whole,
)

__all__ = ["DeribitAdapter"]

_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_ACTIONS: Final = frozenset({"new", "change", "delete"})
_IGNORED: Final = frozenset(
    {
        *("deribit_price_index", "deribit_price_ranking", "deribit_volatility_index", "estimated_expiration_price"),
        *("markprice", "perpetual", "chart", "incremental_ticker", "instrument", "platform_state", "rfq"),
    }
)
_EXTRAS: Final = ("kind", "contract_size", "settlement_period", "expiration_timestamp", "quote_currency")


class DeribitAdapter(MessageAdapter):
    """Frames of ``www.deribit.com/ws/api/v2`` and of ``/api/v2/public/get_instruments``."""

    venue = "deribit"
    rules = VenueRules(sequence_rule=SequenceRule.OKX_V5)

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a notification, or the reply to a request."""
        message = json_value(frame.payload, exact=True)
        if message.get("method") != "subscription":
            self._reply(message, out)
            return
        channel, data = message["params"]["channel"], message["params"]["data"]
        kind, *parts = channel.split(".")
        if kind == "book":
            if len(parts) > 2:
                self._top(out, whole(parts[2], "depth"), data)
            else:
                self._book(out, data)
        elif kind == "trades":
            self._trades(frame, out, data)
        elif kind in ("ticker", "quote"):
            self._quote(out, data)
        elif kind not in _IGNORED:
            raise DecodeError("a Deribit notification is of no known channel", found=channel[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the lists of instruments."""
        if not urlsplit(frame.address).path.endswith("/get_instruments"):
            return
        answer = json_value(frame.payload, exact=True)
        if "result" in answer:
            self.registry.learn(self.venue, [_listing(entry) for entry in answer["result"]])
        else:
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("error"))[:500]})

    def _reply(self, message: dict[str, Any], out: EventBuilder) -> None:
        if message.get("method") == "heartbeat":
            return
        if "error" in message:
            self.say(out, StatusCode.ERROR, {"error": str(message["error"])[:500]})
            return
        if "result" not in message:
            raise DecodeError("a Deribit message is of no known form", found=repr(message)[:120])
        channels = message["result"] if type(message["result"]) is list else []
        for channel in channels:
            if type(channel) is not str:
                continue
            kind, _, rest = channel.partition(".")
            if kind in ("book", "trades", "ticker", "quote"):
                self.say(out, StatusCode.SUBSCRIBED, {"channel": kind}, rest.split(".")[0])

    def _book(self, out: EventBuilder, data: dict[str, Any]) -> None:
        """Add a snapshot or changes; rows are action, price, amount."""
        reader = self.reader(out, data["instrument_name"], "book")
        ts_event, sequence = stamp_ns(data["timestamp"], "timestamp"), whole(data["change_id"], "change_id")
        previous = whole(data["prev_change_id"], "prev_change_id") if "prev_change_id" in data else NONE
        kind = data.get("type", "snapshot" if previous == NONE else "change")
        if kind not in ("snapshot", "change"):
            raise DecodeError("a Deribit book has no known type", expected="snapshot or change", found=kind)
        bids, asks = reader.read(_rows(data["bids"]), _rows(data["asks"]))
        number = reader.instrument.number
        if kind == "snapshot":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            numbers = {"ts_event": ts_event, "sequence": sequence, "sequence_previous": previous}
            add_changes(out, number, bids, asks, keep_chain=True, **numbers)
        reader.report()
        reader.finish()

    def _top(self, out: EventBuilder, depth: int, data: dict[str, Any]) -> None:
        """Add a whole book of few (perhaps grouped) levels."""
        reader = self.reader(out, data["instrument_name"], "book")
        ts_event, sequence = stamp_ns(data["timestamp"], "timestamp"), whole(data["change_id"], "change_id")
        rows = [[numbers_as_text(*row[:2]) for row in data[side]] for side in ("bids", "asks")]
        bids, asks = reader.read(*rows, book_depth=depth)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, data: list[dict[str, Any]]) -> None:
        """Add trades; a channel of many instruments names one per trade."""
        self.take_each(frame, out, data, lambda trade: self._trade(out, trade))

    def _trade(self, out: EventBuilder, trade: dict[str, Any]) -> None:
        reader = self.reader(out, trade["instrument_name"], "trade")
        side, ts_event = _AGGRESSOR[trade["direction"]], stamp_ns(trade["timestamp"], "timestamp")
        number = whole(trade["trade_seq"], "trade_seq")
        ((level,),) = reader.read([numbers_as_text(trade["price"], trade["amount"])])
        if level is not None:
            trade_id = _trade_id(trade["trade_id"])
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=number,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, data: dict[str, Any]) -> None:
        """Add the best levels; a side without one is null or 0."""
        reader = self.reader(out, data["instrument_name"], "quote")
        ts_event = stamp_ns(data["timestamp"], "timestamp")
        rows = []
        for side in ("bid", "ask"):
            price, amount = data[f"best_{side}_price"], data[f"best_{side}_amount"]
            empty = price is None or amount in (None, 0, "0.0")
            rows.append([] if empty else [numbers_as_text(price, amount)])
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in reader.read(*rows)]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event)
        reader.report()
        reader.finish()


def _rows(rows: list[Any]) -> list[list[str]]:
    """Return (price, size) of the rows; what is deleted has size 0."""
    found = []
    for row in rows:
        action, price, amount = row
        try:
            if action not in _ACTIONS:
                raise DecodeError("a level has no known action", found=repr(action)[:80])
            found.append(numbers_as_text(price, 0 if action == "delete" else amount))
        except UNREADABLE:
            found.append(["", str(row)[:80]])  # counted where the levels are read
    return found


def _trade_id(text: Any) -> int:
    """Return the number of ``ETH-91234``; the currencies other than BTC have their own in front."""
    return whole(str(text).rpartition("-")[2], "trade_id")


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one instrument, under the parts of its name."""
    name = entry["instrument_name"]
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key) is not None}
    tick, lot = numbers_as_text(entry["tick_size"], entry["min_trade_amount"])
    return Listing(name, from_venue("deribit", name), tick, lot, extras)
