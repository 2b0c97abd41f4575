"""Diffs that came before the snapshot they belong to, kept until it comes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import INT64_MAX

__all__ = ["Diff", "DiffBuffer"]

EVENTS_MAX = 4096
LEVELS_MAX = 262_144


@dataclass(frozen=True, slots=True)
class Diff:
    """One book message: the range of numbers it covers and its levels as int64[n, 3] (side, price, size)."""

    first: int
    sequence: int
    levels: NDArray[np.int64]


class DiffBuffer:
    """An unbroken chain of diffs, bounded; a break or the bound drops what lies before it.

    A snapshot joins only to an unbroken chain: one that is older than what was dropped is refused, a newer one will
    come (the feed is asked for it).
    """

    __slots__ = ("_diffs", "_levels")

    def __init__(self) -> None:
        self._diffs: deque[Diff] = deque()
        self._levels = 0

    def __len__(self) -> int:
        """Number of diffs kept."""
        return len(self._diffs)

    @property
    def last_sequence(self) -> int:
        """Number of the last diff kept; there must be one."""
        return self._diffs[-1].sequence

    @property
    def levels(self) -> int:
        """Number of levels kept."""
        return self._levels

    def add(self, diff: Diff) -> None:
        """Keep a diff; one that was seen already is left out."""
        if self._diffs:
            last = self._diffs[-1].sequence
            if diff.sequence <= last:
                return
            if diff.first != last + 1:
                self.clear()
        self._diffs.append(diff)
        self._levels += len(diff.levels)
        while len(self._diffs) > 1 and (len(self._diffs) > EVENTS_MAX or self._levels > LEVELS_MAX):
            self._levels -= len(self._diffs.popleft().levels)

    def extend_last(self, levels: NDArray[np.int64]) -> None:
        """Add levels to the last diff: its message was cut in two by a redefinition."""
        if self._diffs:
            last = self._diffs.pop()
            self._diffs.append(Diff(last.first, last.sequence, np.concatenate((last.levels, levels))))
            self._levels += len(levels)

    def join(self, snapshot_sequence: int) -> list[Diff] | None:
        """Return the diffs to apply after a snapshot of `snapshot_sequence`, None when it is too old for them.

        Those that end at its number or before are in it; the first one left must reach back to it.
        """
        left = [diff for diff in self._diffs if diff.sequence > snapshot_sequence]
        if left and left[0].first > snapshot_sequence + 1:
            return None
        return left

    def clear(self) -> None:
        """Forget everything."""
        self._diffs.clear()
        self._levels = 0

    def rescale(self, price_decimals: int, size_decimals: int) -> None:
        """Take a redefinition that adds decimals; one that removes decimals empties the buffer."""
        if price_decimals < 0 or size_decimals < 0:
            self.clear()
            return
        prices, sizes = 10**price_decimals, 10**size_decimals
        scaled: list[Diff] = []
        for diff in self._diffs:
            levels = diff.levels.copy()
            if len(levels) and (
                int(np.abs(levels[:, 1]).max()) > INT64_MAX // prices
                or int(np.abs(levels[:, 2]).max()) > INT64_MAX // sizes
            ):
                self.clear()
                return
            levels[:, 1] *= prices
            levels[:, 2] *= sizes
            scaled.append(Diff(diff.first, diff.sequence, levels))
        self._diffs = deque(scaled)

    def state(self) -> list[Any]:
        """Return the content as plain values for a checkpoint."""
        return [[diff.first, diff.sequence, diff.levels.tobytes()] for diff in self._diffs]

    def restore(self, state: list[Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.clear()
        for first, sequence, data in state:
            levels = np.frombuffer(data, dtype=np.int64).reshape(-1, 3)
            self._diffs.append(Diff(first, sequence, levels))
            self._levels += len(levels)
