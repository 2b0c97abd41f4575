"""A writer whose records nobody reads: the sweep writes there what a clean queue has already.

After a crash a queue is ahead of the checkpoint. Its records up to the tail must be made once more, because books,
registers and bars come to stand where they stood by making them; but they must not be written again. So the sweep
gets this writer's state in place of the queue's. All of a process' scratch writers share one piece of memory: it
stays in the cache, and each begins again at its start.
"""

from __future__ import annotations

import ctypes

import numpy as np

from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.core.writer_state import WriterState
from chronicle.etl.pipeline.row import address_of

__all__ = ["ScratchWriter"]

BYTES = 1 << 19
"""An event that does not fit goes the long way."""
GATE = 1 << 16
"""From here on the sweep asks for :meth:`ScratchWriter.begin_again`."""


class ScratchWriter(WriterState):
    """The state of a writer (see :class:`chronicle.core.writer_state.WriterState`) that keeps nothing.

    It has no seek index, no readers to wake, no end of a cycle and no segment.
    """

    __slots__ = ()
    _memory = np.zeros(0, dtype=np.uint8)

    def __init__(self) -> None:
        super().__init__()
        kind = type(self)
        if not kind._memory.size:
            kind._memory = np.zeros(BYTES, dtype=np.uint8)
        self._address = address_of(kind._memory)
        self._limit = self._limit_max = BYTES
        self._gate = GATE
        self._cycle_end, self.last_ts_recv = INT64_MAX, INT64_MIN

    @property
    def state(self) -> int:
        """Address of the state, for the sweep."""
        return ctypes.addressof(self)

    def begin_again(self) -> None:
        """Let the next records overwrite what is there."""
        self._position = self._last_entry = 0
