"""The catalog: what a tier's root holds, published beside the data, so that a reader needs only the address.

A pointer object, replaced as a whole, names immutable part objects (:mod:`chronicle.storage.manifest.catalog_parts`),
those of a UTC day of the segments' first ts_recv beside one another, and carries what changed last itself. A
publication (:mod:`chronicle.storage.manifest.catalog_changes`) writes what changed and then the pointer; what it no
longer names is removed an hour later, for readers that still hold the former pointer. All of it can be made again
from the archive objects alone (:mod:`chronicle.storage.manifest.scanning`). ``docs/format/manifest.md`` has the
bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgpack

from chronicle.core.errors import ChronicleError, StateError
from chronicle.storage.manifest.catalog_layout import POINTER_MAGIC, pack_object, unpack_object
from chronicle.storage.manifest.catalog_parts import (
    PARTS_FOLDER,
    Part,
    PartRows,
    damaged,
    put_part,
    read_part,
    row_of,
    unpack_rows,
)
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest_stocks import Stock, stocks_of
from chronicle.storage.stores.stores import Store

__all__ = [
    "CATALOG_NAME",
    "PARTS_FOLDER",
    "Catalog",
    "Part",
    "Pointer",
    "Span",
    "publish_catalog",
    "read_catalog",
    "read_pointer",
]

CATALOG_NAME: Final = "chronicle-catalog.msgpack.zst"
POINTER_VERSION: Final = 3
KEPT_NS: Final = 3600 * 10**9
"""A part stays so long after the pointer ceased to name it."""

Span = tuple[int, int, int, int]
"""First and last ts_recv of a queue's newest generation, that generation, how many entries there are of the queue."""
Told = Mapping[str, Stock | None]
"""What a tier holds of queues' newest generations, to be published; None: nothing is said of a queue."""
Gone = tuple[str, int, int, str]
"""(queue, generation, number, day) of an entry that the parts of that day have, and that is there no more."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a root holds: the home it belongs to, the tier's name and encoding, its segments in key order."""

    home_id: str
    tier: str
    encoding: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the pointer says. `queues` maps each queue to its span; spans of version 2 have no count (-1).

    `parts` are in the order of their days, those of a day oldest first. `fresh` ({queue: packed rows}) and `gone` are
    what changed since the parts were written. `inline` holds the entries of a catalog of version 1, which had no
    parts. `token` names the pointer's version in its store. `history` is the (length, hash) of the home's history of
    moves when it was published. `stocks` has the packed sums of queues' newest generations, where they are told.
    """

    home_id: str
    tier: str
    encoding: str
    sequence: int
    parts: tuple[Part, ...]
    queues: Mapping[str, Span]
    retired: tuple[tuple[str, int], ...] = ()
    history: tuple[int, str] = (0, "")
    fresh: Mapping[str, bytes] = field(default_factory=dict)
    gone: tuple[Gone, ...] = ()
    stocks: Mapping[str, bytes] = field(default_factory=dict)
    inline: tuple[Entry, ...] = ()
    version: int = POINTER_VERSION
    token: str | None = field(default=None, compare=False)

    def fresh_entries(self, queue: str) -> Iterator[Entry]:
        """Yield the entries of a queue that the pointer carries itself."""
        rows = self.fresh.get(queue)
        if rows is not None:
            yield from unpack_rows((queue, rows), self.tier)

    def stock(self, queue: str) -> Stock | None:
        """Return what the root holds of a queue's newest generation, None where the pointer does not say."""
        packed = self.stocks.get(queue)
        if packed is None:
            return None
        try:
            return Stock.unpack(queue, self.queues[queue][2], self.tier, packed)
        except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
            raise damaged(f"its sums of {queue}: {error}", CATALOG_NAME) from error


