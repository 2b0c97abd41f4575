"""Kernels that decode rows straight from an event block's streams: tokens, bits and escapes to prices and sizes.

They check as they go: no load leaves the block whatever its tokens ask for, and what was asked for is told to the
caller, who compares it with what the block says. ``docs/format/archive.md`` (Event blocks) is the source.

Common arguments: data u8[n] is the block's streams, 8 bytes at least; bases u64[256] and widths u8[256] say
what each token of a form stands for, forms k * 8 + m one after the other (widths of 56 at most, so that one load of
8 bytes has all bits of a word). Arrays that are written in runs have SLACK_ROWS elements behind what is theirs.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.lanes import (
    LANES,
    MANY,
    divide_rows,
    expand,
    load,
    move_run,
    put_run,
    run_rows,
    sum_run,
    window,
)

__all__ = ["cut_groups", "fill", "price_rows", "spread_rows", "take_quotients", "take_values"]

DELTA, SAME, BEFORE = 1, 2, 3
ESCAPE = 255
DESCENDING, REVERSED, SIGNED = 1, 2, 4
SHARES = (1, 3, 12, 48, 0)
"""How many gaps of one side the columns of rows take, from the one that none follows on (the last: all others)."""
TILE_ROWS = 2048
"""Prices are decoded so many rows at a time (or a group), which stay in the nearest cache."""
SCRATCH_ROWS = 128
"""What the scratch of prices needs beside its rows: slack around each part."""


@numba.njit(cache=True, nogil=True)
def skip_tokens(tokens: Any, start: Any, count: Any, widths: Any) -> Any:
    """Return (bits, escapes) that `count` tokens from `start` ask for. Half a ns a token."""
    bits, escapes = np.uint64(0), np.uint64(0)
    for position in range(np.uint64(start), np.uint64(start) + np.uint64(count)):
        token = tokens[np.uint64(position)]
        bits += np.uint64(widths[np.uint64(token)])
        escapes += np.uint64(token == ESCAPE)
    return bits, escapes


@numba.njit(cache=True, nogil=True)
def take_words(
    tokens: Any,
    start: Any,
    count: Any,
    data: Any,
    bit: Any,
    escape: Any,
    bases: Any,
    widths: Any,
    form: Any,
    sign: Any,
    unit: Any,
    base: Any,
    out: Any,
    row: Any,
) -> Any:
    """Decode the words of `count` tokens from `start` on: word * unit + base to int64 out[row:] (the caller's).

    The word is a zigzag where `sign` is 1. `bit` and `escape` are where bits (in bits) and escapes (in bytes) begin
    in `data`; returns where they end. Eight words at once, but for escapes and very long ones: 0.8 ns a word.
    """
    one, eight = np.uint64(1), np.uint64(LANES)
    last = np.uint64(len(data) - 8)
    own = np.uint64(form) * np.uint64(256)
    k, m, sign = np.uint64(form) >> np.uint64(3), np.uint64(form) & np.uint64(7), np.uint64(sign)
    bit, escape, place, row = np.uint64(bit), np.uint64(escape), np.uint64(start), np.uint64(row)
    end = place + np.uint64(count)
    while place < end:
        stop = place + eight
        if stop <= end:
            took = expand(tokens, place, data, bit, last, k, m, sign, unit, base, out, row)
            if took != np.uint64(MANY):
                bit += took
                place = stop
                row += eight
                continue
        stop = min(end, stop)
        while place < stop:
            token = np.uint64(tokens[place])
            width = np.uint64(widths[own + token])
            word = bases[own + token] + (window(data, bit, last) & ((one << width) - one))
            bit += width
            if token == np.uint64(ESCAPE):
                word = load(data, min(escape, last))
                escape += eight
            out[row] = (np.int64(word >> sign) ^ -np.int64(word & sign)) * unit + base
            place += one
            row += one
    return bit, escape


@numba.njit(cache=True, nogil=True)
def take_values(
    tokens: Any,
    start: Any,
    skipped: Any,
    data: Any,
    bit: Any,
    escape: Any,
    bases: Any,
    widths: Any,
    form: Any,
    mode: Any,
    base: Any,
    unit: Any,
    reference: Any,
    out: Any,
    count: Any,
) -> Any:
    """Decode `count` values of a column behind the first `skipped`, to out int64[m] (the caller's, written).

    tokens u8[n], the column's from `start` on; bit and escape are where its bits (in bits) and escapes (in bytes)
    begin in `data`. reference int64[m] where the mode has one; a mode that counts from the row before needs
    skipped = 0. Returns (bits, escapes) that the tokens so far asked for. 1 ns a value.
    """
    bits, escapes = skip_tokens(tokens, start, skipped, widths[256 * form : 256 * form + 256])
    first, begin = np.uint64(bit) + bits, np.uint64(escape) + np.uint64(8) * escapes
    sign = np.uint64(mode != 0)
    own = np.int64(0) if mode in (DELTA, BEFORE) else base
    bit_end, escape_end = take_words(
        tokens, start + skipped, count, data, first, begin, bases, widths, form, sign, unit, own, out, 0
    )
    if mode == DELTA:
        before = base
        for row in range(np.uint64(count)):
            before += out[np.uint64(row)]
            out[np.uint64(row)] = before
    elif mode == SAME:
        for row in range(np.uint64(count)):
            out[np.uint64(row)] += reference[np.uint64(row)]
    elif mode == BEFORE:
        before = base
        for row in range(np.uint64(count)):
            out[np.uint64(row)] += before
            before = reference[np.uint64(row)]
    return bit_end - np.uint64(bit), (escape_end - np.uint64(escape)) // np.uint64(8)


@numba.njit(cache=True, nogil=True)
def cut_groups(
    bids: Any, asks: Any, times: Any, start: Any, end: Any, rows: Any, least: Any, edges: Any, found: Any
) -> Any:
    """Check the counts of groups, and find the first and the last with start <= times < end.

    bids, asks int64[g]; times int64[g] or int64[0] (all groups); edges int64[c]. found int64[4 + 2 * (c + 1)] (the
    caller's, written): first group, end, rows before it, rows up to the end; then how many first prices and gaps of
    each part stand before the first group, then how many all groups have. Returns False where the counts are absurd,
    below `least` or do not make `rows`. Some ns a group.
    """
    parts = len(edges)
    low, high = np.int64(-1), np.int64(0)
    total, above, stop = np.int64(0), np.int64(0), np.int64(0)
    least_one, greatest, fewest = np.int64(0), np.int64(0), np.int64(least)
    for group in range(len(bids)):
        one, other = bids[group], asks[group]
        least_one = min(least_one, min(one, other))
        greatest = max(greatest, max(one, other))
        fewest = min(fewest, one + other)
        total += one + other
    if least_one < 0 or greatest > rows or fewest < least or total != rows:
        return False
    if len(times) == 0:
        low, high, stop = np.int64(0), np.int64(len(bids)), total
    else:
        total = np.int64(0)
        for group in range(len(bids)):
            size = bids[group] + asks[group]
            if start <= times[group] < end:
                if low < 0:
                    low, above = np.int64(group), total
                high, stop = np.int64(group + 1), total + size
            total += size
        low = max(low, np.int64(0))
    found[0], found[1], found[2], found[3] = low, high, above, stop
    count_prices(bids[:low], asks[:low], edges, found[4 : 5 + parts])
    count_prices(bids, asks, edges, found[5 + parts :])
    return True


@numba.njit(cache=True, nogil=True)
def count_prices(bids: Any, asks: Any, edges: Any, out: Any) -> None:
    """Write how many first prices groups have, and gaps of each part: out int64[1 + c] (the caller's). No branch."""
    firsts, beyond = np.int64(0), np.int64(0)
    for group in range(len(bids)):
        firsts += np.int64(bids[group] > 0) + np.int64(asks[group] > 0)
    out[0] = firsts
    for part in range(len(edges) - 1, -1, -1):
        edge, total = edges[part] + 1, np.int64(0)
        for group in range(len(bids)):
            total += max(bids[group] - edge, 0) + max(asks[group] - edge, 0)
        out[1 + part] = total - beyond
        beyond = total


@numba.njit(cache=True, nogil=True)
def price_rows(
    tokens: Any,
    state: Any,
    data: Any,
    bases: Any,
    widths: Any,
    column_forms: Any,
    bids: Any,
    asks: Any,
    groups: Any,
    skips: Any,
    forms: Any,
    base: Any,
    unit: Any,
    edges: Any,
    scratch: Any,
    divisor: Any,
    out: Any,
) -> Any:
    """Decode the prices of the rows of groups [groups[0], groups[1]): out int64[m] (the caller's, written in runs).

    tokens u8[n]: those of all price columns, firsts first. state u64[3, 1 + c] (the caller's, written): where each
    column's tokens begin (tokens), its bits (bits of `data`), its escapes (bytes of `data`); afterwards, where they
    were read up to. column_forms int64[1 + c]: the form of each column's tokens. skips int64[1 + c]:
    how many values of each column belong to groups before the first. Counts were checked by :func:`cut_groups`. forms
    int64[2] of bids and asks. Gaps are words of gap - 1, zigzag where the side's form is SIGNED. scratch int64[3, r]
    with r the rows of all groups and SCRATCH_ROWS
    more. 2 ns a row.

    Where `divisor` is not 0, `out` holds float64 quotients, and what is returned is not 0 if a price was INT64_MIN.

    Tile by tile: words of each column, then the gaps in walking order, from the last row backwards so that what a run
    writes too much is written over, then their sums.
    """
    low, high = groups[0], groups[1]
    firsts, gaps = scratch[0], scratch[2]
    beside = firsts[len(firsts) - 64 :]  # behind any first price
    counts, ends, touch = beside[: 1 + len(edges)], beside[16 : 16 + len(edges)], beside[32:34]
    touch[:] = base
    for part in range(len(edges)):
        own = 256 * column_forms[1 + part]
        bits, escapes = skip_tokens(tokens, np.int64(state[0, 1 + part]), skips[1 + part], widths[own : own + 256])
        state[0, 1 + part] += np.uint64(skips[1 + part])
        state[1, 1 + part] += bits
        state[2, 1 + part] += np.uint64(8) * escapes
    if low > 0:
        _take_part(tokens, state, data, bases, widths, column_forms, 0, skips[0], 1, unit, 0, firsts, 0)
        first = np.uint64(0)
        for group in range(low):
            for half in range(2):
                if (bids[group] if half == 0 else asks[group]) > 0:
                    touch[half] += firsts[first]
                    first += np.uint64(1)
    signed = 1 if forms[0] & SIGNED else 0
    row, begin, missing = np.uint64(0), low, np.uint64(0)
    while begin < high:
        end, rows = begin, np.int64(0)
        while end < high and rows < TILE_ROWS:
            rows += bids[end] + asks[end]
            end += 1
        count_prices(bids[begin:end], asks[begin:end], edges, counts)
        _take_part(tokens, state, data, bases, widths, column_forms, 0, counts[0], 1, unit, 0, firsts, 0)
        place = np.int64(LANES)
        for part in range(len(edges)):
            count = counts[1 + part]
            _take_part(
                tokens, state, data, bases, widths, column_forms, 1 + part, count, signed, 1, 1, scratch[1], place
            )
            place += count
            ends[part] = place
            place += LANES
        _lay_gaps(scratch[1], ends, edges, bids, asks, begin, end, rows, gaps)
        _sum_gaps(gaps, firsts, bids, asks, begin, end, forms, unit, touch, out, row)
        if divisor != 0.0:
            missing |= divide_rows(out, row, rows, divisor)
        row += np.uint64(rows)
        begin = end
    return missing


@numba.njit(cache=True, nogil=True)
def take_quotients(
    tokens: Any,
    start: Any,
    skipped: Any,
    data: Any,
    bit: Any,
    escape: Any,
    bases: Any,
    widths: Any,
    form: Any,
    base: Any,
    unit: Any,
    divisor: Any,
    out: Any,
    count: Any,
) -> Any:
    """Decode a column of mode PLAIN as :func:`take_values`, then divide: float64 in the place of int64.

    Returns (bits, escapes, missing): the last is not 0 if a value was INT64_MIN.
    """
    bits, escapes = skip_tokens(tokens, start, skipped, widths[256 * form : 256 * form + 256])
    first, begin = np.uint64(bit) + bits, np.uint64(escape) + np.uint64(8) * escapes
    missing, done = np.uint64(0), np.int64(0)
    while done < count:
        rows = min(count - done, TILE_ROWS)
        place = start + skipped + done
        first, begin = take_words(
            tokens, place, rows, data, first, begin, bases, widths, form, 0, unit, base, out, done
        )
        missing |= divide_rows(out, done, rows, divisor)
        done += rows
    return first - np.uint64(bit), (begin - np.uint64(escape)) // np.uint64(8), missing


@numba.njit(cache=True, nogil=True)
def _take_part(
    tokens: Any,
    state: Any,
    data: Any,
    bases: Any,
    widths: Any,
    column_forms: Any,
    part: Any,
    count: Any,
    sign: Any,
    unit: Any,
    base: Any,
    out: Any,
    row: Any,
) -> None:
    """Decode the next `count` words of a price column to out[row:], and step its state."""
    start, bit, escape, form = state[0, part], state[1, part], state[2, part], column_forms[part]
    state[1, part], state[2, part] = take_words(
        tokens, start, count, data, bit, escape, bases, widths, form, sign, unit, base, out, row
    )
    state[0, part] = start + np.uint64(count)


@numba.njit(cache=True, nogil=True)
def _lay_gaps(
    words: Any, ends: Any, edges: Any, bids: Any, asks: Any, begin: Any, end: Any, rows: Any, gaps: Any
) -> None:
    """Put the words of each part where their rows are, LANES behind the start of `gaps`; 0 for each first row."""
    eight, parts, known = np.uint64(LANES), len(edges), len(edges) == len(SHARES)
    stop = np.uint64(LANES + rows)
    for group in range(end - 1, begin - 1, -1):
        for half in range(1, -1, -1):
            count = asks[np.uint64(group)] if half else bids[np.uint64(group)]
            place, left, part = stop, count - 1, 0
            if known:  # most sides are short: without a branch for each part
                for part in range(3):
                    taken = min(max(left - edges[part], 0), SHARES[part])
                    move_run(gaps, place - eight, words, np.uint64(ends[part]) - eight)
                    if part == 2 and taken > LANES:
                        move_run(gaps, place - eight - eight, words, np.uint64(ends[part]) - eight - eight)
                    ends[part] -= taken
                    place -= np.uint64(taken)
                part = 3
            while part < parts and left > edges[part]:
                taken = (left if part + 1 == parts else min(left, edges[part + 1])) - edges[part]
                source, behind = np.uint64(ends[part]), place - np.uint64(taken)
                ends[part] -= taken
                while place > behind:
                    place -= eight
                    source -= eight
                    move_run(gaps, place, words, source)
                place = behind
                part += 1
            stop -= np.uint64(count)
            gaps[stop] = 0


@numba.njit(cache=True, nogil=True)
def _sum_gaps(
    gaps: Any,
    firsts: Any,
    bids: Any,
    asks: Any,
    begin: Any,
    end: Any,
    forms: Any,
    unit: Any,
    touch: Any,
    out: Any,
    row: Any,
) -> None:
    """Write prices: the first of each side from that of the side before, then the sums of its gaps."""
    one, eight = np.uint64(1), np.uint64(LANES)
    bid, ask = touch[0], touch[1]
    bid_scale, ask_scale = -unit if forms[0] & DESCENDING else unit, -unit if forms[1] & DESCENDING else unit
    bid_turned, ask_turned = forms[0] & REVERSED != 0, forms[1] & REVERSED != 0
    place, first = eight, np.uint64(0)
    for group in range(np.uint64(begin), np.uint64(end)):
        for half in range(2):
            if half == 0:
                count, scale, turned = np.uint64(bids[np.uint64(group)]), bid_scale, bid_turned
                bid += firsts[first] if count else np.int64(0)
                price = bid
            else:
                count, scale, turned = np.uint64(asks[np.uint64(group)]), ask_scale, ask_turned
                ask += firsts[first] if count else np.int64(0)
                price = ask
            first += np.uint64(count > np.uint64(0))
            stop = row + count
            if turned:
                at = stop
                while at > row:
                    at -= one
                    price += gaps[place] * scale
                    out[at] = price
                    place += one
                row = stop
                continue
            at, source = row + eight, place + eight
            price = sum_run(gaps, place, scale, price, out, row)
            price = sum_run(gaps, source, scale, price, out, at)
            while at + eight < stop:
                at += eight
                source += eight
                price = sum_run(gaps, source, scale, price, out, at)
            place += count
            row = stop
    touch[0], touch[1] = bid, ask


@numba.njit(cache=True, nogil=True)
def fill(out: Any, start: Any, stop: Any, value: Any) -> None:
    """Write `value` to out[start:stop] in runs; elements behind are overwritten: whoever fills on comes to them.

    Runs are short and of all lengths: a whole one costs less than the branch that would spare it.
    """
    row, step = np.uint64(start), run_rows(out)
    while True:
        put_run(out, row, value)
        row += step
        if row >= stop:
            break


@numba.njit(cache=True, nogil=True)
def spread_rows(values: Any, bids: Any, asks: Any, bid: Any, ask: Any, out: Any, sides: Any) -> None:
    """Write each group's value to all its rows, and `bid` or `ask` for each.

    values int64[g] to out int64[n], sides u8[n] (the caller's, written in runs; either may be empty).
    """
    if len(out):
        row = np.uint64(0)
        for group in range(len(bids)):
            stop = row + np.uint64(bids[group] + asks[group])
            fill(out, row, stop, values[group])
            row = stop
    if len(sides):
        row = np.uint64(0)
        for group in range(len(bids)):
            half = row + np.uint64(bids[group])
            stop = half + np.uint64(asks[group])
            fill(sides, row, half, np.uint8(bid))
            fill(sides, half, stop, np.uint8(ask))
            row = stop
