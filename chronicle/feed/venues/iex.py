"""IEX: DEEP 1.0 (price levels), TOPS 1.5/1.6 (best bid and ask) and DEEP+ 1.0 (orders), over IEX-TP.

Sources: iextrading.com/trading/market-data: "IEX DEEP Specification" 1.0, "IEX TOPS Specification" 1.6, "IEX DEEP+
Specification" 1.0, "IEX Transport Protocol". A frame is one datagram. Prices are int64 with four decimals, times ns
UTC. Levels of one transaction come as messages of which the last is marked complete; until then the book is not
what anybody may see, so they are held back, over datagrams too, and become one event.

A session that is seen from its first message starts with empty books: the first change of each instrument comes with
an empty snapshot. A session may begin anew under the same name; then every book is emptied.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import (
    INT64_MIN,
    NONE,
    Flag,
    Kind,
    Origin,
    SequenceRule,
    Side,
    StatusCode,
    TradeType,
    WireForm,
)
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Instrument, InstrumentRegistry, Listing, VenueRules
from chronicle.feed.symbology import from_venue
from chronicle.feed.transports.packet import Header, read_iex, spans
from chronicle.feed.transports.recognise import DEEP_PLUS, IEX_PROTOCOLS
from chronicle.feed.transports.sequence import LineSequence
from chronicle.feed.venues.iex_orders import OrderMemory

__all__ = ["IexAdapter"]

PRICE_EXPONENT: Final = 4
PRICE_MAX: Final = 1 << 62
PENDING_LEVELS_MAX: Final = 4_096
"""Levels of one unfinished transaction; a feed that never finishes one is not waited for."""

_LEVEL: Final = struct.Struct("<xBq8sIq")
_TRADE: Final = struct.Struct("<xBq8sIqq")
_QUOTE: Final = struct.Struct("<xBq8sIqqI")
_STATE: Final = struct.Struct("<xcq8s")
_SYSTEM: Final = struct.Struct("<xcq")
_DIRECTORY: Final = struct.Struct("<xBq8sIqB")
_OFFICIAL: Final = struct.Struct("<xcq8sq")
_AUCTION: Final = struct.Struct("<xcq8sIqqIcBIqqqq")
_COMPLETE: Final = 1
_CROSS: Final = 0x08
"""Sale condition of a single-price cross."""

_SYSTEM_EVENTS: Final = {
    "O": "start of messages",
    "S": "start of system hours",
    "R": "start of regular market hours",
    "M": "end of regular market hours",
    "E": "end of system hours",
    "C": "end of messages",
}
_TRADING: Final = {
    "H": (StatusCode.HALTED, "halted"),
    "O": (StatusCode.VENUE, "order acceptance"),
    "P": (StatusCode.HALTED, "paused"),
    "T": (StatusCode.RESUMED, "trading"),
}
_OPERATIONAL: Final = {"O": (StatusCode.HALTED, "halted on IEX"), "N": (StatusCode.RESUMED, "not halted on IEX")}
_USUAL: Final = {"H": b"T", "O": b"N", "P": b"\0"}
"""What each state is without a word: at the start of a day all of them are sent for every symbol."""

_Delta = tuple[Side, int, int, int, int]
"""(side, price, size, ts_event, sequence)"""
_Read = Callable[["_Message"], None]


@dataclass(slots=True)
class _Line:
    """What is known of one connection."""

    sequence: LineSequence = field(default_factory=LineSequence)
    instruments: dict[bytes, Instrument] = field(default_factory=dict)
    booked: dict[int, Instrument] = field(default_factory=dict)
    """Instruments with levels or orders since the session began."""
    pending: dict[int, list[_Delta]] = field(default_factory=dict)
    """Levels of unfinished transactions by instrument."""
    states: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    orders: OrderMemory = field(default_factory=OrderMemory)


@dataclass(slots=True)
class _Message:
    """One message on its way: where it is, its number, and whose it is."""

    line: _Line
    out: EventBuilder
    data: bytes
    sequence: int
    protocol: int


class IexAdapter:
    """Datagrams of IEX's multicast feeds."""

    venue = "iex"
    rules = VenueRules(sequence_rule=SequenceRule.CONNECTION, price_exponent=PRICE_EXPONENT)
    order_rules = VenueRules(driver=Kind.ORDER, sequence_rule=SequenceRule.CONNECTION, price_exponent=PRICE_EXPONENT)

    def __init__(self, registry: InstrumentRegistry) -> None:
        self.registry = registry
        registry.set_rules(self.venue, self.rules)
        self._lines: dict[int, _Line] = {}
        self._readers: dict[int, tuple[int, _Read]] = {
            ord("S"): (_SYSTEM.size, self._system),
            ord("D"): (_DIRECTORY.size, self._directory),
            ord("H"): (22, self._trading_status),
            ord("O"): (_STATE.size, self._operational_halt),
            ord("P"): (19, self._short_sale),
            ord("I"): (_STATE.size, self._retail_interest),
            ord("E"): (_STATE.size, self._security_event),
            ord("8"): (_LEVEL.size, self._level),
            ord("5"): (_LEVEL.size, self._level),
            ord("Q"): (_QUOTE.size, self._quote),
            ord("T"): (_TRADE.size, self._trade),
            ord("B"): (_TRADE.size, self._trade_break),
            ord("X"): (_OFFICIAL.size, self._official_price),
            ord("A"): (_AUCTION.size, self._auction),
        }
        self._order_readers: dict[int, tuple[int, _Read]] = {
            ord("a"): (38, self._order),
            ord("M"): (38, self._order),
            ord("R"): (26, self._order),
            ord("L"): (46, self._order),
        }

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of a datagram to `out`; each message, and each transaction of levels, is an event.

        Raises
        ------
        DecodeError
            When the datagram or a message in it cannot be read. What could be read is in `out`.
        """
        if frame.form in (WireForm.CONNECTED, WireForm.DISCONNECTED):
            line = self._lines.pop(frame.connection, None)
            if line is not None:
                self._drop_pending(line, out)
            return
        if frame.form != WireForm.BINARY:
            return
        header = read_iex(frame.payload)
        if header.protocol not in IEX_PROTOCOLS:
            raise DecodeError(
                f"no adapter reads the IEX message protocol {header.protocol:#06x}",
                path=frame.address[:200] or None,
                expected=", ".join(f"{number:#06x} ({name})" for number, name in IEX_PROTOCOLS.items()),
            )
        line = self._lines.get(frame.connection)
        if line is None:
            line = self._lines[frame.connection] = _Line()
        place = line.sequence.take(header)
        if place.is_new_session:
            self._begin(line, header, out, is_whole=place.is_whole or place.lost_first == NONE)
        if place.lost_first != NONE:
            self._lost(line, out, place.lost_first, place.lost_last)
        self._messages(line, frame.payload, header, place.skip, out)

    # --- datagrams ---------------------------------------------------------------------------------------------

    def _messages(self, line: _Line, payload: bytes, header: Header, skip: int, out: EventBuilder) -> None:
        found, whole = spans(payload, header, "<")
        error: DecodeError | None = None
        number = header.first + skip
        for start, end in found[skip:]:
            try:
                self._message(_Message(line, out, payload[start:end], number, header.protocol))
            except (ChronicleError, struct.error, UnicodeDecodeError) as problem:
                error = error or DecodeError(
                    f"cannot read message {number} of an IEX datagram: {problem}", found=payload[start:end][:40].hex()
                )
            out.end_event()
            number += 1
        if not whole:
            missing = max(header.first + len(found), number)
            if missing < header.next:
                self._lost(line, out, missing, header.next - 1)
            error = error or DecodeError(
                "an IEX datagram is cut off", expected=f"{header.count} messages", found=f"{len(found)} whole ones"
            )
        if error is not None:
            raise error

    def _message(self, message: _Message) -> None:
        data = message.data
        kind = data[0] if data else 0
        reader = self._readers.get(kind)
        if message.protocol == DEEP_PLUS:
            reader = self._order_readers.get(kind, reader)
        if reader is None:  # types are added over the years; what they say is in the wire queue
            details = {"problem": "unknown message", "type": chr(kind), "bytes": len(data)}
            message.out.status(StatusCode.ERROR, details)
            return
        size, read = reader
        if len(data) < size:
            raise DecodeError(f"a message {chr(kind)!r} is too short", expected=size, found=len(data))
        read(message)

    def _begin(self, line: _Line, header: Header, out: EventBuilder, *, is_whole: bool) -> None:
        """A session begins: what the one before left is gone."""
        self._drop_pending(line, out)
        line.orders.clear()
        line.states.clear()
        booked, line.booked = line.booked, {}
        details = {"state": "session", "session": header.session, "first": header.first}
        details["number"] = line.sequence.session_count
        out.status(StatusCode.VENUE, details)
        out.end_event()
        if is_whole and line.sequence.is_whole:
            for instrument in booked.values():
                self._empty(line, out, instrument, 0, header.sent_ts)
                out.end_event()

    def _lost(self, line: _Line, out: EventBuilder, first: int, last: int) -> None:
        self._drop_pending(line, out)
        line.sequence.is_whole = False
        out.status(StatusCode.LOST, {"first": first, "last": last})
        out.end_event()

    def _drop_pending(self, line: _Line, out: EventBuilder) -> None:
        """Write levels whose transaction will never be known to be complete, marked so."""
        for number, deltas in line.pending.items():
            self._put(out, number, deltas, flags=Flag.MAYBE_BAD_BOOK)
            out.end_event()
        line.pending.clear()

    # --- books -------------------------------------------------------------------------------------------------

    def _level(self, message: _Message) -> None:
        flags, ts_event, symbol, size, price = _LEVEL.unpack_from(message.data)
        line, out = message.line, message.out
        side = Side.BID if message.data[0] == ord("8") else Side.ASK
        _check_price(price)
        instrument = self._booked(message, symbol, ts_event)
        deltas = line.pending.setdefault(instrument.number, [])
        deltas.append((side, price, size, ts_event, message.sequence))
        if flags & _COMPLETE:
            self._put(out, instrument.number, line.pending.pop(instrument.number))
        elif len(deltas) >= PENDING_LEVELS_MAX:
            self._put(out, instrument.number, line.pending.pop(instrument.number), flags=Flag.MAYBE_BAD_BOOK)

    def _put(self, out: EventBuilder, number: int, deltas: list[_Delta], flags: int = 0) -> None:
        for side, price, size, ts_event, sequence in deltas:
            out.delta(number, side, price, size, ts_event=ts_event, sequence=sequence, flags=flags)

    def _order(self, message: _Message) -> None:
        symbol = message.data[10:18]
        ts_event = struct.unpack_from("<q", message.data, 2)[0]
        instrument = self._booked(message, symbol, ts_event)
        orders, is_whole = message.line.orders, message.line.sequence.is_whole
        orders.take(message.out, instrument.number, message.data, ts_event, message.sequence, is_whole=is_whole)

    def _booked(self, message: _Message, symbol: bytes, ts_event: int) -> Instrument:
        """Return the instrument; its book starts here, empty, when the session was seen from its start."""
        instrument = self._instrument(message, symbol)
        line = message.line
        if instrument.number not in line.booked:
            line.booked[instrument.number] = instrument
            if line.sequence.is_whole:
                self._empty(line, message.out, instrument, message.sequence - 1, ts_event)
                message.out.end_event()
        return instrument

    def _empty(self, line: _Line, out: EventBuilder, instrument: Instrument, sequence: int, ts_event: int) -> None:
        if instrument.rules is self.order_rules:
            line.orders.empty(out, instrument.number, ts_event, sequence)
        else:
            out.snapshot(
                instrument.number, SnapshotFields([], [], Origin.VENUE), ts_event=ts_event, sequence=sequence
            )

    def _quote(self, message: _Message) -> None:
        _, ts_event, symbol, bid_size, bid_price, ask_price, ask_size = _QUOTE.unpack_from(message.data)
        number = self._instrument(message, symbol).number
        _check_price(bid_price)
        _check_price(ask_price)
        message.out.quote(
            number,
            bid_price if bid_size else INT64_MIN,
            bid_size,
            ask_price if ask_size else INT64_MIN,
            ask_size,
            ts_event=ts_event,
            sequence=message.sequence,
        )

    def _trade(self, message: _Message) -> None:
        flags, ts_event, symbol, size, price, trade_id = _TRADE.unpack_from(message.data)
        _check_price(price)
        message.out.trade(
            self._instrument(message, symbol).number,
            Side.NONE,
            price,
            size,
            ts_event=ts_event,
            trade_id=trade_id,
            sequence=message.sequence,
            trade_type=TradeType.CROSS if flags & _CROSS else TradeType.PLAIN,
        )

    def _trade_break(self, message: _Message) -> None:
        flags, ts_event, symbol, size, price, trade_id = _TRADE.unpack_from(message.data)
        details = {"channel": "trade", "state": "trade broken", "trade_id": trade_id, "price": price, "size": size}
        details["conditions"] = flags
        self._say(message, symbol, ts_event, details)

    # --- states ------------------------------------------------------------------------------------------------

    def _system(self, message: _Message) -> None:
        code, ts_event = _SYSTEM.unpack_from(message.data)
        event = code.decode("latin-1")
        details = {"event": _SYSTEM_EVENTS.get(event, "unknown"), "code": event}
        message.out.status(StatusCode.VENUE, details, ts_event=ts_event)

    def _directory(self, message: _Message) -> None:
        flags, _, symbol, lot, _, tier = _DIRECTORY.unpack_from(message.data)
        name = _name(symbol)
        extras = {"round_lot": lot, "luld_tier": tier, "iex_flags": flags}
        listing = Listing(name, from_venue(self.venue, name), tick="0.0001", lot=str(lot), extras=extras)
        self.registry.learn(self.venue, [listing])
        self._instrument(message, symbol)

    def _trading_status(self, message: _Message) -> None:
        state, ts_event, symbol = _STATE.unpack_from(message.data)
        code, name = _TRADING.get(state.decode("latin-1"), (StatusCode.VENUE, "unknown"))
        reason = message.data[18:22].decode("latin-1").strip()
        self._state(message, "H", symbol, ts_event, state, code, {"state": name, "reason": reason})

    def _operational_halt(self, message: _Message) -> None:
        state, ts_event, symbol = _STATE.unpack_from(message.data)
        code, name = _OPERATIONAL.get(state.decode("latin-1"), (StatusCode.VENUE, "unknown"))
        self._state(message, "O", symbol, ts_event, state, code, {"state": name})

    def _short_sale(self, message: _Message) -> None:
        state, ts_event, symbol = _STATE.unpack_from(message.data)
        details = {"state": "short sale price test", "restricted": state != b"\0"}
        details["detail"] = chr(message.data[18]).strip()
        self._state(message, "P", symbol, ts_event, state, StatusCode.VENUE, details)

    def _state(
        self,
        message: _Message,
        kind: str,
        symbol: bytes,
        ts_event: int,
        state: bytes,
        code: StatusCode,
        details: dict[str, Any],
    ) -> None:
        """Write a state. One that says nothing but the usual stays out of the clean book."""
        before = message.line.states.get((kind, symbol), _USUAL[kind])
        message.line.states[kind, symbol] = state
        if state == before:
            details = {"channel": "status", **details}
            code = StatusCode.VENUE
        message.out.status(code, details, instrument=self._instrument(message, symbol).number, ts_event=ts_event)

    def _retail_interest(self, message: _Message) -> None:
        state, ts_event, symbol = _STATE.unpack_from(message.data)
        details = {"channel": "status", "state": "retail liquidity", "side": state.decode("latin-1").strip()}
        self._say(message, symbol, ts_event, details)

    def _security_event(self, message: _Message) -> None:
        state, ts_event, symbol = _STATE.unpack_from(message.data)
        name = {b"O": "opening process complete", b"C": "closing process complete"}.get(state, "unknown")
        self._say(message, symbol, ts_event, {"channel": "status", "state": name})

    def _official_price(self, message: _Message) -> None:
        kind, ts_event, symbol, price = _OFFICIAL.unpack_from(message.data)
        name = {b"Q": "official opening price", b"M": "official closing price"}.get(kind, "official price")
        self._say(message, symbol, ts_event, {"channel": "auction", "state": name, "price": price})

    def _auction(self, message: _Message) -> None:
        kind, ts_event, symbol, *values = _AUCTION.unpack_from(message.data)
        names = (
            *("paired", "reference_price", "indicative_price", "imbalance", "side", "extensions", "auction_time_s"),
            *("book_price", "collar_reference", "collar_low", "collar_high"),
        )
        details: dict[str, Any] = {"channel": "auction", "state": "auction", "auction": kind.decode("latin-1")}
        details |= dict(zip(names, values, strict=True))
        details["side"] = values[4].decode("latin-1")
        self._say(message, symbol, ts_event, details)

    def _say(self, message: _Message, symbol: bytes, ts_event: int, details: dict[str, Any]) -> None:
        number = self._instrument(message, symbol).number
        message.out.status(StatusCode.VENUE, details, instrument=number, ts_event=ts_event)

    # --- instruments -------------------------------------------------------------------------------------------

    def _instrument(self, message: _Message, symbol: bytes) -> Instrument:
        found = message.line.instruments.get(symbol)
        if found is not None and found.current:
            return found
        rules = self.order_rules if message.protocol == DEEP_PLUS else self.rules
        found = self.registry.use(message.out, self.venue, _name(symbol), rules=rules)
        message.line.instruments[symbol] = found
        return found


def _name(symbol: bytes) -> str:
    return symbol.rstrip(b" \0").decode("ascii")


def _check_price(price: int) -> None:
    if not 0 <= price < PRICE_MAX:
        raise DecodeError("a price is out of range", expected="0 or more, below 2**62", found=price)
