"""Snapshots of a block: which there are, and the levels each must have if nothing but the deltas happened since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import HEADER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind, Side
from chronicle.storage.codec.block_books import replayed_levels

__all__ = ["Book", "Replay", "Stored", "snapshot_list"]

Values = NDArray[np.int64]

KEY_BITS: Final = 62
"""Prices within so many bits of one another, less those of their rows' numbers, sort as one word with them."""
PRICE_MAX: Final = 1 << 61
LENGTH_MASK: Final = 0xFFFFFFFF
BODY_WORD: Final = HEADER_BYTES // 8


@dataclass(frozen=True, slots=True)
class Book:
    """A book to start from: levels int64[n, 2] (price, size), bids first, best first."""

    instrument: int
    bids: int
    levels: Values


@dataclass(frozen=True, slots=True)
class Stored:
    """A BOOK_SNAPSHOT among a block's other records. `whole`: its counts fit its length, so it has `levels`, which
    begin at word `start`.
    """

    number: int
    instrument: int
    bids: int
    asks: int
    origin: int
    whole: bool
    levels: Values
    start: int = 0


def snapshot_list(words: Values, starts: Values) -> list[Stored]:
    """Return the BOOK_SNAPSHOT records among those that start at words `starts`."""
    heads = words[starts]
    numbers = np.flatnonzero((heads >> 32) & 0xFFFF == Kind.BOOK_SNAPSHOT)
    places = starts[numbers]
    last = len(words) - 1
    columns = (numbers, places, heads[numbers] & LENGTH_MASK, words[places + 4] & LENGTH_MASK)
    body = (words[np.minimum(places + BODY_WORD, last)], words[np.minimum(places + BODY_WORD + 1, last)])
    rows = zip(*(column.tolist() for column in (*columns, *body)), strict=True)
    return [_stored(words, at, number, *facts) for number, at, *facts in rows]


def stored(words: Values, at: int, number: int, length: int | None = None) -> Stored:
    """Return what the snapshot record at word `at` says; `length` is its true one where it was cut."""
    found, line = (int(words[at + place]) & LENGTH_MASK for place in (0, 4))
    body = words[at + BODY_WORD : at + BODY_WORD + 2].tolist()
    counts, after = body if len(body) == 2 else (0, 0)
    return _stored(words, at, number, found, line, counts, after, length)


def _stored(
    words: Values,
    at: int,
    number: int,
    found: int,
    instrument: int,
    counts: int,
    after: int,
    length: int | None = None,
) -> Stored:
    """Return a snapshot record of `found` bytes whose body begins with words `counts` and `after`."""
    if found < SNAPSHOT_LEVELS_OFFSET:
        return Stored(number, instrument, 0, 0, 0, whole=False, levels=np.zeros((0, 2), dtype=np.int64))
    bids, asks = counts & LENGTH_MASK, (counts >> 32) & LENGTH_MASK
    whole = SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks) == (found if length is None else length)
    start = at + SNAPSHOT_LEVELS_OFFSET // 8
    levels = words[start : start + 2 * (bids + asks)] if whole and length is None else words[:0]
    return Stored(
        number, instrument, bids, asks, after & 0xFF, whole=whole, levels=levels.reshape(-1, 2), start=start
    )


