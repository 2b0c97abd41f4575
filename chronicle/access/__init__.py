"""Access: one reader over all places, from the archive's first record to the live end.

The names below load on first use, so that a light command pays only for what it asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.access.book import Book, BookOrder
    from chronicle.access.books import Books
    from chronicle.access.catalog import Coverage, Instrument
    from chronicle.access.explain import Explanation
    from chronicle.access.gaps import Gap
    from chronicle.access.quality import Quality
    from chronicle.access.replay import Event
    from chronicle.access.scan import Scan
    from chronicle.access.store import Store, open

__all__ = [
    "Book",
    "BookOrder",
    "Books",
    "Coverage",
    "Event",
    "Explanation",
    "Gap",
    "Instrument",
    "Quality",
    "Scan",
    "Store",
    "open",
]

_HOMES = {
    "Book": "book",
    "BookOrder": "book",
    "Books": "books",
    "Coverage": "catalog",
    "Event": "replay",
    "Explanation": "explain",
    "Gap": "gaps",
    "Instrument": "catalog",
    "Quality": "quality",
    "Scan": "scan",
    "Store": "store",
    "open": "store",
}

__getattr__ = lazy_names(__name__, _HOMES)
