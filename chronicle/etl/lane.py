"""One raw lane under way: cursor, pipeline, clean queues, checkpoints, progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronicle.core import layout
from chronicle.core.appender import Appender
from chronicle.core.cursor import Cursor
from chronicle.core.errors import CorruptionError, NotFoundError, RecordError
from chronicle.core.layout import HEADER_BYTES, NONE, OFFSET_TS_RECV, Kind
from chronicle.core.paths import clean_queue, lane_of
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo, SegmentSource
from chronicle.etl.book_stream import BookStream
from chronicle.etl.checkpoint import CheckpointStore, capture_state, restore_state, written_counts
from chronicle.etl.clean_writer import QueueSink
from chronicle.etl.config import EtlConfig
from chronicle.etl.lines import RANK_STRIDE
from chronicle.etl.pipeline import Pipeline, StreamKey
from chronicle.etl.report import LaneReport
from chronicle.etl.stream import Definition

__all__ = ["LaneRunner", "progress_queue"]

PROGRESS_RECORDS = 100_000
PROGRESS_INTERVAL_NS = 1_000_000_000
CHECKPOINT_RECORDS_MIN = 500_000
STATE_BYTES_PER_RECORD = 20
"""A checkpoint is due after one record per so many bytes of the last one, so that large states are written rarely."""


def progress_queue(shard: str, lane: int) -> str:
    """Return the name of a shard's progress queue for a raw lane."""
    return f"etl/{shard}/progress{f'@{lane}' if lane else ''}.q"


class LaneRunner:
    """Works off one raw queue into the clean queues of `target`.

    Holding the progress queue's lock for its life makes it the only one of its shard.
    """

    def __init__(self, source: SegmentSource, raw_queue: str, target: Path, shard: str, config: EtlConfig) -> None:
        self.source = source
        self.raw_queue = raw_queue
        self.target = target
        self.shard = shard
        self.config = config
        self.lane = lane_of(raw_queue)
        self.report = LaneReport(raw_queue)
        name = progress_queue(shard, self.lane)
        self.progress_queue = Queue.create(target / name, name=name, segment_bytes=256 * 1024, exist_ok=True)
        self.progress: Appender = self.progress_queue.appender()
        try:
            self._start()
        except BaseException:
            self.progress.close()
            raise

    def _start(self) -> None:
        segments = self.source.segments(self.raw_queue)
        self._generation = segments[0].generation if segments else 1
        self._segments: list[SegmentInfo] = segments
        identity = {
            "raw_queue": self.raw_queue,
            "raw_generation": self._generation,
            "shard": self.shard,
            "config": self.config.to_dict(),
        }
        self._checkpoints = CheckpointStore(self.target / "etl" / self.shard, self.lane, identity)
        self.sink = QueueSink(self.target)
        self.pipeline = self._new_pipeline()
        self._restart_index = 0
        self._resume()
        self._mark_kept(self._restart_index)
        self.report.resumed_at = self.pipeline.next_index
        last = self.progress_queue.last_record()
        self._published = last.fields()["frontier_index"] if last is not None else NONE
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
        due = max(CHECKPOINT_RECORDS_MIN, self._checkpoints.bytes_last // STATE_BYTES_PER_RECORD)
        if self._since_checkpoint >= due:
            self.save_checkpoint()

    def publish_progress(self) -> None:
        """Append a PROGRESS record: everything below its frontier is in the clean queues."""
        self._since_progress = 0
        frontier = self.pipeline.next_index
        if frontier <= max(self._published, 0) or self.pipeline.last_ts == NONE:
            return
        place = self.cursor.place
        body = layout.PROGRESS_BODY.pack(
            NONE if place is None else place.number, frontier, self.pipeline.last_ts, frontier
        )
        self.progress.append(
            Kind.PROGRESS, body, ts_recv=self.pipeline.last_ts, source_index=frontier - 1, sequence=frontier
        )
        self._published = frontier

    def save_checkpoint(self) -> None:
        """Publish the state, and tell the raw queue how far back a restart may read."""
        self._since_checkpoint = 0
        self._checkpoints.save(capture_state(self.pipeline))
        keep, self._restart_index = self._restart_index, self.pipeline.next_index
        self._mark_kept(keep)

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

    # --- where to begin ------------------------------------------------------------------------------------------

    def _new_pipeline(self) -> Pipeline:
        return Pipeline(
            lane=self.lane,
            raw_queue=self.raw_queue,
            raw_generation=self._generation,
            shard=self.shard,
            config=self.config,
            sink=self.sink,
        )

    def _resume(self) -> None:
        """Continue at the newest usable checkpoint, else at the first raw record."""
        first = self._segments[0].base_index if self._segments else 0
        end = self._segments[-1].end_index if self._segments else 0
        for state in self._checkpoints.load():
            if first <= state["next_index"] <= end and self._is_covered(state):
                restore_state(self.pipeline, state)
                self._restart_index = self.pipeline.next_index
                self.cursor = Cursor(self.source, self.raw_queue, self.pipeline.next_index)
                return
        self.cursor = Cursor(self.source, self.raw_queue)
        self.pipeline.next_index = self._restart_index = self.cursor.index
        if self.cursor.index:
            self._define_from_prologue()

    def _is_covered(self, state: dict[str, Any]) -> bool:
        """Whether every clean queue reaches at least to the state's position."""
        for symbol, channel, rank, written in written_counts(state):
            queue = clean_queue(symbol, channel, self.lane + RANK_STRIDE * rank)
            if self.sink.tail(queue).next_index < written:
                return False
        return True

    def _define_from_prologue(self) -> None:
        """Take the definitions that the first kept segment's prologue carries for what was retired before it."""
        view = self.source.open(self.raw_queue, self._segments[0].number)
        try:
            prologue = view.prologue()
        finally:
            view.close()
        for data in prologue.get("instruments", []):
            if not isinstance(data, bytes) or len(data) < HEADER_BYTES:
                raise RecordError("a raw segment's prologue holds no INSTRUMENT records", path=self.raw_queue)
            record = Record(data)
            definition = Definition(
                bytes(record.body), max(record.index, 0), record.ts_recv, record.ts_event, selected=True
            )
            definition.selected = self.config.selects(definition.symbol)
            self.pipeline.add_definition(record.instrument, definition)


def _kind_name(kind: int) -> str:
    try:
        return Kind(kind).name
    except ValueError:
        return f"kind-{kind}"
