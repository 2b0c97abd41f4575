"""A shard: the duty cycle over all raw lanes of a home, live or until they are drained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ConfigError, NotFoundError, QueueLockedError
from chronicle.core.layout import INT64_MAX, Kind, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.membership import Decision, DecisionLog, decide
from chronicle.core.paths import lane_of, read_by
from chronicle.core.queue import Queue
from chronicle.core.selection import Selection
from chronicle.core.source import SegmentSource
from chronicle.etl.config import EtlConfig
from chronicle.etl.merge.members import Ending, plan_joins, plan_leave
from chronicle.etl.merge.owners import Owners
from chronicle.etl.shards.claims import Claims
from chronicle.etl.shards.lane import LaneRunner
from chronicle.etl.shards.latency import Latency
from chronicle.etl.shards.live_file import write_latency
from chronicle.etl.shards.report import EtlReport, LaneReport
from chronicle.etl.shards.resync import ResyncRequests
from chronicle.etl.shards.waiting import SPIN_NS, SPIN_SLICE_NS, RawWaiter

__all__ = ["EtlReport", "LaneReport", "run_shard"]

WINDOW_BYTES = 1 << 20
"""Raw bytes per step: they stay in the second cache between the kernels that look at them."""
WINDOW_BYTES_PER_STREAM = 8 << 10
WINDOW_BYTES_PER_ORDER_BOOK = 32 << 10
WINDOW_BYTES_MAX = 32 << 20
"""A step costs some time for each stream that has records in it, and some Python for each book of orders: with many
of them steps are larger."""
PROGRESS_INTERVAL_NS = 100_000_000
PROGRESS_SHARE = 10
"""A report looks at every stream: the work between two takes so many times what a report takes."""
DISCOVERY_INTERVAL_NS = 1_000_000_000
_SHARD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def run_shard(
    home: str | Path,
    *,
    source: SegmentSource | None = None,
    target: str | Path | None = None,
    shard: str = "default",
    drain: bool = False,
    config: EtlConfig | None = None,
    others: Mapping[str, Selection] | None = None,
    stop: Event | None = None,
    clock: Clock | None = None,
    progress: Callable[[EtlReport], None] | None = None,
    window_bytes: int | None = None,
    spin_ns: int = SPIN_NS,
) -> EtlReport:
    """Turn the raw queues of `home` into clean queues per instrument; continue where the last run stopped.

    Parameters
    ----------
    home : path
        The home folder.
    source : SegmentSource, optional
        Where raw segments are read (any tier); default the home itself.
    target : path, optional
        Where clean queues, progress and checkpoints go; default the home.
    shard : str
        Name of this process' share.
    drain : bool
        Work off everything committed, seal the clean queues (and raw and wire queues that no feed holds), and end.
    config : EtlConfig, optional
        What shapes the output.
    others : mapping, optional
        What the other shards work on, by name: an instrument that falls to two is refused.
    stop : threading.Event, optional
        Set it to end a live run.
    clock : Clock, optional
        For the pace of progress records; the output does not depend on it.
    progress : callable, optional
        Called with the report after a step, at most ten times a second while there is work (less often with
        thousands of streams).
    window_bytes : int, optional
        Raw bytes per step; default by the number of streams. The output does not depend on it.
    spin_ns : int
        How long a live shard spins on the next raw record, with a core of its own, before it sleeps until the writer
        wakes it.

    Raises
    ------
    QueueLockedError
        When the same shard runs already, or another writes one of its clean queues.
    CorruptionError
        When stored records are damaged, or clean queues are not what the raw queue gives.
    ConfigError
        When the shard's name cannot be used, an instrument falls to two shards, or two raw queues deliver it.
    RetiredError
        When raw records that are needed are no longer kept.
    """
    if not _SHARD.fullmatch(shard):
        raise ConfigError(
            f"a shard cannot be named {shard[:80]!r}", expected="a-z 0-9 _ -, up to 64", found=shard[:80]
        )
    duty = _Duty(
        Path(home),
        source or LocalSource(home),
        Path(target) if target is not None else Path(home),
        shard,
        config or EtlConfig(),
        others or {},
        clock or SystemClock(),
        progress,
        window_bytes,
        spin_ns,
    )
    try:
        if drain:
            duty.drain(stop or Event())
        else:
            duty.live(stop or Event())
        return duty.report()
    except QueueLockedError as error:
        raise duty.claims.named(error) from error
    finally:
        duty.close()


class _Duty:
    """The lanes of a shard, and the cycle over them."""

    def __init__(
        self,
        home: Path,
        source: SegmentSource,
        target: Path,
        shard: str,
        config: EtlConfig,
        others: Mapping[str, Selection],
        clock: Clock,
        progress: Callable[[EtlReport], None] | None,
        window_bytes: int | None,
        spin_ns: int,
    ) -> None:
        self._home = home
        self._source = source
        self._target = target
        self._shard = shard
        self._config = config
        self.claims = Claims(target, shard, config.selection, others)
        self._owners = Owners(source if target == home else LocalSource(target))
        self._clock = clock
        self._progress = progress
        self._window_bytes = window_bytes
        self._spin_ns = spin_ns
        self._lanes: dict[str, LaneRunner] = {}
        self._resync = ResyncRequests(target)
        self._waiter = RawWaiter(home)
        self._log = DecisionLog(home)
        self._records_decisions = target == home
        self._work, self._raw_to_clean = Latency(), Latency()
        self._live_since = INT64_MAX
        self._published = 0
        self._started_ns = clock.monotonic_ns()
        self._tell_at_ns = self._started_ns
        self._untold = False

    def drain(self, stop: Event) -> None:
        """Work off what is committed now."""
        self._discover()
        while not stop.is_set() and self._cycle(live=False):
            pass
        stopped = stop.is_set()
        if not stopped:
            self._part_from_ended(drained=True)
            while not stop.is_set() and self._cycle(live=False):
                pass
            stopped = stop.is_set()
        for lane in self._lanes.values():
            lane.finish(seal=not stopped)
        self._publish_latency()
        if self._target == self._home and not stopped:
            self._seal_unheld()

    def live(self, stop: Event) -> None:
        """Follow the raw queues until `stop`."""
        self._live_since = self._clock.now_ns()
        looked_ns, worked_ns = None, self._clock.monotonic_ns()
        while not stop.is_set():
            now_ns = self._clock.monotonic_ns()
            if looked_ns is None or now_ns - looked_ns >= DISCOVERY_INTERVAL_NS:
                self._discover()
                self._part_from_ended(drained=False)
                self._publish_latency()
                looked_ns = now_ns
            if self._cycle(live=True):
                worked_ns = now_ns
                continue
            if now_ns < worked_ns + self._spin_ns:
                words = [word for lane in self._lanes.values() for word in lane.intake.next_words()]
                if self._waiter.spin(words, min(worked_ns + self._spin_ns, now_ns + SPIN_SLICE_NS), self._clock):
                    continue
            announced = self._waiter.announce()
            if not self._cycle(live=True):
                self._waiter.wait(announced, stop)
        for lane in self._lanes.values():
            lane.finish(seal=False)
        self._publish_latency()

    def report(self) -> EtlReport:
        """Return what was done so far."""
        seconds = (self._clock.monotonic_ns() - self._started_ns) / 1e9
        lanes = [report for lane in self._lanes.values() for report in lane.fill_reports()]
        return EtlReport(self._shard, seconds, lanes, self._latency())

    def close(self) -> None:
        """Give up all queues."""
        for lane in self._lanes.values():
            lane.close()
        self._log.close()

    def _cycle(self, *, live: bool) -> bool:
        """Give every lane one window; return whether any had one."""
        worked = False
        for lane in self._lanes.values():
            if self._step(lane, live=live):
                worked = True
                if live and lane.doubtful:
                    self._resync.ask(lane.doubtful, lane.pipeline.last_ts)
            lane.after(self._clock.monotonic_ns())
        if self._progress is not None and (worked or self._untold):
            now_ns = self._clock.monotonic_ns()
            self._untold = worked and now_ns < self._tell_at_ns
            if not self._untold:
                self._progress(self.report())
                told_ns = self._clock.monotonic_ns()
                self._tell_at_ns = max(now_ns + PROGRESS_INTERVAL_NS, told_ns + PROGRESS_SHARE * (told_ns - now_ns))
        return worked

    def _step(self, lane: LaneRunner, *, live: bool) -> int:
        """Give a lane one window, and measure how long its records took to the clean queues."""
        window_bytes = self._window_bytes or lane_window(len(lane.pipeline.streams), lane.pipeline.order_books)
        if not live:
            return lane.step(window_bytes)
        started_ns = self._clock.monotonic_ns()
        count = lane.step(window_bytes)
        if count:
            self._waiter.delivered(lane.raw_queue)
            self._work.add(self._clock.monotonic_ns() - started_ns)
            if lane.first_ts >= self._live_since:
                self._raw_to_clean.add(self._clock.now_ns() - lane.first_ts)
        return count

    def _publish_latency(self) -> None:
        """Leave the distributions where ``chronicle etl status`` finds them."""
        count = self._raw_to_clean.count + self._work.count + sum(self._lines().values())
        if count != self._published:
            self._published = count
            write_latency(self._target, self._shard, self._latency(), self._lines(), self._race())

    def _lines(self) -> dict[str, int]:
        """Return how many messages each redundant line had first."""
        return {name: count for lane in self._lanes.values() for name, count in lane.firsts().items()}

    def _race(self) -> dict[str, int]:
        """Return what became of the messages of redundant lines."""
        total: dict[str, int] = {}
        for lane in self._lanes.values():
            for name, count in lane.intake.racing.counts.items() if lane.intake.racing else ():
                total[name] = total.get(name, 0) + count
        return total

    def _latency(self) -> dict[str, Any]:
        return {"raw_to_clean": self._raw_to_clean.to_dict(), "work": self._work.to_dict()}

    def _discover(self) -> None:
        """Take up raw queues that are new, and decisions about those that are merged."""
        names = [name for name in self._source.queues("raw/") if self._source.segments(name)]
        decisions = self._decided([name for name in names if lane_of(name) == 0])
        merged = {decision.raw for decision in decisions}
        if decisions:
            self._take_up(decisions)
        for name in names:
            if name not in merged and name not in self._lanes:
                lane = LaneRunner(self._source, name, self._target, self.claims, self._config, self._owners)
                if lane_of(name) == 0:
                    self._attend(lane)
                self._lanes[name] = lane
            self._waiter.watch(name)

    def _take_up(self, decisions: list[Decision]) -> None:
        """Bring the lane of merged raw queues to what is decided; its key is the queue of number 0."""
        first = next(decision.raw for decision in decisions if decision.number == 0)
        lane = self._lanes.get(first)
        if lane is not None:
            lane.learn(decisions[len(lane.decisions) :])
        else:
            self._lanes[first] = LaneRunner(
                self._source, first, self._target, self.claims, self._config, self._owners, decisions
            )
        self._attend(self._lanes[first])

    def _attend(self, lane: LaneRunner) -> None:
        """Let a lane hear of decisions before it passes their places."""
        if self._records_decisions:
            lane.intake.look, lane.intake.reading = self._look, self._log.reading

    def _look(self) -> bool:
        """Take up decisions that others recorded since the last look; return whether there were any."""
        if not self._log.poll():
            return False
        self._take_up(self._log.decisions)
        return True

    def _decided(self, names: list[str]) -> list[Decision]:
        """Return all decisions about the raw queues `names`, those that are due now recorded.

        A rebuild records nothing: what is not decided yet it takes as the next shard would decide it.
        """
        self._log.poll()

        def plan(known: Sequence[Decision]) -> list[Decision]:
            begun = [name for name in names if self._has_begun(name)] if not known and len(names) > 1 else []
            return plan_joins(known, self._endings(names), begun)

        if plan(self._log.decisions):
            if not self._records_decisions:
                return [*self._log.decisions, *plan(self._log.decisions)]
            decide(self._home, plan, ts_recv=self._clock.now_ns())
            self._log.poll()
        return self._log.decisions

    def _has_begun(self, raw_queue: str) -> bool:
        """Whether a shard has worked on a raw queue.

        One that died before its first progress record may have written to clean queues: it has placed its tailer
        before it wrote anything.
        """
        source = LocalSource(self._home)
        with suppress(NotFoundError):
            if any(
                item.name.startswith("etl-") and item.state != "new" for item in source.queue(raw_queue).tailers()
            ):
                return True
        return any(
            read_by(name) == raw_queue and source.queue(name).end_index() > 0 for name in source.queues("etl/")
        )

    def _endings(self, names: Sequence[str]) -> dict[str, Ending]:
        found = {}
        for name in names:
            segments = [info for info in self._source.segments(name) if info.record_count]
            if segments:
                found[name] = Ending(segments[-1].end_index, segments[-1].ts_last)
        return found

    def _part_from_ended(self, *, drained: bool) -> None:
        """Record that queues leave whose feed is gone: when a drain ends, and where others wait for one that ended.

        A drain is the operator's word that what is there is all. A live shard waits for a queue without a writer,
        unless the feed ended it in order (CAPTURE_END): whether a dead feed comes back nobody can tell from here.
        """
        if not self._records_decisions:
            return
        for lane in list(self._lanes.values()):
            waited_for = lane.intake.members if drained else lane.intake.blockers()
            gone = [member.name for member in waited_for if lane.intake.merged and member.joined]
            if any(self._is_over(name, ended=not drained) for name in gone):

                def plan(known: Sequence[Decision], gone: list[str] = gone) -> list[Decision]:
                    endings = self._endings([name for name in gone if self._is_over(name, ended=not drained)])
                    return [item for name in endings for item in plan_leave(known, name, endings[name])]

                decide(self._home, plan, ts_recv=self._clock.now_ns())
                self._log.poll()
                self._take_up(self._log.decisions)

    def _is_over(self, name: str, *, ended: bool) -> bool:
        """Whether nobody writes a raw queue now, and (`ended`) its last record says that the capture is complete."""
        try:
            queue = LocalSource(self._home).queue(name)
        except NotFoundError:
            return not ended
        if queue.writer() is not None:
            return False
        last = queue.last_record()
        return not ended or (
            last is not None and last.kind == Kind.STATUS and last.fields()["code"] == StatusCode.CAPTURE_END
        )

    def _seal_unheld(self) -> None:
        """Seal raw and wire queues that no feed holds, so that they can be tiered too."""
        local = LocalSource(self._home)
        for name in [*local.queues("raw/"), *local.queues("wire/")]:
            try:
                with Queue.open(self._home / name, name=name).appender() as appender:
                    appender.seal()
            except (QueueLockedError, NotFoundError):
                continue


def lane_window(streams: int, order_books: int = 0) -> int:
    """Return the raw bytes of a step for a lane of so many streams."""
    wanted = streams * WINDOW_BYTES_PER_STREAM + order_books * WINDOW_BYTES_PER_ORDER_BOOK
    return min(max(WINDOW_BYTES, wanted), WINDOW_BYTES_MAX)
