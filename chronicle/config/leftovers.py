"""Memory folders in /dev/shm whose homes are gone: found, judged, removed. A live writer's is never touched."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from chronicle.config.home import FOLDER_PREFIX, MARKER_NAME, SHARED_MEMORY, raw_place
from chronicle.core.durable import file_error
from chronicle.core.errors import QueueLockedError, StateError

__all__ = ["Leftover", "find_memory", "folder_bytes", "locked_queues", "remove_memory"]

MARKER_BYTES_MAX = 64 * 1024
LOCK_NAME = "lock"
REMOVALS_MAX = 100
"""Each begins where another process took something away."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One memory folder: whose it is and whether anybody still needs it.

    `state` is ``used`` (its home is there and links to it), ``gone`` (the home is not there, or no longer links to
    it), ``locked`` (a live writer is in it) or ``foreign`` (another user's, or without our marker).
    """

    folder: Path
    home: str
    state: str
    size_bytes: int


def find_memory(shared: Path = SHARED_MEMORY) -> list[Leftover]:
    """Return every folder in `shared` that carries our name, sorted, with its state."""
    try:
        names = sorted(entry.name for entry in os.scandir(shared) if entry.name.startswith(FOLDER_PREFIX))
    except OSError:
        return []
    return [_judge(shared / name) for name in names if not (shared / name).is_symlink() and (shared / name).is_dir()]


def remove_memory(folder: Path) -> None:
    """Remove a memory folder.

    Raises
    ------
    QueueLockedError
        When a live writer is in it.
    """
    locked = locked_queues(folder)
    if locked:
        raise QueueLockedError(
            "a live writer is in this memory: nothing was removed", path=locked[0], hint="stop it first (SIGTERM)"
        )
    for _ in range(REMOVALS_MAX):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # of another who removes it at the same time: what is left is looked at anew
            if not folder.exists():
                return
        except OSError as error:
            raise file_error(error, "remove the memory folder", folder) from error
        else:
            return
    raise StateError("the memory folder changes while it is removed", path=folder, hint="try again")


def locked_queues(folder: Path) -> list[Path]:
    """Return the queues below `folder` whose writer is alive: their lock cannot be taken."""
    queues = (Path(place) for place, _, files in os.walk(folder) if place.endswith(".q") and LOCK_NAME in files)
    return sorted(queue for queue in queues if _is_held(queue / LOCK_NAME))


def _is_held(lock: Path) -> bool:
    """Return whether a writer has the lock; asked with a shared one, which a writer that starts now does not mind."""
    import fcntl

    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _judge(folder: Path) -> Leftover:
    home = _marked_home(folder)
    size = folder_bytes(folder)
    try:
        mine = folder.stat().st_uid == os.getuid()
    except OSError:
        mine = False
    if home is None or not mine:
        return Leftover(folder, home or "", "foreign", size)
    if locked_queues(folder):
        return Leftover(folder, home, "locked", size)
    place = raw_place(Path(home))
    used = place is not None and place.parent == folder
    return Leftover(folder, home, "used" if used else "gone", size)


def _marked_home(folder: Path) -> str | None:
    try:
        with open(folder / MARKER_NAME, "rb") as file:
            value = json.loads(file.read(MARKER_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    home = value.get("home") if isinstance(value, dict) else None
    return home if isinstance(home, str) and home.startswith("/") else None


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files below `folder` occupy."""
    total = 0
    for place, folders, files in os.walk(folder):  # what goes meanwhile is passed over
        for name in (*folders, *files):
            try:
                stat = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            total += stat.st_blocks * 512
    return total
