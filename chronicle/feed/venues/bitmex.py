"""BitMEX: orderBookL2, orderBookL2_25, orderBook10, trade, quote; REST instrument lists.

Source: www.bitmex.com/app/wsAPI. A table starts with ``partial``; rows of orderBookL2 are named by an id, and an
update or deletion may name nothing else: the adapter remembers the price of each id. Nothing is numbered, so that a
book is only as good as its connection. Trade ids are GUIDs, which are in the wire record; the side is the taker's.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Origin, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing
from chronicle.feed.symbology import Symbol, from_venue
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import Level, LevelReader, known
from chronicle.feed.venues.messages import UNREADABLE, FreshTrades, MessageAdapter, json_value, numbers_as_text

__all__ = ["BitmexAdapter"]

_SIDES: Final = {"Buy": Side.BID, "Sell": Side.ASK}
_BOOKS: Final = {"orderBookL2": 0, "orderBookL2_25": 25}
_ACTIONS: Final = ("partial", "insert", "update", "delete")
_IDS_MAX: Final = 1 << 20
_EXTRAS: Final = ("typ", "state", "settlCurrency", "multiplier", "expiry")


class BitmexAdapter(MessageAdapter):
    """Frames of ``ws.bitmex.com/realtime`` and of ``/api/v1/instrument``."""

    venue = "bitmex"

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._prices: dict[tuple[int, str], dict[Any, str]] = {}
        """Per connection and symbol: the price of each row's id."""
        self._trades_seen = FreshTrades()

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate the rows of a table, symbol by symbol, or a reply."""
        if frame.payload == b"pong":
            return
        message = json_value(frame.payload, exact=True)
        if "table" not in message:
            self._reply(message, out)
            return
        table, action = message["table"], message["action"]
        if action not in _ACTIONS:
            raise DecodeError("a BitMEX table has no known action", expected=", ".join(_ACTIONS), found=action)

        def take(part: tuple[str, list[dict[str, Any]]]) -> None:
            symbol, rows = part
            if table in _BOOKS:
                self._book(frame, out, symbol, action, rows, _BOOKS[table])
            elif table == "orderBook10":
                self._top(out, symbol, rows[-1])
            elif table == "trade":
                self._trades(frame, out, symbol, action, rows)
            elif table == "quote":
                self._quotes(out, symbol, rows)

        self.take_each(frame, out, _by_symbol(message).items(), take)

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of instruments."""
        if "/api/v1/instrument" not in urlsplit(frame.address).path:
            return
        answer = json_value(frame.payload, exact=True)
        if type(answer) is dict and "error" in answer:
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer["error"])[:500]})
            return
        self.registry.learn(self.venue, [_listing(entry) for entry in answer])

    def on_connection(self, frame: Frame) -> None:
        """Forget the rows of the connection before."""
        for key in [key for key in self._prices if key[0] == frame.connection]:
            del self._prices[key]

    def _reply(self, message: dict[str, Any], out: EventBuilder) -> None:
        for name, code in (("subscribe", StatusCode.SUBSCRIBED), ("unsubscribe", StatusCode.UNSUBSCRIBED)):
            if message.get("success") is True and name in message:
                table, _, symbol = message[name].partition(":")
                self.say(out, code, {"channel": "book" if table in _BOOKS else table}, symbol)
                return
        if "error" in message:
            details = {"error": str(message["error"])[:500], "request": str(message.get("request"))[:200]}
            self.say(out, StatusCode.ERROR, details)
        elif "info" in message:
            self.say(out, StatusCode.VENUE, {"info": str(message["info"])[:200]})
        else:
            raise DecodeError("a BitMEX message is of no known form", found=repr(message)[:120])

    def _book(self, frame: Frame, out: EventBuilder, symbol: str, action: str, rows: list[Any], depth: int) -> None:
        reader = self.reader(out, symbol, "book")
        prices = self._prices.setdefault((frame.connection, symbol), {})
        if action == "partial":
            prices.clear()
        sides: dict[Side, list[list[str]]] = {Side.BID: [], Side.ASK: []}
        for row in rows:
            sides[_SIDES[row["side"]]].append(self._level(prices, action, row))
        newest = max((row["timestamp"] for row in rows if row.get("timestamp")), default="")
        ts_event = parse_time(newest) if newest else 0
        bids, asks = reader.read(sides[Side.BID], sides[Side.ASK], book_depth=depth)
        number = reader.instrument.number
        if action == "partial":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _level(self, prices: dict[Any, str], action: str, row: dict[str, Any]) -> list[str]:
        """Return (price, size) of a row; the price of an unknown id is a text that no reader takes."""
        price = row.get("price")
        text = numbers_as_text(price)[0] if price is not None else prices.get(row["id"], f"id {row['id']} is unknown")
        if action == "delete":
            prices.pop(row["id"], None)
            return [text, "0"]
        if len(prices) < _IDS_MAX and price is not None:
            prices[row["id"]] = text
        return [text, numbers_as_text(row["size"])[0]]

    def _top(self, out: EventBuilder, symbol: str, row: dict[str, Any]) -> None:
        """Add a whole book of ten levels."""
        reader = self.reader(out, symbol, "book")
        sides = [[numbers_as_text(*level) for level in row[side]] for side in ("bids", "asks")]
        bids, asks = reader.read(*sides, book_depth=10)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=parse_time(row["timestamp"]))
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, symbol: str, action: str, rows: list[Any]) -> None:
        """Add trades; the last ones, which come with a subscription, once."""
        reader = self.reader(out, symbol, "trade")
        (levels,) = reader.read([numbers_as_text(row["price"], row["size"]) for row in rows])
        found = []
        for row, level in zip(rows, levels, strict=True):
            try:
                if level is not None:
                    found.append((_SIDES[row["side"]], *level, parse_time(row["timestamp"])))
            except UNREADABLE as error:
                reader.problem(f"trade {row!r}: {error}")
        if action == "partial":
            found = [trade for trade in found if not self._trades_seen.is_old(frame.connection, symbol, trade[3])]
        for side, price, size, ts_event in found:
            self._trades_seen.note(frame.connection, symbol, ts_event)
            out.trade(reader.instrument.number, side, price, size, ts_event=ts_event)
        reader.report()
        reader.finish()

    def _quotes(self, out: EventBuilder, symbol: str, rows: list[Any]) -> None:
        reader = self.reader(out, symbol, "quote")
        sides = [_quote_side(rows, side) for side in ("bid", "ask")]
        stamps = [parse_time(row["timestamp"]) for row in rows]
        levels = reader.read(*([row for row in side if row is not None] for side in sides))
        best = [_spread(side, iter(found)) for side, found in zip(sides, levels, strict=True)]
        for bid, ask, ts_event in zip(*best, stamps, strict=True):
            if bid is not None and ask is not None:
                out.quote(reader.instrument.number, *bid, *ask, ts_event=ts_event)
        self._finish(reader)

    def _finish(self, reader: LevelReader) -> None:
        reader.report()
        reader.finish()


