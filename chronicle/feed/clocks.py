"""Is our clock behind a venue's? Events that came before the venue's own time of them say so, and by how much.

Their way takes time, so that the greatest of these differences is the least that the clocks are apart. The order of
records is that of receipt all the same: this is measured and told, and nothing is shifted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.core import layout
from chronicle.core.cursor import Window
from chronicle.core.layout import Kind

__all__ = ["FLAGGED_NS", "ClockWatch"]

FLAGGED_NS: Final = 1_000_000
"""A clock is said to be behind from here on: venues write whole milliseconds."""
_MARKET: Final = np.array([Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.ORDER, Kind.TRADE, Kind.QUOTE], dtype=np.int64)


class ClockWatch:
    """Measures over the records of one raw queue.

    Attributes
    ----------
    behind_ns : dict of int to int
        By connection: how far the venue's time of an event was past its receipt, at most.
    """

    def __init__(self) -> None:
        self.behind_ns: dict[int, int] = {}

    def take(self, window: Window) -> list[int]:
        """Measure a window's records; return the connections that are flagged from now on. O(n) over arrays."""
        words: Any = np.frombuffer(window.memory, dtype=np.int64)
        starts: Any = window.offsets() >> 3
        kinds = (words[starts] >> layout.WORD_KIND_SHIFT) & 0xFFFF
        at = starts[np.isin(kinds, _MARKET)]
        at = at[words[at + 2] > words[at + 1]]
        flagged = []
        if len(at):
            sources, ahead = (words[at + 4] >> 32) & 0xFFFF, words[at + 2] - words[at + 1]
            for source in np.unique(sources):
                number, behind = int(source), int(ahead[sources == source].max())
                before = self.behind_ns.get(number, 0)
                self.behind_ns[number] = max(before, behind)
                if before < FLAGGED_NS <= behind:
                    flagged.append(number)
        return flagged
