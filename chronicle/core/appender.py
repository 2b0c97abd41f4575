"""The one writer of a queue: events become visible by the store of their first commit word, last."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from chronicle.core.errors import RecordError
from chronicle.core.event_bytes import check_event, check_events, clamped_event
from chronicle.core.layout import (
    EVENT_BYTES_MAX,
    HEADER_BYTES,
    NONE,
    OFFSET_TS_RECV,
    RECORD_BYTES_MAX,
    SEEK_INTERVAL_BYTES,
    Flag,
    Kind,
    word,
)
from chronicle.core.records import pack_record
from chronicle.core.segment_writer import SegmentWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chronicle.core.recorder import Recorder
    from chronicle.core.reservation import Reservation

__all__ = ["Appender"]

_TIME = struct.Struct("<q")
_HEAD = struct.Struct("<Qq")
_PLAN_BODY_BYTES_MAX = 512
"""Bodies up to this are packed together with their header by a struct of their size; larger ones are copied."""
_PLANS_MAX = 4_096


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
        plan = self._plans.get((len(body), kind, flags, side))
        if plan is not None:
            pack, length, head = plan
            position = self._position
            end = position + length
            if end <= self._soft and self.last_ts_recv <= ts_recv < self._cycle_end:
                # The header behind the commit word and the body first, then the commit word, alone and last.
                try:
                    pack(
                        self._behind_head,
                        position,
                        ts_recv,
                        ts_event,
                        source_index,
                        instrument,
                        source,
                        ordinal,
                        sequence,
                        body,
                    )
                    self._words[position >> 3] = head
                    self._position = end
                    self.last_ts_recv = ts_recv
                    index = self.next_index
                    self.next_index = index + 1
                except struct.error:
                    body = bytes(body)  # another buffer, or a field that does not fit: the long way tells which
                    return self._append_any(
                        kind,
                        body,
                        ts_recv,
                        ts_event,
                        flags,
                        side,
                        instrument,
                        source,
                        source_index,
                        ordinal,
                        sequence,
                    )
                except BaseException:  # Ctrl-C between the bytes and what follows from them
                    self._distrust()
                    raise
                if self._waiters:
                    self._wake()
                return index
            if self._open_gate(end, ts_recv):
                try:
                    return self.append(
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
                finally:
                    self._close_gate(position, kind)
        return self._append_any(
            kind, body, ts_recv, ts_event, flags, side, instrument, source, source_index, ordinal, sequence
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
        has_snapshot = check_event(data, count)
        return self._commit(data, count, _TIME.unpack_from(data, OFFSET_TS_RECV)[0], has_snapshot)

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
        self._set_soft()
        return index

    def append_bytes(self, record: bytes) -> int:
        """Append one record that was packed before (:func:`chronicle.core.records.pack_record`), F_LAST set.

        Raises
        ------
        RecordError
            When the bytes are not one whole record that ends its event.
        """
        position = self._position
        end = position + len(record)
        head, ts_recv = _HEAD.unpack_from(record) if len(record) >= HEADER_BYTES else (0, 0)
        # One compare knows a whole record of a plain kind that ends its event; the rest is checked at length.
        if (
            head & _PLAIN_MASK == len(record) | _LAST_BIT
            and end <= self._soft
            and self.last_ts_recv <= ts_recv < self._cycle_end
            and (head >> 32) & 0xFFFF not in _SPECIAL_KINDS
        ):
            try:
                self._memory[position + 8 : end] = record[8:]
                self._words[position >> 3] = head
                self._position = end
                self.last_ts_recv = ts_recv
                index = self.next_index
                self.next_index = index + 1
            except BaseException:  # Ctrl-C between the store and what follows from it
                self._distrust()
                raise
            if self._waiters:
                self._wake()
            return index
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

    # --- the append path -----------------------------------------------------------------------------------------

    def _append_any(
        self,
        kind: int,
        body: bytes,
        ts_recv: int,
        ts_event: int,
        flags: int,
        side: int,
        instrument: int,
        source: int,
        source_index: int,
        ordinal: int,
        sequence: int,
    ) -> int:
        """Append one record where something is due first: a plan, room, a seek entry, a clamp, an error, a sync."""
        if not 0 < kind <= 0xFFFF or kind == Kind.ROLL:
            raise RecordError("no record can be of this kind", expected="2 to 65535", found=int(kind))
        try:
            data = pack_record(
                kind,
                body,
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
        index = self._commit(data, 1, ts_recv, kind == Kind.BOOK_SNAPSHOT)
        if kind not in _SPECIAL_KINDS and len(body) <= _PLAN_BODY_BYTES_MAX:
            self._plan(len(body), kind, flags, side)
        return index

    def _plan(self, size: int, kind: int, flags: int, side: int) -> None:
        """Keep the struct and the commit word of such a record: making them costs more than the append."""
        if (size, kind, flags, side) not in self._plans:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            length = (HEADER_BYTES + size + 7) & -8
            pack = struct.Struct(f"<qqqIHHq{size}s").pack_into
            self._plans[size, int(kind), int(flags), int(side)] = (
                pack,
                length,
                word(length, int(kind), int(flags) | Flag.LAST, int(side)),
            )

    def _open_gate(self, end: int, ts_recv: int) -> bool:
        """Let one append up to `end` go the short way although a seek entry is due, if nothing else is.

        One append in 256 of 64 bytes is at an entry: the long way there would be the 99.9th percentile.
        """
        if 0 <= self._soft < end <= self._limit and self.last_ts_recv <= ts_recv < self._cycle_end:
            self._soft = self._limit
            return True
        return False

    def _close_gate(self, position: int, kind: int) -> None:
        """Write the entry of the event at `position`, if it was appended and one is due, and set the limit again."""
        if not self._settled:
            return  # interrupted: the files are asked before anything else is appended
        if self._position > position and position - self._last_entry >= SEEK_INTERVAL_BYTES:
            self._add_entry(self.next_index - 1, position, self.last_ts_recv, kind)
        self._set_soft()
        if self._syncer is not None:
            self._syncer.check()

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
            if end > self._soft:
                self._set_soft()
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

    def kernel_window(self) -> tuple[Any, int, Any, Any] | None:
        """Return (file words u64[n], address, state i64[8], seek entries i64[entries, 4]) for a batch kernel.

        None when there is no open segment yet. The kernel commits events itself; call :meth:`kernel_done` with the
        state afterwards.
        """
        import numpy as np

        self._check_unreserved()
        mapping = self._map
        if mapping is None:
            return None
        words = np.frombuffer(mapping.words, dtype=np.uint64)
        start = self._seek_offset >> 3
        seek = words[start : start + self._seek_capacity * 4].view(np.int64).reshape(-1, 4)
        state = np.array(
            [
                self._position,
                self._limit,
                self.next_index,
                self.last_ts_recv,
                self._last_entry,
                self._seek_count,
                self._cycle_end,
                self.clamped_count,
            ],
            dtype=np.int64,
        )
        return words, mapping.address, state, seek

    def kernel_done(self, state: Any) -> None:
        """Take over what a batch kernel committed."""
        try:
            self._position, self.next_index, self.last_ts_recv = int(state[0]), int(state[2]), int(state[3])
            self._last_entry, self.clamped_count = int(state[4]), int(state[7])
            if int(state[5]) != self._seek_count:
                self._publish_entries(int(state[5]))
            self._set_soft()
        except BaseException:
            self._distrust()
            raise
        if self._waiters:
            self._wake()
        if self._durability.syncs:
            self._sync_when_due()


_LAST_BIT = int(Flag.LAST) << 48
_PLAIN_MASK = 0xFFFFFFFF | _LAST_BIT
_SPECIAL_KINDS = frozenset({0, int(Kind.ROLL), int(Kind.BOOK_SNAPSHOT)})
assert RECORD_BYTES_MAX < 1 << 32


def _misfit(error: struct.error) -> RecordError:
    return RecordError(
        f"a field of the record does not fit its bytes: {error}",
        expected="bytes as body, numbers within the types of docs/format/queue.md",
        hint="times are int ns, instrument u32, source and ordinal u16",
    )
