"""ETL: raw queues in, clean queues per instrument out; books, gaps, checks, snapshots.

:class:`Book` is public for live strategies too, and loads without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.etl.array_book import ArrayBook
    from chronicle.etl.book import Book
    from chronicle.etl.config import EtlConfig
    from chronicle.etl.rebuilding import rebuild
    from chronicle.etl.shard import EtlReport, run_shard
    from chronicle.etl.status import BookTrust

__all__ = ["ArrayBook", "Book", "BookTrust", "EtlConfig", "EtlReport", "rebuild", "run_shard"]

_HOMES = {
    "ArrayBook": "array_book",
    "Book": "book",
    "BookTrust": "status",
    "EtlConfig": "config",
    "EtlReport": "shard",
    "rebuild": "rebuilding",
    "run_shard": "shard",
}

__getattr__ = lazy_names(__name__, _HOMES)
