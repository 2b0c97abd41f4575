"""Segments from every tier as one SegmentSource, while the agent moves them.

Nothing here loads NumPy or a decoder before a block of records is asked for: ``ls`` and ``tier status`` start fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chronicle.core.errors import ConfigError, ForeignFileError, NotFoundError
from chronicle.core.layout import NONE
from chronicle.core.local import LocalSource
from chronicle.core.segment import LocalSegment
from chronicle.core.source import QueueSummary, SegmentInfo, SegmentSource, SegmentView, summary_of
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import BLOCK_BYTES
from chronicle.storage.manifest.bounded import Bounded
from chronicle.storage.manifest.catalog import CATALOG_NAME
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_stocks import whole_of
from chronicle.storage.stores.opening import is_url, local_folder, open_store
from chronicle.storage.stores.stores import LocalStore, Store
from chronicle.storage.tiers.policy import DELETE, HOT

__all__ = ["ArchiveSource", "TieredSource", "open_source"]

ENTRIES_KEPT: Final = 1 << 17
"""So many entries of queues that were asked for are kept: some 60 MB."""
ATTEMPTS: Final = 8
"""A segment can move once from tier to tier between look and open, and has few tiers to go."""


def open_source(path: str | Path, options: Mapping[str, Any] | None = None) -> SegmentSource:
    """Return the source for a home or for an archive root, whichever `path` is; a URL is an archive root.

    An archive root has a catalog, or holds archive objects and nothing of a home. All else is a home, an empty or
    absent folder too.
    """
    if is_url(path):
        return ArchiveSource(path, options)
    root = local_folder(path)
    if (root / CATALOG_NAME).is_file():
        return ArchiveSource(root)
    source = TieredSource(root)
    if not source.has_queues() and not (root / "archive").is_dir():
        # Only where objects of ours can be: a foreign folder of any size is not walked.
        shapes = ("raw/*/*.czst", "wire/*/*.czst", "clean/*/*/*/*.czst")
        if any(next(root.glob(shape), None) is not None for shape in shapes):
            return ArchiveSource(root)
    return source


class TieredSource:
    """A home's segments, hot ones and those in other tiers, each once at its published place.

    Parameters
    ----------
    home : path
        It may be empty or absent: then there are no queues.
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        self._local = LocalSource(home)
        self._manifest: Manifest | None = None
        self._known = Bounded[tuple[int, dict[int, Entry]]](ENTRIES_KEPT)
        self._stores: dict[tuple[str, str], Store] = {}

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues that start with `prefix`, sorted."""
        names = set(self._local.queues(prefix))
        manifest = self._open_manifest()
        if manifest is not None:
            names.update([name for name in manifest.queues(prefix) if name not in names and manifest.holds(name)])
        return sorted(names)

    def has_queues(self) -> bool:
        """Return whether there is a queue at all, here or in another tier; the home is not walked for it."""
        return self._local.has_queues() or bool(self.queues())

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` in order.

        The home is listed before the manifest is read: a source is deleted only after its new place was published,
        so a segment that is gone from the list is in the manifest.
        """
        found = {info.number: info for info in self._local.segments(queue)}
        locations: dict[str, str] = {}
        for number, entry in self._recorded(queue).items():
            if entry.place == DELETE:
                found.pop(number, None)  # its file in the home, if one stands there still, is to be deleted
                continue
            if entry.place not in locations:
                locations[entry.place] = self._store(entry.place).location
            found[number] = entry.info(locations[entry.place])
        return [found[number] for number in sorted(found)]

    def summary(self, queue: str) -> QueueSummary:
        """Return what the segments of `queue` are together; those of other tiers are not read one by one."""
        manifest = self._open_manifest()
        local = self._local.segments(queue)
        if manifest is None:
            return summary_of(local)
        from chronicle.storage.tiers.state import of_current

        recorded = ((info, manifest.get((queue, info.generation, info.number))) for info in local)
        here = summary_of([info for info, entry in recorded if entry is None or entry.place == HOT])
        stocks = of_current(self.home, manifest.stocks(queue), manifest)
        away = [stock for stock in stocks if stock.place not in (HOT, DELETE)]
        filled = [stock for stock in away if stock.first != NONE]
        first = [ts for ts in (here.ts_first, *(stock.ts_first for stock in filled)) if ts != NONE]
        segments = Counter(here.segments)
        for stock in away:
            segments[stock.place] += stock.segments
        return QueueSummary(
            segments=dict(segments),
            records=here.records + sum(stock.records for stock in away),
            stored_bytes=here.stored_bytes + sum(stock.stored_bytes for stock in away),
            ts_first=min(first, default=NONE),
            ts_last=max(here.ts_last, *(stock.ts_last for stock in filled)) if filled else here.ts_last,
            end_index=max(here.end_index, *(stock.end_index for stock in away)) if away else here.end_index,
        )

    def condensed(self, queue: str) -> list[SegmentInfo]:
        """Return what :meth:`segments` lists, what the manifest's sums tell of other tiers as one: see
        :class:`chronicle.core.source.CondensedLookup`.
        """
        manifest = self._open_manifest()
        if manifest is None:
            return self._local.segments(queue)
        from chronicle.storage.tiers.state import of_current

        local, version = self._local.segments(queue), manifest.version()
        stocks = of_current(self.home, manifest.stocks(queue), manifest, local=self._local)
        away = [stock for stock in stocks if stock.place != HOT]
        whole = None if any(stock.place == DELETE for stock in away) else whole_of(away)
        if away and whole is None:
            return self.segments(queue)
        keys = [(queue, info.generation, info.number) for info in local]
        entries = [entry for entry in map(manifest.get, keys) if entry is not None and entry.place != HOT]
        moved = {entry.number for entry in of_current(self.home, entries, manifest, local=self._local)}
        if manifest.version() != version:
            return self.segments(queue)  # the agent moved something meanwhile
        here = [info for info in local if info.number not in moved]
        return sorted([*here, *([] if whole is None else [whole])], key=lambda info: info.number)

    def sealed_end(self, queue: str) -> int:
        """Return the index up to which the home's mark says `queue` was sealed; 0 when it has none."""
        return self._local.sealed_end(queue)

    def open(self, queue: str, number: int) -> SegmentView:
        """Open a segment where it is now; one that moves meanwhile is looked up again."""
        error: NotFoundError | None = None
        for _ in range(ATTEMPTS):
            entry = self._moved(queue, number)
            try:
                if entry is None:
                    return self._local.open(queue, number)
                return open_entry(self._store(entry.place), entry)
            except NotFoundError as missing:
                if error is not None and error.path == missing.path and self._moved(queue, number) == entry:
                    break
                error = missing
        raise NotFoundError(
            f"segment {number} of {queue} is in no tier",
            path=error.path if error else self.home,
            hint="chronicle verify tells what is missing; chronicle tier rebuild looks everywhere again",
        ) from error

    def _moved(self, queue: str, number: int) -> Entry | None:
        """Return the entry of a segment that is published outside the home's hot tier; others are not read for it."""
        manifest = self._open_manifest()
        if manifest is None:
            return None
        known = self._known.get(queue)
        if known is not None and known[0] == manifest.version():
            entry = known[1].get(number)
            return None if entry is None or entry.place == DELETE else entry
        from chronicle.storage.tiers.state import of_current

        try:
            generation: int | None = self._local.queue(queue).settings.generation
        except (NotFoundError, ForeignFileError):
            generation = manifest.newest_generation(queue)
        entry = None if generation is None else manifest.get((queue, generation, number))
        if entry is None or entry.place in (HOT, DELETE):
            return None
        return next(iter(of_current(self.home, [entry], manifest, local=self._local)), None)

    def _recorded(self, queue: str) -> dict[int, Entry]:
        """Return the entries of `queue` that have left the hot tier, those that were removed for good among them."""
        manifest = self._open_manifest()
        if manifest is None:
            return {}
        version = manifest.version()
        known = self._known.get(queue)
        if known is None or known[0] != version:
            from chronicle.storage.tiers.state import (
                visible,  # what scans roots and packs is not needed to open a home
            )

            entries = visible(self.home, manifest.entries(queue), local=self._local)
            known = version, {entry.number: entry for entry in entries if entry.place != HOT}
            self._known.put(queue, known, len(known[1]))
        return known[1]

    def _store(self, tier: str) -> Store:
        manifest = self._open_manifest()
        root = None if manifest is None else manifest.root(tier)
        if manifest is None or root is None:
            raise NotFoundError(f"the manifest names tier {tier!r} and does not know where it is", path=self.home)
        if (tier, root) not in self._stores:
            self._stores[tier, root] = manifest.store(tier)
        return self._stores[tier, root]

    def _open_manifest(self) -> Manifest | None:
        if self._manifest is None:
            self._manifest = Manifest.open(self.home)
        return self._manifest


