"""The three watermarks of a queue: how far its records survive the process, power, and the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chronicle.core.clock import Clock
from chronicle.core.control import Control
from chronicle.core.durability import Durability
from chronicle.core.errors import RangeError, StateError
from chronicle.core.layout import CONTROL_SYNCED_OFFSET, CONTROL_TIERED_OFFSET, SegmentState
from chronicle.core.media import is_memory
from chronicle.core.queue_folder import QueueFolder

__all__ = ["Watermarks", "mark_tiered", "read_watermarks", "wait_synced"]

WAIT_SLICE_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Indexes: records below `committed` survive the process, below `synced` power, below `tiered` the machine."""

    committed: int
    synced: int
    tiered: int

    def to_dict(self) -> dict[str, int]:
        """Return plain values."""
        return asdict(self)


def read_watermarks(queue: QueueFolder) -> Watermarks:
    """Read all three. Synced and tiered are lower bounds: a lost control page makes them smaller, never larger."""
    control = Control.open(queue.path, writable=False)
    synced = 0
    if _can_sync(queue):
        marked = queue.tail_mark().next_base_index
        sealed = 0
        for info in queue.segments():
            if info.state is not SegmentState.SEALED:
                break
            sealed = info.end_index
        synced = max(marked, sealed, control.get(CONTROL_SYNCED_OFFSET) if control else 0)
    tiered = control.get(CONTROL_TIERED_OFFSET) if control else 0
    committed = queue.end_index()
    return Watermarks(committed, min(synced, committed), min(tiered, committed))


def mark_tiered(queue: QueueFolder, index: int) -> int:
    """Raise the tiered watermark to `index` (never lower it); return where it stands.

    Raises
    ------
    RangeError
        When such records were never committed.
    StateError
        When the control page cannot be written here.
    """
    end = queue.end_index()
    if not 0 <= index <= end:
        raise RangeError("records that are not there cannot be tiered", expected=f"0 to {end}", found=index)
    control = Control.open(queue.path, writable=True)
    if control is None:
        raise StateError("the queue's control page cannot be written", path=queue.path)
    control.set(CONTROL_TIERED_OFFSET, max(index, control.get(CONTROL_TIERED_OFFSET)))
    return control.get(CONTROL_TIERED_OFFSET)


def wait_synced(queue: QueueFolder, index: int, timeout_ns: int | None, clock: Clock) -> bool:
    """Wait until records below `index` survive power; return whether they do. See :meth:`Queue.wait_synced`.

    Raises
    ------
    StateError
        When the queue's level is ``shm`` or it lies in memory: no record of it ever survives power.
    """
    if not _can_sync(queue):
        raise StateError(
            "a queue of durability shm, or in memory, is never synced",
            path=queue.path,
            hint="create it buffered or fsync, on a disk",
        )
    control = Control.open(queue.path, writable=True)
    deadline = None if timeout_ns is None else clock.monotonic_ns() + timeout_ns
    while True:
        announced = control.announce() if control is not None else 0
        if read_watermarks(queue).synced >= index:
            return True
        remaining = WAIT_SLICE_NS if deadline is None else min(WAIT_SLICE_NS, deadline - clock.monotonic_ns())
        if remaining <= 0:
            return False
        if control is not None:
            control.wait(announced, remaining)
        else:
            clock.sleep_ns(remaining)


def _can_sync(queue: QueueFolder) -> bool:
    return Durability.of(queue.settings).can_sync and not is_memory(queue.path)
