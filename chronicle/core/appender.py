"""The one writer of a queue: events become visible by the store of their first commit word, last."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronicle.core import layout
from chronicle.core.clock import Clock
from chronicle.core.control import Control, WriterLock
from chronicle.core.errors import CapacityError, ChronicleError, RecordError, StateError
from chronicle.core.event_bytes import check_event, clamped_event
from chronicle.core.housekeeping import BACKGROUND_BYTES_MIN, Housekeeper
from chronicle.core.layout import (
    CONTROL_EPOCH_OFFSET,
    CONTROL_SEGMENT_OFFSET,
    CONTROL_SYNCED_OFFSET,
    HEADER_BYTES,
    NONE,
    OFFSET_TS_RECV,
    ROLL_BYTES,
    SEEK_ENTRY,
    SEEK_ENTRY_BYTES,
    SEEK_INTERVAL_BYTES,
    SEGMENT_SEEK_COUNT_OFFSET,
    WORD_FLAGS_SHIFT,
    Flag,
    Kind,
    SegmentState,
)
from chronicle.core.mapping import MemoryMap, populate
from chronicle.core.queue import Queue
from chronicle.core.records import pack_details, pack_record
from chronicle.core.recovery import map_fresh, map_tail, recover, write_tail_mark
from chronicle.core.scan import LOADS_ARE_ACQUIRE
from chronicle.core.seal import seal_segment
from chronicle.core.segment import create_segment, segment_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Appender"]

_TIME = struct.Struct("<q")
_HEADER_REST = struct.Struct("<qqqIHHq").pack_into
"""The header behind the commit word."""
_HEADER_ROUNDED = HEADER_BYTES + 7
_BODY_BYTES_MAX = layout.RECORD_BYTES_MAX - HEADER_BYTES
_WAITERS = layout.CONTROL_WAITERS_OFFSET >> 2
_FLAGS_OFFSET = 6
_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT


class Appender:
    """Appends events to a queue; made by :meth:`Queue.appender`, which holds the writer lock meanwhile.

    Attributes
    ----------
    next_index : int
        The index the next record gets.
    last_ts_recv : int
        ts_recv of the last record; later records are clamped to it and flagged F_BAD_TS_RECV.
    clamped_count : int
        Records whose ts_recv was clamped by this appender.
    """

    def __init__(self, queue: Queue, *, prologue: Callable[[], dict[str, Any]] | None, clock: Clock) -> None:
        self.queue = queue
        self._prologue = prologue
        self._lock: WriterLock | None = WriterLock.acquire(queue.path, started_ns=clock.now_ns())
        try:
            self._settled = True
            self._rolled: list[Path] = []
            self._mark_due = False
            self._control = Control.open(queue.path, writable=True)
            if self._control is None:
                Control.create(queue.path, bytes.fromhex(queue.settings.queue_id), queue.generation)
                self._control = Control.open(queue.path, writable=True)
            tail = recover(queue)
            self.next_index = tail.next_index
            self.last_ts_recv = tail.last_ts_recv
            self.clamped_count = 0
            self._number = tail.next_number
            self._futex = _NO_WAITERS if self._control is None else self._control.futex_words
            self._keeper: Housekeeper | None = None
            self._prepare_at = layout.INT64_MAX
            self._prologue_bytes = 0
            self._map: MemoryMap | None = None
            self._memory = self._words = memoryview(b"")
            self._release = None if LOADS_ARE_ACQUIRE else _kernel_release()
            self._data_offset = self._position = self._limit = 0
            self._cycle_end = layout.INT64_MAX
            self._seek_offset = self._seek_capacity = self._seek_count = 0
            self._last_entry = 0
            if tail.path is not None:
                self._attach()
            self._mark_owner()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the queue. What was appended stays; nothing is sealed."""
        self._detach()
        keeper, self._keeper = self._keeper, None
        try:
            if keeper is not None:
                keeper.close()
        finally:
            self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

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
            When the record is too large.
        CapacityError
            When the next segment finds no space; nothing was appended.
        """
        size = len(body)
        position = self._position
        end = position + ((size + _HEADER_ROUNDED) & -8)
        if (
            end > self._limit
            or ts_recv < self.last_ts_recv
            or ts_recv >= self._cycle_end
            or size > _BODY_BYTES_MAX
            or self._release is not None
        ):
            return self._append_slowly(
                kind, body, ts_recv, ts_event, flags, side, instrument, source, source_index, ordinal, sequence
            )
        try:
            # The body and the header behind the commit word first, then the commit word, alone and last.
            memory = self._memory
            _HEADER_REST(memory, position + 8, ts_recv, ts_event, source_index, instrument, source, ordinal, sequence)
            if size:
                start = position + HEADER_BYTES
                memory[start : start + size] = body
            self._words[position >> 3] = (end - position) | kind << 32 | (flags | 128) << 48 | side << 56
            self._position = end
            index = self.next_index
            self.next_index = index + 1
            self.last_ts_recv = ts_recv
            if position - self._last_entry >= SEEK_INTERVAL_BYTES or kind == 33:
                self._add_entry(index, position, ts_recv, kind)
        except (struct.error, ValueError, OverflowError) as error:
            self._distrust()
            raise RecordError(f"a field does not fit its place: {error}") from error
        except BaseException:
            self._distrust()
            raise
        if self._futex[_WAITERS]:
            self._wake()
        return index

    def append_event(self, data: bytes | bytearray, count: int) -> int:
        """Append one whole event (as :meth:`EventBuilder.take` gives it) and return its first record's index.

        Raises
        ------
        RecordError
            When `data` is not `count` whole records of which the last alone carries F_LAST.
        """
        has_snapshot = check_event(data, count)
        return self._commit(data, count, _TIME.unpack_from(data, OFFSET_TS_RECV)[0], has_snapshot)

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

    def seal(self) -> None:
        """End the open segment with its ROLL and seal it; the next append starts a new segment.

        An open segment without records stays as it is.
        """
        self._settle()
        if self._map is not None and self._position > self._data_offset:
            path = self._path(SegmentState.OPEN)
            try:
                self._write_roll()
                self._detach()
                self._number += 1
            except BaseException:
                self._distrust()
                raise
            self._rolled.append(path)
            self._mark_due = True
        self._seal_rolled()

    def prefault(self) -> bool:
        """Fault the open segment's pages in now, so that no append pays for it; return whether the kernel could."""
        return self._map is not None and populate(self._map)

    def sync(self) -> int:
        """Make everything appended so far survive a power cut; return the synced index."""
        if self._map is not None:
            self._map.sync()
        if self._control is not None:
            self._control.set(CONTROL_SYNCED_OFFSET, self.next_index)
        return self.next_index

    # --- after an interruption ----------------------------------------------------------------------------------

    def _distrust(self) -> None:
        """Forget where the writer stood: an exception came between the stores. The files know; ask them next."""
        self._settled = False
        self._limit = 0

    def _settle(self) -> None:
        """Take the position from the files again, if an exception left it in doubt; what it tore is zeroed."""
        if self._settled:
            return
        if self._lock is None:
            raise _closed(self.queue.path)
        self._detach()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with contextlib.suppress(ChronicleError):  # recovery meets what the keeper met
                keeper.close()
        tail = recover(self.queue)
        self._rolled.clear()
        self._number, self.next_index, self.last_ts_recv = tail.next_number, tail.next_index, tail.last_ts_recv
        if tail.path is not None:
            self._attach()
        self._settled = True

    def _append_slowly(
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
        """Append one record where something is due first: room, a clamp, an error, or another machine's stores."""
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
        return self._commit(data, 1, ts_recv, kind == Kind.BOOK_SNAPSHOT)

    # --- the append path -----------------------------------------------------------------------------------------

    def _commit(self, data: bytes | bytearray, count: int, ts_recv: int, has_snapshot: bool) -> int:
        self._settle()
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
        mapping = self._map
        assert mapping is not None
        try:
            # Everything but the first commit word; then that word, alone and last. On x86 both are plain stores that
            # no other core sees in another order; other machines release it by kernel (docs/format/queue.md).
            mapping.memory[position + 8 : end] = memoryview(data)[8:]
            word = int.from_bytes(data[:8], "little")
            if self._release is None:
                mapping.words[position >> 3] = word
            else:
                self._release(mapping.address + position, word)
            self._position = end
            index = self.next_index
            self.next_index = index + count
            self.last_ts_recv = ts_recv
            if has_snapshot or position - self._last_entry >= SEEK_INTERVAL_BYTES:
                kind = Kind.BOOK_SNAPSHOT if has_snapshot else data[4] | data[5] << 8
                self._add_entry(index, position, ts_recv, kind)
        except BaseException:
            self._distrust()
            raise
        if self._futex[_WAITERS]:
            self._wake()
        return index

    def _wake(self) -> None:
        if self._control is not None:
            self._control.wake()

    def _add_entry(self, index: int, offset: int, ts_recv: int, kind: int) -> None:
        if self._seek_count >= self._seek_capacity:
            return
        mapping = self._map
        assert mapping is not None
        SEEK_ENTRY.pack_into(
            mapping.memory,
            self._seek_offset + self._seek_count * SEEK_ENTRY_BYTES,
            index,
            offset,
            ts_recv,
            kind,
        )
        self._seek_count += 1
        mapping.words[SEGMENT_SEEK_COUNT_OFFSET >> 3] = self._seek_count
        self._last_entry = offset
        if self._keeper is not None and offset >= self._prepare_at:
            self._prepare_next()

    def _prepare_next(self) -> None:
        """Have the next segment's file reserved and faulted in; it is made for a prologue of the present size."""
        assert self._keeper is not None
        self._prepare_at = layout.INT64_MAX
        capacity = self.queue.settings.capacity(self._number + 1)
        self._keeper.prepare(segment_size(capacity, self._prologue_bytes))

    def kernel_window(self) -> tuple[Any, int, Any, Any] | None:
        """Return (file words u64[n], address, state i64[8], seek entries i64[entries, 4]) for a batch kernel.

        None when there is no open segment yet. The kernel commits events itself; call :meth:`kernel_done` with the
        state afterwards.
        """
        import numpy as np

        self._settle()
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
        self._position, self.next_index, self.last_ts_recv = int(state[0]), int(state[2]), int(state[3])
        self._last_entry, self.clamped_count = int(state[4]), int(state[7])
        if int(state[5]) != self._seek_count:
            self._seek_count = int(state[5])
            assert self._map is not None
            self._map.words[SEGMENT_SEEK_COUNT_OFFSET >> 3] = self._seek_count
            if self._keeper is not None and self._position >= self._prepare_at:
                self._prepare_next()
        if self._futex[_WAITERS]:
            self._wake()

    # --- segments ------------------------------------------------------------------------------------------------

    def _make_room(self, size: int, ts_recv: int) -> None:
        """Open the next segment when there is none, the present one is full, or its cycle has ended."""
        if self._lock is None:
            raise _closed(self.queue.path)
        settings = self.queue.settings
        old = None
        if self._map is not None and self._position > self._data_offset:
            old = self._path(SegmentState.OPEN)
        # An empty segment that is too small or of an older cycle is replaced; readers of it look again.
        number = self._number + (1 if old is not None else 0)
        cycle_start = ts_recv - ts_recv % settings.cycle_ns if settings.cycle_ns else 0
        prologue = pack_details(self._prologue()) if self._prologue is not None else b""
        self._prologue_bytes = len(prologue)
        try:
            self._create(number, size, cycle_start, prologue)
            if old is not None:
                self._write_roll()
            self._number = number
            self._attach(fresh=True)
        except CapacityError:
            raise  # nothing was created: all stands as before
        except BaseException:
            self._distrust()
            raise
        self._mark_owner()
        if old is None:
            return
        if self._keeper is not None:
            self._keeper.seal(old)
        else:
            self._rolled.append(old)
            self._seal_rolled()

    def _seal_rolled(self) -> None:
        """Seal what has rolled, also what an earlier try found no space for."""
        while self._rolled:
            seal_segment(self._rolled[0], queue=self.queue.name)
            del self._rolled[0]
        if self._mark_due:
            self._write_tail_mark()
            self._mark_due = False

    def _create(self, number: int, size: int, cycle_start: int, prologue: bytes) -> None:
        settings = self.queue.settings
        create_segment(
            self.queue.path / layout.segment_name(number, SegmentState.OPEN),
            queue_id=bytes.fromhex(settings.queue_id),
            generation=settings.generation,
            number=number,
            base_index=self.next_index,
            data_capacity=max(settings.capacity(number), size + ROLL_BYTES),
            prologue=prologue,
            cycle_ns=settings.cycle_ns,
            cycle_start_ns=cycle_start,
            base_ts_recv=self.last_ts_recv,
            take_blank=None if self._keeper is None else self._keeper.take_blank,
        )

    def _attach(self, *, fresh: bool = False) -> None:
        path = self._path(SegmentState.OPEN)
        header, mapping, end, end_index, points = map_fresh(path) if fresh else map_tail(path)
        assert end_index == self.next_index
        self._map = mapping
        self._memory, self._words = mapping.memory, mapping.words
        self._data_offset = header.data_offset
        self._position = end
        self._limit = header.data_limit - ROLL_BYTES
        self._cycle_end = header.cycle_start_ns + header.cycle_ns if header.cycle_ns else layout.INT64_MAX
        self._seek_offset, self._seek_capacity = header.seek_offset, header.seek_capacity
        self._seek_count = len(points)
        self._last_entry = points[-1].offset if points else header.data_offset - SEEK_INTERVAL_BYTES
        self._prepare_at = header.data_offset + header.data_capacity // 2
        if self._keeper is None and header.data_capacity >= BACKGROUND_BYTES_MIN:
            self._keeper = Housekeeper(self.queue.path, self.queue.name)

    def _detach(self) -> None:
        self._map = None
        self._memory = self._words = memoryview(b"")
        self._limit = 0

    def _write_roll(self) -> None:
        mapping = self._map
        assert mapping is not None
        body = layout.ROLL_BODY.pack(self._number + 1, self.next_index)
        data = pack_record(Kind.ROLL, body, ts_recv=self.last_ts_recv, flags=Flag.LAST)
        position = self._position
        mapping.memory[position + 8 : position + ROLL_BYTES] = data[8:]
        word = int.from_bytes(data[:8], "little")
        if self._release is None:
            mapping.words[position >> 3] = word
        else:
            self._release(mapping.address + position, word)
        self._position = position + ROLL_BYTES

    def _write_tail_mark(self) -> None:
        base = self.next_index
        if self._map is not None:
            base = int(layout.SEGMENT_HEADER.unpack_from(self._map.memory)[6])
        write_tail_mark(self.queue.path, self._number, base, self.last_ts_recv)

    def _path(self, state: SegmentState) -> Any:
        return self.queue.path / layout.segment_name(self._number, state)

    def _mark_owner(self) -> None:
        control = self._control
        if control is None:
            return
        if self._map is None:
            control.set(CONTROL_EPOCH_OFFSET, control.get(CONTROL_EPOCH_OFFSET) + 1)
        control.set(CONTROL_SEGMENT_OFFSET, self._number)
        if self._futex[_WAITERS]:
            self._wake()


def _closed(path: Path) -> StateError:
    return StateError("the appender was closed", path=path, hint="take a new one: queue.appender()")


_NO_WAITERS = memoryview(bytes(layout.CONTROL_BYTES)).cast("I")
"""Stands in where the control page cannot be mapped: nobody can wait on it."""


def _kernel_release() -> Callable[[int, int], None]:
    from chronicle.core.kernels.walking import release_word

    release: Callable[[int, int], None] = release_word
    return release
