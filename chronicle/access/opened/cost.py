"""Cost: what an answer took to find."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost"]


@dataclass(slots=True)
class Cost:
    """Segments that were touched, bytes of records that were read, deltas that were replayed.

    `requests` counts what was asked of object stores (nothing is, of folders).
    """

    segments_opened: int = 0
    bytes_read: int = 0
    deltas_replayed: int = 0
    requests: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "segments_opened": self.segments_opened,
            "bytes_read": self.bytes_read,
            "deltas_replayed": self.deltas_replayed,
            "requests": self.requests,
        }

    def add(self, other: Cost) -> None:
        """Count what `other` took as well."""
        self.segments_opened += other.segments_opened
        self.bytes_read += other.bytes_read
        self.deltas_replayed += other.deltas_replayed
        self.requests += other.requests
