"""The decoding loops of event blocks in compiled form. :mod:`chronicle.storage.event_arrays` has the plain one.

Counts were checked before: bids and asks are not negative and add up to the rows, words have the lengths they need.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.storage.event_layout import Price, gap_counts
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels.tokens import needs, rebuild, take_tokens
from chronicle.storage.tokens import PLAIN, Column, Values, Words, tables

__all__ = ["assemble", "flags", "needs", "prices", "sides", "spread", "values", "words"]

COMPILED: Final = True


def words(column: Column, rows: int) -> Words:
    """Return a column's words."""
    if not column.count:
        return np.zeros(rows, dtype=np.uint64)
    form = tables(column.k, column.m)
    out = np.empty(rows, dtype=np.uint64)
    take_tokens(column.tokens, form.bases, form.widths, column.bits, column.escapes, out)
    return out


def values(column: Column, rows: int, reference: Values | None) -> Values:
    """Return a column's values."""
    found = words(column, rows)
    if column.mode == PLAIN and column.unit == 1 and column.base == 0:
        return found.view(np.int64)
    out = np.empty(rows, dtype=np.int64)
    rebuild(found, out if reference is None else reference, column.mode, column.base, column.unit, out)
    return out


def prices(
    firsts: Words, gaps: Words, bids: Values, asks: Values, price: Price, edges: tuple[int, ...], rows: int
) -> Values:
    """Return the price of every row."""
    out = np.empty(rows, dtype=np.int64)
    counts = gap_counts(bids, asks, edges)
    places = np.cumsum(counts) - counts
    forms, parts = np.array(price.forms, dtype=np.int64), np.array(edges, dtype=np.int64)
    kernel.price_values(firsts, gaps, bids, asks, forms, price.base, price.unit, parts, places, out)
    return out


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
