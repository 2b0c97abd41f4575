"""Shelf: the segments of a source, opened when asked for, kept open within a bound, found again when they move.

A sealed segment never changes, so what was learnt of it (prologue, seek index, definitions) stays true; of an open
one only the end of its committed bytes is read anew. Which segments exist is remembered too: a caller that needs
what came after the last look says ``fresh=True``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise, takewhile
from typing import Any, TypeVar

from chronicle.access.opened.cost import Cost
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import HEADER_BYTES, Kind, SegmentState
from chronicle.core.paths import channel_of
from chronicle.core.records import InstrumentFields, Record
from chronicle.core.source import SeekPoint, SegmentInfo, SegmentSource, SegmentView
from chronicle.storage.codec.archive import ArchivedSegment, Stretch
from chronicle.storage.stores.requests import requests_made

__all__ = ["SeekTable", "Segment", "Shelf", "iter_records"]

T = TypeVar("T")

OPEN_SEGMENTS_MAX = 64
WINDOW_BYTES = 1 << 20


class SeekTable:
    """A segment's seek index as plain lists, in offset order, and the positions of the snapshots in it."""

    __slots__ = ("index", "offset", "snapshots", "ts")

    def __init__(self) -> None:
        self.index: list[int] = []
        self.offset: list[int] = []
        self.ts: list[int] = []
        self.snapshots: list[int] = []

    def __len__(self) -> int:
        return len(self.offset)

    def follow(self, view: SegmentView) -> None:
        """Take over what `view` has more."""
        if len(self) or not isinstance(view, ArchivedSegment):
            self.extend(view.seek_points())
            return
        index, offset, ts, kinds = view.seek_columns()
        self.index, self.offset, self.ts = list(index), list(offset), list(ts)
        self.snapshots = [position for position, kind in enumerate(kinds) if kind == Kind.BOOK_SNAPSHOT]

    def extend(self, points: Sequence[SeekPoint]) -> None:
        """Take over the points that were added since the last look."""
        known = len(self)
        if known < len(points):
            index, offset, ts, kinds = zip(*points[known:], strict=True)
            self.index.extend(index)
            self.offset.extend(offset)
            self.ts.extend(ts)
            self.snapshots.extend(at for at, kind in enumerate(kinds, known) if kind == Kind.BOOK_SNAPSHOT)


class Definitions:
    """What is known of a segment's instrument, and how far it was looked for; `told`: it is all that there is."""

    __slots__ = ("found", "looked", "told", "walked")

    def __init__(self) -> None:
        self.found: list[tuple[int, InstrumentFields]] = []
        self.looked = 0
        self.told = False
        self.walked = 0


