"""The resting orders of one ITCH line: the table that completes what its messages leave out."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

import numpy as np

from chronicle.core.errors import DecodeError
from chronicle.core.layout import ORDER_BYTES
from chronicle.feed.kernels import itch as kernel

__all__ = ["OrderTable"]

BITS_FIRST: Final = 12
BITS_MAX: Final = 25
"""2**25 slots of 16 bytes, at most half of them used: NASDAQ's busiest days rest below 5 million orders."""

_COUNTERS: Final = (
    *(kernel.READ, kernel.WRITTEN, kernel.RECORDS, kernel.EVENTS),
    *(kernel.LAST_RECORD, kernel.UNKNOWN),
)
_NOBODY: Final[Set[int]] = frozenset()


class OrderTable:
    """Orders by their id, over ``complete_orders``.

    Attributes
    ----------
    written, records, events, last_offset : int
        What the last call left: words, records and events in the buffer, and the byte where the last record begins.
    """

    def __init__(self) -> None:
        self._array = np.zeros(kernel.STATES, dtype=np.int64)
        self._states = self._array.data
        self._unknown = np.zeros(kernel.UNKNOWN_MAX, dtype=np.int64)
        self.written = self.records = self.events = self.last_offset = 0
        self._make(BITS_FIRST)

    def __len__(self) -> int:
        """Resting orders."""
        orders: int = self._states[kernel.ORDERS]
        return orders

    def clear(self) -> None:
        """Forget all orders."""
        self._array[:] = 0
        self._make(BITS_FIRST)

    def complete(self, words: Any, count: int) -> Set[int]:
        """Complete the first `count` words of records; return the instruments of orders that are not known.

        Parameters
        ----------
        words : uint64[n]
            As ``decode_messages`` wrote them; changed in place.

        Raises
        ------
        DecodeError
            When more orders rest than the table may hold: all are forgotten.
        """
        self._reserve(len(self) + count // (ORDER_BYTES >> 3))
        states = self._states
        for name in _COUNTERS:
            states[name] = 0
        status = kernel.complete_orders(words, count, self._table, self._array, self._unknown)
        assert status == kernel.DONE, "room was made before"
        self.written, self.records = states[kernel.WRITTEN], states[kernel.RECORDS]
        self.events, self.last_offset = states[kernel.EVENTS], states[kernel.LAST_RECORD] * 8
        misses = states[kernel.UNKNOWN]
        if not misses:
            return _NOBODY
        return set(self._unknown[: min(misses, kernel.UNKNOWN_MAX)].tolist())

    def _reserve(self, orders: int) -> None:
        bits = self._states[kernel.BITS]
        if orders <= 1 << (bits - 1):
            return
        while orders > 1 << (bits - 1):
            bits += 1
        if bits > BITS_MAX:
            self.clear()
            raise DecodeError("more orders rest than any market has", expected=1 << (BITS_MAX - 1), found=orders)
        old = self._table
        self._make(bits)
        kernel.rehash(old, self._table, bits)

    def _make(self, bits: int) -> None:
        self._table = np.zeros((1 << bits, 2), dtype=np.uint64)
        self._states[kernel.BITS] = bits
        self._states[kernel.TABLE] = kernel.address_of(self._table)
