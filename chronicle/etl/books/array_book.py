"""The book of :mod:`chronicle.etl.books.book` over NumPy arrays and kernels, for bulk work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core import layout
from chronicle.core.decimals import rescale
from chronicle.core.errors import RecordError
from chronicle.core.layout import (
    INT64_MAX,
    INT64_MIN,
    NONE,
    SNAPSHOT_LEVELS_OFFSET,
    BookStatus,
    Origin,
    Side,
    VerifiedBy,
)
from chronicle.core.records import SnapshotFields
from chronicle.etl.books.book import Level
from chronicle.etl.books.ladder import NO_LADDER, RECENTRE_UPDATES, SAMPLE, Ladder
from chronicle.etl.kernels import ladder as kernel
from chronicle.etl.kernels.levels import apply_levels, load_levels, set_level, truncate

__all__ = ["ArrayBook"]

_CAPACITY_MIN = 256
_BULK = 2048
"""Updates in one call from which a ladder pays for itself."""


class ArrayBook:
    """L2 book of one instrument in arrays; the same interface as :class:`chronicle.etl.Book`, and bulk methods.

    Attributes
    ----------
    levels : int64[4, capacity]
        All levels: bid keys, bid sizes, ask keys, ask sizes; keys ascend (the best is last), the key of an ask is
        minus its price.
    counts : int64[2]
        Levels in use of bids and asks. Both arrays belong to this object; kernels change them in place.

    Notes
    -----
    A deep book without a depth limit keeps the levels near the touch in a tick ladder while it is updated in bulk
    (:mod:`chronicle.etl.kernels.ladder`); to ask for `levels` or `counts` moves them back.
    """

    __slots__ = (
        "_best",
        "_ceiling",
        "_counts",
        "_floor",
        "_ladder",
        "_levels",
        "book_depth",
        "price_exponent",
        "size_exponent",
    )

    def __init__(self, *, book_depth: int = 0, price_exponent: int = 0, size_exponent: int = 0) -> None:
        self.book_depth = book_depth
        self.price_exponent = price_exponent
        self.size_exponent = size_exponent
        self._levels: NDArray[np.int64] = np.zeros((4, _CAPACITY_MIN), dtype=np.int64)
        self._counts: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        self._best: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        self._ladder: Ladder | None = None
        self._floor = INT64_MIN
        self._ceiling = INT64_MAX

    @property
    def levels(self) -> NDArray[np.int64]:
        """All levels, sorted."""
        self._settle()
        return self._levels

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many levels of each side `levels` holds."""
        self._settle()
        return self._counts

    def parts(self, *, lift: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], Any]:
        """Return (levels, counts, ladder) for a kernel that knows ladders; with `lift` use one where it pays."""
        if self._ladder is not None and self._ladder.on and self._ladder.strayed:
            self._settle()
        if lift and not self.book_depth and not (self._ladder is not None and self._ladder.on):
            if self._ladder is None and Ladder.wanted(self._counts):
                self._ladder = Ladder()
            if self._ladder is not None:
                kernel.lift(self._levels, self._counts, self._ladder.parts, SAMPLE)
        return self._levels, self._counts, NO_LADDER if self._ladder is None else self._ladder.parts

    def _settle(self) -> None:
        if self._ladder is not None and self._ladder.on:
            kernel.settle(self._levels, self._counts, self._ladder.parts)

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` levels a side."""
        present = self._levels.shape[1]
        if capacity > present:
            grown = np.zeros((4, max(capacity, 2 * present)), dtype=np.int64)
            grown[:, :present] = self._levels
            self._levels = grown

    def apply(self, side: int | str, price: int, size: int) -> None:
        """Set the size of a level; 0 deletes it (see :meth:`Book.apply`)."""
        code = _SIDES.get(side, 0) if isinstance(side, str) else int(side)
        self._settle()  # one at a time the sorted arrays are as fast
        self.reserve(int(self._counts.max()) + 1)
        set_level(self._levels, self._counts, code, price, size)

    def apply_many(self, sides: NDArray[np.uint8], prices: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Apply level updates in order, without truncating between them.

        Parameters
        ----------
        sides : uint8[n]
            ``Side`` values.
        prices, sizes : int64[n]
            Mantissas.

        Raises
        ------
        RecordError
            When the arrays differ in length.
        """
        if not len(sides) == len(prices) == len(sizes):
            raise RecordError(
                "level updates need columns of one length", expected=len(prices), found=(len(sides), len(sizes))
            )
        self.reserve(max(self.count()) + len(prices))
        side_codes = np.ascontiguousarray(sides, dtype=np.uint8)
        prices = np.ascontiguousarray(prices, dtype=np.int64)
        sizes = np.ascontiguousarray(sizes, dtype=np.int64)
        if len(prices) < _BULK and not (self._ladder is not None and self._ladder.on):
            apply_levels(self._levels, self._counts, side_codes, prices, sizes)
            return
        for first in range(0, len(prices), RECENTRE_UPDATES):
            end = min(len(prices), first + RECENTRE_UPDATES)
            kernel.apply_ladder(*self.parts(lift=True), side_codes, prices, sizes, first, end)

    def load(
        self,
        bids: Iterable[Sequence[int]],
        asks: Iterable[Sequence[int]],
        *,
        bid_floor: int = INT64_MIN,
        ask_ceiling: int = INT64_MAX,
    ) -> None:
        """Replace the whole book by a snapshot that is complete from `bid_floor` to `ask_ceiling`."""
        self.load_arrays(_level_array(bids), _level_array(asks), bid_floor=bid_floor, ask_ceiling=ask_ceiling)

    def load_arrays(
        self,
        bids: NDArray[np.int64],
        asks: NDArray[np.int64],
        *,
        bid_floor: int = INT64_MIN,
        ask_ceiling: int = INT64_MAX,
    ) -> None:
        """Replace the whole book by ``int64[n, 2]`` (price, size) levels of each side, in any order."""
        sides = (_sorted_side(bids, 1), _sorted_side(asks, -1))
        self.reserve(max(len(side) for side in sides))
        for half, side in enumerate(sides):
            self.levels[2 * half, : len(side)] = side[:, 0]
            self.levels[2 * half + 1, : len(side)] = side[:, 1]
            self.counts[half] = len(side)
        self._floor, self._ceiling = bid_floor, ask_ceiling
        self.truncate()

    def replace_levels(self, levels: NDArray[np.int64]) -> None:
        """Take `levels` (int64[4, capacity], as :attr:`levels`) over; a kernel has set :attr:`counts` to them."""
        self._levels = levels

    def clear(self) -> None:
        """Forget all levels; the complete range is without bound."""
        self.counts[:] = 0
        self._floor, self._ceiling = INT64_MIN, INT64_MAX

    def truncate(self) -> None:
        """Cut each side to `book_depth` levels."""
        if self.book_depth:
            truncate(self.levels, self.counts, self.book_depth)

    def redefine(self, *, price_exponent: int, size_exponent: int, book_depth: int) -> None:
        """Take a new definition (see :meth:`Book.redefine`)."""
        prices = (self.price_exponent, price_exponent)
        sizes = (self.size_exponent, size_exponent)
        if prices[0] != prices[1] or sizes[0] != sizes[1]:
            bids, asks = self.depth(INT64_MAX)
            scaled = [
                [(rescale(price, *prices), rescale(size, *sizes)) for price, size in side] for side in (bids, asks)
            ]
            floor = self._floor if self._floor == INT64_MIN else rescale(self._floor, *prices)
            ceiling = self._ceiling if self._ceiling == INT64_MAX else rescale(self._ceiling, *prices)
            self.load(scaled[0], scaled[1], bid_floor=floor, ask_ceiling=ceiling)
        self.price_exponent, self.size_exponent, self.book_depth = price_exponent, size_exponent, book_depth
        self.truncate()

    @property
    def best_bid(self) -> Level | None:
        """Best bid as (price, size), None when the side is empty."""
        return self._best_of(0)

    @property
    def best_ask(self) -> Level | None:
        """Best ask as (price, size), None when the side is empty."""
        best = self._best_of(1)
        return None if best is None else (-best[0], best[1])

    def _best_of(self, half: int) -> Level | None:
        ladder = NO_LADDER if self._ladder is None else self._ladder.parts
        if not kernel.best_key(self._levels, self._counts, ladder, half, self._best):
            return None
        return int(self._best[0]), int(self._best[1])

    def crossed(self) -> bool:
        """Return whether the best bid is above the best ask."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid[0] > ask[0]

    def count(self) -> tuple[int, int]:
        """Return (number of bid levels, number of ask levels)."""
        bids, asks = int(self._counts[0]), int(self._counts[1])
        if self._ladder is not None and self._ladder.on:
            meta = self._ladder.parts[2]
            return bids + int(meta[kernel.USED]), asks + int(meta[kernel.USED + 1])
        return bids, asks

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """Return the best `count` levels of each side as (price, size), best first."""
        return self._top(0, 1, count), self._top(1, -1, count)

    def arrays(self, count: int = INT64_MAX) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return copies of the best `count` levels: bids and asks as int64[n, 2] (price, size), best first.

        The book stays as it is, also while a kernel has it.
        """
        return self._array(0, 1, count), self._array(1, -1, count)

    def size_at(self, side: int | str, price: int) -> int:
        """Return the size of a level, 0 when there is none."""
        half = 0 if side in (Side.BID, "bid") else 1
        key = price if half == 0 else -price
        keys = self.levels[2 * half, : self.counts[half]]
        position = int(np.searchsorted(keys, key))
        found = position < len(keys) and keys[position] == key
        return int(self.levels[2 * half + 1, position]) if found else 0

    @property
    def bid_floor(self) -> int:
        """Lowest price down to which the bids are complete (INT64_MIN: without bound)."""
        full = self.book_depth and self.counts[0] >= self.book_depth
        return max(self._floor, int(self.levels[0, 0])) if full else self._floor

    @property
    def ask_ceiling(self) -> int:
        """Highest price up to which the asks are complete (INT64_MAX: without bound)."""
        full = self.book_depth and self.counts[1] >= self.book_depth
        return min(self._ceiling, -int(self.levels[2, 0])) if full else self._ceiling

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
        """Return the book as the body of a BOOK_SNAPSHOT."""
        bids, asks = self.depth(INT64_MAX)
        return SnapshotFields(bids, asks, origin, status, verified_by, self._floor, self._ceiling, last_good_ts)

    def snapshot_body(self, *, origin: int, status: int, verified_by: int, last_good_ts: int) -> bytes:
        """Return the packed body of a BOOK_SNAPSHOT (the bytes of :meth:`snapshot`, without Python numbers)."""
        bids, asks = self.arrays()
        fixed = layout.BOOK_SNAPSHOT_BODY.pack(
            len(bids), len(asks), origin, status, verified_by, 0, self._floor, self._ceiling, last_good_ts
        )
        return fixed + bids.tobytes() + asks.tobytes()

    def load_snapshot_record(self, data: bytes | memoryview | NDArray[Any]) -> None:
        """Replace the book by the levels of a whole BOOK_SNAPSHOT record.

        Raises
        ------
        RecordError
            When the levels end outside the record.
        """
        raw = np.frombuffer(data, dtype=np.uint8)
        if len(raw) < SNAPSHOT_LEVELS_OFFSET:
            raise RecordError("a BOOK_SNAPSHOT record is too short", expected=SNAPSHOT_LEVELS_OFFSET, found=len(raw))
        fields = layout.BOOK_SNAPSHOT_BODY.unpack_from(raw.data, layout.HEADER_BYTES)
        bid_count, ask_count, bounds = fields[0], fields[1], fields[6:8]
        end = SNAPSHOT_LEVELS_OFFSET + 16 * (bid_count + ask_count)
        if end > len(raw):
            raise RecordError("a BOOK_SNAPSHOT record's levels end outside it", expected=end, found=len(raw))
        words = raw[:end].view(np.int64)
        first = SNAPSHOT_LEVELS_OFFSET >> 3
        self.reserve(max(bid_count, ask_count))
        if load_levels(self.levels, self.counts, words, first, bid_count, ask_count):
            self._floor, self._ceiling = bounds
            self.truncate()
            return
        numbers = words[first:].reshape(-1, 2)
        self.load_arrays(numbers[:bid_count], numbers[bid_count:], bid_floor=bounds[0], ask_ceiling=bounds[1])

    def _top(self, half: int, sign: int, count: int) -> list[Level]:
        end = int(self.counts[half])
        start = max(0, end - count)
        keys = self.levels[2 * half, start:end][::-1].tolist()
        sizes = self.levels[2 * half + 1, start:end][::-1].tolist()
        return [(sign * key, size) for key, size in zip(keys, sizes, strict=True)]

    def _array(self, half: int, sign: int, count: int) -> NDArray[np.int64]:
        out = np.empty((min(self.count()[half], count), 2), dtype=np.int64)
        ladder = NO_LADDER if self._ladder is None else self._ladder.parts
        kernel.copy_side(self._levels, self._counts, ladder, half, sign, out)
        return out


_SIDES = {"bid": int(Side.BID), "ask": int(Side.ASK)}


def _level_array(levels: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    rows = [(level[0], level[1]) for level in levels]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _sorted_side(levels: NDArray[np.int64], sign: int) -> NDArray[np.int64]:
    """Return (key, size) rows, keys ascending, zero sizes left out, the later of two equal prices kept."""
    kept = levels[levels[:, 1] != 0]
    keyed = np.column_stack((sign * kept[:, 0], kept[:, 1])).astype(np.int64, copy=False)
    if np.all(keyed[:-1, 0] > keyed[1:, 0]):  # best first, as our own snapshots are
        return keyed[::-1]
    ordered = keyed[np.argsort(keyed[:, 0], kind="stable")]
    if len(ordered) > 1:
        last = np.append(ordered[1:, 0] != ordered[:-1, 0], True)
        ordered = ordered[last]
    return ordered
