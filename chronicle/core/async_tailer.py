"""``async for record in queue.tailer()``: the one place in core that meets an event loop, imported when it is used.

The loop runs on while there is nothing to read: a :class:`Doorbell` wakes it. A reader that is behind gives way to
the loop's other tasks after every `BURST` events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from chronicle.core.doorbell import Doorbell
from chronicle.core.records import Record

if TYPE_CHECKING:
    import asyncio

    from chronicle.core.tailer import Tailer

__all__ = ["BURST", "follow"]

BURST = 256


async def follow(tailer: Tailer) -> AsyncIterator[Record]:
    """Yield the tailer's records as they come, without end."""
    import asyncio

    loop = asyncio.get_running_loop()
    bell: Doorbell | None = None
    served = 0
    try:
        while True:
            event = tailer.next_event()
            if event is None:
                bell = bell or Doorbell(tailer)
                await _ring(bell, loop)
                served = 0
                continue
            for record in event:
                yield record
            served += 1
            if served % BURST == 0:
                await asyncio.sleep(0)
    finally:
        if bell is not None:
            bell.close()


async def _ring(bell: Doorbell, loop: asyncio.AbstractEventLoop) -> None:
    """Wait for the bell; one descriptor, added and removed each time, so that no loop keeps a closed one."""
    rung = loop.create_future()

    def heard() -> None:
        if not rung.done():
            rung.set_result(None)

    loop.add_reader(bell.fileno(), heard)
    bell.arm()
    try:
        await rung
    finally:
        loop.remove_reader(bell.fileno())
    bell.answer()
