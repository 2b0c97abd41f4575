"""Kernels that decode an event block's columns in two passes: its groups first, then all rows that are asked for.

The caller gives the columns' table int64[c, 11] (the fields below), the tokens of the columns that are read, side
by side, the block's streams u8[n] as they stand in the object, and the tables of all forms of tokens, 256 entries
each.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.rows import (
    cut_groups,
    fill,
    price_rows,
    spread_rows,
    take_quotients,
    take_values,
)

__all__ = ["decode_groups", "decode_rows", "lay_out"]

TOKENS, BIT, ESCAPE, FORM, MODE, BASE, UNIT, BITS, ESCAPES, COUNT, STORED = range(11)
"""Of a column: where its tokens begin (-1: not unpacked), its bits (in bits of the block's streams) and escapes (in
bytes), its tokens' table, mode, base, unit, how many bits and escapes there are, its values, its tokens' stored
bytes."""
BIDS, ASKS, MARKS, TS_RECV, TS_EVENT, SOURCE_INDEX = range(6)
LINE, SEQUENCE, FIRST, PREVIOUS, OTHERS = range(6, 11)
PRICE_FIRST, SIZE = 11, 17
PLAIN, SAME, CODED = 0, 2, 4
EVENT_LAST, LAST = 1 << 16, 128
FINE, ELSEWHERE, IMPOSSIBLE = 0, 1, 2
"""ELSEWHERE: sound as far as it was looked at, of a kind that these loops do not take."""


@numba.njit(cache=True, nogil=True)
def lay_out(
    entries: Any, data_bytes: Any, rows_max: Any, limits: Any, limit: Any, asked: Any, table: Any, jobs: Any
) -> Any:
    """Read descriptors int64[c, 5] (entries of 40 bytes) into a table int64[c, 11] and a list of what to unpack.

    limits int64[64] is the longest word of form k * 8 + m, 0 where there is none. asked int64[a]: the columns whose
    tokens are to be unpacked side by side, in that order. jobs int64[a + 1, 3]: of each the start and the bytes of
    its tokens as stored, and how many there are; then how many zeros stand behind them (a column in which every word
    is 0 has no tokens), whether gaps are SIGNED, and 0. Both are the caller's, written.

    Returns FINE, IMPOSSIBLE where the streams do not fill `data_bytes` or an entry is absurd, or ELSEWHERE where a
    form's words are longer than `limit` or rows have modes that these loops do not take.
    """
    position, status = np.int64(0), FINE
    for number in range(len(entries)):
        word = entries[number, 0]
        mode, k, m, rows = word & 0xFF, (word >> 8) & 0xFF, (word >> 16) & 0xFF, (word >> 32) & 0xFFFFFFFF
        stored, bits = entries[number, 3] & 0xFFFFFFFF, (entries[number, 3] >> 32) & 0xFFFFFFFF
        escapes = entries[number, 4] & 0xFFFFFFFF
        if mode == CODED and number == SIZE:
            return ELSEWHERE  # checked by those who read it
        if mode > 3 or rows > rows_max or entries[number, 2] < 1 or stored > rows or escapes > rows:
            return IMPOSSIBLE
        if rows == 0 and bits > 0:
            return IMPOSSIBLE
        if k > 7 or m > k or limits[k * 8 + m] == 0 or limits[k * 8 + m] > limit:
            status = ELSEWHERE
            k, m = np.int64(0), np.int64(0)
        table[number, TOKENS] = -1
        table[number, BIT] = 8 * (position + stored)
        table[number, ESCAPE] = position + stored + (bits + 63) // 64 * 8
        table[number, FORM] = k * 8 + m
        table[number, MODE], table[number, BASE], table[number, UNIT] = mode, entries[number, 1], entries[number, 2]
        table[number, BITS], table[number, ESCAPES] = bits, escapes
        table[number, COUNT], table[number, STORED] = rows, stored
        position = table[number, ESCAPE] + 8 * escapes
    if position != data_bytes:
        return IMPOSSIBLE
    signed = table[PRICE_FIRST + 1, MODE] != PLAIN
    for number in range(PRICE_FIRST + 1, SIZE):
        if (table[number, MODE] != PLAIN) != signed:
            status = ELSEWHERE
    _list_jobs(table, asked, rows_max, jobs)
    jobs[len(asked), 1] = signed
    return ELSEWHERE if table[SIZE, MODE] != PLAIN else status


@numba.njit(cache=True, nogil=True)
def _list_jobs(table: Any, asked: Any, rows_max: Any, jobs: Any) -> None:
    """Write what to unpack (see :func:`lay_out`), and into the table where each column's tokens will begin."""
    begin, zeros = np.int64(0), np.int64(0)
    for place in range(len(asked)):
        number = asked[place]
        jobs[place, 0] = (table[number, BIT] >> 3) - table[number, STORED]
        jobs[place, 1], jobs[place, 2] = table[number, STORED], table[number, COUNT]
        table[number, TOKENS] = begin
        begin += table[number, COUNT]
    for place in range(len(asked)):
        if jobs[place, 2] == 0:
            table[asked[place], TOKENS], zeros = begin, rows_max
    jobs[len(asked), 0], jobs[len(asked), 1], jobs[len(asked), 2] = zeros, 0, 0


