"""An event loop whose time jumps to the next timer when nothing else is to do: deadlines of minutes pass at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from chronicle.core.clock import FakeClock

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    loop: FakeTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("everything waits for something that no timer brings")
        if not ready and timeout:
            self.loop.clock.sleep_ns(max(int(timeout * 1e9), 1))
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Runs on a :class:`FakeClock`; nothing in it may wait for another thread or process."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self._start_ns = clock.steady_ns  # times near 0: a float of seconds since 1970 cannot tell nanoseconds
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return (self.clock.steady_ns - self._start_ns) / 1e9


def run(clock: FakeClock, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end in fake time."""
    loop = FakeTimeLoop(clock)
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
