"""Binance spot and Binance.US: depth diffs, trade, aggTrade, bookTicker, partial depth; REST depth, lists.

Source: github.com/binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md); docs.binance.us is alike.
The futures markets differ in what :mod:`chronicle.feed.venues.binance_futures` overrides. A REST snapshot of N levels
that comes full is cut: below its last bid and above its last ask nothing is known, though the diffs tell changes
there. The snapshot record says so with its price range.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, NONE, SequenceRule, Side, StatusCode, TradeType
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Instrument, Listing, VenueRules
from chronicle.feed.names import NameTable
from chronicle.feed.shapes import ROLES
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues import shapes
from chronicle.feed.venues.book_events import add_changes, cut_snapshot
from chronicle.feed.venues.levels import known
from chronicle.feed.venues.messages import MessageAdapter, json_value, stamp_ns, whole

__all__ = ["BinanceAdapter", "BinanceUsAdapter"]

LIMITS: Final = frozenset({5, 10, 20, 50, 100, 500, 1000, 5000})
"""Level counts that the venue is asked for; a side of such a length may have been cut."""
_SENT_MAX: Final = 1024
"""Bound on subscription requests that wait for their reply, per connection."""
_IGNORED: Final = frozenset(
    {
        "kline",
        "24hrTicker",
        "24hrMiniTicker",
        "avgPrice",
        "1hTicker",
        "4hTicker",
        "1dTicker",
        "serverShutdown",
    }
)


class BinanceAdapter(MessageAdapter):
    """Frames of ``stream.binance.com`` (combined or single streams) and of ``/api/v3``."""

    venue = "binance"
    rules = VenueRules(sequence_rule=SequenceRule.BINANCE_SPOT)
    shapes = shapes.BINANCE
    ignored: frozenset[Any] = _IGNORED
    """Events of streams that carry nothing for us."""

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._symbols: dict[int, str | None] = {}
        """Per connection: the only symbol seen so far; None after a second one."""
        self._sent: dict[int, dict[Any, list[str]]] = {}
        """Per connection: streams of subscription requests by their id."""

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a stream's payload, in its envelope or bare, or a reply."""
        message = json_value(frame.payload)
        stream = ""
        if "stream" in message:
            stream, message = message["stream"], message["data"]
            if type(message) is list:  # the all-market arrays carry summaries only
                return
        event = message.get("e")
        if event == "depthUpdate":
            self._depth(frame, out, message, stream)
        elif event == "trade" or event == "aggTrade":
            self._trade(frame, out, message, aggregate=event == "aggTrade")
        elif event == "bookTicker" or (event is None and "u" in message and "A" in message):
            self._quote(frame, out, message)
        elif event is None and "lastUpdateId" in message:
            self._snapshot(frame, out, message, stream)
        elif "result" in message or "error" in message or "code" in message:
            self._reply(frame, out, message)
        elif event not in self.ignored:
            raise DecodeError("a Binance message is of no known event", found=repr(message)[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of symbols; a depth answer is the start of a book."""
        path = urlsplit(frame.address).path
        if path.endswith("/exchangeInfo"):
            answer = json_value(frame.payload)
            if "symbols" in answer:
                self.registry.learn(self.venue, [self.listing(entry) for entry in answer["symbols"]])
            else:
                self._reply(frame, out, answer)
        elif path.endswith("/depth"):
            answer = json_value(frame.payload)
            if "lastUpdateId" in answer:
                self._snapshot(frame, out, answer, "")
            else:
                self._reply(frame, out, answer)

    def on_sent(self, frame: Frame) -> None:
        """Remember which streams a request asked for: its reply names the request only."""
        request = json_value(frame.payload)
        if type(request) is dict and request.get("method") == "SUBSCRIBE":
            waiting = self._sent.setdefault(frame.connection, {})
            if len(waiting) < _SENT_MAX:
                waiting[request["id"]] = [name for name in request["params"] if type(name) is str]

    def on_connection(self, frame: Frame) -> None:
        """Forget requests that the connection before never answered."""
        self._sent.pop(frame.connection, None)

    def stands_for(
        self, role: int, name: str, frame: Frame, table: NameTable
    ) -> tuple[Instrument | None, int] | None:
        """Return the instrument of a symbol, or of a partial depth stream with its levels."""
        if role != ROLES["stream"]:
            return super().stands_for(role, name, frame, table)
        symbol, limit = self._snapshot_of(frame, name)
        instrument = self.registry.current(self.venue, symbol)
        return (instrument, limit) if instrument is not None and limit > 0 else None

    def listing(self, entry: dict[str, Any]) -> Listing:
        """Return what the venue's list says of one symbol."""
        symbol = Symbol(self.venue, entry["baseAsset"], entry["quoteAsset"])
        return Listing(entry["symbol"], symbol, *tick_and_lot(entry))

    def previous(self, message: dict[str, Any]) -> int:
        """Return the update id that a diff follows, where the market sends it."""
        return NONE

    def _depth(self, frame: Frame, out: EventBuilder, message: dict[str, Any], stream: str) -> None:
        """Add what a depth stream sent: a diff."""
        self._diff(frame, out, message)

    def _diff(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Add a BOOK_DELTA per level; one without side and size keeps the chain when a diff has no levels."""
        symbol = self._seen(frame, message["s"])
        reader = self.reader(out, symbol, "book")
        ts_event = stamp_ns(message["E"], "E")
        first, last, previous = whole(message["U"], "U"), whole(message["u"], "u"), self.previous(message)
        bids, asks = reader.read(message["b"], message["a"])
        number = reader.instrument.number
        numbers = {"sequence": last, "sequence_first": first, "sequence_previous": previous}
        add_changes(out, number, bids, asks, ts_event=ts_event, keep_chain=True, **numbers)
        reader.report()
        reader.finish()

    def _snapshot(self, frame: Frame, out: EventBuilder, message: dict[str, Any], stream: str) -> None:
        symbol, limit = self._snapshot_of(frame, stream)
        sequence = whole(message["lastUpdateId"], "lastUpdateId")
        self.add_snapshot(out, symbol, limit, sequence, message["bids"], message["asks"], _time(message))

    def add_snapshot(
        self, out: EventBuilder, symbol: Any, limit: int, sequence: int, bid_rows: Any, ask_rows: Any, ts_event: int
    ) -> None:
        """Add a book of up to `limit` levels a side (0: not said), complete as far as it was not cut."""
        reader = self.reader(out, symbol, "book")
        sides = reader.read(bid_rows, ask_rows)
        bids, asks = known(sides[0]), known(sides[1])
        cut = [_is_cut(len(side), limit) for side in sides]
        fields = cut_snapshot(bids, asks, bids_cut=cut[0], asks_cut=cut[1])
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trade(self, frame: Frame, out: EventBuilder, message: dict[str, Any], *, aggregate: bool) -> None:
        symbol = self._seen(frame, message["s"])
        reader = self.reader(out, symbol, "trade")
        ts_event = stamp_ns(message["T"], "T")
        buyer_is_maker = message["m"]
        if type(buyer_is_maker) is not bool:
            raise DecodeError("a Binance trade does not say who was the maker", found=repr(buyer_is_maker)[:80])
        first = whole(message["f" if aggregate else "t"], "trade id")
        last = whole(message["l"], "l") if aggregate else first
        sequence = whole(message["a"], "a") if aggregate else -1
        ((level,),) = reader.read([(message["p"], message["q"])])
        if level is not None:
            out.trade(
                *(reader.instrument.number, Side.ASK if buyer_is_maker else Side.BID, *level),
                ts_event=ts_event,
                trade_id=first,
                trade_id_last=last,
                sequence=sequence,
                trade_type=TradeType.AGGREGATE if aggregate else TradeType.PLAIN,
            )
        reader.report()
        reader.finish()

    def _quote(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Add the bookTicker: it carries the update id at which it held, and on spot no time."""
        symbol = self._seen(frame, message["s"])
        reader = self.reader(out, symbol, "quote")
        sequence, ts_event = whole(message["u"], "u"), _time(message)
        (levels,) = reader.read([(message["b"], message["B"]), (message["a"], message["A"])])
        bid, ask = levels
        if bid is not None and ask is not None:
            best = [level if level[1] else (INT64_MIN, 0) for level in (bid, ask)]
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _reply(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Add SUBSCRIBED for each stream of an acknowledged request, ERROR for a refused one."""
        error = message.get("error") or (message if "code" in message else None)
        streams = self._sent.get(frame.connection, {}).pop(message.get("id"), [])
        if error is not None:
            details = {"error": error.get("msg"), "code": error.get("code"), "streams": streams or None}
            self.say(out, StatusCode.ERROR, details)
            return
        for stream in streams:
            symbol, at, channel = stream.partition("@")
            if at and symbol and not symbol.startswith("!"):
                self.say(out, StatusCode.SUBSCRIBED, {"channel": channel}, symbol.upper())

    def _seen(self, frame: Frame, symbol: Any) -> Any:
        """Return `symbol`, noting it as the connection's only one as long as that is so."""
        if self._symbols.setdefault(frame.connection, symbol) != symbol:
            self._symbols[frame.connection] = None
        return symbol

    def _snapshot_of(self, frame: Frame, stream: str) -> tuple[str, int]:
        """Return the symbol of a depth snapshot and its limit (0: not said).

        Raises
        ------
        DecodeError
            When neither stream, address nor connection names one symbol.
        """
        if stream:
            symbol, _, channel = stream.partition("@")
            levels = channel.partition("@")[0].removeprefix("depth")
            return symbol.upper(), whole(levels, "depth")
        query = parse_qs(urlsplit(frame.address).query)
        if "symbol" in query:
            return query["symbol"][0].upper(), whole(query.get("limit", ["100"])[0], "limit")
        parts = frame.address.split(":")
        if len(parts) == 3 and parts[1] == self.venue:
            return parts[2].upper(), 0
        only = self._symbols.get(frame.connection)
        if only is None:
            raise DecodeError(
                "a depth snapshot names no symbol",
                path=frame.address[:200] or None,
                hint="its address or the connection's only symbol must say whose it is",
            )
        return only, 0


def _is_cut(count: int, limit: int) -> bool:
    """Return whether a side of `count` levels may go on beyond its last one."""
    return count >= limit if limit else count in LIMITS or (count > 0 and count % 100 == 0)


def _time(message: dict[str, Any]) -> int:
    return stamp_ns(message["E"], "E") if "E" in message else 0


def tick_and_lot(entry: dict[str, Any]) -> tuple[str, str]:
    """Return price tick and lot of a list entry's filters, empty where it has none."""
    filters = {item["filterType"]: item for item in entry.get("filters", [])}
    tick = filters.get("PRICE_FILTER", {}).get("tickSize", "")
    return tick, filters.get("LOT_SIZE", {}).get("stepSize", "")


class BinanceUsAdapter(BinanceAdapter):
    """Frames of ``stream.binance.us`` and of its ``/api/v3``."""

    venue = "binance-us"
