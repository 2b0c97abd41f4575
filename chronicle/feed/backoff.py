"""How long to wait before the next try: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["Backoff"]

FIRST_SECONDS: Final = 1.0
LAST_SECONDS: Final = 60.0


class Backoff:
    """Delays of 1, 2, 4 ... 60 s, each times 0.5 to 1.0, so that many clients do not return in step.

    Parameters
    ----------
    jitter : random.Random
        Source of the jitter.
    first, last : float
        Bounds in seconds.

    Examples
    --------
    >>> backoff = Backoff(random.Random(1), first=1.0, last=60.0)
    >>> [0.5 * 2**n <= backoff.next() <= 2**n for n in range(5)]
    [True, True, True, True, True]
    """

    def __init__(self, jitter: random.Random, *, first: float = FIRST_SECONDS, last: float = LAST_SECONDS) -> None:
        self._jitter = jitter
        self._first, self._last = first, last
        self._delay = first

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = self._delay
        self._delay = min(delay * 2.0, self._last)
        return delay * self._jitter.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start from the first delay again: the connection carried data."""
        self._delay = self._first
