"""Books in SQL: a function that DuckDB calls with vectors of (symbol, moment, depth), and the macros around it."""

from __future__ import annotations

import re
from collections import defaultdict
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chronicle.access.ranges.arrow_columns import decimal_array
from chronicle.access.ranges.numbers import floats
from chronicle.access.sql.predicates import STAMP
from chronicle.access.sql.tables import Failure
from chronicle.core.errors import ChronicleError, RangeError
from chronicle.core.layout import INT64_MIN
from chronicle.core.times import parse_time

if TYPE_CHECKING:
    from chronicle.access.store import Store

__all__ = ["MACROS", "BookFunction", "book_type"]

GRID_MIN = 8
"""From so many moments on, those that lie on one grid are sampled in one pass."""
GRID_SPARSE = 4
"""... where at most so many steps of the grid come to each of them."""
_SHORT_ZONE = re.compile(r"[+-]\d\d$", re.ASCII)

MACROS = (
    """CREATE MACRO book_at(symbol, moment, depth := 10) AS
        chronicle_book(symbol, CAST(moment AS VARCHAR), CAST(depth AS INTEGER))""",
    """CREATE MACRO book(symbol, moment, depth := 10) AS TABLE
        SELECT level, b.bids[level].price AS bid_price, b.bids[level].size AS bid_size,
            b.asks[level].price AS ask_price, b.asks[level].size AS ask_size, b.status AS status,
            b.ts_event AS ts_event
        FROM (SELECT b, unnest(range(1, greatest(len(b.bids), len(b.asks), 1) + 1)) AS level
            FROM (SELECT book_at(symbol, moment, depth := depth) AS b))""",
    """CREATE MACRO books(symbol, start, until, every := '1s', depth := 10) AS TABLE
        SELECT ts_recv, b.status AS status, b.ts_event AS ts_event,
            b.bids[1].price AS bid_price, b.bids[1].size AS bid_size,
            b.asks[1].price AS ask_price, b.asks[1].size AS ask_size, b.bids AS bids, b.asks AS asks
        FROM (SELECT ts_recv, book_at(symbol, ts_recv, depth := depth) AS b
            FROM generate_series(CAST(start AS TIMESTAMPTZ), CAST(until AS TIMESTAMPTZ) - INTERVAL 1 MICROSECOND,
                CAST(every AS INTERVAL)) AS grid(ts_recv))""",
)


def book_type(scales: tuple[int, int] | None) -> tuple[Any, str]:
    """Return the type of a book as Arrow's and as DuckDB's."""
    numbers, names = [pa.float64()] * 2, ["DOUBLE"] * 2
    if scales is not None:
        numbers = [pa.decimal128(38, scale) for scale in scales]
        names = [f"DECIMAL(38, {scale})" for scale in scales]
    levels = pa.list_(pa.struct([("price", numbers[0]), ("size", numbers[1])]))
    arrow = pa.struct([("status", pa.string()), ("ts_event", STAMP), ("bids", levels), ("asks", levels)])
    side = f"STRUCT(price {names[0]}, size {names[1]})[]"
    return arrow, f"STRUCT(status VARCHAR, ts_event TIMESTAMPTZ, bids {side}, asks {side})"


