"""One side of a simulated book, and what a subscriber of a given depth is told of a change."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

__all__ = ["Entry", "Ladder"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One level in an update. `republished` marks a level that came into view because a better one left."""

    price: int
    size: int
    republished: bool = False


class Ladder:
    """Levels of one side, best first; prices and sizes are mantissas.

    Parameters
    ----------
    sign : int
        +1 for asks (lowest is best), -1 for bids.
    """

    __slots__ = ("_keys", "_sign", "_sizes")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[int] = []
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        """Number of levels."""
        return len(self._keys)

    def price(self, rank: int) -> int:
        """Return the price at `rank` (0 = best)."""
        return self._keys[rank] * self._sign

    def size(self, price: int) -> int:
        """Return the size at `price`, 0 when there is no such level."""
        return self._sizes.get(price, 0)

    def best(self, count: int) -> list[tuple[int, int]]:
        """Return the best `count` levels as (price, size)."""
        sign = self._sign
        return [(key * sign, self._sizes[key * sign]) for key in self._keys[:count]]

    def set(self, price: int, size: int, depths: dict[int, list[Entry]]) -> None:
        """Set a level (size 0 removes it), and add to each depth's list what its subscribers must be told.

        A subscriber keeps the best `depth` levels and cuts the rest himself: an insertion that pushes a level out
        is told alone, a removal also brings the level that moves into view. Cost: O(log levels) per depth.
        """
        key = price * self._sign
        rank = bisect_left(self._keys, key)
        known = rank < len(self._keys) and self._keys[rank] == key
        if size:
            if not known:
                insort(self._keys, key)
            self._sizes[price] = size
        elif known:
            del self._keys[rank]
            del self._sizes[price]
        else:
            return
        for depth, entries in depths.items():
            if rank >= depth:
                continue
            entries.append(Entry(price, size))
            if not size and len(self._keys) >= depth:
                revealed = self.price(depth - 1)
                entries.append(Entry(revealed, self._sizes[revealed], republished=True))
