"""The progress queue of a shard for one raw queue: up to where everything is in the clean queues.

Its lock is what makes a shard the only one of its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronicle.core import layout
from chronicle.core.appender import Appender
from chronicle.core.layout import NONE, Kind
from chronicle.core.paths import progress_queue
from chronicle.core.queue import Queue
from chronicle.etl.merge.intake import Member

__all__ = ["ProgressMark"]


class ProgressMark:
    """Writes PROGRESS records for one raw queue.

    Parameters
    ----------
    target : Path
        The home (or rebuild).
    shard : str
        Whose progress it is.
    member : Member
        The raw queue.
    selection : dict
        The shard's instruments: the frontier holds for them.

    Raises
    ------
    QueueLockedError
        When the same shard runs already.
    """

    def __init__(self, target: Path, shard: str, member: Member, selection: dict[str, Any]) -> None:
        self._source = {"queue": member.name, "generation": member.generation}
        self._selection = selection
        name = progress_queue(shard, member.name)
        self._queue = Queue.create(target / name, name=name, segment_bytes=256 * 1024, exist_ok=True)
        self._appender: Appender = self._queue.appender(prologue=self._prologue)
        last = self._queue.last_record()
        fields = last.fields() if last is not None else {}
        self._published = fields.get("frontier_index", NONE), fields.get("frontier_ts", NONE)
        self._claimed = last is not None and self._claim() == selection
        """Whether the last PROGRESS record was written for the instruments of today."""

    def publish(self, member: Member, frontier_ts: int) -> None:
        """Say that the shard has finished up to where `member` stands, and every raw queue up to `frontier_ts`."""
        frontier = member.next_index
        index, ts = self._published
        behind = frontier < index or (frontier == index and (self._claimed and frontier_ts <= ts))
        if behind or frontier == 0 or frontier_ts <= 0:
            return
        if not self._claimed:
            self._appender.seal()  # the next segment's prologue says for which instruments the frontier holds now
            self._claimed = True
        place = member.cursor.place
        body = layout.PROGRESS_BODY.pack(NONE if place is None else place.number, frontier, frontier_ts, frontier)
        self._appender.append(Kind.PROGRESS, body, ts_recv=frontier_ts, source_index=frontier - 1, sequence=frontier)
        self._published = frontier, frontier_ts

    def seal(self) -> None:
        """End the segment."""
        self._appender.seal()

    def close(self) -> None:
        """Give up the lock."""
        self._appender.close()

    def _prologue(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "queue": self._queue.name,
            "sources": [self._source],
            "selection": self._selection,
        }

    def _claim(self) -> object:
        """Return the selection that the last segment with records was written for."""
        for info in reversed(self._queue.segments()):
            if info.record_count:
                with self._queue.open_segment(info.number) as segment:
                    return segment.prologue().get("selection")
        return None
