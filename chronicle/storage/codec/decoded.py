"""Decoded blocks that may be asked for again, of all open segments together, within one bound for the process.

A lookup often comes back to the block it looked into last. A scan holds the block it walks by itself, so a store of
any size, with any number of segments open, keeps no more than this.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from itertools import count
from typing import Final

__all__ = ["KEPT_BYTES_MAX", "DecodedBlocks", "decoded_blocks"]

KEPT_BYTES_MAX: Final = 32 << 20
"""Of all blocks that are kept; the newest one is kept whatever its size."""

Piece = tuple[int, bytes | memoryview]
"""Where in its block some decoded bytes begin, and the bytes."""


class DecodedBlocks:
    """Pieces of blocks by (owner, position), the least recently used given up first. Threads may share it."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[tuple[int, int], Piece] = OrderedDict()
        self._owners = count()
        self.bytes = 0
        self._lock = threading.Lock()

    def owner(self) -> int:
        """Return a number for a segment that nothing else has."""
        return next(self._owners)

    def get(self, owner: int, position: int) -> Piece | None:
        """Return the piece that is kept of a block."""
        with self._lock:
            found = self._kept.get((owner, position))
            if found is not None:
                self._kept.move_to_end((owner, position))
            return found

    def put(self, owner: int, position: int, piece: Piece) -> None:
        """Keep a piece instead of the one of the same block."""
        with self._lock:
            known = self._kept.pop((owner, position), None)
            self.bytes += len(piece[1]) - (0 if known is None else len(known[1]))
            self._kept[owner, position] = piece
            while self.bytes > self._bytes_max and len(self._kept) > 1:
                self.bytes -= len(self._kept.popitem(last=False)[1][1])

    def drop(self, owner: int) -> None:
        """Give up what is kept of a segment."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == owner]:
                self.bytes -= len(self._kept.pop(key)[1])

    def unlock(self) -> None:
        """Start a forked process with a free lock: the thread that held it is not there."""
        self._lock = threading.Lock()


_BLOCKS = DecodedBlocks()
os.register_at_fork(after_in_child=_BLOCKS.unlock)


def decoded_blocks() -> DecodedBlocks:
    """Return this process' kept blocks."""
    return _BLOCKS
