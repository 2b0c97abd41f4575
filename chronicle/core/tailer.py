"""A tailer reads a queue from any position at its own pace, waits for more, and may remember where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from chronicle.core import layout
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.control import Control
from chronicle.core.cursor import WINDOW_BYTES, Cursor, Window
from chronicle.core.errors import ConfigError, RangeError
from chronicle.core.lag import Lag, measure_lag
from chronicle.core.layout import INT64_MIN, NONE, WORD_KIND_SHIFT, Cause, Flag, GapState, Kind
from chronicle.core.local import QueueSource
from chronicle.core.queue import Queue
from chronicle.core.records import Record, pack_record
from chronicle.core.registry import TailerLock, check_name, load_position, store_position
from chronicle.core.retention import retirements
from chronicle.core.segment import LocalSegment

__all__ = ["Tailer"]

WAIT_SLICE_NS = 5_000_000
_SPINS = 200
_SPIN_SLICE = 100_000
"""Acquire loads between two looks at the clock: some ms, so that a signal (Ctrl-C) is noticed in time."""


class Tailer:
    """Reads whole events in order. Iterating waits for new records for ever; :meth:`drain` stops at the end.

    Where records were retired unread (:meth:`Queue.retain` with `force`), the next event is one synthetic GAP
    record: cause DROPPED, `first_missing` and `last_missing` the record indexes, index -1 since no segment holds
    it. Reading goes on at the first record kept.

    Parameters
    ----------
    queue : Queue
        What to read.
    name : str, optional
        Persist the position under this name with :meth:`commit`; a new tailer of that name continues there.
    clock : Clock, optional
        For waiting.

    Examples
    --------
    >>> import tempfile
    >>> from chronicle.core import Kind, Queue
    >>> folder = tempfile.TemporaryDirectory()
    >>> queue = Queue.create(folder.name + "/demo.q")
    >>> with queue.appender() as appender, queue.tailer("strategy") as tailer:
    ...     index = appender.append(Kind.STATUS, ts_recv=1_000)
    ...     tailer.lag()
    ...     [record.ts_recv for record in tailer.drain()]
    ...     tailer.commit()
    1
    [1000]
    >>> [(known.name, known.index, known.state) for known in queue.tailers()]
    [('strategy', 1, 'parked')]
    >>> folder.cleanup()
    """

    def __init__(self, queue: Queue, name: str | None = None, *, clock: Clock | None = None) -> None:
        self.queue = queue
        self.name = name
        self._clock = clock or SystemClock()
        self._control = Control.open(queue.path, writable=True)
        self._last_ts = NONE
        self._lock: TailerLock | None = None
        start = None
        if name is not None:
            check_name(name)
            self._lock = TailerLock.acquire(queue.path, name, opened_ns=self._clock.now_ns())
            start = load_position(queue.path, name)
        self._pending: Iterator[list[Record]] = iter(())
        self.cursor = Cursor(QueueSource(queue), queue.name)
        self._moved()
        try:
            if start is not None:
                self._continue_at(start)
            elif self._lock is not None and self._lock.held:
                queue.register_tailer(str(name))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tailer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        """Yield records as they come, waiting for new ones without end."""
        while True:
            event = self.next_event()
            if event is None:
                self.wait()
                continue
            yield from event

    def __aiter__(self) -> AsyncIterator[Record]:
        """Yield records as they come to an asyncio loop, which runs on while there are none."""
        from chronicle.core.async_tailer import follow

        return follow(self)

    def drain(self) -> Iterator[Record]:
        """Yield the records committed so far and stop."""
        while True:
            pending = self._pending
            for event in pending:
                last = event[-1]
                self.index = last.index + 1
                self._last_ts = last.ts_recv
                yield from event
                if self._pending is not pending:  # a seek between two records
                    break
            else:
                found = self.next_event()
                if found is None:
                    return
                yield from found

    def next_event(self) -> list[Record] | None:
        """Return the records of the next event, or None when nothing new is committed.

        After records were retired unread, the event is one GAP record (see the class).

        Raises
        ------
        CorruptionError
            When stored bytes are not what was committed or sealed.
        RangeError
            When the next records have moved to another tier: open the home with ``chronicle.open``.
        """
        event = next(self._pending, None)
        if event is None:
            window = self._next(WINDOW_BYTES)
            if window is None:
                return None
            if isinstance(window, Record):
                return [window]
            self._pending = window.events()
            event = next(self._pending)
        last = event[-1]
        self.index = last.index + 1
        self._last_ts = last.ts_recv
        return event

    def next_window(self, max_bytes: int = WINDOW_BYTES) -> Window | None:
        """Return the next events as one zero-copy window, or None. Do not mix with half-consumed events.

        Raises
        ------
        RangeError
            When the next records are no longer here: :meth:`next_event` tells what was retired, and goes on.
        """
        if self.index != self.cursor.index:
            self.seek_index(self.index)
        window = self.cursor.next_window(max_bytes)
        if window is not None:
            self.index = window.end_index
        return window

    def _next(self, max_bytes: int) -> Window | Record | None:
        try:
            window = self.cursor.next_window(max_bytes)
        except RangeError:
            if self._retired_end() <= self.index:
                raise
            return self._gap()
        if window is None and self.cursor.view is None and self._retired_end() > self.index:
            return self._gap()
        return window

    def _retired_end(self) -> int:
        return max((int(entry["first_index"]) for entry in retirements(self.queue.path)), default=0)

    def _gap(self) -> Record:
        """Step over what was retired and return the record that says so."""
        first, end = self.index, min(self._retired_end(), max(self.queue.first_index(), self.index))
        self.cursor.skip_to(end)
        self.index = end
        body = layout.GAP_BODY.pack(
            Cause.DROPPED, GapState.CLOSED, first, end - 1, self._last_ts, NONE, first - 1 if first else NONE
        )
        ts_recv = self._last_ts if self._last_ts != INT64_MIN else NONE
        return Record(pack_record(Kind.GAP, body, ts_recv=ts_recv, flags=Flag.LAST), NONE)

    def _continue_at(self, index: int) -> None:
        """Go where the stored position says, also when that is no longer here.

        What was retired is told by a GAP, the first event then. What moved to another tier is not read from here:
        the reader may still say how far it came there; reading it is a RangeError.
        """
        if index < self.cursor.index:
            self.cursor.skip_to(index)
            self.index = index
        else:
            self.seek_index(index)

    def wait(self, timeout_ns: int | None = None) -> bool:
        """Wait until something is committed behind the position; return whether it was.

        Spins briefly, then sleeps on the queue's futex (on read-only media: in slices of 5 ms).
        """
        deadline = None if timeout_ns is None else self._clock.monotonic_ns() + timeout_ns
        for _ in range(_SPINS):
            if self.lag() > 0:
                return True
        while True:
            control = self._control
            announced = control.announce() if control is not None else 0
            if self.lag() > 0:
                return True
            remaining = WAIT_SLICE_NS
            if deadline is not None:
                remaining = min(remaining, deadline - self._clock.monotonic_ns())
                if remaining <= 0:
                    return False
            if control is not None:
                control.wait(announced, remaining)
            else:
                self._clock.sleep_ns(remaining)

    def interrupt(self) -> None:
        """Make a :meth:`wait` in another thread look again now."""
        if self._control is not None:
            self._control.wake()

    def spin(self, timeout_ns: int) -> bool:
        """Wait as :meth:`wait`, burning a core: a compiled loop on the next commit word, woken within 0.1 us.

        It looks at the clock and at signals every few ms, so Ctrl-C works.
        """
        import numpy as np

        from chronicle.core.kernels.scan import spin_until

        deadline = self._clock.monotonic_ns() + timeout_ns
        while self.lag() <= 0:
            remaining = deadline - self._clock.monotonic_ns()
            if remaining <= 0:
                return False
            place = self.cursor.next_word()
            if place is None:
                self.wait(min(remaining, WAIT_SLICE_NS))
                continue
            mapping, offset = place
            address = np.uint64(mapping.address + offset)
            while (word := int(spin_until(address, _SPIN_SLICE))) == 0 and self._clock.monotonic_ns() < deadline:
                pass
            if word and (word >> WORD_KIND_SHIFT) & 0xFFFF != Kind.ROLL:
                return True  # without another look at the segment
        return True

    def follow(self, handler: Callable[..., int], state: Any, timeout_ns: int) -> int:
        """Run a jitted handler for each record as it is committed, for `timeout_ns`; return how many it saw.

        The fastest way to react: one compiled loop spins on the commit word and calls the handler, without the GIL
        and without Python between records. Every 10 ms it looks at signals, and goes on in the next segment.

        Parameters
        ----------
        handler : jitted function
            ``handler(address, length, index, state) -> int``. The record's bytes stand at `address` (see
            ``chronicle.core.kernels.memory.peek`` and docs/format/queue.md). Other than 0 ends the call behind the
            event that the record belongs to.
        state : object
            What the handler keeps, as an array; handed on as it is.

        Raises
        ------
        CorruptionError, RangeError
            As :meth:`next_window`.
        """
        from chronicle.core.following import follow_records

        return follow_records(self, handler, state, timeout_ns)

    def lag(self) -> int:
        """Return how many committed records lie behind the position."""
        view = self.cursor.view
        if isinstance(view, LocalSegment):
            _, end_index, rolled = view.extent()
            if end_index > view.header.base_index and (not rolled or end_index > self.index):
                return end_index - self.index
        return self.queue.end_index() - self.index

    def lag_figures(self) -> Lag:
        """Return the lag in records, bytes and ns of ts_recv."""
        return measure_lag(self.queue, self.index)

    def seek_start(self) -> None:
        """Go to the first record kept."""
        self.cursor.seek_start()
        self._moved()

    def seek_end(self) -> None:
        """Go behind the last committed record."""
        self.cursor.seek_end()
        self._moved()

    def seek_index(self, index: int) -> None:
        """Go to the event that holds record `index` (or wait there when it is the next to come).

        Raises
        ------
        RangeError
            When the index lies before the first record kept or behind the next to come.
        """
        if self.queue.segment_files() or index != self.queue.end_index():
            self.cursor.seek_index(index)
        self._moved()

    def seek_time(self, ts_recv: int) -> None:
        """Go to the first event at or after `ts_recv` (ns UTC)."""
        self.cursor.seek_time(ts_recv)
        self._moved()

    def commit(self) -> None:
        """Persist the position of a named tailer; it survives crashes.

        Raises
        ------
        ConfigError
            For a tailer without a name.
        """
        if self.name is None:
            raise ConfigError("only a named tailer can keep its position", hint="queue.tailer('strategy')")
        store_position(self.queue.path, self.name, self.index, now_ns=self._clock.now_ns())

    def close(self) -> None:
        """Release what is mapped, and the name. The position is what was committed."""
        self.cursor.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _moved(self) -> None:
        """Take over where the cursor was sent; in a queue without segments that is its end, which only it knows."""
        self._pending = iter(())
        if self.cursor.view is None and not self.queue.segment_files():
            self.cursor.skip_to(self.queue.end_index())
        self.index = self.cursor.index
