"""Books: sampled order books of one instrument as columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.sampling import by_order_in, exponents_in, sample
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk, Column, Decimals
from chronicle.access.ranges.frames import Columnar
from chronicle.core.layout import BookStatus

__all__ = ["Books"]

STATUS_WORDS = tuple(status.name.lower() for status in BookStatus)


class Books(Columnar):
    """Books of `symbol` in [start, end), made by :meth:`Store.books`; rows are computed when they are asked for.

    Columns: ``ts_recv`` (of the event; on a grid, the grid's time), ``ts_event`` (of the last event applied),
    ``status``, and ``bid_price, bid_size, ask_price, ask_size`` of shape (rows, depth), best first. A level that is
    not there has no price (NaN; INT64_MIN as a mantissa) and size 0. A book made of orders (L3) also has
    ``bid_orders`` and ``ask_orders``, how many there are at each level; a snapshot of orders gives no row.

    Attributes
    ----------
    symbol : str
        Canonical name.
    price_exponent, size_exponent : int
        Decimals of the mantissas: the finest in the range.
    ts_recv, ts_event, status, bid_price, bid_size, ask_price, ask_size : ndarray
        The columns, collected on first use.
    cost : Cost
        What was read so far.
    """

    def __init__(
        self, shelf: Shelf, symbol: str, start: int, end: int, *, every: int, depth: int, decimals: Decimals
    ) -> None:
        self.symbol = symbol
        self.start, self.end, self.every, self.depth = start, end, every, depth
        self.decimals = decimals
        self.cost = Cost()
        self._shelf = shelf
        self._collected: Chunk | None = None
        self.price_exponent, self.size_exponent = exponents_in(shelf, symbol, "book", start, end)
        self.columns = (
            Column("ts_recv", "time"),
            Column("ts_event", "time"),
            Column("status", "word", "u1", STATUS_WORDS),
            Column("bid_price", "price", width=depth),
            Column("bid_size", "size", width=depth),
            Column("ask_price", "price", width=depth),
            Column("ask_size", "size", width=depth),
        )
        self._planes: tuple[str, ...] = _LEVELS
        if by_order_in(shelf, symbol, start, end):
            self._planes += _ORDERS
            self.columns += tuple(Column(name, width=depth) for name in _ORDERS)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._columns()["ts_recv"])

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name.startswith("_") or name not in {"ts_recv", "ts_event", "status", *self._planes}:
            raise AttributeError(f"Books has no column {name!r}")
        return self._columns()[name]

    def _columns(self) -> Chunk:
        if self._collected is None:
            self._collected = self.to_numpy()
        return self._collected

    def _chunks(self) -> Iterator[Chunk]:
        exponents = (self.price_exponent, self.size_exponent)
        for rows in sample(
            self._shelf,
            self.symbol,
            self.start,
            self.end,
            every=self.every,
            depth=self.depth,
            exponents=exponents,
            cost=self.cost,
            planes=len(self._planes),
        ):
            yield {
                "ts_recv": rows.times[:, 0],
                "ts_event": rows.times[:, 1],
                "status": rows.states,
                **{name: np.ascontiguousarray(rows.prices[plane]) for plane, name in enumerate(self._planes)},
            }


_ORDERS = ("bid_orders", "ask_orders")
_LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")
