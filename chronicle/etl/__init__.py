"""ETL: raw queues in, clean queues per instrument out; books, gaps, checks, snapshots.

:class:`Book` (by price) and :class:`OrderBook` (by order) are public for live strategies too, and load without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.etl.books.array_book import ArrayBook
    from chronicle.etl.books.array_orders import ArrayOrderBook
    from chronicle.etl.books.book import Book
    from chronicle.etl.books.order_book import Order, OrderBook, Problem
    from chronicle.etl.books.status import BookTrust
    from chronicle.etl.config import EtlConfig
    from chronicle.etl.rebuilding import rebuild
    from chronicle.etl.shards.shard import EtlReport, run_shard

__all__ = [
    "ArrayBook",
    "ArrayOrderBook",
    "Book",
    "BookTrust",
    "EtlConfig",
    "EtlReport",
    "Order",
    "OrderBook",
    "Problem",
    "rebuild",
    "run_shard",
]

_HOMES = {
    "ArrayBook": "books.array_book",
    "ArrayOrderBook": "books.array_orders",
    "Book": "books.book",
    "BookTrust": "books.status",
    "EtlConfig": "config",
    "EtlReport": "shards.shard",
    "Order": "books.order_book",
    "OrderBook": "books.order_book",
    "Problem": "books.order_book",
    "rebuild": "rebuilding",
    "run_shard": "shards.shard",
}

__getattr__ = lazy_names(__name__, _HOMES)
