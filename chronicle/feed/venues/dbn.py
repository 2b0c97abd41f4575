"""Databento: DBN records (or MBO rows of its CSV form) of any venue it distributes.

Source: databento.com/docs/schemas-and-data-formats, github.com/databento/dbn. Frames are those of
:mod:`chronicle.feed.captures.dbn`. What becomes what:

- ``mbo``: an ORDER for each record, flags F_SNAPSHOT, F_BAD_TS_RECV and F_MAYBE_BAD_BOOK kept; a TRADE beside it for
  action T. The instrument's book is driven by ORDER. Databento numbers messages by channel and marks with
  F_MAYBE_BAD_BOOK what a lost one may have spoilt, so that the sequence rule is CONNECTION. An event in
  whose middle the file ends is marked so too: a part of it is no book.
- ``mbp-1`` and ``tbbo`` (the same record): a QUOTE, and a TRADE for action T. One level is a quote, not a book.
- ``mbp-10``: a venue BOOK_SNAPSHOT of ten levels for each record, and a TRADE for action T. Each row is the whole
  window, so that it needs nothing before it, and a lost one costs nothing. Where MBO of the instrument is in the same
  capture its book is the better one, and the row gives a QUOTE only.
- ``trades``: a TRADE. ``definition``: an INSTRUMENT with tick, type and expiry. ``status``: a STATUS.
- all others: a STATUS that names and counts them.
"""

from __future__ import annotations

from typing import Any, Final

from chronicle.core import decimals
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, INT64_MIN, Action, Kind, Origin, SequenceRule, Side, StatusCode, WireForm
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import dbn_format as dbn
from chronicle.feed.captures.dbn_csv import COLUMNS, time_of
from chronicle.feed.captures.dbn_package import read_definition
from chronicle.feed.instruments import InstrumentRegistry, Listing, VenueRules
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.messages import UNREADABLE, excerpt

__all__ = ["DbnAdapter"]

_ORDERS: Final = VenueRules(
    driver=Kind.ORDER, sequence_rule=SequenceRule.CONNECTION, price_exponent=dbn.PRICE_EXPONENT
)
_LEVELS: Final = VenueRules(price_exponent=dbn.PRICE_EXPONENT)
_LEVEL_COUNT: Final = 10
_SIDES: Final = {b"A": Side.ASK, b"B": Side.BID, b"N": Side.NONE}
_ACTIONS: Final = {bytes([action]): action for action in Action if action}
_KEPT_FLAGS: Final = dbn.FLAG_SNAPSHOT | dbn.FLAG_BAD_TS_RECV | dbn.FLAG_MAYBE_BAD_BOOK
_TYPES: Final = {
    "B": "bond",
    "C": "option",
    "F": "future",
    "K": "equity",
    "M": "spread",
    "P": "option",
    "S": "spread",
    "T": "spread",
    "X": "fx",
}
_STATUS_ACTIONS: Final = (
    *("none", "pre-open", "pre-cross", "quoting", "cross", "rotation", "new-price-indication", "trading", "halt"),
    *("pause", "suspend", "pre-close", "close", "post-close", "short-sell-restriction", "not-available"),
)
_STATUS_CODES: Final = {7: StatusCode.RESUMED, 8: StatusCode.HALTED, 9: StatusCode.HALTED, 10: StatusCode.HALTED}

_Order = tuple[int, int, int, int, int, int, int, int]
"""order id, price, size, flags, action, side, ts_event, sequence"""


