"""Bitget WebSocket v1: books with CRC32, books5/15, trade, ticker of spot (SP) and contracts (MC); REST lists.

Source: Bitget API v1 documentation, "Depth channel" (checksum: 25 levels of bid and ask in turn, joined by colons,
as written on the wire, signed CRC-32). The wire writes each instrument's numbers with fixed decimals, except the 0
that deletes. v1 messages carry no sequence. A ticker becomes a QUOTE only where it carries sizes: spot tickers
without them round the price.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import CheckRule, Origin, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol, from_venue
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import known, wire_decimals
from chronicle.feed.venues.messages import UNREADABLE, FreshTrades, MessageAdapter, json_value, stamp_ns, whole

__all__ = ["BitgetAdapter"]

TOP_DEPTHS: Final = {"books1": 1, "books5": 5, "books15": 15}
"""Channels that send their few levels whole each time."""
_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_PRODUCTS: Final = {"SPBL": "SP", "UMCBL": "MC", "DMCBL": "MC", "CMCBL": "MC"}


class BitgetAdapter(MessageAdapter):
    """Frames of ``ws.bitget.com/spot/v1/stream`` and ``/mix/v1/stream`` and of the v1 lists."""

    venue = "bitget"
    rules = VenueRules(check_rule=CheckRule.BITGET_V1)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._trades_seen = FreshTrades()

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a push of a channel, or an event."""
        if frame.payload == b"pong":
            return
        message = json_value(frame.payload)
        if "event" in message:
            self._event(message, out)
            return
        argument, data = message["arg"], message["data"]
        channel, symbol = argument["channel"], _symbol(argument)
        if channel == "books":
            for entry in data:
                self._book(out, symbol, message["action"], entry)
        elif channel in TOP_DEPTHS:
            for entry in data:
                self._top(out, symbol, TOP_DEPTHS[channel], entry)
        elif channel == "trade":
            self._trades(frame, out, symbol, message["action"], data)
        elif channel == "ticker":
            for entry in data:
                self._quote(out, symbol, entry)
        elif type(channel) is not str or not channel.startswith("candle"):
            raise DecodeError("a Bitget message is of no known channel", found=repr(argument)[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the instrument lists."""
        path = urlsplit(frame.address).path
        if not path.endswith(("/public/products", "/market/contracts")):
            return
        answer = json_value(frame.payload)
        if answer["code"] != "00000":
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("msg"))[:500]})
            return
        self.registry.learn(self.venue, [_listing(entry) for entry in answer["data"]])

    def _event(self, message: dict[str, Any], out: EventBuilder) -> None:
        event, argument = message["event"], message.get("arg") or {}
        codes = {"subscribe": StatusCode.SUBSCRIBED, "unsubscribe": StatusCode.UNSUBSCRIBED}
        if event in codes:
            self.say(out, codes[event], {"channel": argument["channel"]}, _symbol(argument))
        elif event == "error":
            details = {"error": message.get("msg"), "code": message.get("code"), "argument": str(argument)[:200]}
            self.say(out, StatusCode.ERROR, details)
        else:
            self.say(out, StatusCode.VENUE, {"event": str(event)[:80]})

    def _book(self, out: EventBuilder, symbol: str, action: Any, entry: dict[str, Any]) -> None:
        """Add a snapshot or changes, and the checksum of the book after them."""
        reader = self.reader(out, symbol, "book")
        ts_event = stamp_ns(entry["ts"], "ts")
        expected = whole(entry["checksum"], "checksum") if entry.get("checksum") else 0
        if action not in ("snapshot", "update"):
            raise DecodeError("a Bitget book has no known action", expected="snapshot or update", found=action)
        rows = [row for row in (*entry["bids"], *entry["asks"]) if row[1] != "0"]
        known_now = self.registry.current(self.venue, symbol)
        before = (known_now.check_price_decimals, known_now.check_size_decimals) if known_now else None
        decimals = wire_decimals(rows, before)
        bids, asks = reader.read(entry["bids"], entry["asks"], check_decimals=decimals)
        number = reader.instrument.number
        if action == "snapshot":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event)
        reader.report()
        if expected:
            out.check(number, CheckRule.BITGET_V1, expected, ts_event=ts_event)
        reader.finish()

    def _top(self, out: EventBuilder, symbol: str, depth: int, entry: dict[str, Any]) -> None:
        """Add a whole book of few levels."""
        reader = self.reader(out, symbol, "book")
        ts_event = stamp_ns(entry["ts"], "ts")
        bids, asks = reader.read(entry["bids"], entry["asks"], book_depth=depth)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, symbol: str, action: Any, data: list[Any]) -> None:
        """Add trades, the oldest first; rows are time, price, size, side, and have no id."""
        reader = self.reader(out, symbol, "trade")
        rows = list(reversed(data))
        (levels,) = reader.read([(row[1], row[2]) for row in rows])
        found = []
        for row, level in zip(rows, levels, strict=True):
            try:
                if level is not None:
                    found.append((_AGGRESSOR[row[3]], *level, stamp_ns(row[0], "ts")))
            except UNREADABLE as error:
                reader.problem(f"trade {row!r}: {error}")
        if action == "snapshot":
            found = [trade for trade in found if not self._trades_seen.is_old(frame.connection, symbol, trade[3])]
        for side, price, size, ts_event in found:
            self._trades_seen.note(frame.connection, symbol, ts_event)
            out.trade(reader.instrument.number, side, price, size, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, symbol: str, entry: dict[str, Any]) -> None:
        if "bidSz" not in entry or "askSz" not in entry:
            return
        reader = self.reader(out, symbol, "quote")
        ts_event = stamp_ns(entry["ts"] if "ts" in entry else entry["systemTime"], "ts")
        bids, asks = reader.read([(entry["bestBid"], entry["bidSz"])], [(entry["bestAsk"], entry["askSz"])])
        if bids[0] is not None and asks[0] is not None:
            out.quote(reader.instrument.number, *bids[0], *asks[0], ts_event=ts_event)
        reader.report()
        reader.finish()


def _symbol(argument: dict[str, Any]) -> str:
    """Return the instrument's name with its market: one name is a spot pair and a contract."""
    market, name = argument["instType"], argument["instId"]
    if type(market) is not str or type(name) is not str:
        raise DecodeError("a Bitget message names no instrument", found=repr(argument)[:120])
    return f"{market.lower()}|{name}"


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what a list says of one instrument, under the name that its stream uses."""
    own, _, product = entry["symbol"].partition("_")
    market = _PRODUCTS.get(product, "MC").lower()
    name = f"{market}|{own}"
    if market == "sp":
        symbol = Symbol("bitget", entry["baseCoin"], entry["quoteCoin"])
    elif "_" in own or not own.endswith(entry["quoteCoin"]):
        symbol = from_venue("bitget", name)
    else:
        symbol = Symbol("bitget", entry["baseCoin"], entry["quoteCoin"], "perpetual")
    price = entry.get("priceScale") or entry.get("pricePlace") or ""
    size = entry.get("quantityScale") or entry.get("volumePlace") or ""
    return Listing(name, symbol, _unit(price, entry.get("priceEndStep", "1")), _unit(size, "1"))


def _unit(places: Any, step: Any) -> str:
    """Return the step of so many decimals, as ``0.05`` for 2 and a last digit that moves by 5."""
    if places == "":
        return ""
    count, last = whole(places, "decimals"), whole(step, "step")
    if not 0 <= count <= 18:
        raise DecodeError("a list entry has impossible decimals", expected="0 to 18", found=count)
    digits = str(last).rjust(count + 1, "0")
    return f"{digits[:-count]}.{digits[-count:]}" if count else digits
