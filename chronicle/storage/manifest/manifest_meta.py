"""What a manifest remembers besides segments: the home, its tiers, failures, uploads under way, scrubbing, damage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack
import xxhash

from chronicle.core.errors import NotFoundError
from chronicle.storage.manifest.manifest_file import manifest_error
from chronicle.storage.stores.opening import is_url, open_store
from chronicle.storage.stores.stores import Store

__all__ = ["Meta", "notes_of"]

_UPLOAD: Final = b"upload\0"


class Meta(ABC):
    """The part of :class:`~chronicle.storage.manifest.manifest.Manifest` that knows no segment; rows of ``meta``."""

    home: Path
    path: Path
    _meta: Any

    @abstractmethod
    def _read(self) -> Any:
        """Begin a transaction that reads."""

    @abstractmethod
    def _writing(self, *, anew: bool = False) -> AbstractContextManager[tuple[Any, ...]]:
        """Begin a durable transaction; the first of what it gives is LMDB's."""

    def home_id(self) -> str:
        """Return the identity that this home's catalogs carry."""
        return str(self._get_meta("home_id"))

    def tiers(self) -> dict[str, dict[str, Any]]:
        """Return {name: {path, encoding, options}} of the tiers in use; paths inside the home are relative to it."""
        return dict(self._get_meta("tiers") or {})

    def set_tiers(self, tiers: dict[str, dict[str, Any]]) -> None:
        """Remember where tiers are, so that readers need no configuration."""
        if self.tiers() != tiers:
            self._set_meta("tiers", tiers)

    def failures(self) -> list[dict[str, Any]]:
        """Return what the last runs of the agent could not do: {queue, number, target, error, ts_ns} each."""
        return list(self._get_meta("failures") or [])

    def set_failures(self, failures: list[dict[str, Any]]) -> None:
        """Remember what could not be done, for ``tier status``."""
        if self.failures() != failures:
            self._set_meta("failures", failures)

    def uploads(self) -> list[tuple[str, str]]:
        """Return the (tier, object) whose uploads were cut off, and whose parts the stores still hold."""
        return [(str(tier), str(name)) for tier, name in self._get_meta("uploads") or []]

    def note_upload(self, tier: str, name: str) -> None:
        """Remember an upload that was cut off, so that it is gone on with or given up."""
        rows = self.uploads()
        if (tier, name) not in rows:
            self._set_meta("uploads", [*rows, (tier, name)])

    def forget_uploads(self, rows: Collection[tuple[str, str]]) -> None:
        """Forget uploads of which nothing is left, with what was noted of their parts."""
        known = self.uploads()
        if set(rows) & set(known):
            self._set_meta("uploads", [row for row in known if row not in rows])
        for tier, name in rows:
            if self.notes(notes_of(tier, name)):
                self.set_notes(notes_of(tier, name), {})

    def notes(self, prefix: bytes) -> dict[bytes, Any]:
        """Return the rows of meta whose keys begin so."""
        found = {}
        with self._read() as transaction:
            cursor = transaction.cursor(db=self._meta)
            if cursor.set_range(prefix):
                for key, value in cursor:
                    if not bytes(key).startswith(prefix):
                        break
                    found[bytes(key)] = msgpack.unpackb(bytes(value))
        return found

    def set_notes(self, prefix: bytes | None, rows: dict[bytes, Any]) -> None:
        """Put rows into meta in one transaction, in the place of all whose keys begin with `prefix`."""
        former = [] if prefix is None else list(self.notes(prefix))
        try:
            with self._writing() as (transaction, _, _changes):
                for key in former:
                    transaction.delete(key, db=self._meta)
                for key, row in rows.items():
                    transaction.put(key, msgpack.packb(row), db=self._meta)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error

    def scrubbed(self) -> list[Any] | None:
        """Return the key of the entry that scrubbing came to, None at the beginning."""
        found = self._get_meta("scrubbed")
        return None if found is None else list(found)

    def set_scrubbed(self, key: list[Any]) -> None:
        """Remember where scrubbing came to."""
        self._set_meta("scrubbed", key)

    def damaged(self) -> list[dict[str, Any]]:
        """Return the segments of which scrubbing found no whole copy: {queue, generation, number, error} each."""
        return list(self._get_meta("damaged") or [])

    def set_damaged(self, rows: list[dict[str, Any]]) -> None:
        """Remember what is damaged, for ``tier status``."""
        if self.damaged() != rows:
            self._set_meta("damaged", rows)

    def root(self, tier: str) -> str | None:
        """Return the address of a tier, a path or a URL; None for one that is not known."""
        if tier == "hot":
            return str(self.home)
        found = self.tiers().get(tier)
        if found is None:
            return None
        return str(found["path"]) if is_url(str(found["path"])) else str(self.home / str(found["path"]))

    def store(self, tier: str) -> Store:
        """Return the store of a tier as it was last used.

        Raises
        ------
        NotFoundError
            When the manifest does not know it.
        """
        root = self.root(tier)
        if root is None:
            raise NotFoundError(f"the manifest names tier {tier!r} and does not know where it is", path=self.home)
        return open_store(root, {} if tier == "hot" else self.tiers()[tier].get("options") or {})

    def _get_meta(self, key: str) -> Any:
        with self._read() as transaction:
            value = transaction.get(key.encode(), db=self._meta)
            return None if value is None else msgpack.unpackb(bytes(value))

    def _set_meta(self, key: str, value: Any) -> None:
        try:
            with self._writing() as (transaction, _, _changes):
                transaction.put(key.encode(), msgpack.packb(value), db=self._meta)
        except lmdb.Error as error:
            raise manifest_error(error, self.path) from error


def notes_of(tier: str, name: str) -> bytes:
    """Return what the keys of the notes of an object's upload begin with."""
    return _UPLOAD + xxhash.xxh3_128_digest(f"{tier}\0{name}".encode())
