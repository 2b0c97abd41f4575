"""One clean queue as the pipeline sees it: what is already there is not written twice, and where segments end.

The pipeline counts every record it makes for a queue. After a restart the queue's own tail says how many of them
are there; so many are left out, and the last of them is compared with the stored one. Segments end by the records'
bytes and ts_recv alone, and always before an event's records are made, so that the prologue is the state before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import INT64_MAX, NONE, ROLL_BYTES
from chronicle.core.queue_settings import QueueSettings
from chronicle.etl.clean.block import Block, Words
from chronicle.etl.clean.scratch_writer import ScratchWriter
from chronicle.etl.kernels.events import fit
from chronicle.etl.pipeline.row import Row

__all__ = ["SIZES", "Chunk", "Outlet", "Sink", "Tail"]

DAY_NS = 86_400_000_000_000
LEFT_TO_COMPARE = 3
"""Of the records that a queue has already so many are not the sweep's: before an event it may write a snapshot (of
orders: two records), which it does not count beforehand, and the last record is compared with the stored one."""
SIZES = QueueSettings(
    name="",
    queue_id="",
    segment_bytes=1024 * 1024,
    segment_growth=16,
    segment_bytes_max=16 * 1024 * 1024,
    segment_adapts=True,
    cycle_ns=DAY_NS,
)
"""How new clean queues size their segments: by what the segment before held, so that quiet instruments stay small."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a clean queue ends on disk. `words` and `day_end` are those of the open segment, if it has records.

    `previous_words` are those of the segment before the open (or next) one, and `sizes` the queue's own rule;
    `source_index` is the last record's position (:mod:`chronicle.etl.clean.lineage`).
    """

    next_index: int = 0
    next_number: int = 0
    words: int = 0
    previous_words: int = 0
    sizes: QueueSettings = SIZES
    day_end: int = NONE
    source_index: int = NONE
    ordinal: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events to append; with a prologue they open a new segment, which has room for at least `room` words."""

    words: Words
    prologue: dict[str, Any] | None
    room: int = 0


class Sink(Protocol):
    """Where clean records go."""

    def tail(self, queue: str) -> Tail:
        """Return the end of `queue` as it is stored (all zero when there is none yet)."""
        ...

    def write(self, queue: str, chunks: list[Chunk]) -> None:
        """Append the chunks in order."""
        ...

    def place(self, queue: str, row: Row) -> int:
        """Return the address of the state of the queue's writer, for kernels that append by themselves.

        0 where there is none. Before the address becomes invalid, `row` is taken back.
        """
        ...

    def tend(self, queue: str) -> None:
        """Do what the writer has to do behind a kernel that went so far."""
        ...


