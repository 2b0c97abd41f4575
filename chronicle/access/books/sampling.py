"""Sampling: the books of one instrument over a range, as batches of rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from chronicle.access.books.bulk import BulkBook, Rows
from chronicle.access.books.grid import GridBook
from chronicle.access.books.ladder import drives
from chronicle.access.kernels import books as kernel
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.frontier import frontier
from chronicle.access.opened.lanes import Turn, lanes_of, turns
from chronicle.access.opened.segment import WINDOW_BYTES, Segment, iter_records
from chronicle.access.opened.segments import Shelf
from chronicle.core import layout
from chronicle.core.layout import HEADER_BYTES, NONE, GapState, Kind
from chronicle.core.paths import symbol_of
from chronicle.core.source import SegmentInfo

__all__ = ["by_order_in", "exponents_in", "exponents_met", "sample"]

ROWS_MAX = 65_536
ROWS_BYTES_MAX = 4 << 20
"""A batch of rows holds at most this many."""
ROWS_MIN = 256


Exponents = tuple[int, int]
"""Of prices and sizes."""


def exponents_in(shelf: Shelf, symbol: str, channel: str, start: int | None, end: int | None) -> Exponents:
    """Return the finest price and size exponents among the definitions in force in [start, end)."""
    met = exponents_met(shelf, symbol, channel, start, end)
    return max((price for price, _ in met), default=0), max((size for _, size in met), default=0)


def exponents_met(shelf: Shelf, symbol: str, channel: str, start: int | None, end: int | None) -> set[Exponents]:
    """Return the exponents of all definitions in force in [start, end)."""
    return {
        (fields.price_exponent, fields.size_exponent)
        for lane in lanes_of(shelf, symbol, channel)
        for info in shelf.segments(lane.queue)
        if (start is None or info.ts_last >= start) and (end is None or info.ts_first < end)
        for _, fields in shelf.open(info).definitions()
    }


def by_order_in(shelf: Shelf, symbol: str, start: int | None, end: int | None) -> bool:
    """Return whether the book of `symbol` is made of orders somewhere in [start, end)."""
    return any(
        fields.driver == Kind.ORDER
        for lane in lanes_of(shelf, symbol, "book")
        for info in shelf.segments(lane.queue)
        if (start is None or info.ts_last >= start) and (end is None or info.ts_first < end)
        for _, fields in shelf.open(info).definitions()
    )


def sample(
    shelf: Shelf,
    symbol: str,
    start: int,
    end: int,
    *,
    every: int,
    depth: int,
    exponents: tuple[int, int],
    cost: Cost,
    planes: int = 4,
) -> Iterator[Rows]:
    """Yield the rows of `symbol` in [start, end): one per event (`every` = 0), or one per grid time.

    Rows of an event hold the state after it; rows of the grid the state after all events up to their time. Each lane
    speaks in its turn. Memory is bounded by one batch and one window.
    """
    lanes = lanes_of(shelf, symbol, "book", fresh=True)
    position = start
    for turn in turns(shelf, lanes):
        if turn.end_ts <= position or turn.start_ts >= end:
            continue
        until = min(end, turn.end_ts)
        if every:
            steps = -(-(until - position) // every)
            yield from _Run(shelf, turn, position, until, every, depth, exponents, cost, planes).batches()
            position += steps * every
        else:
            first = max(start, turn.start_ts)
            yield from _Run(shelf, turn, first, until, 0, depth, exponents, cost, planes).batches()
        if position >= end:
            return


class _Run:
    """One lane's rows in its turn."""

    def __init__(
        self,
        shelf: Shelf,
        turn: Turn,
        start: int,
        end: int,
        every: int,
        depth: int,
        exponents: tuple[int, int],
        cost: Cost,
        planes: int,
    ) -> None:
        self._shelf, self._lane, self._cost = shelf, turn.lane, cost
        self._start, self._end, self._every = start, end, every
        capacity = max(ROWS_MIN, min(ROWS_MAX, ROWS_BYTES_MAX // (8 * planes * depth + 17)))
        self._rows = Rows(capacity, depth, planes=planes)
        self._exponents = exponents

    def batches(self) -> Iterator[Rows]:
        """Yield full batches, then the rest."""
        infos = self._shelf.segments(self._lane.queue, fresh=True)
        if not infos:
            return
        position = max(0, bisect_left(infos, self._start, key=lambda info: info.ts_first) - 1)
        segment = self._shelf.open(infos[position], self._cost)
        offset, index, book = self._begin(segment)
        stopped = False
        last_ts = NONE
        for number in range(position, len(infos)):
            info = infos[number]
            if number > position:
                if info.ts_first >= self._end and not self._every:
                    break
                segment = self._shelf.open(info, self._cost)
                offset, index = segment.data_offset, info.base_index
                if infos[number - 1].end_index != info.base_index:
                    yield from self._across_hole(book, segment, infos[number - 1].ts_last)
            whole, data_end = info.ts_last < self._end, segment.data_end()
            for at, base, window in segment.windows(offset, index, data_end, self._cost, to_the_end=whole):
                words = np.frombuffer(window, dtype=np.int64)
                why, place = kernel.FULL, 0
                while why == kernel.FULL:
                    why, place = book.replay(words, place)
                    if why == kernel.FULL:
                        yield self._full(book, infos, number, at + place * 8, base, window, place)
                del words, window  # a block of an archive is given up before the next is decoded
                stopped = why == kernel.STOP
                if stopped:
                    break
            last_ts = info.ts_last
            if stopped:
                break
        if self._every and not stopped:
            if self._shelf.is_cut(self._lane.queue):
                book.gap_from(last_ts)
            yield from self._tail(book, segment, last_ts)
        self._cost.deltas_replayed += book.deltas
        if self._rows.count:
            yield self._rows.take(self._rows.count)

    def _begin(self, segment: Segment) -> tuple[int, int, BulkBook]:
        """Return where to replay from, and the book there: the nearest snapshot before the start."""
        table = segment.seek()
        last = bisect_left(table.ts, self._start) - 1
        nearest = bisect_left(table.snapshots, last + 1) - 1
        offset, index = segment.data_offset, segment.info.base_index
        if nearest >= 0:
            offset, index = table.offset[table.snapshots[nearest]], table.index[table.snapshots[nearest]]
        kind = GridBook if self._every else BulkBook
        book = kind(
            segment.definition_at(offset),
            self._exponents,
            self._rows,
            first_ts=self._start,
            end_ts=self._end,
            every=self._every,
        )
        if nearest < 0:
            book.open_with(segment.prologue_record("book"), segment.prologue_orders())
        return offset, index, book

    def _across_hole(self, book: BulkBook, segment: Segment, last_ts: int) -> Iterator[Rows]:
        """Yield the grid rows that fall where segments are missing, then go on with the book behind the hole."""
        book.gap_from(last_ts)
        until = min(self._end, segment.info.ts_first)
        while self._every and not book.fill(until, until):
            count = self._rows.count
            yield self._rows.take(count)
            book.taken(count)
        book.hole_ended()
        book.open_with(segment.prologue_record("book"), segment.prologue_orders())

    def _full(
        self,
        book: BulkBook,
        infos: list[SegmentInfo],
        number: int,
        offset: int,
        base: int,
        window: memoryview,
        place: int,
    ) -> Rows:
        """Return the rows that no later GAP can reach; where there are none, look ahead and decide."""
        if not book.proven_rows:
            last_good = self._gap_ahead(infos, number, offset)
            if last_good is not None:
                book.gap_from(last_good)
        count = book.proven_rows or self._rows.count
        out = self._rows.take(count)
        book.taken(count)
        return out

    def _gap_ahead(self, infos: list[SegmentInfo], number: int, offset: int) -> int | None:
        """Return the last good time of a GAP that opens before the next driving event, or None."""
        for position in range(number, len(infos)):
            segment = self._shelf.open(infos[position], self._cost)
            start = offset if position == number else segment.data_offset
            for _, _, window in segment.windows(start, 0, segment.data_end(), self._cost, window_bytes=WINDOW_BYTES):
                for record in iter_records(window, 0):
                    if record.kind == Kind.GAP:
                        values = layout.GAP_BODY.unpack_from(record.data, HEADER_BYTES)
                        if values[1] == GapState.OPEN:
                            return int(values[4])
                    elif drives(record):
                        return None
        return None

    def _tail(self, book: BulkBook, segment: Segment, last_ts: int) -> Iterator[Rows]:
        """Yield the grid rows behind the lane's last event: as they were up to the frontier, stale beyond."""
        known = max(last_ts, frontier(self._shelf, symbol_of(self._lane.queue), segment).ts)
        while not book.fill(self._end, known):
            count = self._rows.count
            yield self._rows.take(count)
            book.taken(count)
