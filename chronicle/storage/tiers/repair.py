"""Damage found at rest: looked for a little at a time, set aside, and replaced by a copy that proves whole.

A damaged object is never removed: it is renamed into ``quarantine/`` of its tier. Where another copy of the segment
proves whole (a source whose grace period still runs, an object that a colder or hotter tier still has, the sealed
file in the home) the manifest publishes that first, and a move brings the segment back to its tier. Where there is
none the entry stays as it is: readers get an error, never the damaged bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError, UnavailableError
from chronicle.core.layout import SEGMENT_SEALED_SUFFIX
from chronicle.storage.codec.archive_layout import ARCHIVE_SUFFIX
from chronicle.storage.codec.proving import prove
from chronicle.storage.manifest.catalog import owned_pointer
from chronicle.storage.manifest.entry import QUARANTINE, Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.scanning import object_name
from chronicle.storage.stores.remote import RemoteStore
from chronicle.storage.stores.stores import Store
from chronicle.storage.tiers.agent_lock import agent_lock, agent_name
from chronicle.storage.tiers.moves import Mover
from chronicle.storage.tiers.packs import PACK_SUFFIX
from chronicle.storage.tiers.policy import DELETE, HOT, Policy
from chronicle.storage.tiers.throttle import Throttle

__all__ = ["RepairReport", "Repaired", "repair", "scrub"]

COPY_BYTES: Final = 4 << 20
TOLD_TOGETHER: Final = 256
"""What so many segments hold is noted in one transaction."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A damaged segment: what was found, and where the copy was that replaced it (empty: there is none)."""

    entry: Entry
    error: ChronicleError
    copy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return {
            "queue": self.entry.queue,
            "number": self.entry.number,
            "tier": self.entry.place,
            "object": self.entry.object,
            "copy": self.copy or None,
        } | self.error.to_dict()


@dataclass(slots=True)
class RepairReport:
    """What was looked at, and what was damaged. `unavailable` counts objects whose store did not answer.

    `uploads` counts objects of which a part of an upload had been left, and was removed.
    """

    checked: int = 0
    checked_bytes: int = 0
    unavailable: int = 0
    uploads: int = 0
    damaged: tuple[Repaired, ...] = ()

    @property
    def lost(self) -> list[Repaired]:
        """The damaged segments of which no whole copy was found."""
        return [item for item in self.damaged if not item.copy]


def repair(
    home: str | Path,
    policy: Policy,
    *,
    prefix: str = "",
    clock: Clock | None = None,
    progress: Callable[[int, Entry], None] | None = None,
) -> RepairReport:
    """Check every object below hot and replace what is damaged.

    Raises
    ------
    QueueLockedError
        When an agent works on this home.
    """
    clock = clock or SystemClock()
    home = Path(home)
    with agent_lock(home, now_ns=clock.now_ns()):
        manifest = Manifest.open(home)
        report = RepairReport()
        if manifest is not None:
            mover = Mover(home, manifest, policy, agent=agent_name())
            entries = (entry for entry in manifest.entries() if entry.queue.startswith(prefix))
            _check(mover, entries, clock, report, progress)
            report.uploads = sum(_give_up_uploads(mover, tier) for tier in sorted(manifest.tiers().keys() - {HOT}))
        return report


def _give_up_uploads(mover: Mover, tier: str) -> int:
    """Give up the uploads of segments that nobody has open, in a tier that is this home's; return how many.

    The agent's lock is held: a move that is under way has none. Names that are no segment's may be somebody else's.
    """
    given_up: set[str] = set()
    with contextlib.suppress(ChronicleError):
        store = mover.store(tier)
        if not isinstance(store, RemoteStore):
            return 0
        owned_pointer(store, mover.manifest.home_id())
        for upload in list(store.uploads("")):
            if upload.name.endswith((ARCHIVE_SUFFIX, PACK_SUFFIX)):
                store.give_up(upload.name)
                given_up.add(upload.name)
        mover.manifest.forget_uploads([row for row in mover.manifest.uploads() if row[0] == tier])
    return len(given_up)


def scrub(
    home: str | Path, policy: Policy, *, budget_bytes: int, bandwidth_bytes: int = 0, clock: Clock | None = None
) -> RepairReport:
    """Check the next objects in order, up to `budget_bytes` of them (one at least), and replace what is damaged.

    Objects are read at `bandwidth_bytes` a second at most (0: as they come).

    Where it came to is kept in the manifest; after the last object it begins again. What was damaged and could not
    be replaced stands in ``tier status`` until it is whole.

    Raises
    ------
    QueueLockedError
        When another agent works on this home.
    """
    clock = clock or SystemClock()
    home, report = Path(home), RepairReport()
    with agent_lock(home, now_ns=clock.now_ns()):
        manifest = Manifest.open(home)
        if manifest is None:
            return report
        after = manifest.scrubbed()
        chosen = list(_within(_below_hot(manifest, after), budget_bytes))
        if not chosen and after is not None:
            chosen = list(_within(_below_hot(manifest, None), budget_bytes))
        throttle = Throttle(bandwidth_bytes, clock)
        _check(Mover(home, manifest, policy, agent=agent_name(), throttle=throttle), chosen, clock, report, None)
        if chosen:
            manifest.set_scrubbed(list(chosen[-1].key))
        whole = {entry.key for entry in chosen} - {item.entry.key for item in report.lost}
        kept = [row for row in manifest.damaged() if (row["queue"], row["generation"], row["number"]) not in whole]
        known = {(row["queue"], row["generation"], row["number"]) for row in kept}
        fresh = [
            {
                "queue": item.entry.queue,
                "generation": item.entry.generation,
                "number": item.entry.number,
                "error": str(item.error),
            }
            for item in report.lost
            if item.entry.key not in known
        ]
        manifest.set_damaged([*kept, *fresh])
    return report


