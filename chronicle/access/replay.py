"""Replay and tail: the events of many instruments in order of time, from history to the live end."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from chronicle.access.cost import Cost
from chronicle.access.events import LaneEvents
from chronicle.access.lanes import REDUNDANT_STEP, Lane, lanes_of
from chronicle.access.segments import Shelf
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.cursor import Cursor
from chronicle.core.records import Record
from chronicle.core.source import SegmentSource

__all__ = ["Event", "replay", "tail"]

CHANNELS = ("book", "trade", "quote")
POLL_NS = 1_000_000
"""How long a tail rests when nothing new is committed."""
WINDOW_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """All records of one venue message in one channel of one instrument."""

    symbol: str
    channel: str
    lane: int
    records: tuple[Record, ...]

    @property
    def ts_recv(self) -> int:
        """Receive time, ns UTC."""
        return int(self.records[0].ts_recv)

    @property
    def ts_event(self) -> int:
        """The venue's time, ns UTC."""
        return int(self.records[-1].ts_event)


def replay(
    shelf: Shelf,
    symbols: list[str],
    start: int | None,
    end: int | None,
    *,
    speed: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Event]:
    """Yield the events in [start, end) by ``ts_recv``; equal times by symbol, channel and lane as given."""
    streams = [
        _lane_events(shelf, symbol, channel, lane, start, end) for symbol, channel, lane in _lanes(shelf, symbols)
    ]
    pace = _Pace(speed, clock or SystemClock()) if speed is not None else None
    for event in heapq.merge(*streams, key=lambda event: event.ts_recv):
        if pace is not None:
            pace.wait_for(event.ts_recv)
        yield event


class _Pace:
    """Holds events back until their time, on a clock that never steps."""

    def __init__(self, speed: float, clock: Clock) -> None:
        self._speed, self._clock = speed, clock
        self._origin: tuple[int, int] | None = None

    def wait_for(self, ts_recv: int) -> None:
        now = self._clock.monotonic_ns()
        if self._origin is None:
            self._origin = (ts_recv, now)
        due = self._origin[1] + int((ts_recv - self._origin[0]) / self._speed)
        if due > now:
            self._clock.sleep_ns(due - now)


def _lanes(shelf: Shelf, symbols: list[str]) -> list[tuple[str, str, Lane]]:
    return [
        (symbol, channel, lane)
        for symbol in symbols
        for channel in CHANNELS
        for lane in lanes_of(shelf, symbol, channel, fresh=True)
        if lane.number < REDUNDANT_STEP
    ]


def _lane_events(
    shelf: Shelf, symbol: str, channel: str, lane: Lane, start: int | None, end: int | None
) -> Iterator[Event]:
    infos = [info for info in shelf.segments(lane.queue, fresh=True) if start is None or info.ts_last >= start]
    if not infos:
        return
    offset, index, _ = shelf.open(infos[0]).span(start, None)
    for records in LaneEvents(shelf, infos, 0, offset, index, Cost()):
        if end is not None and records[0].ts_recv >= end:
            return
        if start is None or records[0].ts_recv >= start:
            yield Event(symbol, channel, lane.number, tuple(records))


def tail(
    source: SegmentSource,
    symbols: list[str],
    start: int | None,
    *,
    timeout_ns: int | None = None,
    clock: Clock | None = None,
) -> Iterator[Event]:
    """Yield the events from `start` on (None: what is committed from now on), and new ones as they come.

    What is already committed comes by ``ts_recv`` across all queues; live events come in the order in which they
    are seen, each queue's in its own.
    """
    watch = clock or SystemClock()
    lines = [_Line(source, symbol, channel, lane, start) for symbol, channel, lane in _lanes(Shelf(source), symbols)]
    quiet_since = watch.monotonic_ns()
    try:
        while True:
            for line in lines:
                line.pull()
            while (ready := min((line for line in lines if line.held), key=_next_ts, default=None)) is not None:
                yield ready.held.popleft()
                quiet_since = watch.monotonic_ns()
                ready.pull()
            if timeout_ns is not None and watch.monotonic_ns() - quiet_since >= timeout_ns:
                return
            watch.sleep_ns(POLL_NS)
    finally:
        for line in lines:
            line.close()


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
