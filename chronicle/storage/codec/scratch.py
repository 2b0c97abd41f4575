"""Arrays that a thread uses again from block to block: to touch fresh memory costs more than an encoder's loop.

What is taken under a name is good until the same thread takes that name again; nothing of it may leave the function
that took it.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["scratch_array"]

KEPT_BYTES_MAX: Final = 16 << 20
"""Larger arrays, of blocks far above the usual size, are not kept."""

_local = threading.local()


def scratch_array(name: str, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array of shape (count,), overwritten when this thread takes `name` again."""
    kind = np.dtype(dtype)
    kept: dict[str, NDArray[np.uint8]] = _local.__dict__.setdefault("kept", {})
    size = count * kind.itemsize
    known = kept.get(name)
    if known is None or len(known) < size:
        known = np.empty(size + size // 4, dtype=np.uint8)
        if len(known) <= KEPT_BYTES_MAX:
            kept[name] = known
    return known[:size].view(kind)
