"""Kernels that decode the prices and sizes of a tabled event block: symbols by tables of their context, bits aside.

``docs/format/archive.md`` (Tabled event blocks) is the source. Symbols are coded by range variants of asymmetric
numeral systems (J. Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with
compression rate of arithmetic coding", 2013; the form with words of 16 bits after F. Giesen, "Interleaved entropy
coders", 2014). Three coders, of prices, classes of sizes and new sizes, do not wait for one another.

Common arguments: data u8[n] is the block's code with room behind it for all that as many symbols as there are rows
can ask for (2 bytes of words and 8 of low bits each, and one load), so that no load leads outside whatever it says.
entries[t << log]: for each table and slot what :func:`lay_entries` says; those of prices and classes are small enough
for the nearest cache, from where each symbol waits for its entry. starts int64[c]: where the table of each context
begins in `entries`. coder u64[3]: the state, the byte of the next word, the bit of the next low bits; the caller's,
written.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.storage.kernels  # noqa: F401  (keys the cache)
from chronicle.storage.kernels.lanes import load
from chronicle.storage.kernels.tokens import bit_length

__all__ = ["decode_prices", "decode_sizes", "lay_entries"]

DESCENDING, REVERSED, SIGNED = 1, 2, 4
STATE, WORD, BIT = range(3)
PRICE_LOG, CLASS_LOG, SIZE_LOG = 9, 8, 12
"""Slots of a table are 2**log: constants, as each variable more of these loops is one on the stack."""
SHORT, LONG = (10, 19, 27), (16, 32, 56)
"""Where place, symbol and length begin in an entry of u32 and u64."""
WIDE = 56
"""Low bits of one load; wider ones are read in two parts, the lower 32 first."""
BITS_MAX = 31
"""Words of as many bits and more are one in a context."""
GAP_BITS_MAX = 19
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
def lay_entries(frequencies: Any, lengths: Any, shifts: Any, entries: Any) -> None:
    """Lay out tables u16[t, a], whose rows sum to 1 << log: entries u32 or u64[t << log] (the caller's, written).

    An entry is the symbol's frequency, the slot's place among the symbol's, the symbol and lengths u8[a] of it, each
    from the bit on that shifts u64[3] say: SHORT for u32 or LONG for u64.
    """
    place = np.uint64(0)
    for table in range(len(frequencies)):
        for symbol in range(frequencies.shape[1]):
            count = np.uint64(frequencies[table, symbol])
            if count == 0:
                continue
            own = count | (np.uint64(symbol) << shifts[1]) | (np.uint64(lengths[symbol]) << shifts[2])
            for number in range(count):
                entries[place] = own | (np.uint64(number) << shifts[0])
                place += np.uint64(1)


@numba.njit(cache=True, nogil=True, inline="always")
def _refill(state: Any, data: Any, place: Any) -> Any:
    """Return (state, place) with the next word of 16 bits in the state where it is short. No branch."""
    short = state < np.uint64(1 << 16)
    following = (state << np.uint64(16)) | (load(data, place) & np.uint64(0xFFFF))
    return (following if short else state), place + (np.uint64(short) << np.uint64(1))


@numba.njit(cache=True, nogil=True, inline="always")
def _window(data: Any, bit: Any) -> Any:
    return load(data, bit >> np.uint64(3)) >> (bit & np.uint64(7))


@numba.njit(cache=True, nogil=True, inline="always")
def _low_bits(data: Any, bit: Any, width: Any) -> Any:
    """Return `width` bits, 64 at most."""
    one = np.uint64(1)
    if width > np.uint64(WIDE):
        half = np.uint64(32)
        low = _window(data, bit) & np.uint64(0xFFFFFFFF)
        high = _window(data, bit + half) & ((one << (width - half)) - one)
        return low | (high << half)
    return _window(data, bit) & ((one << width) - one)


@numba.njit(cache=True, nogil=True)
def decode_prices(
    bids: Any,
    asks: Any,
    forms: Any,
    facts: Any,
    data: Any,
    entries: Any,
    starts: Any,
    bases: Any,
    widths: Any,
    parts: Any,
    coder: Any,
    out: Any,
) -> None:
    """Decode the prices of all groups: out int64[n] (the caller's, written).

    bids, asks int64[g], checked to make n rows; forms int64[2] of bids and asks, SIGNED where gaps are zigzags. facts
    int64[2]: base and unit. bases u64[256], widths u8[256]: least word and low bits of each symbol. parts int64[65]:
    first context of gaps that so many others follow on their side. Symbol by symbol, each in the context of the one
    before: 7.5 ns a row.
    """
    base, unit, sign = facts[0], facts[1], np.uint64(1 if forms[0] & SIGNED else 0)
    one = np.uint64(1)
    log, mask = np.uint64(PRICE_LOG), np.uint64((1 << PRICE_LOG) - 1)
    place_at, symbol_at, length_at = np.uint64(SHORT[0]), np.uint64(SHORT[1]), np.uint64(SHORT[2])
    counts, places = np.uint64((1 << SHORT[0]) - 1), np.uint64((1 << (SHORT[1] - SHORT[0])) - 1)
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
            context = np.uint64(32 + ask_bits if half else bid_bits)
            entry = np.uint64(entries[np.uint64(starts[context]) + (state & mask)])
            state, place = _refill((entry & counts) * (state >> log) + ((entry >> place_at) & places), data, place)
            symbol = (entry >> symbol_at) & np.uint64(0xFF)
            width = np.uint64(widths[symbol])
            word = bases[symbol] + _low_bits(data, bit, width)
            bit += width
            moved = (np.int64(word >> one) ^ -np.int64(word & one)) * unit
            length = np.int64(entry >> length_at)
            if half:
                ask_price += moved
                price, ask_bits = ask_price, length
            else:
                bid_price += moved
                price, bid_bits = bid_price, length
            out[np.uint64(at)] = price
            before = np.int64(0)
            for left in range(rows - 2, -1, -1):
                context = np.uint64(parts[min(left, np.int64(PARTS - 1))] + before)
                entry = np.uint64(entries[np.uint64(starts[context]) + (state & mask)])
                state, place = _refill(
                    (entry & counts) * (state >> log) + ((entry >> place_at) & places), data, place
                )
                symbol = (entry >> symbol_at) & np.uint64(0xFF)
                width = np.uint64(widths[symbol])
                word = bases[symbol] + _low_bits(data, bit, width)
                bit += width
                before = min(np.int64(entry >> length_at), np.int64(GAP_BITS_MAX))
                price += ((np.int64(word >> sign) ^ -np.int64(word & sign)) + 1) * step
                at += stride
                out[np.uint64(at)] = price
            row += rows
    coder[STATE], coder[WORD], coder[BIT] = state, place, bit


@numba.njit(cache=True, nogil=True, inline="always")
def class_context(known: Any, class_before: Any, number: Any, bits: Any) -> Any:
    """Return the context of a size's class: what is known of the price, the class before, its place on the side."""
    return known * 128 + min(number, 3) * 32 + class_before * 8 + (bits >> 2)


@numba.njit(cache=True, nogil=True, inline="always")
def size_context(known: Any, bits: Any) -> Any:
    """Return the context of a new size: whether there is one now, and the bits of the last."""
    return ((known + 1) >> 1) * 32 + bits


@numba.njit(cache=True, nogil=True)
def decode_sizes(
    bids: Any,
    asks: Any,
    forms: Any,
    unit: Any,
    prices: Any,
    data: Any,
    class_entries: Any,
    class_starts: Any,
    class_coder: Any,
    entries: Any,
    starts: Any,
    coder: Any,
    bases: Any,
    slots: Any,
    out: Any,
) -> None:
    """Decode the sizes of all rows, whose prices int64[n] are known: out int64[n] (the caller's, written).

    Groups and forms as in :func:`decode_prices`; entries, starts and coders of classes and of new sizes, bases
    u64[a] of which are least words of tokens and sizes of the dictionary. slots int64[4 * SLOTS] is scratch. 25 ns
    a row: some hundred instructions, and which class comes is not to be foreseen.
    """
    symbol_at, class_at = np.uint64(LONG[1]), np.uint64(SHORT[1])
    place_at, class_place_at = np.uint64(LONG[0]), np.uint64(SHORT[0])
    counts, places = np.uint64((1 << SHORT[0]) - 1), np.uint64((1 << (SHORT[1] - SHORT[0])) - 1)
    low_16 = np.uint64(0xFFFF)
    log, class_log = np.uint64(SIZE_LOG), np.uint64(CLASS_LOG)
    mask, class_mask = np.uint64((1 << SIZE_LOG) - 1), np.uint64((1 << CLASS_LOG) - 1)
    last_at, other_at, known_at = np.uint64(LAST), np.uint64(OTHER), np.uint64(KNOWN)
    state, place, bit = coder[STATE], coder[WORD], coder[BIT]
    class_state, class_place = class_coder[STATE], class_coder[WORD]
    slots[:] = 0
    row = np.int64(0)
    found = np.int64(ZERO)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            at, stride = (row + rows - 1, np.int64(-1)) if forms[half] & REVERSED else (row, np.int64(1))
            for number in range(rows):
                price = prices[np.uint64(at)]
                slot = ((np.uint64(price) + np.uint64(half)) * np.uint64(HASH)) >> np.uint64(64 - SLOT_BITS)
                slot = slot << np.uint64(2)
                # No branch: what is known of another price, and which class comes, is not to be foreseen.
                held = -np.int64(slots[slot] == price)
                last, other = slots[slot | last_at] & held, slots[slot | other_at] & held
                known = slots[slot | known_at] & held
                bits = min(bit_length(np.uint64(last)), np.int64(BITS_MAX))
                start = np.uint64(class_starts[np.uint64(class_context(known, found, number, bits))])
                entry = np.uint64(class_entries[start + (class_state & class_mask)])
                stepped = (entry & counts) * (class_state >> class_log) + ((entry >> class_place_at) & places)
                class_state, class_place = _refill(stepped, data, class_place)
                found = np.int64((entry >> class_at) & np.uint64(3))
                if found >= SAME_TWO:
                    size = other
                    if found == NEW:
                        start = np.uint64(starts[np.uint64(size_context(known, bits))])
                        entry = entries[start + (state & mask)]
                        stepped = (entry & low_16) * (state >> log) + ((entry >> place_at) & low_16)
                        state, place = _refill(stepped, data, place)
                        width = entry >> np.uint64(LONG[2])
                        size = np.int64(bases[(entry >> symbol_at) & low_16] + _low_bits(data, bit, width))
                        bit += width
                    slots[slot] = price
                    slots[slot | last_at], slots[slot | other_at] = size, last
                    slots[slot | known_at] = 3 + np.int64(last != 0)
                else:
                    size = last & -np.int64(found)
                    slots[slot] = price
                    slots[slot | last_at], slots[slot | other_at] = last, other
                    slots[slot | known_at] = 1 + 2 * np.int64(found) + np.int64(other != 0)
                out[np.uint64(at)] = size * unit
                at += stride
            row += rows
    coder[STATE], coder[WORD], coder[BIT] = state, place, bit
    class_coder[STATE], class_coder[WORD] = class_state, class_place
