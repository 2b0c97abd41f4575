"""A tailer reads a queue from any position at its own pace, waits for more, and may remember where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.control import Control
from chronicle.core.cursor import WINDOW_BYTES, Cursor, Window
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import ConfigError, ForeignFileError
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentInfo

__all__ = ["Tailer"]

TAILERS_FOLDER = "tailers"
WAIT_SLICE_NS = 5_000_000
_SPINS = 200
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _QueueSource:
    """One queue as a SegmentSource."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def queues(self, prefix: str = "") -> list[str]:
        return [self._queue.name] if self._queue.name.startswith(prefix) else []

    def segments(self, queue: str) -> list[SegmentInfo]:
        return self._queue.segments()

    def open(self, queue: str, number: int) -> LocalSegment:
        return self._queue.open_segment(number)


class Tailer:
    """Reads whole events in order. Iterating waits for new records for ever; :meth:`drain` stops at the end.

    Parameters
    ----------
    queue : Queue
        What to read.
    name : str, optional
        Persist the position under this name with :meth:`commit`; a new tailer of that name continues there.
    clock : Clock, optional
        For waiting.
    """

    def __init__(self, queue: Queue, name: str | None = None, *, clock: Clock | None = None) -> None:
        if name is not None and not (_NAME.fullmatch(name) and name.strip(".")):
            raise ConfigError(
                f"a tailer cannot be named {name[:80]!r}",
                expected="1 to 64 of A-Z a-z 0-9 _ . -",
                found=name[:80],
            )
        self.queue = queue
        self.name = name
        self._clock = clock or SystemClock()
        self._control = Control.open(queue.path, writable=True)
        start = None if name is None else _load_position(self._position_path(name))
        self.cursor = Cursor(_QueueSource(queue), queue.name, start)
        self._pending: Iterator[list[Record]] = iter(())
        self.index = self.cursor.index

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

    def drain(self) -> Iterator[Record]:
        """Yield the records committed so far and stop."""
        while (event := self.next_event()) is not None:
            yield from event

    def next_event(self) -> list[Record] | None:
        """Return the records of the next event, or None when nothing new is committed."""
        event = next(self._pending, None)
        if event is None:
            window = self.cursor.next_window()
            if window is None:
                return None
            self._pending = window.events()
            event = next(self._pending)
        self.index = event[-1].index + 1
        return event

    def next_window(self, max_bytes: int = WINDOW_BYTES) -> Window | None:
        """Return the next events as one zero-copy window, or None. Do not mix with half-consumed events."""
        if self.index != self.cursor.index:
            self.seek_index(self.index)
        window = self.cursor.next_window(max_bytes)
        if window is not None:
            self.index = window.end_index
        return window

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

    def lag(self) -> int:
        """Return how many committed records lie behind the position."""
        view = self.cursor.view
        if isinstance(view, LocalSegment) and view.is_current():
            _, end_index, rolled = view.extent()
            if not rolled or end_index > self.index:
                return end_index - self.index
        return self.queue.end_index() - self.index

    def seek_start(self) -> None:
        """Go to the first record kept."""
        self.cursor.seek_start()
        self._moved()

    def seek_end(self) -> None:
        """Go behind the last committed record."""
        self.cursor.seek_end()
        self._moved()

    def seek_index(self, index: int) -> None:
        """Go to the event that holds record `index`."""
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
        values: dict[str, Any] = {"index": self.index, "committed_ns": self._clock.now_ns()}
        publish_bytes(self._position_path(self.name), json.dumps(values).encode("ascii"))

    def close(self) -> None:
        """Release what is mapped."""
        self.cursor.close()

    def _moved(self) -> None:
        self._pending = iter(())
        self.index = self.cursor.index

    def _position_path(self, name: str) -> Path:
        return self.queue.path / TAILERS_FOLDER / f"{name}.json"


def _load_position(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_bytes())["index"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, "read the tailer's position", path) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ForeignFileError(f"cannot read the tailer's position: {error}", path=path) from error
