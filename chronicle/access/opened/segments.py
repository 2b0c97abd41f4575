"""Shelf: the segments of a source, opened when asked for, kept open within a bound, found again when they move.

Which segments exist is remembered: a caller that needs what came after the last look says ``fresh=True``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from itertools import islice, pairwise, takewhile

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segment import Segment
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import SegmentState
from chronicle.core.source import SegmentInfo, SegmentSource, SegmentView
from chronicle.storage.stores.requests import requests_made

__all__ = ["Shelf"]

OPEN_SEGMENTS_MAX = 64


class Shelf:
    """All segments of a source, behind a bounded cache. Threads may share it.

    Parameters
    ----------
    source : SegmentSource
        Where segments are found.
    capacity : int
        How many segments stay open; the least recently used is closed first (views stay valid).
    """

    def __init__(self, source: SegmentSource, *, capacity: int = OPEN_SEGMENTS_MAX) -> None:
        self.source = source
        self._capacity = capacity
        self._opened: OrderedDict[tuple[str, int, int], Segment] = OrderedDict()
        self._infos: dict[str, list[SegmentInfo]] = {}
        self._queues: list[str] | None = None
        self._lock = threading.RLock()
        self.deltas_walked = 0

    def queues(self, prefix: str = "", *, fresh: bool = False) -> list[str]:
        """Return the names of the queues that start with `prefix`."""
        if fresh and prefix:
            return sorted(self.source.queues(prefix))  # what lies elsewhere need not be listed again
        with self._lock:
            if fresh or self._queues is None:
                self._queues = sorted(self.source.queues(""))
            first = bisect_left(self._queues, prefix)
            return list(takewhile(lambda name: name.startswith(prefix), islice(self._queues, first, None)))

    def segments(self, queue: str, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return the segments of `queue` that hold records, in order; none when there is no such queue."""
        with self._lock:
            known = self._infos.get(queue)
        if known is not None and not fresh:
            return known
        try:
            found = [info for info in self.source.segments(queue) if info.record_count > 0]
        except NotFoundError:
            found = []
        with self._lock:
            self._infos[queue] = found
        return found

    def condensed(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` as of now, some as one where the source can tell that nothing is between."""
        look = getattr(self.source, "condensed", None)  # chronicle.core.source.CondensedLookup
        if look is None:
            return self.segments(queue, fresh=True)
        try:
            return [info for info in look(queue) if info.record_count > 0]
        except NotFoundError:
            return []

    def forget(self, queue: str) -> None:
        """Give up what is remembered of a queue's segments; those that are open stay so."""
        with self._lock:
            self._infos.pop(queue, None)

    def segments_in(self, queue: str, start: int | None, end: int | None) -> list[SegmentInfo]:
        """Return the segments of `queue` that may hold records with ts_recv in [start, end), in order.

        What is remembered is enough where a sealed segment reaches to the end: ts_recv never decreases in a queue and
        a sealed segment never changes, so nothing that came since can lie in the range. Else the source is asked.
        """
        with self._lock:
            known = self._infos.get(queue)
        if known is not None and end is not None:
            chosen = _between(known, start, end)
            last = chosen[-1] if chosen else None
            whole = all(one.end_index == other.base_index for one, other in pairwise(chosen))
            if last is not None and last.state is SegmentState.SEALED and last.ts_last >= end and whole:
                return chosen
        return _between(self.segments(queue, fresh=True), start, end)

    def segments_near(self, queue: str, ts: int, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return the segments of `queue` around a moment where the source can tell them apart, else all of them."""
        look = getattr(self.source, "segments_near", None)  # chronicle.core.source.NearLookup
        with self._lock:
            known = self._infos.get(queue)
        if look is None or (known is not None and not fresh):
            return self.segments(queue, fresh=fresh)
        return [info for info in look(queue, ts, fresh=fresh) if info.record_count > 0]

    def is_cut(self, queue: str, known: list[SegmentInfo] | None = None) -> bool:
        """Return whether the last segments of `queue` are missing: its mark tells of more than there is.

        The mark is read first: what is sealed after that is no hole. `known` are its segments as of before.
        """
        try:
            end = self.source.sealed_end(queue)
        except NotFoundError:
            return False
        if not end:
            return False
        known = self.segments(queue) if known is None else known
        if known and known[-1].end_index >= end:
            return False
        known = self.segments(queue, fresh=True)
        return end > (known[-1].end_index if known else 0)

    def open(self, info: SegmentInfo, cost: Cost | None = None) -> Segment:
        """Open a segment, at its present place."""
        if cost is not None:
            cost.segments_opened += 1
        key = (info.queue, info.generation, info.number)
        with self._lock:
            segment = self._opened.get(key)
            if segment is not None:
                if segment.info.state is not SegmentState.SEALED:
                    segment.info = info
                self._opened.move_to_end(key)
                return segment
            asked = requests_made()
            segment = Segment(self.reopen, info, self.source.open(info.queue, info.number))
            if cost is not None:
                cost.requests += requests_made() - asked
            self._opened[key] = segment
            while len(self._opened) > self._capacity:
                self._opened.popitem(last=False)[1].close()
            return segment

    def reopen(self, info: SegmentInfo) -> SegmentView:
        """Open the segment anew after its place went away."""
        view = self.source.open(info.queue, info.number)
        if view.info.base_index != info.base_index:
            raise CorruptionError(
                "a segment came back with other records after it moved",
                path=view.info.location,
                expected=info.base_index,
                found=view.info.base_index,
            )
        return view

    def close(self) -> None:
        """Close every open segment."""
        with self._lock:
            for segment in self._opened.values():
                segment.close()
            self._opened.clear()
            self._infos.clear()
            self._queues = None


def _between(infos: list[SegmentInfo], start: int | None, end: int | None) -> list[SegmentInfo]:
    """Return those of a queue's segments that reach into [start, end)."""
    first = 0 if start is None else bisect_left(infos, start, key=lambda info: info.ts_last)
    last = len(infos) if end is None else bisect_left(infos, end, key=lambda info: info.ts_first)
    return infos[first:last]