@numba.njit(cache=True, nogil=True)
def holds(table: Any, number: Any, rows: Any) -> Any:
    """Return whether a column has `rows` values, or none because all their words are 0."""
    return table[number, COUNT] == rows or table[number, COUNT] == 0


@numba.njit(cache=True, nogil=True)
def decode_column(
    table: Any,
    number: Any,
    tokens: Any,
    skip: Any,
    data: Any,
    bases: Any,
    widths: Any,
    reference: Any,
    out: Any,
    count: Any,
) -> Any:
    """Decode `count` values of a column from `skip` on; False when it was read to its end and holds other bits."""
    column = table[number]
    bits, escapes = take_values(
        tokens,
        column[TOKENS],
        skip,
        data,
        column[BIT],
        column[ESCAPE],
        bases,
        widths,
        column[FORM],
        column[MODE],
        column[BASE],
        column[UNIT],
        reference,
        out,
        count,
    )
    return np.int64(bits) == column[BITS] and np.int64(escapes) == column[ESCAPES]


@numba.njit(cache=True, nogil=True)
def decode_groups(
    table: Any,
    tokens: Any,
    data: Any,
    bases: Any,
    widths: Any,
    start: Any,
    end: Any,
    timed: Any,
    rows: Any,
    edges: Any,
    groups: Any,
    places: Any,
    found: Any,
) -> Any:
    """Decode the group columns whose tokens are there, check their counts, and cut them by time.

    groups int64[10, g], places int64[others] (0 rows: not asked for) and found int64[4 + 2 * (c + 1)] (see
    :func:`cut_groups`) are the caller's, written. Returns whether all is sound.
    """
    for place in range(PREVIOUS + 1):
        if table[place, TOKENS] < 0:
            continue
        reference = SEQUENCE if place >= FIRST else TS_RECV if place == TS_EVENT else -1
        if (table[place, MODE] >= SAME and reference < 0) or not holds(table, place, groups.shape[1]):
            return False
        of = groups[max(0, reference)]
        if not decode_column(table, place, tokens, 0, data, bases, widths, of, groups[place], groups.shape[1]):
            return False
    if len(places):
        if table[OTHERS, MODE] >= SAME or not holds(table, OTHERS, len(places)):
            return False
        if not decode_column(table, OTHERS, tokens, 0, data, bases, widths, places, places, len(places)):
            return False
        before = np.int64(0)
        for number in range(len(places)):
            if places[number] < before or places[number] > groups.shape[1]:
                return False
            before = places[number]
    times = groups[TS_RECV] if timed else groups[TS_RECV, :0]
    return cut_groups(groups[BIDS], groups[ASKS], times, start, end, rows, 1, edges, found)


@numba.njit(cache=True, nogil=True)
def decode_rows(
    table: Any,
    tokens: Any,
    data: Any,
    bases: Any,
    widths: Any,
    groups: Any,
    places: Any,
    found: Any,
    wanted: Any,
    price: Any,
    edges: Any,
    state: Any,
    scratch: Any,
    divisors: Any,
    out: Any,
    flags: Any,
    sides: Any,
    lines: Any,
) -> Any:
    """Write all columns that are asked for, of the rows of the groups that `found` cut out, m of them.

    wanted int64[c + 1]: for each column the row of out int64[w, m] that takes it, -1 for none; the last entry is for
    the records' indexes. Rows of `out`, flags, sides u8[m] and lines int32[m] (which may be empty) are written in
    runs. price int64[9]: base, unit, forms of bids and asks (SIGNED in them), what the sides are called, index of the
    block's first record, whether source indexes step, the block's rows. state u64[3, p] and scratch (see
    :func:`price_rows`) are working room. divisors float64[2]: where not 0, prices and sizes are written as float64
    quotients. All are the caller's, written. Returns FINE, IMPOSSIBLE, or ELSEWHERE where a quotient has no dividend
    (INT64_MIN).
    """
    low, high, above, stop = found[0], found[1], found[2], found[3]
    count = stop - above
    bids, asks = groups[BIDS, low:high], groups[ASKS, low:high]
    status = FINE
    if wanted[SIZE] >= 0 and not holds(table, SIZE, price[8]):
        return IMPOSSIBLE
    if wanted[PRICE_FIRST] >= 0:
        target = out[wanted[PRICE_FIRST]]
        status = _decode_prices(
            table, tokens, data, bases, widths, groups, found, price, edges, state, scratch, divisors[0], target
        )
    if wanted[SIZE] >= 0 and status != IMPOSSIBLE:
        target, whole = out[wanted[SIZE]], high == groups.shape[1]
        of_sizes = _decode_sizes(table, tokens, above, data, bases, widths, divisors[1], target, count, whole)
        status = max(status, of_sizes)
    if status != FINE:
        return status
    for place in (TS_RECV, TS_EVENT, SOURCE_INDEX, SEQUENCE, FIRST, PREVIOUS):
        if wanted[place] >= 0:
            spread_rows(groups[place, low:high], bids, asks, 0, 0, out[wanted[place]], sides[:0])
    if wanted[SOURCE_INDEX] >= 0 and price[7]:
        target = out[wanted[SOURCE_INDEX]]
        for row in range(np.uint64(count)):
            target[row] += above + np.int64(row)
    if wanted[len(table)] >= 0:
        _count_rows(groups, places, low, high, price[6], out[wanted[len(table)]])
    if len(sides):
        spread_rows(groups[BIDS], bids, asks, price[4], price[5], out[0, :0], sides)
    if len(flags) or len(lines):
        _spread_marks(groups, low, high, flags, lines)
    return FINE


