"""A published catalog as readers use it: the pointer at once, the parts of a day when somebody asks for that day."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import NotFoundError
from chronicle.storage.manifest.bounded import Bounded
from chronicle.storage.manifest.catalog import CATALOG_NAME, Part, Pointer, entries_of, read_pointer
from chronicle.storage.manifest.catalog_layout import HEAD
from chronicle.storage.manifest.catalog_parts import PartRows, read_part
from chronicle.storage.manifest.entry import NO_DAY, Entry, day_of
from chronicle.storage.manifest.manifest_stocks import Stock
from chronicle.storage.manifest.scanning import scan_root
from chronicle.storage.stores.stores import Store

__all__ = ["PublishedCatalog"]

REFRESH_NS: Final = 10 * 10**9
"""From a store that answers by requests the pointer is asked for again after this long, not for every listing."""
EAGER_BYTES: Final = 4 << 20
EAGER_PARTS: Final = 16
"""So few and small parts are read when the catalog is opened: no lookup has to wait for them then."""
PARTS_KEPT: Final = 4096
ENTRIES_KEPT: Final = 1 << 17
"""So many entries of queues that were asked for are kept, tens of MB; the parts that they came from stay packed."""
DAY_NS: Final = 86_400 * 10**9


class PublishedCatalog:
    """What a root's pointer and parts say. Threads may share it.

    Parameters
    ----------
    store : Store
        A root without a catalog is read by its objects.
    clock : Clock, optional
    """

    def __init__(self, store: Store, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._parts: OrderedDict[str, PartRows] = OrderedDict()
        self._pointer: Pointer | None = None
        self._lists = Bounded[list[Entry]](ENTRIES_KEPT)
        self._head = b""
        self._looked_ns = 0
        self.load()

    def load(self) -> None:
        """Read the pointer anew; parts that it still names are not read again."""
        with self._lock:
            self._looked_ns = self._clock.monotonic_ns()
            self._head = self._head_there()
            pointer = read_pointer(self._store)
            if pointer is not None and not pointer.inline and pointer == self._pointer:
                return
            self._pointer = pointer
            self._lists = Bounded(ENTRIES_KEPT)
            if pointer is None:
                self._lists = Bounded.of(_by_queue(scan_root(self._store, "archive", now_ns=0)[0]))
            elif pointer.inline:
                self._lists = Bounded.of(_by_queue(pointer.inline))
            elif len(pointer.parts) <= EAGER_PARTS and sum(part.bytes for part in pointer.parts) <= EAGER_BYTES:
                for part in pointer.parts:
                    self._rows(part)

    def refresh(self) -> None:
        """Read the pointer anew where that is due: always in a folder, now and then elsewhere."""
        if self._store.is_remote:
            if self._clock.monotonic_ns() - self._looked_ns >= REFRESH_NS:
                self.load()
        elif not self._head or self._head != self._head_there():
            self.load()

    def _head_there(self) -> bytes:
        """Return the head of the pointer in a folder, with the checksum of the rest; empty where there is none."""
        if self._store.is_remote:
            return b""
        try:
            reader = self._store.reader(CATALOG_NAME)
        except NotFoundError:
            return b""
        try:
            return reader.read(0, min(HEAD.size, reader.size))
        finally:
            reader.close()

    def queues(self) -> Iterable[str]:
        """Return the names of all queues."""
        pointer = self._pointer
        return list(self._lists) if pointer is None or pointer.inline else list(pointer.queues)

    def stock(self, queue: str) -> Stock | None:
        """Return the sums of a queue's newest generation, None where the catalog does not say them."""
        pointer = self._pointer
        return None if pointer is None else pointer.stock(queue)

    def entries(self, queue: str) -> list[Entry]:
        """Return all entries of a queue's newest generation, by number."""
        with self._lock:
            known = self._lists.get(queue)
            if known is None:
                known = self._collect(queue, self._overlapping(queue))
                self._lists.put(queue, known, len(known))
            return known

    def near(self, queue: str, ts: int) -> list[Entry]:
        """Return the entries of a queue around a moment, in order; all of them where all are known."""
        with self._lock:
            kept = self._lists.get(queue)
            if kept is not None:
                return kept
            parts = self._overlapping(queue)
            if len(parts) <= 2 or all(part.object in self._parts for part in parts):
                return self.entries(queue)
            assert self._pointer is not None
            latest = day_of(ts + DAY_NS)
            days = {part.partition for part in parts if part.partition != NO_DAY}
            days |= {entry.partition for entry in self._pointer.fresh_entries(queue)}
            chosen: list[str] = []
            found: list[Entry] = []
            # An entry's day is that of its first record: going back by days, the first that begins at or before
            # the moment is the last one that does.
            for day in sorted((day for day in days if day <= latest), reverse=True):
                chosen.append(day)
                found = self._collect(queue, [part for part in parts if part.partition in chosen], chosen)
                if found and found[0].ts_first <= ts:
                    break
            return found

    def entry(self, queue: str, number: int) -> Entry | None:
        """Return one entry, from what is known if it is there."""
        with self._lock:
            if self._lists.get(queue) is None:
                parts = self._overlapping(queue)
                unknown = {part.partition for part in parts if part.object not in self._parts}
                days = {part.partition for part in parts}
                if self._pointer is not None:
                    days |= {entry.partition for entry in self._pointer.fresh_entries(queue)}
                days -= unknown
                known = [part for part in parts if part.partition in days]
                for entry in self._collect(queue, known, days):
                    if entry.number == number:
                        return entry
            return next((entry for entry in self.entries(queue) if entry.number == number), None)

    def _overlapping(self, queue: str) -> list[Part]:
        """Return the parts that may hold entries of a queue."""
        pointer = self._pointer
        if pointer is None or queue not in pointer.queues:
            return []
        first, last = pointer.queues[queue][:2]
        return [
            part
            for part in pointer.parts
            if part.partition == NO_DAY or (part.ts_first <= last and part.ts_last >= first)
        ]

    def _collect(self, queue: str, parts: Iterable[Part], days: Collection[str] | None = None) -> list[Entry]:
        """Return the newest entries of a queue in parts, and of `days` (None: all) in the pointer."""
        pointer = self._pointer
        if pointer is None or queue not in pointer.queues:
            return []
        try:
            held = [(part, self._rows(part)) for part in parts]
        except NotFoundError:
            self.load()  # it was replaced an hour ago or more
            return self.entries(queue)
        found = entries_of(pointer, queue, held, days=days)
        return _newest(entry for entry in found if entry.generation >= pointer.queues[queue][2])

    def _rows(self, part: Part) -> PartRows:
        known = self._parts.get(part.object)
        if known is None:
            known = read_part(self._store, part)
            self._parts[part.object] = known
            while len(self._parts) > PARTS_KEPT:
                self._parts.popitem(last=False)
        self._parts.move_to_end(part.object)
        return known


def _newest(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of the newest generation by number, each once."""
    listed = list(entries)
    newest = max((entry.generation for entry in listed), default=0)
    found = {entry.number: entry for entry in listed if entry.generation == newest}
    return [found[number] for number in sorted(found)]


def _by_queue(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.queue, []).append(entry)
    return {queue: _newest(listed) for queue, listed in grouped.items()}
