"""Many: the books of several instruments at several moments, as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from chronicle.access.books.book import Book
from chronicle.access.books.books import STATUS_WORDS
from chronicle.access.ranges.columns import Chunk, Column, Decimals
from chronicle.access.ranges.frames import Columnar
from chronicle.core.errors import RangeError
from chronicle.core.layout import INT64_MAX, INT64_MIN

__all__ = ["ManyBooks"]

_LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")
ROWS = 1024


class ManyBooks(Columnar):
    """The book of each of `symbols` as of each of `moments`, made by :meth:`Store.books` with ``at``.

    Rows come by moment, then by symbol as given; each is what :meth:`Store.book` answers. Columns: ``ts_recv`` (the
    moment), ``symbol``, ``ts_event``, ``status``, and ``bid_price, bid_size, ask_price, ask_size`` of shape (rows,
    depth). Iterate it for :class:`Book` objects.
    """

    def __init__(
        self,
        find: Callable[[str, int], Book],
        symbols: Sequence[str],
        moments: Sequence[int],
        *,
        depth: int,
        decimals: Decimals,
        exponents: tuple[int, int],
    ) -> None:
        self.symbols, self.moments, self.depth, self.decimals = tuple(symbols), tuple(moments), depth, decimals
        self.price_exponent, self.size_exponent = exponents
        self._find = find
        self.columns = (
            Column("ts_recv", "time"),
            Column("symbol", "word", "<i4", self.symbols),
            Column("ts_event", "time"),
            Column("status", "word", "u1", STATUS_WORDS),
            *(self._level_column(name) for name in _LEVELS),
        )

    def _level_column(self, name: str) -> Column:
        if self.decimals == "float":  # each book's own decimals: int64 need not hold them at the finest
            return Column(name, "float", "<f8", width=self.depth)
        return Column(name, name.partition("_")[2], width=self.depth)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.symbols) * len(self.moments)

    def __iter__(self) -> Iterator[Book]:
        """Yield the books, row by row."""
        for moment in self.moments:
            for symbol in self.symbols:
                yield self._find(symbol, moment)

    def _chunks(self) -> Iterator[Chunk]:
        held: list[tuple[int, int, Book]] = []
        for moment in self.moments:
            for number, symbol in enumerate(self.symbols):
                held.append((moment, number, self._find(symbol, moment)))
                if len(held) == ROWS:
                    yield self._chunk(held)
                    held = []
        if held:
            yield self._chunk(held)

    def _chunk(self, rows: list[tuple[int, int, Book]]) -> Chunk:
        near = self.decimals == "float"
        empty, dtype = (np.nan, np.float64) if near else (INT64_MIN, np.int64)
        planes = {name: np.full((len(rows), self.depth), empty, dtype=dtype) for name in _LEVELS}
        for plane in ("bid_size", "ask_size"):
            planes[plane][:] = 0
        for row, (_, _, book) in enumerate(rows):
            price, size = self.price_exponent - book.price_exponent, self.size_exponent - book.size_exponent
            for side, levels in (("bid", book.bid_levels), ("ask", book.ask_levels)):
                for level, (one, other) in enumerate(levels):
                    values = (
                        (one / 10.0**book.price_exponent, other / 10.0**book.size_exponent)
                        if near
                        else (_scaled(one, price, book.symbol), _scaled(other, size, book.symbol))
                    )
                    planes[f"{side}_price"][row, level], planes[f"{side}_size"][row, level] = values
        return {
            "ts_recv": np.array([moment for moment, _, _ in rows], dtype=np.int64),
            "symbol": np.array([number for _, number, _ in rows], dtype=np.int32),
            "ts_event": np.array([book.ts_event for _, _, book in rows], dtype=np.int64),
            "status": np.array([STATUS_WORDS.index(book.status) for _, _, book in rows], dtype=np.uint8),
            **planes,
        }


def _scaled(mantissa: int, places: int, symbol: str) -> int:
    value = mantissa * 10**places if places >= 0 else mantissa
    if not INT64_MIN < value <= INT64_MAX:
        raise RangeError(
            f"a price or size of {symbol} does not fit int64 beside the finest of the others",
            hint='ask with decimals="float", or iterate the answer for Book objects',
        )
    return value
