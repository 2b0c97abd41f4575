"""Kernels over windows of raw records: indexing, gathering per stream, and the run of plain book events.

A window is ``words`` int64[n], the private copy of its bytes. Record layout in words (docs/format/queue.md):
0 length, kind, flags, side; 1 ts_recv; 2 ts_event; 3 source_index; 4 instrument, source, ordinal; 5 sequence;
6.. body (BOOK_DELTA: price, size, sequence_first, sequence_previous).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chronicle.etl.kernels.checks import book_checksum
from chronicle.etl.kernels.ladder import USED, apply_records
from chronicle.etl.kernels.levels import set_level, truncate

__all__ = ["advance", "apply_event", "fit", "gather", "in_sequence", "index_records", "proves"]

KIND_INSTRUMENT = 16
KIND_GAP = 18
KIND_CHECK = 19
KIND_BOOK_DELTA = 32
KIND_BOOK_SNAPSHOT = 33
KIND_ORDER = 34
FLAG_LAST_WORD = 128 << 48
LENGTH_MASK = 0xFFFFFFFF
CONNECTION_MASK = (1 << 12) - 1
NONE = -1
RULE_BINANCE_SPOT = 1
RULE_OKX_V5 = 2
RULE_COUNT = 3
RULE_BINANCE_FUTURES = 4
RULE_CONNECTION = 5
RULE_GROWING = 6
RULES_KNOWN = 7

# Registers of a book stream (int64[REGISTERS]).
LAST_SEQUENCE = 0
AFTER_SNAPSHOT = 1
DELTAS_SINCE = 2
SNAPSHOT_TS = 3
LAST_TS = 4
LAST_INDEX = 5
SEQUENCE_HELD = 6
NEEDED_ROOM = 7
CHECKS_PASSED = 8
CHECKED_TS = 9
CHECKED_INDEX = 10
REGISTERS = 11

# Limits of one run (int64[LIMITS]).
DEPTH = 0
RULE = 1
INTERVAL_NS = 2
DELTAS_MAX = 3
WORDS_MAX = 4
DAY_END = 5
RECORDS_MAX = 6
CHECK_RULE = 7
PRICE_EXPONENT = 8
SIZE_EXPONENT = 9
LIMITS = 10

VERDICT_PASSED = 1
GAP_WORDS = 12
DECISION_WORDS = 2 * GAP_WORDS + 11
"""Words that the decision path reserves beside an event (two GAP records, a snapshot's fixed part)."""


@numba.njit(cache=True, nogil=True)
def index_records(words: Any, starts: Any, heads: Any, events: Any, flagged: Any) -> int:
    """Fill starts, heads and events int64[m] (all of one length); return m.

    A head is kind << 48 | source << 32 | instrument, an event the number of the record's event. flagged int64[n]: how
    many records change definitions or lines (INSTRUMENT, STATUS, GAP, a BOOK_SNAPSHOT that came over no line:
    connection 0 of its raw queue), and their numbers. -1 where a length is impossible, -2 when `starts` is too short.
    O(records).
    """
    total = len(words)
    position, count, event = 0, 0, 0
    flagged[0] = 0
    while position < total:
        head = words[position]
        length = head & LENGTH_MASK
        step = length >> 3
        if length < 48 or length & 7 or position + step > total:
            return -1
        if count + 1 >= len(starts):
            return -2
        starts[count] = position
        kind = (head >> 32) & 0xFFFF
        where = words[position + 4] & ((1 << 48) - 1)
        heads[count] = kind << 48 | where
        events[count] = event
        if KIND_INSTRUMENT <= kind <= KIND_GAP or (kind == KIND_BOOK_SNAPSHOT and where >> 32 & CONNECTION_MASK == 0):
            flagged[0] += 1
            flagged[flagged[0]] = count
        event += 1 if head & FLAG_LAST_WORD else 0
        position += step
        count += 1
    return count


@numba.njit(cache=True, nogil=True)
def gather(
    words: Any, starts: Any, events: Any, chosen: Any, raw_base: int, out: Any, out_starts: Any, ends: Any
) -> int:
    """Copy the chosen records (int64[n], ascending) side by side with clean headers; return the event count.

    out int64[>= their words]; out_starts int64[n + 1]; ends int64[n]: for each event the record number after it.
    Headers: instrument 1, source 0, ordinal 0, source_index = raw index (`raw_base` negative: the position that the
    record carries), F_LAST where the next chosen record is of another raw event. O(words copied).
    """
    count = len(chosen)
    to, event_count = 0, 0
    for number in range(count):
        record = chosen[number]
        position = starts[record]
        size = (words[position] & LENGTH_MASK) >> 3
        for offset in range(size):
            out[to + offset] = words[position + offset]
        last = number + 1 == count or events[chosen[number + 1]] != events[record]
        head = out[to] & ~FLAG_LAST_WORD
        if last:
            head |= FLAG_LAST_WORD
            ends[event_count] = number + 1
            event_count += 1
        out[to] = head
        if raw_base >= 0:
            out[to + 3] = raw_base + record
        out[to + 4] = 1
        out_starts[number] = to
        to += size
    out_starts[count] = to
    return event_count


@numba.njit(cache=True, nogil=True)
def fit(out: Any, out_starts: Any, ends: Any, event: int, words_max: int, day_end: int, records_max: int) -> int:
    """Return the first event number from `event` that exceeds a limit of the open segment. O(events)."""
    start = ends[event - 1] if event > 0 else 0
    base = out_starts[start]
    while event < len(ends):
        first = ends[event - 1] if event > 0 else 0
        if (
            out_starts[ends[event]] - base > words_max
            or ends[event] - start > records_max
            or out[out_starts[first] + 1] >= day_end
        ):
            break
        event += 1
    return event


@numba.njit(cache=True, nogil=True)
def apply_event(levels: Any, counts: Any, out: Any, out_starts: Any, first: int, end: int) -> int:
    """Apply the BOOK_DELTA records of one event; room for them is there. Return how many there were."""
    deltas = 0
    for number in range(first, end):
        at = out_starts[number]
        head = out[at]
        if (head >> 32) & 0xFFFF == KIND_BOOK_DELTA:
            set_level(levels, counts, (head >> 56) & 0xFF, out[at + 6], out[at + 7])
            deltas += 1
    return deltas


@numba.njit(cache=True, nogil=True)
def advance(
    levels: Any,
    counts: Any,
    ladder: Any,
    registers: Any,
    limits: Any,
    out: Any,
    out_starts: Any,
    ends: Any,
    event: int,
) -> int:
    """Apply plain events of a book in good standing from `event` on; return the first one that needs a decision.

    The book is ``levels``, ``counts`` and a ``ladder`` (chronicle.etl.kernels.ladder; off where a CHECK_RULE or a
    DEPTH is set, which need the sorted arrays whole).

    Plain: BOOK_DELTA records (no negative sizes) and ORDER records, and one CHECK under CHECK_RULE (0: none) that
    passes, in sequence by the
    venue's rule, no snapshot due, inside the open segment's limits, and room in the arrays (else NEEDED_ROOM says how
    many levels the event may add). The rules are those of ``chronicle.core.sequencing``; a test holds the two
    together. An event whose CHECK fails is left to the caller with its deltas applied: to apply them once more
    changes nothing, because they carry whole sizes. O(levels touched).
    """
    rule = limits[RULE]
    registers[NEEDED_ROOM] = 0
    start = ends[event - 1] if event > 0 else 0
    base = out_starts[start]
    while event < len(ends):
        first = ends[event - 1] if event > 0 else 0
        end = ends[event]
        at = out_starts[first]
        ts_recv = out[at + 1]
        if (
            out_starts[end] - base > limits[WORDS_MAX]
            or end - start > limits[RECORDS_MAX]
            or ts_recv >= limits[DAY_END]
        ):
            break
        if registers[DELTAS_SINCE] >= limits[DELTAS_MAX] or ts_recv - registers[SNAPSHOT_TS] >= limits[INTERVAL_NS]:
            break
        deltas, delta_at, check_at, plain = 0, NONE, NONE, True
        for number in range(first, end):
            kind = (out[out_starts[number]] >> 32) & 0xFFFF
            if kind == KIND_BOOK_DELTA:
                if deltas == 0:
                    delta_at = out_starts[number]
                if out[out_starts[number] + 7] < 0:
                    plain = False
                    break
                deltas += 1
            elif kind == KIND_CHECK and check_at == NONE and deltas:
                check_at = out_starts[number]
            elif kind != KIND_ORDER:
                plain = False
                break
        if not plain:
            break
        if check_at != NONE and (
            limits[CHECK_RULE] == 0
            or out[check_at + 6] & 0xFF != limits[CHECK_RULE]
            or out_starts[end] - base + DECISION_WORDS > limits[WORDS_MAX]
        ):
            break
        if deltas:
            sequence = out[delta_at + 5]
            if rule != 0 and not in_sequence(
                rule,
                registers[LAST_SEQUENCE],
                registers[AFTER_SNAPSHOT],
                out[delta_at + 8],
                sequence,
                out[delta_at + 9],
            ):
                break
            used = ladder[2]
            room = max(counts[0] + used[USED], counts[1] + used[USED + 1]) + deltas
            if room > levels.shape[1]:
                registers[NEEDED_ROOM] = room
                break
            apply_records(levels, counts, ladder, out, out_starts, first, end)
            truncate(levels, counts, limits[DEPTH])
            if check_at != NONE:
                computed = book_checksum(
                    limits[CHECK_RULE], levels, counts, limits[PRICE_EXPONENT], limits[SIZE_EXPONENT]
                )
                if computed != out[check_at + 7]:
                    break
                out[check_at + 6] = limits[CHECK_RULE] | VERDICT_PASSED << 8
                out[check_at + 8] = computed
                registers[CHECKS_PASSED] += 1
                registers[CHECKED_TS] = ts_recv
                registers[CHECKED_INDEX] = out[at + 3]
            if sequence != NONE:
                if proves(rule, out[delta_at + 9]) and registers[LAST_SEQUENCE] != NONE:
                    registers[SEQUENCE_HELD] = 1
                registers[LAST_SEQUENCE] = sequence
            registers[AFTER_SNAPSHOT] = 0
            registers[DELTAS_SINCE] += deltas
            registers[LAST_TS] = ts_recv
            registers[LAST_INDEX] = out[out_starts[end - 1] + 3]
        event += 1
    return event


@numba.njit(cache=True, nogil=True)
def in_sequence(rule: int, last: int, after_snapshot: int, first: int, sequence: int, previous: int) -> bool:
    """Return whether the message is to be applied (Step.APPLY)."""
    if rule in (RULE_BINANCE_SPOT, RULE_BINANCE_FUTURES):
        if rule == RULE_BINANCE_FUTURES and previous != NONE:
            first = previous + 1
        if last == NONE or sequence <= last:
            return False
        if after_snapshot:
            return first <= last + 1
        return first == last + 1
    if rule == RULE_OKX_V5:
        return previous in (NONE, last) or last == NONE
    if rule == RULE_COUNT:
        return last == NONE or sequence == NONE or sequence == last + 1
    if rule in (RULE_CONNECTION, RULE_GROWING):
        return last == NONE or sequence == NONE or sequence > last
    return True


@numba.njit(cache=True, nogil=True)
def proves(rule: int, previous: int) -> bool:
    """Whether a message that is in sequence by `rule` shows that none was lost before it."""
    return bool(rule != 0 and rule != RULE_GROWING and (rule != RULE_OKX_V5 or previous != NONE))


def known_rule(rule: int) -> int:
    """Return `rule`, or 0 (no rule) for one of a later version: it judges nothing and proves nothing."""
    return rule if 0 <= rule < RULES_KNOWN else 0


def new_registers() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the registers of a new book stream."""
    values = np.zeros(REGISTERS, dtype=np.int64)
    values[LAST_SEQUENCE] = values[LAST_TS] = values[LAST_INDEX] = NONE
    return values
