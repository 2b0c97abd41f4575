"""The manifest: where every sealed segment is published, and which moves are under way. LMDB at HOME/manifest.

One entry a segment, keyed (queue, generation, number). Every change is one transaction; an entry carries its own
checksum. The manifest is an index: :mod:`chronicle.storage.manifest.rebuild` makes it again from the segments alone.
``docs/format/manifest.md`` is the specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgpack

from chronicle.core.errors import VersionError
from chronicle.storage.manifest.catalog import told_of
from chronicle.storage.manifest.catalog_changes import Change
from chronicle.storage.manifest.entry import Entry, Intent, Retired
from chronicle.storage.manifest.history import Event, append_events, read_events
from chronicle.storage.manifest.manifest_changes import CHANGES, CatalogState, Changes, prefix_of
from chronicle.storage.manifest.manifest_commits import Together
from chronicle.storage.manifest.manifest_file import (
    MANIFEST_FOLDER,
    MANIFEST_VERSION,
    databases_of,
    environment_of,
    manifest_error,
)
from chronicle.storage.manifest.manifest_index import (
    DATABASE,
    Index,
    Span,
    day_span,
    marks_of,
    pack_span,
    pending_span,
    place_span,
)
from chronicle.storage.manifest.manifest_keys import (
    KEY,
    generation_key,
    pack_entry,
    pack_key,
    unpack_entry,
    unpack_key,
)
from chronicle.storage.manifest.manifest_meta import Meta
from chronicle.storage.manifest.manifest_stocks import Stock, Stocks, stocks_of
from chronicle.storage.tiers.policy import DELETE, HOT

__all__ = ["Entry", "Intent", "Manifest", "Retired"]

PAGE_ENTRIES: Final = 256


class _Put(NamedTuple):
    """Entries that are stored together, the tiers whose catalogs they change, what the history says of it."""

    entries: tuple[Entry, ...]
    dirty: frozenset[str]
    events: tuple[Event, ...]


class Manifest(Meta):
    """Transactions over entries. Threads may share one; a forked child opens its own."""

    def __init__(self, home: Path, environment: Any) -> None:
        self.home = home
        self.path = home / MANIFEST_FOLDER
        self._environment = environment
        self._together = Together[_Put]()
        self._segments = environment.open_db(b"segments", create=False)
        self._meta = environment.open_db(b"meta", create=False)
        there = databases_of(environment)
        self._index = environment.open_db(DATABASE, create=False) if DATABASE in there else None
        self._changes = environment.open_db(CHANGES, create=False) if CHANGES in there else None
        version = self._get_meta("version")
        if version != MANIFEST_VERSION:
            raise VersionError(
                "the manifest has a version this build does not read",
                path=self.path,
                expected=MANIFEST_VERSION,
                found=version,
            )

    @classmethod
    def open(cls, home: str | Path, *, create: bool = False) -> Manifest | None:
        """Open the manifest of a home; None where there is none and `create` is false.

        Raises
        ------
        CorruptionError
            When the files are there and are no manifest.
        """
        folder = Path(home) / MANIFEST_FOLDER
        if not create and not (folder / "data.mdb").exists():
            return None
        try:
            environment = environment_of(folder, create=create)
            return None if environment is None else cls(Path(home), environment)
        except lmdb.Error as error:
            raise manifest_error(error, folder) from error

    def version(self) -> int:
        """Return a number that changes with every transaction."""
        return int(self._environment.info()["last_txnid"])

    def entries(self, queue: str | None = None) -> list[Entry]:
        """Return all entries, or those of one queue, in key order, from one consistent view."""
        start = b"" if queue is None else queue.encode("utf-8") + b"\0"
        found = []
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            if cursor.set_range(start):
                for key, value in cursor:
                    if not bytes(key).startswith(start):
                        break
                    found.append(self._unpack(bytes(value), bytes(key)))
        return found

    def following(self, key: tuple[str, int, int] | None = None) -> Iterator[Entry]:
        """Yield the entries after a key in key order (None: from the first), each page from a view of its own."""
        start = b"" if key is None else pack_key(key) + b"\0"
        while True:
            page: list[Entry] = []
            with self._read() as transaction:
                cursor = transaction.cursor(db=self._segments)
                if cursor.set_range(start):
                    for packed, value in cursor:
                        page.append(self._unpack(bytes(value), bytes(packed)))
                        if len(page) == PAGE_ENTRIES:
                            break
            if not page:
                return
            yield from page
            start = pack_key(page[-1].key) + b"\0"

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of all queues with entries that start with `prefix`."""
        found: list[str] = []
        wanted = prefix.encode("utf-8")
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            position = wanted
            while cursor.set_range(position):
                name = bytes(cursor.key()).partition(b"\0")[0]
                if not name.startswith(wanted):
                    break
                found.append(name.decode("utf-8"))
                position = name + b"\x01"
        return found

    def get(self, key: tuple[str, int, int]) -> Entry | None:
        """Return one entry."""
        packed = pack_key(key)
        with self._read() as transaction:
            value = transaction.get(packed, db=self._segments)
            return None if value is None else self._unpack(bytes(value), packed)

    def put(self, entries: Iterable[Entry], *, dirty: Iterable[str] = (), events: Iterable[Event] = ()) -> None:
        """Store entries in one durable transaction, with what the history says of it.

        What other threads put at the same time is part of it. `dirty` names tiers whose catalog must be published
        again, for the days of these entries.
        """
        self._together.do(_Put(tuple(entries), frozenset(dirty), tuple(events)), self._put_together)

    def _put_together(self, puts: Sequence[_Put]) -> None:
        marks: set[str] = set()
        try:
            with self._writing() as (transaction, index, changes):
                for put in puts:
                    for entry in put.entries:
                        self._store(transaction, index, changes, entry)
                        marks |= {f"{tier}\0{entry.partition}" for tier in put.dirty}
                if marks:
                    packed = transaction.get(b"dirty", db=self._meta)
                    marks |= set(msgpack.unpackb(packed)) if packed else set()
                    transaction.put(b"dirty", msgpack.packb(sorted(marks)), db=self._meta)
                append_events(self._environment, transaction, (event for put in puts for event in put.events))
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def history(self, *, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return what was done, from event `after` (from 1) on, oldest first; the chain of hashes is checked.

        Raises
        ------
        CorruptionError
            When an event is not the one that the next event's hash was made of.
        """
        with self._read() as transaction:
            return read_events(self._environment, transaction, self.path, after=after, limit=limit)

    def history_head(self) -> tuple[int, str]:
        """Return (number, hash) of the last event; (0, "") when nothing was done yet."""
        head = self._get_meta("history")
        return (0, "") if head is None else (int(head[0]), str(head[1]))

    def remove(self, keys: Iterable[tuple[str, int, int]]) -> None:
        """Remove entries in one durable transaction."""
        try:
            with self._writing() as (transaction, index, changes):
                for key in keys:
                    packed = pack_key(key)
                    before = self._held(transaction, packed)
                    index.change(packed, before, None)
                    changes.note(packed, before, None)
                    transaction.delete(packed, db=self._segments)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def replace_all(
        self,
        entries: Iterable[Entry],
        tiers: dict[str, dict[str, Any]],
        home_id: str,
        *,
        events: Iterable[Event] = (),
    ) -> None:
        """Replace everything in one transaction; readers see all of the old or all of the new."""
        try:
            with self._writing(anew=True) as (transaction, index, changes):
                transaction.drop(self._segments, delete=False)
                for entry in entries:
                    self._store(transaction, index, changes, entry)
                changes.clear()  # its catalogs are made again as a whole
                values = {"tiers": tiers, "home_id": home_id, "version": MANIFEST_VERSION}
                values |= {"dirty": [], "published": {}}
                for key, value in values.items():
                    transaction.put(key.encode(), msgpack.packb(value), db=self._meta)
                append_events(self._environment, transaction, events)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def at_place(self, place: str, *, seen_until_ns: int | None = None) -> list[Entry]:
        """Return the entries published at a place, oldest first, up to those sealed at `seen_until_ns`."""
        return [entry for entry in self._chosen(place_span(place, seen_until_ns)) if entry.place == place]

    def pending(self) -> list[Entry]:
        """Return the entries with a move under way, or with copies that are to be deleted."""
        return self._chosen(pending_span())

    def of_day(self, place: str, day: str) -> list[Entry]:
        """Return the entries of a UTC day (:attr:`Entry.partition`) at a place, in key order."""
        found = self._chosen(day_span(place, day))
        return [entry for entry in found if (entry.place, entry.partition) == (place, day)]

    def in_pack(self, tier: str, name: str) -> list[Entry]:
        """Return the entries that a pack holds, published there or kept as retired copies."""
        return [
            entry
            for entry in self._chosen(pack_span(tier, name))
            if (tier, name) in {(entry.place, entry.object), *((copy.tier, copy.object) for copy in entry.retired)}
        ]

    def totals(self) -> dict[str, tuple[int, int, int]]:
        """Return {place: (entries, stored bytes, bytes of their sealed files)}."""
        with self._read() as transaction:
            index = self._current_index(transaction)
            found = {} if index is None else index.totals
        if index is None:
            for entry in self.entries():
                counts = found.setdefault(entry.place, [0, 0, 0])
                counts[:] = counts[0] + 1, counts[1] + entry.length, counts[2] + entry.file_bytes
        return {place: (counts[0], counts[1], counts[2]) for place, counts in found.items() if counts[0]}

    def stocks(self, queue: str | None = None) -> list[Stock]:
        """Return what each place holds of each queue, or of one, by queue, from one consistent view."""
        prefix = "" if queue is None else f"{queue}\0"
        with self._read() as transaction:
            index = self._current_index(transaction)
            if index is not None:
                return list(index.stocks.all(prefix))
        return stocks_of(self.entries(queue))

    def sealed_span(self, place: str) -> tuple[int, int] | None:
        """Return when the oldest and the newest segment at a place were sealed (ns); None where there is none."""
        with self._read() as transaction:
            index = self._current_index(transaction)
            if index is not None:
                return index.sealed_span(place)
        seen = [entry.sealed_seen_ns for entry in self.entries() if entry.place == place]
        return (min(seen), max(seen)) if seen else None

    def holds(self, queue: str) -> bool:
        """Return whether a segment of a queue's newest generation is published outside the home, the last first."""
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            name, newest = queue.encode("utf-8") + b"\0", b""
            there = cursor.prev() if cursor.set_range(name[:-1] + b"\x01") else cursor.last()
            while there and bytes(cursor.key()).startswith(newest or name):
                newest = newest or bytes(cursor.key())[: -KEY.size + 4]
                if self._unpack(bytes(cursor.value()), bytes(cursor.key())).place not in (HOT, DELETE):
                    return True
                there = cursor.prev()
        return False

    def newest_generation(self, queue: str) -> int | None:
        """Return the newest generation of a queue that the manifest knows."""
        name = queue.encode("utf-8")
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            there = cursor.prev() if cursor.set_range(name + b"\x01") else cursor.last()
            found, _, rest = bytes(cursor.key()).partition(b"\0") if there else (b"", b"", b"")
            return int(KEY.unpack(rest)[0]) if found == name else None

    def ending_after(self, queue: str, generation: int, index: int) -> Iterator[Entry]:
        """Yield the entries of a queue in order from the first one whose records end after `index`."""
        low, high = 0, self._last_number(queue, generation) + 1
        while low < high:
            middle = (low + high) // 2
            entry = self._at_or_after(queue, generation, middle)
            if entry is None or entry.end_index > index:
                high = middle
            else:
                low = entry.number + 1
        entry = self._at_or_after(queue, generation, low)
        while entry is not None:
            yield entry
            entry = self._at_or_after(queue, generation, entry.number + 1)

    def _last_number(self, queue: str, generation: int) -> int:
        """Return the highest number of a generation, -1 where it has none."""
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            there = cursor.prev() if cursor.set_range(pack_key((queue, generation + 1, 0))) else cursor.last()
            start = generation_key(queue, generation)
            return unpack_key(bytes(cursor.key()))[2] if there and bytes(cursor.key()).startswith(start) else -1

    def _at_or_after(self, queue: str, generation: int, number: int) -> Entry | None:
        """Return the first entry of a generation from `number` on."""
        start = pack_key((queue, generation, number))
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._segments)
            if not cursor.set_range(start) or not bytes(cursor.key()).startswith(start[:-8]):
                return None
            return self._unpack(bytes(cursor.value()), bytes(cursor.key()))

    def make_index(self) -> None:
        """Make the index where there is none, or where a program that knows none has written meanwhile."""
        with self._read() as transaction:
            if self._current_index(transaction) is not None:
                return
        entries = self.entries()
        try:
            with self._writing(anew=True) as (_, index, _changes):
                for entry in entries:
                    index.change(pack_key(entry.key), None, entry)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def _chosen(self, span: Span) -> list[Entry]:
        """Return the entries of a span of the index, from one consistent view; without an index, by reading all."""
        with self._read() as transaction:
            return self._in_span(transaction, span)

    def _in_span(self, transaction: Any, span: Span) -> list[Entry]:
        index = self._current_index(transaction)
        if index is not None:
            found = [self._held(transaction, key) for key in index.keys(span)]
            return [entry for entry in found if entry is not None]
        everything = (self._unpack(bytes(value), bytes(key)) for key, value in transaction.cursor(db=self._segments))
        marks = ((mark, entry) for entry in everything for mark in marks_of(entry, pack_key(entry.key)))
        return [entry for mark, entry in sorted(marks, key=lambda each: each[0]) if span.start <= mark < span.end]

    def _current_index(self, transaction: Any) -> Index | None:
        """Return the index, where the transaction that wrote last kept it."""
        if self._index is None:
            return None
        index = self._index_in(transaction)
        return index if index.written == transaction.id() else None

    def _index_in(self, transaction: Any) -> Index:
        stocks = Stocks(transaction, self._index, self._segments, self.path)
        return Index(transaction, self._index, self._meta, stocks)

    @contextmanager
    def _writing(self, *, anew: bool = False) -> Iterator[tuple[Any, Index, Changes]]:
        """Begin a durable transaction over entries, their index and changes; `anew`: the index begins empty."""
        with self._environment.begin(write=True) as transaction:
            if self._index is None:
                self._index = self._environment.open_db(DATABASE, txn=transaction)
            if self._changes is None:
                self._changes = self._environment.open_db(CHANGES, txn=transaction)
            index = self._index_in(transaction)
            index.is_kept = anew or index.written == transaction.id() - 1
            if anew:
                index.clear()
            yield transaction, index, Changes(transaction, self._changes)
            if index.is_kept:
                index.close()

    def _store(self, transaction: Any, index: Index, changes: Changes, entry: Entry) -> None:
        packed = pack_key(entry.key)
        before = self._held(transaction, packed)
        index.change(packed, before, entry)
        changes.note(packed, before, entry)
        transaction.put(packed, pack_entry(entry), db=self._segments)

    def _held(self, transaction: Any, packed: bytes) -> Entry | None:
        value = transaction.get(packed, db=self._segments)
        return None if value is None else self._unpack(bytes(value), packed)

    def dirty(self) -> list[str]:
        """Return the tiers whose catalog is behind."""
        return sorted({mark.partition("\0")[0] for mark in self._get_meta("dirty") or []})

    def catalog_state(self, tier: str, *, whole: bool = False) -> CatalogState:
        """Return what a tier's catalog is to be made from; `whole`: with all entries that are published there."""
        with self._read() as transaction:
            marks = {} if self._changes is None else dict(Changes(transaction, self._changes).of(tier))
            changes = []
            for mark, value in marks.items():
                key = mark[len(prefix_of(tier)) :]
                entry = self._held(transaction, key)
                here = entry if entry is not None and entry.place == tier else None
                changes.append(Change(unpack_key(key), str(msgpack.unpackb(value)[1]), here))
            entries = tuple(self._in_span(transaction, place_span(tier))) if whole else None
            index = self._current_index(transaction)
            stocks = []
            if index is not None:
                queues = {change.key[0] for change in changes}
                stocks = [each for name in queues for each in index.stocks.all(f"{name}\0") if each.place == tier]
            packed = transaction.get(b"published", db=self._meta)
        sequence = 0 if packed is None else int(msgpack.unpackb(packed).get(tier, 0))
        here_only = None if entries is None else tuple(entry for entry in entries if entry.place == tier)
        return CatalogState(tier, sequence, tuple(changes), here_only, marks, told_of(stocks))

    def catalog_published(self, state: CatalogState, sequence: int) -> None:
        """Note that a tier's catalog was published from `state`; what changed since then stays marked."""
        listed = [change.entry for change in state.changes] if state.entries is None else state.entries
        days = {pack_key(entry.key): entry.partition for entry in listed if entry is not None}
        try:
            with self._writing() as (transaction, _, changes):
                left = changes.settle(state.tier, state.marks, days)
                packed = transaction.get(b"published", db=self._meta)
                published = (msgpack.unpackb(packed) if packed else {}) | {state.tier: sequence}
                transaction.put(b"published", msgpack.packb(published), db=self._meta)
                packed = transaction.get(b"dirty", db=self._meta)
                dirty = [
                    mark
                    for mark in (msgpack.unpackb(packed) if packed else [])
                    if left or mark.partition("\0")[0] != state.tier
                ]
                transaction.put(b"dirty", msgpack.packb(dirty), db=self._meta)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def _read(self) -> Any:
        try:
            return self._environment.begin()
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def _unpack(self, value: bytes, key: bytes) -> Entry:
        return unpack_entry(value, key, self.path)
