"""Updates of a book of orders (L3); peers on the same events: order-book with a dict of orders, nautilus_trader.

Events: the day of ARL (a thin book) and the first seconds of ESM4 (13,600 orders) where the shared captures are
there; always a seeded flow around 20,000 resting orders, of which nine in ten rest within 300 ticks of the touch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chronicle.core.events import EventBuilder
from chronicle.core.layout import ORDER_BYTES, Action, Kind, Side
from chronicle.etl.books.array_orders import ArrayOrderBook
from chronicle.feed.captures import open_capture
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for
from tools.benches import peers
from tools.benches.figure import Figure, best_ns
from tools.benches.market import shared_data, work_folder

Words = NDArray[np.int64]

WORDS = ORDER_BYTES >> 3
REPEATS = 7
PEERS = ("order-book-l3", "nautilus-l3", "hftbacktest-l3-vector", "hftbacktest-l3-hash")
FLOW = 300_000
LIVE = 20_000
CAPTURES = {
    "arl": ("databento-mbo-mbp10/ARL_2025-07-17_mbo.csv.zst", 20),
    "esm4": ("databento/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst", 8),
}
"""File, and how often it is played over: each begins with a CLEAR."""


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _measure("etl.book_l3_update_ns", _flow())
    folder = shared_data()
    for name, (file, times) in CAPTURES.items():
        if folder is not None and (folder / file).exists():
            yield from _measure(f"etl.book_l3_update_ns_{name}", np.tile(_captured(folder / file), (times, 1)))


def _measure(label: str, rows: Words) -> Iterator[Figure]:
    words, starts = rows.reshape(-1), np.arange(len(rows) + 1, dtype=np.int64) * WORDS

    def ours() -> ArrayOrderBook:
        book = ArrayOrderBook()
        book.apply_records(words, starts, 0, len(rows))
        return book

    if ours().problems:
        raise AssertionError("the events of a bench contradict themselves")
    value = best_ns(ours, REPEATS) / len(rows)
    path = work_folder() / f"{label}.npy"
    np.save(path, np.column_stack(((rows[:, 0] >> 56) & 0xFF, rows[:, 6:9], rows[:, 9] & 0xFF)))
    for name in PEERS:
        answer = peers.ask(name, path)
        yield Figure(label, value, "ns", len(rows), *((name, answer["value"]) if answer else (None, None)))


def _captured(path: Path) -> Words:
    """Return the ORDER records of a capture, int64[n, 10]."""
    capture, out = open_capture([path]), EventBuilder()
    adapter, parts = adapter_for("dbn", InstrumentRegistry()), []
    for frame in capture.frames():
        out.begin(frame.ts_recv)
        adapter.decode(frame, out)
        data, _ = out.take()
        words, at = np.frombuffer(data, dtype=np.int64), 0
        while at < len(words):
            size = (int(words[at]) & 0xFFFFFFFF) >> 3
            if (int(words[at]) >> 32) & 0xFFFF == Kind.ORDER:
                parts.append(words[at : at + size])
            at += size
    return np.stack(parts)


def _flow() -> Words:
    """Return a seeded flow: adds, cancels, partial cancels and modifications, the younger orders the likelier."""
    chance = random.Random(7)
    rows: Words = np.zeros((FLOW, WORDS), dtype=np.int64)
    rows[:, 0] = ORDER_BYTES | int(Kind.ORDER) << 32
    resting: list[list[int]] = []
    middle, order_id = 500_000, 0
    for row in rows:
        if chance.random() < 0.02:
            middle += chance.choice((-1, 1))
        if len(resting) < LIVE * chance.uniform(0.9, 1.1) and chance.random() < 0.9:
            side = chance.choice((int(Side.BID), int(Side.ASK)))
            away = int(chance.expovariate(1 / 130))
            order_id += chance.randint(1, 9)
            price = (middle - away if side == Side.BID else middle + 1 + away) * 100
            order = [order_id, side, price, chance.randint(1, 500)]
            resting.append(order)
            row[6:10] = (*(order[0], order[2], order[3]), int(Action.ADD))
        else:
            place = max(0, len(resting) - 1 - int(chance.expovariate(3 / len(resting))))
            order, kind = resting[place], chance.random()
            if kind < 0.8 or order[3] < 2:
                row[6:10] = (order[0], order[2], order[3], int(Action.CANCEL))
                resting[place] = resting[-1]
                resting.pop()
            elif kind < 0.9:
                taken = chance.randint(1, order[3] - 1)
                row[6:10] = (order[0], order[2], taken, int(Action.CANCEL))
                order[3] -= taken
            else:
                order[2:] = [order[2] + chance.choice((-100, 0, 100)), chance.randint(1, 500)]
                row[6:10] = (order[0], order[2], order[3], int(Action.MODIFY))
        row[0] |= order[1] << 56
    return rows
