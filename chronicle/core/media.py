"""What a folder stands on: a device, or memory that a reboot empties."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_memory"]

MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
MOUNT_TABLE = Path("/proc/self/mountinfo")
_DEVICE, _MOUNT_FIELDS_MIN = 2, 10


def is_memory(folder: Path) -> bool:
    """Return whether `folder` (or its nearest parent that is there) lies on a file system without a device.

    The file system is looked up by device number in the mount table (proc(5), mountinfo). Where there is no such
    table, or it does not list the device (some overlays), the answer is False.
    """
    try:
        device = _device(folder)
        table = MOUNT_TABLE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) >= _MOUNT_FIELDS_MIN and fields[_DEVICE] == device and "-" in fields:
            return fields[fields.index("-") + 1] in MEMORY_FILE_SYSTEMS
    return False


def _device(folder: Path) -> str:
    place = folder.absolute()
    while True:
        try:
            number = os.stat(place).st_dev
        except FileNotFoundError:
            if place == place.parent:
                raise
            place = place.parent
            continue
        return f"{os.major(number)}:{os.minor(number)}"
