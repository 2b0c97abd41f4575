"""The memory of a book's tick ladder, and when it is worth having one."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from chronicle.etl.kernels import ladder as kernel

__all__ = ["NO_LADDER", "Ladder"]

SLOTS = 32_768
"""Half a MiB a book. Measured on a BTC book (ns an update; share outside): 8,192 slots 95 (17 %), 16,384 68 (10 %),
32,768 48 (7 %), 65,536 44 (4 %); sorted arrays alone 105."""
LEVELS_MIN = 192
"""A side with fewer levels is as fast in the sorted arrays."""
BYTES_MAX = 320 << 20
"""All ladders of the process together; books beyond it stay in their sorted arrays."""
SAMPLE = 256
RECENTRE_UPDATES = 4096
OVERFLOW_SHARE = 8
"""Of so many updates, an eighth outside the window moves it; a move costs 30 us for 5,000 levels."""

Parts = tuple[Any, Any, Any, Any]


def _empty() -> Parts:
    return (
        np.zeros((2, 0), dtype=np.int64),
        np.zeros((2, 0), dtype=np.uint64),
        np.zeros(kernel.META, dtype=np.int64),
        np.zeros(1, dtype=np.float64),
    )


NO_LADDER: Parts = _empty()
"""A ladder that is off, for kernels."""


class Ladder:
    """A ladder for one book, allocated on first use.

    Attributes
    ----------
    parts : tuple
        (sizes, bits, meta, inverse) for kernels.
    """

    __slots__ = ("__weakref__", "parts")
    bytes_used = 0

    def __init__(self) -> None:
        sizes = np.zeros((2, SLOTS), dtype=np.int64)
        bits = np.zeros((2, SLOTS // 64), dtype=np.uint64)
        self.parts: Parts = (
            sizes,
            bits,
            np.zeros(kernel.META, dtype=np.int64),
            np.zeros(1, dtype=np.float64),
        )
        Ladder.bytes_used += sizes.nbytes + bits.nbytes
        weakref.finalize(self, _give_back, sizes.nbytes + bits.nbytes)

    @classmethod
    def wanted(cls, counts: Any) -> bool:
        """Return whether a book with so many levels should have one."""
        return int(counts.max()) >= LEVELS_MIN and cls.bytes_used < BYTES_MAX

    @property
    def on(self) -> bool:
        """Whether levels are in it."""
        return bool(self.parts[2][kernel.ON])

    @property
    def strayed(self) -> bool:
        """Whether the book has moved away from the window."""
        meta = self.parts[2]
        return bool(
            meta[kernel.UPDATES] >= RECENTRE_UPDATES and meta[kernel.OVERFLOW] * OVERFLOW_SHARE > meta[kernel.UPDATES]
        )


def _give_back(size: int) -> None:
    Ladder.bytes_used -= size
