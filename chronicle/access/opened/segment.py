"""Segment: one segment of a source, opened: its bytes, seek index and definitions, wherever it moves.

A sealed segment never changes, so what was learnt of it (prologue, seek index, definitions) stays true; of an open
one only the end of its committed bytes is read anew.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.definitions import Definitions, known_definitions, remember_definitions
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import HEADER_BYTES, Kind, SegmentState
from chronicle.core.paths import channel_of
from chronicle.core.records import InstrumentFields, Record
from chronicle.core.source import SeekPoint, SegmentInfo, SegmentView
from chronicle.storage.codec.archive import ArchivedSegment, Stretch
from chronicle.storage.stores.requests import requests_made

__all__ = ["SeekTable", "Segment", "instrument_offsets", "iter_records"]

T = TypeVar("T")

WINDOW_BYTES = 1 << 20
Reopen = Callable[[SegmentInfo], SegmentView]
"""Opens the segment again once its place went away."""


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


class Segment:
    """One opened segment: its prologue, where to seek, and its bytes. Threads may share it."""

    def __init__(self, reopen: Reopen, info: SegmentInfo, view: SegmentView) -> None:
        self.info = info
        self._reopen = reopen
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
            self._view = self._reopen(self.info)
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
            remembered = known_definitions(self._view)
            if remembered is not None:
                known.found, known.told = remembered, True
                return known.found
            opening = self._opening_definition() if not known.found else None
            if opening is not None:
                known.found.append((self.data_offset, InstrumentFields.unpack(opening.body)))
            if channel_of(self.info.queue) == "book":
                self._define_at_snapshots(known, b"" if opening is None else bytes(opening.body))
            else:
                self._define_by_walk(known)
                known.told = self.info.state is SegmentState.SEALED
            if known.told:
                remember_definitions(self._view, known.found)
            return known.found

    def _opening_definition(self) -> Record | None:
        """Return the prologue's INSTRUMENT record; an archive gives it without the book that is there too."""
        if self._prologue is not None or not isinstance(self._view, ArchivedSegment):
            return self.prologue_record("instrument")
        data = self._again(_definition)
        return None if data is None or len(data) < HEADER_BYTES else Record(data)

    def _define_at_snapshots(self, known: Definitions, opening: bytes) -> None:
        nothing_more: bool = self._again(_defines_nothing)
        if known.found and nothing_more:
            known.told = True
            return  # an archive's block table says so: not even its seek index is needed
        told: list[tuple[int, bytes]] | None = self._again(partial(_instruments, known=opening))
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

    def spans_of_kinds(
        self, kinds: Collection[int], start_ts: int | None, end_ts: int | None
    ) -> Iterator[tuple[int, int, int]]:
        """Yield (offset, index, end offset) of whole events outside which no record of `kinds` is in the range.

        An archive's blocks tell what they hold without being decoded.
        """
        if not self._again(partial(_may_hold_any, kinds=kinds)):
            return
        start, index, end = self.span(start_ts, end_ts)
        pieces: list[tuple[int, int]] | None = self._again(partial(_pieces, kinds=kinds))
        if pieces is None:
            yield start, index, end
            return
        table = self.seek()
        for first, last in pieces:
            first, last = max(first, start), min(last, end)
            if first < last:
                yield first, table.index[bisect_right(table.offset, first) - 1], last

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


def _piece_of(view: SegmentView, start: int, end: int, until: int) -> tuple[int, memoryview]:
    """Return (offset, bytes) around [start, end), whichever kind of place the segment is at by now."""
    if isinstance(view, ArchivedSegment):
        return view.piece(start, end, until)
    return start, view.view(start, end)


def _may_hold(view: SegmentView, kind: int, offset: int) -> bool:
    """Return what the view says where it is a :class:`chronicle.core.source.KindLookup`, else True."""
    look = getattr(view, "may_hold", None)  # isinstance of a protocol would cost more than the look
    return look is None or bool(look(kind, offset))


def _may_hold_any(view: SegmentView, kinds: Collection[int]) -> bool:
    return not isinstance(view, ArchivedSegment) or any(view.may_hold_anywhere(kind) for kind in kinds)


def _pieces(view: SegmentView, kinds: Collection[int]) -> list[tuple[int, int]] | None:
    """Return the bytes of the blocks that may hold one of `kinds`, None where there are no blocks."""
    return view.pieces_of_kinds(kinds) if isinstance(view, ArchivedSegment) else None


def _defines_nothing(view: SegmentView) -> bool:
    """Return whether a sealed segment is known to have no definition but the prologue's."""
    return isinstance(view, ArchivedSegment) and not view.may_hold_anywhere(Kind.INSTRUMENT)


def _definition(view: SegmentView) -> bytes | None:
    """Return the INSTRUMENT record in a segment's prologue."""
    if isinstance(view, ArchivedSegment):
        return view.definition()
    found = view.prologue().get("instrument")
    return bytes(found) if isinstance(found, bytes | bytearray | memoryview) else None


def _instruments(view: SegmentView, known: bytes) -> list[tuple[int, bytes]] | None:
    """Return (offset, body) of an archived segment's INSTRUMENT records, None where they must be looked for."""
    return view.instruments(known) if isinstance(view, ArchivedSegment) else None


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
