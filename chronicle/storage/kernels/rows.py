"""Kernels that decode rows straight from an event block's streams: tokens, bits and escapes to prices and sizes.

They check as they go: no load leaves the block whatever its tokens ask for, and what was asked for is told to the
caller, who compares it with what the block says. ``docs/format/archive.md`` (Event blocks) is the source.

Common arguments: data u8[n] is the block's streams, 8 bytes at least; bases u64[256] and widths u8[256] say
what each token stands for (widths of 56 at most, so that one load of 8 bytes has all bits of a word).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["cut_groups", "fill", "fill_bytes", "price_rows", "spread_rows", "take_values"]

DELTA, SAME, BEFORE = 1, 2, 3
ESCAPE = 255
DESCENDING, REVERSED, SIGNED = 1, 2, 4


@intrinsic
def _unaligned(typing_context: Any, data: Any, offset: Any) -> Any:
    """Load a u64 from any byte of u8[n]: one instruction where two shifted words take six."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        found = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        found.align = 1
        return found

    return types.uint64(data, types.uint64), generate


@numba.njit(cache=True, nogil=True)
def _load_compiled(data: Any, offset: Any) -> Any:
    return _unaligned(data, offset)


def _load(data: Any, offset: Any) -> Any:
    return np.uint64(int.from_bytes(data[int(offset) : int(offset) + 8].tobytes(), "little"))


load = _load if numba.config.DISABLE_JIT else _load_compiled


@numba.njit(cache=True, nogil=True)
def bits_at(data: Any, bit: Any, last: Any) -> Any:
    """Return the bits of u8[n] from `bit` on, 57 at least where there are as many; `last` is n - 8."""
    place, low = bit >> np.uint64(3), bit & np.uint64(7)
    if place <= last:
        return load(data, place) >> low
    behind = min(place - last, np.uint64(7)) * np.uint64(8) + low
    return load(data, last) >> behind


@numba.njit(cache=True, nogil=True)
def skip_tokens(tokens: Any, start: Any, count: Any, widths: Any) -> Any:
    """Return (bits, escapes) that `count` tokens from `start` ask for. Half a ns a token."""
    bits, escapes = np.uint64(0), np.uint64(0)
    for position in range(start, start + count):
        token = tokens[position]
        bits += np.uint64(widths[token])
        escapes += np.uint64(token == ESCAPE)
    return bits, escapes


