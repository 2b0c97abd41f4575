"""The catalog: what a tier's root holds, published beside the data, so that a reader needs only the address.

A pointer object, replaced as a whole, names immutable part objects, one for each UTC day of the segments' first
ts_recv. A publication writes the parts of the days that changed and then the pointer; what it no longer names is
removed an hour later, for readers that still hold the former pointer. All of it can be made again from the archive
objects alone (:mod:`chronicle.storage.scanning`). ``docs/format/manifest.md`` has the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from chronicle.core.errors import ChronicleError, CorruptionError, NotFoundError, StateError
from chronicle.storage.catalog_layout import PART_MAGIC, POINTER_MAGIC, pack_object, unpack_object
from chronicle.storage.manifest import Entry
from chronicle.storage.stores import Store

__all__ = ["CATALOG_NAME", "PARTS_FOLDER", "Catalog", "Part", "Pointer", "publish_catalog", "read_catalog"]

CATALOG_NAME: Final = "chronicle-catalog.msgpack.zst"
PARTS_FOLDER: Final = "chronicle-catalog/"
KEPT_NS: Final = 3600 * 10**9
"""A part stays so long after the pointer ceased to name it."""
PART_FIELDS: Final = (
    "generation",
    "number",
    "queue_id",
    "base_index",
    "record_count",
    "ts_first",
    "ts_last",
    "data_bytes",
    "file_bytes",
    "checksum",
    "sealed_seen_ns",
    "encoding",
    "object",
    "offset",
    "length",
)
"""What a part has of each entry; its queue is the key, its place the catalog's tier."""
PLACE: Final = PART_FIELDS.index("encoding")
"""Where the place belongs among them, in the order of :class:`Entry`."""


Span = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a root holds: the home it belongs to, the tier's name and encoding, its segments in key order."""

    home_id: str
    tier: str
    encoding: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part object: the entries of one day, and the ts_recv that they cover."""

    partition: str
    object: str
    bytes: int
    entries: int
    ts_first: int
    ts_last: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the pointer says. `queues` maps each queue to (first ts_recv, last, generation) of its newest generation.

    `inline` holds the entries of a catalog of version 1, which had no parts. `token` names the pointer's version
    in its store. `history` is the (length, hash) of the home's history of moves when it was published.
    """

    home_id: str
    tier: str
    encoding: str
    sequence: int
    parts: tuple[Part, ...]
    queues: Mapping[str, Span]
    retired: tuple[tuple[str, int], ...] = ()
    history: tuple[int, str] = (0, "")
    inline: tuple[Entry, ...] = ()
    token: str | None = field(default=None, compare=False)


def publish_catalog(
    store: Store,
    catalog: Catalog,
    *,
    days: Collection[str] | None = None,
    now_ns: int = 0,
    history: tuple[int, str] = (0, ""),
    queue_entries: Callable[[str], list[Entry]] | None = None,
) -> Pointer:
    """Publish what a root holds.

    Parameters
    ----------
    catalog : Catalog
        The root's entries: all of them, or those of `days` and with `queue_entries`.
    days : collection of str, optional
        The partitions that changed since the last publication; default all.
    queue_entries : callable, optional
        Gives all entries that the root has of a queue. With it, `catalog` need not hold more than those of `days`:
        parts and spans that did not change are kept as they were, which is possible only where there is a pointer
        already.
    now_ns : int
        The clock; parts that are no longer named are removed an hour later.
    history : (int, str)
        Length and hash of the home's history of moves.

    Raises
    ------
    StateError
        When another home archives into this root, or another agent published meanwhile.
    """
    before = _former(store, catalog.home_id)
    kept = {} if before is None or days is None else {part.partition: part for part in before.parts}
    grouped: dict[str, list[Entry]] = {}
    for entry in catalog.entries:
        grouped.setdefault(entry.partition, []).append(entry)
    spans = dict(before.queues) if before is not None and queue_entries is not None else None
    if spans is not None and days is not None:
        touched = {entry.queue for entry in catalog.entries}
        touched |= {queue for day in days if day in kept for queue in read_part(store, kept[day])}
        for queue in touched:
            spans.pop(queue, None)
            spans |= _spans(queue_entries(queue) if queue_entries is not None else ())
        grouped = {day: grouped[day] for day in grouped if day in days} | {day: [] for day in kept if day not in days}
    parts = []
    for partition in sorted(grouped):
        same = kept.get(partition)
        if spans is not None and same is not None and days is not None and partition not in days:
            parts.append(same)
            continue
        if same is None or days is None or partition in days or same.entries != len(grouped[partition]):
            same = _put_part(store, partition, grouped[partition], same)
        parts.append(same)
    named = {part.object for part in parts}
    leaving = dict(before.retired) if before else {}
    for part in before.parts if before else ():
        leaving.setdefault(part.object, now_ns + KEPT_NS)
    due = [name for name, when in leaving.items() if name not in named and when <= now_ns]
    retired = tuple((name, when) for name, when in leaving.items() if name not in named and when > now_ns)
    sequence = 1 if before is None else before.sequence + 1
    if spans is None:
        spans = _spans(catalog.entries)
    pointer = Pointer(
        catalog.home_id, catalog.tier, catalog.encoding, sequence, tuple(parts), spans, retired, history
    )
    store.replace(CATALOG_NAME, _pack_pointer(pointer), before.token if before else None)
    for name in due:
        store.delete(name)
    return pointer


