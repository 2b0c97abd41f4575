"""From frames to the records of the raw queue: the one translation that live feeds, replays and restarts share.

The decoder holds no queue, socket or clock. The same frames with the same wire indexes give the same records,
which is what makes an interrupted replay resumable and the raw queue rebuildable from the wire queue.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from chronicle.core import layout
from chronicle.core.errors import DecodeError, RecordError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record, pack_record
from chronicle.feed.adapter import Adapter, Frame
from chronicle.feed.captures.names import venue_of_address, venue_of_exchange
from chronicle.feed.marks import DAMAGED, END, HEARTBEAT, PREFIX, SILENT, START, Line, read_lines, read_mark
from chronicle.feed.names import NameTable, Sight
from chronicle.feed.scan_state import Plan
from chronicle.feed.scanning import ScanningAdapter

__all__ = ["DECODER_VERSION", "FrameDecoder", "records_of"]

DECODER_VERSION: Final = 3
"""Written into prologues; it changes when the same frames would give other records."""

_CHANNEL_OF_KIND: Final = {
    **dict.fromkeys((Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.ORDER, Kind.CHECK), "book"),
    Kind.TRADE: "trade",
    Kind.QUOTE: "quote",
}

_MESSAGES: Final = frozenset({WireForm.TEXT, WireForm.BINARY})
_STREAM_FIELDS: Final = struct.Struct("<4xH10xq8xI")
"""Kind, ts_event and instrument of a record's header."""

_EXCERPT_CHARS: Final = 200
_CONFIGURATION: Final = "configuration:"


class _Builder(EventBuilder):
    """An event builder that remembers the event's definitions (for prologues) and whether it tells of an error."""

    __slots__ = ("definitions", "lost", "told")

    def __init__(self) -> None:
        super().__init__()
        self.definitions: list[tuple[int, InstrumentFields]] = []
        self.told = False
        self.lost = 0

    @property
    def last_offset(self) -> int:
        """Where the event's last record begins."""
        return self._last

    def begin(self, ts_recv: int, *, source_index: int = layout.NONE, source: int = 0, flags: int = 0) -> None:
        super().begin(ts_recv, source_index=source_index, source=source, flags=flags)
        if self.definitions:
            self.definitions.clear()
        self.told = False

    def status(
        self, code: int, details: dict[str, Any], *, instrument: int = 0, ts_event: int = 0, ordinal: int = 0
    ) -> None:
        super().status(code, details, instrument=instrument, ts_event=ts_event, ordinal=ordinal)
        self.told = self.told or code == StatusCode.DECODE_ERROR
        self.lost += code == StatusCode.LOST

    def instrument(self, number: int, fields: InstrumentFields, *, ts_event: int = 0) -> None:
        super().instrument(number, fields, ts_event=ts_event)
        self.definitions.append((number, fields))


