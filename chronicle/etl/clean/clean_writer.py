"""The sink of a shard on this host: clean queues in a home, few of them open at a time."""

from __future__ import annotations

import hashlib
import resource
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import chronicle.core.kernels.walking  # noqa: F401 - sealing and recovery walk segments by kernel once it is loaded
from chronicle.core.appender import Appender
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import WORD_FLAGS_SHIFT, WORD_LENGTH_MASK, Flag
from chronicle.core.local import LocalSource
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.etl.clean.block import Words
from chronicle.etl.clean.outlet import SIZES, Chunk, Tail
from chronicle.etl.clean.tails import stored_tail
from chronicle.etl.kernels.merging import split_positions
from chronicle.etl.pipeline.row import Row

__all__ = ["QueueSink", "queue_identity"]

MAPS_PER_QUEUE = 4
"""An appender holds three maps (segment, control page, lock); one more for what its book may take."""
MAPS_DEFAULT = 65_530
"""What Linux gives a process (vm.max_map_count)."""
DESCRIPTORS_KEPT_FREE = 256
OPEN_QUEUES_MIN = 64


def open_queues_max(*, need_descriptors: bool = False) -> int:
    """Return how many clean queues may be open at once; beyond them the longest unused is closed.

    To open a queue again costs about a millisecond: a shard of more queues than this is slow. Descriptors count only
    where writer locks keep them (decision 39); ``chronicle etl run`` raises their limit as far as the host lets it.
    """
    try:
        maps = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    except (OSError, ValueError):
        maps = MAPS_DEFAULT
    most = max(maps // MAPS_PER_QUEUE, OPEN_QUEUES_MIN)
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not need_descriptors or allowed == resource.RLIM_INFINITY:
        return most
    return min(max(allowed - DESCRIPTORS_KEPT_FREE, OPEN_QUEUES_MIN), most)


def queue_identity(queue: str, generation: int) -> bytes:
    """Return the id of a clean queue: a function of name and generation, so that equal input makes equal bytes."""
    return hashlib.blake2b(f"{queue}\n{generation}".encode(), digest_size=16, person=b"chronicle-clean").digest()


class _Open:
    """An appender, and the prologue of the segment that its next append may open."""

    __slots__ = ("appender", "first_index", "last", "pending", "queue", "row", "seen_index")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.row: Row | None = None
        self.pending: dict[str, Any] | None = None
        self.last: dict[str, Any] = {"schema": 1, "queue": queue.name, "book": None}
        self.appender: Appender = queue.appender(prologue=self.prologue)
        self.first_index = self.seen_index = self.appender.next_index

    def close(self) -> int:
        """Give up the queue; return how many records were written."""
        if self.row is not None:
            self.row.take_back()
        self.appender.close()
        return self.appender.next_index - self.first_index

    def prologue(self) -> dict[str, Any]:
        """Return the prologue that came with the chunk.

        Chunks say how much room they need, so that the queue opens no segment by itself; if it did, that segment's
        prologue would have no book, and a reader would begin at its first snapshot.
        """
        if self.pending is None:
            return {**self.last, "book": None, "orders": None}
        prologue, self.pending = self.pending, None
        self.last = prologue
        return prologue


class QueueSink:
    """Writes to queues under a home.

    Parameters
    ----------
    home : Path
        Where ``clean/...`` goes.
    generation : int
        Generation of queues that are created.

    Attributes
    ----------
    numbers : dict
        Number of each raw queue, where several are merged: positions are then written apart.
    """

    def __init__(self, home: Path, *, generation: int = 1) -> None:
        self.numbers: dict[str, int] = {}
        self._home = home
        self._generation = generation
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._tails: dict[str, Tail] = {}
        self._open_max = open_queues_max()
        self._written_before = 0

    @property
    def records_written(self) -> int:
        """Records written to all queues, by chunks and by the sweep."""
        own = sum(held.appender.next_index - held.first_index for held in self._open.values())
        return self._written_before + own

    def __enter__(self) -> QueueSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tail(self, queue: str) -> Tail:
        """Return where the queue ends on disk (remembered until something is written to it)."""
        found = self._tails.get(queue)
        if found is None:
            found = self._tails[queue] = stored_tail(self._home, queue, self.numbers)
        return found

    def queues(self) -> list[str]:
        """Return the clean queues of the home."""
        return LocalSource(self._home).queues("clean/")

    def write(self, queue: str, chunks: list[Chunk]) -> None:
        """Append the chunks; one with a prologue begins a new segment."""
        self._tails.pop(queue, None)
        held = self._appender(queue)
        for chunk in chunks:
            if chunk.prologue is not None:
                held.pending = chunk.prologue
                held.appender.room_bytes = chunk.room << 3
                held.appender.begin_segment(_first_event_bytes(chunk.words), int(chunk.words[1]))
            if self.numbers:
                split_positions(chunk.words)
            append_mixed(held.appender, chunk.words.view(np.uint64))

    def place(self, queue: str, row: Row) -> int:
        """Return the address of the queue's writer state, 0 while it has no open segment."""
        self._tails.pop(queue, None)
        held = self._appender(queue)
        held.row = row
        return held.appender.kernel_state() or 0

    def tend(self, queue: str) -> None:
        """Do what is due after kernels wrote to the queue: its next segment is prepared ahead."""
        self._appender(queue).appender.kernel_done()

    def seal(self, queues: list[str], report: Callable[[], None] | None = None) -> None:
        """Seal the open segment of each of `queues` that has records."""
        for queue in queues:
            if (self._home / queue / SETTINGS_NAME).exists():
                self._appender(queue).appender.seal()
                if report is not None:
                    report()

    def close(self) -> None:
        """Give up all queues."""
        while self._open:
            self._written_before += self._open.popitem()[1].close()

    def _appender(self, queue: str) -> _Open:
        held = self._open.get(queue)
        if held is not None:
            self._open.move_to_end(queue)
            return held
        while len(self._open) >= self._open_max:
            self._give_up_one()
        stored = Queue.create(
            self._home / queue,
            name=queue,
            queue_id=queue_identity(queue, self._generation),
            generation=self._generation,
            segment_bytes=SIZES.segment_bytes,
            segment_growth=SIZES.segment_growth,
            segment_bytes_max=SIZES.segment_bytes_max,
            segment_adapts=SIZES.segment_adapts,
            cycle_ns=SIZES.cycle_ns,
            exist_ok=True,
        )
        held = self._open[queue] = _Open(stored)
        if held.appender.keeps_descriptor:
            self._open_max = min(self._open_max, open_queues_max(need_descriptors=True))
        return held

    def _give_up_one(self) -> None:
        """Close the queue that was not written to for longest; one that the sweep wrote to gets a second chance."""
        name, held = next(iter(self._open.items()))
        while held.appender.next_index != held.seen_index:
            held.seen_index = held.appender.next_index
            self._open.move_to_end(name)
            name, held = next(iter(self._open.items()))
        del self._open[name]
        self._written_before += held.close()


def _first_event_bytes(words: Words) -> int:
    """Return the size of the event that `words` begin with."""
    at = 0
    while True:
        head = int(words[at])
        at += (head & WORD_LENGTH_MASK) >> 3
        if head >> WORD_FLAGS_SHIFT & Flag.LAST:
            return at << 3
