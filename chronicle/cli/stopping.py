"""Orderly ends of long-running commands: SIGTERM and Ctrl-C set an event, a second Ctrl-C insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopper", "stopping"]

INTERRUPTED = 130


class Stopper:
    """Says when to stop, and why."""

    def __init__(self, wake: threading.Event | None = None) -> None:
        self.event = threading.Event()
        self.signal = 0
        self._wake = wake

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, else 0: SIGTERM is how one is asked to end well."""
        return INTERRUPTED if self.signal == signal.SIGINT else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        self.event.set()
        if self._wake is not None:
            self._wake.set()


@contextmanager
def stopping(wake: threading.Event | None = None) -> Iterator[Stopper]:
    """Yield a :class:`Stopper` that SIGINT and SIGTERM trigger; the old handlers come back at the end.

    `wake` is set as well: what the command waits on when it waits for other things too.
    """
    stopper = Stopper(wake)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stopper._note) for number in numbers]
    try:
        yield stopper
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
