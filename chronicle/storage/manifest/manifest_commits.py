"""Group commit: what several threads ask to be written at the same time becomes one durable transaction.

While one thread waits for the disk the others' wishes gather, and the next of them writes all of these (DeWitt and
others, "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984). A thread alone waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from chronicle.core.errors import ChronicleError

__all__ = ["Together"]

T = TypeVar("T")


class _Asked(Generic[T]):
    """One thread's wish. Its thread reads `done` and `error`; whoever writes sets them, under the turn."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.error: ChronicleError | None = None


class Together(Generic[T]):
    """What waits, and whose turn it is. Threads share it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Asked[T]] = []

    def do(self, item: T, write: Callable[[Sequence[T]], None]) -> None:
        """Write an item, with those of other threads that wait as well; return when it is written.

        `write` does all that it is given or nothing, and raises one of our errors if nothing.

        Raises
        ------
        ChronicleError
            When it was not. An item that cannot be written fails alone.
        """
        mine = _Asked(item)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                with self._lock:
                    taken, self._waiting = self._waiting, []
                try:
                    _write_all(taken, write)
                except BaseException:
                    with self._lock:  # (a mistake of ours, Ctrl-C): the others write what is theirs themselves
                        self._waiting[:0] = [asked for asked in taken if asked is not mine and not asked.done]
                    raise
        if mine.error is not None:
            raise mine.error


def _write_all(taken: list[_Asked[T]], write: Callable[[Sequence[T]], None]) -> None:
    try:
        write([asked.item for asked in taken])
    except ChronicleError as error:
        if len(taken) == 1:
            taken[0].done, taken[0].error = True, error
            return
        for asked in taken:
            _write_all([asked], write)
    else:
        for asked in taken:
            asked.done = True