class Outlet:
    """The writing end of one clean queue.

    Parameters
    ----------
    queue : str
        Its name.
    sink : Sink
        Where :meth:`flush` puts what was collected.
    written : int
        Records the pipeline has made for it so far (from a checkpoint).
    prologue : callable
        Called with (raw index, whether the book is as before the next event); returns the prologue's map.
    """

    __slots__ = (
        "_chunks",
        "_day_end",
        "_limit",
        "_number",
        "_previous",
        "_prologue",
        "_scratch",
        "_sink",
        "_skip",
        "_tail",
        "_words",
        "open",
        "queue",
        "written",
    )

    def __init__(
        self, queue: str, sink: Sink, *, written: int, prologue: Callable[[int, bool], dict[str, Any]]
    ) -> None:
        self.queue = queue
        self.written = written
        self._sink = sink
        self._prologue = prologue
        self._tail = tail = sink.tail(queue)
        self._skip = tail.next_index - written
        if self._skip < 0:
            raise CorruptionError(
                "a clean queue ends before the position of the checkpoint",
                path=queue,
                expected=f"at least {written} records",
                found=tail.next_index,
                hint="restart the shard: it goes back to an older checkpoint",
            )
        self.open = tail.words > 0
        self._number = tail.next_number
        self._words = tail.words
        self._previous = tail.previous_words
        self._day_end = tail.day_end
        self._limit = self._capacity()
        self._chunks: list[tuple[list[Words], dict[str, Any] | None, int]] = []
        self._scratch: ScratchWriter | None = None

    def prepare(self, ts_recv: int, words: int, raw_index: int) -> None:
        """Make room for an event of at most `words` that is received at `ts_recv`, before it changes the book.

        What is put until the next call stands in one segment, also where it is larger than segments usually are.
        """
        if self._skip:
            return
        full = self._words and self._words + words > self._limit
        if self.open and (full or ts_recv >= self._day_end):
            self.open = False
            self._number += 1
            self._previous = self._words
        if not self.open:
            self._begin(ts_recv, raw_index, words, whole=True)

    def limits(self) -> tuple[int, int, int]:
        """Return (words, ts_recv, records) that the next events must stay under to need no :meth:`prepare`."""
        if self._skip:
            return INT64_MAX, INT64_MAX, self._skip
        if not self.open:
            return 0, INT64_MAX, 0
        return self._limit - self._words, self._day_end, INT64_MAX

    def put(self, block: Block, event: int, end: int) -> None:
        """Take events [event, end) of a block; they stay inside :meth:`limits`."""
        first, last = block.bounds(event)[0], int(block.ends[end - 1])
        start, stop = int(block.starts[first]), int(block.starts[last])
        self._take(block.words[start:stop], last - first, int(block.starts[last - 1]) - start)

    def put_event(self, data: bytes, records: int, last_offset: int) -> None:
        """Take one event as bytes; its last record starts at byte `last_offset`."""
        self._take(np.frombuffer(data, dtype=np.int64), records, last_offset >> 3)

    def put_all(self, block: Block) -> None:
        """Take a whole block of events that change no book, rolling where they must."""
        event, count = 0, len(block)
        while event < count:
            end = int(fit(block.words, block.starts, block.ends, event, *self.limits()))
            if end == event:
                first, last = block.bounds(event)
                at = block.at(first)
                size = block.at(last) - at
                self.prepare(int(block.words[at + 1]), size, int(block.words[at + 3]))
                end = event + 1
            self.put(block, event, end)
            event = end

    def end_segment(self) -> None:
        """Let the next event open a segment: prologues say something new from here on."""
        if self.open and not self._skip:
            self.open = False
            self._number += 1
            self._previous = self._words

    def hand_over(self, prologue: Callable[[int, bool], dict[str, Any]]) -> None:
        """Let another stream write on from here."""
        self._prologue = prologue

    def place(self, row: Row) -> int:
        """Bring the queue up to date and return its writer's state for the sweep, 0 where it cannot have it.

        While the queue has what is made, that is a writer that keeps nothing; the last records before the tail are
        left to :meth:`put`, which compares.
        """
        if self._skip:
            if self._skip <= LEFT_TO_COMPARE:
                return 0
            self._scratch = self._scratch or ScratchWriter()
            self._scratch.begin_again()
            return self._scratch.state
        self._scratch = None
        if not self.open:
            return 0
        self.flush()
        return self._sink.place(self.queue, row)

    def absorb(self, records: int, words: int) -> None:
        """Count what the sweep wrote."""
        self.written += records
        if self._skip:
            self._skip -= records
            assert self._skip > 0, "the sweep went past the tail"
        else:
            self._words += words

    def tend(self) -> None:
        """Have the writer do what is due after the sweep."""
        if self._scratch is not None:
            self._scratch.begin_again()
        else:
            self._sink.tend(self.queue)

    def records_left(self) -> int:
        """Return how many records the sweep may make before events need a look again; :meth:`place` came first."""
        return self._skip - LEFT_TO_COMPARE if self._skip else INT64_MAX

    @property
    def surplus(self) -> int:
        """Records in the queue that the raw queue has not given (yet)."""
        return self._skip

    def flush(self) -> None:
        """Hand what was collected to the sink."""
        if not self._chunks:
            return
        chunks = [Chunk(_joined(parts), prologue, room) for parts, prologue, room in self._chunks if parts]
        self._chunks = []
        self._sink.write(self.queue, chunks)

    def _take(self, words: Words, records: int, last_at: int) -> None:
        self.written += records
        if self._skip:
            self._left_out(words, records, last_at)
            return
        if not self.open:
            self._begin(int(words[1]), int(words[3]), len(words), whole=False)
        if not self._chunks:
            self._chunks.append(([], None, 0))
        self._chunks[-1][0].append(words)
        self._words += len(words)

    def _left_out(self, words: Words, records: int, last_at: int) -> None:
        """Count records that the queue has already; at its tail both must be the same record."""
        self._skip -= records
        where = (int(words[last_at + 3]), int(words[last_at + 4]) >> 48 & 0xFFFF)
        stored = (self._tail.source_index, self._tail.ordinal)
        comparable = self._tail.source_index != NONE  # the tail's segment may have moved to another tier
        if self._skip < 0 or (not self._skip and comparable and where != stored):
            raise CorruptionError(
                "a clean queue is not what its raw queue gives",
                path=self.queue,
                expected=f"raw index and ordinal {where} at its end",
                found=stored,
                hint="another configuration or version wrote it: rebuild into another home and compare",
            )

    def _begin(self, ts_recv: int, raw_index: int, room: int, *, whole: bool) -> None:
        self.open = True
        self._words = 0
        self._day_end = ts_recv - ts_recv % DAY_NS + DAY_NS
        self._limit = self._capacity()
        self._chunks.append(([], self._prologue(raw_index, whole), room))

    def _capacity(self) -> int:
        return (self._tail.sizes.capacity(self._number, self._previous << 3) - 2 * ROLL_BYTES) >> 3


def _joined(parts: list[Words]) -> Words:
    if len(parts) == 1 and parts[0].flags.writeable:
        return parts[0]
    return np.concatenate(parts)  # (a read-only array would have the kernels compiled once more)
