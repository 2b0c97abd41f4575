"""The tiering agent: performs a plan, settles what an earlier run left behind, deletes what is due. One per home."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.durable import file_error
from chronicle.core.errors import CapacityError, ChronicleError, QueueLockedError, UnavailableError
from chronicle.core.layout import SEGMENT_OPEN_SUFFIX
from chronicle.core.local import LocalSource
from chronicle.storage.catalog import (
    POINTER_VERSION,
    Catalog,
    Pointer,
    owned_pointer,
    publish_catalog,
    sweep_parts,
)
from chronicle.storage.catalog_changes import publish_changes
from chronicle.storage.entry import Entry
from chronicle.storage.manifest import Manifest
from chronicle.storage.manifest_file import MANIFEST_FOLDER
from chronicle.storage.moves import Hook, Mover, no_hook
from chronicle.storage.opening import is_url, local_folder
from chronicle.storage.planning import Move, Plan, packs
from chronicle.storage.planning import plan as plan_moves
from chronicle.storage.policy import DELETE, HOT, Policy
from chronicle.storage.report import Failure, Report
from chronicle.storage.state import due_entries, gather, hot_entries, merge_hot
from chronicle.storage.throttle import Throttle

__all__ = ["AgentOptions", "agent_lock", "apply_plan", "make_plan", "run_once"]

LOCK_NAME: Final = "agent.lock"
BATCH_MOVES: Final = 64
FAILURES_KEPT: Final = 100
BATCH_BYTES: Final = 256 * 1024 * 1024
"""After so many moves or source bytes catalogs are published and sources deleted, so that space comes free."""

Progress = Callable[[int, int, Move], None]
"""Called after each move with (moves done, moves planned, the move)."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How a plan is performed: so many moves at once, at most so many bytes a second (0: as they come).

    `stop` is asked before each move; one that was begun is finished.
    """

    at_once: int = 1
    bandwidth_bytes: int = 0
    stop: Callable[[], bool] = lambda: False


def make_plan(
    home: str | Path, policy: Policy, *, everything: bool = False, prefix: str = "", clock: Clock | None = None
) -> tuple[Plan, list[ChronicleError]]:
    """Return what the policy would move now, and segments that could not be read. Nothing is written."""
    now_ns = (clock or SystemClock()).now_ns()
    state, errors = gather(home, policy, now_ns=now_ns, everything=everything)
    return plan_moves(state, policy, now_ns, everything=everything, prefix=prefix), errors


def apply_plan(
    home: str | Path,
    plan: Plan,
    policy: Policy,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    hook: Hook = no_hook,
    options: AgentOptions | None = None,
) -> Report:
    """Perform a plan: settle interrupted moves first, then move, publish catalogs, delete due sources.

    Raises
    ------
    QueueLockedError
        When another agent works on this home.
    StateError
        When another home archives into a tier of the plan; nothing was moved.
    CapacityError, StoreError
        When the manifest or a catalog cannot be written. What single moves met is in the report.
    """
    clock = clock or SystemClock()
    home = Path(home)
    with agent_lock(home, now_ns=clock.now_ns()):
        manifest = Manifest.open(home, create=True)
        assert manifest is not None
        agent = _Agent(home, manifest, policy, clock, hook, options or AgentOptions())
        agent.settle()
        agent.perform(plan, progress)
        return agent.report


def run_once(
    home: str | Path,
    policy: Policy,
    *,
    everything: bool = False,
    prefix: str = "",
    clock: Clock | None = None,
    progress: Progress | None = None,
    options: AgentOptions | None = None,
) -> Report:
    """Plan and apply: one duty cycle of ``chronicle tier run``."""
    clock = clock or SystemClock()
    plan, _ = make_plan(home, policy, everything=everything, prefix=prefix, clock=clock)
    return apply_plan(home, plan, policy, clock=clock, progress=progress, options=options)


@contextlib.contextmanager
def agent_lock(home: Path, *, now_ns: int) -> Iterator[None]:
    """Be the one agent of a home; the lock dies with its owner.

    Raises
    ------
    QueueLockedError
        Naming the holder.
    """
    path = home / MANIFEST_FOLDER / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)  # noqa: SIM115 - held as long as the lock
    except OSError as error:
        raise file_error(error, "open the agent's lock", path) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise QueueLockedError(
                "another tiering agent works on this home",
                path=path,
                expected="no agent",
                found=_holder(file),
                hint="wait for it, or stop it; a plan needs no lock",
            ) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started_ns": now_ns}).encode())
        try:
            yield
        finally:
            file.truncate(0)


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(4096).decode("utf-8", "replace") or "a live process"


class _Agent:
    """One run over one home."""

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
        self.hook = hook
        self.report = Report()
        self._entries: dict[tuple[str, int, int], Entry] = {}
        self._touched: set[str] = set()
        self._pointers: dict[str, Pointer] = {}
        """The pointers as this run has read or published them last."""
        self._met: set[tuple[str, str]] = set()

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
        behind = self.manifest.dirty()
        self._touched = {entry.queue for entry in merged.values() if entry.retired or entry.place in behind}
        self._close_batch()

    def perform(self, plan: Plan, progress: Progress | None) -> None:
        """Make the plan's moves, batch by batch."""
        for tier in sorted({move.target for move in plan.moves} - {DELETE}):
            with self._pausing(tier):
                if tier not in self._pointers:
                    pointer = owned_pointer(self.mover.store(tier), self.manifest.home_id())
                    if pointer is not None:
                        self._pointers[tier] = pointer
        self._sync_outputs(plan)
        done = 0
        with ThreadPoolExecutor(self.options.at_once, thread_name_prefix="tier") as pool:
            for batch in _batches(packs(plan.moves, self.policy)):
                outcomes = map(self._try, batch) if self.options.at_once == 1 else pool.map(self._try, batch)
                for group, outcome in zip(batch, outcomes, strict=True):
                    for position, move in enumerate(group):
                        self._take(move, outcome[position] if isinstance(outcome, list) else outcome)
                        done += 1
                        if progress is not None:
                            progress(done, len(plan.moves), move)
                self._close_batch()
        self._give_up_uploads()
        self._remember_failures()

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

    def _try(self, group: list[Move]) -> list[Entry | None] | ChronicleError | None:
        """Make the moves of a group, in a thread of its own where several are made at once; None: none was begun."""
        target = group[0].target
        if target in self.report.paused or self.options.stop():
            return None
        keys = [(move.segment.queue, move.segment.generation, move.segment.number) for move in group]
        found = [self._entries.get(key) or self.manifest.get(key) for key in keys]
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
        row = move.segment
        key = row.queue, row.generation, row.number
        if isinstance(outcome, ChronicleError):
            self.report.failures.append(Failure(move, outcome))
            known = self.manifest.get(key)  # its intent may stand
            if known is not None:
                self._entries[key] = known
        elif outcome is not None:
            before, self._entries[key] = self._entries.get(key), outcome
            self._touched.add(outcome.queue)
            if move.target == DELETE:
                self.report.expired.append(outcome)
                return
            self.report.moved.append(outcome)
            self.report.source_bytes += move.source_bytes if before is None else before.length
            self.report.target_bytes += outcome.length

    def _close_batch(self) -> None:
        """Publish the catalogs that are behind; only then delete sources, of tiers whose catalogs are not behind."""
        for tier in self.manifest.dirty():
            with self._pausing(tier):
                self._publish(tier)
        behind = set(self.manifest.dirty())
        self._mark_tiered(behind)
        now_ns = self.clock.now_ns()
        self.report.retired_pending = 0
        for key, entry in list(self._entries.items()):
            if not entry.retired:
                continue
            settled = entry
            if not behind & {entry.place, *(copy.tier for copy in entry.retired)}:
                with self._pausing(entry.retired[0].tier):
                    settled = self.mover.discard(entry, now_ns, partial(self._in_use, key))
            self.report.deleted += len(entry.retired) - len(settled.retired)
            self.report.retired_pending += len(settled.retired)
            self._entries[key] = settled

    def _in_use(self, key: tuple[str, int, int], tier: str, name: str) -> bool:
        """Return whether a pack holds another segment that is published there, or whose copy is still kept there."""
        return any(entry.key != key for entry in self.manifest.in_pack(tier, name))

    def _mark_tiered(self, behind: set[str]) -> None:
        """Raise the queues' tiered watermarks to the end of what is published below hot, without a hole.

        They are lower bounds: where a control page cannot be written, or the queue is gone, nothing is said.
        """
        if not self._touched:
            return
        rows = {queue: self.manifest.entries(queue) for queue in self._touched}
        source = LocalSource(self.home)
        for queue, entries in rows.items():
            with contextlib.suppress(ChronicleError):
                found = source.queue(queue)
                generation = found.settings.generation
                end = None
                for entry in sorted(entries, key=lambda entry: entry.number):
                    if entry.generation != generation:
                        continue
                    if entry.place == HOT or entry.place in behind or (end is not None and entry.base_index != end):
                        break
                    end = entry.end_index
                if end is not None:
                    found.mark_tiered(end)
        self._touched -= {queue for queue, entries in rows.items() if not behind & {entry.place for entry in entries}}

    @contextlib.contextmanager
    def _pausing(self, tier: str) -> Iterator[None]:
        """Pause a tier that has no space or does not answer, instead of ending the run."""
        try:
            yield
        except (CapacityError, UnavailableError) as error:
            self.report.paused[tier] = error

    def _publish(self, tier: str) -> None:
        """Publish a tier's catalog: what changed, or all of it where the one that is there is not our last one."""
        encoding = self.manifest.tiers().get(tier, {}).get("encoding", "zstd")
        store, home_id = self.mover.store(tier), self.manifest.home_id()
        before = self._pointers.pop(tier, None) or owned_pointer(store, home_id)
        state = self.manifest.catalog_state(tier)
        now_ns, history = self.clock.now_ns(), self.manifest.history_head()
        if before is not None and before.version == POINTER_VERSION and before.sequence == state.sequence:
            pointer = publish_changes(store, before, state.changes, encoding=encoding, now_ns=now_ns, history=history)
        else:
            state = self.manifest.catalog_state(tier, whole=True)
            catalog = Catalog(home_id, tier, encoding, tuple(sorted(state.entries or (), key=lambda e: e.key)))
            pointer = publish_catalog(store, catalog, now_ns=now_ns, history=history)
        self.manifest.catalog_published(state, pointer.sequence)
        self._pointers[tier] = pointer
        for entry in self._entries.values():
            if entry.retired and entry.place == tier:
                self.hook("cataloged", entry)

    def _sync_outputs(self, plan: Plan) -> None:
        """Before raw leaves hot, make all that the ETL has written durable: what it read raw for must survive."""
        if not any(move.segment.queue.startswith("raw/") and move.source == HOT for move in plan.moves):
            return
        source = LocalSource(self.home)
        for name in (*source.queues("clean/"), *source.queues("etl/")):
            for number, path in source.queue(name).segment_files().items():
                if path.suffix == SEGMENT_OPEN_SUFFIX:
                    _sync_file(path, number)


def _batches(groups: Sequence[list[Move]]) -> Iterator[list[list[Move]]]:
    """Yield the groups of moves in the batches after which catalogs are published."""
    batch: list[list[Move]] = []
    size = 0
    for group in groups:
        batch.append(group)
        size += sum(move.source_bytes for move in group)
        if len(batch) >= BATCH_MOVES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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


def agent_name() -> str:
    """Return what the history calls this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


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
