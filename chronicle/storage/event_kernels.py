"""The decoding loops of event blocks in compiled form. :mod:`chronicle.storage.event_arrays` has the plain one.

Counts were checked before: bids and asks are not negative and add up to the rows, words have the lengths they need.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np

from chronicle.storage.event_layout import Price
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels.tokens import needs, rebuild, take_tokens
from chronicle.storage.tokens import PLAIN, Column, Values, Words, tables

__all__ = ["assemble", "flags", "needs", "prices", "sides", "spread", "values", "words"]

COMPILED: Final = True
_local = threading.local()


def words(column: Column, rows: int) -> Words:
    """Return a column's words."""
    out = np.empty(rows, dtype=np.uint64)
    _take(column, out)
    return out


def _take(column: Column, out: Words) -> None:
    if not len(column.tokens):
        out[:] = 0
        return
    form = tables(column.k, column.m)
    take_tokens(column.tokens, form.bases, form.widths, column.bits, column.escapes, out)


def values(column: Column, rows: int, reference: Values | None) -> Values:
    """Return a column's values."""
    found = words(column, rows)
    out = found.view(np.int64)
    if (
        column.mode != PLAIN or column.unit != 1 or column.base != 0
    ):  # in place: each word is read before it is written
        rebuild(found, out if reference is None else reference, column.mode, column.base, column.unit, out)
    return out


def prices(
    columns: list[Column],
    counts: list[int],
    bids: Values,
    asks: Values,
    price: Price,
    edges: tuple[int, ...],
    rows: int,
) -> Values:
    """Return the price of every row, from the column of first prices and those of gaps."""
    ends = np.cumsum(counts)
    scratch = _scratch(int(ends[-1]))
    for column, count, end in zip(columns, counts, ends.tolist(), strict=True):
        _take(column, scratch[end - count : end])
    out = np.empty(rows, dtype=np.int64)
    firsts, gaps = scratch[: counts[0]], scratch[counts[0] :]
    places = ends[:-1] - counts[0]
    forms, parts = np.array(price.forms, dtype=np.int64), np.array(edges, dtype=np.int64)
    kernel.price_values(firsts, gaps, bids, asks, forms, price.base, price.unit, parts, places, out)
    return out


def _scratch(rows: int) -> Words:
    """Return this thread's buffer: fresh memory costs a page fault every 512 words, as much as the loop itself."""
    known: Words | None = getattr(_local, "words", None)
    if known is None or len(known) < rows:
        known = np.empty(rows + rows // 4, dtype=np.uint64)
        _local.words = known
    return known[:rows]


def spread(found: Values, bids: Values, asks: Values, rows: int) -> Values:
    """Return each group's value at all its rows."""
    out = np.empty(rows, dtype=np.int64)
    kernel.spread(found, bids, asks, out)
    return out


def sides(bids: Values, asks: Values, bid: int, ask: int, rows: int) -> Any:
    """Return `bid` or `ask` for every row, uint8."""
    out = np.empty(rows, dtype=np.uint8)
    kernel.expand_sides(bids, asks, bid, ask, out)
    return out


def flags(marks: Values, bids: Values, asks: Values, rows: int) -> Any:
    """Return every row's flags, uint8, F_LAST on the last row of each event."""
    out = np.empty(rows, dtype=np.uint8)
    kernel.expand_flags(marks, bids, asks, out)
    return out


assemble = kernel.assemble
