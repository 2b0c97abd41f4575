"""Records as Python objects, and the functions that turn fields into bytes.

A record in memory is its bytes (``docs/format/queue.md``). ``pack_*`` builds them, :class:`Record` reads them
lazily: the header is unpacked once, the body only when asked for. Hot paths use the NumPy views instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from chronicle.core import layout
from chronicle.core.errors import RecordError
from chronicle.core.layout import HEADER, HEADER_BYTES, NONE, Kind, aligned

__all__ = ["InstrumentFields", "Record", "SnapshotFields", "pack_record", "snapshot_orders"]


def pack_record(
    kind: int,
    body: bytes = b"",
    *,
    ts_recv: int,
    ts_event: int = 0,
    flags: int = 0,
    side: int = 0,
    instrument: int = 0,
    source: int = 0,
    source_index: int = NONE,
    ordinal: int = 0,
    sequence: int = NONE,
) -> bytes:
    """Return the bytes of one record: header, `body`, zero padding to 8 bytes.

    Raises
    ------
    RecordError
        When the record would exceed ``layout.RECORD_BYTES_MAX``.
    """
    length = aligned(HEADER_BYTES + len(body))
    if length > layout.RECORD_BYTES_MAX:
        raise RecordError(
            f"cannot build a {Kind(kind).name} record of {length} bytes",
            expected=f"at most {layout.RECORD_BYTES_MAX}",
            found=length,
            hint="split the payload",
        )
    header = HEADER.pack(
        length, kind, flags, side, ts_recv, ts_event, source_index, instrument, source, ordinal, sequence
    )
    return (header + body).ljust(length, b"\0")


def pack_details(details: dict[str, Any]) -> bytes:
    """Return `details` as msgpack (maps keep their order, so equal input gives equal bytes)."""
    packed: bytes = msgpack.packb(details, use_bin_type=True)
    return packed


def unpack_details(data: bytes | memoryview, *, where: str) -> dict[str, Any]:
    """Return the msgpack map in `data`.

    Raises
    ------
    RecordError
        When `data` is not one msgpack map.
    """
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise RecordError(f"cannot read the details of a {where} record: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"the details of a {where} record are no map", expected="map", found=type(value).__name__)
    return value


@dataclass(frozen=True, slots=True)
class InstrumentFields:
    """The definition of an instrument as an INSTRUMENT record carries it.

    Prices and sizes are mantissas: value = mantissa / 10**exponent (exponents count decimals). `tick` and `lot` are
    mantissas of the same exponents, 0 when unknown. `book_depth` is the depth the venue keeps (0 = unlimited).
    `check_price_decimals` and `check_size_decimals` are the wire's fixed decimals for the checksum text, NONE when
    the rule strips zeros. `details` holds symbol, venue, venue_symbol, base, quote, type and what the venue adds.
    """

    price_exponent: int
    size_exponent: int
    driver: int = Kind.BOOK_DELTA
    check_rule: int = 0
    sequence_rule: int = 0
    check_price_decimals: int = NONE
    check_size_decimals: int = NONE
    book_depth: int = 0
    tick: int = 0
    lot: int = 0
    details: dict[str, Any] | None = None

    @property
    def symbol(self) -> str:
        """Canonical name, as ``kraken:BTC-EUR``."""
        return str((self.details or {}).get("symbol", ""))

    @property
    def venue_symbol(self) -> str:
        """The venue's own spelling, as ``XBT/EUR``."""
        return str((self.details or {}).get("venue_symbol", ""))

    def pack(self) -> bytes:
        """Return the body of the INSTRUMENT record."""
        details = pack_details(self.details or {})
        fixed = layout.INSTRUMENT_BODY.pack(
            self.price_exponent,
            self.size_exponent,
            self.driver,
            self.check_rule,
            self.sequence_rule,
            0,
            self.check_price_decimals,
            self.check_size_decimals,
            self.book_depth,
            self.tick,
            self.lot,
            len(details),
        )
        return fixed + details

    @classmethod
    def unpack(cls, body: bytes | memoryview) -> InstrumentFields:
        """Read the body of an INSTRUMENT record."""
        size = layout.INSTRUMENT_BODY.size
        if len(body) < size:
            raise RecordError("an INSTRUMENT record is too short", expected=size, found=len(body))
        values = layout.INSTRUMENT_BODY.unpack_from(body)
        details_bytes = values[11]
        if size + details_bytes > len(body):
            raise RecordError(
                "an INSTRUMENT record's details end outside it", expected=len(body), found=details_bytes
            )
        details = unpack_details(bytes(body[size : size + details_bytes]), where="INSTRUMENT")
        price_exponent, size_exponent, driver, check, sequence, _, price_decimals, size_decimals, *rest = values
        depth, tick, lot = rest[:3]
        return cls(
            price_exponent,
            size_exponent,
            driver=driver,
            check_rule=check,
            sequence_rule=sequence,
            check_price_decimals=price_decimals,
            check_size_decimals=size_decimals,
            book_depth=depth,
            tick=tick,
            lot=lot,
            details=details,
        )


