"""Which connection feeds which clean queue: the first to deliver leads, others at the same time are redundant.

A line holds its rank until it is gone (disconnected, or the capture began anew); the next to deliver takes the
lowest free rank. Rank 0 is the main clean queue of the raw lane, rank r its lane + 1000 * r.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chronicle.etl.clean.lineage import CONNECTION_SHIFT

__all__ = ["RANK_STRIDE", "Lines"]

RANK_STRIDE = 1000

Key = tuple[str, str]
"""(symbol, channel)"""


class Lines:
    """Ranks of sources by (symbol, channel)."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: dict[Key, dict[int, int]] = {}

    def claim(self, symbol: str, channel: str, source: int) -> int:
        """Return the rank of `source`, taking the lowest free one when it has none."""
        ranks = self._ranks.setdefault((symbol, channel), {})
        rank = ranks.get(source)
        if rank is None:
            taken = set(ranks.values())
            rank = next(number for number in range(len(taken) + 1) if number not in taken)
            ranks[source] = rank
        return rank

    def rank(self, symbol: str, channel: str, source: int) -> int | None:
        """Return the rank that `source` holds, None when it holds none."""
        return self._ranks.get((symbol, channel), {}).get(source)

    def ranks(self, symbol: str, channel: str) -> list[int]:
        """Return all ranks held now, ascending."""
        return sorted(self._ranks.get((symbol, channel), {}).values())

    def holders(self, symbol: str, channel: str) -> dict[int, int]:
        """Return the rank of each source that holds one."""
        return dict(self._ranks.get((symbol, channel), {}))

    def rename(self, symbol: str, channel: str, source: int, successor: int) -> None:
        """Give what `source` holds to `successor`."""
        ranks = self._ranks[symbol, channel]
        ranks[successor] = ranks.pop(source)

    def drop(self, symbol: str, channel: str, source: int) -> int | None:
        """Free what `source` holds of one channel; return its rank."""
        return self._ranks.get((symbol, channel), {}).pop(source, None)

    def release(self, source: int, symbol: str | None = None) -> list[tuple[str, str, int]]:
        """Free what `source` holds (of one symbol, or of all).

        Returns (symbol, channel, rank) of each, in the order in which they were first delivered.
        """
        return self._release(lambda holder: holder == source, symbol)

    def release_queue(self, number: int) -> list[tuple[str, str, int]]:
        """Free what all lines of raw queue `number` hold; returns as :meth:`release`."""
        return self._release(lambda holder: holder >> CONNECTION_SHIFT == number, None)

    def _release(self, which: Callable[[int], bool], symbol: str | None) -> list[tuple[str, str, int]]:
        freed: list[tuple[str, str, int]] = []
        for (name, channel), ranks in self._ranks.items():
            if symbol is None or name == symbol:
                freed += [(name, channel, ranks.pop(holder)) for holder in list(ranks) if which(holder)]
        return freed

    def held(self, source: int) -> list[tuple[str, str, int]]:
        """Return (symbol, channel, rank) of what `source` holds."""
        return [
            (symbol, channel, ranks[source]) for (symbol, channel), ranks in self._ranks.items() if source in ranks
        ]

    def held_by_queue(self, number: int) -> list[tuple[str, str, int]]:
        """Return (symbol, channel, rank) of what all lines of raw queue `number` hold."""
        return [
            (symbol, channel, rank)
            for (symbol, channel), ranks in self._ranks.items()
            for source, rank in ranks.items()
            if source >> CONNECTION_SHIFT == number
        ]

    def state(self) -> list[Any]:
        """Return the ranks as plain values for a checkpoint."""
        return [[symbol, channel, list(ranks.items())] for (symbol, channel), ranks in self._ranks.items()]

    def restore(self, state: list[Any]) -> None:
        """Take back what :meth:`state` gave."""
        self._ranks = {(symbol, channel): dict(ranks) for symbol, channel, ranks in state}
