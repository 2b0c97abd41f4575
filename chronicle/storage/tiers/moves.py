"""One segment from tier to tier: write aside, read back, verify, publish. Each step can be the last before a crash.

At every moment the manifest names exactly one place, and the object there is whole: the target is complete before
the transaction that publishes it, the source is deleted only after that transaction and the catalogs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from chronicle.core.clock import SystemClock
from chronicle.core.errors import (
    ChronicleError,
    CorruptionError,
    StateError,
    UnavailableError,
)
from chronicle.core.segment import LocalSegment
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.encode import EncodeOptions, encode_segment
from chronicle.storage.codec.proving import prove, prove_readable, read_back, sealed_file
from chronicle.storage.manifest.entry import PACKS_FOLDER, Entry, Intent, Retired
from chronicle.storage.manifest.history import Event
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_uploads import UploadNotes
from chronicle.storage.manifest.scanning import archived_entry, object_name, sealed_entry
from chronicle.storage.stores.opening import open_store
from chronicle.storage.stores.requests import UploadGoneError
from chronicle.storage.stores.stores import LocalStore, MemoryStore, Store
from chronicle.storage.tiers.packs import Packed, PackWriter, pack_name, read_pack_table
from chronicle.storage.tiers.policy import DELETE, HOT, Policy
from chronicle.storage.tiers.throttle import Throttle

__all__ = ["STEPS", "Mover"]

STEPS: Final = ("intent", "written", "verified", "renamed", "published", "cataloged", "deleted", "settled")
"""The steps of a move in order; a hook is called after each."""

COPY_BYTES: Final = 4 << 20
UPLOADS_MAX: Final = 3
"""How often an upload is begun in one move, when the store forgets it half-way."""
Hook = Callable[[str, Entry], None]


def no_hook(step: str, entry: Entry) -> None:
    """Do nothing at a step."""


@dataclass(frozen=True, slots=True)
class Mover:
    """Performs and settles moves of one home; the caller holds the agent's lock."""

    home: Path
    manifest: Manifest
    policy: Policy
    hook: Hook = no_hook
    agent: str = ""
    throttle: Throttle = field(default_factory=lambda: Throttle(0, SystemClock()))
    stores: dict[str, Store] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, tier: str) -> Store:
        """Return the store of a tier: the policy's, else where the manifest remembers it."""
        with self._lock:  # one store has one breaker, whoever asks
            found = self.stores.get(tier)
            if found is None:
                if tier == HOT:
                    found = LocalStore(self.home)
                elif tier in self.policy.names:
                    found = open_store(self.policy.tier(tier).root, self.policy.tier(tier).options)
                else:
                    found = self.manifest.store(tier)
                self.stores[tier] = found
            return found

    def move(self, entry: Entry, target: str, now_ns: int, reason: str = "") -> Entry:
        """Move a segment and publish it, with its reason in the history; the source is left as a retired copy.

        Raises
        ------
        CapacityError
            When the target is full. Source and manifest are as they were, no temporary object is left.
        CorruptionError, StoreError, StateError
            When the source is damaged, the read-back differs, or another segment has the target's name.
        """
        encoding = self.policy.tier(target).encoding
        name = object_name(entry, encoding)
        store = self.store(target)
        temporary = store.staging(name)
        occupied = self._occupied(store, name, entry, encoding)
        if occupied is not None:
            return self._publish(entry, target, encoding, name, *occupied, now_ns, reason)
        begun = replace(entry, intent=Intent(target, name, temporary, "write", now_ns))
        self.manifest.put([begun])
        self.hook("intent", begun)
        try:
            length = self._write(entry, store, temporary, encoding, target)
            self.hook("written", begun)
            holds = self._verify(store, temporary, entry, encoding, length)
            self.hook("verified", begun)
            store.rename(temporary, name)
            self.hook("renamed", begun)
        except Exception as error:
            self._undo([begun], store, error)
            raise
        return self._publish(begun, target, encoding, name, length, holds, now_ns, reason)

    def _undo(self, begun: list[Entry], store: Store, error: Exception) -> None:
        """Remove the half-made target; where its store does not answer the intent stays, and is settled later.

        What such a store holds of the upload by then is not sent again.
        """
        intent = begun[0].intent
        assert intent is not None
        if store.is_remote and isinstance(error, UnavailableError):
            return
        try:
            if isinstance(error, StateError):
                store.give_up(intent.temporary)  # what stands under the name is another's
            else:
                store.discard(intent.temporary)
        except ChronicleError:
            return
        self.manifest.put([replace(entry, intent=None) for entry in begun])

    def _put(self, tier: str, name: str, make: Callable[[], Iterable[bytes | memoryview]]) -> int:
        """Put an object and return its bytes; one whose upload was gone half-way is begun anew, a few times."""
        journal = UploadNotes(self.manifest, tier)
        for attempt in range(UPLOADS_MAX):
            try:
                length = self.store(tier).put(name, make(), resume=True, pace=self.throttle.take, journal=journal)
                self.manifest.forget_uploads([(tier, name)])
                return length
            except UploadGoneError:
                if attempt + 1 == UPLOADS_MAX:
                    raise
        raise AssertionError("uploads are at least one")

    def move_together(self, entries: list[Entry], target: str, now_ns: int, reason: str = "") -> list[Entry]:
        """Move segments into one object of a tier, and publish all of them in one transaction.

        Raises
        ------
        The errors of :meth:`move`; none of them has moved then.
        """
        store, name = self.store(target), pack_name(entries)
        temporary = store.staging(name)
        intent = Intent(target, name, temporary, "write", now_ns)
        begun = [replace(entry, intent=intent) for entry in entries]
        self.manifest.put(begun)
        self.hook("intent", begun[0])
        encoding, level = self.policy.tier(target).encoding, self.policy.tier(target).level
        writers: list[PackWriter] = []

        def packed() -> PackWriter:
            writers.append(PackWriter(entries, lambda entry: self._parts(entry, encoding, level)))
            return writers[-1]

        try:
            length = self._put(target, temporary, packed)
            writer = writers[-1]
            self.hook("written", begun[0])
            told = self._verify_pack(store, temporary, entries, writer.rows, length)
            self.hook("verified", begun[0])
            store.rename(temporary, name)
            self.hook("renamed", begun[0])
        except Exception as error:
            self._undo(begun, store, error)
            raise
        published, events = [], []
        for entry, row, holds in zip(entries, writer.rows, told, strict=True):
            retired = Retired(entry.place, entry.object, now_ns + self.policy.grace_ns)
            moved = replace(
                entry,
                place=target,
                encoding=encoding,
                object=name,
                offset=row.offset,
                length=row.length,
                retired=(*entry.retired, retired),
                holds=holds or entry.holds,
            )
            source = f"{entry.place}/{entry.object}"
            events.append(self.event("moved", moved, source, f"{target}/{name}", now_ns, reason))
            published.append(moved)
        self.manifest.put(published, dirty={target, *(entry.place for entry in entries)} - {HOT}, events=events)
        self.hook("published", published[0])
        return published

    def _verify_pack(self, store: Store, name: str, entries: list[Entry], rows: list[Packed], size: int) -> list[int]:
        """Read a pack back whole, in few requests, and prove each segment in it; return what each holds."""
        path = f"{store.location}/{name}"
        if [(row.queue, row.generation, row.number) for row in rows] != [entry.key for entry in entries]:
            raise CorruptionError("a pack is not what was written", path=path, found=size)
        fetched = MemoryStore(store.location, {name: read_back(store, name, size, self.throttle.take)})
        told = [
            prove_readable(
                fetched, replace(entry, object=name, encoding="zstd", offset=row.offset, length=row.length)
            )
            for entry, row in zip(entries, rows, strict=True)
        ]
        if read_pack_table(fetched, name, size) != rows:
            raise CorruptionError("a pack's table is not what was written", path=path)
        return told

    def _verify(self, store: Store, name: str, entry: Entry, encoding: str, length: int) -> int:
        """Read a new object back whole and compare it with what was sealed; return what it holds."""
        return prove(store, replace(entry, object=name, encoding=encoding, offset=0, length=length), self.throttle)

    def expire(self, entry: Entry, now_ns: int, reason: str) -> Entry:
        """Take a segment out of every answer; its object is a retired copy, removed when the catalogs say so too.

        What is left of it is an entry with the place DELETE: that it was removed by policy, and is not missing.
        """
        if entry.place == HOT:
            raise StateError(
                "the policy removes segments from tiers below hot only",
                path=self.home / entry.object,
                hint="chronicle queue retain does so in the home",
            )
        retired = Retired(entry.place, entry.object, now_ns + self.policy.grace_ns)
        gone = replace(entry, place=DELETE, object="", offset=0, length=0, retired=(*entry.retired, retired))
        event = self.event("expired", entry, f"{entry.place}/{entry.object}", "", now_ns, reason)
        self.manifest.put([gone], dirty=[entry.place], events=[event])
        self.hook("expired", gone)
        return gone

    def settle(self, entry: Entry, now_ns: int) -> tuple[Entry, str]:
        """Finish or undo an interrupted move; return the entry and ``finished``, ``undone`` or ``broken``.

        The source is still published: with it in place the half-made target is removed. Parts that the target's
        store holds of an upload stay and are noted: the next plan goes on with them, or the agent gives them up.
        Only where the source is gone (removed by hand) and the target proves whole is the move finished instead.
        """
        intent = entry.intent
        if intent is None:
            return entry, "undone"
        target = self.store(intent.tier)
        if self.store(entry.place).size(entry.object) is not None:
            notes = UploadNotes(self.manifest, intent.tier)
            if intent.tier in self.policy.names and target.unfinished(intent.temporary, notes):
                self.manifest.note_upload(intent.tier, intent.temporary)
            else:
                target.discard(intent.temporary)
                self.manifest.forget_uploads([(intent.tier, intent.temporary)])
            if (intent.tier, intent.object) != (entry.place, entry.object):
                target.delete(intent.object)
            settled = replace(entry, intent=None)
            self.manifest.put([settled])
            return settled, "undone"
        encoding = self.policy.tier(intent.tier).encoding if intent.tier in self.policy.names else "zstd"
        length = target.size(intent.object)
        if length is None or intent.object.startswith(PACKS_FOLDER):
            return entry, "broken"
        holds = self._verify(target, intent.object, entry, encoding, length)
        published = self._publish(entry, intent.tier, encoding, intent.object, length, holds, now_ns, "interrupted")
        return published, "finished"

    def discard(self, entries: Sequence[Entry], now_ns: int) -> list[Entry]:
        """Delete the retired copies of segments that are due, then forget them; return the entries that changed.

        A copy in a pack stays while the pack holds another segment.
        """
        due = {entry.key: {copy for copy in entry.retired if copy.due_ns <= now_ns} for entry in entries}
        chosen = [entry for entry in entries if due[entry.key]]
        if not chosen:
            return []
        objects: dict[tuple[str, str], set[tuple[str, int, int]]] = {}
        for entry in chosen:
            for copy in due[entry.key]:
                if (copy.tier, copy.object) != (entry.place, entry.object):
                    objects.setdefault((copy.tier, copy.object), set()).add(entry.key)
        names: dict[str, list[str]] = {}
        for (tier, name), keys in objects.items():
            if not name.startswith(PACKS_FOLDER) or not self._held_by_others(tier, name, keys):
                names.setdefault(tier, []).append(name)
        for tier in sorted(names):
            self.store(tier).delete_many(names[tier])
        settled, told = [], []
        for entry in chosen:
            self.hook("deleted", entry)
            settled.append(replace(entry, retired=tuple(c for c in entry.retired if c not in due[entry.key])))
            gone = entry.place == DELETE
            why, where = ("removed by policy", "") if gone else ("its copy is published", entry.place)
            told += [
                self.event("deleted", entry, f"{copy.tier}/{copy.object}", where, now_ns, why)
                for copy in entry.retired
                if copy in due[entry.key]
            ]
        self.manifest.put(settled, events=told)
        for entry in settled:
            self.hook("settled", entry)
        return settled

    def _held_by_others(self, tier: str, name: str, keys: set[tuple[str, int, int]]) -> bool:
        """Return whether a pack holds other segments, published there or kept, or has one of these published."""
        return any(
            entry.key not in keys or (entry.place, entry.object) == (tier, name)
            for entry in self.manifest.in_pack(tier, name)
        )

    def _occupied(self, store: Store, name: str, entry: Entry, encoding: str) -> tuple[int, int] | None:
        """Return (bytes, what it holds) of the target where it is this very segment already (a manifest was rebuilt).

        Any other segment there is refused.
        """
        size = store.size(name)
        if size is None:
            return None
        if encoding != "none":
            found = archived_entry(store, name, "", 0)
        else:
            found = sealed_entry(store, name, size, queue=entry.queue, place="", seen_ns=0)
        if found.queue_id != entry.queue_id or found.checksum != entry.checksum:
            raise StateError(
                "the target tier holds another segment under this name",
                path=f"{store.location}/{name}",
                expected=f"queue id {entry.queue_id}, checksum {entry.checksum:#x}",
                found=f"queue id {found.queue_id}, checksum {found.checksum:#x}",
                hint="a queue was removed and made again with the same name; move its old archive away",
            )
        return size, self._verify(store, name, entry, encoding, size)

    def _publish(
        self, entry: Entry, tier: str, encoding: str, name: str, length: int, holds: int, now_ns: int, reason: str
    ) -> Entry:
        retired = Retired(entry.place, entry.object, now_ns + self.policy.grace_ns)
        published = replace(
            entry,
            place=tier,
            encoding=encoding,
            object=name,
            offset=0,
            length=length,
            intent=None,
            retired=(*entry.retired, retired),
            holds=holds or entry.holds,
        )
        dirty = {tier} | ({entry.place} - {HOT})
        source, target = f"{entry.place}/{entry.object}", f"{tier}/{name}"
        event = self.event("moved", published, source, target, now_ns, reason)
        self.manifest.put([published], dirty=dirty, events=[event])
        self.hook("published", published)
        return published

    def event(self, action: str, entry: Entry, source: str, target: str, now_ns: int, reason: str) -> Event:
        """Return what the history says of something done to a segment."""
        return Event(
            ts_ns=now_ns,
            action=action,
            queue=entry.queue,
            generation=entry.generation,
            segment=entry.number,
            source=source,
            target=target,
            bytes=entry.length,
            checksum=entry.checksum,
            reason=reason,
            agent=self.agent,
        )

    def _write(self, entry: Entry, store: Store, temporary: str, encoding: str, target: str) -> int:
        """Put the segment under its temporary name, in the target's encoding; return the bytes there."""
        source = self.store(entry.place)
        linked = (
            entry.encoding == encoding
            and isinstance(source, LocalStore)
            and isinstance(store, LocalStore)
            and not entry.packed
            and source.size(entry.object) == entry.length
            and store.link(source.path(entry.object), temporary)
        )
        if linked:
            return entry.length
        return self._put(target, temporary, lambda: self._parts(entry, encoding, self.policy.tier(target).level))

    def _parts(self, entry: Entry, encoding: str, level: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes of a segment in an encoding."""
        source = self.store(entry.place)
        if entry.encoding == encoding:
            yield from _copied(source, entry)
        elif entry.encoding == "none":
            with LocalSegment(sealed_file(source, entry), queue=entry.queue, place=entry.place) as segment:
                yield from encode_segment(segment, EncodeOptions.of(encoding, level))
        else:
            with ArchivedSegment(
                source, entry.object, place=entry.place, offset=entry.offset, length=entry.length
            ) as archived:
                if encoding == "none":
                    yield from _decoded(archived)
                else:
                    yield from encode_segment(archived, EncodeOptions.of(encoding, level))


def _copied(source: Store, entry: Entry) -> Iterator[bytes]:
    reader = source.reader(entry.object, offset=entry.offset, size=entry.length)
    try:
        for offset in range(0, reader.size, COPY_BYTES):
            yield reader.read(offset, min(COPY_BYTES, reader.size - offset))
    finally:
        reader.close()


def _decoded(archived: ArchivedSegment) -> Iterator[memoryview]:
    for block in archived.footer.blocks:
        yield archived.view(block.raw_offset, block.raw_offset + block.raw_bytes)
