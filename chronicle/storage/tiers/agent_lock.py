"""One agent works on a home: the lock that says so, and the name under which the history has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from chronicle.core.durable import file_error
from chronicle.core.errors import QueueLockedError
from chronicle.storage.manifest.manifest_file import MANIFEST_FOLDER

__all__ = ["agent_lock", "agent_name"]

LOCK_NAME: Final = "agent.lock"


def agent_name() -> str:
    """Return what the history calls this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextlib.contextmanager
def agent_lock(home: Path, *, now_ns: int) -> Iterator[None]:
    """Be the one agent of a home; the lock dies with its owner.

    Raises
    ------
    QueueLockedError
        Naming the holder.
    """
    path = home / MANIFEST_FOLDER / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)  # noqa: SIM115 - held as long as the lock
    except OSError as error:
        raise file_error(error, "open the agent's lock", path) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise QueueLockedError(
                "another tiering agent works on this home",
                path=path,
                expected="no agent",
                found=_holder(file),
                hint="wait for it, or stop it; a plan needs no lock",
            ) from error
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started_ns": now_ns}
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space, only its text does
            file.truncate(0)
            file.write(json.dumps(holder).encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(4096).decode("utf-8", "replace") or "a live process"
