"""Ladder: one book and its trust, as the records of its clean queue are applied in plain Python.

It serves short seeks, where loading the kernels would cost more than the replay; ``kernels/books.py`` does the same
in bulk, and the tests hold the two against one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, cast

from chronicle.core import layout
from chronicle.core.errors import CorruptionError
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, INT64_MIN, NONE, Action, BookStatus, Flag, Kind, Origin
from chronicle.core.records import InstrumentFields, Record, SnapshotFields, snapshot_orders
from chronicle.etl.books.book import Book as Levels
from chronicle.etl.books.order_book import OrderBook
from chronicle.etl.books.status import BookTrust

if TYPE_CHECKING:
    from chronicle.etl.books.array_book import ArrayBook
    from chronicle.etl.books.array_orders import ArrayOrderBook

__all__ = ["Ladder", "drives"]

_UNDEFINED = InstrumentFields(0, 0)
_OF_ORDERS = frozenset({Kind.BOOK_DELTA, Kind.ORDER, Kind.ORDER_SNAPSHOT})
"""What concerns a book of orders; BOOK_DELTA, what another feed says of its levels, changes nothing in it."""


def drives(record: Record) -> bool:
    """Return whether `record` is of the venue's making and changes (or restates) the book."""
    if record.kind == Kind.BOOK_SNAPSHOT:
        return record.data[HEADER_BYTES + 8] == Origin.VENUE
    return record.kind in (Kind.BOOK_DELTA, Kind.ORDER)


_HEAD = Struct("<IHBBq")
_LEVEL = Struct("<qq")
_ORDER = Struct("<QqqB")
_CLEAR = int(Action.CLEAR)
_LAST = int(Flag.LAST)


class _Changes:
    """Deltas not yet in the levels, and the place of the last of them."""

    __slots__ = ("at", "index", "prices", "sides", "sizes")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.sides: list[int] = []
        self.prices: list[int] = []
        self.sizes: list[int] = []
        self.at = self.index = NONE

    def add(self, side: int, price: int, size: int) -> None:
        self.sides.append(side)
        self.prices.append(price)
        self.sizes.append(size)


