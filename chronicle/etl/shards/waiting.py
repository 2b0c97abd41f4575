"""Waiting for raw records: look a few times more, then sleep on the raw queue's futex.

A shard of one live raw queue (the usual case) is woken by its writer. With several, it sleeps on the one that
delivered last and looks at the others in short slices; a raw queue whose control file cannot be written (read-only
media, another tier) is looked at in slices too.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

from chronicle.core.control import Control

__all__ = ["SPINS", "RawWaiter"]

SPINS = 40
"""Looks at the raw queue before the futex: some 100 us, less than a wake costs on a busy machine."""
SLICE_NS = 50_000_000
SLICE_SHARED_NS = 2_000_000


class RawWaiter:
    """Sleeps until one of the raw queues under `home` gets a record, or a slice of time is over."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._controls: dict[str, Control | None] = {}
        self._last: str | None = None

    def watch(self, raw_queue: str) -> None:
        """Include a raw queue."""
        if self._controls.get(raw_queue) is None:
            self._controls[raw_queue] = Control.open(self._home / raw_queue, writable=True)

    def delivered(self, raw_queue: str) -> None:
        """Note which raw queue had records last."""
        self._last = raw_queue

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
