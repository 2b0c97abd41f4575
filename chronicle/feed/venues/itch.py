"""NASDAQ TotalView-ITCH 5.0: orders and trades by kernel, everything else here.

Source: "Nasdaq TotalView-ITCH 5.0" (nasdaqtrader.com). A frame is a MoldUDP64 datagram or a run of messages of a
daily file (:mod:`chronicle.feed.captures.itch`). Each message is one event. Prices have four decimals; times are ns
since midnight in New York, of the day in a file's address, or of the day on which the datagram was received.

Messages name stocks by a locate code of the day. The first order of each stock in a session that was seen from its
start comes with a CLEAR: its book starts empty. In a session joined later nothing is claimed of what rested before.
"""

from __future__ import annotations

import struct
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, Action, Kind, SequenceRule, Side, StatusCode, WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.itch import FRAME_SPAN_NS, midnight_ns
from chronicle.feed.instruments import Instrument, InstrumentRegistry, Listing, VenueRules
from chronicle.feed.kernels import itch as kernel
from chronicle.feed.symbology import from_venue
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES, MESSAGE_NAMES
from chronicle.feed.transports.packet import Header, read_mold
from chronicle.feed.transports.sequence import LineSequence
from chronicle.feed.venues.itch_orders import OrderTable
from chronicle.feed.venues.itch_states import describe

__all__ = ["ItchAdapter"]

PRICE_EXPONENT: Final = 4
FILE: Final = "itch:"
OUT_WORDS: Final = 1 << 16
"""Records of a frame that are packed at once: 512 KiB."""
_LOCATES: Final = 1 << 16
_NEW_YORK: Final = ZoneInfo("America/New_York")
_SHAPES: Final = kernel.shapes_of(MESSAGE_BYTES)
_STOCK_AT: Final = {
    **dict.fromkeys(map(ord, "RHYKJhNO"), 11),
    ord("L"): 15,
    ord("I"): 28,
    ord("A"): 24,
    ord("F"): 24,
    ord("P"): 24,
    ord("Q"): 19,
}
"""Where each type names the stock; the others know only its locate code."""
_ZEROS: Final = np.zeros(kernel.REGISTERS, dtype=np.int64).data
_ORDERLY: Final = frozenset(map(ord, "AFPQ"))
_BY_LOCATE: Final = frozenset(map(ord, "ECXDU"))
_USUAL: Final = {"H": "T", "Y": "0", "h": "T"}
"""States that are sent for every stock at the start of a day and say nothing."""


@dataclass(slots=True)
class _Line:
    """What is known of one connection."""

    sequence: LineSequence = field(default_factory=LineSequence)
    numbers: Any = field(default_factory=lambda: np.zeros(_LOCATES, dtype=np.int64))
    """Locate to instrument, once its first order came; see ``decode_messages``."""
    stocks: dict[int, Instrument] = field(default_factory=dict)
    """Locate to instrument, as named."""
    booked: dict[int, Instrument] = field(default_factory=dict)
    """Instruments with orders in this session, by number."""
    troubled: set[int] = field(default_factory=set)
    """Instruments of which messages about unknown orders were told."""
    states: dict[tuple[str, int], str] = field(default_factory=dict)
    orders: OrderTable = field(default_factory=OrderTable)
    day: str = ""
    """The file that the line reads."""
    skipped: int = 0
    """Messages about orders of stocks that were not named."""


