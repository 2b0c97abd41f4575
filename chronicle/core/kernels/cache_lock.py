"""One process at a time in numba's cache of a folder of kernels.

numba keeps the compiled forms of a function in numbered files, and their numbers in an index that it reads, changes
and writes back. Of two processes that compile two forms of one function at once, as a feed and a shard do after an
installation, both may take the same number: the index that stays then names the code of the other form, in every
later process. So an entry is saved and read under a lock of the folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from numba.core.caching import IndexDataCacheFile

from chronicle.core.clock import SystemClock

__all__ = ["install"]

LOCK_NAME: Final = "lock"
_LOOK_AGAIN_NS: Final = 5_000_000
_LOOKS_MAX: Final = 2_000
"""Whoever has the lock has it for some ms; one that stands still (Ctrl-Z) costs the others 10 s and a compilation."""


def install() -> None:
    """Make numba take the lock; once is enough."""
    save, load = IndexDataCacheFile.save, IndexDataCacheFile.load
    if getattr(save, "takes_lock", False):
        return

    def save_alone(self: Any, key: object, data: object) -> None:
        with _locked(self._cache_path, fcntl.LOCK_EX) as is_locked:
            if is_locked:
                save(self, key, data)

    def load_whole(self: Any, key: object) -> Any:
        with _locked(self._cache_path, fcntl.LOCK_SH) as is_locked:
            return load(self, key) if is_locked else None

    save_alone.takes_lock = True  # type: ignore[attr-defined]
    IndexDataCacheFile.save, IndexDataCacheFile.load = save_alone, load_whole


@contextmanager
def _locked(folder: str, how: int) -> Iterator[bool]:
    """Hold the folder's lock; give whether it was to be had.

    Where it cannot be opened (no folder yet, one that may only be read), nobody of this user saves: it is not needed.
    """
    try:
        descriptor = os.open(Path(folder) / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield True
        return
    try:
        is_locked = _lock(descriptor, how)
        try:
            yield is_locked
        finally:
            if is_locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor, too
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    clock = SystemClock()
    for _ in range(_LOOKS_MAX):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            clock.sleep_ns(_LOOK_AGAIN_NS)
        except OSError:  # a file system without locks
            return True
    return False
