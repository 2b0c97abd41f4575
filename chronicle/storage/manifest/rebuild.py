"""The manifest made again from the segments alone: the home's queues and the objects of every tier."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.durable import TEMPORARY_PREFIX
from chronicle.core.errors import ChronicleError, CorruptionError, StoreError, VersionError
from chronicle.storage.manifest.catalog import catalog_of, forget_catalog, publish_catalog, read_catalog
from chronicle.storage.manifest.entry import Entry, Retired
from chronicle.storage.manifest.history import Event
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_file import set_aside
from chronicle.storage.manifest.scanning import scan_root
from chronicle.storage.stores.opening import open_store
from chronicle.storage.stores.stores import LocalStore, Store
from chronicle.storage.tiers.agent_lock import agent_lock, agent_name
from chronicle.storage.tiers.policy import DELETE, Policy
from chronicle.storage.tiers.run import tier_places
from chronicle.storage.tiers.state import hot_entries, same_segment

__all__ = ["RebuildReport", "rebuild_manifest"]


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was found. `conflicts` are objects that claim to be a segment already found with other bytes."""

    segments: int
    copies: int
    temporaries_removed: int
    conflicts: tuple[str, ...]
    errors: tuple[ChronicleError, ...]


def rebuild_manifest(home: str | Path, policy: Policy, *, clock: Clock | None = None) -> RebuildReport:
    """Make the manifest and the catalogs again; one that cannot be opened is set aside as ``damaged-*``.

    A segment found in several tiers is published at the hottest; the agent's next move finds the colder copy there
    and only publishes it. Half-written temporary objects are removed. What catalogs know is kept: times of sealing,
    and kinds of record where an object's footer does not say them. So is what the former manifest, where it can be
    read, says was removed by policy: a copy whose deletion was still due does not come back, and is deleted by the
    next run.

    Raises
    ------
    QueueLockedError
        When an agent works on the home.
    """
    home = Path(home)
    now_ns = (clock or SystemClock()).now_ns()
    with agent_lock(home, now_ns=now_ns):
        found, errors = hot_entries(home, now_ns=now_ns)
        stores = {tier.name: open_store(tier.root, tier.options) for tier in policy.tiers}
        removed, home_id, known = 0, None, dict[tuple[str, int, int], Entry]()
        for tier, store in stores.items():
            removed += _sweep(store)
            with contextlib.suppress(ChronicleError):  # a damaged catalog is made again below
                catalog = read_catalog(store)
                if catalog is not None:
                    home_id = home_id or catalog.home_id
                    known.update({entry.key: entry for entry in catalog.entries})
            entries, more = scan_root(store, tier, now_ns=now_ns)
            found += entries
            errors += more
        published, copies, conflicts = _choose(found)
        expired = _expired(home, published, found, now_ns)
        gone = {entry.key for entry in expired}
        published = [entry for entry in published if entry.key not in gone]
        published = [_as_known(entry, known.get(entry.key)) for entry in published]
        event = Event(now_ns, "rebuilt", "", 0, 0, "", "", len(published), 0, "tier rebuild", agent_name())
        manifest = _replace_manifest(home, policy, [*published, *expired], home_id, event)
        for tier, store in stores.items():
            if not isinstance(store, LocalStore) or store.root.is_dir():
                forget_catalog(store)
                entries_here = catalog_of(manifest.home_id(), tier, policy.tier(tier).encoding, published)
                publish_catalog(store, entries_here, now_ns=now_ns, history=manifest.history_head())
        return RebuildReport(len(published), copies, removed, tuple(conflicts), tuple(errors))


def _as_known(entry: Entry, before: Entry | None) -> Entry:
    """Return an entry with what a catalog knew of it and its object does not say."""
    if before is None:
        return entry
    holds = entry.holds or (before.holds if same_segment(entry, before) else 0)
    return replace(entry, sealed_seen_ns=before.sealed_seen_ns, holds=holds)


def _expired(home: Path, published: list[Entry], found: list[Entry], now_ns: int) -> list[Entry]:
    """Return the entries of segments that the policy removed, their copies that are still there to be deleted."""
    try:
        manifest = Manifest.open(home)
        former = [] if manifest is None else manifest.at_place(DELETE)
    except ChronicleError:
        return []  # damaged: what it knew of deletions is lost with it
    there = {entry.key: entry for entry in published}
    expired = []
    for entry in former:
        if entry.key in there and not same_segment(entry, there[entry.key]):
            continue  # the queue was made again
        copies = [Retired(copy.place, copy.object, now_ns) for copy in found if copy.key == entry.key]
        expired.append(replace(entry, intent=None, retired=tuple(dict.fromkeys(copies))))
    return expired


def _choose(found: Iterable[Entry]) -> tuple[list[Entry], int, list[str]]:
    """Return (the hottest entry of each segment, further copies, conflicts); `found` goes from hot to cold."""
    chosen: dict[tuple[str, int, int], Entry] = {}
    copies, conflicts = 0, []
    for entry in found:
        first = chosen.setdefault(entry.key, entry)
        if first is entry:
            continue
        if same_segment(first, entry):
            copies += 1
        else:
            conflicts.append(f"{entry.place}: {entry.object}")
    return list(chosen.values()), copies, conflicts


def _sweep(store: Store) -> int:
    """Remove half-written objects; nobody else writes while the agent's lock is held."""
    names = [name for name, _ in store.list() if name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)]
    for name in names:
        store.delete(name)
    return len(names)


def _replace_manifest(
    home: Path, policy: Policy, entries: list[Entry], home_id: str | None, event: Event
) -> Manifest:
    manifest = None
    try:
        manifest = Manifest.open(home, create=True)
    except (CorruptionError, VersionError, StoreError):
        set_aside(home)
        manifest = Manifest.open(home, create=True)
    assert manifest is not None
    manifest.replace_all(entries, tier_places(policy, home), home_id or manifest.home_id(), events=[event])
    return manifest