@dataclass(frozen=True, slots=True)
class SnapshotFields:
    """The body of a BOOK_SNAPSHOT: levels best first, the complete price range, and the book's trust there.

    `bids` and `asks` are sequences of (price, size) mantissas. Between `bid_floor` and `ask_ceiling` the book is
    complete; INT64_MIN / INT64_MAX mean without bound.
    """

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    origin: int
    status: int = 0
    verified_by: int = 0
    bid_floor: int = layout.INT64_MIN
    ask_ceiling: int = layout.INT64_MAX
    last_good_ts: int = NONE

    def pack(self) -> bytes:
        """Return the body of the BOOK_SNAPSHOT record."""
        import struct

        fixed = layout.BOOK_SNAPSHOT_BODY.pack(
            len(self.bids),
            len(self.asks),
            self.origin,
            self.status,
            self.verified_by,
            0,
            self.bid_floor,
            self.ask_ceiling,
            self.last_good_ts,
        )
        numbers = [number for level in self.bids for number in level]
        numbers += [number for level in self.asks for number in level]
        return fixed + struct.pack(f"<{len(numbers)}q", *numbers)

    @classmethod
    def unpack(cls, body: bytes | memoryview) -> SnapshotFields:
        """Read the body of a BOOK_SNAPSHOT record."""
        import struct

        size = layout.BOOK_SNAPSHOT_BODY.size
        if len(body) < size:
            raise RecordError("a BOOK_SNAPSHOT record is too short", expected=size, found=len(body))
        bid_count, ask_count, origin, status, verified, _, floor, ceiling, good = (
            layout.BOOK_SNAPSHOT_BODY.unpack_from(body)
        )
        if size + 16 * (bid_count + ask_count) > len(body):
            raise RecordError(
                "a BOOK_SNAPSHOT record's levels end outside it",
                expected=len(body),
                found=bid_count + ask_count,
            )
        numbers = struct.unpack_from(f"<{2 * (bid_count + ask_count)}q", body, size)
        levels = list(zip(numbers[0::2], numbers[1::2], strict=True))
        return cls(levels[:bid_count], levels[bid_count:], origin, status, verified, floor, ceiling, good)


