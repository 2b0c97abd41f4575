"""Asking a store again: backoff with jitter, and a breaker that leaves a sick store alone for a while.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the wait before attempt n is
uniform in [0, min(longest, first * 2^n)], so that many clients do not come back together.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import UnavailableError

__all__ = ["Breaker", "Patience"]

T = TypeVar("T")
MS: Final = 1_000_000


class Breaker:
    """Opens after `failures_max` failures in a row, then lets one trial through each `pause_ns`. Threads share it."""

    def __init__(self, location: str, clock: Clock, *, failures_max: int = 24, pause_ns: int = 30_000 * MS) -> None:
        self._location = location
        self._clock = clock
        self._failures_max = failures_max
        self._pause_ns = pause_ns
        self._failures = 0
        self._trial_ns = 0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the store is left alone at the moment."""
        return self._failures >= self._failures_max

    def enter(self) -> None:
        """Ask whether a request may be sent.

        Raises
        ------
        UnavailableError
            When the store is left alone.
        """
        with self._lock:
            if not self.is_open:
                return
            now = self._clock.monotonic_ns()
            if now < self._trial_ns:
                raise UnavailableError(
                    f"the store failed {self._failures} times in a row and is left alone for a while",
                    path=self._location,
                    hint=f"the next try is in {(self._trial_ns - now) / 1e9:.0f} s; nothing was lost",
                )
            self._trial_ns = now + self._pause_ns

    def succeeded(self) -> None:
        """Note that the store answered."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Note that it did not."""
        with self._lock:
            self._failures += 1
            if self._failures == self._failures_max:
                self._trial_ns = self._clock.monotonic_ns() + self._pause_ns


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and after which waits a request is sent again.

    Only :class:`UnavailableError` is tried again; every request that is sent through here may be sent twice.
    """

    attempts: int = 10
    first_ns: int = 50 * MS
    longest_ns: int = 10_000 * MS
    clock: Clock = field(default_factory=SystemClock)
    chance: random.Random = field(default_factory=random.Random)

    def ask(self, request: Callable[[], T], breaker: Breaker) -> T:
        """Return the answer of `request`.

        Raises
        ------
        UnavailableError
            When the last attempt failed too, or the breaker is open.
        """
        for attempt in range(self.attempts):
            breaker.enter()
            try:
                answer = request()
            except UnavailableError:
                breaker.failed()
                if attempt + 1 == self.attempts:
                    raise
                bound = min(self.longest_ns, self.first_ns << attempt)
                self.clock.sleep_ns(int(self.chance.random() * bound))
            else:
                breaker.succeeded()
                return answer
        raise AssertionError("attempts are at least one")
