"""Events of one lane in order, as Python objects, across segments."""

from __future__ import annotations

from collections.abc import Iterator

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segment import Segment, iter_records
from chronicle.access.opened.segments import Shelf
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo

__all__ = ["LaneEvents"]

READ_BYTES = 64 * 1024
"""Read ahead at most this much at once: a short look stays short."""


class LaneEvents:
    """Walks the events of a queue from a place in one of its segments, into the segments after it.

    Parameters
    ----------
    shelf : Shelf
        Where segments are opened.
    infos : list of SegmentInfo
        The queue's segments in order.
    position : int
        Which of them to start in.
    offset, index : int
        An event's start in it, and its record index.
    cost : Cost
        Counts what is read.

    Attributes
    ----------
    segment : Segment
        Where the event that was yielded last lies.
    hole : bool
        Whether segments are missing between that event and the one before.
    """

    def __init__(
        self, shelf: Shelf, infos: list[SegmentInfo], position: int, offset: int, index: int, cost: Cost
    ) -> None:
        self._shelf, self._infos, self._position = shelf, infos, position
        self._offset, self._index, self._cost = offset, index, cost
        self.segment: Segment = shelf.open(infos[position])
        self.hole = False

    def __iter__(self) -> Iterator[list[Record]]:
        infos = self._infos
        for position in range(self._position, len(infos)):
            info = infos[position]
            if position > self._position:
                self.segment = self._shelf.open(info, self._cost)
                self.hole = infos[position - 1].end_index != info.base_index
                self._offset, self._index = self.segment.data_offset, info.base_index
            yield from self._events_of_segment()

    def _events_of_segment(self) -> Iterator[list[Record]]:
        end = self.segment.data_end()
        windows = self.segment.windows(self._offset, self._index, end, self._cost, window_bytes=READ_BYTES)
        for _, base, data in windows:
            event: list[Record] = []
            for record in iter_records(data, base):
                event.append(record)
                if record.is_last:
                    yield event
                    self.hole = False
                    event = []