def publish_catalog(
    store: Store, catalog: Catalog, *, now_ns: int = 0, history: tuple[int, str] = (0, "")
) -> Pointer:
    """Publish all that a root holds; parts of days that did not change are kept.

    Parameters
    ----------
    catalog : Catalog
        All of the root's entries.
    now_ns : int
        The clock; parts that are no longer named are removed an hour later.
    history : (int, str)
        Length and hash of the home's history of moves.

    Raises
    ------
    StateError
        When another home archives into this root, or another agent published meanwhile.
    """
    before = owned_pointer(store, catalog.home_id)
    named = {part.object for part in before.parts} if before is not None else set()
    days: dict[str, list[Entry]] = {}
    for entry in catalog.entries:
        days.setdefault(entry.partition, []).append(entry)
    parts = [
        put_part(store, day, {entry.key: row_of(entry) for entry in days[day]}, named=named) for day in sorted(days)
    ]
    spans = spans_of(catalog.entries)
    newest = [entry for entry in catalog.entries if entry.generation == spans[entry.queue][2]]
    pointer = Pointer(
        catalog.home_id,
        catalog.tier,
        catalog.encoding,
        0,
        tuple(parts),
        spans,
        history=history,
        stocks=with_stocks({}, spans, told_of(stocks_of(newest))),
    )
    return put_pointer(store, pointer, before, now_ns)


def put_pointer(store: Store, pointer: Pointer, before: Pointer | None, now_ns: int) -> Pointer:
    """Replace the pointer `before`; parts that it named and the new one does not are kept for an hour.

    Returns the pointer as it was published, its sequence and what it keeps filled in.
    """
    named = {part.object for part in pointer.parts}
    leaving = dict(before.retired) if before else {}
    for part in before.parts if before else ():
        leaving.setdefault(part.object, now_ns + KEPT_NS)
    due = [name for name, when in leaving.items() if name not in named and when <= now_ns]
    retired = tuple((name, when) for name, when in leaving.items() if name not in named and when > now_ns)
    sequence = 1 if before is None else before.sequence + 1
    published = replace(pointer, sequence=sequence, retired=retired, token=None)
    token = store.replace(CATALOG_NAME, pack_pointer(published), before.token if before else None)
    for name in due:
        store.delete(name)
    return replace(published, token=token)


def told_of(stocks: Iterable[Stock]) -> dict[str, Stock | None]:
    """Return what of stocks at one place can be said by queue: of the newest generation, if that has one identity."""
    found: dict[str, Stock | None] = {}
    generations: dict[str, int] = {}
    for stock in stocks:
        newest = generations.get(stock.queue, -1)
        if stock.generation >= newest:
            found[stock.queue] = stock if stock.generation > newest else None
            generations[stock.queue] = stock.generation
    return found


def with_stocks(before: Mapping[str, bytes], spans: Mapping[str, Span], told: Told) -> dict[str, bytes]:
    """Return what a pointer says of queues, after what is `told` of those that changed."""
    found = {queue: packed for queue, packed in before.items() if queue in spans and queue not in told}
    for queue, stock in told.items():
        if stock is not None and queue in spans and spans[queue][2] == stock.generation:
            found[queue] = stock.pack()
    return found


def spans_of(entries: Iterable[Entry]) -> dict[str, Span]:
    """Return what of each queue the pointer says."""
    spans: dict[str, Span] = {}
    for entry in entries:
        spans[entry.queue] = widened(spans.get(entry.queue), entry)
    return spans


def widened(span: Span | None, entry: Entry, more: int = 1) -> Span:
    """Return a queue's span with an entry taken in, which is one `more` or replaces itself."""
    if span is None:
        return entry.ts_first, entry.ts_last, entry.generation, more
    first, last, generation, count = span
    if entry.generation > generation or last < first:
        first, last, generation = entry.ts_first, entry.ts_last, entry.generation
    elif entry.generation == generation and entry.record_count:
        first, last = min(first, entry.ts_first), max(last, entry.ts_last)
    return first, last, generation, count + more


