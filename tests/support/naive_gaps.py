"""Holes found the slow way: every segment is opened, every record is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from chronicle.access.opened.places import open_places
from chronicle.core.layout import NONE, Cause, GapState, Kind
from chronicle.core.paths import channel_of, lane_of, symbol_of
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo, SegmentSource

__all__ = ["Hole", "Unlooked", "naive_gaps"]


class Hole(NamedTuple):
    """What a gap says besides by whom it is covered, under the names of :class:`chronicle.access.Gap`."""

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
    source: str
    source_index: int


class Unlooked:
    """A source of whose segments nobody knows what they hold: whoever asks must open them.

    Parameters
    ----------
    source : SegmentSource
        Where the segments are.
    """

    def __init__(self, source: SegmentSource) -> None:
        self._source = source
        self.queues, self.sealed_end, self.open = source.queues, source.sealed_end, source.open

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue`, nothing said of what they hold."""
        found = []
        for info in self._source.segments(queue):
            names = (name for name in SegmentInfo.__slots__ if name != "holds")
            found.append(SegmentInfo(**{name: getattr(info, name) for name in names}))
        return found


def naive_gaps(places: Path | list[Path], symbol: str) -> list[Hole]:
    """Return the holes of `symbol`, in the order of :meth:`chronicle.Store.gaps`."""
    source = open_places(places)
    found: list[Hole] = []
    for queue in source.queues("clean/"):
        if symbol_of(queue) == symbol and channel_of(queue) == "book":
            found += _of_queue(source, symbol, queue)
    return sorted(found, key=lambda hole: (hole.detected_ts, hole.lane, hole.index))


def _of_queue(source: SegmentSource, symbol: str, queue: str) -> list[Hole]:
    lane, found, begun, expected = lane_of(queue), list[Hole](), list[Hole](), 0
    before = NONE
    infos = [info for info in source.segments(queue) if info.record_count]
    sources: list[str] = []
    if infos:
        view = source.open(queue, infos[-1].number)
        sources = [row["queue"] for row in view.prologue().get("sources") or []]
        view.close()
    for info in infos:
        if info.base_index != expected:
            found.append(_missing(symbol, lane, queue, expected, before, info.ts_first))
        expected, before = info.end_index, info.ts_last
        for record in _records(source, info):
            if record.kind != Kind.GAP:
                continue
            fields = record.fields()
            if fields["state"] == GapState.OPEN:
                found += begun
                begun = [_hole(symbol, lane, queue, record, fields, sources)]
                continue
            first = begun[0] if begun else _hole(symbol, lane, queue, record, fields, sources)
            found.append(first._replace(state="closed", recovery_ts=fields["recovery_ts"]))
            begun = []
    found += begun
    if source.sealed_end(queue) > expected:
        found.append(_missing(symbol, lane, queue, expected, before, NONE))
    return found


def _records(source: SegmentSource, info: SegmentInfo) -> list[Record]:
    view = source.open(info.queue, info.number)
    data = bytes(view.view(view.data_offset, view.data_end()))
    view.close()
    out, position, index = [], 0, info.base_index
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        out.append(Record(data[position : position + length], index))
        position, index = position + length, index + 1
    return out


def _hole(symbol: str, lane: int, queue: str, record: Record, fields: dict[str, Any], sources: list[str]) -> Hole:
    return Hole(
        symbol, lane, Cause(fields["cause"]).name.lower(), "open", fields["last_good_ts"], record.ts_recv, NONE,
        fields["first_missing"], fields["last_missing"], queue, record.index,
        sources[record.source] if record.source < len(sources) else "", record.source_index,
    )  # fmt: skip


def _missing(symbol: str, lane: int, queue: str, index: int, last_good: int, recovery: int) -> Hole:
    state, detected = ("open", last_good) if recovery == NONE else ("closed", recovery)
    return Hole(
        symbol, lane, "missing_segment", state, last_good, detected, recovery, NONE, NONE, queue, index, "", NONE
    )
