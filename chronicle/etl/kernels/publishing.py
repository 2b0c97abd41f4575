"""Showing a run of events that kernels wrote to their place in the mapped segment."""

from __future__ import annotations

from typing import Any

import numba

from chronicle.core.kernels.atomics import store_release
from chronicle.core.kernels.committing import ADDRESS, LAST_TS, NEXT_INDEX, POSITION, add_entry, is_due, wake
from chronicle.core.kernels.memory import peek, poke

__all__ = ["publish"]


@numba.njit(cache=True, nogil=True)
def publish(
    state: Any, position: Any, end: Any, head: Any, records: Any, ts_first: Any, ts_last: Any, kind: Any
) -> None:
    """Show a run of whole events whose bytes stand at `position`, all but the first word; as every batch append."""
    index = peek(state + NEXT_INDEX)
    due = is_due(state, position, kind)
    store_release(peek(state + ADDRESS) + position, head)
    poke(state + POSITION, end)
    poke(state + NEXT_INDEX, index + records)
    poke(state + LAST_TS, ts_last)
    if due:
        add_entry(state, index, position, ts_first, kind)
    wake(state)