class BookFunction:
    """(symbol, moment, depth) to books, a vector at a time: each is what :meth:`Store.book` answers.

    Moments of an instrument that lie on one grid are sampled in one pass; others are looked up one by one (about a
    millisecond each), each only once.
    """

    def __init__(self, store: Store, scales: tuple[int, int] | None, failure: Failure) -> None:
        self._store, self._scales, self._failure = store, scales, failure
        self._type, _ = book_type(scales)

    def __call__(self, symbols: Any, moments: Any, depths: Any) -> Any:
        """Return the books as an Arrow array of structs, in the order of the rows."""
        try:
            return self._answer(symbols.to_pylist(), moments.to_pylist(), depths.to_pylist())
        except ChronicleError as error:
            self._failure.error = error
            raise

    def _answer(self, symbols: list[str], moments: list[str], depths: list[int]) -> Any:
        if not symbols:
            return pa.array([], self._type)
        times = {text: _moment(text) for text in set(moments)}
        rows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for row, (symbol, depth) in enumerate(zip(symbols, depths, strict=True)):
            rows[self._store.resolve(symbol), depth].append(row)
        parts, order = [], np.empty(len(symbols), dtype=np.int64)
        base = 0
        for (symbol, depth), members in rows.items():
            wanted = np.array([times[moments[row]] for row in members], dtype=np.int64)
            unique, places = np.unique(wanted, return_inverse=True)
            parts.append(self._books(symbol, unique, depth))
            order[members] = base + places
            base += len(unique)
        return pa.concat_arrays(parts).take(pa.array(order))

    def _books(self, symbol: str, times: NDArray[np.int64], depth: int) -> Any:
        step = _grid(times)
        if step:
            books = self._store.books(
                symbol, int(times[0]), int(times[-1]) + 1, every=step, depth=depth, decimals="int"
            )
            taken = (times - times[0]) // step
            planes = {name: getattr(books, name)[taken] for name in _PLANES}
            exponents = books.price_exponent, books.size_exponent
            return self._structs(books.status[taken], books.ts_event[taken], planes, exponents)
        return pa.concat_arrays([self._lookup(symbol, time, depth) for time in times.tolist()])

    def _lookup(self, symbol: str, time: int, depth: int) -> Any:
        book = self._store.book(symbol, at=time, depth=depth)
        levels = max(len(book.bid_levels), len(book.ask_levels))
        planes = {name: np.full((1, levels), INT64_MIN, dtype=np.int64) for name in _PLANES}
        for side, held in (("bid", book.bid_levels), ("ask", book.ask_levels)):
            if held:
                pairs = np.array(held, dtype=np.int64)
                planes[f"{side}_price"][0, : len(held)] = pairs[:, 0]
                planes[f"{side}_size"][0, : len(held)] = pairs[:, 1]
        exponents = book.price_exponent, book.size_exponent
        return self._structs(np.array([book.status]), np.array([book.ts_event]), planes, exponents)

    def _structs(
        self,
        status: NDArray[Any],
        ts_event: NDArray[np.int64],
        planes: dict[str, NDArray[np.int64]],
        exponents: tuple[int, int],
    ) -> Any:
        event = pa.array(ts_event // 1_000, mask=ts_event <= 0).cast(STAMP)
        sides = [self._side(planes[f"{side}_price"], planes[f"{side}_size"], exponents) for side in ("bid", "ask")]
        words = pa.array(status.tolist(), pa.string())
        return pa.StructArray.from_arrays([words, event, *sides], fields=list(self._type))

    def _side(self, prices: NDArray[np.int64], sizes: NDArray[np.int64], exponents: tuple[int, int]) -> Any:
        there = prices != INT64_MIN
        offsets = np.zeros(len(prices) + 1, dtype=np.int32)
        np.cumsum(there.sum(axis=1), out=offsets[1:])
        columns = [self._numbers(one[there], exponents, side) for side, one in enumerate((prices, sizes))]
        pairs = pa.StructArray.from_arrays(columns, names=["price", "size"])
        return pa.ListArray.from_arrays(pa.array(offsets), pairs)

    def _numbers(self, mantissas: NDArray[np.int64], exponents: tuple[int, int], number: int) -> Any:
        if self._scales is None:
            return pa.array(floats(mantissas, exponents[number]))
        return pc.cast(decimal_array(pa, mantissas, None, exponents[number]), pa.decimal128(38, self._scales[number]))


_PLANES = ("bid_price", "bid_size", "ask_price", "ask_size")


def _grid(times: NDArray[np.int64]) -> int:
    """Return the step of a grid that holds all of the sorted, distinct `times`, or 0 where it does not pay."""
    if len(times) < GRID_MIN:
        return 0
    steps = np.diff(times)
    step = gcd(*steps.tolist())
    span = int(times[-1] - times[0])
    return step if span // step <= GRID_SPARSE * len(times) else 0


def _moment(text: str) -> int:
    """Return the ns of a moment as DuckDB writes it: its zone may have hours only.

    Raises
    ------
    RangeError
        When it is no moment; infinity is none.
    """
    short = _SHORT_ZONE.search(text) if ":" in text else None
    try:
        return parse_time(f"{text}:00" if short else text)
    except RangeError as error:
        raise RangeError(
            f"cannot read {text!r} as the moment of a book",
            hint="give a TIMESTAMPTZ, a TIMESTAMP (UTC), or an integer of ns, as ts_recv_ns has it",
        ) from error
