"""Following a queue in compiled code: a jitted handler sees each record some tens of ns after its commit.

Python comes in only between slices of some ms (so that Ctrl-C works and a roll is followed), never between records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chronicle.core.errors import ConfigError
from chronicle.core.kernels.following import STOPPED, TIMED_OUT, compiled_loop
from chronicle.core.scan import bad_word

if TYPE_CHECKING:
    from chronicle.core.tailer import Tailer

__all__ = ["follow_records"]

SLICE_NS = 10_000_000


def follow_records(tailer: Tailer, handler: Callable[..., int], state: Any, timeout_ns: int) -> int:
    """See :meth:`Tailer.follow`."""
    if not hasattr(handler, "py_func"):
        raise ConfigError(
            "a handler to follow with is a jitted function",
            expected="@numba.njit def handler(address, length, index, state) -> int",
            found=type(handler).__name__,
        )
    loop, scratch = compiled_loop(handler), np.zeros(2, dtype=np.int64)
    clock, cursor = tailer._clock, tailer.cursor
    deadline = clock.monotonic_ns() + timeout_ns
    first = tailer.index
    while True:
        if tailer.index != cursor.index:
            tailer.seek_index(tailer.index)
        place = cursor.live_place()
        if place is not None:  # the open segment: what is there, and what comes
            mapping, start, limit = place
            memory, base_offset, index = np.frombuffer(mapping.memory, dtype=np.uint8), 0, cursor.index
            until = min(deadline, clock.monotonic_ns() + SLICE_NS)
        elif (window := cursor.next_window()) is not None:  # a segment that has ended: handled without a look at time
            memory, base_offset = np.frombuffer(window.memory, dtype=np.uint8), window.offset
            start, index, limit, until = 0, window.base_index, len(window.memory), 1 << 62
        elif tailer.wait(min(SLICE_NS, max(deadline - clock.monotonic_ns(), 0))) or clock.monotonic_ns() < deadline:
            continue  # there was no segment, or an empty one: nothing to spin on
        else:
            return tailer.index - first
        position = np.array([start, index], dtype=np.int64)
        try:
            status = int(loop(memory.ctypes.data, position, limit, until, scratch.ctypes.data, state))
        finally:
            cursor.stand_at(base_offset + int(position[0]), int(position[1]))
            tailer.index = int(position[1])
        if status < 0:
            offset = -1 - status
            raise bad_word(base_offset + offset, int.from_bytes(memory[offset : offset + 8].tobytes(), "little"))
        # Segments that have ended are read whatever the time: their handler was called for old records, not for new.
        if status == STOPPED or (status == TIMED_OUT and clock.monotonic_ns() >= deadline):
            return tailer.index - first
