"""Gate.io spot, API v4: spot.order_book_update, spot.trades, spot.book_ticker; REST order books and currency pairs.

Source: www.gate.com/docs/developers/apiv4/ws (keep what comes, ask for a snapshot ``with_id``, drop what it holds, go
on where ``U`` is at most the id plus one). The rule is Binance spot's; a snapshot is cut at the limit that was asked
for. Times of trades are milliseconds with decimals; the side of a trade is the taker's. A reply to a subscription
names no pair: it answers the oldest request for its channel that waits.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.core.decimals import mantissa
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, SequenceRule, Side, StatusCode
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.book_events import add_changes, cut_snapshot
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import MessageAdapter, json_value, stamp_ns, whole

__all__ = ["GateioAdapter"]

_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_IGNORED: Final = ("spot.candlesticks", "spot.tickers", "spot.ping", "spot.pong")
_CODES: Final = {"subscribe": StatusCode.SUBSCRIBED, "unsubscribe": StatusCode.UNSUBSCRIBED}
_SENT_MAX: Final = 1024
_EXTRAS: Final = ("trade_status", "min_base_amount", "min_quote_amount")
_LIMIT: Final = 10
"""Levels that the venue gives where a request names none."""


class GateioAdapter(MessageAdapter):
    """Frames of ``api.gateio.ws/ws/v4`` and of ``/api/v4/spot``."""

    venue = "gateio"
    rules = VenueRules(sequence_rule=SequenceRule.BINANCE_SPOT)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._sent: dict[int, dict[tuple[str, str], list[list[str]]]] = {}
        """Per connection and (channel, event): the pairs of requests that wait for their reply."""

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate an update of a channel, or a reply."""
        message = json_value(frame.payload)
        channel, event = message["channel"], message.get("event")
        if channel in _IGNORED:
            return
        if event in _CODES:
            self._reply(frame, out, channel, event, message)
        elif event != "update":
            raise DecodeError("a Gate.io message is of no known event", found=repr(event)[:80])
        elif channel == "spot.order_book_update":
            self._diff(out, message["result"])
        elif channel == "spot.trades":
            self._trade(out, message["result"])
        elif channel == "spot.book_ticker":
            self._quote(out, message["result"])
        else:
            raise DecodeError("a Gate.io message is of no known channel", found=str(channel)[:80])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of pairs; an order book with its id is the start of a book."""
        address = urlsplit(frame.address)
        name = address.path.rpartition("/")[2]
        if name not in ("currency_pairs", "order_book"):
            return
        answer = json_value(frame.payload)
        if type(answer) is dict and "label" in answer:
            self.say(out, StatusCode.ERROR, {"address": frame.address, "error": str(answer.get("message"))[:500]})
        elif name == "currency_pairs":
            self.registry.learn(self.venue, [_listing(entry) for entry in answer])
        else:
            query = parse_qs(address.query)
            limit = whole(query["limit"][0], "limit") if "limit" in query else _LIMIT
            self._snapshot(out, query["currency_pair"][0], limit, answer)

    def on_sent(self, frame: Frame) -> None:
        """Remember which pairs a request was about."""
        request = json_value(frame.payload)
        if type(request) is dict and request.get("event") in _CODES:
            waiting = self._sent.setdefault(frame.connection, {}).setdefault(
                (str(request["channel"]), request["event"]), []
            )
            if len(waiting) < _SENT_MAX:
                waiting.append([str(name) for name in request["payload"] if "_" in str(name)])

    def on_connection(self, frame: Frame) -> None:
        """Forget requests that the connection before never answered."""
        self._sent.pop(frame.connection, None)

    def _reply(self, frame: Frame, out: EventBuilder, channel: str, event: str, message: dict[str, Any]) -> None:
        waiting = self._sent.get(frame.connection, {}).get((channel, event), [])
        names = waiting.pop(0) if waiting else []
        if message.get("error") is not None:
            details = {"error": str(message["error"])[:500], "channel": channel, "pairs": names or None}
            self.say(out, StatusCode.ERROR, details)
            return
        own = {"spot.order_book_update": "book", "spot.trades": "trade", "spot.book_ticker": "quote"}
        for name in names if channel in own else []:
            self.say(out, _CODES[event], {"channel": own[channel]}, name)

    def _diff(self, out: EventBuilder, data: dict[str, Any]) -> None:
        """Add the changes; one without a level keeps the chain."""
        reader = self.reader(out, data["s"], "book")
        numbers = {
            "ts_event": stamp_ns(data["t"], "t"),
            "sequence": whole(data["u"], "u"),
            "sequence_first": whole(data["U"], "U"),
        }
        bids, asks = reader.read(data["b"], data["a"])
        number = reader.instrument.number
        add_changes(out, number, bids, asks, keep_chain=True, **numbers)
        reader.report()
        reader.finish()

    def _snapshot(self, out: EventBuilder, symbol: str, limit: int, data: dict[str, Any]) -> None:
        """Add a book over HTTP, complete as far as its sides are not full."""
        reader = self.reader(out, symbol, "book")
        sequence = whole(data["id"], "id")
        ts_event = stamp_ns(data["update"], "update") if "update" in data else 0
        sides = reader.read(data["bids"], data["asks"])
        bids, asks = known(sides[0]), known(sides[1])
        full = [len(side) >= limit for side in sides]
        fields = cut_snapshot(bids, asks, bids_cut=full[0], asks_cut=full[1])
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trade(self, out: EventBuilder, data: dict[str, Any]) -> None:
        reader = self.reader(out, data["currency_pair"], "trade")
        side, trade_id = _AGGRESSOR[data["side"]], whole(data["id"], "id")
        ts_event = mantissa(data["create_time_ms"], 6)
        ((level,),) = reader.read([(data["price"], data["amount"])])
        if level is not None:
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, data: dict[str, Any]) -> None:
        reader = self.reader(out, data["s"], "quote")
        ts_event, sequence = stamp_ns(data["t"], "t"), whole(data["u"], "u")
        rows = [[] if data[price] in ("", "0") else [(data[price], data[size])] for price, size in ("bB", "aA")]
        best: list[Level | None] = [side[0] if side else (INT64_MIN, 0) for side in reader.read(*rows)]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what the list says of one pair; it names decimals, not steps."""
    extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key)}
    tick, lot = _unit(entry["precision"]), _unit(entry["amount_precision"])
    return Listing(entry["id"], Symbol("gateio", entry["base"], entry["quote"]), tick, lot, extras)


def _unit(places: Any) -> str:
    """Return the step of so many decimals, as ``0.001`` for 3."""
    count = whole(places, "decimals")
    if not 0 <= count <= 18:
        raise DecodeError("a list entry has impossible decimals", expected="0 to 18", found=count)
    return f"0.{'1'.rjust(count, '0')}" if count else "1"
