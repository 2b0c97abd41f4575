"""What lets a test choose when time is up: a clock that is moved by hand, and lines that no late answer ends.

A machine that stands still for some seconds passes every short deadline. So a test that wants one to pass moves the
clock past it, and one that wants none to pass takes pings that wait for as long as a loaded machine may need.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from chronicle.core.clock import SystemClock
from chronicle.feed.connection import ConnectionSettings, Socket
from chronicle.feed.openers import default_opener

__all__ = ["MovedClock", "open_patiently"]

PATIENT_SECONDS = 600.0


class MovedClock(SystemClock):
    """The machine's clock, ahead by as much as it was moved."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns

    def move(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.ahead_ns += int(seconds * 1e9)


def open_patiently(url: str, settings: ConnectionSettings) -> AbstractAsyncContextManager[Socket]:
    """Open a line whose pings may be answered late: of the deadlines in `settings` only those of frames hold."""
    patient = replace(settings, read_deadline=PATIENT_SECONDS, open_deadline=PATIENT_SECONDS)
    return default_opener()(url, patient)
