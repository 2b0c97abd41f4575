"""The memory of races that Python and the kernel share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import NONE
from chronicle.etl.kernels import races as kernel
from chronicle.etl.merge.number_table import widened

__all__ = ["LineRow", "RaceRows"]

Words = NDArray[np.int64]

LINES_FIRST = 4


class RaceRows:
    """Rows of the races of one channel, by the order in which they began.

    Attributes
    ----------
    rows : int64[races, FIXED + ring]
        See :mod:`chronicle.etl.kernels.races`.
    lines : int64[races, lines, 2]
        Lines that are up, and what each delivered last.
    """

    def __init__(self, ring: int) -> None:
        self.rows: Words = np.zeros((1, kernel.FIXED + ring), dtype=np.int64)
        self.lines: Words = np.zeros((1, LINES_FIRST, 2), dtype=np.int64)
        self._used = 0

    def add(self) -> LineRow:
        """Return a new race's row."""
        if self._used == len(self.rows):
            self.rows = widened(self.rows, 2 * len(self.rows))
            self.lines = widened(self.lines, 2 * len(self.lines))
        self._used += 1
        self.rows[self._used - 1, [kernel.LAST, kernel.LEADER, kernel.BEGUN]] = NONE
        return LineRow(self, self._used - 1)

    def widen(self) -> None:
        """Make room for twice as many lines a race."""
        races, lines, _ = self.lines.shape
        grown: Words = np.zeros((races, 2 * lines, 2), dtype=np.int64)
        grown[:, :lines] = self.lines
        self.lines = grown


class LineRow:
    """One race's row, and its lines in the order in which they came."""

    __slots__ = ("_rows", "number")

    def __init__(self, rows: RaceRows, number: int) -> None:
        self._rows = rows
        self.number = number

    @property
    def words(self) -> Words:
        """The row as it is now."""
        found: Words = self._rows.rows[self.number]
        return found

    def get(self, word: int) -> int:
        """Return one word of the row."""
        return int(self._rows.rows[self.number, word])

    def set(self, word: int, value: int) -> None:
        """Set one word of the row."""
        self._rows.rows[self.number, word] = value

    @property
    def lines(self) -> dict[int, int]:
        """What each line that is up delivered last; NONE: nothing yet."""
        rows: list[list[int]] = self._rows.lines[self.number, : self.get(kernel.LINES)].tolist()
        return dict(map(tuple, rows))  # type: ignore[arg-type]

    @lines.setter
    def lines(self, lines: dict[int, int]) -> None:
        while len(lines) > self._rows.lines.shape[1]:
            self._rows.widen()
        self.set(kernel.LINES, len(lines))
        if lines:
            self._rows.lines[self.number, : len(lines)] = list(lines.items())

    def bring(self, line: int, number: int = NONE) -> None:
        """Note what a line delivered last; a line that is not up yet comes behind the others."""
        count = self.get(kernel.LINES)
        found: Any = np.flatnonzero(self._rows.lines[self.number, :count, 0] == line)
        if len(found):
            self._rows.lines[self.number, found[0], 1] = number
        else:
            self.lines = self.lines | {line: number}

    def ring(self, size: int) -> list[Any]:
        """Return the ring's entries of `size` words each, the oldest first."""
        entries = self.words[kernel.FIXED :].reshape(-1, size)
        count = self.get(kernel.COUNT)
        first = count % len(entries) if count > len(entries) else 0
        rows: list[Any] = np.roll(entries, -first, axis=0)[: min(count, len(entries))].tolist()
        return rows
