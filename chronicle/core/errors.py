"""The one tree of errors that bad bytes, disks, networks and callers can cause.

Each class has a stable ``kind`` (for programs) and carries what was attempted, where, what was expected and
found, and what to do next (for people). Our own mistakes are assertions, not these.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlreadyCapturedError",
    "BookNotTrustedError",
    "CapacityError",
    "ChronicleError",
    "ConfigError",
    "CorruptionError",
    "DecodeError",
    "ForeignFileError",
    "NotFoundError",
    "QueueLockedError",
    "RangeError",
    "RecordError",
    "RetiredError",
    "SqlError",
    "StateError",
    "StoreError",
    "SymbolError",
    "TornSegmentError",
    "UnavailableError",
    "VersionError",
]


class ChronicleError(Exception):
    """Base of every error a user, a file, a disk or a network can cause.

    Parameters
    ----------
    message : str
        What was attempted and what was found.
    path, offset, expected, found, hint : optional
        Where it happened, the two sides of a failed comparison, and what to do next. They are kept as
        attributes and rendered into the text.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        path: object = None,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else str(path)
        self.offset = offset
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.path is not None:
            parts.append(f"path: {self.path}" + ("" if self.offset is None else f" at offset {self.offset}"))
        elif self.offset is not None:
            parts.append(f"offset: {self.offset}")
        sides = (("expected", self.expected), ("found", self.found))
        compared = ", ".join(f"{side} {value}" for side, value in sides if value is not None)
        if compared:
            parts.append(compared)
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain values, for ``--json``."""
        fields = ("path", "offset", "expected", "found", "hint")
        values = {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
        return {"error": self.kind, "message": self.message} | {
            name: value if isinstance(value, (int, str)) else str(value) for name, value in values.items()
        }


class ConfigError(ChronicleError):
    """A setting, an option or an argument that cannot be used."""

    kind = "config"
    exit_code = 2


class NotFoundError(ChronicleError):
    """A home, a queue, a symbol, a segment or a file that is not there."""

    kind = "not_found"
    exit_code = 3


class SymbolError(NotFoundError):
    """A symbol that no venue list and no captured instrument knows."""

    kind = "symbol"


class ForeignFileError(ChronicleError):
    """A file that is not of our making where one of ours was expected."""

    kind = "foreign_file"
    exit_code = 4


class VersionError(ChronicleError):
    """A file of a version or byte order that this build does not read."""

    kind = "version"
    exit_code = 4


class CorruptionError(ChronicleError):
    """Bytes that were sealed or committed and are not what they were."""

    kind = "corruption"
    exit_code = 5


class TornSegmentError(CorruptionError):
    """A segment that ends before its own header says that it does."""

    kind = "torn_segment"


class RecordError(ChronicleError):
    """A record that breaks the layout: length, kind, order or size."""

    kind = "record"
    exit_code = 2


class RangeError(ChronicleError):
    """A time range or an index that cannot be served."""

    kind = "range"
    exit_code = 2


class QueueLockedError(ChronicleError):
    """Another live writer owns the queue."""

    kind = "locked"
    exit_code = 6


class CapacityError(ChronicleError):
    """No space for the next segment: disk, tmpfs or a stated bound."""

    kind = "capacity"
    exit_code = 7


class StateError(ChronicleError):
    """An operation that the present state does not allow."""

    kind = "state"
    exit_code = 2


class RetiredError(NotFoundError):
    """A segment that was retired by policy: its records are no longer kept."""

    kind = "retired"


class DecodeError(ChronicleError):
    """A venue message or capture line that the adapter cannot read."""

    kind = "decode"
    exit_code = 8


class AlreadyCapturedError(ChronicleError):
    """The same capture was already replayed into this home."""

    kind = "already_captured"
    exit_code = 9


class StoreError(ChronicleError):
    """An object store or a tier that failed or refused."""

    kind = "store"
    exit_code = 10


class UnavailableError(StoreError):
    """A store that did not answer, or asked to be asked later; nothing says that it refused."""

    kind = "unavailable"


class SqlError(ChronicleError):
    """A query that cannot be read, asks for what is not there, or fails while it runs."""

    kind = "sql"
    exit_code = 2


class BookNotTrustedError(ChronicleError):
    """A strict book query whose answer is not known to be right."""

    kind = "book_not_trusted"
    exit_code = 11
