"""Frames into queues: verbatim into the wire queue first, then what they mean into the raw queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chronicle.core import layout
from chronicle.core.appender import Appender
from chronicle.core.errors import StateError
from chronicle.core.layout import INT64_MIN, NONE, Flag, Kind, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.adapter import Frame
from chronicle.feed.catchup import undecoded_frames
from chronicle.feed.decoder import DECODER_VERSION, FrameDecoder
from chronicle.feed.direct import DirectPath
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.lanes import Lane, load_instruments, prologue_of, save_instruments
from chronicle.feed.marks import START, damaged_frame
from chronicle.feed.scan_state import WriterCounts
from chronicle.feed.venues import adapter_for

__all__ = ["FeedWriter"]

_WIRE_FIXED = layout.WIRE_BODY.pack
_WIRE = int(Kind.WIRE)
FRAME_BYTES_MAX = layout.RECORD_BYTES_MAX - layout.HEADER_BYTES - layout.WIRE_BODY.size - layout.PAGE_BYTES // 2
"""Payload and address of a frame fit a WIRE record up to this size; a larger one is refused, and said so."""


class FeedWriter:
    """Writes frames to a lane; the only writer of its two queues while it is open.

    The order is: WIRE record, then the event that it gives. A process that dies between the two leaves a frame that
    is not decoded yet; a writer that is given the same frames again from `wire_start` on (an interrupted replay)
    appends to each queue only what is not in it, and ends with the same records as one that never died.

    Parameters
    ----------
    lane : Lane
        Where to write.
    home : Path
        The home that holds it.
    wire_start, raw_start : int, optional
        Indexes at which the capture began, when it is continued; default the queues' ends.

    Attributes
    ----------
    decoder : FrameDecoder
        Counters, lines and health.
    clamped : int
        Frames whose clock had stepped back: they took the time of the frame before, flagged F_BAD_TS_RECV.
    """

    def __init__(self, lane: Lane, home: Any, *, wire_start: int | None = None, raw_start: int | None = None) -> None:
        self.lane = lane
        self.race: Callable[[int, bytes | bytearray, int], None] | None = None
        """Is told (connection, event, offset of its last record) of each event: for the counts of redundant lines."""
        self._counts = WriterCounts()
        self._direct: dict[int, DirectPath] = {}
        self._mark: bytes = b""
        self._address, self._address_bytes = "", b""
        self._instruments: dict[int, bytes] = {}
        self.wire: Appender = lane.wire.appender(prologue=self._wire_prologue)
        try:
            self.raw: Appender = lane.raw.appender(
                prologue=prologue_of(lane.raw.name, self._instruments, DECODER_VERSION)
            )
        except BaseException:
            self.wire.close()
            raise
        try:
            self._counts.next_index = self.wire.next_index if wire_start is None else wire_start
            self._wire_resume = self.wire.next_index
            begin = self.raw.next_index if raw_start is None else raw_start
            self._raw_done = self._last_decoded(begin)
            known = load_instruments(home, lane.raw, begin)
            registry = self.registry = InstrumentRegistry()
            for number, record in sorted(known.items()):
                registry.restore(number, InstrumentFields.unpack(Record(record).body))
            self._instruments.update(known)
            self.decoder = FrameDecoder(lambda venue: adapter_for(venue, registry))
            fresh = wire_start is None or self.wire.next_index == wire_start
            last_ts = max(self.wire.last_ts_recv, self.raw.last_ts_recv) if fresh else INT64_MIN
            self._counts.last_ts = last_ts
            self.clamped = 0
            if wire_start is None and begin:
                self._catch_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> FeedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_ts(self) -> int:
        """ts_recv of the last frame; INT64_MIN before the first."""
        return self._counts.last_ts

    @property
    def frames(self) -> int:
        """Frames that this writer appended to the wire queue."""
        return self._counts.frames

    @property
    def records(self) -> int:
        """Records that this writer appended to the raw queue."""
        return self._counts.records

    @property
    def events(self) -> int:
        """Events that this writer appended to the raw queue."""
        return self._counts.events

    @property
    def resuming(self) -> bool:
        """Whether the next frame is one that the wire queue already holds."""
        return self._counts.next_index < self._wire_resume

    def write_message(self, form: WireForm, connection: int, address: str, ts_recv: int, payload: bytes) -> None:
        """Append a frame and what it means, by one compiled call where that is possible; see :meth:`write`."""
        direct = self._direct.get(connection)
        if direct is None or direct.address != address or not direct.put(payload, form, ts_recv):
            self._write(Frame(form, connection, address, ts_recv, payload))
        elif self.race is not None:
            self.race(connection, direct.last_record(), 0)

    def write(self, frame: Frame) -> None:
        """Append `frame` and what it means.

        Raises
        ------
        CapacityError
            When a queue finds no space.
        StateError
            When the wire queue already holds another frame at this place.
        """
        direct = self._direct.get(frame.connection)
        if (
            direct is None
            or direct.address != frame.address
            or not direct.put(frame.payload, frame.form, frame.ts_recv)
        ):
            self._write(frame)
        elif self.race is not None:
            self.race(frame.connection, direct.last_record(), 0)

    def _write(self, frame: Frame) -> None:
        """Append a frame by way of its decoder."""
        size = len(frame.payload) + len(frame.address)
        if size > FRAME_BYTES_MAX:
            reason = f"a frame of {size} bytes is larger than {FRAME_BYTES_MAX}, the most that a record holds"
            frame = damaged_frame(
                frame.connection, frame.ts_recv, where=frame.address[:200], reason=reason, payload=frame.payload
            )
        if frame.address == START:
            self._mark = frame.payload
            self._direct.clear()
        counts = self._counts
        flags, ts_recv = 0, frame.ts_recv
        if ts_recv < counts.last_ts:
            flags, ts_recv = int(Flag.BAD_TS_RECV), counts.last_ts
            self.clamped += 1
        counts.last_ts = ts_recv
        index = counts.next_index
        if index >= self._wire_resume:
            self._append_wire(frame, ts_recv, flags)
        elif index == self._wire_resume - 1:
            self._check_same(frame, index)
        counts.next_index = index + 1
        data, count = self.decoder.decode(frame, ts_recv=ts_recv, wire_index=index, flags=flags)
        if self.race is not None and count:
            self.race(frame.connection, data, self.decoder.last_offset)
        if index > self._raw_done:
            self._commit(data, count)
            if frame.form == WireForm.TEXT or frame.form == WireForm.BINARY:
                self._open_path(frame)
        else:
            self._instruments.update(self.decoder.take_definitions())

    def _open_path(self, frame: Frame) -> None:
        """Let the connection's next messages go directly, once its adapter scans and nothing is repeated any more."""
        known = self._direct.get(frame.connection)
        if known is not None and known.is_open and known.address == frame.address:
            return
        way = self.decoder.way_of(frame.connection)
        if way is not None and way[1].source == frame.address and not self.resuming:
            self._direct[frame.connection] = DirectPath(
                *way,
                self.wire,
                self.raw,
                self._counts,
                connection=frame.connection,
                address=frame.address,
            )

    def prefault(self) -> None:
        """Have both queues' open segments and compiled code ready before the first frame comes."""
        self.wire.prefault()
        self.raw.prefault()

    def sync(self) -> None:
        """Make everything written so far survive a power cut, the wire queue first."""
        self.wire.sync()
        self.raw.sync()

    def finish(self) -> None:
        """Leave the definitions for the next writer and make all of it durable."""
        self.sync()
        save_instruments(self.lane.raw, self.raw.next_index, self._instruments)

    def close(self) -> None:
        """Give up the queues; what was written stays."""
        self.wire.close()
        self.raw.close()

    def _catch_up(self) -> None:
        """Decode what a killed writer left in the wire queue only, so that no frame is missing in the raw queue."""
        record = self.lane.raw.last_record()
        if record is None or record.source_index < 0:
            return
        mark, tail = undecoded_frames(self.lane.wire, record.source_index)
        if mark is not None and tail:
            self.decoder.decode(mark, ts_recv=mark.ts_recv, wire_index=NONE)  # for its lines; the record is there
        for item in tail:
            flags = item.flags & Flag.BAD_TS_RECV
            data, count = self.decoder.decode(
                item.frame, ts_recv=item.frame.ts_recv, wire_index=item.index, flags=flags
            )
            self._commit(data, count)

    def _commit(self, data: bytearray, count: int) -> None:
        """Append a frame's events, all at once, and only then count their definitions as known."""
        if count:
            events = self.decoder.events
            if events > 1:
                self.raw.append_events(data, count)
            else:
                self.raw.append_event(data, count)
            self._counts.records += count
            self._counts.events += events
            if self.decoder.has_definitions:
                self._instruments.update(self.decoder.take_definitions())

    def _append_wire(self, frame: Frame, ts_recv: int, flags: int) -> None:
        if frame.address != self._address:
            self._address, self._address_bytes = frame.address, frame.address.encode("utf-8", "backslashreplace")
        address = self._address_bytes
        body = _WIRE_FIXED(frame.form, 0, len(address), len(frame.payload)) + address + frame.payload
        self.wire.append(_WIRE, body, ts_recv=ts_recv, flags=flags, source=frame.connection)
        self._counts.frames += 1

    def _check_same(self, frame: Frame, index: int) -> None:
        record = self.lane.wire.last_record()
        if record is None or record.index != index or record.fields()["payload"] != frame.payload:
            raise StateError(
                "the wire queue holds another frame where the interrupted capture stopped",
                path=self.lane.wire.path,
                found=index,
                hint="replay with --again: the capture then gets a lane of its own",
            )

    def _last_decoded(self, begin: int) -> int:
        """Return the wire index of the last frame that gave raw records from `begin` on; NONE when there is none."""
        if self.raw.next_index == begin:
            return NONE
        record = self.lane.raw.last_record()
        if record is None or self.raw.next_index < begin:
            raise StateError(
                "the raw queue does not hold what the interrupted capture wrote",
                path=self.lane.raw.path,
                expected=f"records from {begin} on",
                found=self.raw.next_index,
                hint="replay with --again: the capture then gets a lane of its own",
            )
        return int(record.source_index)

    def _wire_prologue(self) -> dict[str, Any]:
        return {"schema": 1, "queue": self.lane.wire.name, "capture": self._mark}
