"""Ladder: one book and its trust, as the records of its clean queue are applied in plain Python.

It serves short seeks, where loading the kernels would cost more than the replay; ``kernels/books.py`` does the same
for long ones, and the tests hold the two against one another.
"""

from __future__ import annotations

from chronicle.core import layout
from chronicle.core.layout import (
    HEADER_BYTES,
    INT64_MAX,
    INT64_MIN,
    NONE,
    BookStatus,
    GapState,
    Kind,
    Origin,
    SequenceRule,
    StatusCode,
    Verdict,
    VerifiedBy,
)
from chronicle.core.records import InstrumentFields, Record, SnapshotFields
from chronicle.etl.book import Book as Levels

__all__ = ["DRIVING_KINDS", "LOST_CODES", "Ladder", "drives"]

DRIVING_KINDS = frozenset({Kind.BOOK_DELTA, Kind.ORDER, Kind.BOOK_SNAPSHOT})
LOST_CODES = frozenset(
    {StatusCode.DISCONNECTED, StatusCode.HEARTBEAT_LOST, StatusCode.UNSUBSCRIBED, StatusCode.CAPTURE_END}
)
"""STATUS codes after which the book is no longer fed."""


def drives(record: Record) -> bool:
    """Return whether `record` is of the venue's making and changes (or restates) the book."""
    if record.kind == Kind.BOOK_SNAPSHOT:
        return record.data[HEADER_BYTES + 8] == Origin.VENUE
    return record.kind in DRIVING_KINDS


class Ladder:
    """One book: levels, trust, and the last event that was applied.

    Attributes
    ----------
    definition : InstrumentFields or None
        Exponents and rules in force.
    levels : chronicle.etl.Book
        The levels, as mantissas of the definition's exponents.
    status : int
        Trust as the stream states it, before ``crossed`` is looked at (:class:`BookStatus`).
    verified_by, last_good_ts : int
        As in BOOK_SNAPSHOT.
    snapshot_ts : int
        ts_recv of the snapshot that the levels rest on; NONE before the first.
    last : Record or None
        The last driving record that was applied.
    deltas : int
        BOOK_DELTA records applied.
    """

    __slots__ = ("definition", "deltas", "last", "last_good_ts", "levels", "snapshot_ts", "status", "verified_by")

    def __init__(self, definition: InstrumentFields | None = None) -> None:
        self.levels = Levels()
        self.status: int = BookStatus.UNVERIFIED
        self.verified_by: int = VerifiedBy.NOTHING
        self.last_good_ts = NONE
        self.snapshot_ts = NONE
        self.last: Record | None = None
        self.deltas = 0
        self.definition: InstrumentFields | None = None
        if definition is not None:
            self.define(definition)

    def define(self, definition: InstrumentFields) -> None:
        """Take a definition; the levels are restated by the snapshot that follows a redefinition."""
        self.definition = definition
        self.levels.price_exponent = definition.price_exponent
        self.levels.size_exponent = definition.size_exponent
        self.levels.book_depth = definition.book_depth

    def load(self, record: Record) -> None:
        """Replace the levels by those of a BOOK_SNAPSHOT, and take its word on trust."""
        fields = SnapshotFields.unpack(record.body)
        self.levels.load(fields.bids, fields.asks, bid_floor=fields.bid_floor, ask_ceiling=fields.ask_ceiling)
        self.snapshot_ts = record.ts_recv
        if fields.origin == Origin.VENUE:
            rule = SequenceRule.NONE if self.definition is None else self.definition.sequence_rule
            self.status = BookStatus.OK
            self.verified_by = VerifiedBy.SEQUENCE if rule != SequenceRule.NONE else VerifiedBy.NOTHING
            self.last_good_ts = record.ts_recv
            return
        self.status = BookStatus.OK if fields.status == BookStatus.CROSSED else fields.status
        self.verified_by, self.last_good_ts = fields.verified_by, fields.last_good_ts

    def apply(self, record: Record) -> None:
        """Apply one record of a clean book queue."""
        kind = record.kind
        if kind == Kind.BOOK_DELTA:
            price, size, _, _ = layout.BOOK_DELTA_BODY.unpack_from(record.data, HEADER_BYTES)
            self.levels.apply(record.side, price, size)
            self.deltas += 1
            self.last = record
        elif kind == Kind.BOOK_SNAPSHOT:
            self.load(record)
            if drives(record):
                self.last = record
        elif kind == Kind.ORDER:
            self.last = record
        elif kind == Kind.INSTRUMENT:
            self.define(InstrumentFields.unpack(record.body))
        elif kind == Kind.CHECK:
            self._judge_check(record)
        elif kind == Kind.GAP:
            values = layout.GAP_BODY.unpack_from(record.data, HEADER_BYTES)
            if values[1] == GapState.OPEN:
                self.status = BookStatus.GAP
        elif kind == Kind.STATUS:
            code, _ = layout.STATUS_BODY.unpack_from(record.data, HEADER_BYTES)
            if code in LOST_CODES and self.status == BookStatus.OK:
                self.status = BookStatus.STALE
        if record.is_last:
            self.levels.truncate()

    def _judge_check(self, record: Record) -> None:
        _, verdict, _, _ = layout.CHECK_BODY.unpack_from(record.data, HEADER_BYTES)
        if verdict == Verdict.FAILED:
            self.status = BookStatus.GAP
        elif verdict == Verdict.PASSED:
            self.verified_by = VerifiedBy.CHECKSUM

    def complete_range(self) -> tuple[int | None, int | None]:
        """Return the price mantissas between which the book is complete; None without bound."""
        floor, ceiling = self.levels.bid_floor, self.levels.ask_ceiling
        return None if floor == INT64_MIN else floor, None if ceiling == INT64_MAX else ceiling
