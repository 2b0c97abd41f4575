"""A catalog published anew from what changed: each publication costs what it tells, not what is there already.

What changed goes into the pointer itself. Once that is much, it becomes parts, one for each day. A new part of a day
takes in the newest parts of that day that are less than four times its size (a log-structured merge tree; O'Neil and
others, "The Log-Structured Merge-Tree", Acta Informatica 33, 1996), so that a day of N entries has about log4(N /
256) parts, and an entry is written again about four times as often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from chronicle.storage.manifest.catalog import Gone, Pointer, Span, Told, put_pointer, widened, with_stocks
from chronicle.storage.manifest.catalog_parts import Key, Part, Row, merged, pack_rows, put_part, row_of
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest_stocks import Stock
from chronicle.storage.stores.stores import Store

__all__ = ["Change", "publish_changes"]

FRESH_MAX: Final = 256
"""So many entries and removals the pointer carries itself: about 20 KB."""
FACTOR: Final = 4


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a segment in a tier since the last publication.

    `was_day` is the day under which the catalog has it ("": it has it not), `entry` what it is now, None where it is
    in this tier no more.
    """

    key: Key
    was_day: str
    entry: Entry | None


def publish_changes(
    store: Store,
    before: Pointer,
    changes: Iterable[Change],
    *,
    encoding: str,
    now_ns: int,
    history: tuple[int, str] = (0, ""),
    told: Told | None = None,
) -> Pointer:
    """Publish a root's catalog: that of `before` (of version 3), with `changes` made.

    `told` has the sums of the queues that changed; without them nothing is said of these.

    Raises
    ------
    StateError
        When another agent published meanwhile.
    """
    fresh = {entry.key: entry for queue in before.fresh for entry in before.fresh_entries(queue)}
    gone: set[Gone] = set(before.gone)
    spans: dict[str, Span] = dict(before.queues)
    sums: dict[str, Stock | None] = {}
    for change in changes:
        sums[change.key[0]] = None if told is None else told.get(change.key[0])
        fresh.pop(change.key, None)
        if change.was_day and (change.entry is None or change.entry.partition != change.was_day):
            gone.add((*change.key, change.was_day))
        if change.entry is not None:
            fresh[change.key] = change.entry
            gone.discard((*change.key, change.entry.partition))
        _count(spans, change)
    parts = before.parts
    if len(fresh) + len(gone) > FRESH_MAX:
        parts = _flushed(store, parts, fresh.values(), gone)
        fresh, gone = {}, set()
    pointer = replace(
        before,
        encoding=encoding,
        parts=parts,
        queues=spans,
        history=history,
        fresh=pack_rows(fresh.values()),
        gone=tuple(sorted(gone)),
        stocks=with_stocks(before.stocks, spans, sums),
    )
    return put_pointer(store, pointer, before, now_ns)


def _count(spans: dict[str, Span], change: Change) -> None:
    """Take a change into its queue's span, which may stay wider than what is there."""
    queue = change.key[0]
    if change.entry is not None:
        spans[queue] = widened(spans.get(queue), change.entry, 0 if change.was_day else 1)
    elif change.was_day and queue in spans:
        first, last, generation, count = spans[queue]
        spans[queue] = first, last, generation, count - 1
        if count <= 1:
            del spans[queue]


def _flushed(store: Store, parts: tuple[Part, ...], fresh: Iterable[Entry], gone: Iterable[Gone]) -> tuple[Part, ...]:
    """Return the parts with what the pointer carried written beside them, day by day."""
    days: dict[str, list[Part]] = {}
    for part in parts:
        days.setdefault(part.partition, []).append(part)
    rows: dict[str, dict[Key, Row]] = {}
    left: dict[str, set[Key]] = {}
    for entry in fresh:
        rows.setdefault(entry.partition, {})[entry.key] = row_of(entry)
    for queue, generation, number, day in gone:
        left.setdefault(day, set()).add((queue, generation, number))
    for day in rows.keys() | left.keys():
        kept = days.setdefault(day, [])
        kept += _grown(store, day, kept, rows.get(day, {}), left.get(day, set()))
    return tuple(part for day in sorted(days) for part in days[day])


def _grown(store: Store, day: str, kept: list[Part], rows: dict[Key, Row], gone: set[Key]) -> list[Part]:
    """Return the new part of a day (none: nothing is left), and take from `kept` those that went into it."""
    taken: list[Part] = []
    size = len(rows) + len(gone)
    while kept and kept[-1].entries < FACTOR * size:
        size += kept[-1].entries
        taken.insert(0, kept.pop())
    older, absent = merged(store, taken)
    for key in gone:
        older.pop(key, None)
    older |= rows
    if not kept:
        absent, gone = set(), set()  # there is nothing below that they could be taken out of
    left = (absent | gone) - older.keys()
    if not older and not left:
        return []
    return [put_part(store, day, older, left, below=kept, named={part.object for part in taken})]