def snapshot_orders(body: bytes | memoryview) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return (bids, asks) of an ORDER_SNAPSHOT's body, each (order_id, price, size) in order of priority.

    Raises
    ------
    RecordError
        When the orders end outside the record.
    """
    import struct

    start, middle, end = snapshot_order_bytes(body)
    return list(struct.iter_unpack("<Qqq", body[start:middle])), list(struct.iter_unpack("<Qqq", body[middle:end]))


def snapshot_order_bytes(body: bytes | memoryview) -> tuple[int, int, int]:
    """Return where in an ORDER_SNAPSHOT's body its bids begin, its asks begin, and its orders end.

    Raises
    ------
    RecordError
        When the orders end outside the record.
    """
    start = layout.ORDER_SNAPSHOT_BODY.size
    if len(body) < start:
        raise RecordError("an ORDER_SNAPSHOT record is too short", expected=start, found=len(body))
    bid_count, ask_count = layout.ORDER_SNAPSHOT_BODY.unpack_from(body)
    middle = start + layout.ORDER_SNAPSHOT_ROW_BYTES * bid_count
    end = middle + layout.ORDER_SNAPSHOT_ROW_BYTES * ask_count
    if end > len(body):
        raise RecordError("an ORDER_SNAPSHOT record's orders end outside it", expected=end, found=len(body))
    return start, middle, end


_unpack = HEADER.unpack_from
_FLAG_LAST = int(layout.Flag.LAST)
"""As a plain number: the flag's own ``&`` costs more than the rest of reading a record."""


class Record:
    """One record: header fields as attributes, the body on demand.

    Attributes
    ----------
    index : int
        The record's index in its queue.
    kind, flags, side, ts_recv, ts_event, source_index, instrument, source, ordinal, sequence : int
        Header fields (times in ns UTC).
    data : memoryview
        All bytes of the record. It is a view of the segment when a tailer made it; ``copy()`` keeps it.

    Notes
    -----
    A reader makes one object a record, so the header is unpacked at once (one call, cheaper than a single property),
    and everything else when asked for.
    """

    __slots__ = (
        "_memory",
        "_offset",
        "flags",
        "index",
        "instrument",
        "kind",
        "length",
        "ordinal",
        "sequence",
        "side",
        "source",
        "source_index",
        "ts_event",
        "ts_recv",
    )

    def __init__(self, memory: memoryview | bytes, index: int = NONE, offset: int = 0) -> None:
        """Read the record at `offset` of `memory`; `struct.error` where no header fits."""
        (
            self.length,
            self.kind,
            self.flags,
            self.side,
            self.ts_recv,
            self.ts_event,
            self.source_index,
            self.instrument,
            self.source,
            self.ordinal,
            self.sequence,
        ) = _unpack(memory, offset)
        self._memory = memory
        self._offset = offset
        self.index = index

    def __repr__(self) -> str:
        try:
            name = Kind(self.kind).name
        except ValueError:
            name = f"kind {self.kind}"
        return f"<Record {self.index} {name} instrument={self.instrument} ts_recv={self.ts_recv}>"

    @property
    def data(self) -> memoryview:
        """All bytes of the record."""
        offset = self._offset
        return memoryview(self._memory)[offset : offset + self.length]

    @property
    def body(self) -> memoryview:
        """Bytes after the header, padding included."""
        offset = self._offset
        return memoryview(self._memory)[offset + HEADER_BYTES : offset + self.length]

    @property
    def is_last(self) -> bool:
        """Whether this record ends its event."""
        return bool(self.flags & _FLAG_LAST)

    def copy(self) -> Record:
        """Return the same record over its own copy of the bytes."""
        return Record(bytes(self.data), self.index)

    def fields(self) -> dict[str, Any]:
        """Return the body's fields by name (layout order); empty for kinds this build does not know.

        Raises
        ------
        RecordError
            When the body is shorter than its kind's fixed part.
        """
        return body_fields(self.kind, self.body)

    def to_dict(self) -> dict[str, Any]:
        """Return header and body as plain values, for dumps."""
        try:
            name: str = Kind(self.kind).name
        except ValueError:
            name = f"unknown-{self.kind}"
        header = {
            "index": self.index,
            "kind": name,
            "flags": self.flags,
            "side": {66: "bid", 65: "ask"}.get(self.side, ""),
            "ts_recv": self.ts_recv,
            "ts_event": self.ts_event,
            "source_index": self.source_index,
            "instrument": self.instrument,
            "source": self.source,
            "ordinal": self.ordinal,
            "sequence": self.sequence,
            "length": self.length,
        }
        return header | self.fields()


