"""Asking the feed for a new snapshot of a book that lost track, through ``control/resync.q``."""

from __future__ import annotations

from pathlib import Path

from chronicle.core import layout
from chronicle.core.errors import QueueLockedError
from chronicle.core.layout import Kind, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import pack_details
from chronicle.etl.pipeline.pipeline import StreamKey
from chronicle.etl.streams.book_stream import BookStream

__all__ = ["RESYNC_QUEUE", "ResyncRequests"]

RESYNC_QUEUE = "control/resync.q"
RESYNC_INTERVAL_NS = 30_000_000_000


class ResyncRequests:
    """Writes one STATUS RESYNC per book and interval of record time. It is no part of the ETL's output."""

    def __init__(self, home: Path) -> None:
        self._path = home / RESYNC_QUEUE
        self._asked: dict[StreamKey, int] = {}

    def ask(self, doubtful: list[tuple[StreamKey, BookStream]], ts_recv: int) -> int:
        """Ask for the books that wait for a snapshot; return how many requests were written."""
        due: list[tuple[StreamKey, BookStream]] = []
        for key, stream in doubtful:
            asked = self._asked.get(key)
            if asked is None or ts_recv - asked >= RESYNC_INTERVAL_NS:
                due.append((key, stream))
            stream.wants_resync = False
        if due and self._write(due, ts_recv):
            for key, _ in due:
                self._asked[key] = ts_recv
            return len(due)
        return 0

    def _write(self, due: list[tuple[StreamKey, BookStream]], ts_recv: int) -> bool:
        queue = Queue.create(self._path, name=RESYNC_QUEUE, segment_bytes=256 * 1024, exist_ok=True)
        try:
            appender = queue.appender()
        except QueueLockedError:
            return False  # another shard is asking; the book is still in doubt at its next event
        with appender:
            for (symbol, channel, _), stream in due:
                details = pack_details(
                    {
                        "symbol": symbol,
                        "venue": symbol.partition(":")[0],
                        "venue_symbol": stream.definition.fields.venue_symbol,
                        "channel": channel,
                    }
                )
                body = layout.STATUS_BODY.pack(StatusCode.RESYNC, len(details)) + details
                appender.append(Kind.STATUS, body, ts_recv=ts_recv)
        return True
