"""Tables over instrument numbers that cost what of them is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["widened"]

Words = NDArray[np.int64]

_PAGE_WORDS = 512


def widened(table: Words, rows: int) -> Words:
    """Return a table of `rows` rows that begins with `table`; pages that are all zero are not touched.

    Merged raw queues have a million instrument numbers each, of which few are used: memory that was never written to
    costs none.
    """
    grown: Words = np.zeros((rows, *table.shape[1:]), dtype=np.int64)
    source, target = table.reshape(-1), grown.reshape(-1)
    for first in range(0, len(source), _PAGE_WORDS):
        page = source[first : first + _PAGE_WORDS]
        if page.any():
            target[first : first + len(page)] = page
    return grown
