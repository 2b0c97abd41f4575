"""Waiting for raw records: spin on the next commit words for a while, then sleep on the raw queue's futex.

The spin is compiled, holds no GIL, and sees a record some tens of ns after its commit; a sleeper is woken some tens
of us later. How long it spins is the operator's choice (``chronicle etl run --spin``): it takes a core meanwhile.

A shard of one live raw queue (the usual case) is woken by its writer. With several, it sleeps on the one that
delivered last and looks at the others in short slices; a raw queue whose control file cannot be written (read-only
media, another tier) is looked at in slices too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numba
import numpy as np

from chronicle.core.clock import Clock
from chronicle.core.control import Control
from chronicle.core.kernels.following import spin_any

__all__ = ["SPIN_NS", "SPIN_SLICE_NS", "RawWaiter"]

SPIN_NS = 100_000
"""Spun before the futex by default: about what a sleep and its wake cost on a busy machine."""
SPIN_SLICE_NS = 5_000_000
"""Between two looks at signals, at `stop`, and at what else a shard has to do."""
SLICE_NS = 50_000_000
SLICE_SHARED_NS = 2_000_000


class RawWaiter:
    """Sleeps until one of the raw queues under `home` gets a record, or a slice of time is over."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._controls: dict[str, Control | None] = {}
        self._last: str | None = None
        self._scratch = np.zeros(2, dtype=np.int64)

    def watch(self, raw_queue: str) -> None:
        """Include a raw queue."""
        if self._controls.get(raw_queue) is None:
            self._controls[raw_queue] = Control.open(self._home / raw_queue, writable=True)

    def delivered(self, raw_queue: str) -> None:
        """Note which raw queue had records last."""
        self._last = raw_queue

    def spin(self, addresses: Sequence[int], deadline_ns: int, clock: Clock) -> bool:
        """Spin until one of the commit words at `addresses` is set, or until `deadline_ns` (monotonic).

        Return whether it is worth another look instead of a sleep: not where there is nothing to spin on.
        """
        if numba.config.DISABLE_JIT or not addresses or clock.monotonic_ns() >= deadline_ns:
            return False  # (addresses mean nothing to Python)
        spin_any(np.array(addresses, dtype=np.int64), deadline_ns, self._scratch.ctypes.data)
        return True

    def announce(self) -> int:
        """Tell the writer that we are about to sleep; whoever calls looks for records once more after this."""
        control = self._chosen()
        return control.announce() if control is not None else 0

    def wait(self, announced: int, stop: Event) -> None:
        """Sleep until a record comes behind :meth:`announce`, at most a slice; `stop` is seen after it."""
        control = self._chosen()
        shared = len(self._controls) > 1
        if control is None:
            stop.wait(SLICE_SHARED_NS / 1e9)
        elif not stop.is_set():
            control.wait(announced, SLICE_SHARED_NS if shared else SLICE_NS)

    def _chosen(self) -> Control | None:
        if self._last is not None:
            return self._controls.get(self._last)
        return next(iter(self._controls.values()), None)
