"""Parts of a catalog: immutable objects of entries of one UTC day, several of them where a day grew.

Later parts of a day speak over earlier ones: a row replaces the one of the same segment, and what is `gone` takes it
out. So a publication writes what changed, and not the whole day again. ``docs/format/manifest.md`` has the bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.storage.manifest.catalog_layout import PART_MAGIC, pack_object, unpack_object
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.stores.stores import Store

__all__ = ["PARTS_FOLDER", "Part", "PartRows", "merged", "pack_rows", "put_part", "read_part", "unpack_rows"]

PARTS_FOLDER: Final = "chronicle-catalog/"
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
    "holds",
)
"""What a part has of each entry; its queue is the key, its place the catalog's tier."""
FIELDS_MIN: Final = PART_FIELDS.index("holds")
"""Rows of earlier releases end here."""
PLACE: Final = PART_FIELDS.index("encoding")
"""Where the place belongs among them, in the order of :class:`Entry`."""
_FIRST, _LAST = PART_FIELDS.index("ts_first"), PART_FIELDS.index("ts_last")

Row = list[Any]
Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A part object: entries of one day, and the ts_recv that they cover; `entries` counts those gone as well."""

    partition: str
    object: str
    bytes: int
    entries: int
    ts_first: int
    ts_last: int


@dataclass(frozen=True, slots=True)
class PartRows:
    """What a part says: {queue: (queue, packed rows)}, and {queue: [(generation, number)]} that earlier parts had."""

    rows: Mapping[str, tuple[str, bytes]]
    gone: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)


def pack_rows(entries: Iterable[Entry]) -> dict[str, bytes]:
    """Return {queue: packed rows} of entries."""
    queues: dict[str, list[Row]] = {}
    for entry in sorted(entries, key=lambda entry: entry.key):
        queues.setdefault(entry.queue, []).append(row_of(entry))
    return {name: msgpack.packb(rows) for name, rows in queues.items()}


def row_of(entry: Entry) -> Row:
    """Return what a part has of an entry."""
    return [getattr(entry, name) for name in PART_FIELDS]


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
            holds = int(row[FIELDS_MIN]) if len(row) > FIELDS_MIN else 0
            values: list[Any] = [queue, *row[:PLACE], tier, *row[PLACE:FIELDS_MIN], None, (), holds]
            yield Entry(*values)
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise damaged(f"its entries of {queue}: {error}", PARTS_FOLDER) from error


def put_part(
    store: Store,
    partition: str,
    rows: Mapping[Key, Row],
    gone: Iterable[Key] = (),
    *,
    below: Sequence[Part] = (),
    named: Collection[str] = (),
) -> Part:
    """Write a part under a name made of its bytes; nothing is written where it is among those `named` already.

    `rows` and `gone` together are not empty. What is gone is gone from the parts `below`: it covers what they do.
    """
    queues: dict[str, list[Row]] = {}
    for key in sorted(rows):
        queues.setdefault(key[0], []).append(rows[key])
    values: dict[str, Any] = {
        "fields": PART_FIELDS,
        "queues": {name: msgpack.packb(listed) for name, listed in queues.items()},
    }
    left: dict[str, list[tuple[int, int]]] = {}
    for queue, generation, number in sorted(gone):
        left.setdefault(queue, []).append((generation, number))
    if left:
        values["gone"] = left
    data, digest = pack_object(PART_MAGIC, 2 if left else 1, msgpack.packb(values))
    name = f"{PARTS_FOLDER}{partition}.{digest}.msgpack.zst"
    if name not in named:
        staged = store.staging(name)
        store.put(staged, [data])
        store.rename(staged, name)
    covered = below if left else ()
    first = min([*(row[_FIRST] for row in rows.values()), *(part.ts_first for part in covered)], default=0)
    last = max([*(row[_LAST] for row in rows.values()), *(part.ts_last for part in covered)], default=0)
    return Part(partition, name, len(data), len(rows) + sum(map(len, left.values())), first, last)


def read_part(store: Store, part: Part) -> PartRows:
    """Return what a part says; :func:`unpack_rows` makes entries of its rows.

    Raises
    ------
    NotFoundError
        When it is gone: a newer pointer is there.
    """
    path = f"{store.location}/{part.object}"
    found = store.fetch(part.object)
    if found is None:
        raise NotFoundError("a part of the catalog is not there", path=path, hint="chronicle tier rebuild")
    version, payload = unpack_object(found[0], PART_MAGIC, (1, 2), path)
    try:
        values = msgpack.unpackb(payload)
        if (version == 2) != ("gone" in values):
            raise ValueError("what its version has is not there")  # noqa: TRY301
        if values["fields"][: len(PART_FIELDS)] not in (list(PART_FIELDS), list(PART_FIELDS[:FIELDS_MIN])):
            raise ValueError("other fields")  # noqa: TRY301
        gone = {
            str(name): [(int(generation), int(number)) for generation, number in keys]
            for name, keys in values.get("gone", {}).items()
        }
        return PartRows({str(name): (str(name), bytes(rows)) for name, rows in values["queues"].items()}, gone)
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise damaged(str(error), path) from error


def merged(store: Store, parts: Iterable[Part]) -> tuple[dict[Key, Row], set[Key]]:
    """Return (rows by key, keys gone) of parts of one day that follow one another, oldest first.

    Raises
    ------
    NotFoundError, CorruptionError
        When one cannot be read.
    """
    rows: dict[Key, Row] = {}
    gone: set[Key] = set()
    for part in parts:
        found = read_part(store, part)
        left = {(queue, *each) for queue, keys in found.gone.items() for each in keys}
        gone |= left
        for key in left:
            rows.pop(key, None)
        for queue, packed in found.rows.values():
            for row in _unpacked(packed, part.object):
                key = queue, int(row[0]), int(row[1])
                rows[key] = row
                gone.discard(key)
    return rows, gone


def _unpacked(packed: bytes, path: str) -> list[Row]:
    try:
        rows = msgpack.unpackb(packed)
        return [[*row, 0] if len(row) == FIELDS_MIN else [*row[: len(PART_FIELDS)]] for row in rows]
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise damaged(str(error), path) from error


def damaged(message: str, path: str) -> CorruptionError:
    """Return the error for a catalog whose content makes no sense."""
    return CorruptionError(
        f"a catalog is damaged: {message}", path=path, hint="make it again: chronicle tier rebuild"
    )
