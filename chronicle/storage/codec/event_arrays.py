"""The decoding loops of event blocks in NumPy: results as of :mod:`chronicle.storage.codec.event_kernels`.

For a process that looks up a block or two and would wait longer for a compiler than for the answer.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.core.layout import Flag, Side
from chronicle.storage.codec.event_layout import (
    DELTA_HEAD,
    DESCENDING,
    EVENT_LAST,
    REVERSED,
    SIGNED,
    STEP_ORDINAL,
    Cut,
    Place,
    Price,
    price_counts,
)
from chronicle.storage.codec.tokens import Columns, Values, unzigzag, words_to_values

__all__ = ["assemble", "block_columns", "cut", "flags", "prices", "sides", "spread", "values"]

COMPILED: Final = False
DELTA_WORDS: Final = 10
TILE_ROWS: Final = 2048
LENGTH_MASK: Final = 0xFFFFFFFF


def block_columns(*_: Any) -> None:
    """Return None: every column is decoded by itself here."""


def values(
    columns: Columns, number: int, rows: int, reference: Values | None, part: tuple[int, int] | None = None
) -> Values:
    """Return a column's values, or those of rows [begin, end) of a column of mode PLAIN."""
    begin, end = part or (0, rows)
    column = columns.take(number, rows).first(end)
    return words_to_values(column.words(end), column.mode, column.base, column.unit, reference)[begin:]


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
    if int(min(bids.min(), asks.min())) < 0 or int(max(bids.max(), asks.max())) > rows:
        raise ValueError("a group has an absurd number of rows")
    sizes = bids + asks
    if int(bids.sum()) + int(asks.sum()) != rows or int(sizes.min()) < least:
        raise ValueError("the groups do not make the block's rows")
    inside = np.arange(len(bids)) if times is None else np.flatnonzero((times >= start) & (times < end))
    low, high = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    return Cut(
        low,
        high,
        int(sizes[:low].sum()),
        int(sizes[:high].sum()),
        price_counts(bids[:low], asks[:low], edges),
        price_counts(bids, asks, edges),
    )


def prices(
    columns: Columns, first: int, bids: Values, asks: Values, price: Price, edges: tuple[int, ...], of: Cut
) -> Values:
    """Return the prices of the rows of a cut; `first` is the column of first prices, those of gaps follow."""
    bids, asks = bids[: of.high], asks[: of.high]
    rows, parts = of.stop, []
    for number, (all_rows, count) in enumerate(zip(of.counts, price_counts(bids, asks, edges), strict=True)):
        parts.append(columns.take(first + number, all_rows).first(count).words(count))
    firsts, *parts = parts
    base, unit, forms = price
    gaps = np.concatenate(parts)
    counts = np.stack((bids, asks), axis=1).reshape(-1)
    half = np.tile(np.array([0, 1]), len(bids))[counts > 0]
    counts = counts[counts > 0]
    starts = np.cumsum(counts) - counts
    heads = unzigzag(firsts) * np.int64(unit)
    for side in (0, 1):
        heads[half == side] = np.cumsum(heads[half == side]) + np.int64(base)
    inner = np.ones(rows, dtype=np.bool_)
    inner[starts] = False
    left = (np.repeat(starts + counts, counts) - np.arange(1, rows + 1))[inner]
    part = np.searchsorted(np.array(edges), left, side="right").astype(np.uint8)  # bytes sort by radix
    walked = np.empty(len(gaps), dtype=np.uint64)
    walked[np.argsort(part, kind="stable")] = gaps
    outward = unzigzag(walked) if forms[0] & SIGNED else walked.view(np.int64)
    scale = np.array([-unit if form & DESCENDING else unit for form in forms], dtype=np.int64)[half]
    running = np.zeros(rows, dtype=np.int64)
    running[inner] = (outward + 1) * np.repeat(scale, counts - 1)
    np.cumsum(running, out=running)
    running += np.repeat(heads - running[starts], counts)
    turned = np.array([form & REVERSED != 0 for form in forms])[half]
    if not turned.any():
        return running[of.above :]
    walk = np.arange(rows)
    mirrored = np.repeat(2 * starts + counts - 1, counts) - walk
    out = np.empty(rows, dtype=np.int64)
    out[np.where(np.repeat(turned, counts), mirrored, walk)] = running
    return out[of.above :]


def spread(found: Values, bids: Values, asks: Values, rows: int) -> Values:
    """Return each group's value at all its rows."""
    return np.repeat(found, bids + asks)


def sides(bids: Values, asks: Values, bid: int, ask: int, rows: int) -> Any:
    """Return `bid` or `ask` for every row, uint8."""
    counts = np.stack((bids, asks), axis=1).reshape(-1)
    return np.repeat(np.tile(np.array([bid, ask], dtype=np.uint8), len(bids)), counts)


def flags(marks: Values, bids: Values, asks: Values, rows: int) -> Any:
    """Return every row's flags, uint8, F_LAST on the last row of each event."""
    plain = 0xFF & ~int(Flag.LAST)
    out = np.repeat((marks & plain).astype(np.uint8), bids + asks)
    final = (marks >> 8) & plain | np.where(marks & EVENT_LAST, int(Flag.LAST), 0)
    out[np.cumsum(bids + asks) - 1] = final.astype(np.uint8)
    return out


def assemble(
    groups: Values,
    row_prices: Values,
    row_sizes: Values,
    steps: int,
    beside: Values,
    starts: Values,
    places: Values,
    lengths: Values,
    out: Values,
) -> None:
    """Write all records to `out`: deltas of groups, others where they stood."""
    bids, asks = groups[Place.BIDS], groups[Place.ASKS]
    counts = bids + asks
    rows = len(row_prices)
    first_row = np.cumsum(counts) - counts
    longer = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
    at = np.repeat(longer[np.searchsorted(places, np.arange(len(counts)), side="right")], counts)
    at += np.arange(rows) * DELTA_WORDS
    number = np.arange(rows) - np.repeat(first_row, counts)
    row_flags = np.repeat(groups[Place.MARKS] & 0xFF, counts)
    row_flags[first_row + counts - 1] = (groups[Place.MARKS] >> 8) & 0xFF
    row_sides = sides(bids, asks, int(Side.BID), int(Side.ASK), rows).astype(np.int64)

    def each(place: Place) -> Values:
        return np.repeat(groups[place], counts)

    columns = [
        DELTA_HEAD | row_flags << 48 | row_sides << 56,
        each(Place.TS_RECV),
        each(Place.TS_EVENT),
        each(Place.SOURCE_INDEX) + (steps >> 1) * number,
        each(Place.LINE) + (((steps & STEP_ORDINAL) * number) << 48),
        each(Place.SEQUENCE),
        row_prices,
        row_sizes,
        each(Place.SEQUENCE_FIRST),
        each(Place.SEQUENCE_PREVIOUS),
    ]
    for begin in range(0, rows, TILE_ROWS):
        tile = at[begin : begin + TILE_ROWS]
        for offset, column in enumerate(columns):
            out[tile + offset] = column[begin : begin + TILE_ROWS]
    before = DELTA_WORDS * np.append(first_row, rows)[places] + longer[:-1]
    for position, start, end, length in zip(
        before.tolist(), starts[:-1].tolist(), starts[1:].tolist(), lengths.tolist(), strict=True
    ):
        out[position : position + end - start] = beside[start:end]
        out[position] = beside[start] & ~LENGTH_MASK | length << 3
