"""Fresh arrays for columns that leave the library.

New pages cost more than filling them: the system zeroes each at its first touch, 2.5 ns a row of int64 where a
decoding loop takes 1.5. Where Arrow is loaded, its memory pool keeps what earlier answers have released: columns come
from there.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["fresh_array"]

POOLED_FROM_BYTES: Final = 32 * 1024
"""Smaller arrays come from the heap in either case."""


def fresh_array(rows: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array of shape (rows,), 64-byte aligned where it is large.

    Raises
    ------
    MemoryError
        When there is none left, also after the pool gave back what it kept.
    """
    kind = np.dtype(dtype)
    arrow = sys.modules.get("pyarrow")
    if rows * kind.itemsize < POOLED_FROM_BYTES or arrow is None:
        return np.empty(rows, dtype=kind)
    try:
        return np.frombuffer(arrow.allocate_buffer(rows * kind.itemsize), dtype=kind)
    except MemoryError:  # (pyarrow.ArrowMemoryError is one)
        arrow.default_memory_pool().release_unused()
        return np.empty(rows, dtype=kind)
