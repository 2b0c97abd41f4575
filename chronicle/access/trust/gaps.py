"""Gaps: the holes that are known of, from GAP records and from segments that are missing.

Most segments hold no GAP record, and manifest and catalogs say so (:attr:`SegmentInfo.holds`): these are not opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise
from typing import Any

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.frontier import frontier
from chronicle.access.opened.lanes import Lane, lanes_of
from chronicle.access.opened.segment import Segment
from chronicle.access.opened.segments import Shelf
from chronicle.core.layout import NONE, Cause, GapState, Kind
from chronicle.core.paths import lane_of
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo
from chronicle.storage.codec.holding import lacks

__all__ = ["Gap", "Progress", "gaps_of", "gaps_of_all", "records_of_kind"]

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, and in words where it is."""
_GAPS = frozenset({int(Kind.GAP)})


@dataclass(frozen=True, slots=True)
class Gap:
    """One hole. Times are ts_recv in ns UTC, sequences the venue's numbers; NONE (-1) where there is none.

    `state` is ``open`` while no recovery is known. `cause` is ``sequence``, ``check``, ``disconnect``, ``dropped``,
    ``decode``, ``no_snapshot``, ``order``, ``missing_segment``, or ``not_captured``: the range that was asked for
    begins before the first record, or ends behind all that was worked off. `index` is the GAP record's, in `queue`;
    `source` the raw queue and `source_index` the raw record by which the hole was found. `covered_by` is a lane (a
    redundant line, a capture of its own) that was whole meanwhile: what one line missed is not missing then.
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
    source: str = ""
    source_index: int = NONE
    covered_by: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def touches(self, start: int | None, end: int | None) -> bool:
        """Return whether the hole reaches into [start, end)."""
        before = end is not None and self.last_good_ts >= end
        after = start is not None and self.recovery_ts != NONE and self.recovery_ts <= start
        return not (before or after)


def gaps_of_all(
    shelf: Shelf, symbols: Iterable[str], start: int | None, end: int | None, progress: Progress | None = None
) -> list[Gap]:
    """Return the holes of instruments (canonical names), one after the other: see :func:`gaps_of`.

    The places are listed once, and of each instrument's segments nothing is kept when it is done.
    """
    names = list(symbols)
    shelf.queues(fresh=True)
    found: list[Gap] = []
    for done, symbol in enumerate(names):
        here = None if progress is None else _within(progress, done, len(names))
        if progress is not None:
            progress(done / len(names), symbol)
        found += gaps_of(shelf, symbol, start, end, fresh=False, progress=here)
        for lane in lanes_of(shelf, symbol, "book"):
            shelf.forget(lane.queue)
    return found


def _within(progress: Progress, done: int, total: int) -> Progress:
    """Return what tells of one of `total` equal pieces of work."""
    return lambda share, text: progress((done + share) / total, text)


def gaps_of(
    shelf: Shelf,
    symbol: str,
    start: int | None,
    end: int | None,
    *,
    fresh: bool = True,
    progress: Progress | None = None,
) -> list[Gap]:
    """Return the holes of `symbol` (canonical) that reach into [start, end), by the time they were found.

    `fresh`: lanes that came since the queues were listed are looked for; segments are in any case.
    """
    lanes = lanes_of(shelf, symbol, "book", fresh=fresh)
    listed = {lane.number: shelf.condensed(lane.queue) for lane in lanes}
    chosen = {number: _holding(infos, _GAPS) for number, infos in listed.items()}
    looked = _told(progress, symbol, sum(map(len, chosen.values())))
    known = {
        lane.number: [
            *_gaps_in(_records(shelf, chosen[lane.number], _GAPS, None, None, looked), shelf, symbol, lane),
            *_missing_from(listed[lane.number], shelf, symbol, lane),
        ]
        for lane in lanes
    }
    spans = {number: (infos[0].ts_first, infos[-1].ts_last) for number, infos in listed.items() if infos}
    found = [
        replace(gap, covered_by=_covering(gap, known, spans))
        for gaps in known.values()
        for gap in gaps
        if gap.touches(start, end)
    ]
    infos = [info for lane in lanes for info in listed[lane.number]]
    found += _not_captured(shelf, symbol, infos, start, end) if infos else ()
    return sorted(found, key=lambda gap: (gap.detected_ts, gap.lane, gap.index))


def _told(progress: Progress | None, symbol: str, total: int) -> Callable[[], None]:
    """Return what is called after each of `total` segments that were opened."""
    if progress is None:
        return lambda: None
    opened = 0

    def step() -> None:
        nonlocal opened
        opened += 1
        progress(min(1.0, opened / total), f"{symbol}: {opened:,} of {total:,} segments opened")

    return step


def _not_captured(
    shelf: Shelf, symbol: str, infos: list[SegmentInfo], start: int | None, end: int | None
) -> Iterator[Gap]:
    """Yield the parts of [start, end) that lie before the first record or behind the end of what is known."""
    first = min(infos, key=lambda info: info.ts_first)
    last = max(infos, key=lambda info: info.ts_last)
    if start is not None and start < first.ts_first:
        until = first.ts_first if end is None else min(end, first.ts_first)
        yield _nothing(symbol, first, start, until, recovery=until)
    if end is not None and end > last.ts_last + 1:
        is_worked_off = bool(shelf.queues("etl/"))  # else nobody can say so, and no segment is opened for it
        reached = max(last.ts_last, frontier(shelf, symbol, shelf.open(last)).ts if is_worked_off else NONE)
        if end > reached + 1:
            begin = reached if start is None else max(start, reached)
            yield _nothing(symbol, last, begin, begin, recovery=NONE)


def _nothing(symbol: str, info: SegmentInfo, last_good: int, detected: int, *, recovery: int) -> Gap:
    return Gap(
        symbol=symbol,
        lane=lane_of(info.queue),
        cause="not_captured",
        state="open" if recovery == NONE else "closed",
        last_good_ts=last_good,
        detected_ts=detected,
        recovery_ts=recovery,
        first_missing=NONE,
        last_missing=NONE,
        queue=info.queue,
        index=info.base_index if recovery != NONE else info.end_index,
    )


def _covering(gap: Gap, known: dict[int, list[Gap]], spans: dict[int, tuple[int, int]]) -> int | None:
    """Return the lowest other lane that has records on both sides of the hole and no hole of its own in it."""
    until = gap.recovery_ts if gap.recovery_ts != NONE else gap.detected_ts
    for lane in sorted(spans):
        first, last = spans[lane]
        if lane == gap.lane or gap.last_good_ts == NONE or first > gap.last_good_ts or last < until:
            continue
        if not any(other.touches(gap.last_good_ts, until + 1) for other in known[lane]):
            return lane
    return None


def _gaps_in(records: Iterator[Record], shelf: Shelf, symbol: str, lane: Lane) -> Iterator[Gap]:
    """Yield the holes that the GAP records of a lane tell of."""
    pending: Gap | None = None
    sources: list[str] | None = None
    for record in records:
        fields = record.fields()
        if sources is None:
            sources = _sources_of(shelf, lane)
        if fields["state"] == GapState.OPEN:
            if pending is not None:
                yield pending
            pending = _gap(symbol, lane, record, fields, sources)
            continue
        begun = pending if pending is not None else _gap(symbol, lane, record, fields, sources)
        yield _closed(begun, fields["recovery_ts"])
        pending = None
    if pending is not None:
        yield pending


def _missing_from(infos: list[SegmentInfo], shelf: Shelf, symbol: str, lane: Lane) -> Iterator[Gap]:
    """Yield the holes where segments of a lane are missing."""
    for before, after in pairwise(infos):
        if before.end_index != after.base_index:
            yield _missing(symbol, lane, before, after)
    if infos and infos[0].base_index > 0:
        yield _missing(symbol, lane, None, infos[0])
    if shelf.is_cut(lane.queue, infos):
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


def _sources_of(shelf: Shelf, lane: Lane) -> list[str]:
    """Return the raw queues that a lane was made from; the table only grows, so that the last one holds for all."""
    infos = shelf.condensed(lane.queue)
    sources = (shelf.open(infos[-1]).prologue().get("sources") or []) if infos else []
    return [str(entry.get("queue", "")) for entry in sources]


def _gap(symbol: str, lane: Lane, record: Record, fields: dict[str, Any], sources: list[str]) -> Gap:
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
        source=sources[record.source] if record.source < len(sources) else "",
        source_index=record.source_index,
    )


def _closed(gap: Gap, recovery_ts: int) -> Gap:
    return replace(gap, state="closed", recovery_ts=recovery_ts)


_CAUSES = frozenset(int(cause) for cause in Cause)


def records_of_kind(
    shelf: Shelf, lane: Lane, kinds: frozenset[int], start: int | None = None, end: int | None = None
) -> Iterator[Record]:
    """Yield the records of `kinds` in a lane with ts_recv in [start, end), in order."""
    infos = [
        info
        for info in shelf.segments(lane.queue, fresh=True)
        if (start is None or info.ts_last >= start) and (end is None or info.ts_first < end)
    ]
    return _records(shelf, _holding(infos, kinds), kinds, start, end, lambda: None)


def _holding(infos: list[SegmentInfo], kinds: Collection[int]) -> list[SegmentInfo]:
    """Return the segments that must be opened to find all records of `kinds`."""
    told = {holds: lacks(holds, kinds) for holds in {info.holds for info in infos}}
    return [info for info in infos if not told[info.holds]]


def _records(
    shelf: Shelf,
    infos: list[SegmentInfo],
    kinds: Collection[int],
    start: int | None,
    end: int | None,
    looked: Callable[[], None],
) -> Iterator[Record]:
    import numpy as np

    from chronicle.core.kernels.scan import record_offsets

    cost = Cost()
    for info in infos:
        segment: Segment = shelf.open(info)
        spans = segment.spans_of_kinds(kinds, start, end)
        for _, base, data in chain.from_iterable(segment.windows(*span, cost) for span in spans):
            offsets = record_offsets(np.frombuffer(data, dtype=np.uint8))
            record_kinds = np.frombuffer(data, dtype="<u2")[offsets // 2 + 2]
            for position in np.flatnonzero(np.isin(record_kinds, list(kinds))).tolist():
                place = int(offsets[position])
                length = int.from_bytes(data[place : place + 4], "little")
                record = Record(data[place : place + length], base + position)
                if (start is None or record.ts_recv >= start) and (end is None or record.ts_recv < end):
                    yield record
        looked()
