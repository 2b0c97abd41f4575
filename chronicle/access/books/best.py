"""Best: the best bid and ask of one instrument, a row for each change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chronicle.access.books.books import STATUS_WORDS
from chronicle.access.books.sampling import exponents_in, sample
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk, Column, Decimals
from chronicle.access.ranges.frames import Columnar

__all__ = ["Best"]

_LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")


class Best(Columnar):
    """Best prices and sizes of `symbol` in [start, end), made by :meth:`Store.bbo`.

    A row after each event that changed the best bid, the best ask or the book's status; the first row is that of the
    first event. Columns: ``ts_recv``, ``ts_event``, ``status``, ``bid_price``, ``bid_size``, ``ask_price``,
    ``ask_size``.
    """

    def __init__(self, shelf: Shelf, symbol: str, start: int, end: int, *, decimals: Decimals) -> None:
        self.symbol, self.start, self.end, self.decimals = symbol, start, end, decimals
        self.cost = Cost()
        self._shelf = shelf
        self.price_exponent, self.size_exponent = exponents_in(shelf, symbol, "book", start, end)
        self.columns = (
            Column("ts_recv", "time"),
            Column("ts_event", "time"),
            Column("status", "word", "u1", STATUS_WORDS),
            *(Column(name, name.partition("_")[2]) for name in _LEVELS),
        )

    def _chunks(self) -> Iterator[Chunk]:
        exponents = (self.price_exponent, self.size_exponent)
        last: tuple[int, ...] | None = None
        for rows in sample(
            self._shelf, self.symbol, self.start, self.end, every=0, depth=1, exponents=exponents, cost=self.cost
        ):
            state = np.column_stack((rows.states, *(rows.prices[plane, :, 0] for plane in range(4))))
            if not len(state):
                continue
            changed = np.empty(len(state), dtype=bool)
            changed[0] = tuple(state[0].tolist()) != last
            np.any(state[1:] != state[:-1], axis=1, out=changed[1:])
            last = tuple(state[-1].tolist())
            if changed.any():
                prices = {name: rows.prices[plane, changed, 0] for plane, name in enumerate(_LEVELS)}
                yield {
                    "ts_recv": rows.times[changed, 0],
                    "ts_event": rows.times[changed, 1],
                    "status": rows.states[changed],
                    **prices,
                }
