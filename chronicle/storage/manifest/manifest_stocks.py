"""Stocks: what each place holds of each queue, so that ``tier status`` and ``ls`` read no entries.

Rows of the index, kept in the transactions that change entries. Where the first or last entry leaves a place, the
next one there is looked for beside it. ``docs/format/manifest.md`` (Index) is the specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, Final

import msgpack
import xxhash

from chronicle.core.layout import NONE, Kind, SegmentState
from chronicle.core.source import SegmentInfo
from chronicle.storage.codec.archive_layout import Holds
from chronicle.storage.codec.holding import lacks
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest_keys import damaged_entry, generation_key, pack_key, unpack_entry

__all__ = ["Stock", "Stocks", "stocks_of", "whole_of"]

STOCK: Final = b"q"


@dataclass(frozen=True, slots=True)
class Stock:
    """The segments of a queue (one generation and identity) at a place.

    `first` and `last` are the lowest and the highest number of those that have records (NONE: none has); `ts_first`,
    `ts_last` (ts_recv in ns), `base_index` and `end_index` are theirs, because records of a queue never go back in
    time. `gapped` counts those that may hold a GAP record, because they do or because nobody has looked.
    """

    queue: str
    generation: int
    queue_id: str
    place: str
    segments: int
    records: int
    stored_bytes: int
    file_bytes: int
    first: int = NONE
    last: int = NONE
    ts_first: int = NONE
    ts_last: int = NONE
    end_index: int = 0
    base_index: int = NONE
    gapped: int = 0

    def pack(self) -> bytes:
        """Return what a catalog says beside a queue's name and generation, in a home of one identity."""
        data: bytes = msgpack.packb(astuple(self)[_IDENTITY:])
        return data

    @classmethod
    def unpack(cls, queue: str, generation: int, place: str, data: bytes) -> Stock:
        """Return what :meth:`pack` said; what later versions add is left out."""
        return cls(queue, generation, "", place, *map(int, msgpack.unpackb(data)[: len(fields(cls)) - _IDENTITY]))


_IDENTITY: Final = 4
"""Fields before the first number: which queue, generation and identity, at which place."""
_GAPS: Final = frozenset({int(Kind.GAP)})


def whole_of(stocks: Sequence[Stock]) -> SegmentInfo | None:
    """Return all segments of a queue at some places as one, if none is missing between them and none may hold a GAP.

    Its number is that of the last. None where that is not so, or no segment has a record.
    """
    filled = sorted((stock for stock in stocks if stock.first != NONE), key=lambda stock: stock.first)
    if not filled or any(stock.gapped for stock in filled):
        return None
    first, last = filled[0], max(filled, key=lambda stock: stock.last)
    records = sum(stock.records for stock in filled)
    if records != last.end_index - first.base_index:
        return None
    return SegmentInfo(
        queue=first.queue,
        number=last.last,
        generation=first.generation,
        base_index=first.base_index,
        record_count=records,
        ts_first=first.ts_first,
        ts_last=last.ts_last,
        state=SegmentState.SEALED,
        data_bytes=0,
        size_bytes=sum(stock.stored_bytes for stock in filled),
        place=last.place,
        location="",
        holds=int(Holds.KNOWN),
    )


def stocks_of(entries: Iterable[Entry]) -> list[Stock]:
    """Return the stocks of `entries`, by reading all of them."""
    found: dict[bytes, Stock] = {}
    for entry in entries:
        key = _key(entry)
        found[key] = _with(found.get(key), entry)
    return [found[key] for key in sorted(found)]