def _by_symbol(message: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the rows of a message by their symbols; an empty partial is of the symbol it was asked for."""
    found: dict[str, list[Any]] = {}
    for row in message["data"]:
        found.setdefault(row["symbol"], []).append(row)
    named = (message.get("filter") or {}).get("symbol")
    if not found and named and message["table"] in _BOOKS and message["action"] == "partial":
        found[named] = []
    return found


def _quote_side(rows: list[Any], side: str) -> list[list[str] | None]:
    """Return (price, size) of one side of each row, None where it is empty."""
    return [
        numbers_as_text(row[f"{side}Price"], row[f"{side}Size"]) if row.get(f"{side}Price") is not None else None
        for row in rows
    ]


def _spread(side: list[list[str] | None], levels: Any) -> list[Level | None]:
    """Return one level a row: those that were read, and empty ones between them."""
    return [next(levels) if row is not None else (INT64_MIN, 0) for row in side]


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one instrument; only the list knows a dated contract's day."""
    name, kind, expiry = entry["symbol"], entry["typ"], entry.get("expiry")
    base, quote = (_usual(entry[key]) for key in ("underlying", "quoteCurrency"))
    if kind in ("FFWCSX", "FFWCSF"):
        symbol = Symbol("bitmex", base, quote, "perpetual")
    elif kind == "FFCCSX" and expiry:
        symbol = Symbol("bitmex", base, quote, "future", expiry[2:10].replace("-", ""))
    elif kind == "IFXXXP":
        symbol = Symbol("bitmex", base, quote)
    else:
        symbol = from_venue("bitmex", name)
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key) is not None}
    tick, lot = (
        numbers_as_text(entry[key])[0] if entry.get(key) is not None else "" for key in ("tickSize", "lotSize")
    )
    return Listing(name, symbol, tick, lot, extras)


def _usual(currency: str) -> str:
    return "BTC" if currency == "XBT" else currency
