"""Where a clean record comes from, as one number while it is made: the raw queue's number and its raw index.

A position is ``number << 48 | index``; of the only (or first) raw queue it is the raw index itself. What is written
has both apart: ``source`` is the entry of the prologue's sources, ``source_index`` the index in that queue.
"""

from __future__ import annotations

from chronicle.core.layout import NONE

__all__ = ["CONNECTION_SHIFT", "INSTRUMENT_SHIFT", "POSITION_SHIFT", "position_of", "split_position"]

POSITION_SHIFT = 48
INSTRUMENT_SHIFT = 20
"""An instrument number of raw queue s is ``s << 20 | number`` in a merge."""
CONNECTION_SHIFT = 12
"""And a connection ``s << 12 | connection``."""
_INDEX_MASK = (1 << POSITION_SHIFT) - 1


def position_of(number: int, index: int) -> int:
    """Return the position of raw record `index` of raw queue `number`.

    Examples
    --------
    >>> split_position(position_of(3, 17)), split_position(position_of(0, -1))
    ((3, 17), (0, -1))
    """
    return NONE if index == NONE else number << POSITION_SHIFT | index


def split_position(position: int) -> tuple[int, int]:
    """Return (raw queue's number, raw index)."""
    return (0, NONE) if position < 0 else (position >> POSITION_SHIFT, position & _INDEX_MASK)
