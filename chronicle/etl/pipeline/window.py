"""A window of raw records, indexed: where each one starts, what it is of, and which need more than a copy."""

from __future__ import annotations

import numpy as np

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import HEADER_BYTES, NONE
from chronicle.etl.clean.block import Block, Words
from chronicle.etl.kernels.events import index_records

__all__ = ["RawWindow"]

_RECORDS_FIRST = 1 << 12


class RawWindow:
    """Whole raw events; the arrays are kept from window to window.

    Attributes
    ----------
    words : int64[n]
        The events' bytes; never written to.
    base_index : int
        Raw index of the first record.
    raw_base : int
        The same, NONE where each record carries its position in word 3.
    count : int
        Records in it.
    starts, heads, events : int64[>= count]
        Word offset; kind << 48 | source << 32 | instrument; number of the event.
    flagged : list of int
        Records that change definitions or lines, ascending.
    """

    __slots__ = (
        "_flagged",
        "_raw_queue",
        "base_index",
        "count",
        "events",
        "flagged",
        "heads",
        "raw_base",
        "starts",
        "words",
    )

    def __init__(self, raw_queue: str) -> None:
        self._raw_queue = raw_queue
        self.base_index = self.count = self.raw_base = 0
        self.words: Words = np.empty(0, dtype=np.int64)
        self.flagged: list[int] = []
        self._make(_RECORDS_FIRST)

    def _make(self, records: int) -> None:
        self.starts = np.empty(records, dtype=np.int64)
        self.heads = np.empty(records, dtype=np.int64)
        self.events = np.empty(records, dtype=np.int64)
        self._flagged = np.empty(records + 1, dtype=np.int64)

    def load(self, memory: memoryview | bytes, base_index: int, *, positioned: bool = False) -> int:
        """Take the events in `memory`, whose records carry their positions or not; return the number of records.

        Raises
        ------
        CorruptionError
            When the bytes are no records.
        """
        words = np.frombuffer(memory, dtype=np.int64)
        needed = len(words) // (HEADER_BYTES >> 3) + 2
        if needed > len(self.starts):
            self._make(max(needed, 2 * len(self.starts)))
        count = int(index_records(words, self.starts, self.heads, self.events, self._flagged))
        if count < 0:
            raise CorruptionError(
                "raw records have an impossible length",
                path=self._raw_queue,
                expected="whole records, 8-byte aligned",
                found=f"status {count} in {len(words) * 8} bytes",
                hint="chronicle queue check names the place",
            )
        self.words, self.base_index, self.count = words, base_index, count
        self.raw_base = NONE if positioned else base_index
        found = int(self._flagged[0])
        self.flagged = self._flagged[1 : found + 1].tolist() if found else []
        return count

    def kind(self, record: int) -> int:
        """Return a record's kind."""
        return int(self.heads[record]) >> 48 & 0xFFFF

    def source(self, record: int) -> int:
        """Return the number of the line that a record came over."""
        return int(self.heads[record]) >> 32 & 0xFFFF

    def instrument(self, record: int) -> int:
        """Return a record's instrument number."""
        return int(self.heads[record]) & 0xFFFFFFFF

    def ts_recv(self, record: int) -> int:
        """Return a record's ts_recv."""
        return int(self.words[self.starts[record] + 1])

    def event_of(self, record: int) -> tuple[int, int]:
        """Return (first record, record after) of the event that holds `record`."""
        event = self.events[record]
        first = end = record
        while first > 0 and self.events[first - 1] == event:
            first -= 1
        while end < self.count and self.events[end] == event:
            end += 1
        return first, end

    def block(self, chosen: Words) -> Block:
        """Return the `chosen` records (ascending numbers) as a block."""
        return Block.of(self.words, self.starts, self.events, chosen, self.raw_base)
