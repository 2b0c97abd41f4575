"""One raw lane under way: cursor, pipeline, clean queues, checkpoints, progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronicle.core import layout
from chronicle.core.appender import Appender
from chronicle.core.cursor import Cursor
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import NONE, OFFSET_TS_RECV, Kind
from chronicle.core.paths import lane_of, progress_queue
from chronicle.core.queue import Queue
from chronicle.core.source import SegmentSource
from chronicle.etl.book_stream import BookStream
from chronicle.etl.checkpoint import capture_state
from chronicle.etl.claims import Claims
from chronicle.etl.clean_writer import QueueSink
from chronicle.etl.config import EtlConfig
from chronicle.etl.owners import Owners
from chronicle.etl.pipeline import StreamKey
from chronicle.etl.report import LaneReport
from chronicle.etl.start import Start

__all__ = ["LaneRunner"]

PROGRESS_RECORDS = 100_000
PROGRESS_INTERVAL_NS = 1_000_000_000
CHECKPOINT_RECORDS_MIN = 500_000
STATE_BYTES_PER_RECORD = 20
"""A checkpoint is due after one record per so many bytes of the last one, so that large states are written rarely."""


class LaneRunner:
    """Works off one raw queue into the clean queues of `target`.

    Holding the progress queue's lock for its life makes it the only one of its shard.
    """

    def __init__(
        self, source: SegmentSource, raw_queue: str, target: Path, claims: Claims, config: EtlConfig, owners: Owners
    ) -> None:
        self.source = source
        self.raw_queue = raw_queue
        self.target = target
        self.shard = claims.shard
        self.claims = claims
        self.config = config
        self.owners = owners
        self.lane = lane_of(raw_queue)
        self.report = LaneReport(raw_queue)
        name = progress_queue(self.shard, raw_queue)
        self.progress_queue = Queue.create(target / name, name=name, segment_bytes=256 * 1024, exist_ok=True)
        self.progress: Appender = self.progress_queue.appender(prologue=self._progress_prologue)
        try:
            claims.publish()  # behind the lock: of two shards that start at once, one sees the other
            self._start()
        except BaseException:
            self.progress.close()
            raise

    def _start(self) -> None:
        segments = self.source.segments(self.raw_queue)
        self._generation = segments[0].generation if segments else 1
        self._claimed = True
        """Whether the last PROGRESS record was written for the instruments of today."""
        self.sink = QueueSink(self.target)
        self.start = Start(
            self.source,
            segments,
            self.raw_queue,
            self._generation,
            self.target / "etl" / self.shard,
            self.config,
            self.claims,
            self.sink,
            self.owners,
        )
        self.pipeline, fresh = self.start.pipeline()
        self._restart_index = self.pipeline.next_index
        self.cursor = Cursor(self.source, self.raw_queue, self.pipeline.next_index)
        if fresh:
            self.start.save(capture_state(self.pipeline))
        self._mark_kept(min(self._restart_index, self.start.handed_over_index()))
        self.report.resumed_at = self.pipeline.next_index
        last = self.progress_queue.last_record()
        self._published = last.fields()["frontier_index"] if last is not None else NONE
        self._claimed = last is not None and self._claim() == self.config.selection.to_dict()
        self._since_progress = 0
        self._since_checkpoint = 0
        self._progress_at_ns: int | None = None

    def step(self, max_bytes: int) -> int:
        """Work off one window; return its number of records (0: nothing new)."""
        window = self.cursor.next_window(max_bytes)
        if window is None:
            return 0
        if window.base_index != self.pipeline.next_index:
            raise CorruptionError(
                "raw records are missing between two windows",
                path=self.raw_queue,
                expected=self.pipeline.next_index,
                found=window.base_index,
            )
        self.first_ts = int.from_bytes(window.memory[OFFSET_TS_RECV : OFFSET_TS_RECV + 8], "little", signed=True)
        count = self.pipeline.feed(window.memory, window.base_index)
        self.doubtful = self.pipeline.doubtful()
        self.pipeline.flush()
        report = self.report
        report.records += count
        report.frontier_index = self.pipeline.next_index
        report.frontier_ts = self.pipeline.last_ts
        self._since_progress += count
        self._since_checkpoint += count
        return count

    first_ts = NONE
    """ts_recv of the last window's first record."""
    doubtful: list[tuple[StreamKey, BookStream]] = []  # noqa: RUF012 (replaced whole at every step)

    def after(self, now_ns: int) -> None:
        """Publish progress and a checkpoint when they are due (`now_ns`: monotonic)."""
        if self._progress_at_ns is None:
            self._progress_at_ns = now_ns
        idle = now_ns - self._progress_at_ns >= PROGRESS_INTERVAL_NS
        if self._since_progress >= PROGRESS_RECORDS or (idle and self._since_progress):
            self.publish_progress()
            self._progress_at_ns = now_ns
        due = max(CHECKPOINT_RECORDS_MIN, self.start.bytes_last // STATE_BYTES_PER_RECORD)
        if self._since_checkpoint >= due:
            self.save_checkpoint()

    def publish_progress(self) -> None:
        """Append a PROGRESS record: everything below its frontier is in the clean queues."""
        self._since_progress = 0
        frontier = self.pipeline.next_index
        behind = frontier < self._published or (frontier == self._published and self._claimed)
        if behind or frontier == 0 or self.pipeline.last_ts == NONE:
            return
        if not self._claimed:
            self.progress.seal()  # the next segment's prologue says for which instruments the frontier holds now
            self._claimed = True
        place = self.cursor.place
        body = layout.PROGRESS_BODY.pack(
            NONE if place is None else place.number, frontier, self.pipeline.last_ts, frontier
        )
        self.progress.append(
            Kind.PROGRESS, body, ts_recv=self.pipeline.last_ts, source_index=frontier - 1, sequence=frontier
        )
        self._published = frontier

    def _progress_prologue(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "queue": self.progress_queue.name,
            "sources": [{"queue": self.raw_queue, "generation": self._generation}],
            "selection": self.config.selection.to_dict(),
        }

    def _claim(self) -> object:
        """Return the selection that the last progress segment with records was written for."""
        for info in reversed(self.progress_queue.segments()):
            if info.record_count:
                with self.progress_queue.open_segment(info.number) as segment:
                    return segment.prologue().get("selection")
        return None

    def save_checkpoint(self) -> None:
        """Publish the state, and tell the raw queue how far back a restart may read."""
        self._since_checkpoint = 0
        self.start.save(capture_state(self.pipeline))
        keep, self._restart_index = self._restart_index, self.pipeline.next_index
        self._mark_kept(min(keep, self.start.handed_over_index()))

    def _mark_kept(self, index: int) -> None:
        """Register as a tailer of the raw queue: retention leaves what a restart may read again."""
        try:
            raw = Queue.open(self.target / self.raw_queue, name=self.raw_queue)
        except NotFoundError:
            return  # the raw queue is elsewhere (a rebuild, an archive): nothing here retires it
        raw.place_tailer(f"etl-{self.shard}", index)

    def finish(self, *, seal: bool) -> None:
        """End a run: progress and checkpoint, and with `seal` all clean queues and progress sealed.

        Raises
        ------
        CorruptionError
            When a clean queue holds more than the raw queue gave up to its end.
        """
        if seal:
            self.pipeline.check_complete()
            self.sink.seal(sorted(stream.outlet.queue for stream in self.pipeline.streams.values()))
        self.publish_progress()
        if self._since_checkpoint:
            self.save_checkpoint()
        if seal:
            self.progress.seal()
        self.fill_report()

    def fill_report(self) -> LaneReport:
        """Bring the report up to date and return it."""
        report, pipeline = self.report, self.pipeline
        pipeline.absorb()
        report.clean_records = self.sink.records_written
        report.streams = len(pipeline.streams)
        report.frontier_index = pipeline.next_index
        report.frontier_ts = pipeline.last_ts
        segments = self.source.segments(self.raw_queue)
        report.lag_records = segments[-1].end_index - pipeline.next_index if segments else 0
        counts: dict[str, int] = {}
        counted = [*(book.counts for _, book in pipeline.books()), *(bars.counts for bars in pipeline.candles())]
        for own in counted:
            for name, count in own.items():
                counts[name] = counts.get(name, 0) + count
        report.counts = dict(sorted(counts.items()))
        report.skipped = {_kind_name(kind): count for kind, count in sorted(pipeline.skipped.items())}
        return report

    def close(self) -> None:
        """Give up all queues."""
        self.cursor.close()
        self.sink.close()
        self.progress.close()


def _kind_name(kind: int) -> str:
    try:
        return Kind(kind).name
    except ValueError:
        return f"kind-{kind}"
