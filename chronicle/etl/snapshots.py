"""Writing a book as a BOOK_SNAPSHOT record of a clean queue."""

from __future__ import annotations

from chronicle.core.layout import NONE, SNAPSHOT_LEVELS_OFFSET, Flag, Kind, Origin
from chronicle.core.records import pack_record
from chronicle.etl.array_book import ArrayBook
from chronicle.etl.status import BookTrust

__all__ = ["snapshot_record", "snapshot_words_max"]


def snapshot_record(
    book: ArrayBook,
    trust: BookTrust,
    *,
    ts_recv: int,
    ts_event: int,
    raw_index: int,
    ordinal: int,
    sequence: int,
    last_good_ts: int,
    origin: int = Origin.ETL,
    flags: int = 0,
) -> bytes:
    """Return the record of `book` as it is trusted now.

    `last_good_ts` is stored as given, or that of the open gap while there is one.
    """
    body = book.snapshot_body(
        origin=origin,
        status=trust.status(crossed=book.crossed()),
        verified_by=trust.verified_by,
        last_good_ts=trust.last_good_ts if trust.in_gap and trust.last_good_ts != NONE else last_good_ts,
    )
    return pack_record(
        Kind.BOOK_SNAPSHOT,
        body,
        ts_recv=ts_recv,
        ts_event=ts_event,
        flags=Flag.SNAPSHOT | flags,
        instrument=1,
        source_index=raw_index,
        ordinal=ordinal,
        sequence=sequence,
    )


def snapshot_words_max(book: ArrayBook, more_levels: int = 0) -> int:
    """Return the most words a snapshot of `book` can take after `more_levels` updates."""
    return (SNAPSHOT_LEVELS_OFFSET >> 3) + 2 * (int(book.counts.sum()) + more_levels)
