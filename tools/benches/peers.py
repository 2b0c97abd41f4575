"""Peers that are no dependency of ours. ``python peers.py NAME INPUT`` prints {"value": ...} or {"absent": why}.

It runs by itself, so that a venv of its own can hold the peers (``$CHRONICLE_BENCH_PEERS``); only NumPy and the
peer's package are imported there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 3
TIMEOUT_SECONDS = 60


def ask(name: str, source: Path) -> dict[str, float]:
    """Run peer `name` on `source` in the peers' interpreter (else this one); empty, with a note, when absent."""
    from tools.benches.market import note, peers_python

    command = [peers_python() or sys.executable, __file__, name, str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
        answer = json.loads(done.stdout)
    except (subprocess.SubprocessError, json.JSONDecodeError) as error:
        answer = {"absent": str(error)[:200]}
    if "absent" in answer:
        note(f"peer {name} is skipped: {answer['absent']}")
        return {}
    return {key: float(value) for key, value in answer.items()}


def _best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return float(min(times))


def _deltas(source: str) -> tuple[list[tuple[bool, int, int]], Any]:
    import numpy as np

    book = np.load(source)
    rows = zip((book["side"] == 66).tolist(), book["price"].tolist(), book["size"].tolist(), strict=True)
    return list(rows), book


def order_book(source: str) -> dict[str, float]:
    """Update time of the C extension order-book, ns a delta."""
    from order_book import OrderBook

    rows, start = _deltas(source)

    def run() -> None:
        book = OrderBook()
        bids, asks = book.bids, book.asks
        bids_start, asks_start = start["bids"].tolist(), start["asks"].tolist()
        for price, size in bids_start:
            bids[price] = size
        for price, size in asks_start:
            asks[price] = size
        for is_bid, price, size in rows:
            side = bids if is_bid else asks
            if size:
                side[price] = size
            elif price in side:
                del side[price]

    return {"value": _best(run) / len(rows)}


def sorted_dict(source: str) -> dict[str, float]:
    """Update time of two sortedcontainers.SortedDict, ns a delta."""
    from sortedcontainers import SortedDict

    rows, start = _deltas(source)

    def run() -> None:
        bids, asks = SortedDict(start["bids"].tolist()), SortedDict(start["asks"].tolist())
        for is_bid, price, size in rows:
            side = bids if is_bid else asks
            if size:
                side[price] = size
            else:
                side.pop(price, None)

    return {"value": _best(run) / len(rows)}


def orjson(source: str) -> dict[str, float]:
    """Generic decode of JSON lines, ns a line."""
    import orjson as library

    lines = Path(source).read_bytes().splitlines()

    def run() -> None:
        for line in lines:
            library.loads(line)

    return {"value": _best(run) / len(lines)}


def duckdb(source: str) -> dict[str, float]:
    """Book at T out of Parquet: the snapshot before T and the deltas since, arg_max of each price; us p50 and p99."""
    import duckdb as library

    path = Path(source)
    moments = json.loads(path.with_suffix(".json").read_text())
    connection = library.connect()
    connection.execute("SET threads = 1")
    query = (
        "SELECT side, price, arg_max(size, number) AS held FROM read_parquet(?) "
        "WHERE number > ? AND number <= ? GROUP BY side, price HAVING held > 0 ORDER BY side, price"
    )
    times = []
    for first, last in moments:
        start = time.perf_counter_ns()
        connection.execute(query, [str(path), first, last]).fetchnumpy()
        times.append(time.perf_counter_ns() - start)
    times.sort()
    return {"p50": times[len(times) // 2] / 1e3, "p99": times[len(times) * 99 // 100] / 1e3}


PEERS = {"order-book": order_book, "SortedDict": sorted_dict, "orjson": orjson, "duckdb": duckdb}

if __name__ == "__main__":
    try:
        print(json.dumps(PEERS[sys.argv[1]](sys.argv[2])))
    except ImportError as missing:
        print(json.dumps({"absent": str(missing)}))