def _spans(entries: Iterable[Entry]) -> dict[str, Span]:
    """Return what of each queue the pointer says."""
    spans: dict[str, Span] = {}
    for entry in entries:
        first, last, generation = spans.get(entry.queue, (entry.ts_first, entry.ts_last, entry.generation))
        if entry.generation > generation or last < first:
            first, last, generation = entry.ts_first, entry.ts_last, entry.generation
        elif entry.generation == generation and entry.record_count:
            first, last = min(first, entry.ts_first), max(last, entry.ts_last)
        spans[entry.queue] = first, last, generation
    return spans


def _former(store: Store, home_id: str) -> Pointer | None:
    """Return the pointer that is to be replaced, after a look at whose it is."""
    pointer = read_pointer(store)
    if pointer is not None and pointer.home_id != home_id:
        raise StateError(
            "another home archives into this tier",
            path=store.location,
            expected=home_id,
            found=pointer.home_id,
            hint="give each home its own root, or chronicle tier rebuild to take this one over",
        )
    return pointer


def check_owner(store: Store, home_id: str) -> None:
    """Check that a root belongs to this home or to none yet.

    Raises
    ------
    StateError
        When another home archives into it.
    """
    _former(store, home_id)


def read_pointer(store: Store) -> Pointer | None:
    """Return a root's pointer, None where there is none. A catalog of version 1 is one without parts.

    Raises
    ------
    ForeignFileError, VersionError, CorruptionError
        When it is there and cannot be read.
    """
    found = store.fetch(CATALOG_NAME)
    if found is None:
        return None
    path = f"{store.location}/{CATALOG_NAME}"
    version, payload = unpack_object(found[0], POINTER_MAGIC, (1, 2), path)
    try:
        values = msgpack.unpackb(payload)
        if version == 1:
            entries = tuple(Entry.from_dict(item) for item in values["entries"])
            names = str(values["home_id"]), str(values["tier"]), str(values["encoding"])
            return Pointer(*names, 0, (), _spans(entries), inline=entries, token=found[1])
        return Pointer(
            str(values["home_id"]),
            str(values["tier"]),
            str(values["encoding"]),
            int(values["sequence"]),
            tuple(Part(*row[:6]) for row in values["parts"]),
            {str(name): (int(span[0]), int(span[1]), int(span[2])) for name, span in values["queues"].items()},
            tuple((str(name), int(due)) for name, due in values["retired"]),
            (int(values["history"][0]), str(values["history"][1])),
            token=found[1],
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise damaged(str(error), path) from error


def read_catalog(store: Store) -> Catalog | None:
    """Return all that a root's catalog says, None where there is none.

    Raises
    ------
    ForeignFileError, VersionError, CorruptionError, NotFoundError
        When it is there and cannot be read, or names a part that is not there.
    """
    pointer = read_pointer(store)
    if pointer is None:
        return None
    entries = list(pointer.inline)
    for part in pointer.parts:
        for rows in read_part(store, part).values():
            entries += unpack_rows(rows, pointer.tier)
    return Catalog(
        pointer.home_id, pointer.tier, pointer.encoding, tuple(sorted(entries, key=lambda entry: entry.key))
    )


def read_part(store: Store, part: Part) -> dict[str, tuple[str, bytes]]:
    """Return {queue: (queue, packed rows)} of a part; :func:`unpack_rows` makes entries of them.

    Raises
    ------
    NotFoundError
        When it is gone: a newer pointer is there.
    """
    path = f"{store.location}/{part.object}"
    found = store.fetch(part.object)
    if found is None:
        raise NotFoundError("a part of the catalog is not there", path=path, hint="chronicle tier rebuild")
    _, payload = unpack_object(found[0], PART_MAGIC, (1,), path)
    try:
        values = msgpack.unpackb(payload)
        if values["fields"][: len(PART_FIELDS)] != list(PART_FIELDS):
            raise ValueError("other fields")  # noqa: TRY301
        return {str(name): (str(name), bytes(rows)) for name, rows in values["queues"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise damaged(str(error), path) from error


def unpack_rows(rows: tuple[str, bytes], tier: str) -> Iterator[Entry]:
    """Yield the entries of one queue in a part.

    Raises
    ------
    CorruptionError
        When they are none.
    """
    queue, data = rows
    try:
        for row in msgpack.unpackb(data):
            values: list[Any] = [queue, *row[:PLACE], tier, *row[PLACE : len(PART_FIELDS)]]
            yield Entry(*values)
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise damaged(f"its entries of {queue}: {error}", CATALOG_NAME) from error


def _put_part(store: Store, partition: str, entries: list[Entry], same: Part | None) -> Part:
    """Write a part under a name made of its bytes; nothing is written where it is there already."""
    queues: dict[str, list[list[Any]]] = {}
    for entry in sorted(entries, key=lambda entry: entry.key):
        queues.setdefault(entry.queue, []).append([getattr(entry, name) for name in PART_FIELDS])
    values = {"fields": PART_FIELDS, "queues": {name: msgpack.packb(rows) for name, rows in queues.items()}}
    data, digest = pack_object(PART_MAGIC, 1, msgpack.packb(values))
    name = f"{PARTS_FOLDER}{partition}.{digest}.msgpack.zst"
    if same is None or same.object != name:
        staged = store.staging(name)
        store.put(staged, [data])
        store.rename(staged, name)
    first, last = min(entry.ts_first for entry in entries), max(entry.ts_last for entry in entries)
    return Part(partition, name, len(data), len(entries), first, last)


def _pack_pointer(pointer: Pointer) -> bytes:
    values: dict[str, Any] = {
        "home_id": pointer.home_id,
        "tier": pointer.tier,
        "encoding": pointer.encoding,
        "sequence": pointer.sequence,
        "parts": [
            [part.partition, part.object, part.bytes, part.entries, part.ts_first, part.ts_last]
            for part in pointer.parts
        ],
        "queues": pointer.queues,
        "retired": pointer.retired,
        "history": pointer.history,
    }
    return pack_object(POINTER_MAGIC, 2, msgpack.packb(values))[0]


def damaged(message: str, path: str) -> CorruptionError:
    """Return the error for a catalog whose content makes no sense."""
    return CorruptionError(
        f"a catalog is damaged: {message}", path=path, hint="make it again: chronicle tier rebuild"
    )


def catalog_of(home_id: str, tier: str, encoding: str, entries: Iterable[Entry]) -> Catalog:
    """Return the catalog of a tier: the entries published there."""
    return Catalog(home_id, tier, encoding, tuple(entry for entry in entries if entry.place == tier))


def forget_catalog(store: Store) -> None:
    """Remove a root's catalog with its parts, damaged ones too, so that it can be made again."""
    names = [name for name, _ in store.list(PARTS_FOLDER)]
    for name in [CATALOG_NAME, *names]:
        store.delete(name)


def sweep_parts(store: Store) -> int:
    """Remove the parts that a publication left behind which was cut short; return how many there were.

    Nobody else publishes while the agent's lock is held. A pointer that cannot be read leaves everything as it is.
    """
    try:
        named = part_names(store)
    except ChronicleError:
        return 0
    orphans = [name for name, _ in store.list(PARTS_FOLDER) if name not in named]
    for name in orphans:
        store.delete(name)
    return len(orphans)


def has_parts(store: Store) -> bool:
    """Return whether a root has a pointer to parts, of which some can be replaced."""
    try:
        pointer = read_pointer(store)
    except ChronicleError:
        return False
    return pointer is not None and not pointer.inline


def part_names(store: Store) -> set[str]:
    """Return the part objects that a root's pointer names or still keeps for readers."""
    pointer = read_pointer(store)
    if pointer is None:
        return set()
    return {part.object for part in pointer.parts} | {name for name, _ in pointer.retired}
