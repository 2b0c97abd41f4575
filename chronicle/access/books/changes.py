"""Changes: the last size of each price of one book, waiting to be brought into its levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.kernels import moments as kernel
from chronicle.etl.books.array_book import ArrayBook

__all__ = ["Changes"]

ENTRIES = 8_192
"""Prices a side that wait; the ETL writes a snapshot after so many deltas."""


class Changes:
    """The table of :mod:`chronicle.access.kernels.moments`, and scratch space for sorting: 0.6 MiB."""

    def __init__(self, entries: int = ENTRIES) -> None:
        slots = 1 << (2 * entries - 1).bit_length()
        self.heads: NDArray[np.int32] = np.zeros((2, slots), dtype=np.int32)
        self.keys: NDArray[np.int64] = np.empty((2, entries), dtype=np.int64)
        self.sizes: NDArray[np.int64] = np.empty((2, entries), dtype=np.int64)
        self.used: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        self._spare: NDArray[np.int64] = np.empty((2, entries), dtype=np.int64)
        self._buckets: NDArray[np.int64] = np.empty(kernel.DIGITS, dtype=np.int64)

    @property
    def parts(self) -> tuple[Any, Any, Any, Any]:
        """heads, keys, sizes and used, for kernels."""
        return self.heads, self.keys, self.sizes, self.used

    @property
    def waiting(self) -> bool:
        """Whether there is a change."""
        return bool(self.used[0] or self.used[1])

    def forget(self) -> None:
        """Drop the changes."""
        if self.waiting:
            self.heads[:] = 0
            self.used[:] = 0

    def settle(self, book: ArrayBook) -> None:
        """Bring the changes into the levels of `book`."""
        if self.waiting:
            merged = np.empty((4, int((book.counts + self.used).max()) + 1), dtype=np.int64)
            kernel.settle(book.levels, book.counts, merged, *self.parts, self._spare, self._buckets)
            book.replace_levels(merged)

    def keep_best(self, book: ArrayBook, depth: int) -> None:
        """Bring the changes into `book` and keep its best `depth` levels a side."""
        if self.waiting:
            top = np.empty((4, depth + 1), dtype=np.int64)
            kernel.best(book.levels, book.counts, *self.parts, top, book.counts, depth)
            book.replace_levels(top)
            self.forget()