def owned_pointer(store: Store, home_id: str) -> Pointer | None:
    """Return a root's pointer, after a look at whose it is.

    Raises
    ------
    StateError
        When another home archives into it.
    """
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
    version, payload = unpack_object(found[0], POINTER_MAGIC, (1, 2, 3), path)
    try:
        values = msgpack.unpackb(payload)
        names = str(values["home_id"]), str(values["tier"]), str(values["encoding"])
        if version == 1:
            entries = tuple(Entry.from_dict(item) for item in values["entries"])
            return Pointer(*names, 0, (), spans_of(entries), inline=entries, version=1, token=found[1])
        if (version == POINTER_VERSION) != ("fresh" in values):
            raise ValueError("what its version has is not there")  # noqa: TRY301
        return Pointer(
            *names,
            int(values["sequence"]),
            tuple(Part(*row[:6]) for row in values["parts"]),
            {str(name): _span(row) for name, row in values["queues"].items()},
            tuple((str(name), int(due)) for name, due in values["retired"]),
            (int(values["history"][0]), str(values["history"][1])),
            {str(name): bytes(rows) for name, rows in values.get("fresh", {}).items()},
            tuple((str(row[0]), int(row[1]), int(row[2]), str(row[3])) for row in values.get("gone", ())),
            {str(name): bytes(row[4]) for name, row in values["queues"].items() if len(row) > 4},
            version=version,
            token=found[1],
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise damaged(str(error), path) from error


def _span(row: list[int]) -> Span:
    return int(row[0]), int(row[1]), int(row[2]), int(row[3]) if len(row) > 3 else -1


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
    rows = [(part, read_part(store, part)) for part in pointer.parts]
    queues = {name for _, part in rows for name in part.rows} | set(pointer.fresh)
    for queue in queues:
        entries += entries_of(pointer, queue, rows)
    return Catalog(
        pointer.home_id, pointer.tier, pointer.encoding, tuple(sorted(entries, key=lambda entry: entry.key))
    )


def entries_of(
    pointer: Pointer, queue: str, parts: Iterable[tuple[Part, PartRows]], *, days: Collection[str] | None = None
) -> list[Entry]:
    """Return what parts, in the pointer's order, and the pointer itself say of a queue.

    `days` bounds what the pointer itself adds: those of which `parts` has every part; default all.
    """
    found: dict[tuple[str, int, int], Entry] = {}
    for part, held in parts:
        for key in held.gone.get(queue, ()):
            found.pop((part.partition, *key), None)
        if queue in held.rows:
            for entry in unpack_rows(held.rows[queue], pointer.tier):
                found[part.partition, entry.generation, entry.number] = entry
    for name, generation, number, day in pointer.gone:
        if name == queue:
            found.pop((day, generation, number), None)
    for entry in pointer.fresh_entries(queue):
        if days is None or entry.partition in days:
            found[entry.partition, entry.generation, entry.number] = entry
    return list(found.values())


def pack_pointer(pointer: Pointer) -> bytes:
    """Return the bytes of a pointer."""
    values: dict[str, Any] = {
        "home_id": pointer.home_id,
        "tier": pointer.tier,
        "encoding": pointer.encoding,
        "sequence": pointer.sequence,
        "parts": [
            [part.partition, part.object, part.bytes, part.entries, part.ts_first, part.ts_last]
            for part in pointer.parts
        ],
        "queues": {
            name: (*span, pointer.stocks[name]) if name in pointer.stocks else span
            for name, span in pointer.queues.items()
        },
        "retired": pointer.retired,
        "history": pointer.history,
        "fresh": pointer.fresh,
        "gone": pointer.gone,
    }
    return pack_object(POINTER_MAGIC, POINTER_VERSION, msgpack.packb(values))[0]


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


def part_names(store: Store) -> set[str]:
    """Return the part objects that a root's pointer names or still keeps for readers."""
    pointer = read_pointer(store)
    if pointer is None:
        return set()
    return {part.object for part in pointer.parts} | {name for name, _ in pointer.retired}
