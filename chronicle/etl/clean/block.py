"""A block: the records of one stream out of a window, side by side, with clean headers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import WORD_LENGTH_MASK
from chronicle.etl.kernels.events import gather

__all__ = ["Block", "Words"]

Words = NDArray[np.int64]


class Block:
    """Whole events of one stream.

    Attributes
    ----------
    words : int64[n]
        The records; private to the block, so that verdicts and ordinals can be written into them.
    starts : int64[records + 1]
        Word offset of each record, and the end.
    ends : int64[events]
        For each event the record number after it.
    """

    __slots__ = ("_kinds", "_starts", "ends", "starts", "words")

    def __init__(self, words: Words, starts: Words, ends: Words) -> None:
        self.words = words
        self.starts = starts
        self.ends = ends
        self._kinds: list[int] | None = None
        self._starts: list[int] | None = None

    @classmethod
    def of(cls, words: Words, starts: Words, events: Words, chosen: Words, raw_base: int) -> Block:
        """Gather the `chosen` records (ascending numbers) of a window into a block."""
        count = len(chosen)
        sizes = (words[starts[chosen]] & WORD_LENGTH_MASK) >> 3
        out = np.empty(int(sizes.sum()), dtype=np.int64)
        out_starts = np.empty(count + 1, dtype=np.int64)
        ends = np.empty(count, dtype=np.int64)
        event_count = int(gather(words, starts, events, chosen, raw_base, out, out_starts, ends))
        return cls(out, out_starts, ends[:event_count])

    def copy(self) -> Block:
        """Return a block of its own words, for a second stream."""
        return Block(self.words.copy(), self.starts, self.ends)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.ends)

    def bounds(self, event: int) -> tuple[int, int]:
        """Return (first record number, record number after) of an event."""
        return (int(self.ends[event - 1]) if event else 0), int(self.ends[event])

    def at(self, record: int) -> int:
        """Return the word offset of a record."""
        if self._starts is None:
            self._starts = self.starts.tolist()
        return self._starts[record]

    def kinds(self, first: int, end: int) -> Sequence[int]:
        """Return the kinds of records [first, end)."""
        if self._kinds is None:
            self._kinds = ((self.words[self.starts[:-1]] >> 32) & 0xFFFF).tolist()
        return self._kinds[first:end]
