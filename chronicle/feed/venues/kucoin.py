"""KuCoin spot: /market/level2, /market/match, /market/ticker; REST order books and symbols.

Source: www.kucoin.com/docs (websocket, "Market Data - Level2": keep what comes, ask for a snapshot, drop what it
holds, go on where ``sequenceStart`` follows). The rule is Binance spot's; a change with price 0 only moves the
sequence. Trade ids are no numbers: they are in the wire record. The side of a trade is the taker's.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, SequenceRule, Side, StatusCode
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.book_events import add_changes, cut_snapshot
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import MessageAdapter, json_value, stamp_ns, whole

__all__ = ["KucoinAdapter"]

_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_IGNORED: Final = ("/market/candles", "/market/snapshot", "/indicator/index", "/indicator/markPrice")
_PARTIAL: Final = {"level2_20": 20, "level2_100": 100}
_EXTRAS: Final = ("name", "feeCurrency", "baseMinSize")
_SENT_MAX: Final = 1024


class KucoinAdapter(MessageAdapter):
    """Frames of KuCoin's public socket, of ``/api/vN/market/orderbook/level2*`` and of ``/api/vN/symbols``."""

    venue = "kucoin"
    rules = VenueRules(sequence_rule=SequenceRule.BINANCE_SPOT)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._sent: dict[int, dict[str, list[str]]] = {}
        """Per connection: topics of subscription requests by their id."""

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a topic's message, or a reply."""
        message = json_value(frame.payload)
        kind = message["type"]
        if kind != "message":
            self._reply(frame, out, kind, message)
            return
        topic, _, name = message["topic"].partition(":")
        data = message["data"]
        if topic == "/market/level2":
            self._diff(out, data)
        elif topic == "/market/match":
            self._trade(out, data)
        elif topic == "/market/ticker":
            self._quote(out, message["subject"] if name == "all" else name, data)
        elif topic not in _IGNORED:
            raise DecodeError("a KuCoin message is of no known topic", found=topic[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of symbols; a whole or cut order book is the start of a book."""
        address = urlsplit(frame.address)
        name = address.path.rpartition("/")[2]
        if not name.startswith(("level2", "symbols")):
            return
        answer = json_value(frame.payload)
        if answer["code"] != "200000":
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("msg"))[:500]})
        elif name == "symbols":
            self.registry.learn(self.venue, [_listing(entry) for entry in answer["data"]])
        else:
            self._snapshot(out, parse_qs(address.query)["symbol"][0], _PARTIAL.get(name, 0), answer["data"])

    def on_sent(self, frame: Frame) -> None:
        """Remember which topics a request asked for: its reply names the request only."""
        request = json_value(frame.payload)
        if type(request) is dict and request.get("type") == "subscribe":
            waiting = self._sent.setdefault(frame.connection, {})
            if len(waiting) < _SENT_MAX:
                waiting.setdefault(str(request["id"]), []).append(str(request["topic"]))

    def on_connection(self, frame: Frame) -> None:
        """Forget requests that the connection before never answered."""
        self._sent.pop(frame.connection, None)

    def _reply(self, frame: Frame, out: EventBuilder, kind: Any, message: dict[str, Any]) -> None:
        if kind in ("welcome", "pong"):
            return
        waiting = self._sent.get(frame.connection, {}).get(str(message.get("id")), [])
        topics = [waiting.pop(0)] if waiting else []
        if kind == "error":
            self.say(out, StatusCode.ERROR, {"error": str(message.get("data"))[:500], "topics": topics or None})
            return
        if kind != "ack":
            raise DecodeError("a KuCoin message is of no known type", found=str(kind)[:80])
        for topic in topics:
            channel, _, names = topic.partition(":")
            for name in names.split(",") if channel in ("/market/level2", "/market/match", "/market/ticker") else []:
                self.say(out, StatusCode.SUBSCRIBED, {"channel": channel.removeprefix("/market/")}, name)

    def _diff(self, out: EventBuilder, data: dict[str, Any]) -> None:
        """Add the changes; one without a level keeps the chain."""
        reader = self.reader(out, data["symbol"], "book")
        numbers = {
            "sequence": whole(data["sequenceEnd"], "sequenceEnd"),
            "sequence_first": whole(data["sequenceStart"], "sequenceStart"),
            "ts_event": stamp_ns(data["time"], "time") if "time" in data else 0,
        }
        rows = [
            sorted((row for row in data["changes"][side] if row[0] != "0"), key=lambda row: whole(row[2], "sequence"))
            for side in ("bids", "asks")
        ]
        bids, asks = reader.read(*rows)
        number = reader.instrument.number
        add_changes(out, number, bids, asks, keep_chain=True, **numbers)
        reader.report()
        reader.finish()

    def _snapshot(self, out: EventBuilder, symbol: str, limit: int, data: dict[str, Any]) -> None:
        """Add a book over HTTP; one of 20 or 100 levels a side is cut where it is full."""
        reader = self.reader(out, symbol, "book")
        sequence = whole(data["sequence"], "sequence")
        ts_event = stamp_ns(data["time"], "time") if "time" in data else 0
        sides = reader.read(data["bids"], data["asks"])
        bids, asks = known(sides[0]), known(sides[1])
        full = [bool(limit) and len(side) >= limit for side in sides]
        fields = cut_snapshot(bids, asks, bids_cut=full[0], asks_cut=full[1])
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trade(self, out: EventBuilder, data: dict[str, Any]) -> None:
        reader = self.reader(out, data["symbol"], "trade")
        side, ts_event = _AGGRESSOR[data["side"]], whole(data["time"], "time")
        sequence = whole(data["sequence"], "sequence")
        ((level,),) = reader.read([(data["price"], data["size"])])
        if level is not None:
            out.trade(reader.instrument.number, side, *level, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, symbol: Any, data: dict[str, Any]) -> None:
        reader = self.reader(out, symbol, "quote")
        sequence, ts_event = whole(data["sequence"], "sequence"), stamp_ns(data["time"], "time")
        rows = [
            [] if data[name] in (None, "", "0") else [(data[name], data[f"{name}Size"])]
            for name in ("bestBid", "bestAsk")
        ]
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in reader.read(*rows)]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one symbol: its name now may be another than that of its stream (BCHSV-USDT)."""
    symbol = Symbol("kucoin", *entry["symbol"].split("-", 1))
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key)}
    return Listing(entry["symbol"], symbol, entry.get("priceIncrement", ""), entry.get("baseIncrement", ""), extras)
