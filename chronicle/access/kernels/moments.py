"""Kernels for the book at one moment: of many changes to a price only the last one counts.

A replay that nobody watches on the way need not keep the levels sorted after every delta, which in a deep book is
most of its cost. So ``gather`` keeps the last size of each price in a hash table, and ``settle`` sorts those prices
once (a radix sort: the prices of a stretch lie close together) and merges them into the levels. That holds only
where no event's end cuts the book to a depth: such a book is small, and goes through
:func:`chronicle.access.kernels.books.replay`, whose registers and return codes these kernels share.

The table, owned by the caller: ``heads`` int32[2, slots] (slots a power of two; 0 free, else entry + 1), ``keys`` and
``sizes`` int64[2, entries], ``used`` int64[2]. Halves are bids and asks; keys are those of the levels (the price of a
bid, minus the price of an ask).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chronicle.access.kernels.ahead import AHEAD_WORDS, fetch
from chronicle.access.kernels.books import (
    BAD,
    CHECK_BYTES,
    CONTENT_DONE,
    DELTA_BYTES,
    DONE,
    EVENT_START,
    EVENT_TS,
    FLAG_LAST_WORD,
    KIND_BOOK_DELTA,
    KIND_CHECK,
    KIND_ORDER,
    KIND_ROLL,
    LENGTH_MASK,
    PROVEN_ROW,
    RECORDS,
    ROOM,
    SPECIAL,
    STOP,
    VERDICT_PASSED,
    note_check,
    note_delta,
    note_times,
)

__all__ = ["best", "confirmed", "gather", "settle"]

ASK = 65
BID = 66
DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
KNUTH = 0x61C88647
"""Factor of the hash; of 31 bits, so that no product leaves int64."""
LOW_31 = 0x7FFFFFFF
SIGN = np.uint64(1 << 63)


@numba.njit(cache=True, nogil=True)
def _slot(heads: Any, keys: Any, key: Any, mask: Any) -> Any:
    """Return the slot of `key` in one half's table, or the free one where it belongs (as ``gather`` finds it)."""
    slot = (((key ^ (key >> 31)) & LOW_31) * KNUTH >> 20) & mask
    while heads[slot] != 0 and keys[heads[slot] - 1] != key:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def gather(
    heads: Any, keys: Any, sizes: Any, used: Any, reg: Any, words: Any, position: Any, end_ts: Any
) -> tuple[int, int]:
    """Note the plain records from word `position` on, up to the first event at or behind `end_ts`.

    Plain and the return (why, position): as :func:`chronicle.access.kernels.books.replay`, without rows. ROOM: an
    entry more would not fit. O(records).
    """
    total = len(words)
    room, mask = keys.shape[1], heads.shape[1] - 1
    while position < total:
        head = words[position]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or position + (length >> 3) > total:
            return BAD, position
        fetch(words, position + AHEAD_WORDS)
        kind = (head >> 32) & 0xFFFF
        if kind == KIND_ROLL:
            position += length >> 3
            continue
        if reg[EVENT_START] != 0:
            ts = words[position + 1]
            if ts >= end_ts:
                return STOP, position
            reg[EVENT_START] = 0
            reg[EVENT_TS] = ts
        if reg[CONTENT_DONE] != 0:
            reg[CONTENT_DONE] = 0
        elif kind == KIND_BOOK_DELTA:
            if length < DELTA_BYTES:
                return BAD, position
            side = (head >> 56) & 0xFF
            if side in (BID, ASK):
                half = 0 if side == BID else 1
                key = words[position + 6] if side == BID else -words[position + 6]
                slot = (((key ^ (key >> 31)) & LOW_31) * KNUTH >> 20) & mask
                while heads[half, slot] != 0 and keys[half, heads[half, slot] - 1] != key:
                    slot = (slot + 1) & mask
                entry = heads[half, slot] - 1
                if entry < 0:
                    entry = used[half]
                    if entry >= room:
                        return ROOM, position
                    used[half] = entry + 1
                    heads[half, slot] = entry + 1
                    keys[half, entry] = key
                sizes[half, entry] = words[position + 7]
            note_delta(reg, words, position)
            note_times(reg, words, position)
        elif kind == KIND_ORDER:
            note_times(reg, words, position)
        elif kind == KIND_CHECK and length >= CHECK_BYTES and (words[position + 6] >> 8) & 0xFF == VERDICT_PASSED:
            note_check(reg, words, position, reg[PROVEN_ROW])
        else:
            return SPECIAL, position
        if head & FLAG_LAST_WORD:
            reg[EVENT_START] = 1
        reg[RECORDS] += 1
        position += length >> 3
    return DONE, position


