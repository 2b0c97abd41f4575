"""Waiting for what has no event of its own: bounded polling, with a bound that a loaded machine does not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["until"]

POLL_SECONDS = 0.01


async def until(condition: Callable[[], bool], what: str, seconds: float = 600.0) -> None:
    """Wait until `condition` holds; fail after so many polls as fit into `seconds`."""
    for _ in range(int(seconds / POLL_SECONDS)):
        if condition():
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"{what} did not come to pass in {seconds:g} s")
