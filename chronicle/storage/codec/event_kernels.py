"""The decoding loops of event blocks in compiled form. :mod:`chronicle.storage.codec.event_arrays` has the plain one.

Rows come straight from the block's streams. The loops stay inside the block whatever it says; what its tokens asked
for is compared with what it holds as soon as a column was read to its end.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Final

import numpy as np

from chronicle.core.fresh import fresh_array
from chronicle.storage.codec import event_arrays
from chronicle.storage.codec.event_columns import all_forms, block_columns, price_scratch
from chronicle.storage.codec.event_layout import Cut, Price
from chronicle.storage.codec.tokens import Columns, Stream, Values
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels import rows as row_kernel
from chronicle.storage.kernels.lanes import SLACK_ROWS

__all__ = ["assemble", "block_columns", "cut", "flags", "prices", "sides", "spread", "values"]

COMPILED: Final = True
_NO_VALUES: Final[Values] = np.empty(0, dtype=np.int64)
_NO_SIDES: Final = np.empty(0, dtype=np.uint8)
_local = threading.local()


def values(
    columns: Columns, number: int, rows: int, reference: Values | None, part: tuple[int, int] | None = None
) -> Values:
    """Return a column's values, or those of rows [begin, end) of a column of mode PLAIN."""
    stream = columns.stream(number, rows)
    if not stream.is_narrow:
        return event_arrays.values(columns, number, rows, reference, part)
    begin, end = part or (0, rows)
    out = fresh_array(end - begin, np.int64)
    _, bases, widths = all_forms()
    used = row_kernel.take_values(
        stream.tokens,
        0,
        begin,
        columns.streams,
        stream.bit,
        stream.escape,
        bases,
        widths,
        _form(stream),
        stream.mode,
        stream.base,
        stream.unit,
        _NO_VALUES if reference is None else reference,
        out,
        len(out),
    )
    if end == rows:
        _check(used, stream)
    return out


def cut(
    bids: Values,
    asks: Values,
    rows: int,
    edges: tuple[int, ...],
    *,
    least: int = 1,
    times: Values | None = None,
    start: int = 0,
    end: int = 0,
) -> Cut:
    """Check the groups' counts (`least` rows each); return those with start <= times < end, without times all."""
    parts = len(edges) + 1
    found = np.empty(4 + 2 * parts, dtype=np.int64)
    known = _NO_VALUES if times is None else times
    if not row_kernel.cut_groups(bids, asks, known, start, end, rows, least, _edges(edges), found):
        raise ValueError("the groups do not make the block's rows")
    low, high, above, stop, *counts = found.tolist()
    return Cut(low, high, above, stop, tuple(counts[:parts]), tuple(counts[parts:]))


def prices(
    columns: Columns, first: int, bids: Values, asks: Values, price: Price, edges: tuple[int, ...], of: Cut
) -> Values:
    """Return the prices of the rows of a cut; `first` is the column of first prices, those of gaps follow."""
    streams = [columns.stream(first + number, count) for number, count in enumerate(of.counts)]
    if not all(stream.is_narrow for stream in streams):
        return event_arrays.prices(columns, first, bids, asks, price, edges, of)
    tokens, place = _tokens(sum(of.counts)), 0
    state = np.empty((3, len(streams)), dtype=np.uint64)
    for number, stream in enumerate(streams):
        end = place + len(stream.tokens)
        tokens[place:end] = stream.tokens
        state[:, number] = place, stream.bit, stream.escape
        place = end
    before = state.copy()
    _, bases, widths = all_forms()
    out = fresh_array(of.stop - of.above + SLACK_ROWS, np.int64)
    row_kernel.price_rows(
        tokens,
        state,
        columns.streams,
        bases,
        widths,
        np.array([_form(stream) for stream in streams]),
        bids,
        asks,
        np.array((of.low, of.high)),
        np.array(of.skips),
        np.array(price.forms),
        price.base,
        price.unit,
        _edges(edges),
        price_scratch(int(bids.sum() + asks.sum())),
        0.0,
        out,
    )
    if of.high == len(bids):
        used = (state - before)[1:].T.tolist()
        for (bits, escape_bytes), stream in zip(used, streams, strict=True):
            _check((bits, escape_bytes // 8), stream)
    return out[: of.stop - of.above]


def _form(stream: Stream) -> int:
    """Return the place of a stream's form of tokens among all."""
    k, m = stream.form
    return 8 * k + m


def _check(used: tuple[int, int], stream: Stream) -> None:
    if (int(used[0]), int(used[1])) != stream.needs:
        raise ValueError("a column holds other bits than its tokens ask for")


def _tokens(count: int) -> Any:
    """Return this thread's buffer of tokens."""
    known = getattr(_local, "tokens", None)
    if known is None or len(known) < count:
        known = _local.tokens = np.empty(count + count // 4, dtype=np.uint8)
    return known[:count]


@cache
def _edges(edges: tuple[int, ...]) -> Values:
    return np.array(edges, dtype=np.int64)


def spread(found: Values, bids: Values, asks: Values, rows: int) -> Values:
    """Return each group's value at all its rows."""
    out = fresh_array(rows + SLACK_ROWS, np.int64)
    row_kernel.spread_rows(found, bids, asks, 0, 0, out, _NO_SIDES)
    return out[:rows]


def sides(bids: Values, asks: Values, bid: int, ask: int, rows: int) -> Any:
    """Return `bid` or `ask` for every row, uint8."""
    out = fresh_array(rows + SLACK_ROWS, np.uint8)
    row_kernel.spread_rows(_NO_VALUES, bids, asks, bid, ask, _NO_VALUES, out)
    return out[:rows]


def flags(marks: Values, bids: Values, asks: Values, rows: int) -> Any:
    """Return every row's flags, uint8, F_LAST on the last row of each event."""
    out = fresh_array(rows, np.uint8)
    kernel.expand_flags(marks, bids, asks, out)
    return out


assemble = kernel.assemble
