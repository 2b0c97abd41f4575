"""Tables over instrument numbers that cost what of them is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["widened"]

Words = NDArray[np.int64]

_PAGE_ROWS = 512


def widened(table: Words, rows: int) -> Words:
    """Return a table of `rows` rows that begins with `table`; pages that are all zero are not touched.

    Merged raw queues have a million instrument numbers each, of which few are used: memory that was never written to
    costs none.
    """
    grown: Words = np.zeros((rows, *table.shape[1:]), dtype=np.int64)
    for first in range(0, len(table), _PAGE_ROWS):
        page = table[first : first + _PAGE_ROWS]
        if page.any():
            grown[first : first + len(page)] = page
    return grown
