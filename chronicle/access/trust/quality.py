"""Quality: counts, latencies and holes that say how good an instrument's data is, and a grade."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import lanes_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.trust.gaps import Gap, gaps_of
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, NONE, BookStatus, Flag, Kind, Verdict

__all__ = ["Latency", "Quality", "quality_of"]

BINS_PER_DECADE = 50
LATENCY_FLOOR_NS = 1_000
EDGES = np.concatenate(([0.0], LATENCY_FLOOR_NS * 10 ** (np.arange(9 * BINS_PER_DECADE + 1) / BINS_PER_DECADE)))
"""Edges of the latency histogram in ns: 0, then 50 a decade from a microsecond to 1,000 seconds: within 5 %."""
QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


@dataclass(slots=True)
class Latency:
    """How long events took from the venue's clock to ours (ts_recv - ts_event), over those with a venue time.

    Attributes
    ----------
    events : int
        How many were measured.
    negative : int
        Those received before they were sent: the clocks are apart by at least ``-least_ns`` then.
    least_ns, most_ns : int
        The extremes; the least is the best guess of the clocks' difference plus the way.
    counts, early : ndarray of int64
        Histograms over EDGES: of those that are not negative, and of the size of the negative ones.
    """

    events: int = 0
    negative: int = 0
    least_ns: int = INT64_MAX
    most_ns: int = -INT64_MAX
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES), dtype=np.int64))
    early: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES), dtype=np.int64))

    def add(self, ts_recv: NDArray[np.int64], ts_event: NDArray[np.int64]) -> None:
        """Count events."""
        taken = (ts_recv - ts_event)[ts_event > 0]
        if not len(taken):
            return
        self.events += len(taken)
        self.negative += int(np.count_nonzero(taken < 0))
        self.least_ns, self.most_ns = min(self.least_ns, int(taken.min())), max(self.most_ns, int(taken.max()))
        for counts, sizes in ((self.counts, taken[taken >= 0]), (self.early, -taken[taken < 0])):
            counts += np.bincount(np.searchsorted(EDGES, sizes, side="right") - 1, minlength=len(EDGES))

    def quantile_ns(self, share: float) -> int | None:
        """Return the latency that this share of events does not exceed, to 5 %; None without events."""
        if not self.events:
            return None
        ordered = np.cumsum(np.concatenate((self.early[::-1], self.counts)))
        above = np.concatenate((-EDGES[::-1], EDGES[1:], [self.most_ns]))
        place = int(np.searchsorted(ordered, share * self.events))
        return max(self.least_ns, min(int(above[place]), self.most_ns))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        known = self.events > 0
        return {
            "events": self.events,
            "negative": self.negative,
            "least_ns": self.least_ns if known else None,
            "most_ns": self.most_ns if known else None,
            **{name: self.quantile_ns(share) for name, share in QUANTILES.items()},
        }


@dataclass(frozen=True, slots=True)
class Quality:
    """Counts over all lanes of an instrument.

    `records` counts by kind over book, trade and quote. `checks_*` count the venue's checksums by our verdict. `gaps`
    counts holes, `gaps_open` those without a recovery, `gap_ns` is how long the closed ones lasted together.
    `clamped` counts records whose ts_recv stepped back, `snapshots_crossed` stored snapshots of a crossed book.
    `span_ns` is the time from the first record to the last.
    """

    symbol: str
    records: dict[str, int]
    events: int
    checks_passed: int
    checks_failed: int
    gaps: int
    gaps_open: int
    clamped: int
    snapshots_crossed: int
    gap_ns: int = 0
    span_ns: int = 0
    latency: Latency = field(default_factory=Latency)

    @property
    def grade(self) -> str:
        """A: no hole and no failed check. B: both below a thousandth of time and of checks, and no hole open.

        C: below a hundredth. D: more, or a hole that is still open. ``none``: there are no events.
        """
        if not self.events:
            return "none"
        checks = self.checks_passed + self.checks_failed
        lost = max(self.gap_ns / max(1, self.span_ns), self.checks_failed / max(1, checks))
        if not self.gaps and not self.checks_failed:
            return "A"
        if self.gaps_open or lost >= 0.01:
            return "D"
        return "B" if lost < 0.001 else "C"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"latency": self.latency.to_dict(), "grade": self.grade}


def quality_of(shelf: Shelf, symbol: str, start: int | None = None, end: int | None = None) -> Quality:
    """Count what the queues of `symbol` (canonical) hold in [start, end)."""
    kinds = np.zeros(1 << 16, dtype=np.int64)
    verdicts = np.zeros(256, dtype=np.int64)
    latency = Latency()
    events = clamped = crossed = 0
    first_ts, last_ts = INT64_MAX, NONE
    for channel in ("book", "trade", "quote"):
        for lane in lanes_of(shelf, symbol, channel, fresh=True):
            for heads, words, starts in _windows(shelf, lane.queue, start, end):
                found = (heads >> 32) & 0xFFFF
                kinds += np.bincount(found, minlength=len(kinds))
                flags = (heads >> 48) & 0xFF
                ends = flags & Flag.LAST > 0
                events += int(np.count_nonzero(ends))
                clamped += int(np.count_nonzero(flags & Flag.BAD_TS_RECV))
                body = HEADER_BYTES // 8
                checks = words[starts[found == Kind.CHECK] + body]
                verdicts += np.bincount((checks >> 8) & 0xFF, minlength=len(verdicts))
                trust = words[starts[found == Kind.BOOK_SNAPSHOT] + body + 1]
                crossed += int(np.count_nonzero(((trust >> 8) & 0xFF) == BookStatus.CROSSED))
                fresh = starts[ends & np.isin(found, _FRESH)]
                latency.add(words[fresh + 1], words[fresh + 2])
                if len(starts):
                    first_ts, last_ts = (
                        min(first_ts, int(words[starts[0] + 1])),
                        max(last_ts, int(words[starts[-1] + 1])),
                    )
    holes = gaps_of(shelf, symbol, start, end)
    return Quality(
        symbol=symbol,
        records={_kind_name(kind): int(kinds[kind]) for kind in np.flatnonzero(kinds).tolist() if kind != Kind.ROLL},
        events=events,
        checks_passed=int(verdicts[Verdict.PASSED]),
        checks_failed=int(verdicts[Verdict.FAILED]),
        gaps=len(holes),
        gaps_open=sum(gap.state == "open" for gap in holes),
        clamped=clamped,
        snapshots_crossed=crossed,
        gap_ns=sum(_lasted(gap) for gap in holes),
        span_ns=max(0, last_ts - first_ts),
        latency=latency,
    )


_FRESH = (int(Kind.BOOK_DELTA), int(Kind.TRADE), int(Kind.QUOTE), int(Kind.ORDER), int(Kind.CHECK))
"""What ends an event that the venue has just sent: a snapshot may be of any age."""


def _lasted(gap: Gap) -> int:
    return gap.recovery_ts - gap.last_good_ts if gap.recovery_ts > 0 and gap.last_good_ts > 0 else 0


def _windows(shelf: Shelf, queue: str, start: int | None, end: int | None) -> Iterator[tuple[Any, Any, Any]]:
    from chronicle.core.kernels.scan import record_offsets

    for info in shelf.segments(queue, fresh=True):
        if (start is not None and info.ts_last < start) or (end is not None and info.ts_first >= end):
            continue
        segment = shelf.open(info)
        for _, _, data in segment.windows(*segment.span(start, end), Cost()):
            words = np.frombuffer(data, dtype=np.int64)
            starts = record_offsets(np.frombuffer(data, dtype=np.uint8)) >> 3
            heads, times = words[starts], words[starts + 1]
            kept = (heads >> 32) & 0xFFFF != Kind.ROLL
            kept &= (times >= start) if start is not None else True
            kept &= (times < end) if end is not None else True
            yield heads[kept], words, starts[kept]


def _kind_name(kind: int) -> str:
    try:
        return Kind(kind).name.lower()
    except ValueError:
        return f"unknown-{kind}"
