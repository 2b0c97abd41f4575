"""The lock that makes a queue's writer single, and who has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.durable import file_error, file_errors
from chronicle.core.errors import QueueLockedError
from chronicle.core.mapping import FileHold, hold_file

__all__ = ["WriterLock", "lock_exclusively", "lock_holder", "maps_keep_locks"]

LOCK_NAME = "lock"
_YIELDS = 100
_LOOK_AGAIN_NS = 1_000_000
_ASKED_NS_MAX = 20_000_000_000
"""Whoever asks for the holder may be stopped (Ctrl-Z, a busy machine) just when it has its shared lock."""


class WriterLock:
    """The OS lock that makes a queue's writer single; it dies with its owner, whatever kills it.

    Where the file system lets it, the locked file is kept open by a map instead of a descriptor (decision 39), so
    that a process may write more queues than it may have descriptors.
    """

    __slots__ = ("_file", "_hold", "_path")

    def __init__(self, path: Path, file: IO[bytes] | None, hold: FileHold | None) -> None:
        self._path = path
        self._file = file
        self._hold = hold

    @property
    def keeps_descriptor(self) -> bool:
        """Whether a descriptor stays open for it."""
        return self._file is not None

    @classmethod
    def acquire(cls, folder: Path, *, started_ns: int) -> WriterLock:
        """Take the lock or say who holds it.

        Raises
        ------
        QueueLockedError
            When a live process (or another appender of this one) holds it.
        """
        path = folder / LOCK_NAME
        try:
            file = open(path, "a+b", buffering=0)  # noqa: SIM115 - the lock lives as long as the file is open
        except OSError as error:
            raise file_error(error, "open the writer lock", path) from error
        try:
            free = lock_exclusively(file.fileno(), path)
        except BaseException:
            file.close()
            raise
        if not free:
            holder = lock_holder(folder)
            file.close()
            raise QueueLockedError(
                "another writer owns the queue",
                path=folder,
                expected="no writer",
                found=holder or "a live process",
                hint="stop it, or read with a tailer: readers need no lock",
            )
        holder = {"pid": os.getpid(), "host": os.uname().nodename, "started_ns": started_ns}
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space, only its text does
            file.truncate(0)
            file.write(json.dumps(holder).encode("utf-8"))
        hold = hold_file(file.fileno()) if maps_keep_locks(folder) else None
        if hold is None:
            return cls(path, file, None)
        file.close()
        return cls(path, None, hold)

    def release(self) -> None:
        """Give the lock up."""
        file, self._file = self._file, None
        hold, self._hold = self._hold, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.truncate(0)
            file.close()
        if hold is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
            hold.release()


_KEEPS_LOCKS: dict[int, bool] = {}


def maps_keep_locks(folder: Path) -> bool:
    """Return whether a ``flock`` outlives its descriptor here while the file is mapped (tried once a file system).

    Local file systems of Linux do so; some that lie elsewhere give every lock up when a descriptor is closed.
    """
    try:
        device = os.stat(folder).st_dev
        if device not in _KEEPS_LOCKS:
            _KEEPS_LOCKS[device] = _try_lock(folder)
    except OSError:
        return False
    return _KEEPS_LOCKS[device]


def _try_lock(folder: Path) -> bool:
    """Lock a file without a name, close its descriptor, and see whether the lock is still there."""
    first = os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hold = hold_file(first)
        second = os.open(f"/proc/self/fd/{first}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(first)
    try:
        if hold is None:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hold.release()
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and it goes with the map
            return True
        return False
    finally:
        os.close(second)


def lock_exclusively(descriptor: int, path: Path, *, clock: Clock | None = None) -> bool:
    """Take the flock of an open file; return whether nobody else has it.

    Whoever asks for the holder takes a shared lock for a moment (see :func:`lock_holder`). That is not an owner:
    while a shared lock can be had, the exclusive one is tried again, for 20 s at most.
    """
    clock = clock or SystemClock()
    end_ns = clock.monotonic_ns() + _ASKED_NS_MAX
    attempts = 0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file_errors("look at a lock", path), open(path, "rb") as probe:
                try:
                    fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            attempts += 1
            if attempts <= _YIELDS:
                os.sched_yield()
            elif clock.monotonic_ns() >= end_ns:
                return False
            else:
                clock.sleep_ns(_LOOK_AGAIN_NS)
        except OSError as error:
            raise file_error(error, "take a lock", path) from error
        else:
            return True


def lock_holder(folder: Path) -> dict[str, Any] | None:
    """Return {pid, host, started_ns} of the live holder, or None when the lock is free."""
    path = folder / LOCK_NAME
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                text = file.read(4096)
            else:
                fcntl.flock(file, fcntl.LOCK_UN)
                return None
    except OSError:
        return None
    try:
        holder = json.loads(text)
    except ValueError:
        return {"pid": 0}
    return holder if isinstance(holder, dict) else {"pid": 0}
