"""The records of a block cut into groups of deltas and other records, as far as they have been read."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import BOOK_DELTA_BYTES, HEADER_BYTES
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.kernels import groups as kernel

__all__ = ["GroupScan"]

Values = NDArray[np.int64]

FIELDS: Final = 10


class GroupScan:
    """Groups and other records of a block, in scratch arrays: a thread has one of them at a time.

    Who reads a block piece by piece, to hash it, cuts each piece while it is in the cache.

    Parameters
    ----------
    data : bytes-like
        The block: whole events.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.words = np.frombuffer(data, dtype=np.int64) if len(data) % 8 == 0 else np.empty(0, dtype=np.int64)
        self._good = len(data) % 8 == 0
        capacity = len(data) // BOOK_DELTA_BYTES + 1
        self._groups = scratch_array("groups", FIELDS * capacity, np.int64).reshape(FIELDS, capacity)
        self._prices, self._sizes = scratch_array("rows", 2 * capacity, np.int64).reshape(2, capacity)
        beside = 2 * (len(data) // HEADER_BYTES + 1)
        self._others, self._places = scratch_array("others", beside, np.int64).reshape(2, -1)
        self._state = np.zeros(kernel.STATES, dtype=np.int64)
        self._state[[kernel.STEP, kernel.INSTRUMENT]] = -1

    def go(self, end: int) -> None:
        """Cut what ends before byte `end` of the block."""
        self._good = self._good and kernel.scan_groups(
            self.words,
            min(end // 8, len(self.words)),
            self._groups,
            self._prices,
            self._sizes,
            self._others,
            self._places,
            self._state,
        )

    def done(self) -> bool:
        """Cut the rest; return whether the block is made of whole records."""
        if self._good and self._state[0] < len(self.words):
            self.go(8 * len(self.words))
        return self._good and int(self._state[0]) == len(self.words)

    @property
    def is_of_deltas(self) -> bool:
        """Whether most records are BOOK_DELTA of one instrument, without ORDER records."""
        _, _, rows, beside, _, several, orders = self._state[:7].tolist()
        return rows > 0 and rows >= beside and not several and not orders

    @property
    def has_orders(self) -> bool:
        """Whether ORDER records are among the others."""
        return self._good and int(self._state[6]) > 0

    @property
    def step(self) -> int:
        """STEP_ORDINAL and STEP_SOURCE of the block."""
        return max(0, int(self._state[kernel.STEP]))

    @property
    def groups(self) -> Values:
        """The groups, int64[10, g]: the columns of Place.BIDS to Place.SEQUENCE_PREVIOUS."""
        return self._groups[:, : int(self._state[1])]

    @property
    def prices(self) -> Values:
        """Prices of all rows."""
        return self._prices[: int(self._state[2])]

    @property
    def sizes(self) -> Values:
        """Sizes of all rows."""
        return self._sizes[: int(self._state[2])]

    @property
    def others(self) -> Values:
        """The word at which each other record begins."""
        return self._others[: int(self._state[3])]

    @property
    def places(self) -> Values:
        """The number of groups before each other record."""
        return self._places[: int(self._state[3])]
