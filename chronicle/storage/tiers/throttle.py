"""A bound on bytes a second, shared by threads."""

from __future__ import annotations

import threading

from chronicle.core.clock import Clock

__all__ = ["Throttle"]

NS_PER_SECOND = 1_000_000_000


class Throttle:
    """Lets `bytes_per_second` pass on average (0: all); who takes more than is due waits for it."""

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_ns = 0

    def take(self, count: int) -> None:
        """Wait until `count` bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock.monotonic_ns()
            begin = max(now, self._free_ns)
            self._free_ns = begin + count * NS_PER_SECOND // self._rate
        if begin > now:
            self._clock.sleep_ns(begin - now)
