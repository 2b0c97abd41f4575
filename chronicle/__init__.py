"""Chronicle: capture, refine, keep and query market data as one stream.

The names below load on first use, so that ``import chronicle`` costs nothing that a caller does not need.

Examples
--------
>>> import chronicle
>>> store = chronicle.open("chronicle-data")                                  # doctest: +SKIP
>>> book = store.book("kraken:BTC-EUR", at="2026-11-21T10:00:00Z", depth=10)  # doctest: +SKIP
>>> book.status                                                               # doctest: +SKIP
'ok'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.access import AsyncStore, Book, Store, aopen, open
    from chronicle.core.errors import ChronicleError

__version__ = "0.1.0"
__all__ = ["AsyncStore", "Book", "ChronicleError", "Store", "__version__", "aopen", "open"]

_HOMES = {
    "AsyncStore": "chronicle.access",
    "Book": "chronicle.access",
    "Store": "chronicle.access",
    "aopen": "chronicle.access",
    "open": "chronicle.access",
    "ChronicleError": "chronicle.core.errors",
}

__getattr__ = lazy_names(__name__, _HOMES)
