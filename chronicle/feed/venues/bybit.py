"""Bybit API v5: orderbook, publicTrade, tickers of all markets; REST instruments-info.

Source: bybit-exchange.github.io/docs/v5 (websocket/public). An order book topic starts with a snapshot and goes on
with changes; ``u`` counts the messages of a topic by one, and a snapshot that comes later (``u`` is 1 after a restart
of the venue's service) replaces the book. The connection's address names the market; one name is an instrument of
several markets (``BTCUSDT`` spot and perpetual). A ticker message may carry only what changed of a ticker.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, NONE, Origin, SequenceRule, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Instrument, Listing, VenueRules
from chronicle.feed.names import NameTable
from chronicle.feed.shapes import ROLES
from chronicle.feed.symbology import Symbol, from_venue
from chronicle.feed.venues import shapes
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import MessageAdapter, json_value, read_trades, stamp_ns, whole

__all__ = ["BybitAdapter"]

MARKETS: Final = ("spot", "linear", "inverse", "option")
_AGGRESSOR: Final = {"Buy": Side.BID, "Sell": Side.ASK}
_TOP: Final = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
_TOPS: Final = {"option": ("bidPrice", "bidSize", "askPrice", "askSize")}
_IGNORED: Final = (
    "kline",
    "liquidation",
    "allLiquidation",
    "kline_lt",
    "tickers_lt",
    "lt",
    "priceLimit",
    "insurance",
)
_EXTRAS: Final = ("contractType", "settleCoin", "status", "launchTime", "deliveryTime")
_SENT_MAX: Final = 1024
"""Bound on subscription requests that wait for their reply, per connection."""
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class BybitAdapter(MessageAdapter):
    """Frames of ``stream.bybit.com/v5/public/MARKET`` and of ``/v5/market/instruments-info``."""

    venue = "bybit"
    rules = VenueRules(sequence_rule=SequenceRule.COUNT)
    shapes = shapes.BYBIT

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._tickers: dict[tuple[int, str], dict[str, str]] = {}
        """Per connection and instrument: the last values of the best levels."""
        self._deepest: dict[tuple[int, str], int] = {}
        """Per connection and instrument: the depth of the topic that feeds its book."""
        self._sent: dict[int, list[list[str]]] = {}

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a topic's message, or a reply."""
        message = json_value(frame.payload)
        topic = message.get("topic")
        if topic is None:
            self._reply(frame, out, message)
            return
        channel, _, name = topic.partition(".")
        if channel == "orderbook":
            depth, _, name = name.partition(".")
            self._book(frame, out, whole(depth, "depth"), self._symbol(frame, name), message)
        elif channel == "publicTrade":
            self._trades(out, self._symbol(frame, name), message["data"])
        elif channel == "tickers":
            self._ticker(frame, out, self._symbol(frame, name), message)
        elif channel not in _IGNORED:
            raise DecodeError("a Bybit message is of no known topic", found=topic[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the lists of instruments."""
        address = urlsplit(frame.address)
        if not address.path.endswith("/instruments-info"):
            return
        answer = json_value(frame.payload)
        if answer["retCode"] != 0:
            details = {"address": frame.address, "error": str(answer.get("retMsg"))[:500]}
            out.status(StatusCode.ERROR, details)
            return
        result = answer["result"]
        market = result.get("category") or parse_qs(address.query)["category"][0]
        self.registry.learn(self.venue, [_listing(market, entry) for entry in result["list"]])

    def on_sent(self, frame: Frame) -> None:
        """Remember which topics a request asked for: replies come in the order of the requests."""
        request = json_value(frame.payload)
        if type(request) is dict and request.get("op") == "subscribe":
            waiting = self._sent.setdefault(frame.connection, [])
            if len(waiting) < _SENT_MAX:
                waiting.append([topic for topic in request["args"] if type(topic) is str])

    def on_connection(self, frame: Frame) -> None:
        """Forget what belonged to the connection before."""
        self._sent.pop(frame.connection, None)
        for state in (self._tickers, self._deepest):
            for key in [key for key in state if key[0] == frame.connection]:
                del state[key]

    def stands_for(
        self, role: int, name: str, frame: Frame, table: NameTable
    ) -> tuple[Instrument | None, int] | None:
        """Return the instrument of a topic's name (``200.BTCUSDT``, with its depth, or ``BTCUSDT`` of trades)."""
        depth = 0
        if role == ROLES["stream"]:
            levels, _, name = name.partition(".")
            depth = whole(levels, "depth")
            key = frame.connection, self._symbol(frame, name)
            if self._deepest.get(key) != depth:
                return None  # a deeper topic is the book
            for other in table.names(role):
                shallower, _, same = other.decode().partition(".")
                if same == name and whole(shallower, "depth") != depth:
                    table.forget(role, other)
        elif role != ROLES["trade"]:
            return None
        instrument = self.registry.current(self.venue, self._symbol(frame, name))
        return None if instrument is None else (instrument, depth)

    def _symbol(self, frame: Frame, name: str) -> str:
        """Return the instrument's name with its market, which the connection's address tells.

        Raises
        ------
        DecodeError
            When it does not.
        """
        scheme, _, rest = frame.address.partition(":")
        path = urlsplit(frame.address).path
        market = rest.partition(":")[0] if scheme == "bybit" else path.rstrip("/").rpartition("/")[2]
        if market not in MARKETS:
            raise DecodeError(
                "a Bybit message is of no known market",
                path=frame.address[:200] or None,
                expected="an address that ends in " + ", ".join(MARKETS),
            )
        return f"{market}|{name}"

    def _reply(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        operation = message.get("op")
        if operation in ("ping", "pong"):
            return
        if "success" not in message:
            raise DecodeError("a Bybit message is of no known form", found=repr(message)[:120])
        waiting = self._sent.get(frame.connection)
        topics = waiting.pop(0) if operation == "subscribe" and waiting else []
        if message["success"] is not True:
            details = {"error": str(message.get("ret_msg"))[:500], "topics": topics or None}
            self.say(out, StatusCode.ERROR, details)
            return
        for topic in topics:
            channel, _, name = topic.rpartition(".")
            self.say(out, StatusCode.SUBSCRIBED, {"channel": channel}, self._symbol(frame, name))

    def _book(self, frame: Frame, out: EventBuilder, depth: int, symbol: str, message: dict[str, Any]) -> None:
        """Add a snapshot or changes; where topics of several depths are subscribed, the deepest is the book."""
        key = (frame.connection, symbol)
        if self._deepest.setdefault(key, depth) > depth:
            return
        self._deepest[key] = depth
        reader = self.reader(out, symbol, "book")
        kind, data = message["type"], message["data"]
        ts_event = stamp_ns(message["cts"] if "cts" in message else message["ts"], "ts")
        sequence = whole(data["u"], "u")
        if kind not in ("snapshot", "delta"):
            raise DecodeError("a Bybit order book has no known type", expected="snapshot or delta", found=kind)
        bids, asks = reader.read(data["b"], data["a"], book_depth=depth)
        number = reader.instrument.number
        if kind == "snapshot":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event, sequence=sequence, keep_chain=True)
        reader.report()
        reader.finish()

    def _trades(self, out: EventBuilder, symbol: str, data: list[dict[str, Any]]) -> None:
        reader = self.reader(out, symbol, "trade")
        (levels,) = reader.read([(entry["p"], entry["v"]) for entry in data])
        found = read_trades(reader, data, levels, _trade_fields)
        for (price, size), (side, ts_event, trade_id, sequence) in found:
            out.trade(
                *(reader.instrument.number, side, price, size),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
            )
        reader.report()
        reader.finish()

    def _ticker(self, frame: Frame, out: EventBuilder, symbol: str, message: dict[str, Any]) -> None:
        """Add a QUOTE when the best levels changed; spot tickers carry none."""
        data, kind = message["data"], message["type"]
        names = _TOPS.get(symbol.partition("|")[0], _TOP)
        ts_event = stamp_ns(message["ts"], "ts")
        sequence = whole(message["cs"], "cs") if "cs" in message else NONE
        told = {name: data[name] for name in names if name in data}
        key = (frame.connection, symbol)
        values = told if kind == "snapshot" else self._tickers.get(key, {}) | told
        self._tickers[key] = values
        if not told or len(values) < len(names):
            return
        reader = self.reader(out, symbol, "quote")
        rows = [[values[names[0]], values[names[1]]], [values[names[2]], values[names[3]]]]
        levels = reader.read(*([] if row[0] in ("", "0") else [row] for row in rows))
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in levels]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()


def _trade_fields(entry: dict[str, Any]) -> tuple[Side, int, int, int]:
    """Return aggressor, ts_event, trade id (NONE where it is a UUID: that is in the wire record) and sequence."""
    trade_id = entry["i"]
    numbered = type(trade_id) is str and _NUMBER.fullmatch(trade_id)
    sequence = whole(entry["seq"], "seq") if "seq" in entry else NONE
    return _AGGRESSOR[entry["S"]], stamp_ns(entry["T"], "T"), int(trade_id) if numbered else NONE, sequence


def _listing(market: str, entry: dict[str, Any]) -> Listing:
    """Return what the list says of one instrument; an option's or unknown contract's parts are those of its name."""
    name = f"{market}|{entry['symbol']}"
    base, quote, contract = entry["baseCoin"], entry["quoteCoin"], str(entry.get("contractType", ""))
    if market == "spot":
        symbol = Symbol("bybit", base, quote)
    elif contract.endswith("Perpetual"):
        symbol = Symbol("bybit", base, quote, "perpetual")
    elif contract.endswith("Futures"):
        symbol = Symbol("bybit", base, quote, "future", _expiry(entry["deliveryTime"]))
    else:
        symbol = from_venue("bybit", name)
    lot = entry.get("lotSizeFilter", {})
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key) not in (None, "", "0")}
    step = lot.get("qtyStep") or lot.get("basePrecision") or ""
    return Listing(name, symbol, entry.get("priceFilter", {}).get("tickSize", ""), step, extras)


def _expiry(milliseconds: Any) -> str:
    """Return YYMMDD of a time of delivery."""
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=whole(milliseconds, "deliveryTime"))
    return f"{day:%y%m%d}"