class FrameDecoder:
    """Turns frames into events of raw records, venue by venue, and keeps what a restart must know.

    Parameters
    ----------
    make_adapter : callable
        Gives the adapter of a venue; adapters share one registry of instrument numbers.

    Attributes
    ----------
    lines : dict of int to Line
        The connections of the present capture.
    connected : dict of int to bool
        The lines that are up.
    decode_errors : int
        Frames that could not be read since the decoder was made.
    events : int
        How many events the last frame gave.
    """

    def __init__(self, make_adapter: Callable[[str], Adapter]) -> None:
        self._make_adapter = make_adapter
        self._adapters: dict[str, Adapter] = {}
        self._of_line: dict[int, Adapter] = {}
        self._addresses: dict[str, str] = {}
        self._out = _Builder()
        self._capture = ""
        self.lines: dict[int, Line] = {}
        self.connected: dict[int, bool] = {}
        self._defined: dict[int, bytes] = {}
        self._streams: dict[tuple[int, int, str], int] = {}
        self._lags: dict[int, tuple[int, int]] = {}
        self.last_offset = 0
        """Where the last record of the last event begins."""
        self.events = 0
        self.decode_errors = 0

    @property
    def streams(self) -> dict[tuple[int, int, str], int]:
        """ts_recv of the last event of each (connection, instrument, channel): health is that of the oldest."""
        found = dict(self._streams)
        for connection, sight in self._sights():
            for (number, channel), ts in sight.streams().items():
                key = connection, number, channel
                found[key] = max(ts, found.get(key, ts))
        return found

    @property
    def lag_ns(self) -> dict[int, int]:
        """How far the receipt of each connection's last event lies behind the venue's time of it."""
        found = dict(self._lags)
        for connection, sight in self._sights():
            lag = sight.lag
            if lag.ts_recv and lag.ts_recv >= found.get(connection, (0, 0))[0]:
                found[connection] = lag.ts_recv, lag.lag_ns
        return {connection: lag for connection, (_, lag) in found.items()}

    def _sights(self) -> Iterator[tuple[int, Sight]]:
        """Yield what direct writes noted, by connection."""
        for adapter in self._adapters.values():
            if isinstance(adapter, ScanningAdapter):
                yield from adapter.sights.items()

    def way_of(self, connection: int) -> tuple[Plan, NameTable] | None:
        """Return what direct writes of a connection's messages need, None where its adapter scans none now."""
        adapter = self._of_line.get(connection)
        return adapter.way_of(connection) if isinstance(adapter, ScanningAdapter) else None

    @property
    def lost(self) -> int:
        """Holes in venues' counts over a connection."""
        return self._out.lost

    @property
    def scans(self) -> tuple[int, int]:
        """Messages that compiled scans read, and those that they left to the plain adapters."""
        counts = [(getattr(item, "scanned", 0), getattr(item, "declined", 0)) for item in self._adapters.values()]
        return sum(count[0] for count in counts), sum(count[1] for count in counts)

    def require(self, venues: Iterable[str]) -> None:
        """Make the adapters of `venues`, so that an unknown one is refused before anything is written.

        An adapter that has something to load (kernels) does so now, before its frames come.
        """
        for venue in dict.fromkeys(venues):
            prepare = getattr(self._adapter(venue), "prepare", None)
            if prepare is not None:
                prepare()

    def decode(self, frame: Frame, *, ts_recv: int, wire_index: int, flags: int = 0) -> tuple[bytearray, int]:
        """Return (bytes, record count) of the events that `frame` gives; count 0 when it carries nothing for us.

        Never raises for what an exchange or a file sent: that becomes a STATUS DECODE_ERROR.
        """
        out = self._out
        out.begin(ts_recv, source_index=wire_index, source=frame.connection, flags=flags)
        try:
            if frame.form in _MESSAGES:
                adapter = self._of_line.get(frame.connection)
                if adapter is None:
                    adapter = self._venue_of(frame)
                    if frame.connection in self.lines:
                        self._of_line[frame.connection] = adapter
                adapter.decode(frame, out)
            elif frame.form == WireForm.CONFIG and frame.address.startswith(PREFIX):
                self._mark(frame, out)
            elif frame.form == WireForm.CONNECTED:
                self._connected(frame, out)
            elif frame.form == WireForm.DISCONNECTED:
                self._disconnected(frame, out)
            else:
                self._venue_of(frame).decode(frame, out)
        except (DecodeError, RecordError) as error:
            self._failed(frame, out, error.message)
        except Exception as error:
            # A hostile frame may trip an adapter anywhere. The feed must live: what the frame gave so far is
            # dropped, the frame itself is in the wire queue, and the raw queue says what happened.
            out.begin(ts_recv, source_index=wire_index, source=frame.connection, flags=flags)
            self._failed(frame, out, f"{type(error).__name__}: {error}")
        for number, fields in out.definitions:
            self._defined[number] = pack_record(
                Kind.INSTRUMENT,
                fields.pack(),
                ts_recv=ts_recv,
                instrument=number,
                source=frame.connection,
                source_index=wire_index,
            )
        self.events = out.events
        last = self.last_offset = out.last_offset
        data, count = out.take()
        if count and frame.form != WireForm.HTTP:  # a snapshot that was asked for says nothing of the stream
            self._note_stream(data, last, frame.connection, ts_recv)
        return data, count

    def _note_stream(self, data: bytearray, last: int, connection: int, ts_recv: int) -> None:
        """Note whose event this was by its last record: CHECKs and INSTRUMENTs stand beside what they are about."""
        kind, ts_event, instrument = _STREAM_FIELDS.unpack_from(data, last)
        channel = _CHANNEL_OF_KIND.get(kind)
        if channel is not None and instrument:
            self._streams[connection, instrument, channel] = ts_recv
            if ts_event > 0:
                self._lags[connection] = ts_recv, ts_recv - ts_event

    @property
    def has_definitions(self) -> bool:
        """Whether there is something to take."""
        return bool(self._defined)

    def take_definitions(self) -> dict[int, bytes]:
        """Return the INSTRUMENT records made since the last call, by number (once they are committed)."""
        defined, self._defined = self._defined, {}
        return defined

    # --- what the frame is -----------------------------------------------------------------------------------

    def _mark(self, frame: Frame, out: _Builder) -> None:
        if frame.address == START:
            self._start(frame, out)
        elif frame.address == END:
            self._end(frame, out)
        elif frame.address == SILENT:
            details = {"line": self._line_name(frame.connection), "reason": frame.payload.decode("utf-8", "replace")}
            out.status(StatusCode.HEARTBEAT_LOST, details)
        elif frame.address == HEARTBEAT:
            out.status(StatusCode.HEARTBEAT, {})
        elif frame.address.startswith(DAMAGED):
            self._failed(frame, out, frame.address.removeprefix(DAMAGED))
        # Marks of later versions are skipped, as unknown record kinds are.

    def _start(self, frame: Frame, out: EventBuilder) -> None:
        mark = read_mark(frame)
        lines = read_lines(mark)
        self._capture = mark["capture"]
        addresses = mark.get("addresses")
        self._addresses = dict(addresses) if isinstance(addresses, dict) else {}
        self.lines = {line.number: line for line in lines}
        self.connected = {}
        self._streams.clear()
        self._of_line.clear()
        self._adapters.clear()  # all earlier lines are gone, and with them what adapters knew of their channels
        details = {"capture": self._capture, "format": mark.get("format", ""), "files": mark.get("files", [])}
        details["decoder"] = DECODER_VERSION
        out.status(StatusCode.CAPTURE_START, details)
        for line in lines:
            if not line.announced:
                out.source = line.number
                self.connected[line.number] = True
                out.status(StatusCode.CONNECTED, {"line": line.name, "venue": line.venue})
        out.source = frame.connection

    def _end(self, frame: Frame, out: EventBuilder) -> None:
        mark = read_mark(frame)
        reason = str(mark.get("reason", ""))
        for number, up in self.connected.items():  # adapters give what they held back, and forget the lines
            if up and number in self.lines:
                self._tell(
                    replace(frame, form=WireForm.DISCONNECTED, connection=number), out, StatusCode.DISCONNECTED
                )
        for number in sorted(number for number, up in self.connected.items() if up):
            out.source = number
            out.status(StatusCode.DISCONNECTED, {"line": self._line_name(number), "reason": reason})
        out.source = frame.connection
        details: dict[str, Any] = {"capture": mark["capture"], "reason": reason}
        if mark.get("damage"):
            details["damage"] = mark["damage"]
        out.status(StatusCode.CAPTURE_END, details)
        self.connected = {}

    def _connected(self, frame: Frame, out: EventBuilder) -> None:
        line = self.lines.get(frame.connection)
        details = {"line": self._line_name(frame.connection), "address": frame.address}
        if line is not None:
            details["venue"] = line.venue
        self.connected[frame.connection] = True
        self._state_change(frame, out, StatusCode.CONNECTED, details)

    def _disconnected(self, frame: Frame, out: EventBuilder) -> None:
        reason = frame.payload.decode("utf-8", "replace")
        self.connected[frame.connection] = False
        details = {"line": self._line_name(frame.connection), "reason": reason}
        self._state_change(frame, out, StatusCode.DISCONNECTED, details)

    def _state_change(self, frame: Frame, out: EventBuilder, code: int, details: dict[str, Any]) -> None:
        """Write the line's status once; the adapter also sees the frame, to forget what belonged to the line."""
        out.status(code, details)
        self._tell(frame, out, code)

    def _tell(self, frame: Frame, out: EventBuilder, code: int) -> None:
        """Show the adapter a frame that is about its line, and take what it gives but for a status of that `code`."""
        scratch = EventBuilder()
        scratch.begin(out.ts_recv, source_index=out.source_index, source=frame.connection)
        self._venue_of(frame).decode(frame, scratch)
        data, _ = scratch.take()
        for record in records_of(data):
            if not (record.kind == Kind.STATUS and record.fields()["code"] == code):
                packed = bytearray(record.data)
                packed[layout.OFFSET_FLAGS] &= ~layout.Flag.LAST & 0xFF
                out.raw(packed)
                if record.is_last:
                    out.end_event()

    def _failed(self, frame: Frame, out: _Builder, message: str) -> None:
        """Say that the frame could not be read: once, so that one instrument's trouble is not that of its line."""
        self.decode_errors += 1
        if out.told:
            return
        details = {
            "error": message[:1000],
            "line": self._line_name(frame.connection),
            "form": int(frame.form),
            "bytes": len(frame.payload),
            "excerpt": frame.payload[:_EXCERPT_CHARS].decode("utf-8", "replace"),
        }
        out.source = frame.connection
        out.status(StatusCode.DECODE_ERROR, details)

    # --- whose frame it is -----------------------------------------------------------------------------------

    def _venue_of(self, frame: Frame) -> Adapter:
        line = self.lines.get(frame.connection)
        if line is not None:
            return self._adapter(line.venue)
        venue = self._addresses.get(frame.address)
        if venue is None:
            venues = list(dict.fromkeys(line.venue for line in self.lines.values()))
            if len(venues) == 1:
                venue = venues[0]
            elif frame.address.startswith(_CONFIGURATION):
                name = frame.address.removeprefix(_CONFIGURATION).partition(".")[0]
                venue = venue_of_exchange(name) if name else None
            else:
                venue = venue_of_address(frame.address)
        if venue is None:
            raise DecodeError(
                f"cannot tell the venue of {frame.address[:200]!r}", hint="its capture names no line for it"
            )
        return self._adapter(venue)

    def _adapter(self, venue: str) -> Adapter:
        adapter = self._adapters.get(venue)
        if adapter is None:
            adapter = self._adapters[venue] = self._make_adapter(venue)
        return adapter

    def _line_name(self, number: int) -> str:
        line = self.lines.get(number)
        return line.name if line else ""


def records_of(data: bytes | bytearray) -> list[Record]:
    """Return the records that lie in `data` one behind the other."""
    view = memoryview(bytes(data))
    records = []
    offset = 0
    while offset < len(view):
        record = Record(view[offset:])
        record = Record(view[offset : offset + record.length])
        records.append(record)
        offset += record.length
    return records
