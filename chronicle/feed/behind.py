"""What a live session reads of its own raw queue, behind the writer: holes in the venues' numbers, clocks behind."""

from __future__ import annotations

from typing import Final

from chronicle.core.errors import ChronicleError
from chronicle.core.queue import Queue
from chronicle.feed.clocks import ClockWatch
from chronicle.feed.holes import HoleCounts
from chronicle.feed.log import EventLog

__all__ = ["BehindWriter"]

HOLE_WINDOWS: Final = 4
"""Windows of raw records whose numbers are looked at in one tick."""


class BehindWriter:
    """Counts behind the writer of one raw queue, from its end on.

    Parameters
    ----------
    raw : Queue
        The raw queue that the session writes.
    holes : HoleCounts
        Counts holes in the venues' numbers.
    clocks : ClockWatch
        Measures how far our clock is behind a venue's.
    log : EventLog
        Is told of clocks, and why counting ended where it had to.
    """

    def __init__(self, raw: Queue, holes: HoleCounts, clocks: ClockWatch, log: EventLog) -> None:
        self._holes, self._clocks, self._log = holes, clocks, log
        self._tailer = raw.tailer()
        self._tailer.seek_end()
        self._failed = False

    def count(self) -> None:
        """Look at what was written since the last call, as far as a tick allows."""
        if self._failed:
            return
        try:
            for _ in range(HOLE_WINDOWS):
                window = self._tailer.next_window()
                if window is None:
                    return
                self._holes.take(window)
                for number in self._clocks.take(window):
                    behind = self._clocks.behind_ns[number] / 1e9
                    self._log.event("clock_behind", line=number, seconds=round(behind, 6))
        except ChronicleError as error:  # what is counted beside the stream must not end it
            self._log.event("holes_not_counted", reason=str(error))
            self._failed = True

    def close(self) -> None:
        """Count what is left within a tick, and let go of the queue."""
        self.count()
        self._tailer.close()
