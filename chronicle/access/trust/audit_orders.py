"""Audit of a book of orders: what rests, in order of priority, against the next snapshot and its orders."""

from __future__ import annotations

from chronicle.access.opened.lanes import Lane
from chronicle.access.trust.audit_report import DIFFERENCES_MAX, Audit, AuditDifference
from chronicle.core.layout import Action, Kind
from chronicle.core.records import Record, snapshot_orders
from chronicle.etl.books.order_book import OrderBook

__all__ = ["RebuiltOrders"]

Row = tuple[int, int, int]
"""(order_id, price, size)"""
_SIDES = ("bid", "ask")


class RebuiltOrders:
    """The orders of one lane as its records rebuild them, from the first snapshot or CLEAR on."""

    def __init__(self, found: Audit, lane: Lane) -> None:
        self.known = False
        self._found, self._lane = found, lane
        self._book = OrderBook()

    def define(self, price: int, size: int, depth: int) -> None:
        """Take over a definition; what rests is rescaled."""
        del depth  # orders are never cut to one
        self._book.redefine(price_exponent=price, size_exponent=size)

    def follow(self, records: list[Record]) -> None:
        """Apply an event."""
        snapshot: Record | None = None
        stored: dict[str, list[Row]] = {side: [] for side in _SIDES}
        for record in records:
            if record.kind == Kind.ORDER:
                self.known = self.known or record.fields()["action"] == Action.CLEAR
                self._book.apply(record)
                self._found.deltas += self.known
            elif record.kind == Kind.BOOK_SNAPSHOT:
                snapshot = record
            elif record.kind == Kind.ORDER_SNAPSHOT:
                for side, rows in zip(_SIDES, snapshot_orders(record.body), strict=True):
                    stored[side] += rows
            elif record.kind == Kind.INSTRUMENT:
                fields = record.fields()
                self.define(fields["price_exponent"], fields["size_exponent"], 0)
        if snapshot is not None:
            self._compare(snapshot, stored)
            self._book.clear()
            for side in _SIDES:
                self._book.load(stored[side], side)
            self.known = True

    def _compare(self, snapshot: Record, stored: dict[str, list[Row]]) -> None:
        if not self.known:
            return
        differing: list[AuditDifference] = []
        fields = snapshot.fields()
        bids, asks = self._book.depth(max(self._book.count()) or 1)
        for side, levels in zip(_SIDES, (bids, asks), strict=True):
            rebuilt = self._book.rows(side)
            if rebuilt != stored[side]:
                differing += self._orders(snapshot, side, stored[side], rebuilt)
            told, held = dict(fields[f"{side}s"]), dict(levels)
            differing += [
                self._difference(snapshot, side, price, told.get(price), held.get(price))
                for price in sorted({*told, *held})
                if told.get(price) != held.get(price)
            ]
        self._found.snapshots += 1
        self._found.wrong += bool(differing)
        self._found.differences += differing[: DIFFERENCES_MAX - len(self._found.differences)]

    def _orders(self, snapshot: Record, side: str, stored: list[Row], rebuilt: list[Row]) -> list[AuditDifference]:
        """Return the orders that rest elsewhere or with another size; equal sizes: elsewhere in their queue."""
        told, held = ({number: (price, size) for number, price, size in rows} for rows in (stored, rebuilt))
        wrong = [number for number in {**told, **held} if told.get(number) != held.get(number)]
        if not wrong:
            wrong = [one[0] for one, other in zip(stored, rebuilt, strict=True) if one != other]
        out = []
        for number in wrong:
            sides = [rows.get(number) for rows in (told, held)]
            for price in dict.fromkeys(row[0] for row in sides if row):
                sizes = [row[1] if row and row[0] == price else None for row in sides]
                out.append(self._difference(snapshot, side, price, sizes[0], sizes[1], number))
        return out

    def _difference(
        self,
        snapshot: Record,
        side: str,
        price: int,
        stored: int | None,
        rebuilt: int | None,
        order_id: int | None = None,
    ) -> AuditDifference:
        lane, index, ts = self._lane.number, snapshot.index, snapshot.ts_recv
        return AuditDifference(lane, index, ts, side, price, stored, rebuilt, order_id)
