"""Seeded raw streams over many instruments, for the ETL's benches: levels, orders, or trades.

Instruments by a Zipf law. Levels: events of 1 to 3 deltas, four in five within 50 ticks of the touch, three in ten
deletions. Orders: events of one record, additions and cancellations in turn around some 40 resting orders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.events import EventBuilder
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Action, Flag, Kind, Origin, Side
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, SnapshotFields

__all__ = ["BOOK", "ORDERS", "TRADES", "write_stream"]

BOOK, ORDERS, TRADES = "book", "orders", "trade"
START_NS = 1_700_000_000_000_000_000
STEP_NS = 20_000
BATCH = 200_000
TOUCH = 10_000
RESTING = 40

Words = NDArray[np.int64]


def write_stream(home: Path, channel: str, count: int, records: int) -> int:
    """Write the stream into ``raw/main.q`` of `home`; return the records before its steady part."""
    generator, opening, ts = np.random.default_rng(count), 0, START_NS
    seen: Words = np.zeros(count + 1, dtype=np.int64)
    with Queue.create(home / "raw/main.q", name="raw/main.q", segment_bytes=256 << 20).appender() as appender:
        for number in range(1, count + 1):
            ts += STEP_NS
            data, taken = _opening(number, channel, ts)
            appender.append_event(data, taken)
            opening += taken
        for first in range(0, records, BATCH):
            words = _batch(generator, min(BATCH, records - first), count, channel, ts, seen)
            ts = int(words[-1, 1])
            append_mixed(appender, words.reshape(-1).view(np.uint64))
    return opening


def _opening(number: int, channel: str, ts: int) -> tuple[bytes, int]:
    out = EventBuilder()
    out.begin(ts, source=1)
    driver = int(Kind.ORDER if channel == ORDERS else Kind.BOOK_DELTA)
    details = {"symbol": f"kraken:S{number:05}-USD", "venue": "kraken"}
    out.instrument(number, InstrumentFields(2, 3, driver=driver, details=details))
    if channel == BOOK:
        levels = [(TOUCH - 1 - step, 5) for step in range(20)], [(TOUCH + 1 + step, 5) for step in range(20)]
        out.snapshot(number, SnapshotFields(*levels, Origin.VENUE), ts_event=ts)
    elif channel == ORDERS:
        out.order(number, 0, 0, 0, 0, action=Action.CLEAR, ts_event=ts)
    else:
        out.trade(number, Side.BID, TOUCH, 1, ts_event=ts)
    data, taken = out.take()
    return bytes(data), taken


def _batch(generator: Any, records: int, count: int, channel: str, ts: int, seen: Words) -> Words:
    """Return records as int64[n, words]: one template with instrument, side, price and size of their own."""
    template = _template(channel)
    words: Words = np.tile(template, (records, 1))
    rank = np.minimum(generator.zipf(1.2, records) - 1, 1 << 40) % count if count > 1 else np.zeros(records, np.int64)
    last = generator.random(records) < (1.0 if channel == ORDERS else 0.6)
    last[-1] = True
    event = np.concatenate(([0], np.cumsum(last)[:-1]))
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    instrument = rank[starts][event].astype(np.int64) + 1
    if channel == ORDERS:
        bid = _orders(words, instrument, seen)
    else:
        bid = _levels(words, generator, trades=channel == TRADES)
    head = int(template[0]) & ~((0xFF << 48) | (0xFF << 56)) & ((1 << 64) - 1)
    sides = np.where(bid, int(Side.BID), int(Side.ASK)).astype(np.uint64)
    flags = np.where(last, int(Flag.LAST), 0).astype(np.uint64)
    words[:, 0] = (np.uint64(head) | flags << np.uint64(48) | sides << np.uint64(56)).view(np.int64)
    words[:, 1] = words[:, 2] = ts + STEP_NS * (1 + event)
    words[:, 4] = template[4] - 1 + instrument
    return words


def _template(channel: str) -> Words:
    out = EventBuilder()
    out.begin(0, source=1)
    if channel == BOOK:
        out.delta(1, Side.BID, 0, 0, ts_event=0)
    elif channel == ORDERS:
        out.order(1, Side.BID, 0, 0, 0, action=Action.ADD, ts_event=0)
    else:
        out.trade(1, Side.BID, 0, 0, ts_event=0)
    return np.frombuffer(bytes(out.take()[0]), dtype=np.int64)


def _levels(words: Words, generator: Any, *, trades: bool) -> NDArray[np.bool_]:
    """Fill in prices and sizes; return which records are of the bid's side."""
    records = len(words)
    bid: NDArray[np.bool_] = generator.random(records) < 0.5
    near = generator.random(records) < 0.8
    distance = 1 + np.where(near, generator.integers(0, 50, records), generator.integers(0, 1000, records))
    words[:, 6] = TOUCH + np.where(bid, -distance, distance)
    sizes = generator.integers(1, 1000, records)
    words[:, 7] = sizes if trades else np.where(generator.random(records) < 0.3, 0, sizes)
    return bid


def _orders(words: Words, instrument: Words, seen: Words) -> NDArray[np.bool_]:
    """Fill in ids, prices, sizes and actions: even numbers of an instrument add, odd ones cancel an old order."""
    order = np.argsort(instrument, kind="stable")
    grouped = instrument[order]
    first = np.searchsorted(grouped, grouped)
    turn = np.empty(len(words), dtype=np.int64)
    turn[order] = seen[grouped] + np.arange(len(words)) - first
    seen += np.bincount(instrument, minlength=len(seen))
    cancels = (turn % 2 == 1) & (turn >= 2 * RESTING)
    number = np.where(cancels, turn - 1 - 2 * RESTING, turn)
    bid: NDArray[np.bool_] = (number >> 1) % 2 == 0
    distance = 1 + (number * 2_654_435_761 >> 8) % 50
    words[:, 6] = number + 1
    words[:, 7] = TOUCH + np.where(bid, -distance, distance)
    words[:, 8] = 1 + number % 100
    words[:, 9] = np.where(cancels, int(Action.CANCEL), int(Action.ADD))
    return bid
