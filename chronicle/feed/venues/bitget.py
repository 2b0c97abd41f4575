"""Bitget WebSocket v2 and v1: books with CRC32, books1/5/15, trade, ticker of spot and contracts; REST lists.

Source: www.bitget.com/api-doc (v2: spot/websocket/public/Depth-Channel and the like), Bitget API v1 documentation,
"Depth channel". Checksum: 25 levels of bid and ask in turn, joined by colons, as written on the wire, signed CRC-32;
0 is none. The wire writes each instrument's numbers with fixed decimals, except the 0 that deletes. v1 messages carry
no sequence; ``seq`` of v2 grows by any step, which shows what is out of order and not what is missing. Both versions
name one instrument alike here (``sp|BTCUSDT``, ``mc|BTCUSDT``). A ticker becomes a QUOTE only where it carries sizes:
v1 spot tickers without them round the price.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, CheckRule, Origin, SequenceRule, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import format_ns
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol, from_venue
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import LevelReader, known, wire_decimals
from chronicle.feed.venues.messages import FreshTrades, MessageAdapter, json_value, read_trades, stamp_ns, whole

__all__ = ["BitgetAdapter"]

TOP_DEPTHS: Final = {"books1": 1, "books5": 5, "books15": 15}
"""Channels that send their few levels whole each time."""
_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_MARKETS: Final = {"SP": "sp", "MC": "mc"}
_MARKETS_V2: Final = {"SPOT": "sp", "USDT-FUTURES": "mc", "COIN-FUTURES": "mc", "USDC-FUTURES": "mc"}
_EXTRAS: Final = ("status", "symbolStatus", "symbolType", "minTradeNum", "minTradeAmount")
_LISTS: Final = {
    "/api/spot/v1/public/products": "sp",
    "/api/v2/spot/public/symbols": "sp",
    "/api/mix/v1/market/contracts": "mc",
    "/api/v2/mix/market/contracts": "mc",
}
_RULES_V2: Final = VenueRules(check_rule=CheckRule.BITGET_V1, sequence_rule=SequenceRule.GROWING)


class BitgetAdapter(MessageAdapter):
    """Frames of ``/v2/ws/public``, ``/spot/v1/stream`` and ``/mix/v1/stream``, and of the lists of both versions."""

    venue = "bitget"
    rules = VenueRules(check_rule=CheckRule.BITGET_V1)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._trades_seen = FreshTrades()
        self._rules: VenueRules | None = None
        """What holds for the instruments of the message at hand: v2 numbers its books."""

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
        self._rules = _RULES_V2 if argument["instType"] in _MARKETS_V2 else None
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
        market = _LISTS.get(urlsplit(frame.address).path)
        if market is None:
            return
        answer = json_value(frame.payload)
        if answer["code"] != "00000":
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("msg"))[:500]})
            return
        self.registry.learn(self.venue, [_listing(market, entry) for entry in answer["data"]])

    def reader(self, out: EventBuilder, venue_symbol: Any, channel: str) -> LevelReader:
        """Return the reader of a message's numbers, under the rules of its version."""
        reader = super().reader(out, venue_symbol, channel)
        reader.rules = self._rules
        return reader

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
        sequence = _sequence(entry)
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
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event, sequence=sequence, keep_chain=sequence != NONE)
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
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=_sequence(entry))
        reader.report()
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, symbol: str, action: Any, data: list[Any]) -> None:
        """Add trades, the oldest first. v1 rows are time, price, size, side, and have no id."""
        reader = self.reader(out, symbol, "trade")
        rows = list(reversed(data))
        names = (1, 2) if self._rules is None else ("price", "size")
        (levels,) = reader.read([tuple(row[name] for name in names) for row in rows])
        found = read_trades(reader, rows, levels, _trade_v1 if self._rules is None else _trade_v2)
        seen = self._trades_seen
        if action == "snapshot":
            found = [item for item in found if not seen.is_old(frame.connection, symbol, _order(item[1]))]
        for level, trade in found:
            side, ts_event, trade_id = trade
            seen.note(frame.connection, symbol, _order(trade))
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, symbol: str, entry: dict[str, Any]) -> None:
        if "bidSz" not in entry or "askSz" not in entry:
            return
        reader = self.reader(out, symbol, "quote")
        ts_event = stamp_ns(entry["ts"] if "ts" in entry else entry["systemTime"], "ts")
        bid, ask = ("bestBid", "bestAsk") if self._rules is None else ("bidPr", "askPr")
        bids, asks = reader.read([(entry[bid], entry["bidSz"])], [(entry[ask], entry["askSz"])])
        if bids[0] is not None and asks[0] is not None:
            out.quote(reader.instrument.number, *bids[0], *asks[0], ts_event=ts_event)
        reader.report()
        reader.finish()


