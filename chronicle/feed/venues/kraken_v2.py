"""Kraken spot, WebSocket v2, whose messages are maps: book with CRC32, trade, ticker.

Source: docs.kraken.com/exchange (WebSocket v2: book, trade, ticker, status; book checksum). The checksum is that of
v1, in snapshots too; numbers are JSON numbers that carry the wire's fixed decimals and are read by their text.
Symbols are written BTC/USD. A book is as deep as subscribed, and what falls out of it is cut by the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import CheckRule, Origin, Side, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.book_events import add_changes
from chronicle.feed.venues.levels import LevelReader, known, wire_decimals
from chronicle.feed.venues.messages import FreshTrades, read_trades, whole

__all__ = ["KrakenV2", "is_v2"]

_AGGRESSOR: Final = {"buy": Side.BID, "sell": Side.ASK}
_CODES: Final = {"subscribe": StatusCode.SUBSCRIBED, "unsubscribe": StatusCode.UNSUBSCRIBED}
_IGNORED: Final = ("heartbeat", "ohlc", "instrument")

MakeReader = Callable[[EventBuilder, Any, str], LevelReader]
Say = Callable[..., None]
TakeEach = Callable[..., None]


def is_v2(message: dict[str, Any]) -> bool:
    """Whether a map is of v2: v1 names events, v2 channels and methods."""
    return "channel" in message or "method" in message


class KrakenV2:
    """Translates v2 messages for the Kraken adapter, whose reader and statuses it uses."""

    def __init__(self, registry: InstrumentRegistry, reader: MakeReader, say: Say, each: TakeEach) -> None:
        self._registry = registry
        self._reader = reader
        self._say = say
        self._each = each
        self._trades_seen = FreshTrades()

    def take(self, frame: Frame, out: EventBuilder, message: dict[str, Any]) -> None:
        """Add the records of one message."""
        if "method" in message:
            self._reply(out, message)
            return
        channel = message["channel"]
        if channel == "book":
            self._each(frame, out, message["data"], lambda book: self._book(out, message["type"], book))
        elif channel == "trade":
            self._trades(frame, out, message["data"], again=message["type"] == "snapshot")
        elif channel == "ticker":
            self._each(frame, out, message["data"], lambda ticker: self._quote(out, ticker))
        elif channel == "status":
            for status in message["data"]:
                details = {"status": status.get("system"), "version": status.get("api_version")}
                self._say(out, StatusCode.VENUE, details)
        elif channel not in _IGNORED:
            raise DecodeError("a Kraken message is of no known channel", found=str(channel)[:80])

    def _reply(self, out: EventBuilder, message: dict[str, Any]) -> None:
        method = message["method"]
        if method == "pong":
            return
        if message.get("success") is not True or method not in _CODES:
            details = {"error": str(message.get("error"))[:500], "pair": message.get("symbol"), "method": str(method)}
            self._say(out, StatusCode.ERROR, details)
            return
        result = message["result"]
        symbol, depth = result["symbol"], result.get("depth")
        if depth is not None and method == "subscribe" and type(symbol) is str:
            self._registry.use(out, "kraken", symbol, book_depth=whole(depth, "depth"))
        self._say(out, _CODES[method], {"channel": result["channel"], "depth": depth}, symbol)

    def _book(self, out: EventBuilder, kind: Any, book: dict[str, Any]) -> None:
        if kind not in ("snapshot", "update"):
            raise DecodeError("a Kraken book has no known type", expected="snapshot or update", found=str(kind)[:80])
        symbol = book["symbol"]
        reader = self._reader(out, symbol, "book")
        ts_event = parse_time(book["timestamp"]) if book.get("timestamp") else 0
        expected = whole(book["checksum"], "checksum") if "checksum" in book else None
        rows = [[_texts(level["price"], level["qty"]) for level in book[side]] for side in ("bids", "asks")]
        current = self._registry.current("kraken", symbol)
        before = (current.check_price_decimals, current.check_size_decimals) if current else None
        written = [row for side in rows for row in side if "." in row[1]]  # a level to delete may say 0
        decimals = wire_decimals(written, before if kind == "update" else None) if written else before
        bids, asks = reader.read(*rows, check_decimals=decimals)
        number = reader.instrument.number
        if kind == "snapshot":
            out.snapshot(number, SnapshotFields(known(bids), known(asks), Origin.VENUE), ts_event=ts_event)
        else:
            add_changes(out, number, bids, asks, ts_event=ts_event)
        reader.report()
        if expected is not None:
            out.check(number, CheckRule.KRAKEN_V1, expected, ts_event=ts_event)
        reader.finish()

    def _trades(self, frame: Frame, out: EventBuilder, rows: list[dict[str, Any]], *, again: bool) -> None:
        """Add trades, pair by pair; of the last ones that come with a subscription (`again`) what is new."""
        by_symbol: dict[Any, list[dict[str, Any]]] = {}
        for row in rows:
            by_symbol.setdefault(row["symbol"], []).append(row)
        self._each(frame, out, by_symbol.items(), lambda part: self._pair_trades(frame, out, *part, again=again))

    def _pair_trades(
        self, frame: Frame, out: EventBuilder, symbol: Any, trades: list[dict[str, Any]], *, again: bool
    ) -> None:
        reader = self._reader(out, symbol, "trade")
        (levels,) = reader.read([_texts(trade["price"], trade["qty"]) for trade in trades])
        for level, (side, ts_event, number) in read_trades(reader, trades, levels, _trade):
            if again and self._trades_seen.is_old(frame.connection, symbol, number):
                continue
            self._trades_seen.note(frame.connection, symbol, number)
            out.trade(
                *(reader.instrument.number, side, *level),
                ts_event=ts_event,
                trade_id=number,
                trade_id_last=number,
            )
        reader.report()
        reader.finish()

    def _quote(self, out: EventBuilder, ticker: dict[str, Any]) -> None:
        reader = self._reader(out, ticker["symbol"], "quote")
        ts_event = parse_time(ticker["timestamp"]) if ticker.get("timestamp") else 0
        rows = [_texts(ticker[side], ticker[f"{side}_qty"]) for side in ("bid", "ask")]
        (levels,) = reader.read(rows)
        if levels[0] is not None and levels[1] is not None:
            out.quote(reader.instrument.number, *levels[0], *levels[1], ts_event=ts_event)
        reader.report()
        reader.finish()


def _trade(trade: Any) -> tuple[Side, int, int]:
    """Return side of the taker, time and id of a trade."""
    return _AGGRESSOR[trade["side"]], parse_time(trade["timestamp"]), whole(trade["trade_id"], "trade_id")


def _texts(*values: Any) -> list[Any]:
    """Return numbers as the wire wrote them, zeros at their ends too: the checksum counts them."""
    return [str(value) if type(value) is int else value for value in values]
