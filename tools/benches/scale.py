"""The whole ETL over many instruments: records a second, where the time goes, and how much memory it takes.

The streams are those of :mod:`tools.benches.raw_streams`. Each run is a process, so that its peak memory is its own.
The rate counts from the first window behind a third of the stream on: instruments have their queues by then, and busy
ones segments of a size that fits them. It is told by the clock, and by the processor time of all threads
("per_core"). What the last open segments cost to be sealed comes at the end and is told apart ("seal_ns", processor
time a record of the stream).

Peer: books and queues in plain Python (dicts, and a bytearray for each queue in memory), without what else the ETL
does: snapshots, sequence rules, lineage, seek indexes, durable segments.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chronicle.core.layout import Action, Kind, Side
from chronicle.core.queue import Queue
from tools.benches.figure import Figure
from tools.benches.market import ROOT, note, work_folder
from tools.benches.raw_streams import BOOK, ORDERS, TRADES, write_stream

COUNTS = (1, 100, 500, 10_000)
RECORDS = 2_000_000
RECORDS_LONG = 6_000_000
"""Of the streams over 500 instruments and more, which would else end before their segments have grown."""
PEER_RECORDS = 200_000
MEMORY_MAX = 2 << 30
TIMEOUT_SECONDS = 300


def run() -> Iterator[Figure]:
    """Yield the figures."""
    for channel, mark in ((BOOK, ""), (ORDERS, "_l3")):
        for count in COUNTS:
            yield from _figures(channel, mark, count)
    yield from _demultiplexing()


def _figures(channel: str, mark: str, count: int) -> Iterator[Figure]:
    home, opening, records = _home(channel, count)
    measured = _measure(home, opening, 3 if count <= 500 else 1)
    peer = _plain_python(home) if count <= 500 else None
    shutil.rmtree(home)
    if not measured:
        return
    for name, rate, at in (("etl.records_per_s", "rate", 0), ("etl.records_per_core_s", "core_rate", 1)):
        named = ("plain Python", peer[at]) if peer else (None, None)
        yield Figure(f"{name}{mark}_n{count}", measured[rate], "1/s", records, *named)
    yield Figure(f"etl.seal_ns{mark}_n{count}", measured["seal"], "ns", records)
    for stage, value in measured["stages"].items():
        yield Figure(f"etl.stage_{stage}_ns{mark}_n{count}", value, "ns", records)
    yield Figure(f"etl.memory_mib{mark}_n{count}", measured["rss"] / 2**20, "MiB", count)
    if count == 10_000 and not mark:
        yield Figure("etl.memory_bound_share_n10000", measured["rss"] / MEMORY_MAX, "of 2 GiB", count)


def _demultiplexing() -> Iterator[Figure]:
    """Yield what trades of 500 instruments take to their queues: in the kernels alone, and in all."""
    home, opening, records = _home(TRADES, 500)
    measured = _measure(home, opening, 3)
    shutil.rmtree(home)
    if measured:
        stages = measured["stages"]
        kernels = sum(stages.get(name, 0.0) for name in ("index", "group", "sweep"))
        yield Figure("etl.demux_ns", kernels, "ns", records)
        yield Figure("etl.demux_run_ns", 1e9 / measured["rate"], "ns", records)


def _home(channel: str, count: int) -> tuple[Path, int, int]:
    """Return a home with the stream, the records before its steady part, and those in it."""
    home = work_folder() / f"scale-{channel}-{count}"
    records = RECORDS_LONG if count >= 500 else RECORDS
    return home, write_stream(home, channel, count, records), records


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
            for least in ("rss", "seal"):
                best[least] = min(best.get(least, answer[least]), answer[least])
            for rate in ("rate", "core_rate"):
                best[rate] = max(best.get(rate, 0.0), answer[rate])
    return best


def _plain_python(home: Path) -> tuple[float, float]:
    """Return records a second, by the clock and of processor time, of the same work without compiled code."""
    with Queue.open(home / "raw/main.q").open_segment(0) as segment:
        data = bytes(segment.view(segment.data_offset, min(segment.data_end(), segment.data_offset + (24 << 20))))
    head, level = struct.Struct("<IHBBqqqIHHq"), struct.Struct("<qq")
    books: dict[int, list[dict[int, int]]] = defaultdict(lambda: [{}, {}])
    change, resting = struct.Struct("<QqqB"), defaultdict[int, dict[int, list[int]]](dict)
    queues: dict[int, bytearray] = defaultdict(bytearray)
    position = count = 0
    started, spent = time.perf_counter(), time.process_time()
    while count < PEER_RECORDS and position + 48 <= len(data):
        length, kind, _, side, _, _, _, instrument, _, _, _ = head.unpack_from(data, position)
        if kind == Kind.BOOK_DELTA:
            price, size = level.unpack_from(data, position + 48)
            book = books[instrument][side != Side.BID]
            if size:
                book[price] = size
            else:
                book.pop(price, None)
        elif kind == Kind.ORDER:
            _plain_order(books[instrument], resting[instrument], side, *change.unpack_from(data, position + 48))
        queues[instrument] += data[position : position + length]
        position += length
        count += 1
    return count / (time.perf_counter() - started), count / (time.process_time() - spent)


def _plain_order(
    book: list[dict[int, int]],
    orders: dict[int, list[int]],
    side: int,
    order_id: int,
    price: int,
    size: int,
    action: int,
) -> None:
    """Take one ORDER record into dicts: orders by id (first come first, as dicts are), and the levels' totals."""
    if action == Action.ADD:
        half = int(side != Side.BID)
        orders[order_id] = [half, price, size]
        book[half][price] = book[half].get(price, 0) + size
    elif action == Action.CANCEL:
        order = orders[order_id]
        half, at, rest = order
        gone = min(size, rest)
        order[2] = rest - gone
        if gone == rest:
            del orders[order_id]
        left = book[half][at] - gone
        if left:
            book[half][at] = left
        else:
            del book[half][at]