def _symbol(argument: dict[str, Any]) -> str:
    """Return the instrument's name with its market: one name is a spot pair and a contract."""
    market, name = argument["instType"], argument["instId"]
    if type(market) is not str or type(name) is not str:
        raise DecodeError("a Bitget message names no instrument", found=repr(argument)[:120])
    return f"{_MARKETS.get(market) or _MARKETS_V2.get(market) or market.lower()}|{name}"


def _sequence(entry: dict[str, Any]) -> int:
    return whole(entry["seq"], "seq") if entry.get("seq") is not None else NONE


def _trade_v1(row: Any) -> tuple[Side, int, int]:
    return _AGGRESSOR[row[3]], stamp_ns(row[0], "ts"), NONE


def _trade_v2(row: Any) -> tuple[Side, int, int]:
    return _AGGRESSOR[row["side"]], stamp_ns(row["ts"], "ts"), whole(row["tradeId"], "tradeId")


def _order(trade: tuple[Side, int, int]) -> int:
    """Return what grows from one trade to the next: its id, where it has none its time."""
    return trade[1] if trade[2] == NONE else trade[2]


def _listing(market: str, entry: dict[str, Any]) -> Listing:
    """Return what a list says of one instrument, under the name that its stream uses."""
    own, _, _ = entry["symbol"].partition("_")
    name = f"{market}|{own}"
    if market == "sp":
        symbol = Symbol("bitget", entry["baseCoin"], entry["quoteCoin"])
    elif entry.get("symbolType") == "delivery" and entry.get("deliveryTime"):
        day = format_ns(stamp_ns(entry["deliveryTime"], "deliveryTime"))
        expiry = day[2:4] + day[5:7] + day[8:10]
        symbol = Symbol("bitget", entry["baseCoin"], entry["quoteCoin"], "future", expiry)
    elif "symbolType" in entry or own.endswith(entry["quoteCoin"]):
        symbol = Symbol("bitget", entry["baseCoin"], entry["quoteCoin"], "perpetual")
    else:
        symbol = from_venue("bitget", name)
    price = entry.get("priceScale") or entry.get("pricePlace") or entry.get("pricePrecision") or ""
    size = entry.get("quantityScale") or entry.get("volumePlace") or entry.get("quantityPrecision") or ""
    lot = entry.get("sizeMultiplier") or _unit(size, "1")
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key)}
    return Listing(name, symbol, _unit(price, entry.get("priceEndStep", "1")), lot, extras)


def _unit(places: Any, step: Any) -> str:
    """Return the step of so many decimals, as ``0.05`` for 2 and a last digit that moves by 5."""
    if places == "":
        return ""
    count, last = whole(places, "decimals"), whole(step, "step")
    if not 0 <= count <= 18:
        raise DecodeError("a list entry has impossible decimals", expected="0 to 18", found=count)
    digits = str(last).rjust(count + 1, "0")
    return f"{digits[:-count]}.{digits[-count:]}" if count else digits