class DbnAdapter:
    """Records of Databento; the venue is that of the frame's address."""

    venue = "dbn"

    def __init__(self, registry: InstrumentRegistry) -> None:
        self.registry = registry
        self._by_order: set[tuple[str, str]] = set()
        self._doubt = 0
        """Flags for the orders of the frame at hand."""

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of a frame to `out`.

        Raises
        ------
        DecodeError
            When a record cannot be read: `out` says so for the instrument, whose book is not to be trusted then.
        """
        if frame.form not in (WireForm.TEXT, WireForm.BINARY):
            return
        venue, name, raw = _subject(frame.address)
        self._doubt = dbn.FLAG_MAYBE_BAD_BOOK if frame.address.startswith(dbn.UNENDED) else 0
        try:
            if frame.form == WireForm.TEXT:
                for row in frame.payload.split(b"\n"):
                    self._order(out, venue, name, raw, _row(row))
            else:
                self._records(frame.payload, out, venue, name, raw)
        except UNREADABLE as error:
            message = f"cannot read a record of Databento: {str(error)[:200]}"
            number = self._use(out, venue, name, raw)
            details = {"channel": "book", "problem": message, "count": 1}
            out.status(StatusCode.DECODE_ERROR, details, instrument=number)
            raise DecodeError(message, path=frame.address[:200], found=excerpt(frame.payload)) from error

    def _records(self, payload: bytes, out: EventBuilder, venue: str, name: str, raw: str) -> None:
        at, skipped = 0, dict[str, int]()
        while at < len(payload):
            length, rtype = payload[at] * 4, payload[at + 1] if at + 1 < len(payload) else 0
            if length < dbn.HEADER_BYTES or at + length > len(payload):
                raise DecodeError("a DBN record has an impossible length", offset=at, found=length)
            record = payload[at : at + length]
            if rtype == dbn.MBO:
                self._order(out, venue, name, raw, _mbo(record))
            elif rtype in (dbn.TRADES, dbn.MBP_1, dbn.MBP_10):
                self._priced(out, venue, name, raw, record, rtype)
            elif rtype == dbn.DEFINITION:
                self._define(out, venue, name, raw, record)
            elif rtype == dbn.STATUS:
                self._status(out, venue, name, raw, record)
            else:
                schema = dbn.record_name(rtype)
                skipped[schema] = skipped.get(schema, 0) + 1
            at += length
        for schema, count in skipped.items():
            out.status(StatusCode.VENUE, {"skipped": schema, "count": count, "venue": venue})

    def _use(self, out: EventBuilder, venue: str, name: str, raw: str, rules: VenueRules | None = None) -> int:
        """Return the instrument's number; without `rules` it keeps those that it has, at first MBO's."""
        instrument = self.registry.current(venue, name)
        if instrument is None or (rules is not None and instrument.rules is not rules):
            if instrument is None and name != raw:
                symbol = Symbol(venue, name, kind="equity")
                self.registry.learn(venue, [Listing(name, symbol, extras={"raw_symbol": raw})])
            known = instrument.rules if instrument is not None else None
            depth = _LEVEL_COUNT if rules is _LEVELS else 0
            chosen = rules or known or _ORDERS
            instrument = self.registry.use(out, venue, name, rules=chosen, book_depth=depth if rules else None)
        return instrument.number

    def _order(self, out: EventBuilder, venue: str, name: str, raw: str, order: _Order) -> None:
        order_id, price, size, flags, action, side, ts_event, sequence = order
        self._by_order.add((venue, name))
        number = self._use(out, venue, name, raw, _ORDERS)
        out.order(
            number,
            side,
            order_id,
            0 if price == dbn.UNDEF_PRICE and action == Action.CLEAR else price,
            size,
            action=action,
            ts_event=ts_event,
            sequence=sequence,
            flags=(flags & _KEPT_FLAGS) | self._doubt,
        )
        if action == Action.TRADE:
            out.trade(number, side, price, size, ts_event=ts_event, sequence=sequence)

    def _priced(self, out: EventBuilder, venue: str, name: str, raw: str, record: bytes, rtype: int) -> None:
        values = dbn.TRADE_RECORD.unpack_from(record)
        ts_event, price, size, action, side, sequence = _time(values[4]), *values[5:9], values[13]
        levels = _LEVEL_COUNT if rtype == dbn.MBP_10 else int(rtype == dbn.MBP_1)
        size_needed = dbn.TRADE_RECORD.size + levels * dbn.LEVEL.size
        if len(record) < size_needed:
            raise DecodeError("a DBN record is too short", expected=size_needed, found=len(record))
        rows = [dbn.LEVEL.unpack_from(record, dbn.TRADE_RECORD.size + dbn.LEVEL.size * at) for at in range(levels)]
        by_order = (venue, name) in self._by_order
        if rtype == dbn.MBP_10 and not by_order:
            number = self._use(out, venue, name, raw, _LEVELS)
            bids = [(row[0], row[2]) for row in rows if row[0] != dbn.UNDEF_PRICE and row[2]]
            asks = [(row[1], row[3]) for row in rows if row[1] != dbn.UNDEF_PRICE and row[3]]
            out.snapshot(number, SnapshotFields(bids, asks, Origin.VENUE), ts_event=ts_event, sequence=sequence)
        else:
            number = self._use(out, venue, name, raw)
            if rows:
                bid, ask = _quote(rows[0][0], rows[0][2]), _quote(rows[0][1], rows[0][3])
                out.quote(number, *bid, *ask, ts_event=ts_event, sequence=sequence)
        if action == b"T":
            aggressor = _SIDES.get(side, Side.NONE)
            out.trade(number, aggressor, price, size, ts_event=ts_event, sequence=sequence)

    def _define(self, out: EventBuilder, venue: str, name: str, raw: str, record: bytes) -> None:
        definition = read_definition(record)
        tick = int(definition.min_price_increment)
        kind = str(definition.instrument_class)
        extras: dict[str, Any] = {"type": _TYPES.get(kind, "listed"), "currency": str(definition.currency)}
        if name != raw:
            extras["raw_symbol"] = raw
        expiration = int(definition.expiration)
        if 0 < expiration <= INT64_MAX:
            extras["expiration"] = expiration
        text = decimals.text_stripped(tick, dbn.PRICE_EXPONENT) if 0 < tick < dbn.UNDEF_PRICE else ""
        symbol = Symbol(venue, name, kind="equity")
        self.registry.learn(venue, [Listing(name, symbol, tick=text, extras=extras)])
        self._use(out, venue, name, raw)

    def _status(self, out: EventBuilder, venue: str, name: str, raw: str, record: bytes) -> None:
        values = dbn.STATUS_RECORD.unpack_from(record)
        action, reason, event = values[6:9]
        details = {
            "state": _STATUS_ACTIONS[action] if action < len(_STATUS_ACTIONS) else f"action-{action}",
            "reason": reason,
            "event": event,
            "is_trading": values[9].decode("ascii", "replace"),
            "is_quoting": values[10].decode("ascii", "replace"),
        }
        code = _STATUS_CODES.get(action, StatusCode.VENUE)
        out.status(code, details, instrument=self._use(out, venue, name, raw), ts_event=_time(values[4]))


def _mbo(record: bytes) -> _Order:
    _, _, _, _, ts_event, order_id, price, size, flags, _, action, side, _, _, sequence = dbn.MBO_RECORD.unpack_from(
        record
    )
    return _checked(order_id, price, size, flags, action, side, ts_event, sequence)


def _row(row: bytes) -> _Order:
    fields = row.decode("ascii").split(",")
    if len(fields) < COLUMNS:
        raise DecodeError("an MBO row is too short", expected=COLUMNS, found=len(fields))
    text = fields[7]
    price = dbn.UNDEF_PRICE if not text else _price(text)
    return _checked(
        int(fields[10]),
        price,
        int(fields[8]),
        int(fields[11]),
        fields[5].encode(),
        fields[6].encode(),
        time_of(fields[1]),
        int(fields[13]),
    )


def _price(text: str) -> int:
    return decimals.mantissa(text, dbn.PRICE_EXPONENT) if "." in text else int(text)


def _checked(
    order_id: int, price: int, size: int, flags: int, action: bytes, side: bytes, ts_event: int, sequence: int
) -> _Order:
    known, of = _ACTIONS.get(action, Action.NONE), _SIDES.get(side)
    if (known == Action.NONE and action != b"N") or of is None or not 0 <= flags <= 255:
        raise DecodeError("an MBO record is of no known action or side", found=repr((action, side, flags)))
    return order_id, price, size, flags, known, of, _time(ts_event), sequence


def _time(ts_event: int) -> int:
    """Return ts_event, 0 where the venue sent none."""
    return ts_event if 0 <= ts_event <= INT64_MAX else 0


def _quote(price: int, size: int) -> tuple[int, int]:
    return (INT64_MIN, 0) if price == dbn.UNDEF_PRICE else (price, size)


def _subject(address: str) -> tuple[str, str, str]:
    """Return (venue, name, raw symbol) of ``dbn:cme:GLBX.MDP3:ESM4``; blanks in a raw symbol become ``_``."""
    parts = address.split(":", 3)
    if len(parts) != 4 or parts[0] not in (dbn.SCHEME, dbn.UNENDED) or not parts[3].strip():
        expected = "dbn:VENUE:DATASET:SYMBOL"
        raise DecodeError("a frame of Databento has a foreign address", expected=expected, found=address[:120])
    return parts[1], "_".join(parts[3].split()), parts[3]
