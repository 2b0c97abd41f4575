"""EventBuilder: the records of one frame, packed side by side, ready to commit together.

An adapter calls the method of each record kind; the feed takes the bytes and appends them. A frame is one event,
unless it carries several venue messages (a datagram): then the adapter ends each event. Times are ns UTC, prices and
sizes int64 mantissas of the instrument's exponents.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from chronicle.core import layout
from chronicle.core.errors import RecordError
from chronicle.core.layout import HEADER, HEADER_BYTES, NONE, OFFSET_FLAGS, Flag, Kind, aligned
from chronicle.core.records import InstrumentFields, SnapshotFields, pack_details

__all__ = ["EventBuilder"]

_DELTA = struct.Struct("<IHBBqqqIHHqqqqq")


class EventBuilder:
    """Collects one event at a time.

    Examples
    --------
    >>> out = EventBuilder()
    >>> out.begin(ts_recv=1_000, source_index=0, source=1)
    >>> out.delta(1, Side.BID, 100, 5, ts_event=900)
    >>> data, count = out.take()
    >>> (len(data), count)
    (80, 1)
    """

    __slots__ = (
        "_buffer",
        "_count",
        "_ended_count",
        "_ended_events",
        "_last",
        "flags",
        "source",
        "source_index",
        "ts_recv",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._count = 0
        self._ended_count = 0
        self._ended_events = 0
        self._last = 0
        self.flags = 0
        self.ts_recv = 0
        self.source = 0
        self.source_index = NONE

    def begin(self, ts_recv: int, *, source_index: int = NONE, source: int = 0, flags: int = 0) -> None:
        """Start an event: all of its records share these header fields.

        Parameters
        ----------
        ts_recv : int
            Receive time, ns UTC.
        source_index : int
            Index of the frame in the wire queue (raw) or of the record in the raw queue (clean).
        source : int
            Connection (raw) or entry of the prologue's source table (clean).
        flags : int
            Set on every record, as F_BAD_TS_RECV after a clock step.
        """
        self._buffer = bytearray()
        self._count = 0
        self._ended_count = self._ended_events = 0
        self.flags = flags
        self.ts_recv = ts_recv
        self.source = source
        self.source_index = source_index

    def __len__(self) -> int:
        """Number of records so far."""
        return self._count

    @property
    def events(self) -> int:
        """Number of events so far, the one under way included."""
        return self._ended_events + (self._count > self._ended_count)

    def end_event(self) -> None:
        """End the event under way: what is added next is another one. Without records there is nothing to end."""
        if self._count > self._ended_count:
            self._buffer[self._last + OFFSET_FLAGS] |= Flag.LAST
            self._ended_count = self._count
            self._ended_events += 1

    def take(self) -> tuple[bytearray, int]:
        """Return (bytes, record count) of all events, F_LAST set on the last record of each, and start anew.

        Nothing added gives ``(bytearray(), 0)``.
        """
        self.end_event()
        data, count = self._buffer, self._count
        self._buffer, self._count = bytearray(), 0
        self._ended_count = self._ended_events = 0
        return data, count

    def packed(self, data: bytes | bytearray | memoryview, *, count: int, events: int, last_offset: int) -> None:
        """Add `events` whole events of together `count` records, as a kernel packed them.

        Parameters
        ----------
        data : bytes
            Records side by side, F_LAST on the last of each event.
        count, events : int
            How many there are; 0 adds nothing.
        last_offset : int
            Where in `data` the last record begins.

        Raises
        ------
        RecordError
            When a frame's records would exceed ``EVENT_BYTES_MAX``.
        """
        if not count:
            return
        self.end_event()
        if len(self._buffer) + len(data) > layout.EVENT_BYTES_MAX:
            raise RecordError(
                "a frame gives more records than can be committed together",
                expected=f"at most {layout.EVENT_BYTES_MAX} bytes",
                found=len(self._buffer) + len(data),
            )
        self._last = len(self._buffer) + last_offset
        self._buffer += data
        self._count += count
        self._ended_count = self._count
        self._ended_events += events

    def adopt(self, event: bytearray, count: int, last_offset: int) -> None:
        """Add one whole event as a kernel packed it; the bytes are the builder's from then on. See :meth:`packed`."""
        if self._count:
            self.packed(event, count=count, events=1, last_offset=last_offset)
            return
        self._buffer = event
        self._last = last_offset
        self._count = self._ended_count = count
        self._ended_events = 1

    def record(
        self,
        kind: int,
        body: bytes = b"",
        *,
        instrument: int = 0,
        ts_event: int = 0,
        flags: int = 0,
        side: int = 0,
        ordinal: int = 0,
        sequence: int = NONE,
    ) -> None:
        """Add a record of any kind from its packed body.

        Raises
        ------
        RecordError
            When the record or the event would exceed its stated bound.
        """
        length = aligned(HEADER_BYTES + len(body))
        buffer = self._buffer
        if length > layout.RECORD_BYTES_MAX or len(buffer) + length > layout.EVENT_BYTES_MAX:
            raise RecordError(
                f"cannot add a record of {length} bytes to an event of {len(buffer)}",
                expected=f"records to {layout.RECORD_BYTES_MAX} and events to {layout.EVENT_BYTES_MAX} bytes",
                found=length,
            )
        header = HEADER.pack(
            length,
            kind,
            flags | self.flags,
            side,
            self.ts_recv,
            ts_event,
            self.source_index,
            instrument,
            self.source,
            ordinal,
            sequence,
        )
        self._last = len(buffer)  # only now: a field that struct refuses leaves the event as it was
        buffer += header
        buffer += body
        buffer += bytes(length - HEADER_BYTES - len(body))
        self._count += 1

    def raw(self, data: bytes | bytearray | memoryview) -> None:
        """Add a record that is already packed, unchanged but for the event's end mark."""
        self._last = len(self._buffer)
        self._buffer += data
        self._count += 1

    def delta(
        self,
        instrument: int,
        side: int,
        price: int,
        size: int,
        *,
        ts_event: int,
        sequence: int = NONE,
        sequence_first: int = NONE,
        sequence_previous: int = NONE,
        flags: int = 0,
    ) -> None:
        """Add a BOOK_DELTA: the level's new size; 0 deletes it."""
        buffer = self._buffer
        packed = _DELTA.pack(
            layout.BOOK_DELTA_BYTES,
            Kind.BOOK_DELTA,
            flags | self.flags,
            side,
            self.ts_recv,
            ts_event,
            self.source_index,
            instrument,
            self.source,
            0,
            sequence,
            price,
            size,
            sequence_first,
            sequence_previous,
        )
        self._last = len(buffer)
        buffer += packed
        self._count += 1

    def deltas(
        self,
        instrument: int,
        side: int,
        levels: Iterable[tuple[int, int] | None],
        *,
        ts_event: int,
        sequence: int = NONE,
        sequence_first: int = NONE,
        sequence_previous: int = NONE,
    ) -> None:
        """Add a BOOK_DELTA for each (price, size) of `levels` that is not None; see :meth:`delta`."""
        pack, length, kind = _DELTA.pack, layout.BOOK_DELTA_BYTES, int(Kind.BOOK_DELTA)
        flags, ts_recv, source_index, source = self.flags, self.ts_recv, self.source_index, self.source
        packed = [
            pack(
                *(length, kind, flags, side, ts_recv, ts_event, source_index, instrument, source, 0, sequence),
                *level,
                sequence_first,
                sequence_previous,
            )
            for level in levels
            if level is not None
        ]
        if packed:
            self._last = len(self._buffer) + length * (len(packed) - 1)
            self._buffer += b"".join(packed)
            self._count += len(packed)

    def snapshot(
        self,
        instrument: int,
        fields: SnapshotFields,
        *,
        ts_event: int,
        sequence: int = NONE,
        ordinal: int = 0,
    ) -> None:
        """Add a BOOK_SNAPSHOT (all levels in one record)."""
        self.record(
            Kind.BOOK_SNAPSHOT,
            fields.pack(),
            instrument=instrument,
            ts_event=ts_event,
            flags=Flag.SNAPSHOT,
            sequence=sequence,
            ordinal=ordinal,
        )

    def trade(
        self,
        instrument: int,
        aggressor: int,
        price: int,
        size: int,
        *,
        ts_event: int,
        trade_id: int = NONE,
        trade_id_last: int = NONE,
        sequence: int = NONE,
        trade_type: int = 0,
    ) -> None:
        """Add a TRADE. `aggressor` is the side of the taker: a buy has the BID side."""
        body = layout.TRADE_BODY.pack(price, size, trade_id, trade_id_last, trade_type)
        self.record(Kind.TRADE, body, instrument=instrument, side=aggressor, ts_event=ts_event, sequence=sequence)

    def quote(
        self,
        instrument: int,
        bid_price: int,
        bid_size: int,
        ask_price: int,
        ask_size: int,
        *,
        ts_event: int,
        sequence: int = NONE,
    ) -> None:
        """Add a QUOTE (best bid and ask). A side without a level has price INT64_MIN and size 0."""
        body = layout.QUOTE_BODY.pack(bid_price, bid_size, ask_price, ask_size)
        self.record(Kind.QUOTE, body, instrument=instrument, ts_event=ts_event, sequence=sequence)

    def order(
        self,
        instrument: int,
        side: int,
        order_id: int,
        price: int,
        size: int,
        *,
        action: int,
        ts_event: int,
        code: int = 0,
        sequence: int = NONE,
        flags: int = 0,
    ) -> None:
        """Add an ORDER (L3): what happened to one resting order. `side` is the resting order's."""
        body = layout.ORDER_BODY.pack(order_id, price, size, action, code)
        self.record(
            Kind.ORDER, body, instrument=instrument, side=side, ts_event=ts_event, flags=flags, sequence=sequence
        )

    def check(
        self,
        instrument: int,
        rule: int,
        expected: int,
        *,
        ts_event: int,
        verdict: int = 0,
        computed: int = 0,
        sequence: int = NONE,
        ordinal: int = 0,
    ) -> None:
        """Add a CHECK: the venue's checksum of the book after this event."""
        body = layout.CHECK_BODY.pack(rule, verdict, expected, computed)
        self.record(Kind.CHECK, body, instrument=instrument, ts_event=ts_event, sequence=sequence, ordinal=ordinal)

    def gap(
        self,
        instrument: int,
        cause: int,
        state: int,
        *,
        last_good_ts: int,
        recovery_ts: int = NONE,
        first_missing: int = NONE,
        last_missing: int = NONE,
        last_good_index: int = NONE,
        ordinal: int = 0,
    ) -> None:
        """Add a GAP: (last good, recovery) bound the hole; recovery is NONE while it is open."""
        body = layout.GAP_BODY.pack(
            cause, state, first_missing, last_missing, last_good_ts, recovery_ts, last_good_index
        )
        self.record(Kind.GAP, body, instrument=instrument, ordinal=ordinal)

    def instrument(self, number: int, fields: InstrumentFields, *, ts_event: int = 0) -> None:
        """Add an INSTRUMENT: definition or redefinition of instrument `number`."""
        self.record(Kind.INSTRUMENT, fields.pack(), instrument=number, ts_event=ts_event)

    def status(
        self, code: int, details: dict[str, Any], *, instrument: int = 0, ts_event: int = 0, ordinal: int = 0
    ) -> None:
        """Add a STATUS. Instrument 0 means that it concerns the connection (`source`)."""
        packed = pack_details(details)
        body = layout.STATUS_BODY.pack(code, len(packed)) + packed
        self.record(Kind.STATUS, body, instrument=instrument, ts_event=ts_event, ordinal=ordinal)

    def wire(self, form: int, payload: bytes, *, address: bytes = b"") -> None:
        """Add a WIRE record: a frame verbatim, with the address it came from."""
        body = layout.WIRE_BODY.pack(form, 0, len(address), len(payload)) + address + payload
        self.record(Kind.WIRE, body)
