"""Grid: one book replayed in bulk for rows at a step of time, where a depth limit does not cut it at each event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.bulk import BulkBook, Rows
from chronicle.access.books.changes import Changes
from chronicle.access.kernels import books as codes
from chronicle.access.kernels.grids import replay_grid
from chronicle.core.records import InstrumentFields

__all__ = ["GridBook"]


class GridBook(BulkBook):
    """A book that leaves a row each `every` ns; see :class:`BulkBook`. Its levels are whole where it is asked."""

    def __init__(
        self,
        definition: InstrumentFields | None,
        exponents: tuple[int, int],
        rows: Rows,
        *,
        first_ts: int,
        end_ts: int,
        every: int,
        changes: Changes | None = None,
    ) -> None:
        self._changes = changes or Changes()
        self._top: NDArray[np.int64] = np.empty((4, rows.prices.shape[2] + 1), dtype=np.int64)
        self._top_counts: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        super().__init__(definition, exponents, rows, first_ts=first_ts, end_ts=end_ts, every=every)

    def _step(self, words: NDArray[np.int64], position: int) -> tuple[int, int]:
        if self.orders is not None or self.definition.book_depth:
            return super()._step(words, position)
        rows, book = self.rows, self.book
        why, position, rows.count = replay_grid(
            book.levels,
            book.counts,
            *self._changes.parts,
            self._top,
            self._top_counts,
            self._reg,
            words,
            position,
            self._end_ts,
            self._every,
            rows.times,
            rows.states,
            rows.prices,
            rows.count,
        )
        if why == codes.SPECIAL:
            self._changes.settle(book)
        return int(why), int(position)

    def _make_room(self) -> None:
        if self._changes.waiting:
            self._changes.settle(self.book)
        else:
            super()._make_room()

    def fill(self, until_ts: int, known_ts: int) -> bool:
        """Write the grid rows below `until_ts` that fit, of the whole book; see :meth:`BulkBook.fill`."""
        self._changes.settle(self.book)
        return super().fill(until_ts, known_ts)

    def hole_ended(self) -> None:
        """Forget the book, its trust, and the changes to it."""
        self._changes.forget()
        super().hole_ended()
