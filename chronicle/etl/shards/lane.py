"""One raw lane under way: what it takes, the pipeline, clean queues, checkpoints, progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chronicle.core.collecting import Uncollected
from chronicle.core.errors import NotFoundError
from chronicle.core.layout import NONE, Kind
from chronicle.core.membership import Decision
from chronicle.core.paths import lane_of
from chronicle.core.queue import Queue
from chronicle.core.source import SegmentSource
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.lineage import CONNECTION_SHIFT
from chronicle.etl.config import EtlConfig
from chronicle.etl.merge.intake import Intake, Member
from chronicle.etl.merge.owners import Owners
from chronicle.etl.pipeline.pipeline import StreamKey
from chronicle.etl.shards.claims import Claims
from chronicle.etl.shards.progress import ProgressMark
from chronicle.etl.shards.report import LaneReport
from chronicle.etl.shards.start import Start, give, settle, whole_state
from chronicle.etl.streams.book_stream import BookStream

__all__ = ["LaneRunner"]

PROGRESS_RECORDS = 100_000
PROGRESS_INTERVAL_NS = 1_000_000_000
CHECKPOINT_RECORDS_MIN = 2_000_000
STATE_BYTES_PER_RECORD = 20
"""A checkpoint is due after one record per so many bytes of the last one, so that large states are written rarely."""
CHECKPOINT_STREAMS = 5_000
"""Beyond so many streams, to gather whose states takes some 25 us each, it is due as much later as there are more."""


class LaneRunner:
    """Works off one raw queue, or several in one order, into the clean queues of `target`.

    Holding the progress queues' locks for its life makes it the only one of its shard.

    Parameters
    ----------
    source : SegmentSource
        Where raw segments are read.
    raw_queue : str
        The raw queue, the first of those that are merged.
    target : Path
        Where clean queues, progress and checkpoints go.
    claims : Claims
        Which instruments are this shard's.
    config : EtlConfig
        What shapes the output.
    owners : Owners
        Which lane each clean queue is made from.
    decisions : sequence of Decision
        Which raw queues are merged; none: there is one.
    """

    def __init__(
        self,
        source: SegmentSource,
        raw_queue: str,
        target: Path,
        claims: Claims,
        config: EtlConfig,
        owners: Owners,
        decisions: Sequence[Decision] = (),
    ) -> None:
        self.source = source
        self.raw_queue = raw_queue
        self.target = target
        self.shard = claims.shard
        self.claims = claims
        self.config = config
        self.owners = owners
        self.decisions = list(decisions)
        self.lane = lane_of(raw_queue)
        self._uncollected = Uncollected()
        self._reports: dict[str, LaneReport] = {}
        self._marks: dict[str, ProgressMark] = {}
        self.sink: QueueSink = QueueSink(self.target)
        try:
            for member in self._new_intake().members:
                self._open_progress(member)
            claims.publish()  # behind the lock: of two shards that start at once, one sees the other
            self._start()
        except BaseException:
            self.sink.close()
            self._close_progress()
            raise

    def _new_intake(self) -> Intake:
        return Intake(self.source, [self.raw_queue], self.decisions)

    def _open_progress(self, member: Member) -> None:
        if member.name not in self._marks:
            self._marks[member.name] = ProgressMark(self.target, self.shard, member, self.config.selection.to_dict())
            self._reports[member.name] = LaneReport(member.name)

    def _start(self) -> None:
        self._tell_of_members(self._new_intake())
        self.start = Start(
            self.source,
            self._new_intake,
            self.target / "etl" / self.shard,
            self.config,
            self.claims,
            self.sink,
            self.owners,
        )
        self.pipeline, self.intake, fresh = self.start.pipeline()
        self._restart_indexes = self._indexes()
        if fresh:
            self.start.save(whole_state(self.pipeline, self.intake))
        self._mark_kept(self._restart_indexes)
        for member in self.intake.members:
            self._reports[member.name].resumed_at = member.next_index
        self._since_progress = 0
        self._since_checkpoint = 0
        self._progress_at_ns: int | None = None

    def _tell_of_members(self, intake: Intake) -> None:
        """Let the writing end know which raw queues there are."""
        if intake.merged:
            self.sink.numbers = {member.name: member.number for member in intake.members}
            self.owners.merge([member.name for member in intake.members])

    def learn(self, decisions: Sequence[Decision]) -> None:
        """Take up decisions that are new; see :meth:`Intake.learn`."""
        if not decisions:
            return
        self.decisions += decisions
        self.intake.learn(decisions)
        for member in self.intake.members:
            self._open_progress(member)
            self._restart_indexes.setdefault(member.name, 0)
        self._tell_of_members(self.intake)
        settle(self.pipeline, self.intake)
        self._mark_kept(self._restart_indexes)

    def step(self, max_bytes: int) -> int:
        """Work off one batch; return its number of records (0: nothing new)."""
        batch = self.intake.take(max_bytes)
        if batch is None:
            return 0
        self.first_ts = batch.first_ts
        with self._uncollected:
            count = give(self.pipeline, self.intake, batch)
            self.doubtful = self.pipeline.doubtful()
            self.pipeline.flush()
        self._since_progress += count
        self._since_checkpoint += count
        return count

    @property
    def names(self) -> list[str]:
        """The raw queues of the lane."""
        return [member.name for member in self.intake.members]

    first_ts = NONE
    """ts_recv of the last batch's first record."""
    doubtful: list[tuple[StreamKey, BookStream]] = []  # noqa: RUF012 (replaced whole at every step)

    def after(self, now_ns: int) -> None:
        """Publish progress and a checkpoint when they are due (`now_ns`: monotonic)."""
        if self._progress_at_ns is None:
            self._progress_at_ns = now_ns
        idle = now_ns - self._progress_at_ns >= PROGRESS_INTERVAL_NS
        if self._since_progress >= PROGRESS_RECORDS or (idle and self._since_progress):
            self.publish_progress()
            self._progress_at_ns = now_ns
        due = max(
            CHECKPOINT_RECORDS_MIN,
            self.start.bytes_last // STATE_BYTES_PER_RECORD,
            CHECKPOINT_RECORDS_MIN * len(self.pipeline.streams) // CHECKPOINT_STREAMS,
        )
        if self._since_checkpoint >= due:
            self.save_checkpoint()

    def publish_progress(self) -> None:
        """Append PROGRESS records: everything below their frontiers is in the clean queues."""
        self._since_progress = 0
        for member in self.intake.members:
            self._marks[member.name].publish(member, self.pipeline.last_ts)

    def save_checkpoint(self) -> None:
        """Publish the state, and tell the raw queues how far back a restart may read."""
        self._since_checkpoint = 0
        with self._uncollected:
            self.start.save(whole_state(self.pipeline, self.intake))
        keep, self._restart_indexes = self._restart_indexes, self._indexes()
        self._mark_kept(keep)

    def _indexes(self) -> dict[str, int]:
        return {member.name: member.next_index for member in self.intake.members}

    def _mark_kept(self, indexes: dict[str, int]) -> None:
        """Register as a tailer of each raw queue: retention leaves what a restart may read again."""
        for name, index in indexes.items():
            try:
                raw = Queue.open(self.target / name, name=name)
            except NotFoundError:
                continue  # the raw queue is elsewhere (a rebuild, an archive): nothing here retires it
            raw.place_tailer(f"etl-{self.shard}", min(index, self.start.handed_over_index(name)))

    def finish(self, *, seal: bool) -> None:
        """End a run: progress and checkpoint, and with `seal` all clean queues and progress sealed.

        Raises
        ------
        CorruptionError
            When a clean queue holds more than the raw queues gave up to their ends.
        """
        if seal:
            if not self.held_back:
                self.pipeline.check_complete()
            self.sink.seal(sorted(stream.outlet.queue for stream in self.pipeline.streams.values()))
        self.publish_progress()
        if self._since_checkpoint:
            self.save_checkpoint()
        if seal:
            for mark in self._marks.values():
                mark.seal()
        self.fill_reports()

    @property
    def held_back(self) -> bool:
        """Whether records are at hand that wait for another raw queue."""
        return any(member.pending for member in self.intake.members)

    def fill_reports(self) -> list[LaneReport]:
        """Bring the reports up to date and return them; what concerns the clean queues stands in the first."""
        pipeline, intake = self.pipeline, self.intake
        pipeline.absorb()
        waits = {member.name for member in intake.blockers()}
        for member in intake.members:
            report = self._reports[member.name]
            report.records = member.records
            report.frontier_index = member.next_index
            report.frontier_ts = pipeline.last_ts
            report.holds_back = member.name in waits
            segments = self.source.segments(member.name)
            report.lag_records = segments[-1].end_index - member.next_index if segments else 0
        report = self._reports[intake.members[0].name]
        report.clean_records = self.sink.records_written
        report.streams = len(pipeline.streams)
        racing = self.intake.racing
        counts: dict[str, int] = {}
        counted = [
            *([{f"race_{name}": count for name, count in racing.counts.items()}] if racing else []),
            *(book.counts for _, book in pipeline.books()),
            *(bars.counts for bars in pipeline.candles()),
        ]
        for own in counted:
            for name, count in own.items():
                counts[name] = counts.get(name, 0) + count
        report.counts = dict(sorted(counts.items()))
        report.skipped = {_kind_name(kind): count for kind, count in sorted(pipeline.skipped.items())}
        return [self._reports[member.name] for member in intake.members]

    def firsts(self) -> dict[str, int]:
        """Return how many messages each redundant line had first, since the raw queues' start."""
        racing = self.intake.racing
        names = {member.number: member.name for member in self.intake.members}
        mask = (1 << CONNECTION_SHIFT) - 1
        return {
            f"{names[line >> CONNECTION_SHIFT]} line {line & mask}": count
            for line, count in (sorted(racing.firsts.items()) if racing else ())
        }

    def close(self) -> None:
        """Give up all queues."""
        self.intake.close()
        self.sink.close()
        self._close_progress()

    def _close_progress(self) -> None:
        for mark in self._marks.values():
            mark.close()


def _kind_name(kind: int) -> str:
    try:
        return Kind(kind).name
    except ValueError:
        return f"kind-{kind}"
