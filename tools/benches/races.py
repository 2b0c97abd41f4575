"""Redundant lines: raw records a second where two lines bring the same messages, and where one line brings them.

Books whose venue numbers its messages (Binance's rule) and trades with ids, 100 instruments; the second line is some
forty messages behind the first. A message is one delta or one trade. The peer is the stream of one line: what the
race costs is the difference for a raw record.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.events import EventBuilder
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Origin, SequenceRule, Side
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, SnapshotFields
from chronicle.etl import EtlConfig, run_shard
from tools.benches.figure import Figure
from tools.benches.market import work_folder

INSTRUMENTS = 100
MESSAGES = 300_000
BEHIND = 40
REPEATS = 2
START_NS, STEP_NS = 1_700_000_000_000_000_000, 20_000
TOUCH = 10_000

Words = NDArray[np.int64]


def run() -> Iterator[Figure]:
    """Yield the figures."""
    rates = {(trades, lines): _rate(trades=trades, lines=lines) for trades in (False, True) for lines in (1, 2)}
    for trades, mark in ((False, ""), (True, "_trades")):
        figure = rates[trades, 2]
        yield Figure(
            f"etl.race_records_per_s{mark}", figure, "1/s", 2 * MESSAGES, "the same by one line", rates[trades, 1]
        )


def _rate(*, trades: bool, lines: int) -> float:
    home = work_folder() / f"race-{trades}-{lines}"
    records = write_lines(home, lines, trades=trades)
    best = 0.0
    for _ in range(REPEATS):
        target = work_folder() / "race-target"
        started = time.perf_counter()
        run_shard(home, target=target, drain=True, config=EtlConfig(candles=()))
        best = max(best, records / (time.perf_counter() - started))
        shutil.rmtree(target)
    shutil.rmtree(home)
    return best


def write_lines(home: Path, lines: int, *, trades: bool) -> int:
    """Write ``raw/main.q`` of `home`: definitions and snapshots, then the messages; return the records."""
    with Queue.create(home / "raw/main.q", name="raw/main.q", segment_bytes=256 << 20).appender() as appender:
        out, count = EventBuilder(), 0
        for number in range(1, INSTRUMENTS + 1):
            details = {"symbol": f"binance:S{number:05}-USDT", "venue": "binance"}
            rule = int(SequenceRule.BINANCE_SPOT)
            out.begin(START_NS + number, source=1)
            out.instrument(number, InstrumentFields(2, 3, sequence_rule=rule, details=details))
            levels = [(TOUCH - 1 - step, 5) for step in range(20)], [(TOUCH + 1 + step, 5) for step in range(20)]
            out.snapshot(number, SnapshotFields(*levels, Origin.VENUE), ts_event=1, sequence=0)
            data, taken = out.take()
            appender.append_event(bytes(data), taken)
            count += taken
        words = _messages(lines, trades=trades)
        append_mixed(appender, words.reshape(-1).view(np.uint64))
    return count + len(words)


def _messages(lines: int, *, trades: bool) -> Words:
    out, generator = EventBuilder(), np.random.default_rng(3)
    out.begin(0, source=1)
    if trades:
        out.trade(1, Side.BID, TOUCH, 1, ts_event=0, trade_id=0)
    else:
        out.delta(1, Side.BID, 0, 0, ts_event=0, sequence=0, sequence_first=0)
    template: Any = np.frombuffer(bytes(out.take()[0]), dtype=np.int64)
    words: Words = np.tile(template, (MESSAGES, 1))
    instrument = 1 + generator.integers(0, INSTRUMENTS, MESSAGES)
    order = np.argsort(instrument, kind="stable")
    grouped = instrument[order]
    number = np.empty(MESSAGES, dtype=np.int64)
    number[order] = 1 + np.arange(MESSAGES) - np.searchsorted(grouped, grouped)
    words[:, 4] = template[4] - 1 + instrument
    words[:, 6] = TOUCH - 1 - generator.integers(0, 50, MESSAGES)
    words[:, 7] = generator.integers(1, 1000, MESSAGES)
    words[:, 8] = number
    if not trades:
        words[:, 5] = number
    if lines == 1:
        both = words
    else:
        second = words.copy()
        second[:, 4] += 1 << 32
        both = np.concatenate((words, second))
        both = both[np.argsort(np.concatenate((np.arange(MESSAGES), np.arange(MESSAGES) + BEHIND)), kind="stable")]
    both[:, 1] = both[:, 2] = START_NS + INSTRUMENTS + STEP_NS * (1 + np.arange(len(both)))
    return both