def _child(home: Path, target: Path, opening: int, staged: bool) -> dict[str, Any]:
    from chronicle.cli.limits import raise_descriptor_limit
    from chronicle.etl import EtlConfig, EtlReport, run_shard
    from chronicle.etl.pipeline import window

    raise_descriptor_limit()
    records = Queue.open(home / "raw/main.q").end_index() - opening
    spent: dict[str, float] = defaultdict(float)
    if staged:
        _time_stages(spent)
    begun: list[tuple[float, int, dict[str, float], float]] = []
    reached: list[float] = []
    behind = 0
    index_records = window.index_records

    def counted(*args: Any) -> int:
        """Note the time before each window: reports are too far apart where there are many streams."""
        nonlocal behind
        reached[:] = [time.perf_counter(), behind, time.process_time()]
        if not begun and behind > opening + records // 3:
            begun.append((reached[0], behind, dict(spent), reached[2]))
        count = int(index_records(*args))
        behind += max(count, 0)
        return count

    def progress(report: EtlReport) -> None:
        reached[:] = [time.perf_counter(), report.records, time.process_time()]

    window.index_records = counted
    run_shard(home, target=target, drain=True, config=EtlConfig(candles=()), progress=progress)
    sealed = time.process_time()
    started, first, before, processor = begun[0]
    count = reached[1] - first
    return {
        "seal": (sealed - reached[2]) * 1e9 / (records + opening),
        "rate": count / (reached[0] - started),
        "core_rate": count / (reached[2] - processor),
        "rss": _peak_bytes(),
        "stages": {name: (value - before.get(name, 0.0)) * 1e9 / count for name, value in spent.items()},
    }


def _peak_bytes() -> int:
    """Return the most memory this process had at once (what getrusage says may be its parent's, from before exec)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _time_stages(spent: dict[str, float]) -> None:
    """Wrap the steps of a window, by processor time; a step's time includes no other's."""
    from chronicle.etl.clean import block, clean_writer
    from chronicle.etl.kernels.grouping import Groups
    from chronicle.etl.pipeline import sweep, window
    from chronicle.etl.streams.book_stream import BookStream
    from chronicle.etl.streams.order_stream import OrderStream

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return call(*args, **named)
            finally:
                spent[name] += time.thread_time() - started

        return wrapped

    for owner, name, stage in (
        (window, "index_records", "index"),
        (Groups, "find", "group"),
        (sweep, "sweep", "sweep"),
        (block, "gather", "gather"),
        (BookStream, "take", "book"),
        (OrderStream, "take", "orders"),
        (clean_writer.QueueSink, "write", "append"),
    ):
        setattr(owner, name, timed(stage, getattr(owner, name)))


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")))
