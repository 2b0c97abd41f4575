"""What a run of the agent did, and what it could not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chronicle.core.errors import ChronicleError
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.tiers.planning import Move

__all__ = ["Failure", "Report"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A move that was not made, and the error."""

    move: Move
    error: ChronicleError


@dataclass(slots=True)
class Report:
    """What a run did. `paused` names tiers without space, or whose store does not answer: no more was tried there."""

    moved: list[Entry] = field(default_factory=list)
    expired: list[Entry] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    paused: dict[str, ChronicleError] = field(default_factory=dict)
    finished: int = 0
    undone: int = 0
    broken: list[Entry] = field(default_factory=list)
    deleted: int = 0
    retired_pending: int = 0
    source_bytes: int = 0
    target_bytes: int = 0

    def add(self, other: Report) -> None:
        """Take in what a further run did."""
        self.moved += other.moved
        self.expired += other.expired
        self.failures += other.failures
        self.paused |= other.paused
        self.finished += other.finished
        self.undone += other.undone
        self.broken = other.broken
        self.deleted += other.deleted
        self.retired_pending = other.retired_pending
        self.source_bytes += other.source_bytes
        self.target_bytes += other.target_bytes

    def raise_for_failures(self) -> None:
        """Raise the first error, if there was one."""
        for error in self.paused.values():
            raise error
        for failure in self.failures:
            raise failure.error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return {
            "moved": len(self.moved),
            "expired": len(self.expired),
            "source_bytes": self.source_bytes,
            "target_bytes": self.target_bytes,
            "finished": self.finished,
            "undone": self.undone,
            "broken": [list(entry.key) for entry in self.broken],
            "deleted": self.deleted,
            "retired_pending": self.retired_pending,
            "paused": {tier: error.to_dict() for tier, error in self.paused.items()},
            "failures": [
                {"queue": item.move.segment.queue, "number": item.move.segment.number} | item.error.to_dict()
                for item in self.failures
            ],
        }