class ArchiveSource:
    """An archive root by itself: what its catalog says, or, without one, what its objects say.

    Parameters
    ----------
    root : path or str
        A folder or a URL.
    options : mapping, optional
        Of the store (:func:`chronicle.storage.stores.opening.open_store`).

    Raises
    ------
    NotFoundError
        When there is no such folder, or nothing of ours at a URL.
    """

    def __init__(self, root: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self._store = open_store(root, options)
        if isinstance(self._store, LocalStore) and not self._store.root.is_dir():
            raise NotFoundError("there is no archive", path=self._store.root)
        from chronicle.storage.manifest.published import PublishedCatalog

        self._published = PublishedCatalog(self._store)

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues that start with `prefix`, sorted."""
        self._published.refresh()
        return sorted(name for name in self._published.queues() if name.startswith(prefix))

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` in order."""
        self._published.refresh()
        root = self._store.location
        return [entry.info(root) for entry in self._published.entries(queue)]

    def condensed(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` as one where the catalog's sums tell enough: see
        :class:`chronicle.core.source.CondensedLookup`.
        """
        self._published.refresh()
        stock = self._published.stock(queue)
        whole = None if stock is None else whole_of([stock])
        return self.segments(queue) if whole is None else [whole]

    def summary(self, queue: str) -> QueueSummary:
        """Return what the segments of `queue` are together, by the catalog's sums where it has them."""
        self._published.refresh()
        stock = self._published.stock(queue)
        if stock is None:
            return summary_of(self.segments(queue))
        return QueueSummary(
            segments={stock.place: stock.segments},
            records=stock.records,
            stored_bytes=stock.stored_bytes,
            ts_first=stock.ts_first,
            ts_last=stock.ts_last,
            end_index=stock.end_index,
        )

    def segments_near(self, queue: str, ts: int, *, fresh: bool = False) -> list[SegmentInfo]:
        """Return the segments of `queue` around a moment: see :class:`chronicle.core.source.NearLookup`."""
        if fresh:
            self._published.refresh()
        return [entry.info(self._store.location) for entry in self._published.near(queue, ts)]

    def sealed_end(self, queue: str) -> int:
        """Return 0: an archive says what it holds, not what there was."""
        del queue
        return 0

    def open(self, queue: str, number: int) -> SegmentView:
        """Open a segment; the catalog is read again when its object is gone."""
        missing: NotFoundError | None = None
        for _ in range(2):
            entry = self._published.entry(queue, number)
            if entry is not None:
                try:
                    return open_entry(self._store, entry)
                except NotFoundError as error:  # moved on to a colder tier, or renamed by a rebuild
                    missing = error
            self._published.load()
        raise NotFoundError(
            f"segment {number} of {queue} is not in this archive",
            path=missing.path if missing else self._store.location,
            hint="it may have moved to a colder tier: open the home, or that tier as well",
        ) from missing


def open_entry(store: Store, entry: Entry) -> SegmentView:
    """Open the object of an entry in its tier's store."""
    if entry.encoding == "none":
        if not isinstance(store, LocalStore):
            raise ConfigError("segments are kept as sealed in folders only", path=f"{store.location}/{entry.object}")
        return LocalSegment(store.path(entry.object), queue=entry.queue, place=entry.place)
    return ArchivedSegment(
        store,
        entry.object,
        place=entry.place,
        offset=entry.offset,
        length=entry.length,
        block_bytes=entry.length * BLOCK_BYTES // max(1, entry.file_bytes),
    )
