"""Kernel over events of ORDER records: how far they are plain, before any of them is applied.

A block is ``out`` int64[n], ``out_starts`` int64[records + 1] and ``ends`` int64[events], as in
:mod:`chronicle.etl.kernels.events`; registers and limits are those of that file, and one register more.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.etl.kernels.events import (
    DAY_END,
    DECISION_WORDS,
    DELTAS_MAX,
    DELTAS_SINCE,
    INTERVAL_NS,
    KIND_ORDER,
    LAST_SEQUENCE,
    LIMITS,
    NONE,
    RECORDS_MAX,
    REGISTERS,
    RULE,
    RULE_COUNT,
    SNAPSHOT_TS,
    WORDS_MAX,
)

__all__ = ["plan_orders", "snapshot_is_due"]

CLEAR = 82
FLAG_MAYBE_BAD_WORD = 4 << 48

SNAPSHOT_ORDERS = REGISTERS
"""Orders in the last own snapshot."""
ORDER_REGISTERS = REGISTERS + 1
DOUBT = LIMITS
"""Limit: the book is in doubt, and what else speaks against it changes nothing."""
ORDER_LIMITS = LIMITS + 1


@numba.njit(cache=True, nogil=True)
def snapshot_is_due(
    since_ts: int, records: int, orders: int, interval_ns: int, records_max: int, ts_recv: int
) -> bool:
    """Return whether an own snapshot is due before an event at `ts_recv` (docs/format/queue.md, ORDER_SNAPSHOT)."""
    if records >= max(records_max, orders):
        return True
    return since_ts > 0 and ts_recv - since_ts >= interval_ns and records > 0 and 2 * records >= orders


@numba.njit(cache=True, nogil=True)
def plan_orders(registers: Any, limits: Any, out: Any, out_starts: Any, ends: Any, event: int) -> int:
    """Return the first event from `event` on that needs a decision before it is applied.

    Plain: ORDER records that clear nothing, none that the feed marked as doubtful (unless the book is in doubt
    already), in sequence where the venue counts, no snapshot due, inside the open segment's limits with room for two
    GAP records. Changes nothing. O(records).
    """
    start = ends[event - 1] if event > 0 else 0
    base = out_starts[start]
    since, last = registers[DELTAS_SINCE], registers[LAST_SEQUENCE]
    while event < len(ends):
        first = ends[event - 1] if event > 0 else 0
        end = ends[event]
        ts_recv = out[out_starts[first] + 1]
        if (
            out_starts[end] - base + DECISION_WORDS > limits[WORDS_MAX]
            or end - start > limits[RECORDS_MAX]
            or ts_recv >= limits[DAY_END]
            or snapshot_is_due(
                registers[SNAPSHOT_TS],
                since,
                registers[SNAPSHOT_ORDERS],
                limits[INTERVAL_NS],
                limits[DELTAS_MAX],
                ts_recv,
            )
        ):
            return event
        for number in range(first, end):
            at = out_starts[number]
            if (out[at] >> 32) & 0xFFFF != KIND_ORDER or out[at + 9] & 0xFF == CLEAR:
                return event
            if limits[DOUBT] == 0:
                if out[at] & FLAG_MAYBE_BAD_WORD:
                    return event
                sequence = out[at + 5]
                if limits[RULE] == RULE_COUNT and NONE not in (sequence, last) and not last <= sequence <= last + 1:
                    return event
                if sequence != NONE:
                    last = sequence
        since += end - first
        event += 1
    return event
