"""The whole ETL over many instruments: records a second, where the time goes, and how much memory it takes.

A seeded stream of L2 events (1 to 3 deltas each, four in five within 50 ticks of the touch), instruments by a Zipf
law. Each run is a process of its own, so that its peak memory is its own. The rate counts from when every instrument
has its queues. Peer: books and queues in plain Python (dicts, and a bytearray for each queue in memory), without what
else the ETL does: snapshots, sequence rules, lineage, seek indexes, durable segments.
"""

from __future__ import annotations

import json
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chronicle.core.events import EventBuilder
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Flag, Kind, Origin, Side
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, SnapshotFields
from tools.benches.figure import Figure
from tools.benches.market import ROOT, note, work_folder

COUNTS = (1, 100, 500, 10_000)
RECORDS = 2_000_000
PEER_RECORDS = 200_000
MEMORY_MAX = 2 << 30
START_NS = 1_700_000_000_000_000_000
STEP_NS = 20_000
BATCH = 200_000
TOUCH = 10_000
TIMEOUT_SECONDS = 300


def run() -> Iterator[Figure]:
    """Yield the figures."""
    for count in COUNTS:
        home, opening = _home(count, "book")
        measured = _measure(home, opening, 3 if count <= 500 else 1)
        peer = _plain_python(home) if count == 500 else None
        shutil.rmtree(home)
        if not measured:
            continue
        named = ("plain Python", peer) if peer else (None, None)
        yield Figure(f"etl.records_per_s_n{count}", measured["rate"], "1/s", RECORDS, *named)
        for stage, value in measured["stages"].items():
            yield Figure(f"etl.stage_{stage}_ns_n{count}", value, "ns", RECORDS)
        if count == 10_000:
            yield Figure("etl.memory_mib_n10000", measured["rss"] / 2**20, "MiB", count)
            yield Figure("etl.memory_bound_share_n10000", measured["rss"] / MEMORY_MAX, "of 2 GiB", count)
    home, opening = _home(500, "trade")
    measured = _measure(home, opening, 3)
    shutil.rmtree(home)
    if measured:
        yield Figure("etl.demux_ns", 1e9 / measured["rate"], "ns", RECORDS)


def _home(count: int, channel: str) -> tuple[Path, int]:
    """Return a home whose raw queue holds the stream, and the records before its steady part."""
    home, generator = work_folder() / f"scale-{channel}-{count}", np.random.default_rng(count)
    out = EventBuilder()
    opening = 0
    ts = START_NS
    with Queue.create(home / "raw/main.q", name="raw/main.q", segment_bytes=256 << 20).appender() as appender:
        for number in range(1, count + 1):
            ts += STEP_NS
            out.begin(ts, source=1)
            fields = InstrumentFields(2, 3, details={"symbol": f"kraken:S{number:05}-USD", "venue": "kraken"})
            out.instrument(number, fields)
            if channel == "book":
                levels = [(TOUCH - 1 - step, 5) for step in range(20)], [(TOUCH + 1 + step, 5) for step in range(20)]
                out.snapshot(number, SnapshotFields(*levels, Origin.VENUE), ts_event=ts)
            else:
                out.trade(number, Side.BID, TOUCH, 1, ts_event=ts)
            data, records = out.take()
            appender.append_event(bytes(data), records)
            opening += records
        for first in range(0, RECORDS, BATCH):
            words = _batch(generator, min(BATCH, RECORDS - first), count, channel, ts)
            ts = int(words[-1, 1])
            append_mixed(appender, words.reshape(-1).view(np.uint64))
    return home, opening


def _batch(generator: Any, records: int, count: int, channel: str, ts: int) -> Any:
    """Return records as int64[n, words]: one template with instrument, side, price and size of their own."""
    out = EventBuilder()
    out.begin(0, source=1)
    if channel == "book":
        out.delta(1, Side.BID, 0, 0, ts_event=0)
    else:
        out.trade(1, Side.BID, 0, 0, ts_event=0)
    template = np.frombuffer(bytes(out.take()[0]), dtype=np.int64)
    words = np.tile(template, (records, 1))
    rank = np.minimum(generator.zipf(1.2, records) - 1, 1 << 40) % count if count > 1 else np.zeros(records, np.int64)
    last = generator.random(records) < 0.6
    last[-1] = True
    event = np.concatenate(([0], np.cumsum(last)[:-1]))
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    instrument = rank[starts][event].astype(np.int64) + 1
    bid = generator.random(records) < 0.5
    near = generator.random(records) < 0.8
    distance = 1 + np.where(near, generator.integers(0, 50, records), generator.integers(0, 1000, records))
    head = int(template[0]) & ~((0xFF << 48) | (0xFF << 56)) & ((1 << 64) - 1)
    sides = np.where(bid, int(Side.BID), int(Side.ASK)).astype(np.uint64)
    flags = np.where(last, int(Flag.LAST), 0).astype(np.uint64)
    words[:, 0] = (np.uint64(head) | flags << np.uint64(48) | sides << np.uint64(56)).view(np.int64)
    words[:, 1] = words[:, 2] = ts + STEP_NS * (1 + event)
    words[:, 4] = template[4] - 1 + instrument
    words[:, 6] = TOUCH + np.where(bid, -distance, distance)
    words[:, 7] = np.where(generator.random(records) < 0.3, 0, generator.integers(1, 1000, records))
    if channel == "trade":
        words[:, 7] = generator.integers(1, 1000, records)
    return words


