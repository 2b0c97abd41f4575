"""Moment: one book brought to one moment by kernels, with nothing written down on the way.

The same machine as :class:`chronicle.access.books.bulk.BulkBook`; where no depth limit cuts the book at each event's
end, only the last change of every price is kept and brought into the levels at the end (``kernels/moments.py``).
"""

from __future__ import annotations

import threading
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.bulk import BulkBook, Rows, record_at
from chronicle.access.books.changes import Changes
from chronicle.access.books.ladder import Ladder
from chronicle.access.books.reached import Reached, Start
from chronicle.access.kernels import books as codes
from chronicle.access.kernels import moments as kernel
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segment import Segment
from chronicle.core.layout import INT64_MAX, NONE, Kind, VerifiedBy
from chronicle.core.records import InstrumentFields

__all__ = ["MomentBook", "replay_to"]

BEST_MAX = 100
"""Up to so many levels the best are picked one by one; beyond, all are sorted."""

AHEAD_RECORDS = 2_048
"""How far a look ahead goes without an object for each record."""


class _Kept(threading.local):
    """One table a thread, used again: half a megabyte need not be touched anew for each book."""

    def __init__(self) -> None:
        self.changes = Changes()


_KEPT = _Kept()


class MomentBook(BulkBook):
    """A book that is replayed to one moment; see :class:`BulkBook`. One at a time in a thread."""

    def __init__(self, definition: InstrumentFields | None, target: int, changes: Changes | None = None) -> None:
        end_ts = min(target, INT64_MAX - 1) + 1
        self._until = end_ts
        self._changes = changes or _KEPT.changes
        self._changes.forget()
        super().__init__(definition, (0, 0), Rows(1, 1), first_ts=INT64_MAX, end_ts=end_ts, every=0)

    def _step(self, words: NDArray[np.int64], position: int) -> tuple[int, int]:
        if self.orders is not None or self.definition.book_depth:
            return super()._step(words, position)
        why, position = kernel.gather(*self._changes.parts, self._reg, words, position, self._until)
        if why == codes.SPECIAL:
            self.settle()
        return int(why), int(position)

    def _make_room(self) -> None:
        if self._changes.waiting:
            self.settle()
        else:
            super()._make_room()

    def settle(self, depth: int | None = None) -> None:
        """Bring what was gathered into the levels; with `depth`, keep only the best so many of them."""
        if depth is not None and depth <= BEST_MAX:
            self._changes.keep_best(self.book, depth)
        else:
            self._changes.settle(self.book)

    def begin(self, segment: Segment, start: Start) -> None:
        """Take the book that `start` begins with."""
        if start.at_opening:
            self.open_with(segment.prologue_record("book"), segment.prologue_orders())

    def confirmed(self, words: NDArray[np.int64], position: int) -> bool:
        """Return whether what follows at word `position` stands behind the book; False: it must be looked at."""
        driver = Kind.BOOK_DELTA if self.orders is None else Kind.ORDER
        checked = self._reg[codes.VERIFIED] == VerifiedBy.CHECKSUM
        return bool(kernel.confirmed(words, position, int(driver), checked, AHEAD_RECORDS))


def replay_to(
    segment: Segment, ladder: Ladder, start: Start, target: int, cost: Cost, *, depth: int | None = None
) -> Reached:
    """Bring `ladder` to the state after all events with ts_recv <= `target`.

    With `depth` the ladder may hold only its best levels, where nothing is left to be applied to it.
    """
    book = MomentBook(start.definition, target)
    book.begin(segment, start)
    offset, index, last_ts = start.offset, start.index, NONE
    table = segment.seek()
    behind = bisect_right(table.ts, target) + 1  # one stretch more: what follows the moment is looked at as well
    end = table.offset[behind] if behind < len(table) else segment.data_end()
    stopped = confirmed = False
    for at, base, window in segment.windows(offset, index, end, cost):
        words = np.frombuffer(window, dtype=np.int64)
        book.begin_window()
        why, place = book.replay(words, 0)
        word, number = book.last_place
        if word != NONE:
            ladder.last = record_at(words, word, base + number)
        offset, index, last_ts = at + place * 8, base + book.records, book.event_ts
        if why == codes.STOP:
            stopped, confirmed = True, book.confirmed(words, place)
            break
    book.settle(depth if stopped else None)
    book.hand_over(ladder)
    return Reached(offset, index, last_ts, confirmed)
