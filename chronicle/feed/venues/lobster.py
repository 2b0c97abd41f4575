"""LOBSTER (NASDAQ): a message row and the order book row after it, as one frame.

Source: lobsterdata.com/info/DataStructure.php. A frame's payload is ``message row LF order book row``, its address
``lobster:SYMBOL:DATE:LEVELS``, its ts_recv the message's own time. The book is driven by the difference between
consecutive order book rows, so that levels which come into the window or fall out of it are exact too; what happened
to the order is kept beside it as an ORDER record.
"""

from __future__ import annotations

from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, Action, Origin, Side, StatusCode, TradeType, WireForm
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry, VenueRules
from chronicle.feed.venues.messages import UNREADABLE, excerpt

__all__ = ["LobsterAdapter"]

PRICE_EXPONENT: Final = 4
"""Prices are dollars times 10,000."""
LEVELS_MAX: Final = 10_000
NO_ASK: Final = "9999999999"
NO_BID: Final = "-9999999999"

SUBMISSION, PARTIAL_CANCEL, DELETION, EXECUTION, HIDDEN_EXECUTION, CROSS, HALT = 1, 2, 3, 4, 5, 6, 7
_ACTIONS: Final = {
    SUBMISSION: Action.ADD,
    PARTIAL_CANCEL: Action.CANCEL,
    DELETION: Action.CANCEL,
    EXECUTION: Action.FILL,
    HIDDEN_EXECUTION: Action.TRADE,
    CROSS: Action.TRADE,
}
_RESTING: Final = {1: Side.BID, -1: Side.ASK}
_AGGRESSOR: Final = {Side.BID: Side.ASK, Side.ASK: Side.BID, Side.NONE: Side.NONE}
_HALTS: Final = {
    -1: (StatusCode.HALTED, "halted"),
    0: (StatusCode.VENUE, "quoting"),
    1: (StatusCode.RESUMED, "trading"),
}

_Side = dict[str, str]
"""Size text by price text."""


