"""ETL: raw queues in, clean queues per instrument out; books, gaps, checks, snapshots.

:class:`Book` (by price) and :class:`OrderBook` (by order) are public for live strategies too, and load without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.etl.array_book import ArrayBook
    from chronicle.etl.array_orders import ArrayOrderBook
    from chronicle.etl.book import Book
    from chronicle.etl.config import EtlConfig
    from chronicle.etl.order_book import Order, OrderBook, Problem
    from chronicle.etl.rebuilding import rebuild
    from chronicle.etl.shard import EtlReport, run_shard
    from chronicle.etl.status import BookTrust

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
    "ArrayBook": "array_book",
    "ArrayOrderBook": "array_orders",
    "Book": "book",
    "BookTrust": "status",
    "EtlConfig": "config",
    "EtlReport": "shard",
    "Order": "order_book",
    "OrderBook": "order_book",
    "Problem": "order_book",
    "rebuild": "rebuilding",
    "run_shard": "shard",
}

__getattr__ = lazy_names(__name__, _HOMES)
