"""Replay: the events of many instruments in order of time, at any pace, from any place."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import REDUNDANT_STEP, Lane, lanes_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.events import LaneEvents
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ConfigError
from chronicle.core.layout import INT64_MIN, NONE
from chronicle.core.records import Record

__all__ = ["Event", "Order", "Replay", "event_lanes"]

CHANNELS = ("book", "trade", "quote")
REORDER_NS = 10 * 10**9
"""How long an event is held back for earlier ones when the venue's time orders them."""
Order = Literal["ts_recv", "ts_event"]


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


class Replay:
    """The events in [start, end), an iterator that seeks; made by :meth:`Store.replay`.

    By ``ts_recv`` equal times come by symbol, channel and lane as given. By ``ts_event`` an event is held back for
    `reorder_ns` of receive time, so that earlier ones overtake it; one that is later than that comes at once and is
    counted in `late`. An event without the venue's time counts by its receive time. The range is on
    ``ts_recv`` always.

    Attributes
    ----------
    position : int
        ``ts_recv`` of the event that came last; NONE (-1) before the first.
    late : int
        Events that came out of order (by ``ts_event`` only).
    speed : float or None
        Events wait as long as they were apart, divided by this; None: no waiting. May be set at any time.
    """

    def __init__(
        self,
        shelf: Shelf,
        symbols: Sequence[str],
        start: int | None,
        end: int | None,
        *,
        channels: Sequence[str] = CHANNELS,
        speed: float | None = None,
        order: Order = "ts_recv",
        reorder_ns: int = REORDER_NS,
        clock: Clock | None = None,
    ) -> None:
        if order not in ("ts_recv", "ts_event"):
            raise ConfigError(f"events have no order {order!r}", expected="ts_recv | ts_event", found=order)
        wrong = [channel for channel in channels if channel not in CHANNELS]
        if wrong or not channels:
            raise ConfigError("a replay has events of other channels", expected=" | ".join(CHANNELS), found=wrong)
        if reorder_ns < 0:
            raise ConfigError("events cannot be held back for less than nothing", expected=">= 0", found=reorder_ns)
        self._shelf, self._symbols, self._channels = shelf, tuple(symbols), tuple(channels)
        self._start, self._end, self._order, self._reorder_ns = start, end, order, reorder_ns
        self._clock = clock or SystemClock()
        self.position, self.late = NONE, 0
        self.speed = speed
        self._events = self._from(start)

    @property
    def speed(self) -> float | None:
        """How many times faster than life; None: as fast as they can be read."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        if speed is not None and not speed > 0:
            raise ConfigError("a replay needs a speed above 0", expected="> 0, or None for no waiting", found=speed)
        self._speed = speed
        self._origin: tuple[int, int] | None = None

    def __iter__(self) -> Replay:
        return self

    def __next__(self) -> Event:
        event = next(self._events)
        self._wait_for(event.ts_recv)
        self.position = event.ts_recv
        return event

    def seek(self, ts_recv: int) -> None:
        """Go on with the first event at or after `ts_recv` (ns), forwards or back, within the replay's range."""
        self._origin = None
        self._events = self._from(ts_recv if self._start is None else max(ts_recv, self._start))

    def batches(self, events: int = 1024) -> Iterator[list[Event]]:
        """Yield the events as lists of at most `events`, from where the replay stands.

        Raises
        ------
        ConfigError
            When a batch would hold none.
        """
        if events < 1:
            raise ConfigError("a batch needs at least one event", expected=">= 1", found=events)
        while batch := list(islice(self, events)):
            yield batch

    def _from(self, start: int | None) -> Iterator[Event]:
        streams = [
            _lane_events(self._shelf, symbol, channel, lane, start, self._end)
            for symbol, channel, lane in event_lanes(self._shelf, self._symbols, self._channels)
        ]
        events = heapq.merge(*streams, key=lambda event: event.ts_recv)
        return events if self._order == "ts_recv" else self._by_venue_time(events)

    def _by_venue_time(self, events: Iterator[Event]) -> Iterator[Event]:
        held: list[tuple[int, int, Event]] = []
        given = INT64_MIN
        for number, event in enumerate(events):
            stamp = event.ts_event if event.ts_event > 0 else event.ts_recv
            if stamp < given:
                self.late += 1
            heapq.heappush(held, (stamp, number, event))
            # what is held is earlier than all that may still come, but for those that are late
            while held and (held[0][0] < given or held[0][2].ts_recv + self._reorder_ns <= event.ts_recv):
                stamp, _, first = heapq.heappop(held)
                given = max(given, stamp)
                yield first
        while held:
            yield heapq.heappop(held)[2]

    def _wait_for(self, ts_recv: int) -> None:
        """Hold an event back until its time, on a clock that never steps."""
        if self._speed is None:
            return
        now = self._clock.monotonic_ns()
        if self._origin is None:
            self._origin = (ts_recv, now)
        due = self._origin[1] + int((ts_recv - self._origin[0]) / self._speed)
        if due > now:
            self._clock.sleep_ns(due - now)


def event_lanes(
    shelf: Shelf, symbols: Sequence[str], channels: Sequence[str] = CHANNELS
) -> list[tuple[str, str, Lane]]:
    """Return the queues that hold events of `symbols`, redundant lines left out."""
    return [
        (symbol, channel, lane)
        for symbol in symbols
        for channel in channels
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
