"""Kernels that code the prices and sizes of a tabled event block: the way there of ``tabled.py``.

Rows are split into words, each with its context; words into symbols and low bits; contexts that are alike take one
table; and symbols are put from the last to the first, as the coder wants it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.tabled import (
    BITS_MAX,
    DESCENDING,
    GAP_BITS_MAX,
    HASH,
    KNOWN,
    LAST,
    NEW,
    OTHER,
    PARTS,
    PRICE,
    REVERSED,
    SAME_ONE,
    SAME_TWO,
    SLOT_BITS,
    ZERO,
    class_context,
    size_context,
)
from chronicle.storage.kernels.tokens import bit_length, store_bits

__all__ = ["count_symbols", "merge_contexts", "put_low_bits", "put_symbols", "split_rows", "symbols_of"]

WIDE = 32


@numba.njit(cache=True, nogil=True)
def split_rows(
    bids: Any,
    asks: Any,
    forms: Any,
    facts: Any,
    prices: Any,
    sizes: Any,
    parts: Any,
    slots: Any,
    contexts: Any,
    words: Any,
    classes: Any,
) -> Any:
    """Split the rows of all groups into words and classes with their contexts; return how many sizes are new.

    bids, asks int64[g] make n rows; forms int64[2]. facts int64[4]: base and unit of prices, unit of sizes, which
    divide all steps, and 1 where gaps are zigzags. parts int64[PARTS] and slots int64[SLOTS, 4] as for the decoder.
    contexts u16[3, n], words u64[2, n] and classes u8[n] are the caller's, written: of prices, classes and new sizes,
    in walking order.
    """
    base, unit, size_unit, signed = facts[0], facts[1], facts[2], facts[3]
    slots[:, KNOWN] = 0
    firsts, steps = np.empty(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    firsts[:] = base
    row, walked, fresh = np.int64(0), np.int64(0), np.int64(0)
    class_before = np.int64(ZERO)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            sign = np.int64(-1) if forms[half] & DESCENDING else np.int64(1)
            at, stride = (row + rows - 1, np.int64(-1)) if forms[half] & REVERSED else (row, np.int64(1))
            before, price = np.int64(0), np.int64(0)
            for number in range(rows):
                if number == 0:
                    step = (prices[at] - firsts[half]) // unit
                    word = (np.uint64(step) << np.uint64(1)) ^ np.uint64(step >> 63)
                    contexts[0, walked] = half * 32 + steps[half]
                    steps[half] = min(bit_length(word), np.int64(BITS_MAX))
                    firsts[half] = prices[at]
                else:
                    step = (sign * (prices[at] - price)) // unit - 1
                    word = (np.uint64(step) << np.uint64(1)) ^ np.uint64(step >> 63) if signed else np.uint64(step)
                    contexts[0, walked] = parts[min(rows - 1 - number, PARTS - 1)] + before
                    before = min(bit_length(word), np.int64(GAP_BITS_MAX))
                price = prices[at]
                words[0, walked] = word
                hashed = (np.uint64(price) + np.uint64(half)) * np.uint64(HASH)
                slot = slots[hashed >> np.uint64(64 - SLOT_BITS)]
                last, other, known = slot[LAST], slot[OTHER], slot[KNOWN]
                if known == 0 or slot[PRICE] != price:
                    slot[PRICE] = price
                    last, other, known = np.int64(0), np.int64(0), np.int64(0)
                bits = min(bit_length(np.uint64(last)), np.int64(BITS_MAX))
                size = sizes[at] // size_unit
                found = np.int64(NEW)
                if size == 0:
                    found = np.int64(ZERO)
                elif size == last:
                    found = np.int64(SAME_ONE)
                elif size == other:
                    found = np.int64(SAME_TWO)
                contexts[1, walked] = class_context(known, class_before, np.int64(number), bits)
                classes[walked] = found
                if found == NEW:
                    contexts[2, fresh] = size_context(known, bits)
                    words[1, fresh] = np.uint64(size)
                    fresh += 1
                if found >= SAME_TWO:
                    other, last = last, size
                slot[LAST], slot[OTHER] = last, other
                slot[KNOWN] = (1 if found == ZERO else 3) + np.int64(other != 0)
                class_before = found
                at += stride
                walked += 1
            row += rows
    return fresh


@numba.njit(cache=True, nogil=True)
def symbols_of(words: Any, k: Any, m: Any, known: Any, out: Any) -> None:
    """Write the symbols of words u64[n]: u16 out[n] (the caller's).

    A word is its token (below 2**k itself, else by its bits and the m below the highest), or its place among
    known u64[d], ascending, behind all tokens.
    """
    behind = (1 << k) + ((64 - k) << m)
    for row in range(len(words)):
        word = words[row]
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) >> 1
            if known[middle] < word:
                low = middle + 1
            else:
                high = middle
        bits = bit_length(word)
        if low < len(known) and known[low] == word:
            out[row] = behind + low
        elif bits <= k:
            out[row] = np.int64(word)
        else:
            top = np.int64(word >> np.uint64(bits - 1 - m)) & ((1 << m) - 1)
            out[row] = (1 << k) + ((bits - 1 - k) << m) + top


@numba.njit(cache=True, nogil=True)
def count_symbols(contexts: Any, symbols: Any, out: Any) -> None:
    """Count the symbols u16[n] of each context u16[n]: adds to int64 out[c, a] (the caller's)."""
    for row in range(len(symbols)):
        out[contexts[row], symbols[row]] += 1


@numba.njit(cache=True, nogil=True)
def _cost(one: Any, other: Any, symbol_bits: Any) -> Any:
    """Return the bits that the symbols counted in two rows take with one table, which is counted as well."""
    total, cost = 0.0, 0.0
    for symbol in range(len(one)):
        count = one[symbol] + other[symbol]
        if count:
            cost += symbol_bits - count * np.log2(np.float64(count))
            total += count
    return cost + total * np.log2(total) if total else 0.0


@numba.njit(cache=True, nogil=True)
def merge_contexts(counts: Any, tables_max: Any, symbol_bits: Any, costs: Any, links: Any) -> Any:
    """Merge neighbouring contexts while that saves bits or they are too many; return how many tables are left.

    counts int64[c, a] (the caller's, written): the rows that are left have the sums. costs float64[2, c] is scratch:
    of each row, and what is saved when it takes in the next. links int64[2, c] (the caller's, written): of each row
    that is left, the next and the one before (c and -1: none); row 0 is always left. The tables' descriptions count
    `symbol_bits` a symbol.
    """
    contexts = len(counts)
    none = np.zeros(counts.shape[1], dtype=np.int64)
    for row in range(contexts):
        costs[0, row] = _cost(counts[row], none, symbol_bits)
        links[0, row], links[1, row] = row + 1, row - 1
    costs[1, contexts - 1] = -np.inf
    for row in range(contexts - 1):
        costs[1, row] = costs[0, row] + costs[0, row + 1] - _cost(counts[row], counts[row + 1], symbol_bits)
    left = contexts
    while left > 1:
        row = int(np.argmax(costs[1]))
        if costs[1, row] < 0.0 and left <= tables_max:
            break
        taken = links[0, row]
        costs[0, row] += costs[0, taken] - costs[1, row]
        for symbol in range(counts.shape[1]):
            counts[row, symbol] += counts[taken, symbol]
        following, before = links[0, taken], links[1, row]
        links[0, row] = following
        costs[1, taken], costs[1, row] = -np.inf, -np.inf
        if following < contexts:
            links[1, following] = row
            joined = _cost(counts[row], counts[following], symbol_bits)
            costs[1, row] = costs[0, row] + costs[0, following] - joined
        if before >= 0:
            joined = _cost(counts[before], counts[row], symbol_bits)
            costs[1, before] = costs[0, before] + costs[0, row] - joined
        left -= 1
    return left


@numba.njit(cache=True, nogil=True)
def put_symbols(contexts: Any, symbols: Any, tables: Any, begins: Any, log: Any, out: Any) -> Any:
    """Put symbols u16[n] from the last to the first before the end of u8 out[4 + 2 n]; return where they begin.

    tables int64[c]: the table of each context. begins int64[t, a + 1]: where the symbols of each table begin in its
    1 << log slots.
    """
    state, place = np.uint64(1 << 16), np.int64(len(out))
    shift = np.uint64(log)
    for row in range(len(symbols) - 1, -1, -1):
        table, symbol = tables[contexts[row]], symbols[row]
        begin = np.uint64(begins[table, symbol])
        count = np.uint64(begins[table, symbol + 1]) - begin
        if state >= count << (np.uint64(32) - shift):
            place -= 2
            out[place], out[place + 1] = (
                np.uint8(state & np.uint64(255)),
                np.uint8((state >> np.uint64(8)) & np.uint64(255)),
            )
            state >>= np.uint64(16)
        whole = state // count
        state = (whole << shift) + (state - whole * count) + begin
    for _ in range(4):
        place -= 1
        out[place] = np.uint8(state >> np.uint64(24))
        state = (state << np.uint64(8)) & np.uint64(0xFFFFFFFF)
    return place


@numba.njit(cache=True, nogil=True)
def put_low_bits(words: Any, symbols: Any, widths: Any, out: Any) -> Any:
    """Put the low bits of words u64[n], widths u8[a] of each symbol: u8 out[8 n + 24] (the caller's). Return bits."""
    place, held, shifted = np.uint64(0), np.uint64(0), np.uint64(0)
    three, seven, half = np.uint64(3), np.uint64(7), np.uint64(WIDE)
    for row in range(len(words)):
        width, rest = np.uint64(widths[symbols[row]]), words[row]
        while width:
            part = min(width, half)
            held |= (rest & ((np.uint64(1) << part) - np.uint64(1))) << shifted
            store_bits(out, place, held)
            shifted += part
            place += shifted >> three
            held >>= shifted & ~seven
            shifted &= seven
            width -= part
            rest >>= part
    store_bits(out, place, held)
    store_bits(out, place + np.uint64(8), np.uint64(0))
    return np.int64(place) * 8 + np.int64(shifted)
