"""Plain events of a book in good standing, one at a time and by addresses.

The rules are those of :func:`chronicle.etl.kernels.events.advance`, which takes a block of events in arrays; random
streams are run through both and compared.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from chronicle.core.kernels.memory import as_pointer, peek, poke
from chronicle.etl.kernels.checks import book_checksum
from chronicle.etl.kernels.events import (
    AFTER_SNAPSHOT,
    CHECK_RULE,
    CHECKED_INDEX,
    CHECKED_TS,
    CHECKS_PASSED,
    DECISION_WORDS,
    DELTAS_MAX,
    DELTAS_SINCE,
    DEPTH,
    INTERVAL_NS,
    KIND_BOOK_DELTA,
    LAST_INDEX,
    LAST_SEQUENCE,
    LAST_TS,
    NONE,
    PRICE_EXPONENT,
    RULE,
    SEQUENCE_HELD,
    SIZE_EXPONENT,
    SNAPSHOT_TS,
    in_sequence,
    proves,
)
from chronicle.etl.kernels.ladder import ON, OVERFLOW, UPDATES, USED
from chronicle.etl.kernels.levels import truncate
from chronicle.etl.kernels.place import place_level
from chronicle.etl.kernels.row import CAPACITY, COUNTS, INVERSE, LEVELS, LIFT_AT, LIMITS, META, REGISTERS

__all__ = ["apply_event", "follows", "is_snapshot_due", "note_snapshot", "origin_of", "wants_care"]

RECENTRE_UPDATES = 4096
OVERFLOW_SHARE = 8
"""As chronicle.etl.books.ladder has them; a test compares the two."""


@numba.njit(cache=True, nogil=True)
def origin_of(words: Any, starts: Any, record: Any, raw_base: Any) -> Any:
    """Return a record's position: counted from `raw_base`, or what it carries itself where that is negative."""
    if raw_base >= 0:
        return raw_base + record
    return peek(words + 8 * peek(starts + 8 * record) + 24)


@numba.njit(cache=True, nogil=True)
def wants_care(row: Any) -> bool:
    """Whether a book has outgrown its sorted arrays, or strayed from its ladder's window."""
    meta = peek(row + 8 * META)
    if peek(meta + 8 * ON) == 0:
        counts = peek(row + 8 * COUNTS)
        return bool(max(peek(counts), peek(counts + 8)) >= peek(row + 8 * LIFT_AT))
    updates = peek(meta + 8 * UPDATES)
    return bool(updates >= RECENTRE_UPDATES and peek(meta + 8 * OVERFLOW) * OVERFLOW_SHARE > updates)


@numba.njit(cache=True, nogil=True)
def is_snapshot_due(row: Any, ts_recv: Any) -> bool:
    """Whether an own snapshot is to stand before the event at `ts_recv`."""
    registers, limits = peek(row + 8 * REGISTERS), peek(row + 8 * LIMITS)
    since_ts = peek(registers + 8 * SNAPSHOT_TS)
    if peek(registers + 8 * DELTAS_SINCE) >= peek(limits + 8 * DELTAS_MAX):
        return True
    return bool(since_ts > 0 and ts_recv - since_ts >= peek(limits + 8 * INTERVAL_NS))


@numba.njit(cache=True, nogil=True)
def note_snapshot(row: Any, ts_recv: Any) -> None:
    """Count anew from a snapshot at `ts_recv`."""
    registers = peek(row + 8 * REGISTERS)
    poke(registers + 8 * DELTAS_SINCE, 0)
    poke(registers + 8 * SNAPSHOT_TS, ts_recv)


