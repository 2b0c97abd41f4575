"""What an object store is asked for, one request each; :mod:`chronicle.storage.stores.remote` makes stores of them.

Implementations try once and tell what happened by these errors: :class:`UnavailableError` (ask again later),
:class:`NotFoundError`, :class:`CapacityError`, :class:`ConditionFailedError`, :class:`ConditionRefusedError`, and
:class:`StoreError` for whatever asking again does not change.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chronicle.core.errors import StoreError

__all__ = [
    "ConditionFailedError",
    "ConditionRefusedError",
    "NotedPart",
    "NotedUpload",
    "Part",
    "Requests",
    "Upload",
    "UploadGoneError",
    "UploadJournal",
    "requests_made",
]


class ConditionFailedError(StoreError):
    """The object is not the version that a conditional put named."""

    kind = "condition_failed"


class ConditionRefusedError(StoreError):
    """The store does not take conditional puts (it answers 501)."""

    kind = "condition_refused"


class UploadGoneError(StoreError):
    """An upload in parts is no longer known while it is written: it expired, or somebody gave it up."""

    kind = "upload_gone"


@dataclass(frozen=True, slots=True)
class Part:
    """An uploaded part: its number from 1, what the store calls it, its bytes where the store listed it."""

    number: int
    token: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun and not completed. `alike`: as it would be begun today (class, encryption)."""

    name: str
    id: str
    alike: bool


@dataclass(frozen=True, slots=True)
class NotedPart:
    """A part that was taken: its bytes, the store's token for it, xxh3_128 of the bytes."""

    size: int
    token: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class NotedUpload:
    """An upload as it was noted when it was begun, and its parts when they were taken, by their numbers."""

    id: str
    made_as: str
    parts: dict[int, NotedPart]


class UploadJournal(Protocol):
    """Keeps of uploads what stores do not tell; each note is durable when the call returns."""

    def known(self, name: str) -> NotedUpload | None:
        """Return what was noted of an object's upload."""
        ...

    def begun(self, name: str, upload: str, made_as: str) -> None:
        """Note an upload in the place of a former one."""
        ...

    def taken(self, name: str, number: int, part: NotedPart) -> None:
        """Note a part that the store took."""
        ...


class Requests(Protocol):
    """Single requests below one root. `staged`: objects grow in sight, and need a temporary name and a move.

    `made_as` says how uploads are begun (class, encryption) where a listing does not tell it and the tokens of parts
    need not say what their bytes are: such uploads are gone on with by what was noted of them. "": a listing tells.
    """

    @property
    def location(self) -> str:
        """The root as people write it."""
        ...

    @property
    def staged(self) -> bool:
        """Whether a half-written object is seen under its name."""
        ...

    @property
    def made_as(self) -> str:
        """How uploads are begun, where that must be noted."""
        ...

    def get(self, name: str, start: int | None, length: int | None) -> tuple[bytes, str]:
        """Return bytes [start, start + length) of an object (all of it with None) and its version's token."""
        ...

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when it is not there."""
        ...

    def put(self, name: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        """Write an object whole; only over the version `match`, or only where there is none, when asked."""
        ...

    def begin(self, name: str) -> str:
        """Begin an upload in parts, and return its id."""
        ...

    def part(self, name: str, upload: str, number: int, data: bytes) -> Part:
        """Upload part `number` (from 1); again with the same number replaces it."""
        ...

    def parts(self, name: str, upload: str, after: int) -> tuple[list[Part], int | None]:
        """Return some parts that the store holds, of numbers above `after`, and after which number it goes on."""
        ...

    def holds(self, part: Part, data: bytes) -> bool:
        """Return whether a listed part is proven to be `data`, by size and checksum; nothing is asked."""
        ...

    def complete(self, name: str, upload: str, parts: Sequence[Part], *, absent: bool = False) -> None:
        """Make the object of its parts; only where there is none of this name, when asked."""
        ...

    def abort(self, name: str, upload: str) -> None:
        """Give an upload up; its parts are removed."""
        ...

    def uploads(self, prefix: str, token: str | None = None) -> tuple[list[Upload], str | None]:
        """Return some uploads that were begun and neither completed nor given up, and the token of the next page."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""
        ...

    def move(self, source: str, target: str) -> None:
        """Rename an object (only asked of staged stores)."""
        ...

    def page(self, prefix: str, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        """Return some (name, bytes) whose names start with `prefix`, in order, and the token of the next page."""
        ...


class _Tally(threading.local):
    count = 0


_tally = _Tally()


def requests_made() -> int:
    """Return how many requests this thread has sent to object stores; answers tell the difference as their cost."""
    return _tally.count


def count_request() -> None:
    """Count a request of this thread."""
    _tally.count += 1