@numba.njit(cache=True, nogil=True)
def take_values(
    tokens: Any,
    skipped: Any,
    data: Any,
    bit: Any,
    escape: Any,
    bases: Any,
    widths: Any,
    mode: Any,
    base: Any,
    unit: Any,
    reference: Any,
    out: Any,
) -> Any:
    """Decode a column's values behind the first `skipped`: out int64[m] (the caller's, written).

    tokens u8[n]; bit and escape are where its bits (in bits) and escapes (in bytes) begin in `data`. reference
    int64[m] where the mode has one; a mode that counts from the row before needs skipped = 0. Returns (bits, escapes)
    that the tokens so far asked for. 1.5 ns a value.
    """
    one, eight = np.uint64(1), np.uint64(8)
    last = np.uint64(len(data) - 8)
    bits, escapes = skip_tokens(tokens, 0, skipped, widths)
    first, begin = np.uint64(bit), np.uint64(escape)
    before = base
    place = np.uint64(skipped)
    for row in range(len(out)):
        token = np.uint64(tokens[place])
        place += one
        width = np.uint64(widths[token])
        at = first + bits
        window = bits_at(data, at, last)
        word = bases[token] + (window & ((one << width) - one))
        bits += width
        if token == np.uint64(ESCAPE):
            word = load(data, min(begin + eight * escapes, last))
            escapes += one
        if mode == 0:
            out[row] = np.int64(word) * unit + base
            continue
        step = (np.int64(word >> one) ^ -np.int64(word & one)) * unit
        if mode == SAME:
            out[row] = step + reference[row] + base
        else:
            before += step
            out[row] = before
            if mode == BEFORE:
                before = reference[row]
    return bits, escapes


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
    tables: Any,
    bids: Any,
    asks: Any,
    groups: Any,
    skips: Any,
    forms: Any,
    base: Any,
    unit: Any,
    edges: Any,
    out: Any,
) -> None:
    """Decode the prices of the rows of groups [groups[0], groups[1]): out int64[m] (the caller's, written).

    tokens u8[n]: those of all price columns, firsts first. state u64[3, 1 + c] (the caller's, written): where each
    column's tokens begin (tokens), its bits (bits of `data`), its escapes (bytes of `data`); afterwards, where they
    were read up to. tables int64[1 + c]: where each column's tables begin in `bases`, `widths`. skips int64[1 + c]:
    how many values of each column belong to groups before the first. Counts were checked by :func:`cut_groups`. forms
    int64[2] of bids and asks. Gaps are words of gap - 1, zigzag where the side's form is SIGNED. 3 ns a row.
    """
    one, eight = np.uint64(1), np.uint64(8)
    last = np.uint64(len(data) - 8)
    for part in range(len(edges)):
        bits, escapes = skip_tokens(tokens, np.int64(state[0, 1 + part]), skips[1 + part], widths[tables[1 + part] :])
        state[0, 1 + part] += np.uint64(skips[1 + part])
        state[1, 1 + part] += bits
        state[2, 1 + part] += eight * escapes
    row = np.uint64(0)
    bid_first, ask_first = base, base
    place, bit, escape = state[0, 0], state[1, 0], state[2, 0]
    own = np.uint64(tables[0])
    for group in range(groups[1]):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            if rows == 0:
                continue
            token = np.uint64(tokens[place])
            place += one
            width = np.uint64(widths[own + token])
            window = bits_at(data, bit, last)
            word = bases[own + token] + (window & ((one << width) - one))
            bit += width
            if token == np.uint64(ESCAPE):
                word = load(data, min(escape, last))
                escape += eight
            step = (np.int64(word >> one) ^ -np.int64(word & one)) * unit
            if half == 0:
                bid_first += step
                price = bid_first
            else:
                ask_first += step
                price = ask_first
            if group < groups[0]:
                continue
            form = forms[half]
            scale = -unit if form & DESCENDING else unit
            sign = one if form & SIGNED else np.uint64(0)
            at, stride = (row + np.uint64(rows) - one, ~np.uint64(0)) if form & REVERSED else (row, one)
            out[at] = price
            left = rows - 1
            for part in range(len(edges) - 1, -1, -1):
                count = left - edges[part]
                if count <= 0:
                    continue
                left = edges[part]
                table = np.uint64(tables[part + 1])
                gap_place, gap_bit, gap_escape = state[0, part + 1], state[1, part + 1], state[2, part + 1]
                for _ in range(count):
                    token = np.uint64(tokens[gap_place])
                    gap_place += one
                    width = np.uint64(widths[table + token])
                    window = bits_at(data, gap_bit, last)
                    word = bases[table + token] + (window & ((one << width) - one))
                    gap_bit += width
                    if token == np.uint64(ESCAPE):
                        word = load(data, min(gap_escape, last))
                        gap_escape += eight
                    price += ((np.int64(word >> sign) ^ -np.int64(word & sign)) + 1) * scale
                    at += stride
                    out[at] = price
                state[0, part + 1], state[1, part + 1], state[2, part + 1] = gap_place, gap_bit, gap_escape
            row += np.uint64(rows)
    state[0, 0], state[1, 0], state[2, 0] = place, bit, escape


@numba.njit(cache=True, nogil=True)
def fill(out: Any, start: Any, stop: Any, value: Any) -> None:
    """Write `value` to out[start:stop]; elements behind may be overwritten: whoever fills on comes to them.

    Runs are short and of all lengths: eight elements at once cost less than the branch that would spare them.
    """
    row = start
    while row < stop and row + 8 <= len(out):
        for number in range(8):
            out[row + number] = value
        row += 8
    while row < stop:
        out[row] = value
        row += 1


@numba.njit(cache=True, nogil=True)
def fill_bytes(out: Any, start: Any, stop: Any, value: Any) -> None:
    """Do the same with u8[n], 32 at once."""
    row = start
    while row < stop and row + 32 <= len(out):
        for number in range(32):
            out[row + number] = value
        row += 32
    while row < stop:
        out[row] = value
        row += 1


@numba.njit(cache=True, nogil=True)
def spread_rows(values: Any, bids: Any, asks: Any, bid: Any, ask: Any, out: Any, sides: Any) -> None:
    """Write each group's value to all its rows, and `bid` or `ask` for each.

    values int64[g] to out int64[n], sides u8[n] (the caller's, written; either may be empty).
    """
    row = np.int64(0)
    for group in range(len(bids)):
        half, stop = row + bids[group], row + bids[group] + asks[group]
        if len(out):
            fill(out, row, stop, values[group])
        if len(sides):
            fill_bytes(sides, row, half, np.uint8(bid))
            fill_bytes(sides, half, stop, np.uint8(ask))
        row = stop
