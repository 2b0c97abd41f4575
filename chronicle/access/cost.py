"""Cost: what an answer took to find."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost"]


@dataclass(slots=True)
class Cost:
    """Segments that were touched, bytes of records that were read, deltas that were replayed."""

    segments_opened: int = 0
    bytes_read: int = 0
    deltas_replayed: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the three counts by name."""
        return {
            "segments_opened": self.segments_opened,
            "bytes_read": self.bytes_read,
            "deltas_replayed": self.deltas_replayed,
        }

    def add(self, other: Cost) -> None:
        """Count what `other` took as well."""
        self.segments_opened += other.segments_opened
        self.bytes_read += other.bytes_read
        self.deltas_replayed += other.deltas_replayed
