"""Kernels that decode the prices and sizes of a tabled event block: symbols by tables of their context, bits aside.

``docs/format/archive.md`` (Tabled event blocks) is the source. Symbols are coded by range variants of asymmetric
numeral systems (J. Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with
compression rate of arithmetic coding", 2013; the form with words of 16 bits after F. Giesen, "Interleaved entropy
coders", 2014). Three coders, of prices, classes of sizes and new sizes, do not wait for one another.

Common arguments: data u8[n], 8 bytes at least, is the block's code, of which no load leads outside whatever it says.
entries u64[t << log]: for each table and slot the symbol's frequency (16 bits), the slot's place among the symbol's
(16), the symbol (16), the bits of its words (8, saturated where a symbol stands for several lengths) and the width of
its low bits (8). starts int64[c]: where the table of each context begins in `entries`. coder u64[3]: the state, the
byte of the next word, the bit of the next low bits; the caller's, written.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.lanes import load, window
from chronicle.storage.kernels.tokens import bit_length

__all__ = ["decode_prices", "decode_sizes", "lay_entries"]

DESCENDING, REVERSED, SIGNED = 1, 2, 4
STATE, WORD, BIT = range(3)
WIDE = 56
"""Low bits of one load; wider ones are read in two parts, the lower 32 first."""
BITS_MAX = 31
"""Words of as many bits and more are one in a context."""
GAP_BITS_MAX = 19
GAPS_FROM = 64
"""Contexts of first prices: 32 for each side; those of gaps follow, 20 for each part."""
PARTS = 65
"""Of a gap: the part it is in, by how many follow on its side, up to 64."""
SLOT_BITS = 15
SLOTS = 1 << SLOT_BITS
PRICE, LAST, OTHER, KNOWN = range(4)
"""Of a slot: a price, its last size that is not 0, the one before that, and what is known of it (0: nothing)."""
HASH = 0x9E3779B97F4A7C15
ZERO, SAME_ONE, SAME_TWO, NEW = range(4)
"""Classes of sizes."""


@numba.njit(cache=True, nogil=True)
def lay_entries(frequencies: Any, log: Any, lengths: Any, widths: Any, entries: Any) -> None:
    """Lay out tables u16[t, a], whose rows sum to 1 << log: entries u64[t << log] (the caller's, written).

    lengths, widths u8[a]: bits of the words of each symbol, and how many of them stand aside.
    """
    place = np.uint64(0)
    for table in range(len(frequencies)):
        for symbol in range(frequencies.shape[1]):
            count = np.uint64(frequencies[table, symbol])
            if count == 0:
                continue
            own = count | (np.uint64(symbol) << np.uint64(32))
            own |= (np.uint64(lengths[symbol]) << np.uint64(48)) | (np.uint64(widths[symbol]) << np.uint64(56))
            for number in range(count):
                entries[place] = own | (np.uint64(number) << np.uint64(16))
                place += np.uint64(1)


@numba.njit(cache=True, nogil=True, inline="always")
def _step(state: Any, entry: Any, log: Any) -> Any:
    """Return the state behind a symbol, before a word may have to follow."""
    return (entry & np.uint64(0xFFFF)) * (state >> log) + ((entry >> np.uint64(16)) & np.uint64(0xFFFF))


@numba.njit(cache=True, nogil=True, inline="always")
def _refill(state: Any, data: Any, place: Any, last: Any) -> Any:
    """Return (state, place) with the next word of 16 bits in the state where it is short. No branch."""
    short = state < np.uint64(1 << 16)
    following = (state << np.uint64(16)) | (load(data, min(place, last)) & np.uint64(0xFFFF))
    return (following if short else state), place + (np.uint64(short) << np.uint64(1))


@numba.njit(cache=True, nogil=True, inline="always")
def _low_bits(data: Any, bit: Any, width: Any, last: Any) -> Any:
    """Return `width` bits, 64 at most."""
    one = np.uint64(1)
    if width > np.uint64(WIDE):
        half = np.uint64(32)
        low = window(data, bit, last) & np.uint64(0xFFFFFFFF)
        high = window(data, bit + half, last) & ((one << (width - half)) - one)
        return low | (high << half)
    return window(data, bit, last) & ((one << width) - one)


@numba.njit(cache=True, nogil=True)
def decode_prices(
    bids: Any,
    asks: Any,
    forms: Any,
    facts: Any,
    data: Any,
    entries: Any,
    starts: Any,
    log: Any,
    bases: Any,
    parts: Any,
    coder: Any,
    out: Any,
) -> None:
    """Decode the prices of all groups: out int64[n] (the caller's, written).

    bids, asks int64[g], checked to make n rows; forms int64[2] of bids and asks, SIGNED where gaps are zigzags. facts
    int64[2]: base and unit. bases u64[a]: least word of each symbol. parts int64[PARTS]: first context of gaps that so
    many others follow on their side. Symbol by symbol, each in the context of the one before: 9 ns a row.
    """
    base, unit, sign = facts[0], facts[1], np.uint64(1 if forms[0] & SIGNED else 0)
    one = np.uint64(1)
    log = np.uint64(log)
    mask, last = (one << log) - one, np.uint64(len(data) - 8)
    state, place, bit = coder[STATE], coder[WORD], coder[BIT]
    bid_price, ask_price = np.int64(base), np.int64(base)
    bid_bits, ask_bits = np.int64(0), np.int64(0)
    row = np.int64(0)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            if rows == 0:
                continue
            form = forms[half]
            step = -unit if form & DESCENDING else unit
            at, stride = (row + rows - 1, np.int64(-1)) if form & REVERSED else (row, np.int64(1))
            context = 32 + ask_bits if half else bid_bits
            entry = entries[np.uint64(starts[context]) + (state & mask)]
            state, place = _refill(_step(state, entry, log), data, place, last)
            width = entry >> np.uint64(56)
            word = bases[(entry >> np.uint64(32)) & np.uint64(0xFFFF)] + _low_bits(data, bit, width, last)
            bit += width
            moved = (np.int64(word >> one) ^ -np.int64(word & one)) * unit
            length = min(np.int64((entry >> np.uint64(48)) & np.uint64(0xFF)), np.int64(BITS_MAX))
            if half:
                ask_price += moved
                price, ask_bits = ask_price, length
            else:
                bid_price += moved
                price, bid_bits = bid_price, length
            out[at] = price
            before = np.int64(0)
            for left in range(rows - 2, -1, -1):
                context = parts[min(left, np.int64(PARTS - 1))] + before
                entry = entries[np.uint64(starts[context]) + (state & mask)]
                state, place = _refill(_step(state, entry, log), data, place, last)
                width = entry >> np.uint64(56)
                word = bases[(entry >> np.uint64(32)) & np.uint64(0xFFFF)] + _low_bits(data, bit, width, last)
                bit += width
                before = min(np.int64((entry >> np.uint64(48)) & np.uint64(0xFF)), np.int64(GAP_BITS_MAX))
                price += ((np.int64(word >> sign) ^ -np.int64(word & sign)) + 1) * step
                at += stride
                out[at] = price
            row += rows
    coder[STATE], coder[WORD], coder[BIT] = state, place, bit


@numba.njit(cache=True, nogil=True, inline="always")
def class_context(known: Any, class_before: Any, number: Any, bits: Any) -> Any:
    """Return the context of a size's class: what is known of the price, the class before, its place on the side."""
    return ((known * 4 + min(number, 3)) * 4 + class_before) * 8 + (bits >> 2)


@numba.njit(cache=True, nogil=True, inline="always")
def size_context(known: Any, bits: Any) -> Any:
    """Return the context of a new size: whether there is one now, and the bits of the last."""
    return (0 if known == 0 else 32 if known < 3 else 64) + bits


@numba.njit(cache=True, nogil=True)
def decode_sizes(
    bids: Any,
    asks: Any,
    forms: Any,
    unit: Any,
    prices: Any,
    data: Any,
    shares: Any,
    entries: Any,
    starts: Any,
    log: Any,
    bases: Any,
    slots: Any,
    class_coder: Any,
    coder: Any,
    out: Any,
) -> None:
    """Decode the sizes of all rows, whose prices int64[n] are known: out int64[n] (the caller's, written).

    Groups and forms as in :func:`decode_prices`. shares u64[c]: for each context of classes, where those after the
    first begin and the whole, 16 bits each. slots int64[SLOTS, 4] is scratch. class_coder reads the classes, `coder`
    the new sizes, bases u64[a] of which are least words of tokens and sizes of the dictionary. 12 ns a row.
    """
    one, sixteen, low_16 = np.uint64(1), np.uint64(16), np.uint64(0xFFFF)
    log = np.uint64(log)
    mask, last_byte = (one << log) - one, np.uint64(len(data) - 8)
    whole, whole_mask = np.uint64(12), np.uint64(0xFFF)
    state, place, bit = coder[STATE], coder[WORD], coder[BIT]
    class_state, class_place = class_coder[STATE], class_coder[WORD]
    slots[:, KNOWN] = 0
    row = np.int64(0)
    class_before = np.int64(ZERO)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            at, stride = (row + rows - 1, np.int64(-1)) if forms[half] & REVERSED else (row, np.int64(1))
            for number in range(rows):
                price = prices[at]
                hashed = (np.uint64(price) + np.uint64(half)) * np.uint64(HASH)
                slot = slots[hashed >> np.uint64(64 - SLOT_BITS)]
                last, other, known = slot[LAST], slot[OTHER], slot[KNOWN]
                if known == 0 or slot[PRICE] != price:
                    slot[PRICE] = price
                    last, other, known = np.int64(0), np.int64(0), np.int64(0)
                bits = min(bit_length(np.uint64(last)), np.int64(BITS_MAX))
                share = shares[class_context(known, class_before, number, bits)]
                at_slot = class_state & whole_mask
                found = np.int64(at_slot >= (share & low_16)) + np.int64(at_slot >= ((share >> sixteen) & low_16))
                found += np.int64(at_slot >= ((share >> np.uint64(32)) & low_16))
                shift = np.uint64(16 * found)
                begin = ((share << sixteen) >> shift) & low_16
                count = ((share >> shift) & low_16) - begin
                class_state = count * (class_state >> whole) + at_slot - begin
                class_state, class_place = _refill(class_state, data, class_place, last_byte)
                size = np.int64(0)
                if found == NEW:
                    entry = entries[np.uint64(starts[size_context(known, bits)]) + (state & mask)]
                    state, place = _refill(_step(state, entry, log), data, place, last_byte)
                    width = entry >> np.uint64(56)
                    word = bases[(entry >> np.uint64(32)) & low_16] + _low_bits(data, bit, width, last_byte)
                    bit += width
                    size = np.int64(word)
                    other, last = last, size
                elif found == SAME_ONE:
                    size = last
                elif found == SAME_TWO:
                    size = other
                    other, last = last, size
                slot[LAST], slot[OTHER] = last, other
                slot[KNOWN] = (1 if found == ZERO else 3) + np.int64(other != 0)
                class_before = found
                out[at] = size * unit
                at += stride
            row += rows
    coder[STATE], coder[WORD], coder[BIT] = state, place, bit
    class_coder[STATE], class_coder[WORD] = class_state, class_place