def _below_hot(manifest: Manifest, after: list[Any] | None) -> Iterator[Entry]:
    """Yield the entries after a key that have an object below hot."""
    key = None if after is None else (str(after[0]), int(after[1]), int(after[2]))
    return (entry for entry in manifest.following(key) if entry.place not in (HOT, DELETE))


def scrub_budget(stored_bytes: int, period_ns: int, interval_ns: int) -> int:
    """Return how many bytes to check in one look so that all of them are checked once a period."""
    return -(-stored_bytes * interval_ns // period_ns) if period_ns else 0


def _within(entries: Iterable[Entry], budget_bytes: int) -> Iterator[Entry]:
    used = 0
    for entry in entries:
        if used and used + entry.length > budget_bytes:
            return
        used += entry.length
        yield entry


def _check(
    mover: Mover,
    entries: Iterable[Entry],
    clock: Clock,
    report: RepairReport,
    progress: Callable[[int, Entry], None] | None,
) -> None:
    damaged: list[Repaired] = []
    told: list[Entry] = []
    for entry in entries:
        if entry.place in (HOT, DELETE) or entry.intent:
            continue
        error, holds = _look(mover, entry, mover.store(entry.place))
        if holds not in (0, entry.holds):
            told.append(replace(entry, holds=holds))
            if len(told) == TOLD_TOGETHER:
                _note(mover, told)
        report.checked += 1
        report.checked_bytes += entry.length
        if isinstance(error, UnavailableError):
            report.unavailable += 1
        elif error is not None:
            damaged.append(_replace(mover, entry, error, clock))
        if progress is not None:
            progress(report.checked, entry)
    _note(mover, told)
    report.damaged = tuple(damaged)


def _look(mover: Mover, entry: Entry, store: Store) -> tuple[ChronicleError | None, int]:
    """Return (what is wrong with the object of an entry: None when it proves whole, what it holds)."""
    try:
        return None, prove(store, entry, mover.throttle)
    except ChronicleError as error:
        return error, 0


def _note(mover: Mover, told: list[Entry]) -> None:
    """Keep what segments hold that an earlier release had archived; the next run of the agent publishes it."""
    if told:
        mover.manifest.put(told, dirty={entry.place for entry in told})
        told.clear()


def _replace(mover: Mover, entry: Entry, error: ChronicleError, clock: Clock) -> Repaired:
    """Publish a whole copy, set the damaged object aside, and move the segment back."""
    copy = next(_copies(mover, entry), None)
    if copy is None:
        return Repaired(entry, error)
    now_ns = clock.now_ns()
    kept = tuple(item for item in entry.retired if (item.tier, item.object) != (copy.place, copy.object))
    published = replace(copy, sealed_seen_ns=entry.sealed_seen_ns, retired=kept)
    place, found = f"{entry.place}/{entry.object}", f"{copy.place}/{copy.object}"
    events = [
        mover.event("quarantined", entry, place, f"{entry.place}/{QUARANTINE}{entry.object}", now_ns, str(error))
    ]
    mover.manifest.put([published], dirty={entry.place, copy.place} - {HOT}, events=events)
    if not entry.packed:  # a pack holds other segments, and stays where it is
        _set_aside(mover.store(entry.place), entry.object)
    told = Repaired(entry, error, found)
    with contextlib.suppress(ChronicleError):  # readers have the copy; the policy moves it later
        mover.move(published, entry.place, now_ns, f"repaired from {found}")
    return told


def _copies(mover: Mover, entry: Entry) -> Iterator[Entry]:
    """Yield further copies of a segment that prove whole, hot first."""
    hot = f"{entry.queue}/{entry.number:010d}{SEGMENT_SEALED_SUFFIX}"
    places = [(HOT, hot, "none")]
    places += [(copy.tier, copy.object, _encoding(copy.object)) for copy in entry.retired if copy.tier != HOT]
    for colder in mover.policy.tiers:
        places += [(colder.name, object_name(entry, encoding), encoding) for encoding in ("zstd", "none")]
    for tier, name, encoding in dict.fromkeys(places):
        if (tier, name) == (entry.place, entry.object):
            continue
        try:
            store = mover.store(tier)
            size = store.size(name)
            if size is None:
                continue
            copy = replace(entry, place=tier, object=name, encoding=encoding, offset=0, length=size, intent=None)
            holds = prove(store, copy)
        except ChronicleError:
            continue
        yield replace(copy, holds=holds or entry.holds)


def _encoding(name: str) -> str:
    return "none" if name.endswith(SEGMENT_SEALED_SUFFIX) else "zstd"


def _set_aside(store: Store, name: str) -> None:
    """Rename a damaged object into quarantine, byte for byte."""
    size = store.size(name)
    if size is None:
        return
    reader = store.reader(name, size=size)
    target = f"{QUARANTINE}{name}"
    try:
        staged = store.staging(target)
        store.put(staged, (reader.read(at, min(COPY_BYTES, size - at)) for at in range(0, size, COPY_BYTES)))
        store.rename(staged, target)
    finally:
        reader.close()
    store.delete(name)
