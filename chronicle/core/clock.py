"""The only place that reads the time. Everything else is handed a :class:`Clock`."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "FakeClock", "SystemClock", "yield_to_threads"]


class Clock(Protocol):
    """Wall and monotonic time in ns, and sleeping."""

    def now_ns(self) -> int:
        """Return ns since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return ns of a clock that never steps."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait for `duration_ns`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        time.sleep(duration_ns / 1e9)


def yield_to_threads() -> None:
    """Let another thread that waits for the interpreter run now, not after the 5 ms that it would be let wait."""
    time.sleep(0)


class FakeClock:
    """A clock that moves only when told to; for tests and simulations."""

    def __init__(self, start_ns: int = 0) -> None:
        self.wall_ns = start_ns
        self.steady_ns = start_ns

    def now_ns(self) -> int:
        return self.wall_ns

    def monotonic_ns(self) -> int:
        return self.steady_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self.wall_ns += duration_ns
        self.steady_ns += duration_ns