@numba.njit(cache=True, nogil=True)
def _sort(keys: Any, sizes: Any, count: Any, other_keys: Any, other_sizes: Any, buckets: Any) -> bool:
    """Sort int64[count] `keys` ascending with their `sizes`; return whether they ended in the other arrays.

    Least significant digits first, as many as the keys' range has; buckets int64[DIGITS]. O(count * digits).
    """
    low, high = np.uint64(keys[0]) ^ SIGN, np.uint64(keys[0]) ^ SIGN  # in the order of the signed keys
    for entry in range(1, count):
        key = np.uint64(keys[entry]) ^ SIGN
        low = min(low, key)
        high = max(high, key)
    spread = high - low
    shift: Any = np.uint64(0)
    swapped = False
    while shift < np.uint64(64) and spread >> shift != np.uint64(0):
        buckets[:] = 0
        for entry in range(count):
            digit = np.int64((((np.uint64(keys[entry]) ^ SIGN) - low) >> shift) & np.uint64(DIGITS - 1))
            buckets[digit] += 1
        place = 0
        for bucket in range(DIGITS):
            here = buckets[bucket]
            buckets[bucket] = place
            place += here
        for entry in range(count):
            digit = np.int64((((np.uint64(keys[entry]) ^ SIGN) - low) >> shift) & np.uint64(DIGITS - 1))
            to = buckets[digit]
            buckets[digit] = to + 1
            other_keys[to] = keys[entry]
            other_sizes[to] = sizes[entry]
        keys, other_keys = other_keys, keys
        sizes, other_sizes = other_sizes, sizes
        swapped = not swapped
        shift += np.uint64(DIGIT_BITS)
    return swapped


@numba.njit(cache=True, nogil=True)
def settle(
    levels: Any, counts: Any, merged: Any, heads: Any, keys: Any, sizes: Any, used: Any, spare: Any, buckets: Any
) -> None:
    """Write `levels` with the gathered changes into `merged`, and forget the changes.

    levels int64[4, capacity]; merged int64[4, >= counts + used], where the book is afterwards; spare
    int64[2, entries] and buckets int64[DIGITS] are scratch. O(levels + entries).
    """
    for half in range(2):
        changed = used[half]
        old_keys, old_sizes = levels[2 * half], levels[2 * half + 1]
        new_keys, new_sizes = merged[2 * half], merged[2 * half + 1]
        key, size = keys[half], sizes[half]
        if changed > 1 and _sort(key, size, changed, spare[0], spare[1], buckets):
            key, size = spare[0], spare[1]
        at, out, count = 0, 0, counts[half]
        for entry in range(changed):
            wanted = key[entry]
            while at < count and old_keys[at] < wanted:
                new_keys[out] = old_keys[at]
                new_sizes[out] = old_sizes[at]
                at += 1
                out += 1
            if at < count and old_keys[at] == wanted:
                at += 1
            if size[entry] != 0:
                new_keys[out] = wanted
                new_sizes[out] = size[entry]
                out += 1
        while at < count:
            new_keys[out] = old_keys[at]
            new_sizes[out] = old_sizes[at]
            at += 1
            out += 1
        counts[half] = out
        used[half] = 0
    heads[:] = 0


@numba.njit(cache=True, nogil=True)
def best(
    levels: Any, counts: Any, heads: Any, keys: Any, sizes: Any, used: Any, top: Any, top_counts: Any, depth: Any
) -> None:
    """Write the best `depth` levels of each side, changes brought in, into top int64[4, depth + 1] and top_counts.

    They stand as in `levels`, the best last. Levels that a change names are left out where they stand; the worst of
    the best `depth` others bounds which changes can matter, and those few are put in their places.
    O(changes + depth * those few).
    """
    mask = heads.shape[1] - 1
    for half in range(2):
        old_keys, old_sizes = levels[2 * half], levels[2 * half + 1]
        best_keys, best_sizes = top[2 * half], top[2 * half + 1]
        kept, at = 0, counts[half] - 1
        while at >= 0 and kept < depth:  # best first for now
            if used[half] == 0 or heads[half, _slot(heads[half], keys[half], old_keys[at], mask)] == 0:
                best_keys[kept] = old_keys[at]
                best_sizes[kept] = old_sizes[at]
                kept += 1
            at -= 1
        for entry in range(used[half]):
            key = keys[half, entry]
            if sizes[half, entry] == 0 or (kept == depth and key < best_keys[kept - 1]):
                continue
            place = kept
            while place > 0 and best_keys[place - 1] < key:
                best_keys[place] = best_keys[place - 1]
                best_sizes[place] = best_sizes[place - 1]
                place -= 1
            best_keys[place] = key
            best_sizes[place] = sizes[half, entry]
            kept = min(kept + 1, depth)
        for place in range(kept // 2):
            other = kept - 1 - place
            best_keys[place], best_keys[other] = best_keys[other], best_keys[place]
            best_sizes[place], best_sizes[other] = best_sizes[other], best_sizes[place]
        top_counts[half] = kept


@numba.njit(cache=True, nogil=True)
def confirmed(words: Any, position: Any, driver: Any, checked: Any, budget: Any) -> bool:
    """Return whether the events from word `position` on stand behind the book before them, by plain records alone.

    That is an event of nothing but `driver` records and passed CHECKs with, where the book is `checked`, such a CHECK
    (events without one are passed over, `budget` records at most). False: the records must be looked at one by one.
    """
    total = len(words)
    proven = False
    while position < total and budget > 0:
        head = words[position]
        length = head & LENGTH_MASK
        if length < 48 or length & 7 or position + (length >> 3) > total:
            return False
        kind = (head >> 32) & 0xFFFF
        if kind == driver:
            proven = proven or not checked
        elif kind == KIND_CHECK and length >= CHECK_BYTES and (words[position + 6] >> 8) & 0xFF == VERDICT_PASSED:
            proven = True
        else:
            return False
        if proven and head & FLAG_LAST_WORD:
            return True
        budget -= 1
        position += length >> 3
    return False