class Ladder:
    """One book: levels, trust, and the last event that was applied.

    Attributes
    ----------
    definition : InstrumentFields
        Exponents and rules in force.
    levels : chronicle.etl.books.book.Book or chronicle.etl.books.array_book.ArrayBook
        The levels, as mantissas of the definition's exponents. Where ORDER drives the book, `orders`.
    orders : chronicle.etl.OrderBook, chronicle.etl.ArrayOrderBook or None
        The same object, where ORDER drives the book.
    trust : BookTrust
        How far they are to be trusted.
    snapshot_ts : int
        ts_recv of the snapshot that the levels rest on; NONE before the first.
    last : Record or None
        The last driving record that was applied.
    deltas : int
        Records applied that changed the book.
    """

    __slots__ = ("definition", "deltas", "last", "levels", "orders", "snapshot_ts", "trust")

    def __init__(self, definition: InstrumentFields | None = None) -> None:
        self.levels: Levels | ArrayBook | OrderBook | ArrayOrderBook = Levels()
        self.orders: OrderBook | ArrayOrderBook | None = None
        self.trust = BookTrust()
        self.snapshot_ts = NONE
        self.last: Record | None = None
        self.deltas = 0
        self.definition = _UNDEFINED
        self.define(definition or _UNDEFINED)

    def define(self, definition: InstrumentFields) -> None:
        """Take a definition; the levels are restated by the snapshot that follows a redefinition."""
        self.definition = definition
        if (definition.driver == Kind.ORDER) != (self.orders is not None):
            self.orders = OrderBook() if definition.driver == Kind.ORDER else None
            self.levels = Levels() if self.orders is None else self.orders
        self.levels.price_exponent = definition.price_exponent
        self.levels.size_exponent = definition.size_exponent
        self.levels.book_depth = definition.book_depth

    def load(self, record: Record) -> None:
        """Replace the levels by those of a BOOK_SNAPSHOT, and take its word on trust."""
        if self.orders is not None:
            self.orders.clear()
        else:
            self._load_levels(record)
        self.snapshot_ts = record.ts_recv
        self.trust.follow(record, self.definition)

    def load_orders(self, record: Record) -> None:
        """Append the orders of an ORDER_SNAPSHOT to those of the snapshot that it follows."""
        if self.orders is not None:
            for side, rows in zip(("bid", "ask"), snapshot_orders(record.body), strict=True):
                self.orders.load(rows, side)

    def open_with(self, book: Record | None, orders: Sequence[Record]) -> None:
        """Start from what a segment's prologue holds: the book at its start, no event applied yet."""
        if book is not None:
            self.load(book)
            for record in orders:
                self.load_orders(record)
            self.last = None

    def _load_levels(self, record: Record) -> None:
        fields = SnapshotFields.unpack(record.body)
        levels = cast("Levels | ArrayBook", self.levels)
        levels.load(fields.bids, fields.asks, bid_floor=fields.bid_floor, ask_ceiling=fields.ask_ceiling)

    def apply(self, record: Record) -> None:
        """Apply one record of a clean book queue."""
        kind = record.kind
        if self.orders is not None and kind in _OF_ORDERS:
            self._apply_to_orders(self.orders, record)
        elif kind == Kind.BOOK_DELTA:
            price, size, _, _ = layout.BOOK_DELTA_BODY.unpack_from(record.data, HEADER_BYTES)
            cast("Levels | ArrayBook", self.levels).apply(record.side, price, size)
            self.trust.follow(record, self.definition)
            self.deltas += 1
            self.last = record
        elif kind == Kind.BOOK_SNAPSHOT:
            self.load(record)
            if drives(record):
                self.last = record
        elif kind == Kind.ORDER:
            self.last = record
        elif kind == Kind.INSTRUMENT:
            self.define(InstrumentFields.unpack(record.body))
        else:
            self.trust.follow(record, self.definition)
        if record.is_last:
            self.levels.truncate()

    def _apply_to_orders(self, orders: OrderBook | ArrayOrderBook, record: Record) -> None:
        if record.kind == Kind.ORDER:
            orders.apply(record)
            self.trust.follow(record, self.definition)
            self.deltas += 1
            self.last = record
        elif record.kind == Kind.ORDER_SNAPSHOT:
            self.load_orders(record)

    def replay(self, data: memoryview, index: int, target: int) -> tuple[int, int, int]:
        """Apply the events of `data` (whole ones, the first at record `index`) with ts_recv <= `target`.

        Deltas are taken as they lie, without an object each; what else there is goes through :meth:`apply`.

        Returns
        -------
        tuple
            Bytes and records passed, and ts_recv of the last event passed (NONE: none).
        """
        changes = _Changes()
        position, count, last_ts, opens, end = 0, 0, NONE, True, len(data)
        while position + HEADER_BYTES <= end:
            length, kind, flags, side, ts_recv = _HEAD.unpack_from(data, position)
            if opens and ts_recv > target and kind != Kind.ROLL:
                break
            if length < HEADER_BYTES or length & 7 or position + length > end:
                raise CorruptionError("a record's length is impossible", offset=position, found=length)
            if kind == Kind.ROLL:
                position += length
                continue
            if self.orders is not None and kind == Kind.ORDER:
                order_id, price, size, action = _ORDER.unpack_from(data, position + HEADER_BYTES)
                self.orders.change(action, order_id, side, price, size)
                if action == _CLEAR or self.trust.line_lost or not self.trust.verified_by:
                    self.trust.follow(Record(data[position : position + length]), self.definition)
                changes.at, changes.index = position, index + count
                self.deltas += 1
            elif kind == Kind.BOOK_DELTA and self.orders is None:
                changes.add(side, *_LEVEL.unpack_from(data, position + HEADER_BYTES))
                changes.at, changes.index = position, index + count
                if self.trust.line_lost or not self.trust.verified_by:
                    self.trust.follow(Record(data[position : position + length]), self.definition)
            else:
                self._settle(changes, data)
                self.apply(Record(data[position : position + length], index + count))
            opens, last_ts = flags & _LAST != 0, ts_recv
            position += length
            count += 1
            if opens and self.levels.book_depth:
                self._settle(changes, data)
                self.levels.truncate()
        self._settle(changes, data)
        return position, count, last_ts

    def _settle(self, changes: _Changes, data: memoryview) -> None:
        """Bring collected deltas into the levels."""
        if changes.at == NONE:
            return
        if self.orders is not None:
            pass  # orders are in already: only their last place is noted here
        elif isinstance(self.levels, Levels):
            self.levels.apply_many(changes.sides, changes.prices, changes.sizes)
        else:
            levels = cast("ArrayBook", self.levels)
            for change in zip(changes.sides, changes.prices, changes.sizes, strict=True):
                levels.apply(*change)
        self.deltas += len(changes.sides)
        length, *_ = _HEAD.unpack_from(data, changes.at)
        self.last = Record(data[changes.at : changes.at + length], changes.index)
        changes.clear()

    def status(self) -> BookStatus:
        """Return the trust in the book as it stands."""
        return self.trust.status(crossed=self.levels.crossed())

    def best(self, depth: int | None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return the best `depth` levels of each side (None: all) as (price, size) mantissas, best first."""
        return self.levels.depth(INT64_MAX if depth is None else depth)

    def counts(self, depth: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return how many orders each of the best `depth` levels holds; empty for a book that is none of orders."""
        if self.orders is None:
            return (), ()
        bids, asks = self.orders.levels(INT64_MAX if depth is None else depth)
        return tuple(level[2] for level in bids), tuple(level[2] for level in asks)

    def complete_range(self) -> tuple[int | None, int | None]:
        """Return the price mantissas between which the book is complete; None without bound."""
        floor, ceiling = self.levels.bid_floor, self.levels.ask_ceiling
        return None if floor == INT64_MIN else floor, None if ceiling == INT64_MAX else ceiling
