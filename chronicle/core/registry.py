"""Named tailers of a queue: their stored positions, and whether their processes live.

``tailers/NAME.json`` holds the position, published whole at every commit. ``tailers/NAME.lock`` is held with
``flock`` while a tailer of that name is open; its text names the process and is emptied by a clean close. So four
states can be told apart without timeouts:

live: the lock is held. dead: it is free and its text still names a process, which ended without closing. parked: it
was closed. new: it was registered and never committed a position.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chronicle.core.durable import file_error, file_errors, publish_bytes, remove_file
from chronicle.core.errors import ConfigError, ForeignFileError, NotFoundError, QueueLockedError, StateError
from chronicle.core.writer_lock import lock_exclusively

__all__ = ["TailerInfo", "TailerLock", "drop_tailer", "list_tailers", "load_position", "store_position"]

TAILERS_FOLDER = "tailers"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class TailerInfo:
    """A named tailer as seen from outside.

    `index` is its stored position (what it committed), `lag` the records committed behind it, `state` one of
    ``new parked live dead``; `pid` and `host` name the process of a live or dead one. `committed_ns` is when the
    position was stored; None when it never was.
    """

    name: str
    index: int
    lag: int
    state: str
    pid: int | None
    host: str | None
    committed_ns: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def check_name(name: str) -> None:
    """Refuse what cannot be a file's name.

    Raises
    ------
    ConfigError
        With what a name may be.
    """
    if not (_NAME.fullmatch(name) and name.strip(".")):
        raise ConfigError(
            f"a tailer cannot be named {name[:80]!r}",
            expected="1 to 64 of A-Z a-z 0-9 _ . -",
            found=name[:80],
        )


class TailerLock:
    """The OS lock of a named tailer; it dies with its owner. On read-only media there is none, and reading works."""

    __slots__ = ("__weakref__", "_finalize", "held")

    def __init__(self, descriptor: int | None) -> None:
        self.held = descriptor is not None
        self._finalize = None if descriptor is None else weakref.finalize(self, _give_up, descriptor)

    @classmethod
    def acquire(cls, folder: Path, name: str, *, opened_ns: int) -> TailerLock:
        """Take the name.

        Raises
        ------
        QueueLockedError
            When a live tailer has it: two readers would overwrite one another's position.
        """
        path = folder / TAILERS_FOLDER / f"{name}.lock"
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return cls(None)
        try:
            free = lock_exclusively(descriptor, path)
            with file_errors("read a tailer's lock", path):
                holder = {} if free else _holder(os.pread(descriptor, 4096, 0))
        except BaseException:
            os.close(descriptor)
            raise
        if not free:
            os.close(descriptor)
            raise QueueLockedError(
                f"another tailer named {name!r} is open",
                path=path,
                expected="no live tailer of that name",
                found=holder or "a live process",
                hint="give each reader a name of its own, or none",
            )
        values = {"pid": os.getpid(), "host": socket.gethostname(), "opened_ns": opened_ns}
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space, only its text does
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(values).encode("utf-8"), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Give the name up cleanly."""
        self.held = False
        if self._finalize is not None:
            self._finalize()


def _give_up(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def load_position(folder: Path, name: str) -> int | None:
    """Return the stored position of a tailer, or None when there is none.

    Raises
    ------
    ForeignFileError
        When its file is not ours.
    """
    values = _load(folder / TAILERS_FOLDER / f"{name}.json")
    return None if values is None else int(values["index"])


def store_position(folder: Path, name: str, index: int, *, now_ns: int | None) -> None:
    """Publish a position. `now_ns` is None for a tailer that is registered and has not read yet."""
    values = {"index": index, "committed_ns": now_ns}
    publish_bytes(folder / TAILERS_FOLDER / f"{name}.json", json.dumps(values).encode("ascii"))


def list_tailers(folder: Path, end_index: int) -> list[TailerInfo]:
    """Return the named tailers of the queue in `folder`, by name; it ends at `end_index`."""
    try:
        names = sorted(entry[:-5] for entry in os.listdir(folder / TAILERS_FOLDER) if entry.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise file_error(error, "list the tailers", folder / TAILERS_FOLDER) from error
    found = []
    for name in names:
        if not _NAME.fullmatch(name) or name.startswith(".tmp"):
            continue
        values = _load(folder / TAILERS_FOLDER / f"{name}.json")
        if values is None:
            continue
        state, holder = _state(folder / TAILERS_FOLDER / f"{name}.lock")
        if state == "parked" and values["committed_ns"] is None:
            state = "new"
        index = int(values["index"])
        found.append(
            TailerInfo(
                name=name,
                index=index,
                lag=max(end_index - index, 0),
                state=state,
                pid=holder.get("pid"),
                host=holder.get("host"),
                committed_ns=values["committed_ns"],
            )
        )
    return found


def drop_tailer(folder: Path, name: str) -> None:
    """Forget a tailer, so that retention no longer waits for it.

    Raises
    ------
    StateError
        When it is open.
    NotFoundError
        When there is none of that name.
    """
    check_name(name)
    path = folder / TAILERS_FOLDER / f"{name}.json"
    if not path.exists():
        raise NotFoundError(f"there is no tailer {name!r}", path=path.parent)
    state, holder = _state(path.with_name(f"{name}.lock"))
    if state == "live":
        raise StateError(
            f"the tailer {name!r} is open",
            path=path,
            expected="a parked or dead tailer",
            found=holder,
            hint="stop its process first",
        )
    remove_file(path)
    remove_file(path.with_name(f"{name}.lock"))


def _state(lock: Path) -> tuple[str, dict[str, Any]]:
    try:
        with open(lock, "rb") as file:
            text = file.read(4096)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return "live", _holder(text)
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        return "parked", {}
    return ("dead", _holder(text)) if text else ("parked", {})


def _holder(text: bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _load(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
        committed_ns = values["committed_ns"]
        return {"index": int(values["index"]), "committed_ns": None if committed_ns is None else int(committed_ns)}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, "read the tailer's position", path) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ForeignFileError(f"cannot read the tailer's position: {error}", path=path) from error
