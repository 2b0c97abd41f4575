"""Proof that what was sealed is where the manifest says, whole and unchanged; every deviation is a finding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chronicle.core.durable import TEMPORARY_PREFIX
from chronicle.core.errors import ChronicleError, CorruptionError, NotFoundError
from chronicle.core.layout import (
    ROLL_BYTES,
    SEGMENT_OPEN_SUFFIX,
    SEGMENT_SEALED_SUFFIX,
    SegmentState,
    segment_name,
)
from chronicle.core.local import LocalSource
from chronicle.core.seeking import seek_index
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentInfo, SegmentView
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import ARCHIVE_SUFFIX
from chronicle.storage.codec.proving import sealed_holds, segment_checksum
from chronicle.storage.codec.sealed import check_sealed
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.manifest.catalog import CATALOG_NAME, PARTS_FOLDER, part_names, read_catalog
from chronicle.storage.manifest.entry import QUARANTINE, Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.scanning import scan_root
from chronicle.storage.stores.opening import open_store
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.stores.stores import LocalStore, Store
from chronicle.storage.tiers.packs import PACK_SUFFIX
from chronicle.storage.tiers.policy import DELETE, HOT
from chronicle.storage.tiers.state import visible

__all__ = ["Finding", "VerifyReport", "verify"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation. `kind` is a stable word, `path` and `offset` say where."""

    kind: str
    message: str
    path: str | None = None
    offset: int | None = None
    queue: str | None = None
    number: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        names = ("kind", "message", "path", "offset", "queue", "number")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked and what was found; no finding means that all is proven."""

    findings: tuple[Finding, ...]
    queues: int
    segments: int
    raw_bytes: int

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(
    path: str | Path,
    *,
    deep: bool = False,
    prefix: str = "",
    progress: Callable[[int, SegmentInfo], None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> VerifyReport:
    """Check a home or an archive root, every byte of every sealed segment.

    Parameters
    ----------
    path : path or str
        A home (with all its tiers) or an archive root, also as a URL.
    deep : bool
        Also walk every record: lengths, times that never go back, the seek index made again and compared.
    prefix : str
        Only queues whose names start so.
    progress : callable, optional
        Called after each segment with (segments checked, its info).
    options : mapping, optional
        Of the store that a URL names.

    Returns
    -------
    VerifyReport
        Damage never raises; it is a finding.
    """
    check = _Check(path, deep, prefix, progress, options)
    return check.run()


class _Check:
    def __init__(
        self,
        root: str | Path,
        deep: bool,
        prefix: str,
        progress: Callable[[int, SegmentInfo], None] | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        self.store = open_store(root, options)
        self.root = Path(self.store.location)
        self.deep = deep
        self.prefix = prefix
        self.progress = progress
        self.findings: list[Finding] = []
        self.segments = 0
        self.raw_bytes = 0

    def run(self) -> VerifyReport:
        self.is_archive = self.store.is_remote or (self.root / CATALOG_NAME).is_file()
        names = self._archive() if self.is_archive else self._home()
        return VerifyReport(tuple(self.findings), names, self.segments, self.raw_bytes)

    def _archive(self) -> int:
        """Check a root by itself: its catalog against its objects."""
        try:
            catalog = read_catalog(self.store)
            entries = list(catalog.entries) if catalog else scan_root(self.store, "archive", now_ns=0)[0]
            if catalog is None and not entries:
                raise NotFoundError("there is no archive", path=self.store.location)
        except ChronicleError as error:
            self._add(error)
            return 0
        self._entries({entry.key: entry for entry in entries}, lambda _: self.store)
        self._foreign(self.store, {entry.object for entry in entries})
        return len({entry.queue for entry in entries if entry.queue.startswith(self.prefix)})

    def _home(self) -> int:
        manifest = self._guard(lambda: Manifest.open(self.root))
        entries: list[Entry] = []
        if manifest is not None:
            entries = self._guard(manifest.entries) or []
        mine = [entry for entry in visible(self.root, entries) if entry.queue.startswith(self.prefix)]
        moved = {entry.key: entry for entry in mine if entry.place not in (HOT, DELETE)}
        expired = [entry for entry in mine if entry.place == DELETE]
        known_hot = {entry.key: entry for entry in mine if entry.place == HOT}
        if manifest is not None:
            self._entries(moved, manifest.store)
            self._catalogs(manifest, entries)
        marks = self._marks()
        hot = self._hot_files(moved, known_hot)
        for entry in known_hot.values():
            if entry.key not in hot:
                self._find("missing", "a segment that the manifest has in the home is not there", entry=entry)
        names = self._guard(lambda: TieredSource(self.root).queues(self.prefix)) or []
        for name in names:
            infos = [info for key, info in hot.items() if key[0] == name]
            infos += [entry.info("") for entry in (*moved.values(), *expired) if entry.queue == name]
            self._continuity(name, infos)
            self._ends(name, infos, marks.get(name, 0))
        return len(names)

    def _entries(self, entries: dict[tuple[str, int, int], Entry], store: Callable[[str], Store]) -> None:
        """Check each entry's object against the entry."""
        for entry in entries.values():
            if not entry.queue.startswith(self.prefix):
                continue
            if entry.intent:
                self._find("interrupted", f"a move to {entry.intent.tier} was interrupted", entry=entry)
            try:
                self._object(store(entry.place), entry)
            except ChronicleError as error:
                self._add(error, entry)
        if self.is_archive:
            for name in sorted({entry.queue for entry in entries.values()}):
                self._continuity(name, [entry.info("") for entry in entries.values() if entry.queue == name])

    def _object(self, store: Store, entry: Entry) -> None:
        size = store.size(entry.object)
        where = f"{store.location}/{entry.object}"
        if size is None:
            raise NotFoundError("a published segment is not at its place", path=where)
        if size < entry.offset + entry.length or (size != entry.length and not entry.packed):
            raise CorruptionError(
                "an object has another size than published", path=where, expected=entry.length, found=size
            )
        if entry.encoding == "none":
            with LocalSegment(Path(where), queue=entry.queue, place=entry.place) as segment:
                check_sealed(segment)
                self._compare(entry, segment_checksum(segment), segment.info, where)
                self._holds(entry, sealed_holds(segment, entry.queue), where)
                self._records(segment)
        else:
            span = {"offset": entry.offset, "length": entry.length}
            footer, holds = read_whole(store, entry.object, **span)
            with ArchivedSegment(store, entry.object, place=entry.place, **span) as archived:
                self._compare(entry, footer.file_checksum, archived.info, where)
                self._holds(entry, holds, where)
                self._records(archived)

    def _compare(self, entry: Entry, checksum: int, info: SegmentInfo, where: str) -> None:
        found = (checksum, info.queue, info.generation, info.number, info.base_index, info.record_count)
        expected = (entry.checksum, *entry.key, entry.base_index, entry.record_count)
        if found != expected:
            raise CorruptionError(
                "an object is not the segment that was published", path=where, expected=expected, found=found
            )
        self._count(info, entry.file_bytes)

    def _holds(self, entry: Entry, found: int, where: str) -> None:
        """What is not said to be in a segment is not looked for there: it must not be there."""
        if entry.holds and found & ~entry.holds:
            raise CorruptionError(
                "a segment has kinds of record of which manifest or catalog says that it has none",
                path=where,
                expected=entry.holds,
                found=found,
                hint="chronicle tier repair looks at each and notes it anew",
            )

    def _count(self, info: SegmentInfo, raw_bytes: int) -> None:
        self.segments += 1
        self.raw_bytes += raw_bytes
        if self.progress is not None:
            self.progress(self.segments, info)

    def _hot_files(
        self, moved: dict[tuple[str, int, int], Entry], known: dict[tuple[str, int, int], Entry]
    ) -> dict[tuple[str, int, int], SegmentInfo]:
        """Check every file in the home's queue folders; return the published ones."""
        found: dict[tuple[str, int, int], SegmentInfo] = {}
        source = LocalSource(self.root)
        for queue in source.queues(self.prefix):
            folder = self.root / queue
            self._guard(partial(source.queue, queue))
            for name in sorted(os.listdir(folder)):
                path = folder / name
                if name.startswith(TEMPORARY_PREFIX) or not name.endswith(
                    (SEGMENT_SEALED_SUFFIX, SEGMENT_OPEN_SUFFIX)
                ):
                    continue
                sealed = name.endswith(SEGMENT_SEALED_SUFFIX)
                if not sealed and (folder / f"{name[:-5]}{SEGMENT_SEALED_SUFFIX}").exists():
                    continue  # the sealed form is published; the writer removes the open one next
                try:
                    info = self._hot_file(path, queue, sealed=sealed)
                except ChronicleError as error:
                    if path.exists():  # else it was sealed or moved while we looked
                        self._add(error, queue=queue)
                    continue
                key = (queue, info.generation, info.number)
                entry = moved.get(key)
                if entry is not None and not entry.retired:
                    self._find(
                        "twice", f"the segment is published in tier {entry.place} as well", path=path, entry=entry
                    )
                elif entry is None:
                    found[key] = info
                    self._same_as_recorded(known.get(key), path, queue)
        return found

    def _hot_file(self, path: Path, queue: str, *, sealed: bool) -> SegmentInfo:
        with LocalSegment(path, queue=queue) as segment:
            state = SegmentState.SEALED if sealed else SegmentState.OPEN
            if segment.header.state is not state or path.name != segment_name(segment.header.number, state):
                raise CorruptionError(
                    "a segment's header and file name disagree", path=path, found=segment.header.number
                )
            if sealed:
                check_sealed(segment)
                segment.prologue()
                self._records(segment)
            self._count(segment.info, segment.header.file_bytes if sealed else 0)
            return segment.info

    def _same_as_recorded(self, entry: Entry | None, path: Path, queue: str) -> None:
        if entry is None or path.suffix != SEGMENT_SEALED_SUFFIX:
            return
        with LocalSegment(path, queue=queue) as segment:
            if segment_checksum(segment) != entry.checksum:
                self._find(
                    "corruption", "the segment is not the one that the manifest recorded", path=path, entry=entry
                )

    def _records(self, segment: SegmentView) -> None:
        """Walk all records of a sealed segment: only whole ones, in order, with the seek index they imply."""
        if not self.deep:
            return
        import numpy as np

        from chronicle.core.scan import record_offsets

        info, start, end = segment.info, segment.data_offset, segment.data_end() - ROLL_BYTES
        memory = segment.view(0, end)
        try:
            offsets = start + record_offsets(memory[start:])
        except CorruptionError as error:
            error.path = info.location
            raise
        if len(offsets) != info.record_count:
            raise CorruptionError(
                "the records of a segment do not add up",
                path=info.location,
                expected=info.record_count,
                found=len(offsets),
            )
        times = np.frombuffer(memory, dtype=np.int64)[(offsets >> 3) + 1]
        back = np.flatnonzero(times[1:] < times[:-1])
        if len(back):
            where = int(offsets[back[0] + 1])
            raise CorruptionError("ts_recv goes back within a segment", path=info.location, offset=where)
        if list(segment.seek_points()) != seek_index(memory.cast("Q"), start, end, info.base_index):
            raise CorruptionError("the seek index is not the one its records imply", path=info.location)

    def _continuity(self, queue: str, infos: Iterable[SegmentInfo]) -> None:
        """A queue has each number once and no hole between the first and the last that are kept."""
        before: SegmentInfo | None = None
        for info in sorted(infos, key=lambda info: info.number):
            if before is not None:
                if info.number == before.number:
                    self._find("twice", f"segment {info.number} is there twice", queue=queue, number=info.number)
                elif info.number != before.number + 1:
                    missing = f"{before.number + 1} to {info.number - 1}"
                    self._find("hole", f"segments {missing} are missing", queue=queue, number=before.number + 1)
                elif info.base_index != before.end_index:
                    message = f"segment {info.number} starts at record {info.base_index}, not at {before.end_index}"
                    self._find("hole", message, queue=queue, number=info.number)
            before = info

    def _marks(self) -> dict[str, int]:
        """Return up to which index each queue of the home was sealed; read before the segments are listed."""
        source = LocalSource(self.root)
        marks = {name: self._guard(partial(source.sealed_end, name)) for name in source.queues(self.prefix)}
        return {name: mark for name, mark in marks.items() if mark}

    def _ends(self, queue: str, infos: Iterable[SegmentInfo], mark: int) -> None:
        """A queue holds all that was sealed, but for what retention removed from its beginning."""
        if any(finding.queue == queue for finding in self.findings):
            return  # what is damaged is not counted among the segments, and was told already
        kept = sorted(infos, key=lambda info: info.number)
        end = kept[-1].end_index if kept else 0
        if end < mark:
            number = kept[-1].number + 1 if kept else 0
            self._find("hole", f"records {end} to {mark - 1} are missing at the end", queue=queue, number=number)
        retired = self._guard(lambda: LocalSource(self.root).retired_end(queue)) or 0
        if kept and kept[0].base_index > retired:
            message = f"records {retired} to {kept[0].base_index - 1} are missing"
            self._find("hole", message, queue=queue, number=kept[0].number - 1)

    def _catalogs(self, manifest: Manifest, entries: list[Entry]) -> None:
        for tier in manifest.tiers():
            here = {entry.key: (entry.object, entry.offset, entry.length) for entry in entries if entry.place == tier}
            try:
                store = manifest.store(tier)
                if isinstance(store, LocalStore) and not store.root.is_dir():
                    continue
                catalog = read_catalog(store)
                parts = part_names(store)
            except ChronicleError as error:
                self._add(error)
                continue
            listed = {} if catalog is None else {e.key: (e.object, e.offset, e.length) for e in catalog.entries}
            if listed != here and tier not in manifest.dirty():
                where = f"{store.location}/{CATALOG_NAME}"
                self._find("catalog", "the tier's catalog does not list what is published there", path=where)
            expected = {entry.object for entry in entries if entry.place == tier}
            retired = {copy.object for entry in entries for copy in entry.retired if copy.tier == tier}
            begun = {entry.intent.object for entry in entries if entry.intent and entry.intent.tier == tier}
            self._foreign(store, expected | retired | begun | parts)

    def _foreign(self, store: Store, known: set[str]) -> None:
        for name, _ in store.list(self.prefix):
            stem = name.rpartition("/")[2]
            if name in known or name == CATALOG_NAME or name.startswith(QUARANTINE):
                continue
            where = f"{store.location}/{name}"
            if stem.startswith(TEMPORARY_PREFIX):
                self._find("temporary", "a half-written object was left behind", path=where)
            elif stem.endswith((ARCHIVE_SUFFIX, PACK_SUFFIX, SEGMENT_SEALED_SUFFIX)) or (
                name.startswith(PARTS_FOLDER) and not self.is_archive
            ):
                self._find("foreign", "an object that no manifest or catalog names", path=where)

    def _guard(self, attempt: Callable[[], Any]) -> Any:
        try:
            return attempt()
        except ChronicleError as error:
            self._add(error)
            return None

    def _add(self, error: ChronicleError, entry: Entry | None = None, *, queue: str | None = None) -> None:
        kind = "missing" if isinstance(error, NotFoundError) else error.kind
        number = entry.number if entry else None
        name = entry.queue if entry else queue
        self.findings.append(Finding(kind, str(error), error.path, error.offset, name, number))

    def _find(
        self,
        kind: str,
        message: str,
        *,
        path: Path | str | None = None,
        entry: Entry | None = None,
        queue: str | None = None,
        number: int | None = None,
    ) -> None:
        name = entry.queue if entry else queue
        position = entry.number if entry else number
        self.findings.append(Finding(kind, message, None if path is None else str(path), None, name, position))
