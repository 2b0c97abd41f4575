"""Access: one reader over all places, from the archive's first record to the live end.

The names below load on first use, so that a light command pays only for what it asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronicle.access.book import Book
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


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'chronicle.access' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"chronicle.access.{home}"), name)