class ItchAdapter:
    """Datagrams and files of ITCH 5.0. `venue` is whose they are: the format does not say it."""

    rules = VenueRules(
        driver=Kind.ORDER, sequence_rule=SequenceRule.CONNECTION, price_exponent=PRICE_EXPONENT, size_exponent=0
    )

    def __init__(self, registry: InstrumentRegistry, venue: str = "nasdaq") -> None:
        self.venue = venue
        self.registry = registry
        self._lines: dict[int, _Line] = {}
        self._array = np.zeros(kernel.REGISTERS, dtype=np.int64)
        self._registers = self._array.data
        """The same numbers: single ones are read and written several times faster this way."""
        self._words = np.zeros(OUT_WORDS, dtype=np.uint64)
        self._midnights: tuple[int, int] = (0, 0)
        self._error: DecodeError | None = None

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of a frame to `out`; each message is an event.

        Raises
        ------
        DecodeError
            When the frame or a message in it cannot be read. What could be read is in `out`.
        """
        if frame.form in (WireForm.CONNECTED, WireForm.DISCONNECTED):
            ended = self._lines.pop(frame.connection, None)
            if ended is not None and ended.skipped:
                details = {"problem": "messages about orders of stocks that were not named", "count": ended.skipped}
                out.status(StatusCode.ERROR, details)
            return
        if frame.form != WireForm.BINARY:
            return
        line = self._lines.get(frame.connection)
        if line is None:
            line = self._lines[frame.connection] = _Line()
        self._error = None
        if frame.address.startswith(FILE):
            header, midnight, span = self._file(frame, line), self._day_of(frame.address), FRAME_SPAN_NS
        else:
            header, midnight, span = read_mold(frame.payload), self._midnight(frame.ts_recv), 0
        place = line.sequence.take(header)
        if place.is_new_session:
            self._begin(line, header, out)
        if place.lost_first != NONE:
            self._lost(line, out, place.lost_first, place.lost_last)
        if header.is_end:
            out.status(StatusCode.VENUE, {"state": "end of session", "session": header.session})
        self._take(frame, line, header, place.skip, midnight, span, out)
        if self._error is not None:
            raise self._error

    # --- frames ------------------------------------------------------------------------------------------------

    def _file(self, frame: Frame, line: _Line) -> Header:
        """Return a header for the next run of a file: its messages are numbered from 1 in each file."""
        whole = frame.payload[2:3] == b"S" and frame.payload[13:14] == b"O"
        if line.day != frame.address:
            line.day = frame.address
            if line.sequence.session is None and not whole:
                return Header(frame.address, 2, 0, 0)  # a file that begins in the middle: as a line joined late
            return Header(frame.address, 1, 0, 0)
        return Header(frame.address, line.sequence.expected, 0, 0)

    def _take(
        self, frame: Frame, line: _Line, header: Header, skip: int, midnight: int, span: int, out: EventBuilder
    ) -> None:
        """Decode the messages of a frame: runs of orders and trades by kernel, others one by one."""
        payload = frame.payload
        data = np.frombuffer(payload, dtype=np.uint8)
        registers = self._registers
        registers[:] = _ZEROS
        at = header.messages_at
        for _ in range(skip):
            at += 2 + int.from_bytes(payload[at : at + 2], "big")
        registers[kernel.POSITION] = at
        registers[kernel.MESSAGES] = 2 * kernel.UNTIL_END if span else header.count - skip
        registers[kernel.SEQUENCE] = header.first + skip
        registers[kernel.TS_RECV] = registers[kernel.FIRST_TS] = out.ts_recv
        registers[kernel.SPAN] = span
        registers[kernel.MIDNIGHT] = midnight
        registers[kernel.SOURCE_INDEX] = out.source_index
        registers[kernel.SOURCE] = out.source
        registers[kernel.FLAGS] = out.flags
        while True:
            status = int(kernel.decode_messages(data, _SHAPES, line.numbers, self._array, self._words))
            self._flush(line, out)
            if status == kernel.DONE:
                break
            if status == kernel.FULL:
                continue
            if status == kernel.CUT:
                self._cut(line, header, payload, span, out)
                break
            self._one(line, payload, status, midnight, span, out)
        line.skipped += registers[kernel.SKIPPED]
        if span:
            line.sequence.expected = registers[kernel.SEQUENCE]

    def _flush(self, line: _Line, out: EventBuilder) -> None:
        """Complete what the kernel decoded, and add it."""
        registers = self._registers
        count = registers[kernel.WORDS]
        if not count:
            return
        registers[kernel.WORDS] = 0
        unknown = line.orders.complete(self._words, count)
        orders = line.orders
        data = self._words[: orders.written].tobytes()
        out.packed(data, count=orders.records, events=orders.events, last_offset=orders.last_offset)
        out.ts_recv = max(out.ts_recv, registers[kernel.TS_RECV])
        if unknown:
            self._tell_unknown(line, out, unknown)

    def _tell_unknown(self, line: _Line, out: EventBuilder, numbers: Set[int]) -> None:
        """Say once a session of each instrument that orders are not known; it is an error where all were seen."""
        for number in sorted(numbers - line.troubled):
            line.troubled.add(number)
            whole = line.sequence.is_whole
            code = StatusCode.DECODE_ERROR if whole else StatusCode.ERROR
            channel = "book" if whole else "status"
            details = {"channel": channel, "problem": "messages about orders that are not known"}
            out.status(code, details, instrument=number)
            out.end_event()
            if whole:
                self._fail("messages are about orders that are not known", str(number))

    def _cut(self, line: _Line, header: Header, payload: bytes, span: int, out: EventBuilder) -> None:
        sequence = self._registers[kernel.SEQUENCE]
        self._fail("a frame ends in the middle of a message", f"{len(payload)} bytes")
        if not span and sequence < header.next:
            self._lost(line, out, sequence, header.next - 1)

    def _one(self, line: _Line, payload: bytes, status: int, midnight: int, span: int, out: EventBuilder) -> None:
        """Take the message at which the kernel stopped, or give the kernel the stock that it lacks."""
        registers = self._registers
        at = registers[kernel.POSITION]
        size = int.from_bytes(payload[at : at + 2], "big")
        message = payload[at + 2 : at + 2 + size]
        try:
            if status == kernel.MALFORMED or size == 0:
                kind = chr(message[0]) if message else ""
                raise DecodeError(f"a message {kind!r} of {size} bytes is not what its type says")
            if self._is_for_kernel(line, message, out):
                return
            if span:
                since = int.from_bytes(message[5:11], "big")
                first_ts = registers[kernel.FIRST_TS]
                ts = min(midnight + since, first_ts + span)
                registers[kernel.TS_RECV] = out.ts_recv = max(out.ts_recv, ts)
            self._message(line, message, midnight, out)
        except (ChronicleError, struct.error, UnicodeDecodeError) as error:
            number = registers[kernel.SEQUENCE]
            self._fail(f"cannot read message {number} of a frame: {error}", message[:40].hex())
        out.end_event()
        registers[kernel.POSITION] = at + 2 + size
        registers[kernel.SEQUENCE] += 1
        registers[kernel.MESSAGES] -= 1

    def _is_for_kernel(self, line: _Line, message: bytes, out: EventBuilder) -> bool:
        """Return whether the kernel can take the message now that its stock has a number."""
        kind = message[0]
        locate = int.from_bytes(message[1:3], "big")
        if kind in _ORDERLY:
            instrument = self._named(line, message, out)
            line.numbers[locate] = instrument.number
            self._start_book(line, instrument, out)
            return True
        if kind in _BY_LOCATE:
            known = line.stocks.get(locate)
            if known is not None:
                line.numbers[locate] = known.number
                self._start_book(line, known, out)
            else:
                line.numbers[locate] = kernel.SKIP
                details = {"problem": "messages about orders of a stock that was not named", "locate": locate}
                details |= {"type": chr(kind), "message": MESSAGE_NAMES[chr(kind)][1]}
                out.status(StatusCode.ERROR, details)
                out.end_event()
            return True
        return False

    def _fail(self, problem: str, found: str) -> None:
        self._error = self._error or DecodeError(problem, found=found[:120])

    # --- sessions ----------------------------------------------------------------------------------------------

    def _begin(self, line: _Line, header: Header, out: EventBuilder) -> None:
        """A session begins: stocks get new locate codes, and no order of the one before rests."""
        booked, line.booked = line.booked, {}
        line.numbers[:] = 0
        line.stocks.clear()
        line.states.clear()
        line.troubled.clear()
        line.orders.clear()
        details = {"state": "session", "session": header.session, "first": header.first}
        out.status(StatusCode.VENUE, details | {"number": line.sequence.session_count})
        out.end_event()
        if line.sequence.is_whole:
            for instrument in booked.values():
                self._clear(out, instrument)

    def _lost(self, line: _Line, out: EventBuilder, first: int, last: int) -> None:
        line.sequence.is_whole = False
        out.status(StatusCode.LOST, {"first": first, "last": last})
        out.end_event()

    def _start_book(self, line: _Line, instrument: Instrument, out: EventBuilder) -> None:
        if instrument.number not in line.booked:
            line.booked[instrument.number] = instrument
            if line.sequence.is_whole:
                self._clear(out, instrument)

    def _clear(self, out: EventBuilder, instrument: Instrument) -> None:
        number = instrument.number
        sequence = max(self._registers[kernel.SEQUENCE] - 1, 0)
        out.order(number, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=out.ts_recv, sequence=sequence)
        out.end_event()

    # --- other messages ----------------------------------------------------------------------------------------

    def _message(self, line: _Line, message: bytes, midnight: int, out: EventBuilder) -> None:
        kind = chr(message[0])
        if kind not in MESSAGE_NAMES:  # types are added over the years; what they say is in the wire queue
            details = {"problem": "unknown message", "type": kind, "bytes": len(message)}
            out.status(StatusCode.ERROR, details)
            return
        locate = int.from_bytes(message[1:3], "big")
        ts_event = midnight + int.from_bytes(message[5:11], "big")
        instrument: Instrument | None = None
        if kind == "R":
            self._learn(line, message)
        if message[0] in _STOCK_AT:
            instrument = self._named(line, message, out)
        elif locate:
            instrument = line.stocks.get(locate)
        code, details = describe(kind, message)
        state = str(details.get("code", ""))
        if kind in _USUAL:  # a state that says nothing new stays out of the clean book
            before = line.states.get((kind, locate), _USUAL[kind])
            line.states[kind, locate] = state
            if state == before:
                code, details = StatusCode.VENUE, {"channel": "status", **details}
        number = instrument.number if instrument is not None else 0
        out.status(code, details, instrument=number, ts_event=ts_event)

    def _learn(self, line: _Line, message: bytes) -> None:
        """Take over a stock's entry of the directory."""
        name = message[11:19].rstrip(b" ").decode("ascii")
        lot = int.from_bytes(message[21:25], "big")
        text = message.decode("latin-1")
        extras = {
            "round_lot": lot,
            "market_category": text[19],
            "classification": text[26],
            "sub_type": text[27:29].strip(),
            "authenticity": text[29],
            "etp": text[32],
        }
        listing = Listing(name, from_venue(self.venue, name), tick="0.0001", lot=str(lot), extras=extras)
        self.registry.learn(self.venue, [listing])
        locate = int.from_bytes(message[1:3], "big")
        known = line.stocks.get(locate)
        if known is None or known.venue_symbol != name:
            line.numbers[locate] = 0

    def _named(self, line: _Line, message: bytes, out: EventBuilder) -> Instrument:
        """Return the instrument that a message names."""
        at = _STOCK_AT[message[0]]
        name = message[at : at + 8].rstrip(b" ").decode("ascii")
        locate = int.from_bytes(message[1:3], "big")
        known = line.stocks.get(locate)
        if known is not None and known.current and known.venue_symbol == name:
            return known
        found = self.registry.use(out, self.venue, name, rules=self.rules)
        line.stocks[locate] = found
        return found

    # --- days --------------------------------------------------------------------------------------------------

    def _day_of(self, address: str) -> int:
        try:
            return midnight_ns(date.fromisoformat(address.rpartition(":")[2]))
        except ValueError as error:
            raise DecodeError("an ITCH frame's address names no day", found=address[:120]) from error

    def _midnight(self, ts_recv: int) -> int:
        """Return the midnight of the New York day in which `ts_recv` lies."""
        begin, end = self._midnights
        if not begin <= ts_recv < end:
            day = datetime.fromtimestamp(ts_recv // 10**9, UTC).astimezone(_NEW_YORK).date()
            begin = midnight_ns(day)
            end = midnight_ns(date.fromordinal(day.toordinal() + 1))
            self._midnights = begin, end
        return begin
