"""How long a raw record takes to its clean queue: a live shard against a paced writer in another process.

The writer stamps ts_recv right before the append (whose commit word follows within a microsecond), so that the
shard's own ``raw_to_clean`` distribution is raw commit to clean commit. Part of the topic etl, and alone:
``python -m tools.benches.latency``.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, Origin, SequenceRule, Side
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.etl.shards.waiting import SPIN_NS
from tools.benches.figure import Figure, scratch

EVENTS = 5_000
INTERVAL_NS = 1_000_000
"""A thousand book messages a second of three levels each, over ten instruments."""
INSTRUMENTS = 10
RAW = "raw/main.q"
CLEAN = "clean/kraken/a1_eur/book.q"


def run() -> Iterator[Figure]:
    """Yield wake-to-commit figures: p50, p99, and the share that is the shard's own work; then with a shard that
    spins (``--spin``)."""
    for mark, spin_ns in (("", SPIN_NS), ("_spin", 1_000_000_000)):
        with scratch() as home:
            latency = _measure(home, spin_ns)
        for name, part in (("etl.wake_to_commit", "raw_to_clean"), ("etl.window_work", "work")):
            for label in ("p50", "p99"):
                value = latency[part][f"{label}_ns"] / 1000
                yield Figure(f"{name}{mark}_{label}_us", value, "us", latency[part]["count"])


def _measure(home: Path, spin_ns: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with Queue.create(home / RAW, name=RAW).appender() as appender:
        _append(appender, 0, define=True)
        appender.prefault()
        parent, child = multiprocessing.Pipe()
        process = context.Process(target=_shard, args=(str(home), child, spin_ns))
        process.start()
        _warm(appender, home / CLEAN)
        due = time.perf_counter_ns()
        for number in range(EVENTS):
            due += INTERVAL_NS
            while time.perf_counter_ns() < due:
                time.sleep(max(0.0, (due - time.perf_counter_ns() - 200_000) / 1e9))
            _append(appender, number)
        parent.send("stop")
        latency: dict[str, Any] = parent.recv()
        process.join()
    return latency


def _warm(appender: Any, clean: Path) -> None:
    """Write until the shard has compiled and opened everything."""
    for number in range(100_000):
        _append(appender, number, old=True)
        time.sleep(0.01)
        if number % 50 == 49 and clean.is_dir() and Queue.open(clean, name=CLEAN).end_index() > 30:
            return
    raise TimeoutError("the shard wrote nothing")


def _append(appender: Any, number: int, *, define: bool = False, old: bool = False) -> None:
    out = EventBuilder()
    out.begin(max(appender.last_ts_recv, 1 if old or define else time.time_ns()), source_index=NONE, source=1)
    if define:
        for instrument in range(1, INSTRUMENTS + 1):
            symbol = f"kraken:A{instrument}-EUR"
            fields = InstrumentFields(2, 3, sequence_rule=SequenceRule.NONE, details={"symbol": symbol})
            out.instrument(instrument, fields)
            levels = [(100 - place, 5) for place in range(50)], [(101 + place, 5) for place in range(50)]
            out.snapshot(instrument, SnapshotFields(*levels, Origin.VENUE), ts_event=1)
    else:
        for place in range(3):
            out.delta(1 + number % INSTRUMENTS, Side.BID, 100 - place, 1 + number, ts_event=1)
    data, count = out.take()
    appender.append_event(data, count)


def _shard(home: str, pipe: Connection, spin_ns: int) -> None:
    from chronicle.etl import run_shard

    stop = threading.Event()

    def wait() -> None:
        pipe.recv()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    report = run_shard(home, stop=stop, spin_ns=spin_ns)
    pipe.send(report.latency)


if __name__ == "__main__":
    for figure in run():
        print(figure.to_line())
