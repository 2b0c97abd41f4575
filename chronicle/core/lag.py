"""How far a reader is behind: in records, bytes and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chronicle.core.errors import NotFoundError
from chronicle.core.queue_folder import QueueFolder

__all__ = ["Lag", "measure_lag"]


@dataclass(frozen=True, slots=True)
class Lag:
    """Committed `records` and their `size_bytes` behind a position, and `age_ns`: ts_recv of the queue's last record
    minus that of the last seek entry at or before the position; all 0 for a reader that has read everything."""

    records: int
    size_bytes: int
    age_ns: int

    def to_dict(self) -> dict[str, int]:
        """Return plain values."""
        return asdict(self)


def measure_lag(queue: QueueFolder, index: int) -> Lag:
    """Measure the lag of position `index` from the segments' totals and one seek index.

    Bytes and time are exact to one seek interval (16 KiB), records are exact. What is no longer on this host counts
    as records only.
    """
    infos = [info for info in queue.segments() if info.record_count]
    end = infos[-1].end_index if infos else queue.end_index()
    if index >= end or not infos:
        return Lag(max(end - index, 0), 0, 0)
    behind = [info for info in infos if info.end_index > index]
    size = sum(info.data_bytes for info in behind)
    since = behind[0].ts_first
    if index > behind[0].base_index:
        try:
            with queue.open_segment(behind[0].number) as segment:
                point = segment.point_before(index)
                if point is not None:
                    size -= point.offset - segment.data_offset
                    since = point.ts_recv
        except NotFoundError:
            pass  # sealed and moved meanwhile: the whole segment counts
    return Lag(end - index, size, infos[-1].ts_last - since)
