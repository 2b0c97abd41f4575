"""Kraken spot, WebSocket v1: book with CRC32, trade, ticker, spread; REST AssetPairs. For v2 see `kraken_v2`.

Sources: docs.kraken.com/api/docs/guides/spot-ws-book-v1 (levels, republished levels, checksum) and
docs.kraken.com/api/docs/websocket-v1 (trade, ticker, spread, events).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import CheckRule, Origin, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import decimal_seconds_ns
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry, Listing, VenueRules
from chronicle.feed.symbology import from_venue
from chronicle.feed.venues import shapes
from chronicle.feed.venues.kraken_v2 import KrakenV2, is_v2
from chronicle.feed.venues.levels import LevelReader, add_deltas, known, wire_decimals
from chronicle.feed.venues.messages import UNREADABLE, MessageAdapter, json_value, whole

__all__ = ["KrakenAdapter"]

_AGGRESSOR: Final = {"b": Side.BID, "s": Side.ASK}
_MICROSECOND_CHARS: Final = 17
"""Length of ``1618678142.557535``, as Kraken writes times."""


class KrakenAdapter(MessageAdapter):
    """Frames of ``wss://ws.kraken.com`` (v1 and v2) and of ``/0/public/AssetPairs``."""

    venue = "kraken"
    rules = VenueRules(check_rule=CheckRule.KRAKEN_V1)
    shapes = shapes.KRAKEN

    def __init__(self, registry: InstrumentRegistry) -> None:
        super().__init__(registry)
        self._v2 = KrakenV2(registry, self.reader, self.say, self.take_each)

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate a channel message (a list) or an event (a map)."""
        message = json_value(frame.payload, exact=frame.payload[:1] == b"{")
        if type(message) is dict:
            if is_v2(message):
                self._v2.take(frame, out, message)
            else:
                self._event(message, out)
            return
        if type(message) is not list or len(message) < 4 or type(message[-2]) is not str:
            raise DecodeError("a Kraken message is neither an event nor of a channel", found=repr(message)[:120])
        channel, pair, payload = message[-2], message[-1], message[1:-2]
        if channel.startswith("book-"):
            self._book(out, pair, whole(channel[5:], "depth"), payload)
        elif channel == "trade":
            self._trades(out, pair, payload[0])
        elif channel == "ticker":
            ticker = payload[0]
            bid, ask = ticker["b"], ticker["a"]
            self._quote(out, pair, [bid[0], bid[2]], [ask[0], ask[2]], 0)
        elif channel == "spread":
            bid_price, ask_price, time, bid_size, ask_size = payload[0][:5]
            self._quote(out, pair, [bid_price, bid_size], [ask_price, ask_size], _seconds_ns(time))

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the list of pairs."""
        if "/0/public/AssetPairs" not in frame.address:
            return
        answer = json_value(frame.payload)
        if answer["error"]:
            out.status(StatusCode.ERROR, {"address": frame.address, "error": str(answer["error"])[:500]})
            return
        listings = [_listing(entry) for entry in answer["result"].values() if entry.get("wsname")]
        self.registry.learn(self.venue, [*listings, *map(_as_v2, listings)])

    def _event(self, message: dict[str, Any], out: EventBuilder) -> None:
        event = message["event"]
        if event == "systemStatus":
            self.say(out, StatusCode.VENUE, {"status": message.get("status"), "version": message.get("version")})
        elif event == "subscriptionStatus":
            self._subscription(message, out)
        elif event == "error":
            self.say(out, StatusCode.ERROR, {"error": message.get("errorMessage")})
        elif event not in ("heartbeat", "pong"):
            self.say(out, StatusCode.VENUE, {"event": str(event)[:80]})

    def _subscription(self, message: dict[str, Any], out: EventBuilder) -> None:
        status, pair, subscription = message["status"], message.get("pair"), message.get("subscription") or {}
        if status == "error":
            details = {
                "error": message.get("errorMessage"),
                "pair": pair,
                "channel": subscription.get("name"),
            }
            self.say(out, StatusCode.ERROR, details)
            return
        depth = None
        if subscription.get("name") == "book":
            depth = whole(subscription.get("depth") or message["channelName"].removeprefix("book-"), "depth")
        if depth is not None and type(pair) is str and status == "subscribed":
            self.registry.use(out, self.venue, pair, book_depth=depth)
        code = StatusCode.UNSUBSCRIBED if status == "unsubscribed" else StatusCode.SUBSCRIBED
        details = {
            "channel": message.get("channelName"),
            "venue_channel_id": message.get("channelID"),
            "depth": depth,
        }
        self.say(out, code, details, pair)

    def _book(self, out: EventBuilder, pair: Any, depth: int, payload: list[dict[str, Any]]) -> None:
        """Add the records of a book message: one dict, or two (asks, then bids) with the checksum in the last."""
        reader = self.reader(out, pair, "book")
        first = payload[0]
        if "as" in first or "bs" in first:
            asks, bids = first.get("as", []), first.get("bs", [])
            levels = reader.read(asks, bids, book_depth=depth, check_decimals=wire_decimals(asks or bids, None))
            fields = SnapshotFields(known(levels[1]), known(levels[0]), Origin.VENUE)
            out.snapshot(reader.instrument.number, fields, ts_event=_newest_ns(reader, asks, bids))
            reader.report()
            reader.finish()
            return
        sides = [(key, part[key]) for part in payload for key in ("a", "b") if key in part]
        if not sides:
            raise DecodeError("a Kraken book message has no side", found=repr(first)[:120])
        checks = [int(_digits(part["c"])) for part in payload if "c" in part]
        known_now = self.registry.current(self.venue, pair)
        rows = [row for _, row in sides]
        before = (known_now.check_price_decimals, known_now.check_size_decimals) if known_now else None
        decimals = wire_decimals(rows[0] or rows[-1], before)
        levels = reader.read(*rows, book_depth=depth, check_decimals=decimals)
        ts_event = _newest_ns(reader, *rows)
        number = reader.instrument.number
        for (key, _), side_levels in zip(sides, levels, strict=True):
            add_deltas(out, number, Side.ASK if key == "a" else Side.BID, side_levels, ts_event=ts_event)
        reader.report()
        for expected in checks[-1:]:
            out.check(number, CheckRule.KRAKEN_V1, expected, ts_event=ts_event)
        reader.finish()

    def _trades(self, out: EventBuilder, pair: Any, rows: list[Any]) -> None:
        reader = self.reader(out, pair, "trade")
        (levels,) = reader.read(rows)
        found = []
        for row, level in zip(rows, levels, strict=True):
            try:
                if level is not None:
                    found.append((_AGGRESSOR[row[3]], level, _seconds_ns(row[2])))
            except UNREADABLE as error:
                reader.problem(f"trade {row!r}: {error}")
        reader.report()
        for side, (price, size), ts_event in found:
            out.trade(reader.instrument.number, side, price, size, ts_event=ts_event)
        reader.finish()

    def _quote(self, out: EventBuilder, pair: Any, bid: list[Any], ask: list[Any], ts_event: int) -> None:
        reader = self.reader(out, pair, "quote")
        (levels,) = reader.read([bid, ask])
        reader.report()
        if levels[0] is not None and levels[1] is not None:
            out.quote(reader.instrument.number, *levels[0], *levels[1], ts_event=ts_event)
        reader.finish()


