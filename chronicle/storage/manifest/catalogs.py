"""The catalogs of a run's tiers: whose they are, and what of them is behind the manifest."""

from __future__ import annotations

from collections.abc import Callable

from chronicle.core.clock import Clock
from chronicle.storage.manifest.catalog import POINTER_VERSION, Catalog, Pointer, owned_pointer, publish_catalog
from chronicle.storage.manifest.catalog_changes import publish_changes
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.stores import Store

__all__ = ["Catalogs"]


class Catalogs:
    """Publishes catalogs from a manifest; the caller holds the agent's lock, and nobody else publishes.

    A pointer that this run has read or published is not read again.
    """

    def __init__(self, manifest: Manifest, store: Callable[[str], Store], clock: Clock) -> None:
        self._manifest = manifest
        self._store = store
        self._clock = clock
        self._pointers: dict[str, Pointer] = {}

    def own(self, tier: str) -> Pointer | None:
        """Return a tier's pointer, after a look at whose it is.

        Raises
        ------
        StateError
            When another home archives into it.
        """
        if tier not in self._pointers:
            pointer = owned_pointer(self._store(tier), self._manifest.home_id())
            if pointer is not None:
                self._pointers[tier] = pointer
        return self._pointers.get(tier)

    def publish(self, tier: str) -> None:
        """Publish what changed in a tier; all of it where its catalog is not the one that was published last.

        What changes meanwhile is told by the next publication.
        """
        manifest, store = self._manifest, self._store(tier)
        before = self.own(tier)
        self._pointers.pop(tier, None)  # where this one fails halfway, the next looks again
        encoding = manifest.tiers().get(tier, {}).get("encoding", "zstd")
        now_ns, history = self._clock.now_ns(), manifest.history_head()
        state = manifest.catalog_state(tier)
        if before is not None and (before.version, before.sequence) == (POINTER_VERSION, state.sequence):
            pointer = publish_changes(
                store, before, state.changes, encoding=encoding, now_ns=now_ns, history=history, told=state.told
            )
        else:
            state = manifest.catalog_state(tier, whole=True)
            entries = tuple(sorted(state.entries or (), key=lambda entry: entry.key))
            catalog = Catalog(manifest.home_id(), tier, encoding, entries)
            pointer = publish_catalog(store, catalog, now_ns=now_ns, history=history)
        manifest.catalog_published(state, pointer.sequence)
        self._pointers[tier] = pointer

    def unpublished(self) -> set[tuple[str, int, int]]:
        """Return the keys of the entries that some catalog does not tell of as they are."""
        manifest = self._manifest
        return {change.key for tier in manifest.dirty() for change in manifest.catalog_state(tier).changes}
