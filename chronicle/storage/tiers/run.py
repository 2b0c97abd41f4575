"""One run of the agent: what an earlier one left is settled, the plan's moves are made side by side.

Moves are made by `at_once` threads, so that one encodes while another uploads. The thread of the run takes what they
finished: it publishes the catalogs, and then removes sources, of many moves together and while others are under way.
It alone changes the state of the run; a move's own steps are transactions of the manifest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chronicle.core.clock import Clock
from chronicle.core.durable import file_error
from chronicle.core.errors import CapacityError, ChronicleError, UnavailableError
from chronicle.core.layout import SEGMENT_OPEN_SUFFIX
from chronicle.core.local import LocalSource
from chronicle.storage.manifest.catalog import sweep_parts
from chronicle.storage.manifest.catalogs import Catalogs
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.opening import is_url, local_folder
from chronicle.storage.tiers.agent_lock import agent_name
from chronicle.storage.tiers.moves import Hook, Mover
from chronicle.storage.tiers.planning import Move, Plan, packs
from chronicle.storage.tiers.policy import DELETE, HOT, Policy
from chronicle.storage.tiers.report import Failure, Report
from chronicle.storage.tiers.state import due_entries, hot_entries, merge_hot
from chronicle.storage.tiers.throttle import Throttle

__all__ = ["AgentOptions", "Progress", "Run", "tier_places"]

BATCH_MOVES: Final = 64
BATCH_BYTES: Final = 256 * 1024 * 1024
"""After so many moves or source bytes catalogs are published and sources deleted, so that space comes free."""
FAILURES_KEPT: Final = 100
AHEAD: Final = 16
"""So many moves wait for a thread, so that none is idle while catalogs are published."""

Key = tuple[str, int, int]
Outcome = list[Entry | None] | ChronicleError | None
Progress = Callable[[int, int, Move], None]
"""Called after each move with (moves done, moves planned, the move)."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How a plan is performed: so many moves at once, at most so many bytes a second (0: as they come).

    `stop` is asked before each move; those that were begun are finished.
    """

    at_once: int = 1
    bandwidth_bytes: int = 0
    stop: Callable[[], bool] = lambda: False


class Run:
    """One run over one home; the caller holds the agent's lock."""

    def __init__(
        self, home: Path, manifest: Manifest, policy: Policy, clock: Clock, hook: Hook, options: AgentOptions
    ) -> None:
        self.home = home
        self.manifest = manifest
        self.policy = policy
        self.clock = clock
        self.options = options
        throttle = Throttle(options.bandwidth_bytes, clock)
        self.mover = Mover(home, manifest, policy, hook, agent_name(), throttle)
        self.catalogs = Catalogs(manifest, self.mover.store, clock)
        self.hook = hook
        self.report = Report()
        self._entries: dict[Key, Entry] = {}
        self._retired: dict[Key, Entry] = {}
        """Those with copies that are to be deleted."""
        self._moving: set[Key] = set()
        """Those that a thread may be moving: what it makes of them is not known here yet."""
        self._touched: set[str] = set()
        self._met: set[tuple[str, str]] = set()
        self._given_up = False

    def settle(self) -> None:
        """Record what is new, remember the tiers, finish or undo what was interrupted, delete what is due."""
        self.manifest.set_tiers(self.manifest.tiers() | tier_places(self.policy, self.home))
        for tier in self.manifest.dirty():
            with self._pausing(tier):
                sweep_parts(self.mover.store(tier))
        now_ns = self.clock.now_ns()
        self.manifest.make_index()
        found, _ = hot_entries(self.home, now_ns=now_ns)
        recorded = due_entries(self.manifest, self.policy, found, now_ns=now_ns)
        merged = merge_hot(recorded, found)
        self.manifest.put(entry for key, entry in merged.items() if recorded.get(key) != entry)
        self.manifest.remove(recorded.keys() - merged.keys())
        for entry in [entry for entry in merged.values() if entry.intent]:
            assert entry.intent is not None
            outcome = "waits"
            with self._pausing(entry.intent.tier):
                merged[entry.key], outcome = self.mover.settle(entry, now_ns)
            if outcome == "waits":
                continue  # the store does not answer; the intent stays for the next run
            if outcome == "broken":
                self.report.broken.append(entry)
            elif outcome == "finished":
                self.report.finished += 1
            else:
                self._met.add((entry.intent.tier, entry.intent.temporary))
                self.report.undone += 1
        self._entries = merged
        self._retired = {key: entry for key, entry in merged.items() if entry.retired}
        behind = self.manifest.dirty()
        self._touched = {entry.queue for entry in merged.values() if entry.retired or entry.place in behind}
        self._close_batch()

    def perform(self, plan: Plan, progress: Progress | None) -> None:
        """Make the plan's moves, so many at once."""
        for tier in sorted({move.target for move in plan.moves} - {DELETE}):
            with self._pausing(tier):
                self.catalogs.own(tier)
        self._sync_outputs(plan)
        done = moves = size = 0
        with contextlib.closing(self._outcomes(packs(plan.moves, self.policy))) as outcomes:
            for group, outcome in outcomes:
                for position, move in enumerate(group):
                    self._take(move, outcome[position] if isinstance(outcome, list) else outcome)
                    done += 1
                    if progress is not None:
                        progress(done, len(plan.moves), move)
                moves, size = moves + 1, size + sum(move.source_bytes for move in group)
                if moves >= BATCH_MOVES or size >= BATCH_BYTES:
                    self._close_batch()
                    moves = size = 0
        self._close_batch()
        self._give_up_uploads()
        self._remember_failures()

    def _outcomes(self, groups: list[list[Move]]) -> Generator[tuple[list[Move], Outcome]]:
        """Make the groups' moves and yield what became of them, as they end.

        Closed before, it waits for those that were begun; no other begins.
        """
        if self.options.at_once == 1:
            yield from ((group, self._try(group)) for group in groups)
            return
        waiting: dict[Future[Outcome], list[Move]] = {}
        rest = iter(groups)
        with ThreadPoolExecutor(self.options.at_once, thread_name_prefix="tier") as pool:
            try:
                while True:
                    for group in rest:
                        self._moving.update(map(_key, group))
                        waiting[pool.submit(self._try, group)] = group
                        if len(waiting) >= self.options.at_once + AHEAD:
                            break
                    if not waiting:
                        return
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(future), future.result()
            finally:
                self._given_up = bool(waiting)

    def _give_up_uploads(self) -> None:
        """Give up what is left of uploads that were cut off before this run and that its plan did not go on with.

        Those that this run has settled wait for the next plan: this one was made before.
        """
        if self.options.stop():
            return
        moving = {(entry.intent.tier, entry.intent.temporary) for entry in self._entries.values() if entry.intent}
        done = []
        for tier, name in self.manifest.uploads():
            if tier in self.report.paused or (tier, name) in moving or (tier, name) in self._met:
                continue
            with contextlib.suppress(ChronicleError), self._pausing(tier):
                self.mover.store(tier).give_up(name)
                done.append((tier, name))
        self.manifest.forget_uploads(done)

    def _remember_failures(self) -> None:
        """Keep what could not be done where ``tier status`` finds it; what went well since is no failure any more."""
        now_ns = self.clock.now_ns()
        fresh = [
            {
                "queue": failure.move.segment.queue,
                "number": failure.move.segment.number,
                "target": failure.move.target,
                "error": str(failure.error),
                "ts_ns": now_ns,
            }
            for failure in self.report.failures[-FAILURES_KEPT:]
        ]
        done = {(entry.queue, entry.number) for entry in (*self.report.moved, *self.report.expired)}
        told = done | {(row["queue"], row["number"]) for row in fresh}
        there = {(entry.queue, entry.number) for entry in self._entries.values()}
        kept = [row for row in self.manifest.failures() if (row["queue"], row["number"]) in there - told]
        self.manifest.set_failures([*kept, *fresh][-FAILURES_KEPT:])

    def _try(self, group: list[Move]) -> Outcome:
        """Make the moves of a group, in a thread of its own where several are made at once; None: none was begun."""
        target = group[0].target
        if target in self.report.paused or self._given_up or self.options.stop():
            return None
        found = [self._entries.get(_key(move)) or self.manifest.get(_key(move)) for move in group]
        # Where the plan is older than the state somebody else moved or removed the segment.
        entries = [
            entry if entry and entry.place == move.source and not entry.intent else None
            for entry, move in zip(found, group, strict=True)
        ]
        chosen = [entry for entry in entries if entry is not None]
        if not chosen:
            return None
        now_ns, reason = self.clock.now_ns(), group[0].reason
        try:
            if target == DELETE:
                moved = [self.mover.expire(chosen[0], now_ns, reason)]
            elif len(chosen) == 1:
                moved = [self.mover.move(chosen[0], target, now_ns, reason)]
            else:
                moved = self.mover.move_together(chosen, target, now_ns, reason)
        except (CapacityError, UnavailableError) as error:
            self.report.paused[target] = error
            return error
        except ChronicleError as error:
            return error
        done = iter(moved)
        return [None if entry is None else next(done) for entry in entries]

    def _take(self, move: Move, outcome: Entry | ChronicleError | None) -> None:
        """Put the outcome of a move into the state and the report."""
        key = _key(move)
        self._moving.discard(key)
        if isinstance(outcome, ChronicleError):
            self.report.failures.append(Failure(move, outcome))
            known = self.manifest.get(key)  # its intent may stand
            if known is not None:
                self._entries[key] = known
        elif outcome is not None:
            before, self._entries[key] = self._entries.get(key), outcome
            self._retired[key] = outcome
            self._touched.add(outcome.queue)
            if move.target == DELETE:
                self.report.expired.append(outcome)
                return
            self.report.moved.append(outcome)
            self.report.source_bytes += move.source_bytes if before is None else before.length
            self.report.target_bytes += outcome.length

    def _close_batch(self) -> None:
        """Publish the catalogs that are behind; only then delete sources, of moves that the catalogs tell of.

        Moves that end meanwhile are taken afterwards, and wait for the next publication.
        """
        ended = {key: entry for key, entry in self._retired.items() if key not in self._moving}
        behind = set()
        for tier in self.manifest.dirty():
            behind.add(tier)
            with self._pausing(tier):
                self.catalogs.publish(tier)
                behind.remove(tier)
                for entry in ended.values():
                    if entry.place == tier:
                        self.hook("cataloged", entry)
        self._mark_tiered()
        now_ns = self.clock.now_ns()
        due: dict[str, list[Entry]] = {}
        for entry in ended.values():
            if not behind & {entry.place, *(copy.tier for copy in entry.retired)}:
                due.setdefault(entry.retired[0].tier, []).append(entry)
        for tier, entries in due.items():
            with self._pausing(tier):
                for settled in self.mover.discard(entries, now_ns):
                    before = self._retired.pop(settled.key)
                    self.report.deleted += len(before.retired) - len(settled.retired)
                    self._entries[settled.key] = settled
                    if settled.retired:
                        self._retired[settled.key] = settled
        self.report.retired_pending = sum(len(entry.retired) for entry in self._retired.values())

    def _mark_tiered(self) -> None:
        """Raise the queues' tiered watermarks to the end of what is published below hot, without a hole.

        They are lower bounds: where a control page cannot be written, or the queue is gone, nothing is said.
        """
        if not self._touched:
            return
        source, unpublished = LocalSource(self.home), self.catalogs.unpublished()
        waiting = set()
        for name in self._touched:
            with contextlib.suppress(ChronicleError):
                queue = source.queue(name)
                start = queue.mark_tiered(0)
                end = start
                for entry in self.manifest.ending_after(name, queue.settings.generation, start):
                    if entry.key in unpublished:
                        waiting.add(name)
                    if entry.place == HOT or entry.key in unpublished or (end and entry.base_index > end):
                        break
                    end = entry.end_index
                if end > start:
                    queue.mark_tiered(end)
        self._touched = waiting

    @contextlib.contextmanager
    def _pausing(self, tier: str) -> Iterator[None]:
        """Pause a tier that has no space or does not answer, instead of ending the run."""
        try:
            yield
        except (CapacityError, UnavailableError) as error:
            self.report.paused[tier] = error

    def _sync_outputs(self, plan: Plan) -> None:
        """Before raw leaves hot, make all that the ETL has written durable: what it read raw for must survive."""
        if not any(move.segment.queue.startswith("raw/") and move.source == HOT for move in plan.moves):
            return
        source = LocalSource(self.home)
        for name in (*source.queues("clean/"), *source.queues("etl/")):
            for number, path in source.queue(name).segment_files().items():
                if path.suffix == SEGMENT_OPEN_SUFFIX:
                    _sync_file(path, number)


def _key(move: Move) -> Key:
    return move.segment.queue, move.segment.generation, move.segment.number


def _sync_file(path: Path, number: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # sealed meanwhile, and sealing syncs
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise file_error(error, f"sync segment {number}", path) from error
    finally:
        os.close(descriptor)


def tier_places(policy: Policy, home: Path) -> dict[str, dict[str, Any]]:
    """Return where a policy's tiers are as the manifest keeps it, so that readers need no configuration.

    Folders inside the home are relative to it, so that homes can be moved.
    """
    places: dict[str, dict[str, Any]] = {}
    for tier in policy.tiers:
        root = str(tier.root)
        if not is_url(root):
            absolute, base = local_folder(root).absolute(), home.absolute()
            root = str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)
        places[tier.name] = {"path": root, "encoding": tier.encoding, "options": dict(tier.options)}
    return places