_FIELD_NAMES: dict[int, tuple[Any, tuple[str, ...]]] = {
    Kind.ROLL: (layout.ROLL_BODY, ("next_segment", "next_base_index")),
    Kind.GAP: (
        layout.GAP_BODY,
        ("cause", "state", "first_missing", "last_missing", "last_good_ts", "recovery_ts", "last_good_index"),
    ),
    Kind.CHECK: (layout.CHECK_BODY, ("rule", "verdict", "expected", "computed")),
    Kind.BOOK_DELTA: (layout.BOOK_DELTA_BODY, ("price", "size", "sequence_first", "sequence_previous")),
    Kind.ORDER: (layout.ORDER_BODY, ("order_id", "price", "size", "action", "code")),
    Kind.ORDER_SNAPSHOT: (layout.ORDER_SNAPSHOT_BODY, ("bid_count", "ask_count")),
    Kind.TRADE: (layout.TRADE_BODY, ("price", "size", "trade_id", "trade_id_last", "type")),
    Kind.QUOTE: (layout.QUOTE_BODY, ("bid_price", "bid_size", "ask_price", "ask_size")),
    Kind.CANDLE: (
        layout.CANDLE_BODY,
        (
            *("timeframe", "state", "trade_count", "open", "high", "low", "close"),
            *("volume_high", "volume_low", "notional_high", "notional_low", "buy_volume_high", "buy_volume_low"),
        ),
    ),
    Kind.PROGRESS: (
        layout.PROGRESS_BODY,
        ("source_segment", "frontier_index", "frontier_ts", "records_total"),
    ),
}


def body_fields(kind: int, body: memoryview | bytes) -> dict[str, Any]:
    """Return the fields of a body of `kind` by name."""
    known = _FIELD_NAMES.get(kind)
    if known is not None:
        structure, names = known
        if len(body) < structure.size:
            raise RecordError(f"a {Kind(kind).name} record is too short", expected=structure.size, found=len(body))
        return dict(zip(names, structure.unpack_from(body), strict=True))
    if kind == Kind.INSTRUMENT:
        instrument = InstrumentFields.unpack(body)
        names = tuple(name for name in InstrumentFields.__slots__ if name != "details")
        return {name: getattr(instrument, name) for name in names} | {"details": instrument.details}
    if kind == Kind.STATUS:
        if len(body) < layout.STATUS_BODY.size:
            raise RecordError("a STATUS record is too short", expected=layout.STATUS_BODY.size, found=len(body))
        code, size = layout.STATUS_BODY.unpack_from(body)
        start = layout.STATUS_BODY.size
        if start + size > len(body):
            raise RecordError("a STATUS record's details end outside it", expected=len(body), found=size)
        return {"code": code, "details": unpack_details(bytes(body[start : start + size]), where="STATUS")}
    if kind == Kind.BOOK_SNAPSHOT:
        snapshot = SnapshotFields.unpack(body)
        return {name: getattr(snapshot, name) for name in SnapshotFields.__slots__}
    if kind == Kind.WIRE:
        start = layout.WIRE_BODY.size
        if len(body) < start:
            raise RecordError("a WIRE record is too short", expected=start, found=len(body))
        form, _, address_bytes, payload_bytes = layout.WIRE_BODY.unpack_from(body)
        if start + address_bytes + payload_bytes > len(body):
            raise RecordError("a WIRE record's payload ends outside it", expected=len(body), found=payload_bytes)
        address = bytes(body[start : start + address_bytes]).decode("utf-8", "replace")
        payload = bytes(body[start + address_bytes : start + address_bytes + payload_bytes])
        return {"form": form, "address": address, "payload": payload}
    return {}
