"""A few threads that do the tasks of many owners: those of one in their order, one at a time.

A shard writes thousands of queues whose segments may all roll within a second (at midnight UTC they do). A thread for
each would meet the limits of containers; so the threads are the process' own, and an owner waits for its turn. They
live while there is work and some seconds longer. A forked process begins with none.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["THREADS_MAX", "Tasks"]

THREADS_MAX = 4
_LINGER_SECONDS = 2.0


class _Crew:
    """The threads, and the owners that have something to do; one lock guards all of it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ready: deque[Tasks] = deque()
        self.threads = 0
        self._idle = 0
        self._work = threading.Condition(self.lock)

    def call(self, tasks: Tasks) -> None:
        """Have a thread come to `tasks`; the caller holds the lock."""
        self.ready.append(tasks)
        if self._idle:
            self._work.notify()
        elif self.threads < THREADS_MAX:
            self._start()

    def _start(self) -> None:
        self.threads += 1
        try:
            threading.Thread(target=self._run, name="housekeeper", daemon=True).start()
        except RuntimeError:  # the host gives no more
            self.threads -= 1
            if not self.threads:
                raise

    def _run(self) -> None:
        try:
            while (tasks := self._next()) is not None:
                tasks.do_one()
                del tasks  # with it, perhaps, the map of what was sealed
        finally:
            with self.lock:
                self.threads -= 1
                if self.ready and not self.threads:  # a task broke off by an error of ours
                    self._start()

    def _next(self) -> Tasks | None:
        with self.lock:
            while not self.ready:
                self._idle += 1
                try:
                    if not self._work.wait(_LINGER_SECONDS) and not self.ready:
                        return None
                finally:
                    self._idle -= 1
            return self.ready.popleft()


_crew = _Crew()


def _begin_again() -> None:
    global _crew
    _crew = _Crew()


os.register_at_fork(after_in_child=_begin_again)


class Tasks:
    """What one owner has to do, in order, at most `limit` of it waiting.

    Parameters
    ----------
    limit : int
        :meth:`put` waits while so many tasks are not done.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._make()

    def _make(self) -> None:
        self._crew = _crew
        self._waiting: deque[Callable[[], None]] = deque()
        self._done = threading.Condition(self._crew.lock)

    def __len__(self) -> int:
        """Tasks that are not done."""
        return len(self._waiting)

    def put(self, task: Callable[[], None]) -> None:
        """Have `task` done soon, behind those before it."""
        if self._crew is not _crew:
            self._make()  # after a fork: what waited is the parent's
        with self._crew.lock:
            while len(self._waiting) >= self._limit:
                self._done.wait()
            self._waiting.append(task)
            if len(self._waiting) == 1:
                try:
                    self._crew.call(self)
                except BaseException:
                    self._waiting.clear()
                    raise

    def join(self) -> None:
        """Wait until everything that was put is done."""
        if self._crew is not _crew:
            self._make()
        with self._crew.lock:
            while self._waiting:
                self._done.wait()

    def do_one(self) -> None:
        """Do the first task; only a thread of the crew comes here."""
        try:
            self._waiting[0]()
        finally:
            with self._crew.lock:
                done = self._waiting.popleft()
                self._done.notify_all()
                if self._waiting:
                    self._crew.call(self)
            del done  # outside the lock: it may be the last to hold a map
