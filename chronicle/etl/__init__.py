"""ETL: raw queues in, clean queues per instrument out; books, gaps, checks, snapshots.

:class:`Book` is public for live strategies too, and loads without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562): a short seek needs the book and no kernel."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'chronicle.etl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"chronicle.etl.{home}"), name)
