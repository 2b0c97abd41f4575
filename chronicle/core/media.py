"""What a folder stands on: a device, or memory that a reboot empties."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

__all__ = ["is_memory"]

MEMORY_FILE_SYSTEMS: Final = frozenset({0x01021994, 0x858458F6, 0x958458F6})
"""Numbers by which statfs(2) tells tmpfs (devtmpfs too), ramfs and hugetlbfs."""
_Statfs = ctypes.c_long * 32
"""A struct statfs begins with the number, and none is larger."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.statfs.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Statfs)]


def is_memory(folder: Path) -> bool:
    """Return whether `folder` (or its nearest parent that is there) lies on a file system without a device.

    The kernel is asked for the file system's number (statfs(2), the first word of its answer); where it does not
    answer, the answer is False.
    """
    answer, place = _Statfs(), os.fspath(folder)
    while _libc.statfs(os.fsencode(place), answer) != 0:
        place = os.path.abspath(place)
        above = os.path.dirname(place)
        if ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR) or above == place:
            return False
        place = above
    return answer[0] & 0xFFFFFFFF in MEMORY_FILE_SYSTEMS
