"""Prices and sizes of a compacted event block back from their arithmetic code. Needs the kernels.

Blocks of this form were written by earlier releases; :mod:`chronicle.storage.codec.event_tabled` is today's.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from chronicle.core.fresh import fresh_array
from chronicle.storage.codec.event_layout import Price
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import Values
from chronicle.storage.kernels import coded as kernel

__all__ = ["CodedRows"]


class CodedRows:
    """The rows of one code; the groups' counts were checked to make `rows`.

    Parameters
    ----------
    bids, asks : int64 arrays of shape (groups,)
    price : Price
    size_unit : int
    rows : int
    code : memoryview
    """

    def __init__(self, bids: Values, asks: Values, price: Price, size_unit: int, rows: int, code: memoryview) -> None:
        self._groups, self._price, self._size_unit = (bids, asks), price, size_unit
        self._rows, self._code = rows, code

    @property
    def prices(self) -> Values:
        """Prices of all rows."""
        return self._both[0]

    @property
    def sizes(self) -> Values:
        """Sizes of all rows."""
        return self._both[1]

    @cached_property
    def _both(self) -> tuple[Values, Values]:
        """Prices and sizes of all rows; a ValueError where the code is longer or shorter than they need."""
        prices, sizes = fresh_array(self._rows, np.int64), fresh_array(self._rows, np.int64)
        models = scratch_array("models", kernel.MODELS, np.uint32)
        slots = scratch_array("slots", 4 * (kernel.SLOTS + 2), np.int64).reshape(-1, 4)
        facts = np.array((self._price.base, self._price.unit, self._size_unit), dtype=np.int64)
        forms, coder = np.array(self._price.forms, dtype=np.int64), np.zeros(4, dtype=np.uint64)
        data = np.frombuffer(self._code, dtype=np.uint8)
        with np.errstate(over="ignore"):  # (without compilation)
            used = kernel.decode_rows(*self._groups, forms, facts, data, models, slots, coder, prices, sizes)
        if used != len(data):
            raise ValueError("the code of a block's rows has another length than they need")
        return prices, sizes
