"""Writing a book as a BOOK_SNAPSHOT record of a clean queue, and its orders as ORDER_SNAPSHOT records."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.core import layout
from chronicle.core.layout import NONE, SNAPSHOT_LEVELS_OFFSET, Flag, Kind, Origin
from chronicle.core.records import pack_record
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.books.array_orders import ArrayOrderBook
from chronicle.etl.books.status import BookTrust

__all__ = ["order_records", "orders_words_max", "snapshot_record", "snapshot_words_max"]

ORDERS_MAX: Final = 1 << 19
"""Orders in one ORDER_SNAPSHOT: 12 MiB."""
_ORDER_HEAD_BYTES: Final = layout.HEADER_BYTES + layout.ORDER_SNAPSHOT_BODY.size


def snapshot_record(
    book: ArrayBook | ArrayOrderBook,
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


def order_records(
    book: ArrayOrderBook, *, ts_recv: int, ts_event: int, raw_index: int, ordinal: int, sequence: int, flags: int = 0
) -> list[bytes]:
    """Return the orders of `book` as ORDER_SNAPSHOT records (at least one); `flags` are the last one's."""
    bids, asks = book.order_array("bid"), book.order_array("ask")
    rows: Any = np.concatenate((bids, asks))
    starts = range(0, max(1, len(rows)), ORDERS_MAX)
    records = []
    for number, start in enumerate(starts):
        part = rows[start : start + ORDERS_MAX]
        bid_count = min(max(len(bids) - start, 0), len(part))
        body = layout.ORDER_SNAPSHOT_BODY.pack(bid_count, len(part) - bid_count) + part.tobytes()
        records.append(
            pack_record(
                Kind.ORDER_SNAPSHOT,
                body,
                ts_recv=ts_recv,
                ts_event=ts_event,
                flags=Flag.SNAPSHOT | (flags if number == len(starts) - 1 else 0),
                instrument=1,
                source_index=raw_index,
                ordinal=ordinal + number,
                sequence=sequence,
            )
        )
    return records


def orders_words_max(book: ArrayOrderBook, more: int = 0) -> int:
    """Return the most words that a snapshot of `book`, levels and orders, can take after `more` records."""
    orders = len(book) + more
    levels = (SNAPSHOT_LEVELS_OFFSET >> 3) + 2 * (sum(book.count()) + more)
    return levels + (1 + orders // ORDERS_MAX) * (_ORDER_HEAD_BYTES >> 3) + 3 * orders
