"""What a plan is made from: sealed segments of the home and the archive, and how far the ETL has read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from chronicle.core.errors import ChronicleError, ForeignFileError, NotFoundError
from chronicle.core.layout import SEGMENT_SEALED_SUFFIX, Kind
from chronicle.core.local import LocalSource
from chronicle.core.paths import lane_of, read_by
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.scanning import sealed_entry
from chronicle.storage.stores.opening import is_url, local_folder
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.policy import DELETE, HOT, Policy, SegmentRow, TierState

__all__ = ["due_entries", "frontiers", "gather", "hot_entries", "of_current", "visible"]


def gather(
    home: str | Path,
    policy: Policy,
    *,
    now_ns: int,
    everything: bool = False,
    hot: tuple[list[Entry], list[ChronicleError]] | None = None,
) -> tuple[TierState, list[ChronicleError]]:
    """Return what a plan depends on, and segments that could not be read. Nothing is written.

    Its segments are those of which the policy may decide something (:func:`due_entries`).
    A segment that no run of the agent has recorded yet counts as sealed at its file's modification time, at the
    latest `now_ns`: an age decides when a segment moves, never whether that is safe. `hot` is what
    :func:`hot_entries` found, where it was asked already.
    """
    manifest = Manifest.open(home)
    found, errors = hot or hot_entries(home, now_ns=now_ns)
    recorded = {} if manifest is None else due_entries(manifest, policy, found, now_ns=None if everything else now_ns)
    merged = merge_hot(recorded, found)
    entries = visible(home, merged.values(), manifest)
    totals = {} if manifest is None else manifest.totals()
    ratios = {place: stored / raw for place, (_, stored, raw) in totals.items() if raw and place not in (HOT, DELETE)}
    rows = tuple(_row(entry) for entry in entries)
    return TierState(rows, frontiers(home), ratios, _free(home, policy)), errors


def due_entries(
    manifest: Manifest, policy: Policy, found: list[Entry], *, now_ns: int | None
) -> dict[tuple[str, int, int], Entry]:
    """Return the recorded entries on which a run of the agent depends; what rests where it is, is not read.

    These are the ones of segments `found` in the home, or recorded there; those under way, or with copies to delete;
    those old enough for a rule of their place; and all of a place above its limits that something can leave.

    Parameters
    ----------
    now_ns : int or None
        None: every age is enough, and the next tier is the rule (``tier apply --all``).
    """
    chosen = {entry.key: entry for entry in (*manifest.pending(), *manifest.at_place(HOT))}
    for entry in found:
        recorded = chosen.get(entry.key) or manifest.get(entry.key)
        if recorded is not None:
            chosen[entry.key] = recorded
    crowded = _crowded(manifest, policy)
    for place in policy.names[1:]:
        after = [rule.after_ns for rule in policy.rules if rule.source == place]
        if now_ns is None:
            due = manifest.at_place(place) if policy.next_tier(place) is not None else []
        elif place in crowded and (after or policy.next_tier(place) is not None):
            due = manifest.at_place(place)
        else:
            due = manifest.at_place(place, seen_until_ns=now_ns - min(after)) if after else []
        chosen.update((entry.key, entry) for entry in due)
    return chosen


def _crowded(manifest: Manifest, policy: Policy) -> set[str]:
    """Return the places that hold more than they may, or have less free than they must."""
    if not policy.limits:
        return set()
    totals, free = manifest.totals(), _free(manifest.home, policy)
    found = set()
    for place, limits in policy.limits.items():
        full = limits.bytes_max > 0 and totals.get(place, (0, 0, 0))[1] > limits.bytes_max
        if full or (limits.free_min > 0 and free.get(place, limits.free_min) < limits.free_min):
            found.add(place)
    return found


def hot_entries(home: str | Path, *, now_ns: int) -> tuple[list[Entry], list[ChronicleError]]:
    """Return an entry for each sealed segment in the home's queues, and what could not be read."""
    store, source = LocalStore(home), LocalSource(home)
    entries: list[Entry] = []
    errors: list[ChronicleError] = []
    for queue in source.queues():
        for name in sorted(os.listdir(Path(home) / queue)):
            if not name.endswith(SEGMENT_SEALED_SUFFIX) or not name[:10].isdigit() or len(name) != 14:
                continue
            try:
                stat = (Path(home) / queue / name).stat()
                seen_ns = min(now_ns, stat.st_mtime_ns)
                entry = sealed_entry(store, f"{queue}/{name}", stat.st_size, queue=queue, place=HOT, seen_ns=seen_ns)
                entries.append(entry)
            except (FileNotFoundError, NotFoundError):
                continue  # moved while we looked
            except ChronicleError as error:
                errors.append(error)
    return entries, errors


