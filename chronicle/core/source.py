"""The protocols through which everybody reads segments, wherever their bytes are.

A :class:`SegmentView` is one segment: mapped from this host's disk, or decoded block by block from an archive. A
:class:`SegmentSource` finds the segments of a queue in any tier. The ETL, the tools and the reader know only these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from chronicle.core.layout import INT64_MIN, NONE, SegmentState

__all__ = [
    "CondensedLookup",
    "KindLookup",
    "QueueSummary",
    "SeekPoint",
    "SegmentInfo",
    "SegmentSource",
    "SegmentView",
    "SummaryLookup",
    "summary_of",
]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What is known of a segment without reading its records.

    `queue` is the queue's name (path relative to the home). Totals of an open segment are what was committed when
    it was looked at. Times are ts_recv in ns; NONE when the segment has no record. `size_bytes` is the stored size,
    `data_bytes` the size of its records; `place` names where it is (``hot``, ``warm`` ...), `location` the file.
    `holds` says what kinds of record are in it, by the flags of ``docs/format/archive.md``; 0: nobody knows.
    """

    queue: str
    number: int
    generation: int
    base_index: int
    record_count: int
    ts_first: int
    ts_last: int
    state: SegmentState
    data_bytes: int
    size_bytes: int
    place: str
    location: str
    holds: int = 0

    @property
    def end_index(self) -> int:
        """Index of the first record after this segment."""
        return self.base_index + self.record_count


class SeekPoint(NamedTuple):
    """One entry of a seek index: an event starts at `offset`; `kind` is that of its first record.

    (A tuple, because a large segment has ten thousands of them, made when it is opened.)
    """

    index: int  # type: ignore[assignment]  # (a tuple's method of that name is not missed)
    offset: int
    ts_recv: int
    kind: int


class SegmentView(Protocol):
    """One segment, readable at record granularity. Offsets are those of the sealed file, in every tier."""

    @property
    def info(self) -> SegmentInfo:
        """Identity and totals."""
        ...

    @property
    def data_offset(self) -> int:
        """Offset of the first record."""
        ...

    def prologue(self) -> dict[str, Any]:
        """Return the prologue's msgpack map (instruments, book at start, sources, ETL version)."""
        ...

    def seek_points(self) -> Sequence[SeekPoint]:
        """Return the sparse seek index, in offset order. The first point is the first record, if there is one."""
        ...

    def data_end(self) -> int:
        """Return the offset after the last committed record (the ROLL included)."""
        ...

    def view(self, start: int, end: int) -> memoryview:
        """Return the bytes [start, end), checked against their checksums where the segment is sealed.

        Raises
        ------
        CorruptionError
            When they are not the bytes that were sealed.
        """
        ...

    def close(self) -> None:
        """Release files and maps. Views that were handed out stay valid."""
        ...


class KindLookup(Protocol):
    """What a view may offer besides: which kinds of record lie where, for less than reading them."""

    def may_hold(self, kind: int, offset: int) -> bool:
        """Return False when no record of `kind` is in the stored block around `offset`."""
        ...


class NearLookup(Protocol):
    """What a source may offer besides: the segments around a moment, for less than listing all of a queue's."""

    def segments_near(self, queue: str, ts: int, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return segments of `queue` in order, without a hole that is not there, from around `ts` (ns).

        The last segment that begins at or before `ts` is among them, where there is one, and so is the one after
        it, where that begins within a day; what lies farther away may be left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """All segments of a queue together: `segments` by place, records, stored bytes, times (ns; NONE: no record)."""

    segments: dict[str, int]
    records: int
    stored_bytes: int
    ts_first: int
    ts_last: int
    end_index: int


class SummaryLookup(Protocol):
    """What a source may offer besides: what all segments of a queue are together, without listing them."""

    def summary(self, queue: str) -> QueueSummary:
        """Return the sum of what :meth:`SegmentSource.segments` would list."""
        ...


class CondensedLookup(Protocol):
    """What a source may offer besides: what its segments leave out, for less than listing them."""

    def condensed(self, queue: str) -> list[SegmentInfo]:
        """Return what :meth:`SegmentSource.segments` would list, in order, some of them as one.

        Those given as one follow one another without a hole, and none of them holds a GAP record. The number is the
        last one's, the place and size of their records are not said.
        """
        ...


def summary_of(infos: Sequence[SegmentInfo]) -> QueueSummary:
    """Return the sum of a queue's segments."""
    filled = [info for info in infos if info.record_count and info.ts_first not in {NONE, INT64_MIN}]
    return QueueSummary(
        segments=dict(Counter(info.place for info in infos)),
        records=sum(info.record_count for info in infos),
        stored_bytes=sum(info.size_bytes for info in infos),
        ts_first=min((info.ts_first for info in filled), default=NONE),
        ts_last=max((info.ts_last for info in filled), default=NONE),
        end_index=max((info.end_index for info in infos), default=0),
    )


class SegmentSource(Protocol):
    """Finds and opens segments of queues in any tier."""

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of all queues that start with `prefix`, sorted."""
        ...

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` in order, each once, at its published place."""
        ...

    def sealed_end(self, queue: str) -> int:
        """Return the index up to which `queue` was sealed once, as far as this source was told; 0 when it was not.

        Segments that end before it are not all: the last ones are lost. Ask before :meth:`segments`, because a live
        writer goes on between the two.
        """
        ...

    def open(self, queue: str, number: int) -> SegmentView:
        """Open a segment at its present place.

        Raises
        ------
        NotFoundError
            When no tier has it.
        """
        ...
