"""Where a queue's writer stands: the mapped open segment, its seek index, the roll to the next, and sealing.

:class:`chronicle.core.appender.Appender` adds what callers use. What compiled appends read and change are the words
of :class:`WriterState`.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chronicle.core import layout
from chronicle.core.clock import Clock
from chronicle.core.compiled import kernel_release, names_address
from chronicle.core.control import FUTEX_CALL, Control, register_writer
from chronicle.core.durability import Durability, Syncer
from chronicle.core.errors import CapacityError, ChronicleError, CorruptionError, StateError
from chronicle.core.housekeeping import BACKGROUND_BYTES_MIN, Housekeeper
from chronicle.core.layout import (
    CONTROL_EPOCH_OFFSET,
    CONTROL_SEGMENT_OFFSET,
    CONTROL_SYNCED_OFFSET,
    PAGE_BYTES,
    ROLL_BYTES,
    SEEK_ENTRY,
    SEEK_ENTRY_BYTES,
    SEEK_INTERVAL_BYTES,
    SEGMENT_SEEK_COUNT_OFFSET,
    Flag,
    Kind,
    SegmentState,
)
from chronicle.core.mapping import MemoryMap, populate
from chronicle.core.media import is_memory
from chronicle.core.records import pack_details, pack_record
from chronicle.core.recovery import map_tail, recover
from chronicle.core.reserving import reserve, step_end
from chronicle.core.scan import LOADS_ARE_ACQUIRE
from chronicle.core.seal import Ended, seal_segment
from chronicle.core.segment_file import create_segment, segment_size
from chronicle.core.tail_mark import TailMark, write_tail_mark
from chronicle.core.writer_lock import WriterLock
from chronicle.core.writer_state import WriterState

if TYPE_CHECKING:
    from pathlib import Path

    from chronicle.core.queue_folder import QueueFolder
    from chronicle.core.segment_header import SegmentHeader

__all__ = ["SegmentWriter"]


class SegmentWriter(WriterState):
    """Holds the writer lock and the open segment; knows how to roll, seal and sync."""

    __slots__ = (
        "__weakref__",
        "_control",
        "_durability",
        "_in_memory",
        "_keeper",
        "_lock",
        "_map",
        "_mark_due",
        "_memory",
        "_number",
        "_prepare_at",
        "_previous_bytes",
        "_prologue",
        "_prologue_bytes",
        "_release",
        "_reservation",
        "_reserved",
        "_rolled",
        "_settled",
        "_synced",
        "_syncer",
        "_waiters",
        "_words",
        "queue",
        "room_bytes",
    )

    def __init__(self, queue: QueueFolder, *, prologue: Callable[[], dict[str, Any]] | None, clock: Clock) -> None:
        super().__init__()
        self.queue = queue
        self._prologue = prologue
        self.room_bytes = 0
        """The next segment is to hold at least so many bytes of records (for events that must not be parted)."""
        self._lock: WriterLock | None = WriterLock.acquire(queue.path, started_ns=clock.now_ns())
        try:
            self._control = Control.open(queue.path, writable=True)
            if self._control is None:
                Control.create(queue.path, bytes.fromhex(queue.settings.queue_id), queue.generation)
                self._control = Control.open(queue.path, writable=True)
            register_writer()
            tail = recover(queue)
            self.next_index = tail.next_index
            self.last_ts_recv = tail.last_ts_recv
            self.clamped_count = 0
            self._number = tail.next_number
            self._previous_bytes = tail.previous_bytes
            self._waiters = ctypes.c_uint32(0) if self._control is None else self._control.waiters
            self._control_address = 0 if self._control is None else self._control.address
            self._futex_call, self._names = FUTEX_CALL, names_address()
            self._keeper: Housekeeper | None = None
            self._prepare_at = layout.INT64_MAX
            self._prologue_bytes = 0
            self._map: MemoryMap | None = None
            self._memory = self._words = memoryview(b"")
            self._release = None if LOADS_ARE_ACQUIRE else kernel_release()
            self._data_offset = self._position = self._limit = self._limit_max = self._address = 0
            self._let_go = self._steps = 0
            self._in_memory = is_memory(queue.path)
            self._reach = self._gate = -1
            self._reserved = False
            self._reservation: weakref.ref[object] | None = None
            self._settled = True
            self._rolled: list[tuple[Path, Ended | None]] = []
            self._mark_due = False
            self._cycle_end = layout.INT64_MAX
            self._seek_offset = self._seek_capacity = self._seek_count = 0
            self._last_entry = 0
            self._durability = Durability.at(queue.path, queue.settings)
            self._synced = self.next_index
            self._syncer: Syncer | None = None
            if tail.path is not None:
                self._attach()
            self._mark_owner()
            if self._durability.syncs_by_time:
                self._syncer = Syncer(self, self._durability.sync_ns)
                self._set_reach()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Give up the queue. What was appended stays; nothing is sealed. A level ``fsync`` syncs first."""
        if self._lock is None:
            return
        syncer, self._syncer = self._syncer, None
        keeper, self._keeper = self._keeper, None
        try:
            if syncer is not None:
                syncer.close()
            if self._durability.syncs:
                self.sync()
        finally:
            self._detach()
            try:
                if keeper is not None:
                    keeper.close()
            finally:
                self._lock.release()
                self._lock = None

    @property
    def keeps_descriptor(self) -> bool:
        """Whether the writer lock keeps a descriptor open: on file systems where a map does not keep it."""
        return self._lock is not None and self._lock.keeps_descriptor

    def seal(self) -> None:
        """End the open segment with its ROLL and seal it; the next append starts a new segment.

        An open segment without records stays as it is.

        Raises
        ------
        StateError
            While a reservation is open.
        """
        self._check_unreserved()
        if self._map is not None and self._position > self._data_offset:
            path = self._path(SegmentState.OPEN)
            self._previous_bytes = self._position - self._data_offset
            try:
                ended = self._ended()
                self._write_roll()
                self._detach()
                self._number += 1
            except BaseException:
                self._distrust()
                raise
            self._rolled.append((path, ended))
            self._mark_due = True
        self._seal_rolled()

    def prefault(self) -> bool:
        """Fault the open segment's pages in now, so that no append pays for it; return whether the kernel could."""
        if self._map is None:
            return False
        return populate(self._map, 0, None if self._limit == self._limit_max else self._limit + ROLL_BYTES)

    def begin_segment(self, size: int, ts_recv: int) -> None:
        """End the open segment and begin the next with room for an event of `size` bytes, received at `ts_recv`.

        One that has no records is replaced.

        Raises
        ------
        StateError
            While a reservation is open.
        CapacityError
            When the next segment finds no space; all stands as before.
        """
        self._check_unreserved()
        if self._lock is None:
            raise _closed(self.queue.path)
        self._roll(size, max(ts_recv, self.last_ts_recv))

    def sync(self) -> int:
        """Make everything appended so far survive a power cut; return the synced index.

        On a queue of level ``shm`` there is nothing to sync to: the watermark stays.

        Raises
        ------
        StoreError
            When the device refuses: the watermark stays, the records are still committed.
        """
        if not self._durability.can_sync:
            return self._synced
        # The index is read before the map: a record appended meanwhile is synced and not yet counted, never the other
        # way round. (The syncer's thread comes here too.)
        end, mapping, keeper = self.next_index, self._map, self._keeper
        if keeper is not None:
            keeper.finish()  # what has rolled survives by its seal
        if self._rolled and not self._durability.syncs:  # (a level that syncs did so before the roll)
            self._seal_rolled()
        if mapping is not None:
            self._durability.sync(mapping)
        self._synced = max(end, self._synced)
        if self._control is not None:
            self._control.set(CONTROL_SYNCED_OFFSET, self._synced)
            if self._waiters:
                self._control.wake()
        return self._synced

    # --- after an interruption ---------------------------------------------------------------------------------

    def _distrust(self) -> None:
        """Forget where the writer stands: an exception came between its stores. The files know; they are asked next.

        Every path looks at `_reach` or `_reserved` before it appends, and so comes to :meth:`_settle`.
        """
        self._reach = -1
        self._settled = False
        self._reserved = True

    def _settle(self) -> None:
        """Take the position from the files again; what was torn is zeroed, what was committed stays."""
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
        self._previous_bytes = tail.previous_bytes
        self._reserved = False
        self._reservation = None
        if tail.path is not None:
            self._attach()
        self._settled = True

    # --- the seek index ----------------------------------------------------------------------------------------

    def _add_entry(self, index: int, offset: int, ts_recv: int, kind: int) -> None:
        """Publish a seek entry while there is room (bytes first, then the count); have the next segment prepared."""
        if self._seek_count < self._seek_capacity:
            at = self._seek_offset + self._seek_count * SEEK_ENTRY_BYTES
            SEEK_ENTRY.pack_into(self._memory, at, index, offset, ts_recv, kind)
            self._seek_count += 1
            self._words[SEGMENT_SEEK_COUNT_OFFSET >> 3] = self._seek_count
            self._last_entry = offset
        if self._keeper is not None and offset >= self._prepare_at:
            self._prepare_next()

    def _set_reach(self) -> None:
        """Say how far compiled appends may go, and from where on they must ask at each seek entry."""
        if self._syncer is not None:
            self._gate = -1  # its errors are raised where an entry is due
        else:
            self._gate = layout.INT64_MAX if self._keeper is None else self._prepare_at
        stopped = self._map is None or self._reserved or self._durability.counts
        self._reach = -1 if stopped else self._limit

    # --- segments ------------------------------------------------------------------------------------------------

    def _check_unreserved(self) -> None:
        if self._reservation is not None and self._reservation() is None:
            self._distrust()  # its block never ended: Ctrl-C came between the block and the commit
        if not self._settled:
            self._settle()
        if self._reserved:
            raise StateError(
                "a reservation is open", path=self.queue.path, hint="leave its with block before anything else"
            )

    def _make_room(self, size: int, ts_recv: int) -> None:
        """Make room for `size` bytes: reserve more of the present segment, or open the next one.

        That is due when there is no segment, the present one is full, or its cycle has ended.
        """
        if self._lock is None:
            raise _closed(self.queue.path)
        if self._map is not None and ts_recv < self._cycle_end and self._position + size <= self._limit_max:
            self._reserve(self._map, self._position + size)
        else:
            self._roll(size, ts_recv)

    def _reserve(self, mapping: MemoryMap, end: int) -> None:
        """Reserve the open segment so that its records may reach `end`."""
        start = (self._limit + ROLL_BYTES) & -PAGE_BYTES
        stop = step_end(self._data_offset, end, self._limit_max + ROLL_BYTES)
        reserve(self._path(SegmentState.OPEN), mapping, start, stop, in_memory=self._in_memory)
        self._limit = stop - ROLL_BYTES
        self._set_reach()

    def _roll(self, size: int, ts_recv: int) -> None:
        """Open the next segment, with room for `size` bytes, and end the present one where it has records."""
        settings = self.queue.settings
        old = None
        if self._map is not None and self._position > self._data_offset:
            old = self._path(SegmentState.OPEN)
        # An empty segment that is too small or of an older cycle is replaced; readers of it look again.
        number = self._number + (1 if old is not None else 0)
        previous_bytes = self._previous_bytes if old is None else self._position - self._data_offset
        if old is not None and self._durability.syncs:
            assert self._map is not None
            self._durability.sync(self._map)  # the syncer must never count records of a map that it no longer sees
        cycle_start = ts_recv - ts_recv % settings.cycle_ns if settings.cycle_ns else 0
        prologue = pack_details(self._prologue()) if self._prologue is not None else b""
        self._prologue_bytes = len(prologue)
        try:
            capacity = max(settings.capacity(number, previous_bytes), max(size, self.room_bytes) + ROLL_BYTES)
            self.room_bytes = 0
            first_bytes = size if settings.segment_adapts else None
            fresh = self._create(number, capacity, cycle_start, prologue, first_bytes)
            ended, old_map = None, self._map
            if old is not None:
                ended = self._ended()
                self._write_roll()
            self._number, self._previous_bytes = number, previous_bytes
            self._attach(fresh, first_bytes)
        except CapacityError:
            raise  # nothing was created: all stands as before
        except BaseException:
            self._distrust()
            raise
        self._mark_owner()
        if old is None:
            return
        if self._keeper is not None:
            self._keeper.seal(old, ended, old_map)
        else:
            self._rolled.append((old, ended))
            self._seal_rolled()

    def _seal_rolled(self) -> None:
        """Seal what has rolled, also what an earlier try found no space for."""
        while self._rolled:
            path, ended = self._rolled[0]
            seal_segment(path, queue=self.queue.name, ended=ended)
            del self._rolled[0]
        if self._mark_due:
            self._write_tail_mark()
            self._mark_due = False

    def _ended(self) -> Ended:
        """Return what sealing needs to know of the open segment, which is about to roll."""
        return Ended(self._position, self.next_index, self.last_ts_recv, self._seek_count)

    def _create(
        self, number: int, data_capacity: int, cycle_start: int, prologue: bytes, first_bytes: int | None
    ) -> tuple[SegmentHeader, MemoryMap]:
        settings = self.queue.settings
        return create_segment(
            self.queue.path / layout.segment_name(number, SegmentState.OPEN),
            queue_id=bytes.fromhex(settings.queue_id),
            generation=settings.generation,
            number=number,
            base_index=self.next_index,
            data_capacity=data_capacity,
            prologue=prologue,
            cycle_ns=settings.cycle_ns,
            cycle_start_ns=cycle_start,
            base_ts_recv=self.last_ts_recv,
            take_blank=None if self._keeper is None else self._keeper.take_blank,
            first_bytes=first_bytes,
            in_memory=self._in_memory,
            is_durable=self._durability.can_sync,
        )

    def _attach(self, fresh: tuple[SegmentHeader, MemoryMap] | None = None, first_bytes: int | None = None) -> None:
        path = self._path(SegmentState.OPEN)
        if fresh is None:
            header, mapping, end, end_index, points = map_tail(path)
        else:
            (header, mapping), points = fresh, []
            end, end_index = header.data_offset, header.base_index
        if end_index != self.next_index:
            raise CorruptionError(
                "the open segment's seek index contradicts its records",
                path=path,
                expected=f"the next record to be {end_index}, as the records say",
                found=self.next_index,
                hint="chronicle queue check shows the extent; chronicle queue repair renews the seek index",
            )
        self._map = mapping
        self._memory, self._words = mapping.memory, mapping.words
        self._address = mapping.address
        self._data_offset = header.data_offset
        self._position = end
        self._limit = self._limit_max = header.data_limit - ROLL_BYTES
        self._let_go = header.data_offset
        adapts = self.queue.settings.segment_adapts
        self._steps = int(adapts and self._in_memory)
        if adapts:
            first = end if first_bytes is None else end + first_bytes
            reserved = step_end(header.data_offset, first, header.data_limit)
            if first_bytes is None:  # how much its last writer reserved is not known; what is reserved stays so
                reserve(path, mapping, end & -PAGE_BYTES, reserved, in_memory=self._in_memory)
            self._limit = reserved - ROLL_BYTES
        self._cycle_end = header.cycle_start_ns + header.cycle_ns if header.cycle_ns else layout.INT64_MAX
        self._seek_offset, self._seek_capacity = header.seek_offset, header.seek_capacity
        self._seek_count = len(points)
        self._last_entry = points[-1].offset if points else header.data_offset - SEEK_INTERVAL_BYTES
        self._prepare_at = layout.INT64_MAX if adapts else header.data_offset + header.data_capacity // 8
        if self._keeper is None and header.data_capacity >= BACKGROUND_BYTES_MIN:
            self._keeper = Housekeeper(self.queue.path, self.queue.name, in_memory=self._in_memory)
        self._set_reach()

    def _detach(self) -> None:
        self._reach = -1  # first: the address below it is about to go
        self._limit = self._limit_max = self._address = 0
        self._map = None
        self._memory = self._words = memoryview(b"")

    def _prepare_next(self) -> None:
        """Have the next segment's file reserved and faulted in; it is made for a prologue of the present size."""
        assert self._keeper is not None
        self._prepare_at = layout.INT64_MAX
        self._set_reach()
        capacity = self.queue.settings.capacity(self._number + 1, self._limit - self._data_offset)
        self._keeper.prepare(segment_size(capacity, self._prologue_bytes))

    def _store_head(self, position: int, word: int) -> None:
        """Commit: store the first word, alone and last. On x86 a plain store is a release; elsewhere a kernel's is.

        See "Append" in docs/format/queue.md.
        """
        if self._release is None:
            self._words[position >> 3] = word
        else:
            assert self._map is not None
            self._release(self._map.address + position, word)

    def _write_roll(self) -> None:
        body = layout.ROLL_BODY.pack(self._number + 1, self.next_index)
        data = pack_record(Kind.ROLL, body, ts_recv=self.last_ts_recv, flags=Flag.LAST)
        position = self._position
        self._memory[position + 8 : position + ROLL_BYTES] = data[8:]
        self._store_head(position, int.from_bytes(data[:8], "little"))
        self._position = position + ROLL_BYTES

    def _write_tail_mark(self) -> None:
        base = self.next_index
        if self._map is not None:
            base = int(layout.SEGMENT_HEADER.unpack_from(self._map.memory)[6])
        write_tail_mark(self.queue.path, TailMark(self._number, base, self.last_ts_recv, self._previous_bytes))

    def _path(self, state: SegmentState) -> Path:
        return self.queue.path / layout.segment_name(self._number, state)

    def _mark_owner(self) -> None:
        control = self._control
        if control is None:
            return
        if self._map is None:
            control.set(CONTROL_EPOCH_OFFSET, control.get(CONTROL_EPOCH_OFFSET) + 1)
        control.set(CONTROL_SEGMENT_OFFSET, self._number)
        if self._waiters:
            control.wake()


def _closed(path: Path) -> StateError:
    return StateError("the appender was closed", path=path, hint="take a new one: queue.appender()")