class Replay:
    """Carries a book from snapshot to snapshot over a block's deltas.

    Parameters
    ----------
    instrument : int
        The one whose deltas these are.
    starts : int64 array of shape (groups + 1,)
        Row at which each group starts.
    prices, sizes : int64 arrays of shape (rows,)
    sides : uint8 array of shape (rows,)
    compiled : bool
        Use the kernels (the same result, some ten times as fast).
    """

    def __init__(
        self, instrument: int, starts: Values, prices: Values, sizes: Values, sides: Any, *, compiled: bool
    ) -> None:
        self._instrument, self._starts = instrument, starts
        self._prices, self._sizes, self._sides = prices, sizes, sides
        self._compiled = compiled
        self._before: tuple[int, int, Values] | None = None

    @classmethod
    def of_groups(cls, groups: Values, prices: Values, sizes: Values, *, compiled: bool) -> Replay:
        """Return the replay of a block's groups int64[10, g]."""
        counts = groups[:2].T.reshape(-1)
        starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(groups[0] + groups[1])))
        sides = np.repeat(np.tile(np.array([Side.BID, Side.ASK], dtype=np.uint8), groups.shape[1]), counts)
        instrument = int(groups[6, 0]) & 0xFFFFFFFF if groups.shape[1] else 0
        return cls(instrument, starts, prices, sizes, sides, compiled=compiled)

    def start(self, book: Book) -> None:
        """Begin with a book that holds before the first group."""
        self.remember(book.instrument, 0, book.bids, book.levels)

    def remember(self, instrument: int, place: int, bids: int, levels: Values, *, replayed: bool = False) -> None:
        """Make levels that hold before group `place` the base of the next snapshot.

        Those that were `replayed` (:meth:`levels`) are proper, as what they were made of was.
        """
        proper = replayed or (instrument == self._instrument and self._is_proper(bids, levels))
        self._before = (place, bids, levels) if proper else None

    def _is_proper(self, bids: int, levels: Values) -> bool:
        if self._compiled:
            from chronicle.storage.kernels.levels import is_proper

            return bool(is_proper(levels, bids, PRICE_MAX))
        return is_proper_side(levels[:bids], -1) and is_proper_side(levels[bids:], 1)

    def follows(self, snapshot: Stored, place: int) -> bool:
        """Return whether a snapshot before group `place` has exactly the levels that it must have."""
        expected = self.levels(snapshot, place)
        return expected is not None and np.array_equal(expected, snapshot.levels)

    def levels(self, snapshot: Stored, place: int) -> Values | None:
        """Return the levels int64[bids + asks, 2] that a snapshot before group `place` must have, or None."""
        if self._before is None or snapshot.instrument != self._instrument:
            return None
        since, bids, base = self._before
        start, stop = int(self._starts[since]), int(self._starts[place])
        sides = (
            (Side.BID, base[:bids], snapshot.bids),
            (Side.ASK, base[bids:], snapshot.asks),
        )
        if any(limit > len(levels) + stop - start for _, levels, limit in sides):
            return None
        prices = self._prices[start:stop]
        low, high = (int(prices.min()), int(prices.max())) if stop > start else (0, 0)
        if low < -PRICE_MAX or high > PRICE_MAX:
            return None
        compiled = self._compiled and high - low < 1 << (KEY_BITS - _row_bits(stop - start))
        found = []
        for side, levels, limit in sides:
            if compiled:
                after = self._merged(side, levels, start, stop, low if side == Side.ASK else -high, limit)
            else:
                mine = self._sides[start:stop] == side
                changes = np.stack((prices[mine], self._sizes[start:stop][mine]), axis=1)
                after = replayed_levels(levels, changes, descending=side == Side.BID)[:limit]
            if len(after) != limit:
                return None
            found.append(after)
        return np.concatenate(found)

    def _merged(self, side: Side, base: Values, start: int, stop: int, low: int, limit: int) -> Values:
        """Return one side after the rows [start, stop), by the kernels."""
        from chronicle.storage.kernels.levels import latest_changes, merge_changes, pack_changes

        sign, shift = -1 if side == Side.BID else 1, _row_bits(stop - start)
        keys = np.empty(stop - start, dtype=np.int64)
        count = pack_changes(self._prices, self._sides, int(side), sign, start, stop, low, shift, keys)
        keys = keys[:count]
        keys.sort()
        keys = keys[: latest_changes(keys, shift)]
        out = np.empty((limit, 2), dtype=np.int64)
        count = merge_changes(base, keys, self._sizes, sign, start, low, shift, out)
        return out[:count]


def _row_bits(rows: int) -> int:
    return max(1, rows.bit_length())


def is_proper_side(levels: Values, sign: int) -> bool:
    """Tell whether a side is strictly ordered, without a size of 0 and within bounds: both forms of replay agree."""
    if not len(levels):
        return True
    prices = levels[:, 0]
    bounded = int(prices.min()) >= -PRICE_MAX and int(prices.max()) <= PRICE_MAX
    return bounded and bool((sign * np.diff(prices) > 0).all()) and bool((levels[:, 1] != 0).all())
