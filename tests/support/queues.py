"""Builders and naive twins for queue tests."""

from __future__ import annotations

import random
from pathlib import Path

from chronicle.core import EventBuilder, Kind, Queue, Side
from chronicle.core.appender import Appender

SMALL = 64 * 1024


def small_queue(folder: Path, name: str = "q.q", **settings: object) -> Queue:
    """Create a queue of small segments."""
    return Queue.create(folder / name, segment_bytes=SMALL, **settings)  # type: ignore[arg-type]


def event(ts_recv: int, levels: int = 1, *, price: int = 100, source_index: int = 0) -> tuple[bytearray, int]:
    """Return one book event of `levels` deltas."""
    out = EventBuilder()
    out.begin(ts_recv, source_index=source_index, source=1)
    for level in range(levels):
        out.delta(1, Side.BID if level % 2 else Side.ASK, price + level, level, ts_event=ts_recv - 1)
    return out.take()


def append_random(appender: Appender, count: int, seed: int, start_ts: int = 1_000) -> None:
    """Append `count` random events of one to five deltas, and odd records between them."""
    rng = random.Random(seed)
    ts = max(start_ts, appender.last_ts_recv)
    for number in range(count):
        ts += rng.randrange(1000)
        if rng.random() < 0.2:
            body = rng.randbytes(rng.randrange(300))
            index = appender.append(Kind.STATUS, body, ts_recv=ts, instrument=number)
            assert index == appender.next_index - 1
            continue
        data, size = event(ts, rng.randrange(1, 6), price=rng.randrange(1000))
        appender.append_event(data, size)


def contents(queue: Queue) -> list[bytes]:
    """Return the bytes of all records, from the first kept to the last committed."""
    return [bytes(record.data) for record in queue.tailer().drain()]
