"""Orderly ends of long-running commands: SIGTERM and Ctrl-C set an event, a second Ctrl-C insists.

A signal's handler runs between any two steps of the main thread, also while that holds an event's lock to wait on it
or to look at it: setting the event there would wait for ever. So the handler only notes the number, in a queue whose
``put`` may interrupt itself, and a thread beside sets the event.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

__all__ = ["Stopper", "stopping"]

INTERRUPTED = 130


class Stopper:
    """Says when to stop, and why."""

    def __init__(self, wake: threading.Event | None = None) -> None:
        self.event = threading.Event()
        self.signal = 0
        self._wake = wake
        self._told: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._pass_on, name="chronicle-stopping", daemon=True)

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, else 0: SIGTERM is how one is asked to end well."""
        return INTERRUPTED if self.signal == signal.SIGINT else 0

    def start(self) -> None:
        """Begin to pass signals on to the event."""
        self._thread.start()

    def end(self) -> None:
        """Pass on what was noted, and no more."""
        self._told.put(0)
        self._thread.join()

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second Ctrl-C raises KeyboardInterrupt."""
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        self._told.put(number)

    def _pass_on(self) -> None:
        while self._told.get():
            self.event.set()
            if self._wake is not None:
                self._wake.set()


@contextmanager
def stopping(wake: threading.Event | None = None) -> Iterator[Stopper]:
    """Yield a :class:`Stopper` that SIGINT and SIGTERM trigger; the old handlers come back at the end.

    `wake` is set as well: what the command waits on when it waits for other things too.
    """
    stopper = Stopper(wake)
    stopper.start()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stopper.note) for number in numbers]
    try:
        yield stopper
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        stopper.end()
