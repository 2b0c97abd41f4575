"""BulkBook: one book and its trust over arrays, replayed by the kernel; it leaves rows as it goes.

The kernel applies what is plain; snapshots, redefinitions, gaps and notes come back here and go through the same
:class:`BookTrust` that judges a single lookup.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.ladder import Ladder, drives
from chronicle.access.kernels import books as kernel
from chronicle.access.kernels import orders as order_kernel
from chronicle.core.errors import CorruptionError, RangeError
from chronicle.core.kernels.scan import record_offsets
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, BookStatus, Flag, GapState, Kind
from chronicle.core.records import InstrumentFields, Record, snapshot_order_bytes
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.books.array_orders import ArrayOrderBook
from chronicle.etl.books.status import BookTrust

__all__ = ["BulkBook", "Rows", "record_at"]

_TRUSTED = (int(BookStatus.OK), int(BookStatus.CROSSED))


class Rows:
    """Room for rows: times int64[n, 2] (ts_recv, ts_event), states uint8[n], prices int64[4 or 6, n, depth].

    The planes are bid price, bid size, ask price, ask size (mantissas of the target exponents once scaled), and for
    books of orders the number of orders at each bid and ask.
    """

    __slots__ = ("count", "prices", "scaled", "states", "times")

    def __init__(self, capacity: int, depth: int, *, planes: int = 4) -> None:
        self.times: NDArray[np.int64] = np.empty((capacity, 2), dtype=np.int64)
        self.states: NDArray[np.uint8] = np.empty(capacity, dtype=np.uint8)
        self.prices: NDArray[np.int64] = np.zeros((planes, capacity, depth), dtype=np.int64)
        self.count = 0
        self.scaled = 0

    def scale(self, price_factor: int, size_factor: int) -> None:
        """Bring the rows since the last call to the target exponents.

        Raises
        ------
        RangeError
            When a mantissa would not fit int64.
        """
        fresh = self.prices[:, self.scaled : self.count]
        self.scaled = self.count
        for plane, factor in ((0, price_factor), (1, size_factor), (2, price_factor), (3, size_factor)):
            if factor == 1 or not fresh[plane].size:
                continue
            values = fresh[plane]
            there = values != INT64_MIN
            if np.any(np.abs(values[there]) > INT64_MAX // factor):
                raise RangeError(
                    "a price or size does not fit int64 at the finest exponent of the range",
                    hint="ask for a range before or after the redefinition",
                )
            values[there] *= factor

    def take(self, count: int) -> Rows:
        """Remove the first `count` rows and return them; the rest moves to the front."""
        out = Rows(0, 0)
        out.times = self.times[:count].copy()
        out.states = self.states[:count].copy()
        out.prices = self.prices[:, :count].copy()
        out.count = out.scaled = count
        left = self.count - count
        self.times[:left] = self.times[count : self.count].copy()
        self.states[:left] = self.states[count : self.count].copy()
        self.prices[:, :left] = self.prices[:, count : self.count].copy()
        self.count, self.scaled = left, max(0, self.scaled - count)
        return out


class BulkBook:
    """One book that is replayed in bulk.

    Parameters
    ----------
    definition : InstrumentFields or None
        In force where the replay starts.
    exponents : (int, int)
        Price and size exponents that rows are written in; at least those of every definition met.
    rows : Rows
        Where rows go.
    first_ts, end_ts : int
        Rows are of events (or grid times) in [first_ts, end_ts).
    every : int
        Grid step in ns; 0 for a row per event.
    """

    def __init__(
        self,
        definition: InstrumentFields | None,
        exponents: tuple[int, int],
        rows: Rows,
        *,
        first_ts: int,
        end_ts: int,
        every: int,
    ) -> None:
        self.book = ArrayBook()
        self.orders: ArrayOrderBook | None = None
        """Instead of `book`, where orders drive it."""
        self.trust = BookTrust()
        self.rows = rows
        self.snapshot_ts = NONE
        self.definition = InstrumentFields(0, 0)
        self._exponents = exponents
        self._first_ts, self._end_ts, self._every = first_ts, end_ts, every
        self._reg: NDArray[np.int64] = np.zeros(kernel.REGISTERS, dtype=np.int64)
        self._reg[kernel.EVENT_START] = 1
        self._reg[kernel.GRID_NEXT] = first_ts
        self._reg[kernel.GAP_FROM] = INT64_MAX
        self._reg[kernel.TS_RECV] = self._reg[kernel.TS_EVENT] = NONE
        if definition is not None:
            self._define(definition)

    @property
    def deltas(self) -> int:
        """Deltas applied so far."""
        return int(self._reg[kernel.DELTAS])

    @property
    def grid_next(self) -> int:
        """The next grid time without a row."""
        return int(self._reg[kernel.GRID_NEXT])

    @property
    def proven_rows(self) -> int:
        """How many rows no later GAP can reach."""
        return int(self._reg[kernel.PROVEN_ROW])

    def hand_over(self, ladder: Ladder) -> None:
        """Give the state to `ladder`."""
        self._registers_to_trust()
        ladder.levels, ladder.orders = self.book if self.orders is None else self.orders, self.orders
        ladder.trust, ladder.definition = self.trust, self.definition
        ladder.snapshot_ts = self.snapshot_ts
        ladder.deltas += self.deltas

    @property
    def event_ts(self) -> int:
        """ts_recv of the last event that was begun; NONE when there was none."""
        return int(self._reg[kernel.EVENT_TS])

    def begin_window(self) -> None:
        """Count records and note the last driving one from here on."""
        self._reg[kernel.RECORDS] = 0
        self._reg[kernel.LAST_AT] = NONE

    @property
    def records(self) -> int:
        """Records of the window that were passed."""
        return int(self._reg[kernel.RECORDS])

    @property
    def last_place(self) -> tuple[int, int]:
        """(word, number) in the window of the last driving record; the word is NONE when there was none."""
        return int(self._reg[kernel.LAST_AT]), int(self._reg[kernel.LAST_RECORD])

    def load(self, record: Record) -> None:
        """Start from a BOOK_SNAPSHOT (and the ORDER_SNAPSHOT records of :meth:`load_orders`)."""
        self._restate(record)
        self.snapshot_ts = record.ts_recv
        self.trust.follow(record, self.definition)
        self._reg[kernel.TS_EVENT] = record.ts_event
        self._trust_to_registers()

    def open_with(self, book: Record | None, orders: list[Record]) -> None:
        """Start from what a segment's prologue holds."""
        if book is not None:
            self.load(book)
            for record in orders:
                self.load_orders(record)

    def load_orders(self, record: Record) -> None:
        """Append the orders of an ORDER_SNAPSHOT."""
        if self.orders is not None:
            start, middle, end = snapshot_order_bytes(record.body)
            for side, part in (("bid", record.body[start:middle]), ("ask", record.body[middle:end])):
                self.orders.load(np.frombuffer(part, dtype=np.int64).reshape(-1, 3), side)

    def _restate(self, record: Record) -> None:
        if self.orders is not None:
            self.orders.clear()
        else:
            self.book.load_snapshot_record(record.data)

    def taken(self, count: int) -> None:
        """Note that the first `count` rows were taken away."""
        self._reg[kernel.PROVEN_ROW] = max(0, int(self._reg[kernel.PROVEN_ROW]) - count)

    def replay(self, words: NDArray[np.int64], position: int) -> tuple[int, int]:
        """Apply a window from word `position` on; return (why it stopped, position): DONE, FULL or STOP.

        Raises
        ------
        CorruptionError
            At a record whose length is impossible.
        """
        while True:
            why, position = self._step(words, position)
            if why == kernel.ROOM:
                self._make_room()
            elif why == kernel.SPECIAL:
                self._special(record_at(words, position), position)
            elif why == kernel.BAD:
                raise CorruptionError("a record's length is impossible", offset=position * 8)
            else:
                self._scale()
                return why, position

    def _step(self, words: NDArray[np.int64], position: int) -> tuple[int, int]:
        """Run the kernel of what drives the book until it stops; return (why, position)."""
        rows, ends = self.rows, (self._first_ts, self._end_ts, self._every)
        out = (self.rows.times, self.rows.states, self.rows.prices)
        if self.orders is None:
            book = (self.book.levels, self.book.counts)
            why, position, rows.count = kernel.replay(*book, self._reg, words, position, *ends, *out, rows.count)
            return int(why), int(position)
        starts = record_offsets(words[position:].view(np.uint8)) >> 3
        starts = np.append(starts + position, len(words))
        parts = self.orders.flat_parts()
        why, position, rows.count = order_kernel.replay_orders(
            *parts, self._reg, words, starts, *ends, *out, rows.count
        )
        return int(why), int(position)

    def _make_room(self) -> None:
        if self.orders is not None:
            self.orders.make_room()
        else:
            self.book.reserve(int(self.book.counts.max()) + 1)

    def fill(self, until_ts: int, known_ts: int) -> bool:
        """Write the grid rows below `until_ts` that fit; behind `known_ts` they are stale. Return whether all fit."""
        rows, start = self.rows, self.rows.count
        out = (rows.times, rows.states, rows.prices)
        if self.orders is None:
            book = (self.book.levels, self.book.counts)
            rows.count = kernel.fill(*book, self._reg, until_ts, self._every, *out, rows.count)
        else:
            _, _, queues, ends, _, levels, counts, _, _ = self.orders.flat_parts()
            held = (queues, ends, levels, counts)
            rows.count = order_kernel.fill_orders(*held, self._reg, until_ts, self._every, *out, rows.count)
        self._scale()
        fresh = slice(start, rows.count)
        late = (rows.times[fresh, 0] > known_ts) & np.isin(rows.states[fresh], _TRUSTED)
        rows.states[fresh][late] = BookStatus.STALE
        return self.grid_next >= until_ts

    def gap_from(self, last_good_ts: int) -> None:
        """Mark the rows not yet proven, and grid rows to come before the next event, as lying in a hole."""
        rows = self.rows
        unproven = slice(self.proven_rows, rows.count)
        inside = (rows.times[unproven, 0] > last_good_ts) & np.isin(rows.states[unproven], _TRUSTED)
        rows.states[unproven][inside] = BookStatus.GAP
        self._reg[kernel.GAP_FROM] = last_good_ts

    def hole_ended(self) -> None:
        """Forget the book and its trust: what follows starts from a snapshot."""
        self.book.clear()
        if self.orders is not None:
            self.orders.clear()
        self.trust = BookTrust()
        self._reg[kernel.GAP_FROM] = INT64_MAX
        self._reg[kernel.PROVEN_ROW] = self.rows.count
        self._trust_to_registers()

    def _special(self, record: Record, position: int) -> None:
        """Apply what the kernel left alone."""
        self._registers_to_trust()
        if record.kind == Kind.INSTRUMENT:
            self._scale()
            self._define(InstrumentFields.unpack(record.body))
        elif record.kind == Kind.BOOK_SNAPSHOT:
            self._restate(record)
            self.snapshot_ts = record.ts_recv
            if drives(record):
                self._driven(record, position)
        elif record.kind == Kind.ORDER_SNAPSHOT:
            self.load_orders(record)
        elif record.kind == Kind.ORDER and self.orders is not None:
            self.orders.apply(record)
            self._reg[kernel.DELTAS] += 1
            self._driven(record, position)
        elif record.kind == Kind.GAP and record.fields()["state"] == GapState.OPEN:
            self.gap_from(record.fields()["last_good_ts"])
        was_in_gap = self.trust.in_gap
        self.trust.follow(record, self.definition)
        if self.trust.in_gap and not was_in_gap and record.kind == Kind.CHECK:
            self.gap_from(self.trust.last_good_ts)
        self._reg[kernel.GAP_FROM] = INT64_MAX
        self._trust_to_registers()
        self._reg[kernel.CONTENT_DONE] = 1

    def _driven(self, record: Record, position: int) -> None:
        """Note a driving record that the kernel left alone; a venue's snapshot in orders gives no row."""
        reg = self._reg
        reg[kernel.TS_RECV], reg[kernel.TS_EVENT] = record.ts_recv, record.ts_event
        if record.kind != Kind.ORDER or not record.flags & Flag.SNAPSHOT:
            reg[kernel.EVENT_DRIVEN] = 1
        reg[kernel.LAST_AT], reg[kernel.LAST_RECORD] = position, reg[kernel.RECORDS]
        reg[kernel.PROVEN_ROW] = self.rows.count

    def _define(self, definition: InstrumentFields) -> None:
        self.definition = definition
        if (definition.driver == Kind.ORDER) != (self.orders is not None):
            self.orders = ArrayOrderBook() if definition.driver == Kind.ORDER else None
            self.book.clear()
        for book in (self.book, self.orders):
            if book is not None:
                book.price_exponent, book.size_exponent = definition.price_exponent, definition.size_exponent
        self.book.book_depth = definition.book_depth
        self._reg[kernel.RULE] = definition.sequence_rule
        self._reg[kernel.DEPTH_LIMIT] = definition.book_depth

    def _scale(self) -> None:
        if self.rows.scaled == self.rows.count:
            return
        price = self._exponents[0] - self.definition.price_exponent
        size = self._exponents[1] - self.definition.size_exponent
        self.rows.scale(10 ** max(0, price), 10 ** max(0, size))

    def _trust_to_registers(self) -> None:
        trust, reg = self.trust, self._reg
        reg[kernel.STARTED] = trust.started
        reg[kernel.IN_GAP] = trust.in_gap
        reg[kernel.LINE_LOST] = trust.line_lost
        reg[kernel.VERIFIED] = trust.verified_by
        reg[kernel.CHECKED_TS] = trust.last_checked_ts
        reg[kernel.CHECKED_INDEX] = trust.last_checked_index

    def _registers_to_trust(self) -> None:
        trust, reg = self.trust, self._reg
        trust.line_lost = bool(reg[kernel.LINE_LOST])
        trust.verified_by = int(reg[kernel.VERIFIED])
        trust.last_checked_ts = int(reg[kernel.CHECKED_TS])
        trust.last_checked_index = int(reg[kernel.CHECKED_INDEX])


def record_at(words: NDArray[np.int64], position: int, index: int = NONE) -> Record:
    """Return a copy of the record at word `position`."""
    size = (int(words[position]) & 0xFFFFFFFF) >> 3
    data: Any = words[position : position + size].tobytes()
    return Record(data, index)
