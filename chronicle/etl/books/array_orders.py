"""The L3 book of :mod:`chronicle.etl.books.order_book` over NumPy arrays and kernels, for bulk work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core import layout
from chronicle.core.decimals import rescale
from chronicle.core.errors import RecordError
from chronicle.core.layout import INT64_MAX, INT64_MIN, ORDER_BYTES, Action, Kind, Side
from chronicle.core.records import Record
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.books.book import Level
from chronicle.etl.books.ladder import NO_LADDER
from chronicle.etl.books.order_book import ORDERS_MAX, Order, OrderLevel, Problem
from chronicle.etl.kernels import orders as kernel

__all__ = ["ArrayOrderBook"]

Words = NDArray[np.int64]

CAPACITY_MIN = 64
BATCH = 4096
"""After so many records the ladder is looked at: whether it is wanted, or has strayed."""
_ORDER_WORDS = ORDER_BYTES >> 3
_U64 = 2**64 - 1


class ArrayOrderBook:
    """L3 book of one instrument in arrays; the same interface as :class:`chronicle.etl.OrderBook`, and bulk methods.

    Memory is 32 bytes an order and 16 to 32 of its table, 48 a level, and half a MiB where a tick ladder pays
    (:mod:`chronicle.etl.books.ladder`). Arrays double when they are full, up to ``ORDERS_MAX`` orders.

    Examples
    --------
    >>> from chronicle.etl import ArrayOrderBook
    >>> book = ArrayOrderBook(price_exponent=2)
    >>> book.add(7, "bid", 10_000, 5), book.add(8, "bid", 10_000, 3)
    (<Problem.NONE: 0>, <Problem.NONE: 0>)
    >>> book.order(8).ahead, book.levels(1)
    (5, ([(10000, 8, 2)], []))
    """

    __slots__ = (
        "_ends",
        "_index",
        "_links",
        "_meta",
        "_one",
        "_orders",
        "_queues",
        "_table",
        "book_depth",
        "price_exponent",
        "size_exponent",
    )

    def __init__(self, *, price_exponent: int = 0, size_exponent: int = 0) -> None:
        self.price_exponent = price_exponent
        self.size_exponent = size_exponent
        self.book_depth = 0
        self._index = ArrayBook()
        """Queue + 1 by price: what a size is in an L2 book."""
        self._orders: Words = np.zeros((CAPACITY_MIN, 4), dtype=np.int64)
        self._queues: Words = np.zeros((CAPACITY_MIN, 4), dtype=np.int64)
        self._links: NDArray[np.int32] = self._orders.view(np.int32)
        self._ends: NDArray[np.int32] = self._queues.view(np.int32)
        self._table: Words = np.zeros(2 * CAPACITY_MIN, dtype=np.int64)
        self._meta: Words = np.zeros(kernel.META, dtype=np.int64)
        self._meta[[kernel.FREE_ORDER, kernel.FREE_QUEUE]] = -1
        self._meta[kernel.BITS] = (2 * CAPACITY_MIN).bit_length() - 1
        self._one: Words = np.zeros(_ORDER_WORDS, dtype=np.int64)
        self._one[0] = ORDER_BYTES | Kind.ORDER << 32

    def __len__(self) -> int:
        """Return the number of resting orders."""
        return int(self._meta[kernel.ORDERS])

    @property
    def problems(self) -> dict[str, int]:
        """Records that were refused, by name of their :class:`Problem`."""
        counts = self._meta[kernel.PROBLEMS : kernel.PROBLEMS + len(Problem)].tolist()
        return {problem.name.lower(): count for problem, count in zip(Problem, counts, strict=True) if count}

    def restore_problems(self, problems: dict[str, int]) -> None:
        """Take back what :attr:`problems` gave."""
        for name, count in problems.items():
            self._meta[kernel.PROBLEMS + Problem[name.upper()]] = count

    # --- changes ---------------------------------------------------------------------------------------------------

    def apply_records(self, words: Words, starts: Words, first: int, end: int, *, halt: bool = False) -> int:
        """Apply the ORDER records [first, end) among records side by side; other kinds are passed over.

        Parameters
        ----------
        words : int64[n]
            The records' bytes.
        starts : int64[records + 1]
            Word at which each begins.
        halt : bool
            Stop at the first record that is refused.

        Returns
        -------
        int
            Number of the record that was refused, `end` when there was none (or not `halt`).

        Raises
        ------
        RecordError
            When `starts` leads outside `words`.
        """
        if not 0 <= first <= end < len(starts) or int(starts[end]) > len(words):
            raise RecordError("records lie outside their words", expected=len(words), found=int(starts[-1]))
        while first < end:
            stop = min(end, first + BATCH)
            first = self._apply(words, starts, first, stop, halt)
            if first < stop:
                if self._meta[kernel.WHY] != kernel.ROOM:
                    return first
                self._grow()
        return end

    @property
    def refused(self) -> Problem:
        """Why the last call stopped at a record."""
        why = int(self._meta[kernel.WHY])
        return Problem(why) if why != kernel.ROOM else Problem.NONE

    def parts(self) -> tuple[Any, ...]:
        """Return the arrays in the order in which :mod:`chronicle.etl.kernels.orders` takes them."""
        return (
            self._orders,
            self._links,
            self._queues,
            self._ends,
            self._table,
            *self._index.parts(lift=True),
            self._meta,
        )

    def flat_parts(self) -> tuple[Any, ...]:
        """Return :meth:`parts` with all prices in the sorted arrays and no ladder, for kernels that write levels."""
        levels, counts = self._index.levels, self._index.counts
        held = (self._orders, self._links, self._queues, self._ends, self._table)
        return *held, levels, counts, NO_LADDER, self._meta

    def reserve(self, records: int) -> None:
        """Make room for so many additions, up to ``ORDERS_MAX`` orders, so that no kernel stops in between."""
        meta = self._meta
        while len(self._orders) < min(int(meta[kernel.ORDERS]) + records, ORDERS_MAX):
            self._grow_orders()
        while len(self._queues) < meta[kernel.QUEUES] + records:
            self._grow_queues()
        self._index.reserve(max(self._index.count()) + records)

    def make_room(self) -> None:
        """Grow what a kernel found full (it stopped with ROOM)."""
        self._grow()

    def _apply(self, words: Words, starts: Words, first: int, end: int, halt: bool) -> int:
        return int(kernel.apply_orders(*self.parts(), words, starts, first, end, int(halt)))

    def _grow(self) -> None:
        """Double what is full."""
        meta = self._meta
        if meta[kernel.ORDERS] >= len(self._orders):
            self._grow_orders()
        if meta[kernel.QUEUES] >= len(self._queues):
            self._grow_queues()
        self._index.reserve(max(self._index.count()) + 1)

    def _grow_orders(self) -> None:
        self._orders = _doubled(self._orders)
        self._links = self._orders.view(np.int32)
        bits = int(self._meta[kernel.BITS]) + 1
        table: Words = np.zeros(1 << bits, dtype=np.int64)
        kernel.rehash(self._table, table, bits)
        self._meta[kernel.BITS], self._table = bits, table

    def _grow_queues(self) -> None:
        self._queues = _doubled(self._queues)
        self._ends = self._queues.view(np.int32)

    def apply(self, record: Record) -> Problem:
        """Apply one ORDER record (any other kind changes nothing); return why it was refused."""
        if record.kind != Kind.ORDER:
            return Problem.NONE
        if record.length < ORDER_BYTES:
            raise RecordError("an ORDER record is too short", expected=ORDER_BYTES, found=record.length)
        return self._single(np.frombuffer(record.data, dtype=np.int64))

    def change(self, action: int, order_id: int, side: int | str, price: int, size: int) -> Problem:
        """Apply one action (an ``Action``)."""
        one = self._one
        code = {"bid": int(Side.BID), "ask": int(Side.ASK)}.get(side, 0) if isinstance(side, str) else int(side)
        one.view(np.uint8)[7] = code
        one.view(np.uint64)[6] = order_id
        one[7], one[8], one[9] = price, size, action
        return self._single(one)

    def add(self, order_id: int, side: int | str, price: int, size: int) -> Problem:
        """Add an order at the end of its price's queue."""
        return self.change(Action.ADD, order_id, side, price, size)

    def modify(self, order_id: int, price: int, size: int, side: int | str = 0) -> Problem:
        """Give an order a new price and size; it loses its place when the price changes or the size grows."""
        return self.change(Action.MODIFY, order_id, side, price, size)

    def cancel(self, order_id: int, size: int) -> Problem:
        """Take `size` away from an order; at or beyond what rests it is gone."""
        return self.change(Action.CANCEL, order_id, 0, 0, size)

    def clear(self) -> None:
        """Forget all orders."""
        self.change(Action.CLEAR, 0, 0, 0, 0)

    def _single(self, words: Words) -> Problem:
        starts = np.array([0, _ORDER_WORDS], dtype=np.int64)
        return self.refused if self.apply_records(words, starts, 0, 1, halt=True) == 0 else Problem.NONE

    def load(self, orders: Iterable[tuple[int, int, int]] | NDArray[Any], side: int | str) -> None:
        """Append (order_id, price, size) of one side, in order of priority; an int64[n, 3] array too."""
        if not isinstance(orders, np.ndarray):
            unsigned = [[number & _U64 for number in row] for row in orders]
            orders = np.array(unsigned, dtype=np.uint64).view(np.int64)
        rows = orders.reshape(-1, 3)
        code = int(Side.BID if side in (Side.BID, "bid") else Side.ASK)
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            words = np.zeros((len(part), _ORDER_WORDS), dtype=np.int64)
            words[:, 0] = ORDER_BYTES | Kind.ORDER << 32 | code << 56
            words[:, 6:9] = part
            words[:, 9] = Action.ADD
            starts = np.arange(len(part) + 1, dtype=np.int64) * _ORDER_WORDS
            self.apply_records(words.reshape(-1), starts, 0, len(part))

    def redefine(self, *, price_exponent: int, size_exponent: int) -> None:
        """Take new exponents (see :meth:`OrderBook.redefine`)."""
        prices, sizes = (self.price_exponent, price_exponent), (self.size_exponent, size_exponent)
        if prices[0] != prices[1] or sizes[0] != sizes[1]:
            scaled = {
                side: [(row[0], rescale(row[1], *prices), rescale(row[2], *sizes)) for row in self.rows(side)]
                for side in ("bid", "ask")
            }
            self.clear()
            for side, rows in scaled.items():
                self.load(rows, side)
        self.price_exponent, self.size_exponent = price_exponent, size_exponent

    # --- what it holds ---------------------------------------------------------------------------------------------

    @property
    def best_bid(self) -> Level | None:
        """Best bid as (price, size), None when the side is empty."""
        best = self._index.best_bid
        return None if best is None else (best[0], int(self._queues[best[1] - 1, 1]))

    @property
    def best_ask(self) -> Level | None:
        """Best ask as (price, size), None when the side is empty."""
        best = self._index.best_ask
        return None if best is None else (best[0], int(self._queues[best[1] - 1, 1]))

    def crossed(self) -> bool:
        """Return whether the best bid is above the best ask."""
        return self._index.crossed()

    def locked(self) -> bool:
        """Return whether the best bid equals the best ask."""
        bid, ask = self._index.best_bid, self._index.best_ask
        return bid is not None and ask is not None and bid[0] == ask[0]

    def count(self) -> tuple[int, int]:
        """Return (number of bid levels, number of ask levels)."""
        return self._index.count()

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """Return the best `count` levels of each side as (price, size), best first."""
        bids, asks = self.levels(count)
        return [level[:2] for level in bids], [level[:2] for level in asks]

    def levels(self, count: int) -> tuple[list[OrderLevel], list[OrderLevel]]:
        """Return the best `count` levels of each side as (price, size, orders), best first."""
        return self._levels(0, count), self._levels(1, count)

    def level_arrays(self) -> tuple[Words, Words]:
        """Return all levels: bids and asks as int64[n, 2] (price, size), best first."""
        bids, asks = (self._queues[self._chosen(half, INT64_MAX), :2] for half in (0, 1))
        return np.ascontiguousarray(bids), np.ascontiguousarray(asks)

    def snapshot_body(self, *, origin: int, status: int, verified_by: int, last_good_ts: int) -> bytes:
        """Return the packed body of a BOOK_SNAPSHOT of the levels."""
        bids, asks = self.level_arrays()
        counts = len(bids), len(asks)
        fixed = layout.BOOK_SNAPSHOT_BODY.pack(
            *counts, origin, status, verified_by, 0, INT64_MIN, INT64_MAX, last_good_ts
        )
        return fixed + bids.tobytes() + asks.tobytes()

    def order_array(self, side: int | str) -> Words:
        """Return a side as int64[n, 3] (order_id, price, size), best price first, then first come first."""
        return np.ascontiguousarray(self._rows(side, INT64_MAX)[:, :3])

    def orders(self, side: int | str, count: int = INT64_MAX) -> list[Order]:
        """Return the orders at the best `count` prices of a side, best price first, then first come first."""
        name = "bid" if side in (Side.BID, "bid") else "ask"
        return [Order(row[0] & (_U64), name, row[1], row[2], row[3]) for row in self._rows(side, count).tolist()]

    def order(self, order_id: int) -> Order | None:
        """Return an order with the size ahead of it; None when it does not rest. O(orders ahead of it)."""
        out: Words = np.zeros(2, dtype=np.int64)
        signed = order_id - 2**64 if order_id > INT64_MAX else order_id
        bits = int(self._meta[kernel.BITS])
        if not kernel.find_order(self._orders, self._links, self._table, bits, signed, out):
            return None
        row, queue = int(out[0]), int(self._orders[out[0], 2])
        side = "ask" if self._ends[queue, 5] else "bid"
        return Order(order_id, side, int(self._queues[queue, 0]), int(self._orders[row, 1]), int(out[1]))

    def rows(self, side: int | str) -> list[tuple[int, int, int]]:
        """Return (order_id, price, size) of a side, best price first, then first come first."""
        return [(order.order_id, order.price, order.size) for order in self.orders(side)]

    @property
    def bid_floor(self) -> int:
        """Lowest price down to which the bids are complete: always without bound."""
        return INT64_MIN

    @property
    def ask_ceiling(self) -> int:
        """Highest price up to which the asks are complete: always without bound."""
        return INT64_MAX

    def truncate(self) -> None:
        """Do nothing: a book of orders has no depth limit."""

    def _chosen(self, half: int, count: int) -> Words:
        """Return the queues at the best `count` prices of a side, best first."""
        levels, held = self._index.levels, int(self._index.counts[half])
        return levels[2 * half + 1, max(0, held - count) : held][::-1] - 1

    def _levels(self, half: int, count: int) -> list[OrderLevel]:
        chosen = self._chosen(half, count)
        queues, orders = self._queues[chosen, :2].tolist(), self._ends[chosen, 4].tolist()
        return [(price, size, number) for (price, size), number in zip(queues, orders, strict=True)]

    def _rows(self, side: int | str, count: int) -> Words:
        half = 0 if side in (Side.BID, "bid") else 1
        chosen = np.ascontiguousarray(self._chosen(half, count))
        out: Words = np.empty((int(self._ends[chosen, 4].sum()), 4), dtype=np.int64)
        kernel.list_orders(self._orders, self._links, self._queues, self._ends, chosen, out)
        return out


def _doubled(rows: Words) -> Words:
    grown: Words = np.zeros((2 * len(rows), rows.shape[1]), dtype=np.int64)
    grown[: len(rows)] = rows
    return grown
