"""Which form of the decoding loops a process uses: plain NumPy at first, the kernels once that pays."""

from __future__ import annotations

import sys
from typing import Any, Final

from chronicle.storage.codec.event_layout import COMPACTED

__all__ = ["arrays", "arrays_now", "has_kernels", "rows_of_code"]

PLAIN_BLOCKS: Final = 3
"""A process decodes so many blocks in plain NumPy (some 10 ms each) before it loads the kernels (some 300 ms)."""

_blocks = 0
_kernels: Any = None


def arrays() -> Any:
    """Return the module of decoding loops for the next block: ``event_arrays`` or ``event_kernels``.

    A process that has numba already uses the kernels from the start.
    """
    global _blocks, _kernels
    if _kernels is not None:
        return _kernels
    _blocks += 1
    if _blocks > PLAIN_BLOCKS or "numba" in sys.modules:
        from chronicle.storage.codec import event_kernels

        _kernels = event_kernels
        return event_kernels
    from chronicle.storage.codec import event_arrays

    return event_arrays


def arrays_now() -> Any:
    """Return the module of decoding loops without counting: the compiled form only where it is loaded already."""
    if "chronicle.storage.codec.event_kernels" in sys.modules:
        from chronicle.storage.codec import event_kernels

        return event_kernels
    from chronicle.storage.codec import event_arrays

    return event_arrays


def rows_of_code(version: int) -> Any:
    """Return the class that reads the code of a compacted block of `version`; either needs the kernels."""
    if version == COMPACTED:
        from chronicle.storage.codec.event_coded import CodedRows

        return CodedRows
    from chronicle.storage.codec.event_tabled import TabledRows

    return TabledRows


def has_kernels() -> bool:
    """Return whether kernels of this room are loaded already: a small loop then costs nothing to call."""
    return "chronicle.storage.kernels" in sys.modules