def _measure(home: Path, opening: int, repeats: int) -> dict[str, Any]:
    """Run the shard in processes of its own; return the best rate, the peak memory, and ns a record by stage."""
    best: dict[str, Any] = {}
    for number in range(repeats + 1):
        target = work_folder() / "scale-target"
        command = [sys.executable, "-m", "tools.benches.scale", str(home), str(target), str(opening), str(number % 2)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
            )
            answer = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            note(f"{home.name}: {str(error)[:200]}")
            return {}
        finally:
            shutil.rmtree(target, ignore_errors=True)
        if answer["stages"] and not best.get("stages"):
            best["stages"] = answer["stages"]
        if not answer["stages"]:
            best["rss"] = min(best.get("rss", answer["rss"]), answer["rss"])
            best["rate"] = max(best.get("rate", 0.0), answer["rate"])
    return best


def _plain_python(home: Path) -> float:
    """Return records a second of the same work without compiled code: books as dicts, a bytearray for each queue."""
    with Queue.open(home / "raw/main.q").open_segment(0) as segment:
        data = bytes(segment.view(segment.data_offset, min(segment.data_end(), segment.data_offset + (24 << 20))))
    head, level = struct.Struct("<IHBBqqqIHHq"), struct.Struct("<qq")
    books: dict[int, list[dict[int, int]]] = defaultdict(lambda: [{}, {}])
    queues: dict[int, bytearray] = defaultdict(bytearray)
    position = count = 0
    started = time.perf_counter()
    while count < PEER_RECORDS and position + 48 <= len(data):
        length, kind, _, side, _, _, _, instrument, _, _, _ = head.unpack_from(data, position)
        if kind == Kind.BOOK_DELTA:
            price, size = level.unpack_from(data, position + 48)
            book = books[instrument][side != Side.BID]
            if size:
                book[price] = size
            else:
                book.pop(price, None)
        queues[instrument] += data[position : position + length]
        position += length
        count += 1
    return count / (time.perf_counter() - started)


def _child(home: Path, target: Path, opening: int, staged: bool) -> dict[str, Any]:
    from chronicle.cli.limits import raise_descriptor_limit
    from chronicle.etl import EtlConfig, EtlReport, run_shard

    raise_descriptor_limit()
    spent: dict[str, float] = defaultdict(float)
    if staged:
        _time_stages(spent)
    begun: list[tuple[float, int, dict[str, float]]] = []

    def progress(report: EtlReport) -> None:
        if not begun and report.records > opening + RECORDS // 10:
            begun.append((time.perf_counter(), report.records, dict(spent)))
        reached[:] = [time.perf_counter(), report.records]

    reached: list[float] = []
    run_shard(home, target=target, drain=True, config=EtlConfig(candles=()), progress=progress)
    started, records, before = begun[0]
    count = reached[1] - records
    return {
        "rate": count / (reached[0] - started),
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "stages": {name: (value - before.get(name, 0.0)) * 1e9 / count for name, value in spent.items()},
    }


def _time_stages(spent: dict[str, float]) -> None:
    """Wrap the steps of a window; a step's time includes no other's."""
    from chronicle.etl import block, clean_writer, sweep, window
    from chronicle.etl.book_stream import BookStream
    from chronicle.etl.kernels.grouping import Groups

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                spent[name] += time.perf_counter() - started

        return wrapped

    for owner, name, stage in (
        (window, "index_records", "index"),
        (Groups, "find", "group"),
        (sweep, "sweep", "sweep"),
        (block, "gather", "gather"),
        (BookStream, "take", "book"),
        (clean_writer.QueueSink, "write", "append"),
    ):
        setattr(owner, name, timed(stage, getattr(owner, name)))


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")))
