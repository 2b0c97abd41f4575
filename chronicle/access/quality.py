"""Quality: counts that say how good an instrument's data is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chronicle.access.cost import Cost
from chronicle.access.gaps import gaps_of
from chronicle.access.lanes import lanes_of
from chronicle.access.segments import Shelf
from chronicle.core.layout import HEADER_BYTES, BookStatus, Flag, Kind, Verdict

__all__ = ["Quality", "quality_of"]


@dataclass(frozen=True, slots=True)
class Quality:
    """Counts over all lanes of an instrument.

    `records` counts by kind over book, trade and quote. `checks_*` count the venue's checksums by our verdict. `gaps`
    counts holes, `gaps_open` those without a recovery. `clamped` counts records whose ts_recv stepped back.
    `snapshots_crossed` counts stored snapshots of a crossed book.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def quality_of(shelf: Shelf, symbol: str) -> Quality:
    """Count what the queues of `symbol` (canonical) hold."""
    kinds = np.zeros(1 << 16, dtype=np.int64)
    verdicts = np.zeros(256, dtype=np.int64)
    events = clamped = crossed = 0
    for channel in ("book", "trade", "quote"):
        for lane in lanes_of(shelf, symbol, channel, fresh=True):
            for heads, words, starts in _windows(shelf, lane.queue):
                found = (heads >> 32) & 0xFFFF
                kinds += np.bincount(found, minlength=len(kinds))
                flags = (heads >> 48) & 0xFF
                events += int(np.count_nonzero(flags & Flag.LAST))
                clamped += int(np.count_nonzero(flags & Flag.BAD_TS_RECV))
                body = HEADER_BYTES // 8
                checks = words[starts[found == Kind.CHECK] + body]
                verdicts += np.bincount((checks >> 8) & 0xFF, minlength=len(verdicts))
                trust = words[starts[found == Kind.BOOK_SNAPSHOT] + body + 1]
                crossed += int(np.count_nonzero(((trust >> 8) & 0xFF) == BookStatus.CROSSED))
    holes = gaps_of(shelf, symbol, None, None)
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
    )


def _windows(shelf: Shelf, queue: str) -> Any:
    from chronicle.core.kernels.scan import record_offsets

    for info in shelf.segments(queue, fresh=True):
        segment = shelf.open(info)
        for _, _, data in segment.windows(segment.data_offset, info.base_index, segment.data_end(), Cost()):
            words = np.frombuffer(data, dtype=np.int64)
            starts = record_offsets(np.frombuffer(data, dtype=np.uint8)) >> 3
            heads = words[starts]
            kept = (heads >> 32) & 0xFFFF != Kind.ROLL
            yield heads[kept], words, starts[kept]


def _kind_name(kind: int) -> str:
    try:
        return Kind(kind).name.lower()
    except ValueError:
        return f"unknown-{kind}"
