"""OKX (formerly OKEX) API v5: books, tick-by-tick books, top of book, trades, tickers; REST public/instruments.

Source: www.okx.com/docs-v5 (order book channel, checksum, sequence ids). A channel's book is 400 levels deep (50 for
``books50-l2-tbt``). The venue itself sends the removal of what falls out of that window, so that a book never exceeds
it after a whole message (in the captures of 2021 and 2022 every checksum holds with and without a cut); within one
message it may, so nothing may be cut before the message's last level. Since June 2026 the production field
``checksum`` is a constant 0: that is no checksum, and no CHECK record comes of it.
"""

from __future__ import annotations

from typing import Any, Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import (
    INT64_MIN,
    NONE,
    CheckRule,
    Origin,
    SequenceRule,
    Side,
    StatusCode,
    TradeType,
)
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues import shapes
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import Level, known
from chronicle.feed.venues.messages import MessageAdapter, json_value, read_trades, stamp_ns, whole

__all__ = ["OkxAdapter"]

BOOK_DEPTHS: Final = {"books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50}
"""Channels that send a snapshot and then changes."""
TOP_DEPTHS: Final = {"books5": 5, "bbo-tbt": 1}
"""Channels that send their few levels whole each time."""

_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_KINDS: Final = {
    "SPOT": "spot",
    "MARGIN": "spot",
    "SWAP": "perpetual",
    "FUTURES": "future",
    "OPTION": "option",
}
_EXTRAS: Final = ("ctVal", "ctMult", "ctType", "ctValCcy", "settleCcy", "expTime", "stk", "optType", "minSz")
_EMPTY: Final[Level] = (INT64_MIN, 0)


class OkxAdapter(MessageAdapter):
    """Frames of ``/ws/v5/public`` and of ``/api/v5/public/instruments``."""

    venue = "okx"
    rules = VenueRules(check_rule=CheckRule.OKX_V5, sequence_rule=SequenceRule.OKX_V5)
    shapes = shapes.OKX

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a push of a channel, or an event."""
        if frame.payload == b"pong":
            return
        message = json_value(frame.payload)
        if "event" in message:
            self._event(message, out)
            return
        arg, data = message["arg"], message["data"]
        channel, symbol = arg["channel"], arg.get("instId")
        if channel in BOOK_DEPTHS:
            for entry in data:
                self._book(out, symbol, BOOK_DEPTHS[channel], message["action"], entry)
        elif channel in TOP_DEPTHS:
            for entry in data:
                self._top(out, symbol, TOP_DEPTHS[channel], entry)
        elif channel in ("trades", "trades-all"):
            self._trades(out, symbol, data)
        elif channel == "tickers":
            for entry in data:
                self._quote(
                    *(out, symbol, [entry["bidPx"], entry["bidSz"]], [entry["askPx"], entry["askSz"]]),
                    stamp_ns(entry["ts"], "ts"),
                )
        elif type(channel) is not str:
            raise DecodeError("an OKX message names no channel", found=repr(arg)[:120])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the instrument lists."""
        if "/api/v5/public/instruments" not in frame.address:
            return
        answer = json_value(frame.payload)
        if answer["code"] != "0":
            details = {
                "address": frame.address,
                "error": str(answer.get("msg"))[:500],
                "code": str(answer["code"]),
            }
            out.status(StatusCode.ERROR, details)
            return
        self.registry.learn(self.venue, [entry for row in answer["data"] if (entry := _listing(row))])

    def _event(self, message: dict[str, Any], out: EventBuilder) -> None:
        event, arg = message["event"], message.get("arg") or {}
        channel, symbol = arg.get("channel"), arg.get("instId")
        if event == "subscribe":
            depth = BOOK_DEPTHS.get(channel) if type(channel) is str else None
            if depth is not None and type(symbol) is str:
                self.registry.use(out, self.venue, symbol, book_depth=depth)
            self.say(out, StatusCode.SUBSCRIBED, {"channel": channel}, symbol)
        elif event == "unsubscribe":
            self.say(out, StatusCode.UNSUBSCRIBED, {"channel": channel}, symbol)
        elif event == "error":
            details = {
                "error": message.get("msg"),
                "code": message.get("code"),
                "channel": channel,
                "symbol": symbol,
            }
            self.say(out, StatusCode.ERROR, details)
        else:
            self.say(out, StatusCode.VENUE, {"event": str(event)[:80], "code": message.get("code")})

    def _book(self, out: EventBuilder, symbol: Any, depth: int, action: Any, entry: dict[str, Any]) -> None:
        """Add the records of a snapshot or of an update, and the checksum of the book after it."""
        reader = self.reader(out, symbol, "book")
        ts_event = stamp_ns(entry["ts"], "ts")
        sequence = whole(entry["seqId"], "seqId") if "seqId" in entry else NONE
        previous = whole(entry["prevSeqId"], "prevSeqId") if "prevSeqId" in entry else NONE
        expected = whole(entry["checksum"], "checksum") if entry.get("checksum") else 0
        if action not in ("snapshot", "update"):
            raise DecodeError("an OKX book message has no known action", expected="snapshot or update", found=action)
        bids, asks = reader.read(entry["bids"], entry["asks"], book_depth=depth)
        number = reader.instrument.number
        if action == "snapshot":
            fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            numbers = {"ts_event": ts_event, "sequence": sequence, "sequence_previous": previous}
            add_changes(out, number, bids, asks, keep_chain=sequence != previous, **numbers)
        reader.report()
        if expected:
            out.check(number, CheckRule.OKX_V5, expected, ts_event=ts_event, sequence=sequence)
        reader.finish()

    def _top(self, out: EventBuilder, symbol: Any, depth: int, entry: dict[str, Any]) -> None:
        """Add a whole few-level book: a snapshot where nothing deeper feeds the book, else its best levels."""
        instrument = self.registry.current(self.venue, symbol) if type(symbol) is str else None
        ts_event = stamp_ns(entry["ts"], "ts")
        sequence = whole(entry["seqId"], "seqId") if "seqId" in entry else NONE
        if depth == 1 or (instrument is not None and instrument.book_depth > depth):
            best = [(entry[side] or [["", ""]])[0] for side in ("bids", "asks")]
            self._quote(out, symbol, best[0], best[1], ts_event, sequence)
            return
        reader = self.reader(out, symbol, "book")
        bids, asks = reader.read(entry["bids"], entry["asks"], book_depth=depth)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trades(self, out: EventBuilder, symbol: Any, data: list[dict[str, Any]]) -> None:
        reader = self.reader(out, symbol, "trade")
        (levels,) = reader.read([(entry["px"], entry["sz"]) for entry in data])
        found = read_trades(reader, data, levels, _trade_fields)
        for (price, size), (side, ts_event, trade_id, sequence, trade_type) in found:
            out.trade(
                *(reader.instrument.number, side, price, size),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
                trade_type=trade_type,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, symbol: Any, bid: Any, ask: Any, ts_event: int, sequence: int = NONE) -> None:
        """Add a QUOTE; OKX writes a side without a level as empty texts."""
        reader = self.reader(out, symbol, "quote")
        sides = [[] if row[0] == "" else [row] for row in (bid, ask)]
        levels = reader.read(*sides)
        best = [_EMPTY if not side else side[0] for side in levels]
        if best[0] is not None and best[1] is not None:
            out.quote(reader.instrument.number, *best[0], *best[1], ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()


def _trade_fields(entry: dict[str, Any]) -> tuple[Side, int, int, int, TradeType]:
    """Return aggressor, ts_event, trade id, sequence and type. An aggregate names its last fill only."""
    count = whole(entry["count"], "count") if "count" in entry else 1
    return (
        _AGGRESSOR[entry["side"]],
        stamp_ns(entry["ts"], "ts"),
        whole(entry["tradeId"], "tradeId"),
        whole(entry["seqId"], "seqId") if "seqId" in entry else NONE,
        TradeType.AGGREGATE if count > 1 else TradeType.PLAIN,
    )


def _listing(entry: dict[str, Any]) -> Listing | None:
    """Return what the list says of one instrument; None for types that have no book here."""
    kind = _KINDS.get(entry["instType"])
    name = entry["instId"]
    if kind is None:
        return None
    if kind == "spot":
        symbol = Symbol("okx", entry["baseCcy"], entry["quoteCcy"])
    else:
        base, quote, *rest = name.split("-")
        expiry, strike, right = (*rest, "", "", "")[:3] if kind != "perpetual" else ("", "", "")
        symbol = Symbol("okx", base, quote, kind, expiry, strike, right)
    extras = {key: entry[key] for key in _EXTRAS if type(entry.get(key)) is str and entry[key]}
    return Listing(name, symbol, entry["tickSz"], entry["lotSz"], extras)
