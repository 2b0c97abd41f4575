"""Limits of what is asked of a venue: a bucket of tokens, and a breaker for a service that fails.

Both are plain state and arithmetic over a clock that is passed in. Sources: the token bucket as in RFC 2697's meter;
the circuit breaker after M. Nygard, "Release It!": closed, open after failures in a row, half-open for one trial.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from chronicle.core.clock import Clock

__all__ = ["BreakerState", "CircuitBreaker", "TokenBucket"]

SECOND_NS: Final = 10**9


class TokenBucket:
    """Lets `rate` a second through, `burst` at once.

    Examples
    --------
    >>> from chronicle.core.clock import FakeClock
    >>> bucket = TokenBucket(FakeClock(), rate=2.0, burst=1)
    >>> bucket.take(), bucket.take()
    (0.0, 0.5)
    """

    def __init__(self, clock: Clock, *, rate: float, burst: int) -> None:
        self._clock = clock
        self._rate, self._burst = rate, float(burst)
        self._tokens = float(burst)
        self._filled_ns = clock.monotonic_ns()

    def take(self) -> float:
        """Take a token, on credit when there is none; return the seconds to wait before what it stands for."""
        now = self._clock.monotonic_ns()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_ns) / SECOND_NS * self._rate)
        self._filled_ns = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)


class BreakerState(IntEnum):
    """State of a circuit breaker, as the metrics number it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker:
    """Stops asking a service that fails, and tries it again one request at a time.

    After `failures_max` failures in a row it opens for `first_seconds`; then one request is let through. When that
    one fails too, it opens for twice as long, up to `last_seconds`.
    """

    def __init__(
        self, clock: Clock, *, failures_max: int = 5, first_seconds: float = 5.0, last_seconds: float = 300.0
    ) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._first_ns, self._last_ns = int(first_seconds * SECOND_NS), int(last_seconds * SECOND_NS)
        self._pause_ns = self._first_ns
        self._failures = 0
        self._open_until = 0
        self._trying = False
        self.open_count = 0

    @property
    def state(self) -> BreakerState:
        """What would happen to a request now."""
        if self._failures < self._failures_max:
            return BreakerState.CLOSED
        due = self._clock.monotonic_ns() >= self._open_until
        return BreakerState.HALF_OPEN if due and not self._trying else BreakerState.OPEN

    def allow(self) -> bool:
        """Return whether a request may be made; of a half-open breaker one at a time."""
        state = self.state
        if state == BreakerState.HALF_OPEN:
            self._trying = True
        return state != BreakerState.OPEN

    def wait_seconds(self) -> float:
        """Return the seconds until the next trial."""
        if self.state == BreakerState.CLOSED:
            return 0.0
        return max(0.0, (self._open_until - self._clock.monotonic_ns()) / SECOND_NS)

    def success(self) -> None:
        """Note an answer: all is well again."""
        self._failures, self._trying = 0, False
        self._pause_ns = self._first_ns

    def failure(self, *, pause_seconds: float = 0.0) -> None:
        """Note a failure; `pause_seconds` is what the service asked to wait (HTTP's Retry-After), which opens it."""
        was_closed = self._failures < self._failures_max
        self._failures = self._failures_max if pause_seconds > 0 else self._failures + 1
        if self._failures < self._failures_max:
            return
        if not was_closed:
            self._pause_ns = min(2 * self._pause_ns, self._last_ns)
        self._trying = False
        self.open_count += 1
        asked = min(int(pause_seconds * SECOND_NS), self._last_ns)
        self._open_until = self._clock.monotonic_ns() + max(self._pause_ns, asked)
