"""Gaps: the holes that are known of, from GAP records and from segments that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from chronicle.access.cost import Cost
from chronicle.access.lanes import Lane, lanes_of
from chronicle.access.segments import Segment, Shelf
from chronicle.core.layout import NONE, Cause, GapState, Kind
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo

__all__ = ["Gap", "gaps_of", "records_of_kind"]


@dataclass(frozen=True, slots=True)
class Gap:
    """One hole. Times are ts_recv in ns UTC, sequences the venue's numbers; NONE (-1) where there is none.

    `state` is ``open`` while no recovery is known. `cause` is ``sequence``, ``check``, ``disconnect``, ``dropped``,
    ``decode``, ``no_snapshot``, or ``missing_segment``. `index` is the GAP record's, in `queue`.
    """

    symbol: str
    lane: int
    cause: str
    state: str
    last_good_ts: int
    detected_ts: int
    recovery_ts: int
    first_missing: int
    last_missing: int
    queue: str
    index: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def touches(self, start: int | None, end: int | None) -> bool:
        """Return whether the hole reaches into [start, end)."""
        before = end is not None and self.last_good_ts >= end
        after = start is not None and self.recovery_ts != NONE and self.recovery_ts <= start
        return not (before or after)


def gaps_of(shelf: Shelf, symbol: str, start: int | None, end: int | None) -> list[Gap]:
    """Return the holes of `symbol` (canonical) that reach into [start, end), by the time they were found."""
    found: list[Gap] = []
    for lane in lanes_of(shelf, symbol, "book", fresh=True):
        found += [gap for gap in _gaps_of_lane(shelf, symbol, lane) if gap.touches(start, end)]
    return sorted(found, key=lambda gap: (gap.detected_ts, gap.lane, gap.index))


def _gaps_of_lane(shelf: Shelf, symbol: str, lane: Lane) -> Iterator[Gap]:
    pending: Gap | None = None
    for record in records_of_kind(shelf, lane, frozenset({Kind.GAP})):
        fields = record.fields()
        if fields["state"] == GapState.OPEN:
            if pending is not None:
                yield pending
            pending = _gap(symbol, lane, record, fields)
            continue
        begun = pending if pending is not None else _gap(symbol, lane, record, fields)
        yield _closed(begun, fields["recovery_ts"])
        pending = None
    if pending is not None:
        yield pending
    infos = shelf.segments(lane.queue)
    for before, after in pairwise(infos):
        if before.end_index != after.base_index:
            yield _missing(symbol, lane, before, after)
    if infos and infos[0].base_index > 0:
        yield _missing(symbol, lane, None, infos[0])
    if shelf.is_cut(lane.queue):
        yield _missing(symbol, lane, infos[-1] if infos else None, None)


def _missing(symbol: str, lane: Lane, before: SegmentInfo | None, after: SegmentInfo | None) -> Gap:
    """Return the hole between two segments, before the first, or behind the last that is there."""
    last_good = NONE if before is None else before.ts_last
    recovery = NONE if after is None else after.ts_first
    return Gap(
        symbol=symbol,
        lane=lane.number,
        cause="missing_segment",
        state="open" if after is None else "closed",
        last_good_ts=last_good,
        detected_ts=last_good if after is None else recovery,
        recovery_ts=recovery,
        first_missing=NONE,
        last_missing=NONE,
        queue=lane.queue,
        index=0 if before is None else before.end_index,
    )


def _gap(symbol: str, lane: Lane, record: Record, fields: dict[str, Any]) -> Gap:
    return Gap(
        symbol=symbol,
        lane=lane.number,
        cause=Cause(fields["cause"]).name.lower() if fields["cause"] in _CAUSES else f"cause-{fields['cause']}",
        state="open",
        last_good_ts=fields["last_good_ts"],
        detected_ts=record.ts_recv,
        recovery_ts=NONE,
        first_missing=fields["first_missing"],
        last_missing=fields["last_missing"],
        queue=lane.queue,
        index=record.index,
    )


def _closed(gap: Gap, recovery_ts: int) -> Gap:
    return replace(gap, state="closed", recovery_ts=recovery_ts)


_CAUSES = frozenset(int(cause) for cause in Cause)


def records_of_kind(
    shelf: Shelf, lane: Lane, kinds: frozenset[int], start: int | None = None, end: int | None = None
) -> Iterator[Record]:
    """Yield the records of `kinds` in a lane with ts_recv in [start, end), in order."""
    import numpy as np

    from chronicle.core.kernels.scan import record_offsets

    cost = Cost()
    for info in shelf.segments(lane.queue, fresh=True):
        if (start is not None and info.ts_last < start) or (end is not None and info.ts_first >= end):
            continue
        segment: Segment = shelf.open(info)
        for _, base, data in segment.windows(*segment.span(start, end), cost):
            offsets = record_offsets(np.frombuffer(data, dtype=np.uint8))
            record_kinds = np.frombuffer(data, dtype="<u2")[offsets // 2 + 2]
            for position in np.flatnonzero(np.isin(record_kinds, list(kinds))).tolist():
                place = int(offsets[position])
                length = int.from_bytes(data[place : place + 4], "little")
                record = Record(data[place : place + length], base + position)
                if (start is None or record.ts_recv >= start) and (end is None or record.ts_recv < end):
                    yield record