def merge_hot(
    recorded: Mapping[tuple[str, int, int], Entry], found: list[Entry]
) -> dict[tuple[str, int, int], Entry]:
    """Return the recorded entries with the hot segments that were found put in.

    A recorded entry keeps its time of sealing; one published elsewhere stays there (the hot file is its retired
    copy) as long as both are the same segment.
    """
    merged = dict(recorded)
    for entry in found:
        before = merged.get(entry.key)
        if before is None or not same_segment(before, entry):
            merged[entry.key] = entry
        elif before.place == HOT:
            merged[entry.key] = replace(
                entry,
                sealed_seen_ns=before.sealed_seen_ns,
                intent=before.intent,
                retired=before.retired,
                holds=before.holds,
            )
    present = {entry.key for entry in found}
    return {key: entry for key, entry in merged.items() if entry.place != HOT or entry.intent or key in present}


def same_segment(one: Entry, other: Entry) -> bool:
    """Whether two entries describe the same sealed bytes."""
    return (one.queue_id, one.checksum, one.file_bytes) == (other.queue_id, other.checksum, other.file_bytes)


def visible(
    home: str | Path, entries: Iterable[Entry], manifest: Manifest | None = None, *, local: LocalSource | None = None
) -> list[Entry]:
    """Return the entries that belong to the queues as they are now, in order; `manifest` knows of more than
    `entries`, `local` is the home's own source where there is one already.

    When a queue was made again (another generation or identity), segments of the former one stay in their tier but
    are no part of the queue any more.
    """
    return sorted(of_current(home, entries, manifest, local=local), key=lambda entry: entry.key)


class OfQueue(Protocol):
    """What belongs to a queue of some identity: an entry, a stock."""

    @property
    def queue(self) -> str:
        """The queue's name."""
        ...

    @property
    def generation(self) -> int:
        """Its generation."""
        ...

    @property
    def queue_id(self) -> str:
        """Its identity."""
        ...


T = TypeVar("T", bound=OfQueue)


def of_current(
    home: str | Path, rows: Iterable[T], manifest: Manifest | None = None, *, local: LocalSource | None = None
) -> list[T]:
    """Return those of `rows` that belong to the queues as they are now: see :func:`visible`."""
    current: dict[str, tuple[int, str] | None] = {}
    newest: dict[str, int] = {}
    source, found = local or LocalSource(home), []
    listed = list(rows)
    for row in listed:
        newest[row.queue] = max(newest.get(row.queue, 0), row.generation)
        if row.queue not in current:
            known = None if manifest is None else manifest.newest_generation(row.queue)
            newest[row.queue] = max(newest[row.queue], known or 0)
            try:
                settings = source.queue(row.queue).settings
                current[row.queue] = settings.generation, settings.queue_id
            except (NotFoundError, ForeignFileError):
                current[row.queue] = None
    for row in listed:
        identity = current[row.queue]
        if identity is None:
            if row.generation == newest[row.queue]:
                found.append(row)
        elif (row.generation, row.queue_id) == identity:
            found.append(row)
    return found


def frontiers(home: str | Path) -> dict[str, dict[str, int | None]]:
    """Return {raw queue: {shard: raw index below which it has finished}} from the shards' progress queues.

    A shard that reads a raw queue also reads that queue's backfill lanes: a lane it has not begun is None.
    """
    source = LocalSource(home)
    raws = source.queues("raw/")
    progress = {name: _progress(source, name) for name in source.queues("etl/")}
    found: dict[str, dict[str, int | None]] = {}
    for raw in raws:
        base, lane = raw.split("@")[0].removesuffix(".q"), lane_of(raw)
        shards: dict[str, int | None] = {}
        for name, (reads, frontier) in progress.items():
            shard = name.split("/")[1]
            if reads.split("@")[0].removesuffix(".q") != base:
                continue
            shards.setdefault(shard, None)
            if lane_of(reads) == lane and frontier is not None:
                shards[shard] = max(frontier, shards[shard] or 0)
        if shards:
            found[raw] = shards
    return found


def _progress(source: LocalSource, name: str) -> tuple[str, int | None]:
    """Return (raw queue, frontier index) of a progress queue."""
    reads = read_by(name)
    queue = source.queue(name)
    for number in queue.segment_files():
        with queue.open_segment(number) as segment:
            sources = segment.prologue().get("sources")
            if isinstance(sources, list) and sources and isinstance(sources[0], dict):
                reads = str(sources[0].get("queue", reads))
        break
    last = queue.last_record()
    if last is None or last.kind != Kind.PROGRESS:
        return reads, None
    return reads, int(last.fields()["frontier_index"])


def _row(entry: Entry) -> SegmentRow:
    return SegmentRow(
        queue=entry.queue,
        number=entry.number,
        generation=entry.generation,
        base_index=entry.base_index,
        end_index=entry.end_index,
        ts_last=entry.ts_last,
        file_bytes=entry.file_bytes,
        stored_bytes=entry.length,
        place=entry.place,
        sealed_seen_ns=entry.sealed_seen_ns,
        moving=entry.intent is not None,
        ts_first=entry.ts_first,
    )


def _free(home: str | Path, policy: Policy) -> dict[str, int]:
    """Return the bytes that are free where tiers are folders."""
    roots = {HOT: Path(home)} | {t.name: local_folder(t.root) for t in policy.tiers if not is_url(t.root)}
    found = {name: LocalStore(root).free_bytes() for name, root in roots.items() if name in policy.limits}
    return {name: count for name, count in found.items() if count is not None}
