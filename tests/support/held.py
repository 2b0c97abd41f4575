"""What this process holds below a folder: counts that no other test's leftovers, threads or caches touch."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["descriptors_of", "maps_of"]


def descriptors_of(folder: Path) -> list[str]:
    """Return what the open descriptors of files below `folder` point to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own, or one that another thread has closed
            continue
    return [path for path in found if path.startswith(f"{folder.resolve()}/")]


def maps_of(folder: Path) -> list[str]:
    """Return the files below `folder` that are mapped, one for each map."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    paths = [line.split(maxsplit=5)[5] for line in lines if line.count(" ") >= 5 and "/" in line]
    return [path for path in paths if path.startswith(f"{folder.resolve()}/")]
