"""Access: one reader over all places, from the archive's first record to the live end.

The names below load on first use, so that a light command pays only for what it asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.access.aio import AsyncStore, aopen
    from chronicle.access.audit import Audit
    from chronicle.access.best import Best
    from chronicle.access.book import Book, BookOrder
    from chronicle.access.books import Books
    from chronicle.access.catalog import Coverage, Instrument
    from chronicle.access.explain import Explanation
    from chronicle.access.export import Exported, ExportJob
    from chronicle.access.gaps import Gap
    from chronicle.access.many import ManyBooks
    from chronicle.access.partitions import Partition, to_dask
    from chronicle.access.quality import Quality
    from chronicle.access.replay import Event, Replay
    from chronicle.access.scan import Scan
    from chronicle.access.sql import Answer
    from chronicle.access.store import Store, open

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
    "Answer": "sql",
    "AsyncStore": "aio",
    "Audit": "audit",
    "Best": "best",
    "Book": "book",
    "BookOrder": "book",
    "Books": "books",
    "Coverage": "catalog",
    "Event": "replay",
    "Explanation": "explain",
    "ExportJob": "export",
    "Exported": "export",
    "Gap": "gaps",
    "Instrument": "catalog",
    "ManyBooks": "many",
    "Partition": "partitions",
    "Quality": "quality",
    "Replay": "replay",
    "Scan": "scan",
    "Store": "store",
    "aopen": "aio",
    "open": "store",
    "to_dask": "partitions",
}

__getattr__ = lazy_names(__name__, _HOMES)
