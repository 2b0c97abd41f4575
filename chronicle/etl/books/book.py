"""An L2 order book by price, in plain Python.

It needs neither NumPy nor numba, so that a short seek (``chronicle book``) and a live strategy can use it at once.
:class:`chronicle.etl.books.array_book.ArrayBook` has the same interface over arrays and kernels, for bulk work.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Protocol

from chronicle.core.decimals import rescale
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, BookStatus, Origin, Side, VerifiedBy
from chronicle.core.records import SnapshotFields

__all__ = ["Book", "BookView", "Level"]

Level = tuple[int, int]

MANY = 64
"""From so many updates on, sorting the keys once is cheaper than keeping them sorted."""


class BookView(Protocol):
    """What every kind of book answers; prices and sizes are int64 mantissas."""

    price_exponent: int
    size_exponent: int
    book_depth: int

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """Return the best `count` levels of each side, best first."""
        ...

    @property
    def bid_floor(self) -> int:
        """Lowest price down to which the bids are complete."""
        ...

    @property
    def ask_ceiling(self) -> int:
        """Highest price up to which the asks are complete."""
        ...


class _Side:
    """One side: prices ascending by key (the best is last), sizes by price. The key of an ask is minus its price."""

    __slots__ = ("keys", "sign", "sizes")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, int] = {}

    def set(self, price: int, size: int) -> None:
        key = price * self.sign
        if size:
            if key not in self.sizes:
                insort(self.keys, key)
            self.sizes[key] = size
        elif self.sizes.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def load(self, levels: Iterable[Level]) -> None:
        self.sizes = {price * self.sign: size for price, size in levels if size}
        self.keys = list(self.sizes)
        self.keys.reverse()  # our own snapshots come best first: then this is their order, and sorting only looks
        self.keys.sort()

    def sort(self) -> None:
        """Bring the keys in line with sizes that were changed without them."""
        self.keys = sorted(self.sizes)

    def truncate(self, count: int) -> None:
        surplus = len(self.keys) - count
        if surplus > 0:
            for key in self.keys[:surplus]:
                del self.sizes[key]
            del self.keys[:surplus]

    def best(self, count: int) -> list[Level]:
        keys = self.keys[: -count - 1 : -1] if count < len(self.keys) else self.keys[::-1]
        return [(key * self.sign, self.sizes[key]) for key in keys]


class Book:
    """L2 book of one instrument.

    Parameters
    ----------
    book_depth : int
        Levels the venue keeps per side; the book is cut to it by :meth:`truncate`. 0 means unlimited.
    price_exponent, size_exponent : int
        Decimals of the mantissas: value = mantissa / 10**exponent.

    Examples
    --------
    >>> from chronicle.etl import Book
    >>> book = Book(price_exponent=2)
    >>> book.load(bids=[(9_990, 5), (9_980, 7)], asks=[(10_010, 3)])
    >>> book.apply("bid", 10_000, 4)
    >>> book.apply("bid", 9_980, 0)
    >>> book.best_bid, book.best_ask, book.crossed()
    ((10000, 4), (10010, 3), False)
    >>> book.depth(2)
    ([(10000, 4), (9990, 5)], [(10010, 3)])

    ``examples/live_book.py`` keeps one from a running feed's raw queue, in the venue's sequence.
    """

    __slots__ = ("_asks", "_bids", "_ceiling", "_floor", "book_depth", "price_exponent", "size_exponent")

    def __init__(self, *, book_depth: int = 0, price_exponent: int = 0, size_exponent: int = 0) -> None:
        self.book_depth = book_depth
        self.price_exponent = price_exponent
        self.size_exponent = size_exponent
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self._floor = INT64_MIN
        self._ceiling = INT64_MAX

    def apply(self, side: int | str, price: int, size: int) -> None:
        """Set the size of a level; 0 deletes it. `side` is ``Side.BID``/``Side.ASK`` or ``"bid"``/``"ask"``.

        A delta without a side carries only a sequence and changes nothing.
        """
        if side in (Side.BID, "bid"):
            self._bids.set(price, size)
        elif side in (Side.ASK, "ask"):
            self._asks.set(price, size)

    def apply_many(self, sides: Sequence[int], prices: Sequence[int], sizes: Sequence[int]) -> None:
        """Apply level updates in order, without truncating between them; many at once are sorted only once."""
        if len(prices) < MANY:
            for side, price, size in zip(sides, prices, sizes, strict=True):
                self.apply(side, price, size)
            return
        bids, asks, bid, ask = self._bids.sizes, self._asks.sizes, int(Side.BID), int(Side.ASK)
        for side, price, size in zip(sides, prices, sizes, strict=True):
            if side == bid:
                if size:
                    bids[price] = size
                else:
                    bids.pop(price, None)
            elif side == ask:
                if size:
                    asks[-price] = size
                else:
                    asks.pop(-price, None)
        self._bids.sort()
        self._asks.sort()

    def load(
        self,
        bids: Iterable[Sequence[int]],
        asks: Iterable[Sequence[int]],
        *,
        bid_floor: int = INT64_MIN,
        ask_ceiling: int = INT64_MAX,
    ) -> None:
        """Replace the whole book by a snapshot that is complete from `bid_floor` to `ask_ceiling`."""
        self._bids.load((level[0], level[1]) for level in bids)
        self._asks.load((level[0], level[1]) for level in asks)
        self._floor = bid_floor
        self._ceiling = ask_ceiling
        self.truncate()

    def clear(self) -> None:
        """Forget all levels; the complete range is without bound."""
        self.load((), ())

    def truncate(self) -> None:
        """Cut each side to `book_depth` levels, as the venue does after each of its messages."""
        if self.book_depth:
            self._bids.truncate(self.book_depth)
            self._asks.truncate(self.book_depth)

    def redefine(self, *, price_exponent: int, size_exponent: int, book_depth: int) -> None:
        """Take a new definition: mantissas are rescaled, the depth is cut.

        Raises
        ------
        DecodeError
            When a level cannot be written in the new exponents; the book is unchanged then.
        """
        prices = (self.price_exponent, price_exponent)
        sizes = (self.size_exponent, size_exponent)
        bids, asks = self.depth(INT64_MAX)
        scaled = [[(rescale(price, *prices), rescale(size, *sizes)) for price, size in side] for side in (bids, asks)]
        floor = self._floor if self._floor == INT64_MIN else rescale(self._floor, *prices)
        ceiling = self._ceiling if self._ceiling == INT64_MAX else rescale(self._ceiling, *prices)
        self.price_exponent, self.size_exponent, self.book_depth = price_exponent, size_exponent, book_depth
        self.load(scaled[0], scaled[1], bid_floor=floor, ask_ceiling=ceiling)

    @property
    def best_bid(self) -> Level | None:
        """Best bid as (price, size), None when the side is empty."""
        keys = self._bids.keys
        return (keys[-1], self._bids.sizes[keys[-1]]) if keys else None

    @property
    def best_ask(self) -> Level | None:
        """Best ask as (price, size), None when the side is empty."""
        keys = self._asks.keys
        return (-keys[-1], self._asks.sizes[keys[-1]]) if keys else None

    def crossed(self) -> bool:
        """Return whether the best bid is above the best ask (equal prices are locked, not crossed)."""
        bids, asks = self._bids.keys, self._asks.keys
        return bool(bids and asks and bids[-1] > -asks[-1])

    def count(self) -> tuple[int, int]:
        """Return (number of bid levels, number of ask levels)."""
        return len(self._bids.keys), len(self._asks.keys)

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """Return the best `count` levels of each side as (price, size), best first."""
        return self._bids.best(count), self._asks.best(count)

    def size_at(self, side: int | str, price: int) -> int:
        """Return the size of a level, 0 when there is none."""
        if side in (Side.BID, "bid"):
            return self._bids.sizes.get(price, 0)
        return self._asks.sizes.get(-price, 0)

    @property
    def bid_floor(self) -> int:
        """Lowest price down to which the bids are complete (INT64_MIN: without bound)."""
        keys = self._bids.keys
        full = self.book_depth and len(keys) >= self.book_depth
        return max(self._floor, keys[0]) if full else self._floor

    @property
    def ask_ceiling(self) -> int:
        """Highest price up to which the asks are complete (INT64_MAX: without bound)."""
        keys = self._asks.keys
        full = self.book_depth and len(keys) >= self.book_depth
        return min(self._ceiling, -keys[0]) if full else self._ceiling

    def bounds(self) -> tuple[int, int]:
        """Return the complete range of the last snapshot as given, without the depth limit's own bound."""
        return self._floor, self._ceiling

    def snapshot(
        self,
        *,
        origin: int = Origin.ETL,
        status: int = BookStatus.UNVERIFIED,
        verified_by: int = VerifiedBy.NOTHING,
        last_good_ts: int = NONE,
    ) -> SnapshotFields:
        """Return the book as the body of a BOOK_SNAPSHOT.

        The stored bounds are those of :meth:`bounds`: the depth limit's own bound follows from INSTRUMENT and levels.
        """
        bids, asks = self.depth(INT64_MAX)
        return SnapshotFields(bids, asks, origin, status, verified_by, self._floor, self._ceiling, last_good_ts)
