"""What a shard did, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chronicle.core.layout import NONE

__all__ = ["EtlReport", "LaneReport"]


@dataclass(slots=True)
class LaneReport:
    """One raw queue. Counts of checks, gaps and drops are since the raw queue's start; records are of this run.

    Where several are merged, streams, clean records and counts of all stand in the first one's report; `holds_back`
    says that records of others wait for this queue.
    """

    raw_queue: str
    frontier_index: int = 0
    frontier_ts: int = NONE
    lag_records: int = 0
    records: int = 0
    clean_records: int = 0
    resumed_at: int = 0
    streams: int = 0
    holds_back: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class EtlReport:
    """A shard's run: `records` raw records were read in `seconds`, `clean_records` written.

    `latency` is of a live run, each with count, p50_ns, p99_ns and worst_ns over its windows: ``raw_to_clean`` from
    the ts_recv of a window's first record to the clean commit (records received since the run began; the feed's own
    decoding is inside), ``work`` from the look at the raw queue to the clean commit.
    """

    shard: str
    seconds: float = 0.0
    lanes: list[LaneReport] = field(default_factory=list)
    latency: dict[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Raw records read in this run."""
        return sum(lane.records for lane in self.lanes)

    @property
    def clean_records(self) -> int:
        """Clean records written in this run."""
        return sum(lane.clean_records for lane in self.lanes)

    @property
    def counts(self) -> dict[str, int]:
        """Gaps, checks by verdict and drops, over all lanes, since the raw queues' start."""
        total: dict[str, int] = {}
        for lane in self.lanes:
            for name, count in lane.counts.items():
                total[name] = total.get(name, 0) + count
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return {
            "shard": self.shard,
            "seconds": self.seconds,
            "records": self.records,
            "clean_records": self.clean_records,
            "counts": self.counts,
            "latency": self.latency,
            "lanes": [lane.to_dict() for lane in self.lanes],
        }