@numba.njit(cache=True, nogil=True)
def _decode_sizes(
    table: Any,
    tokens: Any,
    above: Any,
    data: Any,
    bases: Any,
    widths: Any,
    divisor: Any,
    out: Any,
    count: Any,
    whole: Any,
) -> Any:
    """Write the sizes of a cut; `whole`: it reaches to the column's end."""
    if divisor == 0.0:
        sound = decode_column(table, SIZE, tokens, above, data, bases, widths, out, out, count)
        return FINE if sound or not whole else IMPOSSIBLE
    column = table[SIZE]
    bits, escapes, missing = take_quotients(
        tokens,
        column[TOKENS],
        above,
        data,
        column[BIT],
        column[ESCAPE],
        bases,
        widths,
        column[FORM],
        column[BASE],
        column[UNIT],
        divisor,
        out,
        count,
    )
    if whole and (np.int64(bits) != column[BITS] or np.int64(escapes) != column[ESCAPES]):
        return IMPOSSIBLE
    return FINE if missing == 0 else ELSEWHERE


@numba.njit(cache=True, nogil=True)
def _decode_prices(
    table: Any,
    tokens: Any,
    data: Any,
    bases: Any,
    widths: Any,
    groups: Any,
    found: Any,
    price: Any,
    edges: Any,
    state: Any,
    scratch: Any,
    divisor: Any,
    out: Any,
) -> Any:
    """Write the prices of a cut; IMPOSSIBLE when a column was read to its end and holds other bits."""
    parts = len(edges)
    for part in range(parts + 1):
        if not holds(table, PRICE_FIRST + part, found[5 + parts + part]):
            return IMPOSSIBLE
        column = table[PRICE_FIRST + part]
        state[0, part] = np.uint64(column[TOKENS])
        state[1, part] = np.uint64(column[BIT])
        state[2, part] = np.uint64(column[ESCAPE])
    missing = price_rows(
        tokens,
        state,
        data,
        bases,
        widths,
        table[PRICE_FIRST : PRICE_FIRST + parts + 1, FORM],
        groups[BIDS],
        groups[ASKS],
        found[:2],
        found[4 : 5 + parts],
        price[2:4],
        price[0],
        price[1],
        edges,
        scratch,
        divisor,
        out,
    )
    status = FINE if missing == 0 else ELSEWHERE
    if found[1] < groups.shape[1]:
        return status
    for part in range(parts + 1):
        column = table[PRICE_FIRST + part]
        bits = np.int64(state[1, part]) - column[BIT]
        escaped = (np.int64(state[2, part]) - column[ESCAPE]) // 8
        if bits != column[BITS] or escaped != column[ESCAPES]:
            return IMPOSSIBLE
    return status


@numba.njit(cache=True, nogil=True)
def _count_rows(groups: Any, places: Any, low: Any, high: Any, base: Any, out: Any) -> None:
    """Write the index of each row's record: out int64[n] (the caller's)."""
    row, above, beside = np.int64(0), np.int64(0), 0
    for group in range(low):
        above += groups[BIDS, group] + groups[ASKS, group]
    group = low
    while group < high:
        while beside < len(places) and places[beside] <= group:
            beside += 1
        until = min(high, places[beside]) if beside < len(places) else high
        stop = row
        for following in range(group, until):
            stop += groups[BIDS, following] + groups[ASKS, following]
        for number in range(np.uint64(row), np.uint64(stop)):
            out[number] = base + above + beside + np.int64(number)
        row, group = stop, until


@numba.njit(cache=True, nogil=True)
def _spread_marks(groups: Any, low: Any, high: Any, flags: Any, lines: Any) -> None:
    """Write flags and source lines of the rows of groups."""
    if len(flags):
        row = np.uint64(0)
        for group in range(low, high):
            mark, stop = groups[MARKS, group], row + np.uint64(groups[BIDS, group] + groups[ASKS, group])
            fill(flags, row, stop, np.uint8(mark & 0x7F))
            flags[stop - np.uint64(1)] = np.uint8(((mark >> 8) & 0x7F) | (LAST if mark & EVENT_LAST else 0))
            row = stop
    if len(lines):
        row = np.uint64(0)
        for group in range(low, high):
            stop = row + np.uint64(groups[BIDS, group] + groups[ASKS, group])
            fill(lines, row, stop, np.int32((groups[LINE, group] >> 32) & 0xFFFF))
            row = stop
