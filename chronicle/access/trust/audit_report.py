"""What an audit reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["DIFFERENCES_MAX", "Audit", "AuditDifference"]

DIFFERENCES_MAX = 100
"""How many are told; all are counted."""


@dataclass(frozen=True, slots=True)
class AuditDifference:
    """One level (or order) of a snapshot that is not what the records before it rebuild.

    A size is None where there is none; ``order_id`` is None where a level is told.
    """

    lane: int
    index: int
    ts_recv: int
    side: str
    price: int
    stored: int | None
    rebuilt: int | None
    order_id: int | None = None


@dataclass(slots=True)
class Audit:
    """What an audit of one instrument found.

    Attributes
    ----------
    snapshots, deltas : int
        Snapshots of the ETL that were compared; deltas that were replayed.
    wrong : int
        Snapshots of the ETL that differ from what was rebuilt. Anything but 0 is a mistake.
    venue_snapshots, venue_differing : int
        Snapshots of the venue that followed on a known book, and those that brought something else.
    differences : list of AuditDifference
        The first levels that differ, of wrong snapshots.
    """

    symbol: str
    snapshots: int = 0
    deltas: int = 0
    wrong: int = 0
    venue_snapshots: int = 0
    venue_differing: int = 0
    differences: list[AuditDifference] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
