"""File steps that survive a power cut: write aside, sync, rename, sync the folder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronicle.core.errors import CapacityError, StoreError

__all__ = [
    "file_errors",
    "make_folder",
    "publish_bytes",
    "publish_file",
    "remove_file",
    "sync_folder",
    "temporary_name",
    "written_aside",
]

TEMPORARY_PREFIX = ".tmp-"


def temporary_name(path: Path) -> Path:
    """Return the name beside `path` under which its bytes are written first."""
    return path.parent / f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}"


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FOLDERS = threading.Lock()


def make_folder(folder: Path) -> None:
    """Make a folder and the ones above it, so that their names survive power loss too."""
    if folder.is_dir():
        return
    with _FOLDERS:  # who finds it there relies on its being synced
        missing = [folder]
        while not missing[-1].parent.is_dir() and missing[-1].parent != missing[-1]:
            missing.append(missing[-1].parent)
        folder.mkdir(parents=True, exist_ok=True)
        for made in reversed(missing):
            sync_folder(made.parent)


def publish_file(temporary: Path, path: Path) -> None:
    """Move a written and synced file to its final name, atomically and durably."""
    os.replace(temporary, path)
    sync_folder(path.parent)


def publish_bytes(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Make `path` hold `data`, or leave it as it was.

    Raises
    ------
    CapacityError
        When the disk is full.
    StoreError
        On any other failure of the file system.
    """
    temporary = temporary_name(path)
    try:
        try:
            _write_synced(temporary, data)
        except FileNotFoundError:  # the folder is not there yet
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(temporary, data)
        publish_file(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise file_error(error, f"write {len(data)} bytes", path) from error


def _write_synced(path: Path, data: bytes | bytearray | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(data)
        while len(view):
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_aside(path: Path, attempt: str = "write a file") -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it when the block ends well, remove it when it fails.

    The block syncs what it writes. A block that left no temporary file leaves `path` as it is.

    Raises
    ------
    CapacityError, StoreError
        When the file system refuses.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        if temporary.exists():
            publish_file(temporary, path)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise file_error(error, attempt, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_file(path: Path) -> None:
    """Remove `path` if it is there, durably."""
    with file_errors("remove a file", path), contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


@contextmanager
def file_errors(attempt: str, path: Path) -> Iterator[None]:
    """Turn an OSError met while trying to `attempt` at `path` into ours."""
    try:
        yield
    except OSError as error:
        raise file_error(error, attempt, path) from error


def file_error(error: OSError, attempt: str, path: Path) -> CapacityError | StoreError:
    """Return our error for an OSError met while trying to `attempt` at `path`."""
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return CapacityError(
            f"no space to {attempt}", path=path, hint="free space or move the home; nothing was lost"
        )
    return StoreError(f"could not {attempt}: {error.strerror or error}", path=path)