class LobsterAdapter:
    """Rows of LOBSTER's message and order book files."""

    venue = "nasdaq"

    def __init__(self, registry: InstrumentRegistry) -> None:
        self.registry = registry
        registry.set_rules(self.venue, VenueRules(price_exponent=PRICE_EXPONENT))
        self._books: dict[str, tuple[str, _Side, _Side]] = {}
        """Per address: the last order book row, and its asks and bids."""

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of a pair of rows to `out`.

        Raises
        ------
        DecodeError
            When the rows cannot be read: `out` says so for the instrument, and the next good row, which is the
            whole book, comes as a snapshot.
        """
        if frame.form in (WireForm.CONNECTED, WireForm.DISCONNECTED):
            self._books.pop(frame.address, None)
            return
        if frame.form not in (WireForm.TEXT, WireForm.BINARY):
            return
        try:
            self._rows(frame, out)
        except UNREADABLE as error:
            self._books.pop(frame.address, None)
            wrapped = DecodeError(
                f"cannot read a pair of LOBSTER rows: {str(error)[:200]}",
                path=frame.address[:200],
                found=excerpt(frame.payload),
                hint="the next good row is taken as a snapshot",
            )
            self._mark(frame, out, wrapped)
            raise wrapped from error

    def _mark(self, frame: Frame, out: EventBuilder, error: DecodeError) -> None:
        """Tell the stream whose book misses a row, where the address names it."""
        try:
            symbol, levels = _subject(frame.address)
            number = self.registry.use(out, self.venue, symbol, book_depth=levels).number
            details = {"channel": "book", "problem": error.message, "count": 1}
            out.status(StatusCode.DECODE_ERROR, details, instrument=number)
        except UNREADABLE as unnamed:
            error.add_note(f"and its address is no LOBSTER address: {unnamed}")

    def _rows(self, frame: Frame, out: EventBuilder) -> None:
        symbol, levels = _subject(frame.address)
        message, _, row = frame.payload.decode("ascii").rstrip("\r\n").partition("\n")
        fields = message.rstrip("\r").split(",")
        kind, order_id, size, price, direction = [_integer(text) for text in fields[1:6]]
        if (kind not in _ACTIONS and kind != HALT) or order_id < 0 or size < 0:
            raise DecodeError("a LOBSTER message is of no known type", expected="1 to 7", found=message[:120])
        changes = self._changes(frame.address, row, levels)
        instrument = self.registry.current(self.venue, symbol)
        if instrument is None or instrument.book_depth != levels:
            instrument = self.registry.use(out, self.venue, symbol, book_depth=levels)
        number, ts_event = instrument.number, frame.ts_recv
        side = _RESTING.get(direction, Side.NONE)
        if kind == HALT:
            code, state = _HALTS.get(price, (StatusCode.VENUE, "unknown"))
            out.status(code, {"state": state, "price": price}, instrument=number, ts_event=ts_event)
        else:
            out.order(number, side, order_id, price, size, action=_ACTIONS[kind], ts_event=ts_event, code=kind)
        if isinstance(changes, SnapshotFields):
            out.snapshot(number, changes, ts_event=ts_event)
        else:
            for level_side, level_price, level_size in changes:
                out.delta(number, level_side, level_price, level_size, ts_event=ts_event)
        if kind in (EXECUTION, HIDDEN_EXECUTION, CROSS):
            trade_type = TradeType.HIDDEN if kind == HIDDEN_EXECUTION else TradeType.PLAIN
            out.trade(number, _AGGRESSOR[side], price, size, ts_event=ts_event, trade_type=trade_type)

    def _changes(self, address: str, row: str, levels: int) -> SnapshotFields | list[tuple[Side, int, int]]:
        """Return what turns the book before into `row`: removals first, so that it never exceeds its depth."""
        before = self._books.get(address)
        if before is not None and before[0] == row:
            return []
        texts = row.split(",")
        if len(texts) != 4 * levels:
            raise DecodeError("a LOBSTER order book row has a wrong length", expected=4 * levels, found=len(texts))
        asks, bids = (
            dict(zip(texts[0::4], texts[1::4], strict=True)),
            dict(zip(texts[2::4], texts[3::4], strict=True)),
        )
        asks.pop(NO_ASK, None)
        bids.pop(NO_BID, None)
        found: SnapshotFields | list[tuple[Side, int, int]]
        if before is None:
            found = SnapshotFields(_levels(bids), _levels(asks), Origin.VENUE)
        else:
            _, asks_before, bids_before = before
            found = [(Side.ASK, _integer(price), 0) for price in asks_before if price not in asks]
            found += [(Side.BID, _integer(price), 0) for price in bids_before if price not in bids]
            if asks != asks_before:
                found += _news(Side.ASK, asks_before, asks)
            if bids != bids_before:
                found += _news(Side.BID, bids_before, bids)
        self._books[address] = (row, asks, bids)
        return found


def _news(side: Side, before: _Side, after: _Side) -> list[tuple[Side, int, int]]:
    return [(side, _integer(price), _size(size)) for price, size in after.items() if before.get(price) != size]


def _levels(side: _Side) -> list[tuple[int, int]]:
    return [(_integer(price), _size(size)) for price, size in side.items()]


def _subject(address: str) -> tuple[str, int]:
    """Return symbol and levels of ``lobster:AMZN:2012-06-21:5``."""
    form, symbol, _, levels = address.split(":")
    count = _integer(levels)
    if form != "lobster" or not 0 < count <= LEVELS_MAX:
        raise DecodeError(
            "a LOBSTER frame has a foreign address",
            expected="lobster:SYMBOL:DATE:LEVELS",
            found=address[:120],
        )
    return symbol, count


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 19 and int(digits) <= INT64_MAX:
        return int(text)
    raise DecodeError("a LOBSTER field is no 64-bit integer", found=text[:80])


def _size(text: str) -> int:
    value = _integer(text)
    if value <= 0:
        raise DecodeError("a LOBSTER level has no size", found=text[:80])
    return value
