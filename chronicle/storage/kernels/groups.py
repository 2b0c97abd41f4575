"""Kernels that cut records into groups of deltas and other records, and put them side by side again.

Record layout in words (docs/format/queue.md): 0 length, kind, flags, side; 1 ts_recv; 2 ts_event; 3 source_index;
4 instrument, source, ordinal; 5 sequence; of a BOOK_DELTA 6 price, 7 size, 8 sequence_first, 9 sequence_previous.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = ["assemble", "expand_flags", "gap_places", "gather_others", "price_steps", "scan_groups", "side_votes"]

DELTA_WORDS = 10
DELTA_HEAD = 80 | 32 << 32
"""Length and kind of a BOOK_DELTA."""
HEAD_MASK = 0xFFFFFFFFFFFF
LENGTH_MASK = 0xFFFFFFFF
CHECK_HEAD = 72 | 19 << 32
ASK, BID = 65, 66
LAST = 128
EVENT_LAST = 1 << 16
LEVELS_WORD = 11
SNAPSHOT_BYTES = 88

BIDS, ASKS, MARKS, TS_RECV, TS_EVENT, SOURCE_INDEX, LINE, SEQUENCE, FIRST, PREVIOUS = range(10)

DESCENDING, REVERSED, SIGNED = 1, 2, 4
STEP_ORDINAL, STEP_SOURCE = 1, 2
AHEAD_WORDS = 32 * 1024
"""So far ahead of where it is the scan asks for memory, which is slower than it: 256 KiB, the next piece."""
STATES, STEP, INSTRUMENT = 23, 4, 7
"""Words of the state of :func:`scan_groups`, and those that begin as -1."""


@intrinsic
def _prefetch(typing_context: Any, words: Any, place: Any) -> Any:
    """Ask for the cache line of word `place`, wherever that is: a prefetch never faults."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        i8, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (i8,), kind)
        at = builder.bitcast(builder.gep(array.data, [arguments[1]]), i8)
        builder.call(function, [at, i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return types.void(words, types.uint64), generate


@numba.njit(cache=True, nogil=True)
def _ask_compiled(words: Any, place: Any) -> None:
    _prefetch(words, place)


def _ask(words: Any, place: Any) -> None:
    pass


ask_for = _ask if numba.config.DISABLE_JIT else _ask_compiled


@numba.njit(cache=True, nogil=True)
def scan_groups(
    words: Any, end: Any, groups: Any, prices: Any, sizes: Any, others: Any, places: Any, state: Any
) -> Any:
    """Cut whole records of words int64[n] into groups, as far as they end at `end`; False at an impossible length.

    A group is a run of BOOK_DELTA of one event, equal but for price, size, side, ordinal and source index, bids
    before asks, ordinals and source indexes rising by a step (0 or 1) that holds for the block, flags equal but for
    the last record's. groups int64[10, c], prices and sizes int64[c], others and places int64[d] (word of each other
    record, the group before which it stands) and state int64[STATES] are the caller's, written; capacities are those
    of the smallest records. state goes from call to call, in the beginning zeros but for STEP and INSTRUMENT, -1; its
    first words are the word reached, groups, rows, others, steps (STEP_ORDINAL, STEP_SOURCE; -1: no group has two
    rows), several instruments, ORDER records. The group that is open stays in registers until it ends (the last one
    is written at the end of each call). Some 3 ns a row whose words are in the cache.
    """
    position, count, rows, beside = (
        np.uint64(state[0]),
        np.uint64(state[1]),
        np.uint64(state[2]),
        np.uint64(state[3]),
    )
    step, several, orders, instrument = state[4:8]
    ahead = np.uint64(AHEAD_WORDS)
    one, ten, stop, total = np.uint64(1), np.uint64(DELTA_WORDS), np.uint64(end), np.uint64(len(words))
    in_event, size, line, source, final, inner, ordinal_step, source_step = state[8:16]
    ts_recv, ts_event, sequence, first, previous, bids, asks = state[16:23]
    good = True
    while position < stop:
        head = words[position]
        length = head & LENGTH_MASK
        after = position + np.uint64(length >> 3)
        if length < 48 or length & 7 or after > total:
            good = False
            break
        if after > stop:
            break
        ask_for(words, position + ahead)
        ask_for(words, position + ahead + np.uint64(8))
        flags, side = (head >> 48) & 0xFF, (head >> 56) & 0xFF
        if head & HEAD_MASK == DELTA_HEAD and side in (BID, ASK):
            mine, origin = words[position + np.uint64(4)], words[position + np.uint64(3)]
            joins = (
                size > 0
                and final & LAST == 0
                and (size == 1 or final == inner)
                and words[position + np.uint64(1)] == ts_recv
                and words[position + np.uint64(2)] == ts_event
                and words[position + np.uint64(5)] == sequence
                and words[position + np.uint64(8)] == first
                and words[position + np.uint64(9)] == previous
                and (side == ASK or asks == 0)
            )
            if joins and step < 0:
                ordinals, sources = (mine - line) >> 48, origin - source
                if (mine - line) & 0xFFFFFFFFFFFF == 0 and (ordinals | sources) >> 1 == 0:
                    ordinal_step, source_step = ordinals, sources
                    step = ordinals | sources << 1
            if joins and mine == line + ((ordinal_step * size) << 48) and origin == source + source_step * size:
                if size == 1:
                    inner = final
                size += 1
            else:
                if size > 0:
                    groups[BIDS, count - one] = bids
                    groups[ASKS, count - one] = asks
                    groups[MARKS, count - one] = inner | final << 8 | (EVENT_LAST if final & LAST else 0)
                size, line, source, bids, asks = np.int64(1), mine, origin, np.int64(0), np.int64(0)
                ts_recv, ts_event, sequence = (
                    words[position + np.uint64(1)],
                    words[position + np.uint64(2)],
                    words[position + np.uint64(5)],
                )
                first, previous = words[position + np.uint64(8)], words[position + np.uint64(9)]
                groups[TS_RECV, count] = ts_recv
                groups[TS_EVENT, count] = ts_event
                groups[SOURCE_INDEX, count] = source
                groups[LINE, count] = line
                groups[SEQUENCE, count] = sequence
                groups[FIRST, count] = first
                groups[PREVIOUS, count] = previous
                count += one
                if instrument < 0:
                    instrument = line & LENGTH_MASK
                several |= np.int64(line & LENGTH_MASK != instrument)
            final = flags
            bids += np.int64(side == BID)
            asks += np.int64(side == ASK)
            prices[rows] = words[position + np.uint64(6)]
            sizes[rows] = words[position + np.uint64(7)]
            rows += one
            in_event = np.int64(flags & LAST == 0)
            if step < 0 or in_event == 0 or (size > 1 and final != inner):
                position = after
                continue
            # The records behind it that differ in price, size, ordinal and source index alone, and join for sure.
            run, mine, origin = after, line + ((ordinal_step * size) << 48), source + source_step * size
            next_line = ordinal_step << 48
            while run + ten <= stop:
                other = words[run] ^ head
                other |= words[run + one] ^ ts_recv
                other |= words[run + np.uint64(2)] ^ ts_event
                other |= words[run + np.uint64(3)] ^ origin
                other |= words[run + np.uint64(4)] ^ mine
                other |= words[run + np.uint64(5)] ^ sequence
                other |= words[run + np.uint64(8)] ^ first
                other |= words[run + np.uint64(9)] ^ previous
                if other != 0:
                    break
                ask_for(words, run + ahead)
                ask_for(words, run + ahead + np.uint64(8))
                prices[rows] = words[run + np.uint64(6)]
                sizes[rows] = words[run + np.uint64(7)]
                rows += one
                mine += next_line
                origin += source_step
                run += ten
            many = np.int64(run - after) // DELTA_WORDS
            if many:
                inner = final
            size += many
            bids += many * np.int64(side == BID)
            asks += many * np.int64(side == ASK)
            after = run
        else:
            if size > 0:
                groups[BIDS, count - one] = bids
                groups[ASKS, count - one] = asks
                groups[MARKS, count - one] = inner | final << 8 | (EVENT_LAST if final & LAST else 0)
                size = np.int64(0)
            others[beside] = np.int64(position)
            places[beside] = np.int64(count)
            beside += one
            orders += np.int64((head >> 32) & 0xFFFF == 34)
            if flags & LAST:
                if in_event:
                    groups[MARKS, count - one] |= EVENT_LAST
                in_event = np.int64(0)
        position = after
    if size > 0:
        groups[BIDS, count - one] = bids
        groups[ASKS, count - one] = asks
        groups[MARKS, count - one] = inner | final << 8 | (EVENT_LAST if final & LAST else 0)
    found = (np.int64(position), np.int64(count), np.int64(rows), np.int64(beside))
    for number in range(4):
        state[number] = found[number]
    known = (step, several, orders, instrument)
    for number in range(4):
        state[4 + number] = known[number]
    opened = (in_event, size, line, source, final, inner, ordinal_step, source_step)
    for number in range(8):
        state[8 + number] = opened[number]
    of_group = (ts_recv, ts_event, sequence, first, previous, bids, asks)
    for number in range(7):
        state[16 + number] = of_group[number]
    return good


@numba.njit(cache=True, nogil=True)
def side_votes(prices: Any, bids: Any, asks: Any, most: Any, votes: Any) -> None:
    """Count the sides with several rows, `most` of bids and of asks at most, and those whose prices fall.

    prices int64[n], bids and asks int64[g]; votes int64[4] is the caller's: bids, falling bids, asks, falling asks.
    """
    votes[:] = 0
    row = np.int64(0)
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            if rows > 1 and votes[2 * half] < most:
                votes[2 * half] += 1
                votes[2 * half + 1] += np.int64(prices[row] > prices[row + rows - 1])
            row += rows
        if votes[0] == most and votes[2] == most:
            break


@numba.njit(cache=True, nogil=True)
def gap_places(bids: Any, asks: Any, edges: Any, places: Any) -> None:
    """Write where the gaps of each part begin: places int64[c + 1], the caller's; the last one is their number."""
    for part in range(len(places)):
        places[part] = 0
    for group in range(len(bids)):
        for gaps in (bids[group] - 1, asks[group] - 1):
            for part in range(len(edges)):
                if gaps <= edges[part]:
                    break
                above = gaps - edges[part]
                places[part + 1] += above
                places[part] -= above * np.int64(part > 0)
    for part in range(1, len(places)):
        places[part] += places[part - 1]


@numba.njit(cache=True, nogil=True)
def price_steps(
    prices: Any,
    bids: Any,
    asks: Any,
    forms: Any,
    base: Any,
    edges: Any,
    parts: Any,
    firsts: Any,
    gaps: Any,
    places: Any,
) -> Any:
    """Write prices int64[n] as steps, group by group and side by side; return (number of firsts, least gap).

    A side's first price counts from the first of that side before (`base` at the start), each other from the one
    before it, in the side's walking order and direction. firsts and gaps int64[n] are the caller's, written; edges
    int64[c] parts the gaps by how many follow on that side, parts int64[p] is the part of one that so many follow, p
    the last edge; places int64[c] is where each part begins in `gaps` and, afterwards, ends. forms int64[2]:
    DESCENDING and REVERSED, of bids and asks. 1.5 ns a row: a branch for each part of a side cost more than a look
    at the table for each row.
    """
    row, first_count, least = np.uint64(0), np.uint64(0), np.int64(0x7FFFFFFFFFFFFFFF)
    bid_first, ask_first = base, base
    one, last, bulk = np.uint64(1), np.uint64(len(edges) - 1), np.int64(len(parts))
    for group in range(len(bids)):
        for half in range(2):
            rows = bids[group] if half == 0 else asks[group]
            if rows == 0:
                continue
            form, left = forms[half], rows - 1
            at, stride = (row + np.uint64(left), ~np.uint64(0)) if form & REVERSED else (row, one)
            before = prices[at]
            if half == 0:
                firsts[first_count] = before - bid_first
                bid_first = before
            else:
                firsts[first_count] = before - ask_first
                ask_first = before
            first_count += one
            sign = -1 if form & DESCENDING else 1
            if left > bulk:
                place = np.uint64(places[last])
                for _ in range(left - bulk):
                    at += stride
                    price = prices[at]
                    gap = sign * (price - before)
                    gaps[place] = gap
                    least = min(least, gap)
                    before = price
                    place += one
                places[last] = np.int64(place)
                left = bulk
            while left > 0:
                left -= 1
                at += stride
                price = prices[at]
                gap = sign * (price - before)
                part = np.uint64(parts[np.uint64(left)])
                place = np.uint64(places[part])
                gaps[place] = gap
                places[part] = np.int64(place + one)
                least = min(least, gap)
                before = price
            row += np.uint64(rows)
    return np.int64(first_count), least


@numba.njit(cache=True, nogil=True)
def expand_flags(marks: Any, bids: Any, asks: Any, out: Any) -> None:
    """Write every row's flags with F_LAST on the last row of each event: out u8[n] (the caller's)."""
    row = 0
    for group in range(len(bids)):
        mark = marks[group]
        for _ in range(bids[group] + asks[group] - 1):
            out[row] = mark & 0x7F
            row += 1
        out[row] = ((mark >> 8) & 0x7F) | (LAST if mark & EVENT_LAST else 0)
        row += 1


@numba.njit(cache=True, nogil=True)
def gather_others(words: Any, others: Any, places: Any, groups: Any, step: Any, cut: Any, out: Any) -> Any:
    """Copy the records at words others int64[d] to out int64[m] (the caller's); return the words written.

    From the header words 1-5 is taken what a record's own event makes expect: see
    :func:`chronicle.storage.codec.event_layout.expected_headers`, the plain form. cut u8[d] is 1 for a snapshot whose
    levels are left out, places int64[d] the groups before each record, groups int64[10, g].
    """
    size, many, ends, before = np.int64(0), groups.shape[1], np.int64(0), np.int64(-1)
    for number in range(len(others)):
        position, place = others[number], places[number]
        head = words[position]
        count = (head & LENGTH_MASK) >> 3
        if place != before:
            ends, before = np.int64(0), place
        closed = place == 0 or ends > 0 or (groups[MARKS, place - 1] >> 15) & 1 != 0
        ends += (head >> 55) & 1
        if cut[number]:
            count = np.int64(LEVELS_WORD)
            head = (head & ~LENGTH_MASK) | SNAPSHOT_BYTES
        out[size] = head
        for offset in range(1, 6):
            out[size + offset] = words[position + offset]
        group, rows = place, np.int64(0)
        if not closed or place >= many:
            group = place - 1
        if group >= 0:
            if group < place:
                rows = groups[BIDS, group] + groups[ASKS, group]
            out[size + 1] -= groups[TS_RECV, group]
            out[size + 2] -= groups[TS_EVENT, group]
            out[size + 3] -= groups[SOURCE_INDEX, group] + rows * (step >> 1)
            out[size + 4] -= groups[LINE, group] + ((rows * (step & STEP_ORDINAL)) << 48)
            out[size + 5] -= groups[SEQUENCE, group]
        for offset in range(6, count):
            out[size + offset] = words[position + offset]
        if head & HEAD_MASK == CHECK_HEAD:
            out[size + 8] -= out[size + 7]
        size += count
    return size


@numba.njit(cache=True, nogil=True)
def assemble(
    groups: Any, prices: Any, sizes: Any, step: Any, words: Any, starts: Any, places: Any, lengths: Any, out: Any
) -> None:
    """Write all records to out int64[n] (the caller's): deltas of groups, others where they stood.

    words int64[m] holds the other records, starts int64[d + 1] where each begins there, lengths int64[d] how many
    words it takes in `out` (more than stored where levels were left out). Everything must add up to `out`. Some 6 ns
    a row.
    """
    at, row, beside = np.int64(0), np.int64(0), 0
    count = groups.shape[1]
    for group in range(count + 1):
        while beside < len(places) and places[beside] == group:
            start, stored = starts[beside], starts[beside + 1] - starts[beside]
            for offset in range(stored):
                out[at + offset] = words[start + offset]
            out[at] = (words[start] & ~LENGTH_MASK) | (lengths[beside] << 3)
            at += lengths[beside]
            beside += 1
        if group == count:
            break
        mark, bids = groups[MARKS, group], groups[BIDS, group]
        rows = bids + groups[ASKS, group]
        ts_recv, ts_event = groups[TS_RECV, group], groups[TS_EVENT, group]
        source_index, line, sequence = groups[SOURCE_INDEX, group], groups[LINE, group], groups[SEQUENCE, group]
        first, previous = groups[FIRST, group], groups[PREVIOUS, group]
        for number in range(rows):
            flags = (mark >> 8) & 0xFF if number == rows - 1 else mark & 0xFF
            side = np.int64(BID) if number < bids else np.int64(ASK)
            out[at] = DELTA_HEAD | flags << 48 | side << 56
            out[at + 1] = ts_recv
            out[at + 2] = ts_event
            out[at + 3] = source_index + (step >> 1) * number
            out[at + 4] = line + (((step & 1) * number) << 48)
            out[at + 5] = sequence
            out[at + 6] = prices[row]
            out[at + 7] = sizes[row]
            out[at + 8] = first
            out[at + 9] = previous
            at += DELTA_WORDS
            row += 1
