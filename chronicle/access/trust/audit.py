"""Audit: rebuild each book from snapshot to snapshot, in plain Python, and compare it with the next one.

A snapshot of the ETL follows from the records before it, so it must be what they rebuild: a difference is a mistake
of ours, or bytes that changed. A venue's snapshot may differ: that tells what was missed or mended, and only counts.
"""

from __future__ import annotations

from typing import Any

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import Lane, lanes_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.events import LaneEvents
from chronicle.access.trust.audit_orders import RebuiltOrders
from chronicle.access.trust.audit_report import DIFFERENCES_MAX, Audit, AuditDifference
from chronicle.core.layout import Kind, Origin
from chronicle.core.records import Record
from chronicle.etl.books.book import Book

__all__ = ["Audit", "AuditDifference", "audit_of"]


def audit_of(shelf: Shelf, symbol: str, start: int | None, end: int | None) -> Audit:
    """Audit the snapshots of `symbol` (canonical) in [start, end), lane by lane; the first has no book before it."""
    found = Audit(symbol)
    for lane in lanes_of(shelf, symbol, "book", fresh=True):
        infos = [
            info
            for info in shelf.segments(lane.queue, fresh=True)
            if (start is None or info.ts_last >= start) and (end is None or info.ts_first < end)
        ]
        if not infos:
            continue
        offset, index, _ = shelf.open(infos[0]).span(start, None)
        walk = LaneEvents(shelf, infos, 0, offset, index, Cost())
        rebuilt: _Rebuilt | RebuiltOrders = _Rebuilt(found, lane)
        definition = shelf.open(infos[0]).definition_at(offset)
        if definition is not None and definition.driver == Kind.ORDER:
            rebuilt = RebuiltOrders(found, lane)
        if definition is not None:
            rebuilt.define(definition.price_exponent, definition.size_exponent, definition.book_depth)
        for records in walk:
            if end is not None and records[0].ts_recv >= end:
                break
            if walk.hole:
                rebuilt.known = False
            rebuilt.follow(records)
    return found


class _Rebuilt:
    """The book of one lane as its records rebuild it."""

    def __init__(self, found: Audit, lane: Lane) -> None:
        self.known = False
        self._found, self._lane = found, lane
        self._book = Book()

    def define(self, price: int, size: int, depth: int) -> None:
        """Take over a definition; levels are rescaled."""
        self._book.redefine(price_exponent=price, size_exponent=size, book_depth=depth)

    def follow(self, records: list[Record]) -> None:
        """Apply an event."""
        for record in records:
            if record.kind == Kind.BOOK_DELTA:
                fields = record.fields()
                self._book.apply(record.side, fields["price"], fields["size"])
                self._found.deltas += self.known
            elif record.kind == Kind.BOOK_SNAPSHOT:
                self._snapshot(record, record.fields())
            elif record.kind == Kind.INSTRUMENT:
                fields = record.fields()
                self.define(fields["price_exponent"], fields["size_exponent"], fields["book_depth"])
        self._book.truncate()

    def _snapshot(self, record: Record, fields: dict[str, Any]) -> None:
        levels = {"bid": dict(fields["bids"]), "ask": dict(fields["asks"])}
        if self.known:
            bids, asks = self._book.depth(max(self._book.count()) or 1)
            differing = self._differences(record, levels, {"bid": dict(bids), "ask": dict(asks)})
            if fields["origin"] == Origin.ETL:
                self._found.snapshots += 1
                self._found.wrong += bool(differing)
                self._found.differences += differing[: DIFFERENCES_MAX - len(self._found.differences)]
            else:
                self._found.venue_snapshots += 1
                self._found.venue_differing += bool(differing)
        self._book.load(
            fields["bids"], fields["asks"], bid_floor=fields["bid_floor"], ask_ceiling=fields["ask_ceiling"]
        )
        self.known = True

    def _differences(
        self, record: Record, stored: dict[str, dict[int, int]], rebuilt: dict[str, dict[int, int]]
    ) -> list[AuditDifference]:
        if stored == rebuilt:
            return []
        return [
            AuditDifference(
                self._lane.number,
                record.index,
                record.ts_recv,
                side,
                price,
                stored[side].get(price),
                rebuilt[side].get(price),
            )
            for side in ("bid", "ask")
            for price in sorted({*stored[side], *rebuilt[side]})
            if stored[side].get(price) != rebuilt[side].get(price)
        ]
