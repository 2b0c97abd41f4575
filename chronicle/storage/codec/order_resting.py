"""The orders that rest at a moment, as an ORDER_SNAPSHOT restates them: made from those of the moment before.

Between two moments most orders stay where they are: those that are gone are left out, new ones are sorted and merged
in. Only when one changed its place (or came to life again) all are sorted anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronicle.storage.codec.order_layout import live_orders
from chronicle.storage.kernels import orders as kernel

__all__ = ["Resting"]

Values = NDArray[np.int64]
_NONE = np.empty(0, dtype=np.int64)


class Resting:
    """The orders that rest among those that were seen: ask after each change that matters."""

    def __init__(self) -> None:
        self._at = (-1, -1, -1)
        self._numbers, self._bids, self._seen = _NONE, 0, 0
        self._rows: Values = np.zeros((0, 3), dtype=np.int64)

    def look(self, orders: Values, state: Values, row: int) -> tuple[Values, int]:
        """Return (the orders that rest, as an ORDER_SNAPSHOT has them: int64[n, 3]; how many are bids).

        Parameters
        ----------
        orders : int64 array of shape (m, 4)
            Id, price, size and place of every order that was seen.
        state : int64 array
            Of the kernels: how many were seen, which may rest; whether one moved is taken from it.
        row : int
            The rows so far.
        """
        at = row, int(state[kernel.ALIVE]), int(state[kernel.ORDERS])
        if at == self._at:
            return self._rows, self._bids
        self._at, (_, alive, count) = at, at
        if state[kernel.MOVED]:
            state[kernel.MOVED] = 0
            self._numbers, self._bids = live_orders(orders, alive, count)
            self._rows = orders[self._numbers, :3]
        else:
            self._merge(orders, alive, count)
        self._seen = count
        return self._rows, self._bids

    def _merge(self, orders: Values, alive: int, count: int) -> None:
        fresh, fresh_bids = live_orders(orders, max(alive, self._seen), count)
        numbers = np.empty(len(self._numbers) + len(fresh), dtype=np.int64)
        rows = np.empty((len(numbers), 3), dtype=np.int64)
        told = np.array((self._bids, fresh_bids, alive), dtype=np.int64)
        bids, total = kernel.merge_resting(orders, self._numbers, fresh, told, numbers, rows)
        self._numbers, self._rows, self._bids = numbers[:total], rows[:total], int(bids)
