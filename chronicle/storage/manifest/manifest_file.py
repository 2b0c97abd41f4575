"""The manifest's file: one LMDB environment a folder and process, how it is made and set aside, and its errors."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack

from chronicle.core.durable import file_error, make_folder, sync_folder
from chronicle.core.errors import CapacityError, CorruptionError, StoreError

__all__ = ["MANIFEST_FOLDER", "MANIFEST_VERSION", "databases_of", "environment_of", "manifest_error", "set_aside"]

MANIFEST_VERSION: Final = 1
MANIFEST_FOLDER: Final = "manifest"
MAP_BYTES: Final = 16 << 30
"""Address space, not disk: the file grows with what it holds."""
READERS_MAX: Final = 1024
LOCK_BYTES: Final = 192 + 64 * (READERS_MAX - 1)
"""Of LMDB's lock file: its header with the first reader's slot, and one cache line for each further reader."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ROOM_BYTES: Final = 64 << 10
"""With less free than this, a write that LMDB could not finish is taken for a full disk."""


def manifest_error(error: lmdb.Error, path: Path) -> CapacityError | CorruptionError | StoreError:
    """Return our error for one of LMDB's."""
    full = isinstance(error, (lmdb.MapFullError, lmdb.DiskError))
    if full or (type(error) is lmdb.Error and "Input/output" in str(error) and _is_full(path)):
        return CapacityError(f"no space for the manifest: {error}", path=path, hint="free space; nothing was lost")
    if isinstance(error, (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)):
        return CorruptionError(
            f"the manifest is damaged: {error}", path=path, hint="make it again: chronicle tier rebuild"
        )
    return StoreError(f"the manifest could not be used: {error}", path=path)


def _is_full(path: Path) -> bool:
    """Return whether the file system has no room: LMDB tells a write that was cut short as an input/output error."""
    try:
        room = os.statvfs(path)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _ROOM_BYTES


# LMDB must not be opened twice by one process, so that environments are shared here, one for each folder (told by
# its inode: a home that was removed and made again is another one) and each process.
# The last Manifest that lets go closes the files.
_SHARED: weakref.WeakValueDictionary[tuple[int, int, int], Any] = weakref.WeakValueDictionary()
_SHARED_LOCK = threading.Lock()


def environment_of(folder: Path, *, create: bool) -> Any:
    with _SHARED_LOCK:
        if create:
            make_folder(folder)
        found = folder.stat()
        identity = (os.getpid(), found.st_dev, found.st_ino)
        shared = _SHARED.get(identity)
        if shared is None:
            _leave_to_parent(identity)
            shared = _open_environment(folder, create=create)
            if shared is not None:
                _SHARED[identity] = shared
        return shared


def _leave_to_parent(identity: tuple[int, int, int]) -> None:
    """Close what a forked process has of its parent's environment of the same folder: LMDB refuses a second one.

    Only this process' map and descriptors go: in the lock file LMDB clears the slots of the process that closes.
    """
    process, *folder = identity
    for key in [key for key in _SHARED if key[0] != process and list(key[1:]) == folder]:
        inherited = _SHARED.pop(key, None)
        if inherited is not None:
            inherited.close()


def _unlock() -> None:
    """Start a forked process with a free lock: the thread that held it is not there."""
    global _SHARED_LOCK
    _SHARED_LOCK = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


def set_aside(home: str | Path) -> None:
    """Rename the files of a damaged manifest, so that a new one can be made; handles of this process are closed."""
    folder = Path(home) / MANIFEST_FOLDER
    with _SHARED_LOCK:
        found = folder.stat()
        shared = _SHARED.pop((os.getpid(), found.st_dev, found.st_ino), None)
        if shared is not None:
            shared.close()
        for name in ("data.mdb", "lock.mdb"):
            if (folder / name).exists():
                (folder / name).replace(folder / f"damaged-{name}")


def _open_environment(folder: Path, *, create: bool) -> Any:
    writable = os.access(folder, os.W_OK)
    options: dict[str, Any] = {"max_dbs": 8, "map_size": MAP_BYTES, "max_readers": READERS_MAX}
    if not writable:
        # Without a writable lock file LMDB cannot register readers; a read-only medium has no writer either.
        return lmdb.open(str(folder), readonly=True, lock=False, create=False, **options)
    _reserve_lock(folder / "lock.mdb")
    environment = lmdb.open(str(folder), create=create, **options)
    names = databases_of(environment)
    if {b"segments", b"meta"} <= names:
        return environment
    if not create:
        environment.close()
        if not names:  # another process is about to make it
            return None
        raise CorruptionError("this is no manifest", path=folder, hint="make it again: chronicle tier rebuild")
    with environment.begin(write=True) as transaction:
        environment.open_db(b"segments", txn=transaction)
        meta = environment.open_db(b"meta", txn=transaction)
        transaction.put(b"version", msgpack.packb(MANIFEST_VERSION), db=meta)
        transaction.put(b"home_id", msgpack.packb(os.urandom(16).hex()), db=meta)
    sync_folder(folder)  # LMDB syncs its file, not the file's name
    return environment


def _reserve_lock(path: Path) -> None:
    """Give LMDB's lock file its disk space before it is mapped: on a full disk the first touch of a hole kills.

    Its size is that of a header and a slot for each reader; LMDB takes a file of this size as it is.

    Raises
    ------
    CapacityError
        When there is no space for it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _FULL:
            raise file_error(error, "make the manifest's lock file", path) from error
        return  # LMDB says what is wrong with it
    try:
        found = os.fstat(descriptor)
        if found.st_size < LOCK_BYTES or found.st_blocks * 512 < found.st_size:
            os.posix_fallocate(descriptor, 0, max(found.st_size, LOCK_BYTES))
    except OSError as error:
        if error.errno in _FULL:
            raise file_error(error, "reserve the manifest's lock file", path) from error
    finally:
        os.close(descriptor)


def databases_of(environment: Any) -> set[bytes]:
    with environment.begin() as transaction:
        return {bytes(key) for key in transaction.cursor().iternext(values=False)}