def _listing(entry: dict[str, Any]) -> Listing:
    """Return what AssetPairs says of one pair; its tick may be coarser than the wire's decimals."""
    name = entry["wsname"]
    tick = entry.get("tick_size") or _unit(whole(entry["pair_decimals"], "pair_decimals"))
    extras: dict[str, Any] = {key: str(entry[key]) for key in ("altname", "ordermin", "costmin") if key in entry}
    return Listing(
        name, from_venue("kraken", name), tick, _unit(whole(entry["lot_decimals"], "lot_decimals")), extras
    )


def _as_v2(listing: Listing) -> Listing:
    """Return the same pair under the name that v2 writes: BTC/USD where v1 has XBT/USD."""
    return replace(listing, venue_symbol=f"{listing.symbol.base}/{listing.symbol.quote}")


def _unit(places: int) -> str:
    if not 0 <= places <= 18:
        raise DecodeError("a list entry has impossible decimals", expected="0 to 18", found=places)
    return "0." + "1".rjust(places, "0") if places else "1"


def _digits(text: Any) -> str:
    if type(text) is str and text.isascii() and text.isdigit() and len(text) <= 10:
        return text
    raise DecodeError("a Kraken checksum is no unsigned 32-bit number", found=repr(text)[:80])


def _seconds_ns(text: Any) -> int:
    """Return ns of decimal seconds, exactly; Kraken writes six decimals."""
    if len(text) == _MICROSECOND_CHARS and text[10] == ".":
        digits = text[:10] + text[11:]
        if digits.isdigit() and digits.isascii():
            return int(digits) * 1_000
    return decimal_seconds_ns(text)


def _newest_ns(reader: LevelReader, *sides: list[Any]) -> int:
    """Return the newest time among the levels, 0 when none has one."""
    newest = 0
    for rows in sides:
        for row in rows:
            try:
                newest = max(newest, _seconds_ns(row[2]))
            except UNREADABLE as error:
                reader.problem(f"level {row!r}: {error}")
    return newest
