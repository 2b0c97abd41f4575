"""What every compiled append does: commit by one release store, write the seek entry by its rule, wake who waits."""

from __future__ import annotations

from typing import Any

from numba import njit

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.atomics import store_release
from chronicle.core.kernels.memory import advise, futex, peek, poke, poke_u32, wake_flag
from chronicle.core.layout import (
    CONTROL_FUTEX_OFFSET,
    CONTROL_WAITERS_OFFSET,
    PAGE_BYTES,
    ROLL_BYTES,
    SEEK_ENTRY_BYTES,
    SEEK_INTERVAL_BYTES,
    SEGMENT_SEEK_COUNT_OFFSET,
    Kind,
)
from chronicle.core.mapping import MADV_DONTNEED, MADV_POPULATE_WRITE
from chronicle.core.reserving import KEPT_BYTES, STEP_BYTES_MAX, STEP_BYTES_MIN
from chronicle.core.writer_state import offset_of

__all__ = ["NO_ROOM", "add_entry", "commit_event", "extend", "is_due", "room", "wake"]

NO_ROOM = -1

POSITION = offset_of("_position")
REACH = offset_of("_reach")
LIMIT = offset_of("_limit")
LIMIT_MAX = offset_of("_limit_max")
DATA_OFFSET = offset_of("_data_offset")
STEPS = offset_of("_steps")
LET_GO = offset_of("_let_go")
NEXT_INDEX = offset_of("next_index")
LAST_TS = offset_of("last_ts_recv")
CYCLE_END = offset_of("_cycle_end")
CLAMPED = offset_of("clamped_count")
ADDRESS = offset_of("_address")
LAST_ENTRY = offset_of("_last_entry")
SEEK_COUNT = offset_of("_seek_count")
SEEK_CAPACITY = offset_of("_seek_capacity")
SEEK_OFFSET = offset_of("_seek_offset")
GATE = offset_of("_gate")
CONTROL = offset_of("_control_address")
FUTEX_CALL = offset_of("_futex_call")
NAMES = offset_of("_names")
_SNAPSHOT = int(Kind.BOOK_SNAPSHOT)
_FUTEX_WAKE = 1
_ALL = 0x7FFFFFFF


@njit(cache=True, nogil=True)
def is_due(state: Any, position: Any, kind: Any) -> Any:
    """Whether the event at `position` gets a seek entry, by the rule of docs/format/queue.md."""
    return kind == _SNAPSHOT or position - peek(state + LAST_ENTRY) >= SEEK_INTERVAL_BYTES


@njit(cache=True, nogil=True)
def room(state: Any, length: Any, ts: Any, kind: Any) -> Any:
    """Return the position of an event of `length` bytes that needs nothing but its own bytes and perhaps an entry.

    NO_ROOM where anything else is due first: a roll, a clamp, a sync, the next segment. Nothing is touched.
    """
    position = peek(state + POSITION)
    if position + length > peek(state + REACH) or ts < peek(state + LAST_TS) or ts >= peek(state + CYCLE_END):
        return NO_ROOM
    if position >= peek(state + GATE) and is_due(state, position, kind):
        return NO_ROOM
    return position


@njit(cache=True, nogil=True)
def add_entry(state: Any, index: Any, position: Any, ts: Any, kind: Any) -> None:
    """Write a seek entry while there is room: its bytes first, then the count (release)."""
    count = peek(state + SEEK_COUNT)
    if count >= peek(state + SEEK_CAPACITY):
        return
    base = peek(state + ADDRESS)
    at = base + peek(state + SEEK_OFFSET) + count * SEEK_ENTRY_BYTES
    poke(at, index)
    poke(at + 8, position)
    poke(at + 16, ts)
    poke(at + 24, kind)
    store_release(base + SEGMENT_SEEK_COUNT_OFFSET, count + 1)
    poke(state + SEEK_COUNT, count + 1)
    poke(state + LAST_ENTRY, position)


@njit(cache=True, nogil=True)
def wake(state: Any) -> None:
    """Wake every waiting reader, if one raised the flag; the twin of ``Control.wake``."""
    control = peek(state + CONTROL)
    if control != 0 and wake_flag(control + CONTROL_WAITERS_OFFSET) != 0:
        poke_u32(control + CONTROL_WAITERS_OFFSET, 0)
        address = control + CONTROL_FUTEX_OFFSET
        poke_u32(address, wake_flag(address) + 1)
        futex(peek(state + FUTEX_CALL), address, _FUTEX_WAKE, _ALL, 0, 0, 0)


@njit(cache=True, nogil=True)
def extend(state: Any, end: Any) -> bool:
    """Reserve the open segment so that its records may reach `end`, where compiled code may; return whether it did.

    The twin of ``SegmentWriter._reserve`` for segments in memory (:mod:`chronicle.core.reserving`). Pages far behind
    the writer are let go from its map: they are the file's alone then. About a microsecond a page.
    """
    limit_max = peek(state + LIMIT_MAX)
    if peek(state + STEPS) == 0 or end > limit_max:
        return False
    base, offset = peek(state + ADDRESS), peek(state + DATA_OFFSET)
    step = min(max((end - offset) >> 1, STEP_BYTES_MIN), STEP_BYTES_MAX)
    start = (peek(state + LIMIT) + ROLL_BYTES) & -PAGE_BYTES
    stop = min((end + ROLL_BYTES + step + PAGE_BYTES - 1) & -PAGE_BYTES, limit_max + ROLL_BYTES)
    if advise(base + start, stop - start, MADV_POPULATE_WRITE) != 0:
        return False  # no memory: Python says so
    poke(state + LIMIT, stop - ROLL_BYTES)
    if peek(state + REACH) >= 0:
        poke(state + REACH, stop - ROLL_BYTES)
    behind = (peek(state + POSITION) - KEPT_BYTES) & -PAGE_BYTES
    let_go = peek(state + LET_GO)
    if behind > let_go:
        advise(base + let_go, behind - let_go, MADV_DONTNEED)
        poke(state + LET_GO, behind)
    return True


@njit(cache=True, nogil=True)
def commit_event(state: Any, position: Any, end: Any, head: Any, count: Any, ts: Any, kind: Any) -> Any:
    """Commit `count` records whose bytes stand at `position`, all but the first word; return the first's index."""
    index = peek(state + NEXT_INDEX)
    store_release(peek(state + ADDRESS) + position, head)
    poke(state + POSITION, end)
    poke(state + NEXT_INDEX, index + count)
    poke(state + LAST_TS, ts)
    if is_due(state, position, kind):
        add_entry(state, index, position, ts, kind)
    wake(state)
    return index
