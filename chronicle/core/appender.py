"""The one writer of a queue: events become visible by the store of their first commit word, last."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from chronicle.core.compiled import install
from chronicle.core.errors import RecordError
from chronicle.core.event_bytes import check_event, check_events, clamped_event
from chronicle.core.layout import EVENT_BYTES_MAX, NONE, OFFSET_TS_RECV, SEEK_INTERVAL_BYTES, Flag, Kind
from chronicle.core.records import pack_record
from chronicle.core.segment_writer import SegmentWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chronicle.core.recorder import Recorder
    from chronicle.core.reservation import Reservation

__all__ = ["Appender"]

_TIME = struct.Struct("<q")


class Appender(SegmentWriter):
    """Appends events to a queue; made by :meth:`Queue.appender`, which holds the writer lock meanwhile.

    Three ways for one record, fastest first (nanoseconds of this build: ``tools/bench.py queue``):
    :meth:`recorder` for many records of one kind and size, :meth:`append` for any, :meth:`append_event` for bytes
    that an EventBuilder packed. :meth:`append_many` takes arrays, :meth:`reserve` builds a large body in place.

    Examples
    --------
    >>> import tempfile
    >>> from chronicle.core import Kind, Queue
    >>> folder = tempfile.TemporaryDirectory()
    >>> queue = Queue.create(folder.name + "/demo.q")
    >>> with queue.appender() as appender:
    ...     index = appender.append(Kind.STATUS, b"", ts_recv=1_000)
    ...     put = appender.recorder(1024, 16)
    ...     index = put(2_000, b"sixteen bytes...")
    ...     with appender.reserve(1025, 5, ts_recv=3_000) as body:
    ...         body[:] = b"large"
    >>> [(record.kind, record.ts_recv) for record in queue.tailer().drain()]
    [(17, 1000), (1024, 2000), (1025, 3000)]
    >>> folder.cleanup()
    """

    __slots__ = ()

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(
        self,
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
    ) -> int:
        """Append one record as an event of its own and return its index.

        Parameters
        ----------
        kind : int
            A :class:`Kind`, or a number of yours from 1024 up.
        body : bytes
            What follows the header; padded with zeros to 8 bytes.
        ts_recv : int
            Receive time, ns UTC. Earlier than the last record's: clamped and flagged.

        Raises
        ------
        RecordError
            When the record is too large or a field does not fit its bytes; nothing was appended.
        CapacityError
            When the next segment finds no space; nothing was appended.
        """
        install(Appender)
        return self._append_long(
            kind,
            body,
            ts_recv=ts_recv,
            ts_event=ts_event,
            flags=flags,
            side=side,
            instrument=instrument,
            source=source,
            source_index=source_index,
            ordinal=ordinal,
            sequence=sequence,
        )

    def recorder(self, kind: int, body_bytes: int, *, flags: int = 0, side: int = 0) -> Recorder:
        """Return a fast ``put(ts_recv, body, ...)`` for records of one kind and body size.

        Raises
        ------
        RecordError
            When such a record cannot be.
        """
        from chronicle.core.recorder import recorder

        return recorder(self, kind, body_bytes, flags=flags, side=side)

    def reserve(
        self,
        kind: int,
        body_bytes: int,
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
    ) -> Reservation:
        """Reserve a record and build its body in place: ``with appender.reserve(kind, n, ts_recv=t) as body:``.

        `body` is a writable memoryview of `body_bytes` zeros in the segment itself, up to 16 MiB. Leaving the block
        commits the record as an event; an exception inside it leaves no trace. Nothing else can be appended
        meanwhile, and `body` is released at the end.

        Raises
        ------
        RecordError
            When the record is too large or a field does not fit its bytes.
        CapacityError
            When the next segment finds no space.
        StateError
            When a reservation is open already.
        """
        from chronicle.core.reservation import Reservation

        header = (ts_event, source_index, instrument, source, ordinal, sequence)
        return Reservation(self, kind, body_bytes, ts_recv, flags=flags, side=side, header=header)

    def append_event(self, data: bytes | bytearray, count: int) -> int:
        """Append one whole event (as :meth:`EventBuilder.take` gives it) and return its first record's index.

        Raises
        ------
        RecordError
            When `data` is not `count` whole records of which the last alone carries F_LAST.
        """
        install(Appender)
        return self._append_event_long(data, count)

    def append_events(self, data: bytes | bytearray, count: int) -> int:
        """Append whole events that become visible together and return the first record's index.

        All of them go into one segment, and a writer that dies leaves all or none: this is for what one frame of a
        feed carried.

        Raises
        ------
        RecordError
            When `data` is not whole events of together `count` records, or is larger than one event may be.
        """
        if len(data) > EVENT_BYTES_MAX:
            raise RecordError(
                "the events are too large to be committed together", expected=EVENT_BYTES_MAX, found=len(data)
            )
        events = check_events(data, count)
        if len(events) == 1:
            has_snapshot = events[0][2] == Kind.BOOK_SNAPSHOT
            return self._commit(data, count, _TIME.unpack_from(data, OFFSET_TS_RECV)[0], has_snapshot)
        if self._reserved:
            self._check_unreserved()
        ts_recv = _TIME.unpack_from(data, OFFSET_TS_RECV)[0]
        if ts_recv < self.last_ts_recv:
            data, clamped = clamped_event(data, self.last_ts_recv)
            self.clamped_count += clamped
            ts_recv = self.last_ts_recv
        if self._position + len(data) > self._limit or ts_recv >= self._cycle_end:
            self._make_room(len(data), ts_recv)
        position = self._position
        end = position + len(data)
        try:
            self._memory[position + 8 : end] = memoryview(data)[8:]
            index = self._publish_events(position, end, data, count, events)
        except BaseException:  # Ctrl-C between the stores and what follows from them
            self._distrust()
            raise
        if self._waiters:
            self._wake()
        if self._durability.syncs:
            self._sync_when_due()
        return index

    def _publish_events(
        self, position: int, end: int, data: bytes | bytearray, count: int, events: list[tuple[int, int, int]]
    ) -> int:
        """Commit events whose bytes stand at `position`, all but the first word, and add their seek entries."""
        self._store_head(position, int.from_bytes(data[:8], "little"))
        index = self.next_index
        self._position = end
        self.next_index = index + count
        for offset, number, kind in events:
            at = position + offset
            ts_recv = _TIME.unpack_from(data, offset + OFFSET_TS_RECV)[0]
            if kind == Kind.BOOK_SNAPSHOT or at - self._last_entry >= SEEK_INTERVAL_BYTES:
                self._add_entry(index + number, at, ts_recv, kind)
            self.last_ts_recv = ts_recv
        return index

    def append_bytes(self, record: bytes) -> int:
        """Append one record that was packed before (:func:`chronicle.core.records.pack_record`), F_LAST set.

        Raises
        ------
        RecordError
            When the bytes are not one whole record that ends its event.
        """
        return self.append_event(record, 1)

    def append_many(self, records: NDArray[Any]) -> int:
        """Append fixed-size records by kernel and return the first one's index.

        Parameters
        ----------
        records : ndarray
            Structured array of one record dtype (``chronicle.core.dtypes.DTYPES[kind]``), C-contiguous. Each event
            ends at a record with F_LAST; the array must end with one.

        Raises
        ------
        RecordError
            When the dtype is no whole record, a length or kind is wrong, or the last event is not ended.
        """
        from chronicle.core.kernels.batch import append_batch

        return append_batch(self, records)

    def prefault(self) -> bool:
        """Get ready what a first append would wait for: the open segment's pages, and the compiled code.

        Return whether the kernel faulted the pages in; False before there is a segment.
        """
        install(Appender)
        return super().prefault()

    # --- the long way: what compiled appends do not, and everything where they cannot be --------------------------

    def _append_long(
        self,
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
    ) -> int:
        """Append one record where something is due first: room, a seek entry, a clamp, an error, a sync."""
        if not 0 < kind <= 0xFFFF or kind == Kind.ROLL:
            raise RecordError("no record can be of this kind", expected="2 to 65535", found=int(kind))
        try:
            data = pack_record(
                kind,
                bytes(memoryview(body)),
                ts_recv=ts_recv,
                ts_event=ts_event,
                flags=flags | Flag.LAST,
                side=side,
                instrument=instrument,
                source=source,
                source_index=source_index,
                ordinal=ordinal,
                sequence=sequence,
            )
        except struct.error as error:
            raise _misfit(error) from error
        return self._commit(data, 1, ts_recv, kind == Kind.BOOK_SNAPSHOT)

    def _append_event_long(self, data: bytes | bytearray, count: int) -> int:
        has_snapshot = check_event(data, count)
        return self._commit(data, count, _TIME.unpack_from(data, OFFSET_TS_RECV)[0], has_snapshot)

    def _commit(self, data: bytes | bytearray, count: int, ts_recv: int, has_snapshot: bool) -> int:
        if self._reserved:
            self._check_unreserved()
        if ts_recv < self.last_ts_recv:
            data, clamped = clamped_event(data, self.last_ts_recv)
            self.clamped_count += clamped
            ts_recv = self.last_ts_recv
        position = self._position
        end = position + len(data)
        if end > self._limit or ts_recv >= self._cycle_end:
            self._make_room(len(data), ts_recv)
            position = self._position
            end = position + len(data)
        # Everything but the first commit word; then that word, alone and last.
        kind = Kind.BOOK_SNAPSHOT if has_snapshot else data[4] | data[5] << 8
        head = int.from_bytes(data[:8], "little")
        try:
            self._memory[position + 8 : end] = memoryview(data)[8:]
        except BaseException:
            self._distrust()
            raise
        return self._publish(position, end, head, count, ts_recv, kind)

    def _publish(self, position: int, end: int, head: int, count: int, ts_recv: int, kind: int) -> int:
        """Commit the event whose bytes stand at `position`, all but its first word, and do what is due."""
        try:
            self._store_head(position, head)
            self._position = end
            index = self.next_index
            self.next_index = index + count
            self.last_ts_recv = ts_recv
        except BaseException:  # Ctrl-C between the store and what follows from it
            self._distrust()
            raise
        try:
            if kind == Kind.BOOK_SNAPSHOT or position - self._last_entry >= SEEK_INTERVAL_BYTES:
                self._add_entry(index, position, ts_recv, kind)
        except BaseException:
            self._distrust()
            raise
        if self._waiters:
            self._wake()
        if self._durability.syncs:
            self._sync_when_due()
        return index

    def _sync_when_due(self) -> None:
        due = self._durability.sync_records
        if due and self.next_index - self._synced >= due:
            self.sync()
        if self._syncer is not None:
            self._syncer.check()

    def _wake(self) -> None:
        if self._control is not None:
            self._control.wake()

    def kernel_state(self) -> int | None:
        """Return the address of the writer's state for a batch kernel, or None when there is no open segment yet.

        The kernel commits events itself and changes the state as it goes; call :meth:`kernel_done` afterwards.
        """
        self._check_unreserved()
        return None if self._map is None else ctypes.addressof(self)

    def kernel_done(self) -> None:
        """Do what is due after a batch kernel."""
        if self._keeper is not None and self._position >= self._prepare_at:
            self._prepare_next()
        if self._durability.syncs:
            self._sync_when_due()


def _misfit(error: struct.error) -> RecordError:
    return RecordError(
        f"a field of the record does not fit its bytes: {error}",
        expected="bytes as body, numbers within the types of docs/format/queue.md",
        hint="times are int ns, instrument u32, source and ordinal u16",
    )
