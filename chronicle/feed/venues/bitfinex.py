"""Bitfinex WebSocket v2: book (aggregated), trades.

Source: docs.bitfinex.com (WebSocket, "Books", "Trades", "Ticker", "Configuration"). A message names its channel by a
number that the reply to the subscription gave. With the flag for sequences (65536) the messages of a connection are
counted, heartbeats too; with that for times (32768) they end in a time. Amounts are negative for asks and for sells.
A raw book
(``R0``) and the book checksum (flag 131072) are not read. A ticker gives no QUOTE: its sizes are sums of 25 levels.

A book is as deep as subscribed. What falls out of it is removed by a message of its own, before or after the one that
made it fall: nothing may be cut here, and a full side is known to its last level only.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, SequenceRule, Side, StatusCode
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Listing, VenueRules
from chronicle.feed.symbology import from_venue
from chronicle.feed.venues.book_events import add_changes, cut_snapshot
from chronicle.feed.venues.levels import known
from chronicle.feed.venues.messages import (
    UNREADABLE,
    ConnectionCount,
    FreshTrades,
    MessageAdapter,
    json_value,
    numbers_as_text,
    stamp_ns,
    whole,
)

__all__ = ["BitfinexAdapter"]

FLAG_TIMES: Final = 32768
FLAG_SEQUENCES: Final = 65536
_CHANNELS_MAX: Final = 4096
"""Bound on the channels of a connection; the venue allows 30."""


class BitfinexAdapter(MessageAdapter):
    """Frames of ``api-pub.bitfinex.com/ws/2`` and of its lists of pairs."""

    venue = "bitfinex"
    rules = VenueRules(sequence_rule=SequenceRule.CONNECTION)

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self._channels: dict[int, dict[int, dict[str, Any]]] = {}
        """Per connection: the replies to its subscriptions by channel number."""
        self._flags: dict[int, int] = {}
        self._count = ConnectionCount()
        self._trades_seen = FreshTrades()

    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate an event (a map) or a channel's message (a list)."""
        message = json_value(frame.payload, exact=True)
        if type(message) is dict:
            self._event(frame, out, message)
            return
        sequence, ts_event = NONE, 0
        flags = self._flags.get(frame.connection, 0)
        if flags & FLAG_TIMES:
            ts_event = stamp_ns(message.pop(), "time")
        if flags & FLAG_SEQUENCES:
            sequence = whole(message.pop(), "sequence")
            self._count.take(out, frame.connection, sequence)
        if message[1] in ("hb", "cs", "tu"):  # alive, a checksum, the trade that "te" told
            return
        channel = self._channels.get(frame.connection, {}).get(message[0])
        if channel is None:
            raise DecodeError("a Bitfinex message is of no subscribed channel", found=repr(message)[:120])
        kind, symbol = channel["channel"], channel["symbol"]
        if kind == "book":
            self._book(out, channel, message[1], ts_event, sequence)
        elif kind == "trades":
            again = type(message[1]) is list
            self._trades(frame, out, symbol, message[1][::-1] if again else [message[2]], sequence, again=again)
        elif kind not in ("ticker", "candles", "status"):
            raise DecodeError("a Bitfinex message is of no known channel", found=str(kind)[:80])

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Keep the lists of pairs: they give names only, decimals are those of the wire."""
        _, mark, name = urlsplit(frame.address).path.rpartition("/conf/")
        if mark and name.startswith("pub:list:pair:"):
            (names,) = json_value(frame.payload)
            symbols = [f"t{name}" for name in names if type(name) is str]
            self.registry.learn(self.venue, [Listing(name, from_venue(self.venue, name)) for name in symbols])

    def on_connection(self, frame: Frame) -> None:
        """Forget channels, flags and the count."""
        self._channels.pop(frame.connection, None)
        self._flags.pop(frame.connection, None)
        self._count.forget(frame.connection)

    def _event(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        event = message["event"]
        channels = self._channels.setdefault(frame.connection, {})
        if event == "subscribed":
            number, symbol = whole(message["chanId"], "chanId"), message.get("symbol", "")
            if type(symbol) is not str or len(channels) >= _CHANNELS_MAX:
                raise DecodeError("a Bitfinex subscription cannot be kept", found=repr(message)[:120])
            channels[number] = {"symbol": symbol, **message}
            self.say(out, StatusCode.SUBSCRIBED, {"channel": message["channel"]}, symbol)
        elif event == "unsubscribed":
            channel = channels.pop(whole(message["chanId"], "chanId"), None) or {}
            self.say(out, StatusCode.UNSUBSCRIBED, {"channel": channel.get("channel")}, channel.get("symbol"))
        elif event == "conf":
            self._flags[frame.connection] = whole(message["flags"], "flags") if message.get("status") == "OK" else 0
        elif event == "error":
            details = {"error": str(message.get("msg"))[:500], "code": message.get("code")}
            self.say(out, StatusCode.ERROR, details, None)
        elif event != "pong":
            platform = message.get("platform")
            status = platform.get("status") if type(platform) is dict else None
            details = {"event": str(event)[:80], "code": message.get("code"), "status": status}
            self.say(out, StatusCode.VENUE, details)

    def _book(self, out: EventBuilder, channel: dict[str, Any], payload: Any, ts_event: int, sequence: int) -> None:
        """Add all rows as a snapshot, or one as a change; a row is price, count (0 deletes), amount."""
        reader = self.reader(out, channel["symbol"], "book")
        if str(channel.get("prec")) == "R0":
            raise DecodeError("a raw Bitfinex book is not read", hint="subscribe with prec P0")
        depth = whole(channel.get("len", "25"), "len")
        snapshot = not payload or type(payload[0]) is list
        sides: dict[Side, list[list[str]]] = {Side.BID: [], Side.ASK: []}
        for row in payload if snapshot else [payload]:
            price, amount = numbers_as_text(row[0], row[2])
            size = "0" if row[1] == 0 else amount.removeprefix("-")
            sides[Side.ASK if amount.startswith("-") else Side.BID].append([price, size])
        bids, asks = reader.read(sides[Side.BID], sides[Side.ASK])
        number = reader.instrument.number
        if snapshot:
            held = known(bids), known(asks)
            full = [len(side) >= depth for side in held]
            fields = cut_snapshot(*held, bids_cut=full[0], asks_cut=full[1])
            out.snapshot(number, fields, ts_event=ts_event, sequence=sequence)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event, sequence=sequence)
        reader.report()
        reader.finish()

    def _trades(
        self, frame: Frame, out: EventBuilder, symbol: str, rows: list[Any], sequence: int, *, again: bool
    ) -> None:
        """Add trades, the oldest first: id, time, amount (the taker's sign), price."""
        reader = self.reader(out, symbol, "trade")
        texts = [numbers_as_text(row[3], row[2]) for row in rows]
        (levels,) = reader.read([(price, amount.removeprefix("-")) for price, amount in texts])
        for row, (_, amount), level in zip(rows, texts, levels, strict=True):
            try:
                trade_id, ts_event = whole(row[0], "id"), stamp_ns(row[1], "time")
            except UNREADABLE as error:
                reader.problem(f"trade {row!r}: {error}")
                continue
            if level is None or (again and self._trades_seen.is_old(frame.connection, symbol, trade_id)):
                continue
            self._trades_seen.note(frame.connection, symbol, trade_id)
            out.trade(
                *(reader.instrument.number, Side.ASK if amount.startswith("-") else Side.BID, *level),
                ts_event=ts_event,
                trade_id=trade_id,
                trade_id_last=trade_id,
                sequence=sequence,
            )
        reader.report()
        reader.finish()