class Stocks:
    """The rows within one transaction of LMDB.

    Parameters
    ----------
    transaction, index, segments : lmdb objects
        The databases are those of the index and of the entries.
    path : path
        The manifest's, for errors.
    """

    def __init__(self, transaction: Any, index: Any, segments: Any, path: object) -> None:
        self._transaction, self._index, self._segments, self._path = transaction, index, segments, path
        self._rows: dict[bytes, Stock | None] = {}

    def change(self, before: Entry | None, after: Entry | None) -> None:
        """Take an entry out as it was (it may still stand in `segments`), and put it in as it is."""
        if before is not None and after is not None and _counted(before) == _counted(after):
            return
        if before is not None:
            self._remove(before)
        if after is not None:
            key = _key(after)
            self._rows[key] = _with(self._row(key), after)

    def close(self) -> None:
        """Write the rows that changed."""
        for key, row in self._rows.items():
            if row is None:
                self._transaction.delete(key, db=self._index)
            else:
                self._transaction.put(key, msgpack.packb(astuple(row)), db=self._index)
        self._rows = {}

    def clear(self) -> None:
        """Forget what this transaction changed; the index was emptied."""
        self._rows = {}

    def all(self, prefix: str = "") -> Iterator[Stock]:
        """Yield the rows of queues whose names begin with `prefix`, by queue."""
        start = STOCK + prefix.encode("utf-8")
        cursor = self._transaction.cursor(db=self._index)
        if cursor.set_range(start):
            for key, value in cursor:
                if not bytes(key).startswith(start):
                    return
                yield Stock(*msgpack.unpackb(bytes(value)))

    def _row(self, key: bytes) -> Stock | None:
        if key not in self._rows:
            value = self._transaction.get(key, db=self._index)
            self._rows[key] = None if value is None else Stock(*msgpack.unpackb(bytes(value)))
        return self._rows[key]

    def _remove(self, entry: Entry) -> None:
        key = _key(entry)
        row = self._row(key)
        if row is None or row.segments == 1:
            self._rows[key] = None
            return
        row = replace(
            row,
            segments=row.segments - 1,
            records=row.records - entry.record_count,
            stored_bytes=row.stored_bytes - entry.length,
            file_bytes=row.file_bytes - entry.file_bytes,
            gapped=row.gapped - _may_gap(entry),
        )
        if entry.record_count and row.first == row.last:
            row = replace(row, first=NONE, last=NONE, ts_first=NONE, ts_last=NONE, end_index=0, base_index=NONE)
        elif entry.record_count and entry.number == row.first:
            row = _beginning(row, self._nearest(entry, forward=True))
        elif entry.record_count and entry.number == row.last:
            row = _reaching(row, self._nearest(entry, forward=False))
        self._rows[key] = row

    def _nearest(self, entry: Entry, *, forward: bool) -> Entry:
        """Return the entry with records that is nearest to `entry` on one side, of its generation and place.

        Raises
        ------
        CorruptionError
            When there is none, although the row counts one.
        """
        packed, wanted = pack_key(entry.key), _key(entry)
        start = generation_key(entry.queue, entry.generation)
        cursor = self._transaction.cursor(db=self._segments)
        there = cursor.set_range(packed)
        if forward and there and bytes(cursor.key()) == packed:
            there = cursor.next()
        elif not forward:
            there = cursor.prev() if there else cursor.last()
        while there and bytes(cursor.key()).startswith(start):
            found = unpack_entry(bytes(cursor.value()), bytes(cursor.key()), self._path)
            if found.record_count and _key(found) == wanted:
                return found
            there = cursor.next() if forward else cursor.prev()
        raise damaged_entry(f"nothing is left of {entry.queue} at {entry.place}, and the index counts it", self._path)


def _key(entry: Entry) -> bytes:
    words = f"{entry.place}\0{entry.queue_id}"
    return STOCK + generation_key(entry.queue, entry.generation) + xxhash.xxh3_64_digest(words.encode())


def _counted(entry: Entry) -> tuple[object, ...]:
    sums = entry.record_count, entry.length, entry.file_bytes, _may_gap(entry)
    return _key(entry), *sums, entry.ts_first, entry.ts_last, entry.base_index


def _may_gap(entry: Entry) -> bool:
    return entry.record_count > 0 and not lacks(entry.holds, _GAPS)


def _with(row: Stock | None, entry: Entry) -> Stock:
    row = row or Stock(entry.queue, entry.generation, entry.queue_id, entry.place, 0, 0, 0, 0)
    row = replace(
        row,
        segments=row.segments + 1,
        records=row.records + entry.record_count,
        stored_bytes=row.stored_bytes + entry.length,
        file_bytes=row.file_bytes + entry.file_bytes,
        gapped=row.gapped + _may_gap(entry),
    )
    if not entry.record_count:
        return row
    if row.first == NONE or entry.number < row.first:
        row = _beginning(row, entry)
    return _reaching(row, entry) if entry.number > row.last else row


def _beginning(row: Stock, first: Entry) -> Stock:
    return replace(row, first=first.number, ts_first=first.ts_first, base_index=first.base_index)


def _reaching(row: Stock, last: Entry) -> Stock:
    return replace(row, last=last.number, ts_last=last.ts_last, end_index=last.end_index)
