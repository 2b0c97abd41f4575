"""Tail: the events of many instruments from history to the live end, and on as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from chronicle.access.opened.lanes import Lane
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.replay import Event, event_lanes
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.cursor import Cursor
from chronicle.core.layout import INT64_MIN
from chronicle.core.source import SegmentSource

__all__ = ["tail"]

POLL_NS = 1_000_000
"""How long a tail rests when nothing new is committed."""
LOOK_NS = 1_000_000_000
"""How often it looks for queues that were not there before."""
WINDOW_BYTES = 64 * 1024


def tail(
    source: SegmentSource,
    names: Callable[[], list[str]],
    start: int | None,
    *,
    timeout_ns: int | None = None,
    stopped: Callable[[], bool] | None = None,
    clock: Clock | None = None,
) -> Iterator[Event]:
    """Yield the events from `start` on (None: what is committed from now on), and new ones as they come.

    What is already committed comes by ``ts_recv`` across all queues; live events come in the order in which they are
    seen, each queue's in its own. Instruments, channels and lanes that appear later are taken up, from `start` or
    from where the tail began.

    Parameters
    ----------
    names : callable
        The instruments that are asked for, as of now.
    timeout_ns : int, optional
        End after this long without a new event. A tail that itself stood still looks once more before it ends.
    stopped : callable, optional
        Asked at every rest; True ends the tail.
    """
    watch = clock or SystemClock()
    lines: dict[str, _Line] = {}
    floor = INT64_MIN if start is None else start
    floor = _take_up(source, names(), lines, None if start is None else start, floor)
    quiet_since = looked = watch.monotonic_ns()
    try:
        while True:
            now = watch.monotonic_ns()  # before the look: what was committed by then is seen by it
            for line in lines.values():
                line.pull()
            while (
                ready := min((line for line in lines.values() if line.held), key=_next_ts, default=None)
            ) is not None:
                yield ready.held.popleft()
                quiet_since = now
                ready.pull()
            if now - looked >= LOOK_NS:
                known = len(lines)
                _take_up(source, names(), lines, floor, floor)
                looked = now
                if len(lines) > known:
                    continue
            if (timeout_ns is not None and now - quiet_since >= timeout_ns) or (stopped is not None and stopped()):
                return
            watch.sleep_ns(POLL_NS)
    finally:
        for line in lines.values():
            line.close()


def _take_up(
    source: SegmentSource, symbols: list[str], lines: dict[str, _Line], start: int | None, floor: int
) -> int:
    """Add a line for each queue that has none, from `start` (None: its end); return the latest time that is there."""
    shelf = Shelf(source)
    for symbol, channel, lane in event_lanes(shelf, symbols):
        if lane.queue not in lines:
            infos = shelf.segments(lane.queue)
            lines[lane.queue] = _Line(source, symbol, channel, lane, start)
            floor = floor if start is not None or not infos else max(floor, infos[-1].ts_last)
    return floor


class _Line:
    """One queue under a tail."""

    def __init__(self, source: SegmentSource, symbol: str, channel: str, lane: Lane, start: int | None) -> None:
        self._symbol, self._channel, self._lane = symbol, channel, lane.number
        self._cursor = Cursor(source, lane.queue)
        self.held: deque[Event] = deque()
        if start is None:
            self._cursor.seek_end()
        else:
            self._cursor.seek_time(start)

    def pull(self) -> None:
        """Read the next window when nothing is held."""
        if self.held:
            return
        window = self._cursor.next_window(WINDOW_BYTES)
        if window is not None:
            events = window.events()
            self.held.extend(Event(self._symbol, self._channel, self._lane, tuple(records)) for records in events)

    def close(self) -> None:
        """Release the queue's segment."""
        self._cursor.close()


def _next_ts(line: _Line) -> int:
    return line.held[0].ts_recv
