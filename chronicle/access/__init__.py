"""Access: one reader over all places, from the archive's first record to the live end.

The names below load on first use, so that a light command pays only for what it asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.access.books.best import Best
    from chronicle.access.books.book import Book, BookOrder
    from chronicle.access.books.books import Books
    from chronicle.access.books.many import ManyBooks
    from chronicle.access.formats.export import Exported, ExportJob
    from chronicle.access.opened.catalog import Coverage, Instrument
    from chronicle.access.ranges.partitions import Partition, to_dask
    from chronicle.access.ranges.replay import Event, Replay
    from chronicle.access.ranges.scan import Scan
    from chronicle.access.serving.aio import AsyncStore, aopen
    from chronicle.access.sql.sql import Answer
    from chronicle.access.store import Store, open
    from chronicle.access.trust.audit import Audit
    from chronicle.access.trust.explain import Explanation
    from chronicle.access.trust.gaps import Gap
    from chronicle.access.trust.quality import Quality

__all__ = [
    "Answer",
    "AsyncStore",
    "Audit",
    "Best",
    "Book",
    "BookOrder",
    "Books",
    "Coverage",
    "Event",
    "Explanation",
    "ExportJob",
    "Exported",
    "Gap",
    "Instrument",
    "ManyBooks",
    "Partition",
    "Quality",
    "Replay",
    "Scan",
    "Store",
    "aopen",
    "open",
    "to_dask",
]

_HOMES = {
    "Answer": "sql.sql",
    "AsyncStore": "serving.aio",
    "Audit": "trust.audit",
    "Best": "books.best",
    "Book": "books.book",
    "BookOrder": "books.book",
    "Books": "books.books",
    "Coverage": "opened.catalog",
    "Event": "ranges.replay",
    "Explanation": "trust.explain",
    "ExportJob": "formats.export",
    "Exported": "formats.export",
    "Gap": "trust.gaps",
    "Instrument": "opened.catalog",
    "ManyBooks": "books.many",
    "Partition": "ranges.partitions",
    "Quality": "trust.quality",
    "Replay": "ranges.replay",
    "Scan": "ranges.scan",
    "Store": "store",
    "aopen": "serving.aio",
    "open": "store",
    "to_dask": "ranges.partitions",
}

__getattr__ = lazy_names(__name__, _HOMES)
