"""What is asked of a manifest without reading all of it: by place and age, by day, by pack; what waits; stocks.

A second LMDB database of marks beside the entries, changed in the same transactions; it is made again from them where
something else has written meanwhile. ``docs/format/manifest.md`` (Index) is the specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack
import xxhash

from chronicle.storage.manifest.entry import PACKS_FOLDER, Entry
from chronicle.storage.manifest.manifest_stocks import Stocks

__all__ = ["Index", "Span", "day_span", "marks_of", "pack_span", "pending_span", "place_span"]

DATABASE: Final = b"index"
VERSION: Final = 3
PLACE, PENDING, DAY, PACK = b"a", b"w", b"d", b"k"
_SEEN: Final = struct.Struct(">Q")
_STATE: Final = b"index"
"""In meta: version, the transaction that wrote last, {place: [entries, stored bytes, bytes of the sealed files]}."""


class Span(NamedTuple):
    """Marks [start, end) of the index; a mark's entry key begins at byte `key`."""

    start: bytes
    end: bytes
    key: int


def place_span(place: str, seen_until_ns: int | None = None) -> Span:
    """Return the marks of entries at a place, oldest first, up to those sealed at `seen_until_ns`."""
    start = PLACE + _hash(place)
    end = _after(start) if seen_until_ns is None else start + _SEEN.pack(max(0, seen_until_ns) + 1)
    return Span(start, end, len(start) + _SEEN.size)


def pending_span() -> Span:
    """Return the marks of entries with an intent or retired copies."""
    return Span(PENDING, _after(PENDING), 1)


def day_span(place: str, day: str) -> Span:
    """Return the marks of entries of a day at a place."""
    start = DAY + _hash(place, day)
    return Span(start, _after(start), len(start))


def pack_span(tier: str, name: str) -> Span:
    """Return the marks of entries in a pack: published there, or kept there as a retired copy."""
    start = PACK + _hash(tier, name)
    return Span(start, _after(start), len(start))


def marks_of(entry: Entry, key: bytes) -> Iterator[bytes]:
    """Yield the marks of an entry."""
    yield PLACE + _hash(entry.place) + _SEEN.pack(min(max(0, entry.sealed_seen_ns), 2**63)) + key
    yield DAY + _hash(entry.place, entry.partition) + key
    if entry.intent or entry.retired:
        yield PENDING + key
    for tier, name in {(entry.place, entry.object)} | {(copy.tier, copy.object) for copy in entry.retired}:
        if name.startswith(PACKS_FOLDER):
            yield PACK + _hash(tier, name) + key


def _hash(*words: str) -> bytes:
    """Names may be long and LMDB's keys may not; who reads an entry looks at the names themselves."""
    return xxhash.xxh3_64_digest("\0".join(words).encode())


def _after(start: bytes) -> bytes:
    """Return the least bytes above all that begin with `start`."""
    value = int.from_bytes(start, "big") + 1
    return value.to_bytes(len(start), "big") if value < 256 ** len(start) else start + b"\xff" * 500


class Index:
    """The index within one transaction of LMDB: marks, totals of places, and :class:`Stocks`."""

    def __init__(self, transaction: Any, index: Any, meta: Any, stocks: Stocks) -> None:
        self._transaction, self._index, self._meta = transaction, index, meta
        self.stocks = stocks
        self.is_kept = True
        """False: something wrote that kept no index; what changes now is left out of it, until it is made again."""
        packed = transaction.get(_STATE, db=meta)
        version, written, totals = (0, -1, {}) if packed is None else msgpack.unpackb(packed)
        self.written = int(written) if version == VERSION else -1
        self.totals: dict[str, list[int]] = {str(place): list(counts) for place, counts in totals.items()}

    def change(self, key: bytes, before: Entry | None, after: Entry | None) -> None:
        """Take an entry out as it was, and put it in as it is; None: it was not, or will not be, there."""
        if not self.is_kept:
            return
        old = set() if before is None else set(marks_of(before, key))
        new = set() if after is None else set(marks_of(after, key))
        for mark in old - new:
            self._transaction.delete(mark, db=self._index)
        for mark in new - old:
            self._transaction.put(mark, b"", db=self._index)
        self.stocks.change(before, after)
        for entry, sign in ((before, -1), (after, 1)):
            if entry is not None:
                counts = self.totals.setdefault(entry.place, [0, 0, 0])
                for place, value in enumerate((1, entry.length, entry.file_bytes)):
                    counts[place] += sign * value

    def clear(self) -> None:
        """Forget everything, before all entries are put in."""
        self._transaction.drop(self._index, delete=False)
        self.stocks.clear()
        self.totals = {}

    def close(self) -> None:
        """Note that this transaction left the index as the entries are."""
        self.stocks.close()
        state = VERSION, self._transaction.id(), self.totals
        self._transaction.put(_STATE, msgpack.packb(state), db=self._meta)

    def keys(self, span: Span) -> Iterator[bytes]:
        """Yield the keys of a span's entries, in the order of its marks."""
        cursor = self._transaction.cursor(db=self._index)
        if cursor.set_range(span.start):
            for mark in cursor.iternext(values=False):
                found = bytes(mark)
                if found >= span.end:
                    return
                yield found[span.key :]

    def sealed_span(self, place: str) -> tuple[int, int] | None:
        """Return when the oldest and the newest entry at a place were sealed (ns); None where there is none."""
        span = place_span(place)
        cut = span.key - _SEEN.size
        cursor = self._transaction.cursor(db=self._index)
        if not cursor.set_range(span.start) or bytes(cursor.key()) >= span.end:
            return None
        first = _SEEN.unpack_from(bytes(cursor.key()), cut)[0]
        if cursor.set_range(span.end):
            cursor.prev()
        else:
            cursor.last()
        return int(first), int(_SEEN.unpack_from(bytes(cursor.key()), cut)[0])