class Segment:
    """One opened segment: its prologue, where to seek, and its bytes. Threads may share it."""

    def __init__(self, shelf: Shelf, info: SegmentInfo, view: SegmentView) -> None:
        self.info = info
        self._shelf = shelf
        self._view = view
        self._lock = threading.RLock()
        self._prologue: dict[str, Any] | None = None
        self._seek = SeekTable()
        self._definitions = Definitions()

    @property
    def data_offset(self) -> int:
        """Offset of the first record."""
        return self._view.data_offset

    def prologue(self) -> dict[str, Any]:
        """Return the prologue's map."""
        if self._prologue is None:
            self._prologue = self._again(lambda view: view.prologue())
        return self._prologue

    def prologue_record(self, name: str) -> Record | None:
        """Return the record that the prologue holds under `name` (``instrument``, ``book``), or None."""
        data = self.prologue().get(name)
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) < HEADER_BYTES:
            return None
        return Record(bytes(data))

    def prologue_orders(self) -> list[Record]:
        """Return the ORDER_SNAPSHOT records behind the prologue's book; none where orders do not drive it."""
        found = self.prologue().get("orders")
        return [Record(bytes(data)) for data in found] if isinstance(found, list) else []

    def data_end(self) -> int:
        """Return the offset after the last committed record."""
        return self._again(lambda view: view.data_end())

    def seek(self) -> SeekTable:
        """Return the seek index as of now."""
        with self._lock:
            if not len(self._seek) or self.info.state is not SegmentState.SEALED:
                self._again(self._seek.follow)
            return self._seek

    def read(self, start: int, end: int, cost: Cost) -> memoryview:
        """Return the bytes [start, end) of the segment, wherever it is by now."""
        if end <= start:
            return memoryview(b"")
        cost.bytes_read += end - start
        asked = requests_made()
        data = self._again(lambda view: view.view(start, end))
        cost.requests += requests_made() - asked
        return data

    def _piece(self, start: int, end: int, until: int, cost: Cost) -> tuple[int, memoryview]:
        """Return (offset, bytes) that hold [start, end): of an archive with all that is decoded around it."""
        if not isinstance(self._view, ArchivedSegment):
            return start, self.read(start, end, cost)
        cost.bytes_read += end - start
        asked = requests_made()
        found = self._again(partial(_piece_of, start=start, end=end, until=until))
        cost.requests += requests_made() - asked
        return found

    def _again(self, look: Callable[[SegmentView], T]) -> T:
        """Look at the view; where it was closed or its place is gone, find the segment again first."""
        try:
            return look(self._view)
        except (NotFoundError, FileNotFoundError):
            self._view = self._shelf.reopen(self.info)
            return look(self._view)

    def definitions(self) -> list[tuple[int, InstrumentFields]]:
        """Return (offset, definition) of the instrument: the prologue's first, then each redefinition's.

        A definition holds from its offset on. The list is empty where neither prologue nor records define one.
        In a book queue a redefinition comes with a snapshot, so only events with one are looked at; other
        channels are walked once.
        """
        known = self._definitions
        if known.told:
            return known.found
        with self._lock:
            if not known.found:
                opening = self._opening_definition()
                if opening is not None:
                    known.found.append((self.data_offset, InstrumentFields.unpack(opening.body)))
            if channel_of(self.info.queue) == "book":
                self._define_at_snapshots(known)
            else:
                self._define_by_walk(known)
            return known.found

    def _opening_definition(self) -> Record | None:
        """Return the prologue's INSTRUMENT record; an archive gives it without the book that is there too."""
        if self._prologue is not None or not isinstance(self._view, ArchivedSegment):
            return self.prologue_record("instrument")
        data = self._again(_definition)
        return None if data is None or len(data) < HEADER_BYTES else Record(data)

    def _define_at_snapshots(self, known: Definitions) -> None:
        nothing_more: bool = self._again(_defines_nothing)
        if known.found and nothing_more:
            known.told = True
            return  # an archive's block table says so: not even its seek index is needed
        told: list[tuple[int, bytes]] | None = self._again(_instruments)
        if told is not None:  # an archive's blocks tell them without their rows
            for offset, body in told:
                _add(known, offset, InstrumentFields.unpack(body))
            known.told = True
            return
        table = self.seek()
        positions = [0, *table.snapshots] if len(table) and table.snapshots[:1] != [0] else table.snapshots
        for position in positions[known.looked :]:
            known.looked += 1
            offset = table.offset[position]
            if not self._again(partial(_may_hold, kind=Kind.INSTRUMENT, offset=offset)):
                continue  # an archive's block says so without being decoded
            header = self.read(offset, offset + HEADER_BYTES, Cost())
            if int.from_bytes(header[4:6], "little") == Kind.INSTRUMENT:
                self._define(known, offset, int.from_bytes(header[:4], "little"))

    def _define_by_walk(self, known: Definitions) -> None:
        start, end = max(known.walked, self.data_offset), self.data_end()
        if start >= end:
            return
        data = self.read(start, end, Cost())
        for position in instrument_offsets(data):
            length = int.from_bytes(data[position : position + 4], "little")
            self._define(known, start + position, length)
        known.walked = end

    def _define(self, known: Definitions, offset: int, length: int) -> None:
        record = Record(self.read(offset, offset + length, Cost()))
        _add(known, offset, InstrumentFields.unpack(record.body))

    def exponents(self) -> set[tuple[int, int]]:
        """Return the exponents of prices and sizes of all its definitions."""
        return {(fields.price_exponent, fields.size_exponent) for _, fields in self.definitions()}

    def definition_at(self, offset: int) -> InstrumentFields | None:
        """Return the definition that holds for records at `offset`."""
        holding = None
        for start, fields in self.definitions():
            if start > offset and holding is not None:
                break
            holding = fields
        return holding

    def span(self, start_ts: int | None, end_ts: int | None) -> tuple[int, int, int]:
        """Return (offset, index, end offset) of event-aligned bytes that hold all records in [start_ts, end_ts)."""
        table, end = self.seek(), self.data_end()
        if not len(table):
            return self.data_offset, self.info.base_index, self.data_offset
        first = 0 if start_ts is None else max(0, bisect_left(table.ts, start_ts) - 1)
        if end_ts is not None:
            last = bisect_left(table.ts, end_ts)
            end = table.offset[last] if last < len(table) else end
        return table.offset[first], table.index[first], max(end, table.offset[first])

    def windows(
        self,
        start: int,
        index: int,
        end: int,
        cost: Cost,
        *,
        window_bytes: int = WINDOW_BYTES,
        to_the_end: bool = False,
    ) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (offset, base index, bytes) of whole events from `start` (an event's offset) to `end`.

        Who surely reads `to_the_end` spares an archived block's being decoded in part, then whole.
        """
        table = self.seek()
        first, held = start, memoryview(b"")
        while start < end:
            target = bisect_right(table.offset, start + window_bytes) - 1
            if target >= 0 and table.offset[target] <= start:
                target += 1
            inside = target < len(table) and table.offset[target] < end
            stop = table.offset[target] if inside else end
            if stop > first + len(held):
                held = memoryview(b"")  # given up before the next is made
                first, held = self._piece(start, stop, end if to_the_end else stop, cost)
            else:
                cost.bytes_read += stop - start
            yield start, index, held[start - first : stop - first]
            if inside:
                index = table.index[target]
            start = stop

    def stretches(
        self,
        start: int | None,
        end: int | None,
        names: Collection[str],
        kinds: Collection[int],
        sides: tuple[int, int],
        *,
        floats: bool = False,
    ) -> Iterator[Stretch] | None:
        """Return the blocks of an archived segment as columns, or None where records must be read.

        With `floats`, prices and sizes may come divided, as float64.
        """
        if not isinstance(self._view, ArchivedSegment):
            return None
        return self._stretches(start, end, names, kinds, sides, floats=floats)

    def _stretches(
        self,
        start: int | None,
        end: int | None,
        names: Collection[str],
        kinds: Collection[int],
        sides: tuple[int, int],
        *,
        floats: bool,
    ) -> Iterator[Stretch]:
        """Yield the stretches; where the view was closed or its place is gone meanwhile, the rest as records."""
        done = 0
        view = self._view
        try:
            if isinstance(view, ArchivedSegment):
                met = self.exponents()
                price, size = next(iter(met)) if floats and len(met) == 1 else (None, None)
                found = view.stretches(
                    start,
                    end,
                    names,
                    kinds,
                    sides=sides,
                    uniform=len(met) <= 1,
                    divisors=(0.0 if price is None else 10.0**price, 0.0 if size is None else 10.0**size),
                )
                for stretch in found:
                    yield stretch
                    done = stretch.end
                return
        except (NotFoundError, FileNotFoundError):
            pass
        yield Stretch(max(done, self.data_offset), self.data_end(), None)

    def close(self) -> None:
        """Release the segment's file."""
        self._view.close()


class Shelf:
    """All segments of a source, behind a bounded cache. Threads may share it.

    Parameters
    ----------
    source : SegmentSource
        Where segments are found.
    capacity : int
        How many segments stay open; the least recently used is closed first (views stay valid).
    """

    def __init__(self, source: SegmentSource, *, capacity: int = OPEN_SEGMENTS_MAX) -> None:
        self.source = source
        self._capacity = capacity
        self._opened: OrderedDict[tuple[str, int, int], Segment] = OrderedDict()
        self._infos: dict[str, list[SegmentInfo]] = {}
        self._cut: dict[str, bool] = {}
        self._queues: list[str] | None = None
        self._lock = threading.RLock()
        self.deltas_walked = 0

    def queues(self, prefix: str = "", *, fresh: bool = False) -> list[str]:
        """Return the names of the queues that start with `prefix`."""
        if fresh and prefix:
            return sorted(self.source.queues(prefix))  # what lies elsewhere need not be listed again
        with self._lock:
            if fresh or self._queues is None:
                self._queues = sorted(self.source.queues(""))
            first = bisect_left(self._queues, prefix)
            return list(takewhile(lambda name: name.startswith(prefix), islice(self._queues, first, None)))

    def segments(self, queue: str, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return the segments of `queue` that hold records, in order; none when there is no such queue."""
        with self._lock:
            known = self._infos.get(queue)
        if known is not None and not fresh:
            return known
        try:
            end = self.source.sealed_end(queue)
            found = [info for info in self.source.segments(queue) if info.record_count > 0]
        except NotFoundError:
            end, found = 0, []
        with self._lock:
            self._infos[queue] = found
            self._cut[queue] = end > (found[-1].end_index if found else 0)
        return found

    def segments_in(self, queue: str, start: int | None, end: int | None) -> list[SegmentInfo]:
        """Return the segments of `queue` that may hold records with ts_recv in [start, end), in order.

        What is remembered is enough where a sealed segment reaches to the end: ts_recv never decreases in a queue and
        a sealed segment never changes, so nothing that came since can lie in the range. Else the source is asked.
        """
        with self._lock:
            known = self._infos.get(queue)
        if known is not None and end is not None:
            chosen = _between(known, start, end)
            last = chosen[-1] if chosen else None
            whole = all(one.end_index == other.base_index for one, other in pairwise(chosen))
            if last is not None and last.state is SegmentState.SEALED and last.ts_last >= end and whole:
                return chosen
        return _between(self.segments(queue, fresh=True), start, end)

    def segments_near(self, queue: str, ts: int, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return the segments of `queue` around a moment where the source can tell them apart, else all of them."""
        look = getattr(self.source, "segments_near", None)  # chronicle.core.source.NearLookup
        with self._lock:
            known = self._infos.get(queue)
        if look is None or (known is not None and not fresh):
            return self.segments(queue, fresh=fresh)
        return [info for info in look(queue, ts, fresh=fresh) if info.record_count > 0]

    def is_cut(self, queue: str) -> bool:
        """Return whether the last segments of `queue` were missing when :meth:`segments` looked last."""
        with self._lock:
            return self._cut.get(queue, False)

    def open(self, info: SegmentInfo, cost: Cost | None = None) -> Segment:
        """Open a segment, at its present place."""
        if cost is not None:
            cost.segments_opened += 1
        key = (info.queue, info.generation, info.number)
        with self._lock:
            segment = self._opened.get(key)
            if segment is not None:
                if segment.info.state is not SegmentState.SEALED:
                    segment.info = info
                self._opened.move_to_end(key)
                return segment
            asked = requests_made()
            segment = Segment(self, info, self.source.open(info.queue, info.number))
            if cost is not None:
                cost.requests += requests_made() - asked
            self._opened[key] = segment
            while len(self._opened) > self._capacity:
                self._opened.popitem(last=False)[1].close()
            return segment

    def reopen(self, info: SegmentInfo) -> SegmentView:
        """Open the segment anew after its place went away."""
        view = self.source.open(info.queue, info.number)
        if view.info.base_index != info.base_index:
            raise CorruptionError(
                "a segment came back with other records after it moved",
                path=view.info.location,
                expected=info.base_index,
                found=view.info.base_index,
            )
        return view

    def close(self) -> None:
        """Close every open segment."""
        with self._lock:
            for segment in self._opened.values():
                segment.close()
            self._opened.clear()
            self._infos.clear()
            self._cut.clear()
            self._queues = None


def _between(infos: list[SegmentInfo], start: int | None, end: int | None) -> list[SegmentInfo]:
    """Return those of a queue's segments that reach into [start, end)."""
    first = 0 if start is None else bisect_left(infos, start, key=lambda info: info.ts_last)
    last = len(infos) if end is None else bisect_left(infos, end, key=lambda info: info.ts_first)
    return infos[first:last]


def _piece_of(view: SegmentView, start: int, end: int, until: int) -> tuple[int, memoryview]:
    """Return (offset, bytes) around [start, end), whichever kind of place the segment is at by now."""
    if isinstance(view, ArchivedSegment):
        return view.piece(start, end, until)
    return start, view.view(start, end)


def _may_hold(view: SegmentView, kind: int, offset: int) -> bool:
    """Return what the view says where it is a :class:`chronicle.core.source.KindLookup`, else True."""
    look = getattr(view, "may_hold", None)  # isinstance of a protocol would cost more than the look
    return look is None or bool(look(kind, offset))


def _defines_nothing(view: SegmentView) -> bool:
    """Return whether a sealed segment is known to have no definition but the prologue's."""
    return isinstance(view, ArchivedSegment) and not view.may_hold_anywhere(Kind.INSTRUMENT)


def _definition(view: SegmentView) -> bytes | None:
    """Return the INSTRUMENT record in a segment's prologue."""
    if isinstance(view, ArchivedSegment):
        return view.definition()
    found = view.prologue().get("instrument")
    return bytes(found) if isinstance(found, bytes | bytearray | memoryview) else None


def _instruments(view: SegmentView) -> list[tuple[int, bytes]] | None:
    """Return (offset, body) of an archived segment's INSTRUMENT records, None where they must be looked for."""
    return view.instruments() if isinstance(view, ArchivedSegment) else None


def _add(known: Definitions, offset: int, fields: InstrumentFields) -> None:
    """Note a definition that holds from `offset` on, unless it says nothing new."""
    if not known.found or known.found[-1][1] != fields:
        known.found.append((offset, fields))


def instrument_offsets(data: memoryview) -> list[int]:
    """Return where INSTRUMENT records start in event-aligned bytes."""
    import numpy as np

    from chronicle.core.scan import record_offsets

    offsets = record_offsets(data)
    kinds = np.frombuffer(data, dtype="<u2")[offsets // 2 + 2]
    found: list[int] = offsets[kinds == Kind.INSTRUMENT].tolist()
    return found


def iter_records(data: memoryview, index: int) -> Iterator[Record]:
    """Yield the records of event-aligned bytes; ROLL takes no index and is left out.

    Raises
    ------
    CorruptionError
        When a record's length leads outside `data`.
    """
    position, end = 0, len(data)
    while position < end:
        length = int.from_bytes(data[position : position + 4], "little")
        if length < HEADER_BYTES or length % 8 or position + length > end:
            raise CorruptionError("a record's length is impossible", offset=position, found=length)
        record = Record(data[position : position + length], index)
        position += length
        if record.kind == Kind.ROLL:
            continue
        index += 1
        yield record
