"""The ledger of captures: what was replayed into a home, where to, and what was interrupted.

``raw/captures.json`` is replaced as a whole, durably, before a capture writes its first record and after its last.
An entry that says ``started`` tells the next run of the same command where the capture began, so that it continues.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import xxhash

from chronicle.core.durable import publish_bytes
from chronicle.core.errors import AlreadyCapturedError, CorruptionError, DecodeError, StoreError
from chronicle.core.layout import NONE
from chronicle.core.queue import Queue
from chronicle.feed.captures.capture import Capture
from chronicle.feed.captures.wire import queues_of

__all__ = ["Entry", "Fingerprint", "Ledger", "fingerprint_of"]

LEDGER_NAME: Final = "captures.json"
LOCK_NAME: Final = "captures.lock"
_READ_BYTES: Final = 1 << 20

STARTED: Final = "started"
DONE: Final = "done"
LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What makes two captures the same: contents of the files, format and venues. Names and order do not count."""

    digest: str
    files: tuple[tuple[str, str], ...]
    """(name, xxh3_128 of the content), for people and for the check of single files."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One capture in the ledger. Indexes and times are those at its start; times in ns, NONE when unknown."""

    capture: str
    fingerprint: str
    format: str
    files: list[list[str]]
    lane: int
    wire_start: int
    raw_start: int
    state: str
    first_ts: int = NONE
    last_ts: int = NONE
    frames: int = 0
    records: int = 0
    feed: str = "main"
    """Name of the raw and wire queue that it went to."""


def fingerprint_of(capture: Capture) -> Fingerprint:
    """Return the fingerprint of a capture; every file is read once.

    Raises
    ------
    DecodeError
        When a file cannot be read.
    """
    files = []
    for path in capture.paths:
        if capture.format == "wire":
            files += [(queue.name, _queue_digest(queue)) for queue in queues_of(path)]
        else:
            files.append((path.name, _file_digest(path)))
    whole = xxhash.xxh3_128()
    whole.update(repr((capture.format, capture.venues, sorted(digest for _, digest in files))).encode())
    return Fingerprint(whole.hexdigest(), tuple(sorted(files)))


def _file_digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
    except OSError as error:
        raise DecodeError(f"cannot read the capture: {error.strerror or error}", path=path) from error
    return str(digest.hexdigest())


def _queue_digest(queue: Queue) -> str:
    """A queue is what its identity and its range of records say: segments are never changed."""
    return f"{queue.settings.queue_id}:{queue.generation}:{queue.first_index()}-{queue.end_index()}"


class Ledger:
    """The captures of one home.

    Parameters
    ----------
    home : Path
        Its ``raw`` folder must exist.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "raw" / LEDGER_NAME
        self._lock_path = home / "raw" / LOCK_NAME

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first.

        Raises
        ------
        CorruptionError
            When the ledger is not one.
        """
        try:
            values = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise CorruptionError(f"cannot read the ledger of captures: {error}", path=self.path) from error
        try:
            if values["schema"] != 1:
                raise ValueError(f"schema {values['schema']}")  # noqa: TRY301
            return [Entry(**row) for row in values["captures"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptionError(f"the ledger of captures is malformed: {error}", path=self.path) from error

    def unfinished(self, fingerprint: Fingerprint) -> Entry | None:
        """Return the interrupted capture with this fingerprint, or None."""
        for entry in self.entries():
            if entry.state == STARTED and entry.fingerprint == fingerprint.digest:
                return entry
        return None

    def lanes_taken(self, feed: str = "main") -> frozenset[int]:
        """Return the lanes of a feed's queues in which an interrupted capture has still to end."""
        return frozenset(entry.lane for entry in self.entries() if entry.state == STARTED and entry.feed == feed)

    def refuse_twice(self, capture: Capture, fingerprint: Fingerprint) -> None:
        """Refuse a capture that was taken in before, also when its market data came with other files.

        Raises
        ------
        AlreadyCapturedError
            It names the file and the earlier capture.
        """
        lines = {path.name for path in capture.paths if capture.holds_line(path)} | set(_queue_names(capture))
        for entry in self.entries():
            if entry.state == LIVE:
                continue
            known = {digest for _, digest in entry.files}
            for name, digest in fingerprint.files:
                if digest in known and (name in lines or entry.fingerprint == fingerprint.digest):
                    raise AlreadyCapturedError(
                        f"{name} was already replayed into this home: capture {entry.capture} in lane {entry.lane}",
                        path=self.path,
                        hint="--again replays it once more, into a lane of its own",
                    )

    def next_id(self, fingerprint: Fingerprint) -> str:
        """Return the id of the next capture with this fingerprint; a repeat gets ``-2``, ``-3`` ..."""
        count = sum(entry.fingerprint == fingerprint.digest for entry in self.entries())
        return fingerprint.digest[:16] + (f"-{count + 1}" if count else "")

    def add(self, entry: Entry) -> None:
        """Add an entry, durably; of live sessions only the newest of a lane is kept."""
        with self._locked():
            entries = self.entries()
            if entry.state == LIVE:
                replaced = (LIVE, entry.feed, entry.lane)
                entries = [old for old in entries if (old.state, old.feed, old.lane) != replaced]
            self._publish([*entries, entry])

    def finish(self, entry: Entry, **changes: Any) -> None:
        """Mark a capture as whole, durably."""
        with self._locked():
            finished = replace(entry, state=DONE, **changes)
            self._publish([finished if old.capture == entry.capture else old for old in self.entries()])

    def followed(self, entry: Entry) -> bool:
        """Whether something else was written to the entry's lane after it."""
        place = (entry.feed, entry.lane)
        return any(
            (other.feed, other.lane) == place
            and other.wire_start > entry.wire_start
            and other.capture != entry.capture
            for other in self.entries()
        )

    def _publish(self, entries: list[Entry]) -> None:
        values = {"schema": 1, "captures": [asdict(entry) for entry in entries]}
        publish_bytes(self.path, json.dumps(values, indent=1).encode("utf-8"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"cannot lock the ledger: {error.strerror or error}", path=self._lock_path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _queue_names(capture: Capture) -> list[str]:
    if capture.format != "wire":
        return []
    return [queue.name for path in capture.paths for queue in queues_of(path)]
