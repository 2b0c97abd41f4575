"""Giving the records of a window to their streams: the plain ones by one kernel call, the others one event at a time.

A stream that is armed has handed its row to the kernel (:mod:`chronicle.etl.kernels.sweep`), which applies and writes
its plain events without coming back. What needs a decision comes back as the stream's code and how far it got; its
next event goes the long way, through :class:`Block` and the stream's ``take``, and the kernel is called again for the
rest. A stream that cannot be armed (a book in doubt, a queue that has records) goes the long way whole. Both
ways write the same records: the long way is the twin that tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from chronicle.etl.kernels.bars import sweep_bars
from chronicle.etl.kernels.grouping import Groups
from chronicle.etl.kernels.order_sweep import CHUNK_RECORDS
from chronicle.etl.kernels.row import BLOCKED, NOT_READY, TENDED
from chronicle.etl.kernels.sweep import sweep
from chronicle.etl.pipeline.window import RawWindow
from chronicle.etl.streams.stream import PlainStream

__all__ = ["Sweep"]

_CODES = TENDED - 1


class Sweep:
    """The kernel's arguments, and what is done with what it hands back.

    Parameters
    ----------
    groups : Groups
        The records by stream, as the last ``find`` left them.
    touch : callable
        Called with a stream before Python changes it.
    """

    def __init__(self, groups: Groups, touch: Callable[[PlainStream], None]) -> None:
        self._groups = groups
        self._touch = touch
        self._bars_from = 0
        self._scratch = np.empty(CHUNK_RECORDS + 1, dtype=np.int64)
        self._make(64)

    def _make(self, streams: int) -> None:
        self._rows = np.empty(streams, dtype=np.int64)
        self._reached = np.empty(streams, dtype=np.int64)
        self._stops = np.empty(streams, dtype=np.int64)
        self._codes = np.empty(streams, dtype=np.int64)

    def run(
        self,
        window: RawWindow,
        rows: list[int],
        stream_of: Callable[[int], PlainStream],
        candles: list[int],
    ) -> None:
        """Take the records of all groups, whose streams' `rows` are 0 where a line has none yet.

        The last of them are the streams that make candles of the trades in the groups `candles`. `stream_of` gives
        the stream of a group, made and begun where it must be.
        """
        count = len(rows)
        if count > len(self._rows):
            self._make(2 * count)
        self._rows[:count] = rows
        bounds, groups = self._groups.bounds, count - len(candles)
        self._bars_from = groups
        self._reached[:groups], self._stops[:groups] = bounds[:groups], bounds[1 : groups + 1]
        if candles:
            self._reached[groups:count] = bounds[candles]
            self._stops[groups:count] = self._stops[candles]
        left = self._call(window, 0, groups)
        if candles:
            left += self._call(window, groups, count)
        if not left:
            return
        for place in np.flatnonzero(self._codes[:count]).tolist():
            self._by_hand(window, place, stream_of(place))

    def _call(self, window: RawWindow, first: int, end: int) -> int:
        groups = self._groups
        if numba.config.DISABLE_JIT:  # addresses mean nothing to Python: everything goes the long way
            self._codes[first:end] = NOT_READY
            return end - first
        bars = first >= self._bars_from
        arguments = (
            window.words,
            window.starts,
            window.events,
            groups.chosen,
            self._stops,
            self._rows,
            self._reached,
            self._codes,
            first,
            end,
            window.raw_base,
        )
        left: int = sweep_bars(*arguments) if bars else sweep(*arguments, self._scratch)
        return left

    def _by_hand(self, window: RawWindow, place: int, stream: PlainStream) -> None:
        """Do what the kernel left: tend the queue, decide about events, until all are taken."""
        stop = int(self._stops[place])
        decided = -1
        while True:
            code = int(self._codes[place])
            if code & TENDED:
                stream.outlet.tend()
            code &= _CODES
            reached = int(self._reached[place])
            if reached == stop:
                break
            self._touch(stream)
            if code == BLOCKED:
                if reached == decided:
                    self._take(window, place, stream, stop)  # one after the other: they are of a kind
                    break
                reached = self._take(window, place, stream, self._event_end(window, reached, stop))
                decided = reached
                if reached == stop:
                    break
            if not stream.arm():
                self._take(window, place, stream, stop)
                break
            self._rows[place] = stream.row.address
            self._call(window, place, place + 1)
        self._codes[place] = 0

    def _event_end(self, window: RawWindow, at: int, stop: int) -> int:
        """Return where, in `chosen`, the event at `at` ends."""
        chosen, events = self._groups.chosen, window.events
        event = events[chosen[at]]
        while at < stop and events[chosen[at]] == event:
            at += 1
        return at

    def _take(self, window: RawWindow, place: int, stream: PlainStream, end: int) -> int:
        """Take a group's records up to `end` the long way."""
        stream.take(window.block(self._groups.chosen[int(self._reached[place]) : end]))
        self._reached[place] = end
        return end
