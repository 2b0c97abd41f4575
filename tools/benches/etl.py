"""From raw records to clean queues, and the book update inside; peers: SortedDict, order-book."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import numpy as np

from chronicle.etl import run_shard
from chronicle.etl.books.array_book import ArrayBook
from tools.benches import candles, latency, orders, peers, races, scale
from tools.benches.books import book_data, start_levels
from tools.benches.figure import Figure, best_ns
from tools.benches.market import Market, markets, suffix, work_folder

REPEATS = 5


def run() -> Iterator[Figure]:
    """Yield the figures."""
    for market in markets("binance", "lobster"):
        yield Figure(f"etl.records_per_s{suffix(market.name)}", _rate(market), "1/s", market.records)
    for market in markets("binance"):
        yield from _update(market)
    yield from orders.run()
    yield from candles.run()
    yield from latency.run()
    yield from scale.run()
    yield from races.run()


def _rate(market: Market) -> float:
    """Return raw records a second from start to sealed clean queues: tail, book, demultiplex, snapshots."""
    target = work_folder() / "etl-target"
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run_shard(market.home, target=target, drain=True)
        times.append(time.perf_counter() - started)
        shutil.rmtree(target)
    return market.records / min(times)


def _update(market: Market) -> Iterator[Figure]:
    data = book_data(market.name)
    first, bids, asks = start_levels(data)
    side, price, size = (data.columns[name][first:] for name in ("side", "price", "size"))
    book = ArrayBook()

    def ours() -> None:
        book.load_arrays(bids, asks)
        book.apply_many(side, price, size)

    ours()
    value = best_ns(ours, REPEATS) / len(price)
    path = work_folder() / f"deltas-{market.name}.npz"
    np.savez(path, side=side, price=price, size=size, bids=bids, asks=asks)
    for name in ("SortedDict", "order-book"):
        answer = peers.ask(name, path)
        label = f"etl.book_update_ns{suffix(market.name)}"
        yield Figure(label, value, "ns", len(price), *((name, answer["value"]) if answer else (None, None)))
