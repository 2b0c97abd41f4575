"""What changed in a tier since its catalog was published: a third LMDB database, written in the same transactions.

A catalog is published from these marks, so that it costs what changed. ``docs/format/manifest.md`` (Changes) is the
specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import xxhash

from chronicle.storage.manifest.catalog import Told
from chronicle.storage.manifest.catalog_changes import Change
from chronicle.storage.manifest.catalog_parts import row_of
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.tiers.policy import DELETE, HOT

__all__ = ["CHANGES", "CatalogState", "Changes"]

CHANGES: Final = b"changes"
_PLAIN: Final = frozenset({HOT, DELETE})
"""Places without a catalog."""


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What a tier's catalog is to be made from, as one consistent view of the manifest.

    `changes` are those since the publication of `sequence`; `entries` all that are published there, where they were
    asked for. `marks` is for :meth:`chronicle.storage.manifest.manifest.Manifest.catalog_published`. `told` has the
    sums of the queues that changed, where the index says them.
    """

    tier: str
    sequence: int
    changes: tuple[Change, ...]
    entries: tuple[Entry, ...] | None
    marks: dict[bytes, bytes]
    told: Told


class Changes:
    """The marks within one transaction: {tier, key of the entry: [number of the transaction, day it stood under]}."""

    def __init__(self, transaction: Any, database: Any) -> None:
        self._transaction, self._database = transaction, database

    def note(self, key: bytes, before: Entry | None, after: Entry | None) -> None:
        """Mark the tiers in whose catalogs an entry comes, goes, or is another than before."""
        places = {entry.place for entry in (before, after) if entry is not None} - _PLAIN
        for tier in places:
            old = before if before is not None and before.place == tier else None
            new = after if after is not None and after.place == tier else None
            if old is not None and new is not None and row_of(old) == row_of(new):
                continue
            mark = prefix_of(tier) + key
            held = self._transaction.get(mark, db=self._database)
            was_day = msgpack.unpackb(held)[1] if held is not None else old.partition if old is not None else ""
            self._put(mark, was_day)

    def of(self, tier: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the marks of a tier and their values."""
        prefix = prefix_of(tier)
        cursor = self._transaction.cursor(db=self._database)
        if cursor.set_range(prefix):
            for mark, value in cursor:
                if not bytes(mark).startswith(prefix):
                    return
                yield bytes(mark), bytes(value)

    def settle(self, tier: str, taken: dict[bytes, bytes], days: dict[bytes, str]) -> bool:
        """Remove the marks that were published; return whether some are left.

        One that was made anew meanwhile stays, and from now on tells the day (`days`, by entry's key) under which the
        catalog has its entry since.
        """
        left = False
        cut = len(prefix_of(tier))
        for mark, value in list(self.of(tier)):
            if taken.get(mark) == value:
                self._transaction.delete(mark, db=self._database)
                continue
            left = True
            if mark in taken:
                self._put(mark, days.get(mark[cut:], ""))
        return left

    def clear(self) -> None:
        """Remove all marks."""
        self._transaction.drop(self._database, delete=False)

    def _put(self, mark: bytes, was_day: str) -> None:
        self._transaction.put(mark, msgpack.packb([self._transaction.id(), was_day]), db=self._database)


def prefix_of(tier: str) -> bytes:
    """Return what a tier's marks begin with."""
    return xxhash.xxh3_64_digest(tier.encode())