@numba.njit(cache=True, nogil=True)
def follows(row: Any, deltas: Any, delta: Any, check: Any, room: Any) -> bool:
    """Whether an event may be applied: its numbers follow, the arrays hold it, its CHECK can be judged here.

    `delta`: address of its first delta, `check` of its CHECK (0: none), `room`: bytes left in the segment behind it.
    """
    if deltas == 0:
        return True
    registers, limits = peek(row + 8 * REGISTERS), peek(row + 8 * LIMITS)
    check_rule = peek(limits + 8 * CHECK_RULE)
    if check != 0 and (check_rule == 0 or peek(check + 48) & 0xFF != check_rule or room < 8 * DECISION_WORDS):
        return False
    rule, last = peek(limits + 8 * RULE), peek(registers + 8 * LAST_SEQUENCE)
    after = peek(registers + 8 * AFTER_SNAPSHOT)
    if rule != 0 and not in_sequence(rule, last, after, peek(delta + 64), peek(delta + 40), peek(delta + 72)):
        return False
    counts, meta = peek(row + 8 * COUNTS), peek(row + 8 * META)
    bids = peek(counts) + peek(meta + 8 * USED)
    asks = peek(counts + 8) + peek(meta + 8 * (USED + 1))
    return bool(max(bids, asks) + deltas <= peek(row + 8 * CAPACITY))


@numba.njit(cache=True, nogil=True)
def apply_event(
    row: Any, words: Any, starts: Any, chosen: Any, at: Any, end: Any, delta: Any, check: Any, raw_base: Any
) -> tuple[bool, int]:
    """Apply the event chosen[at:end], which follows; return (False when its CHECK fails, the checksum computed).

    Where a CHECK fails the deltas are applied; to apply them again changes nothing, because they carry whole sizes.
    """
    registers, limits = peek(row + 8 * REGISTERS), peek(row + 8 * LIMITS)
    ts_recv = peek(words + 8 * peek(starts + 8 * peek(chosen + 8 * at)) + 8)
    deltas = _place(row, words, starts, chosen, at, end)
    computed = 0
    depth = peek(limits + 8 * DEPTH)
    if depth > 0 or check != 0:
        levels = carray(as_pointer(peek(row + 8 * LEVELS)), (4, peek(row + 8 * CAPACITY)), np.int64)
        counts = carray(as_pointer(peek(row + 8 * COUNTS)), (2,), np.int64)
        truncate(levels, counts, depth)
        if check != 0:
            exponents = peek(limits + 8 * PRICE_EXPONENT), peek(limits + 8 * SIZE_EXPONENT)
            computed = book_checksum(peek(limits + 8 * CHECK_RULE), levels, counts, exponents[0], exponents[1])
            if computed != peek(check + 56):
                return False, 0
            poke(registers + 8 * CHECKS_PASSED, peek(registers + 8 * CHECKS_PASSED) + 1)
            poke(registers + 8 * CHECKED_TS, ts_recv)
            poke(registers + 8 * CHECKED_INDEX, origin_of(words, starts, peek(chosen + 8 * at), raw_base))
    sequence = peek(delta + 40)
    if sequence != NONE:
        held = proves(peek(limits + 8 * RULE), peek(delta + 72))
        if held and peek(registers + 8 * LAST_SEQUENCE) != NONE:
            poke(registers + 8 * SEQUENCE_HELD, 1)
        poke(registers + 8 * LAST_SEQUENCE, sequence)
    poke(registers + 8 * AFTER_SNAPSHOT, 0)
    poke(registers + 8 * DELTAS_SINCE, peek(registers + 8 * DELTAS_SINCE) + deltas)
    poke(registers + 8 * LAST_TS, ts_recv)
    poke(registers + 8 * LAST_INDEX, origin_of(words, starts, peek(chosen + 8 * (end - 1)), raw_base))
    return True, computed


@numba.njit(cache=True, nogil=True)
def _place(row: Any, words: Any, starts: Any, chosen: Any, at: Any, end: Any) -> Any:
    """Set the levels of the records chosen[at:end]; return how many there are."""
    meta = peek(row + 8 * META)
    inverse = carray(as_pointer(peek(row + 8 * INVERSE)), (1,), np.float64)[0]
    deltas = outside = 0
    for number in range(at, end):
        here = words + 8 * peek(starts + 8 * peek(chosen + 8 * number))
        head = peek(here)
        if (head >> 32) & 0xFFFF == KIND_BOOK_DELTA:
            outside += place_level(row, inverse, (head >> 56) & 0xFF, peek(here + 48), peek(here + 56))
            deltas += 1
    poke(meta + 8 * OVERFLOW, peek(meta + 8 * OVERFLOW) + outside)
    poke(meta + 8 * UPDATES, peek(meta + 8 * UPDATES) + end - at)
    return deltas
