"""A cursor walks one queue through any SegmentSource, in windows of whole events; windows are zero-copy."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from chronicle.core import layout
from chronicle.core.errors import CorruptionError, NotFoundError, RangeError
from chronicle.core.layout import HEADER_BYTES, OFFSET_TS_RECV, WORD_FLAGS_SHIFT, WORD_LENGTH_MASK, Flag, SegmentState
from chronicle.core.mapping import MemoryMap
from chronicle.core.records import Record
from chronicle.core.scan import record_offsets
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SeekPoint, SegmentInfo, SegmentSource, SegmentView

__all__ = ["Cursor", "Window"]

WINDOW_BYTES: int = 1 << 20
_FLAG_LAST = int(Flag.LAST)
_LAST = _FLAG_LAST << WORD_FLAGS_SHIFT


class Window:
    """Some whole events of one segment, as they lie in memory.

    Attributes
    ----------
    memory : memoryview
        The bytes, read-only; valid as long as it is held.
    base_index, end_index : int
        Index of the first record, and after the last.
    offset, segment, queue
        Where the bytes stand.
    """

    __slots__ = ("base_index", "end_index", "memory", "offset", "queue", "segment")

    def __init__(
        self, memory: memoryview, base_index: int, end_index: int, offset: int, segment: int, queue: str
    ) -> None:
        self.memory = memory
        self.base_index = base_index
        self.end_index = end_index
        self.offset = offset
        self.segment = segment
        self.queue = queue

    def __len__(self) -> int:
        """Number of records."""
        return self.end_index - self.base_index

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""
        for event in self.events():
            yield from event

    def events(self) -> Iterator[list[Record]]:
        """Yield the events in order, each a list of its records."""
        memory, position, size, index = self.memory, 0, len(self.memory), self.base_index
        last_start, flag_last = size - HEADER_BYTES, _FLAG_LAST
        event: list[Record] = []
        while position <= last_start:
            record = Record(memory, index, position)
            length = record.length
            position += length
            if length < HEADER_BYTES or length & 7 or position > size:
                raise self.damage(position - length)
            index += 1
            if record.flags & flag_last:
                if event:
                    event.append(record)
                    yield event
                    event = []
                else:
                    yield [record]
            else:
                event.append(record)
        if event or position != size:
            raise self.damage(position)

    def damage(self, position: int) -> CorruptionError:
        """Return the error for bytes at `position` that are no whole record or end no event."""
        return CorruptionError(
            f"segment {self.segment} of {self.queue} is damaged: no whole record here, or none that ends its event",
            offset=self.offset + position,
            hint="chronicle queue check names the extent",
        )

    def offsets(self) -> Any:
        """Return the starts of all records within `memory`, int64 NumPy array of shape (len,)."""
        return record_offsets(self.memory)


class Cursor:
    """A position in a queue that only moves where it is told to.

    Parameters
    ----------
    source : SegmentSource
        Where segments come from; they may move between tiers meanwhile.
    queue : str
        The queue's name.
    index : int, optional
        Start at this record's event; default the first record there is.
    """

    def __init__(self, source: SegmentSource, queue: str, index: int | None = None) -> None:
        self._source = source
        self.queue = queue
        self._view: SegmentView | None = None
        self._offset = 0
        self.index = 0
        self.segments_opened = 0
        self.bytes_read = 0
        if index is None:
            self.seek_start()
        else:
            self.seek_index(index)

    def seek_start(self) -> None:
        """Go to the first record still kept."""
        self._release()
        segments = self._source.segments(self.queue)
        self.index = segments[0].base_index if segments else 0

    def seek_end(self) -> None:
        """Go behind the last committed record."""
        self._release()
        segments = self._source.segments(self.queue)
        self.index = segments[-1].end_index if segments else 0

    def seek_index(self, index: int) -> None:
        """Go to the start of the event that holds record `index` (or wait there when it is the next to come).

        Raises
        ------
        RangeError
            When the index lies before the first record kept or behind the next to come.
        """
        self._release()
        segments = self._source.segments(self.queue)
        first, last = (segments[0].base_index, segments[-1].end_index) if segments else (0, 0)
        if not first <= index <= last:
            raise RangeError(
                f"record {index} of {self.queue} is not there", expected=f"{first} to {last}", found=index
            )
        self.index = index
        holder = next((info for info in segments if info.base_index <= index < info.end_index), None)
        if holder is not None:
            self._open(holder.number)
            self._walk_to(index)

    def skip_to(self, index: int) -> None:
        """Stand before record `index`, which must start an event, without looking whether it is (still) there."""
        self._release()
        self.index = index

    def next_word(self) -> tuple[MemoryMap, int] | None:
        """Return (map, offset) of the commit word that the next record will get, for who spins on it.

        None when there is no open segment under the cursor, or it has more records or has rolled.
        """
        if self._view is None and not self._resolve():
            return None
        view = self._view
        if not isinstance(view, LocalSegment) or view.is_sealed:
            return None
        end, _, rolled = view.extent()
        if rolled or end != self._offset or end == view.data_offset or end + 8 > view.header.data_limit:
            return None
        return view.mapping, end

    def live_place(self) -> tuple[MemoryMap, int, int] | None:
        """Return (map, offset of the next event, limit) in the open segment under the cursor, for compiled readers.

        None where there is none, where it has no record yet (another may replace it), or where it has rolled and is
        read to its end.
        """
        if self._view is None and not self._resolve():
            return None
        view = self._view
        if not isinstance(view, LocalSegment) or view.is_sealed:
            return None
        end, _, rolled = view.extent()
        if end == view.data_offset or (rolled and end == self._offset):
            return None
        return view.mapping, self._offset, view.header.data_limit

    def stand_at(self, offset: int, index: int) -> None:
        """Stand before the event at `offset` of the segment under the cursor: who read from its map read so far."""
        self._offset, self.index = offset, index

    def seek_time(self, ts_recv: int) -> None:
        """Go to the first event with ts_recv at or after `ts_recv` (behind the last one when there is none)."""
        self._release()
        segments = [info for info in self._source.segments(self.queue) if info.record_count]
        position = bisect_left(segments, ts_recv, key=lambda info: info.ts_last)
        if position == len(segments):
            self.seek_end()
            return
        self._open(segments[position].number)
        view = self._view
        assert view is not None
        points = view.seek_points()
        before = bisect_left(points, ts_recv, key=lambda point: point.ts_recv) - 1
        self._place(points[before] if before >= 0 else None)
        for window in iter(self._next_in_segment, None):
            moved = _first_at(window, ts_recv)
            if moved is not None:
                self._offset, self.index = window.offset + moved[0], window.base_index + moved[1]
                return

    def seek_point(self, number: int, point: SeekPoint) -> None:
        """Go to a seek point of segment `number`."""
        self._release()
        self._open(number)
        self._place(point)

    def next_window(self, max_bytes: int = WINDOW_BYTES) -> Window | None:
        """Return the next events, or None when nothing new is committed. A window may exceed `max_bytes`.

        Raises
        ------
        CorruptionError
            When stored bytes are not what was committed or sealed.
        RangeError
            When the next records were retired: a reader that fell behind learns it here.
        """
        while True:
            if self._view is None and not self._resolve():
                return None
            window = self._next_in_segment(max_bytes)
            if window is not None:
                return window
            ended = self._ended()
            if not ended and not self._replaced():
                return None
            number = self._number()
            self._release()
            if not (ended and self._follow(number)) and not self._resolve():
                return None

    @property
    def view(self) -> SegmentView | None:
        """The segment under the cursor."""
        return self._view

    @property
    def place(self) -> SegmentInfo | None:
        """Identity of the segment under the cursor."""
        return None if self._view is None else self._view.info

    def close(self) -> None:
        """Release the segment."""
        self._release()

    # -------------------------------------------------------------------------------------------------------------

    def _resolve(self) -> bool:
        """Open the segment that holds `index`; False while it does not exist yet."""
        for attempt in range(3):
            segments = self._source.segments(self.queue)
            for info in segments:
                open_tail = info.state is SegmentState.OPEN and info.base_index <= self.index
                if info.base_index <= self.index < info.end_index or (open_tail and self.index == info.end_index):
                    try:
                        self._open(info.number)
                    except NotFoundError:
                        if attempt == 2:
                            raise
                        break
                    self._walk_to(self.index)
                    if not self._exhausted():
                        return True
                    self._release()  # it has rolled and waits to be sealed: the next one holds the index
            else:
                if segments and self.index < segments[0].base_index:
                    raise RangeError(
                        f"record {self.index} of {self.queue} was retired",
                        expected=f"{segments[0].base_index} or later",
                        found=self.index,
                        hint="seek_start() goes on at the first record kept",
                    )
                return False
        return False

    def _follow(self, number: int) -> bool:
        """Open the segment after `number`, without a look at all the others; False when it does not go on here."""
        try:
            self._open(number + 1)
        except NotFoundError:
            return False
        view = self._view
        assert view is not None
        base_index = view.header.base_index if isinstance(view, LocalSegment) else view.info.base_index
        if base_index == self.index:
            return True
        self._release()
        return False

    def _open(self, number: int) -> None:
        self._view = self._source.open(self.queue, number)
        self._offset = self._view.data_offset
        self.segments_opened += 1

    def _release(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def _place(self, point: SeekPoint | None) -> None:
        view = self._view
        assert view is not None
        self._offset = view.data_offset if point is None else point.offset
        self.index = view.info.base_index if point is None else point.index

    def _walk_to(self, index: int) -> None:
        """Move inside the open segment to the start of the event that holds record `index`."""
        view = self._view
        assert view is not None
        points = view.seek_points()
        position = bisect_right(points, index, key=lambda point: point.index) - 1
        self._place(points[position] if position >= 0 else None)
        while self.index < index:
            window = self._next_in_segment()
            if window is None:
                return
            if window.end_index <= index:
                continue
            offset, at = _event_holding(window, index)
            self._offset, self.index = window.offset + offset, at
            return

    def _number(self) -> int:
        view = self._view
        assert view is not None
        return view.header.number if isinstance(view, LocalSegment) else view.info.number

    def _extent(self) -> tuple[int, int]:
        view = self._view
        if isinstance(view, LocalSegment):
            end, index, _ = view.extent()
            return end, index
        assert view is not None
        info = view.info
        return view.data_end() - layout.ROLL_BYTES, info.end_index

    def _ended(self) -> bool:
        view = self._view
        return not isinstance(view, LocalSegment) or view.extent()[2]

    def _exhausted(self) -> bool:
        return self._ended() and self.index >= self._extent()[1]

    def _replaced(self) -> bool:
        """Whether the empty open segment under the cursor was removed: its writer died, the next made another."""
        view = self._view
        if not isinstance(view, LocalSegment) or view.extent()[0] > view.data_offset:
            return False
        return not view.is_in_place()

    def _next_in_segment(self, max_bytes: int = WINDOW_BYTES) -> Window | None:
        view = self._view
        assert view is not None
        start = self._offset
        end, end_index = self._extent()
        if start >= end:
            return None
        if end - start > max_bytes:
            points = view.seek_points()
            position = bisect_right(points, start + max_bytes, key=lambda point: point.offset) - 1
            if position < 0 or points[position].offset <= start:
                position += 1
            if position < len(points) and start < points[position].offset < end:
                end, end_index = points[position].offset, points[position].index
        window = Window(view.view(start, end), self.index, end_index, start, self._number(), self.queue)
        self.bytes_read += end - start
        self._offset, self.index = end, end_index
        return window


def _first_at(window: Window, ts_recv: int) -> tuple[int, int] | None:
    """Return (byte offset, record count) before the window's first event at or after `ts_recv`."""
    memory, position, size = window.memory, 0, len(window.memory)
    words = memory.cast("Q")
    count, event, event_count = 0, 0, 0
    while position < size:
        word = words[position >> 3]
        if not HEADER_BYTES <= word & WORD_LENGTH_MASK <= size - position or word & 7:
            raise window.damage(position)
        if position == event:
            stamp = int.from_bytes(
                memory[position + OFFSET_TS_RECV : position + OFFSET_TS_RECV + 8], "little", signed=True
            )
            if stamp >= ts_recv:
                return event, event_count
        position += word & WORD_LENGTH_MASK
        count += 1
        if word & _LAST:
            event, event_count = position, count
    return None


def _event_holding(window: Window, index: int) -> tuple[int, int]:
    """Return (byte offset, index) of the event in `window` that holds record `index`."""
    words, position, at = window.memory.cast("Q"), 0, window.base_index
    event, event_index = 0, at
    while at < index and position < len(window.memory):
        word = words[position >> 3]
        if word & WORD_LENGTH_MASK < HEADER_BYTES or word & 7:
            raise window.damage(position)
        position += word & WORD_LENGTH_MASK
        at += 1
        if word & _LAST:
            event, event_index = position, at
    return event, event_index
