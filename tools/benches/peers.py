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
TIMEOUT_SECONDS = 120
HFTBACKTEST_TICKS_MAX = 5_000_000
"""Ticks that its ROIVectorMarketDepth is asked to hold."""


def ask(name: str, source: Path, script: str = __file__) -> dict[str, float]:
    """Run peer `name` of a script on `source` in the peers' interpreter, else in this one; empty, with a note, when
    it is absent from both."""
    from tools.benches.market import note, peers_python

    answer: dict[str, Any] = {}
    for python in dict.fromkeys((peers_python() or sys.executable, sys.executable)):
        command = [python, "-P", script, name, str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
            answer = json.loads(done.stdout)
        except (subprocess.SubprocessError, json.JSONDecodeError) as error:
            answer = {"absent": str(error)[:200]}
        if "absent" not in answer:
            break
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


def order_book_l3(source: str) -> dict[str, float]:
    """Update time of order-book beside a dict of orders, ns an event (it keeps levels only; no queue positions)."""
    import numpy as np
    from order_book import OrderBook

    rows = np.load(source).tolist()

    def run() -> None:
        book, orders = OrderBook(), {}
        sides = {66: book.bids, 65: book.asks}
        for side, order_id, price, size, action in rows:
            if action == 82:
                book, orders = OrderBook(), {}
                sides = {66: book.bids, 65: book.asks}
                continue
            if action not in (65, 67, 77):
                continue
            levels = sides[side]
            if action != 65:
                old_price, old_size = orders[order_id]
                left = old_size - size if action == 67 else 0
                total = levels[old_price] - (old_size - max(left, 0))
                if total:
                    levels[old_price] = total
                else:
                    del levels[old_price]
                if left > 0:
                    orders[order_id] = (old_price, left)
                    continue
                del orders[order_id]
                if action == 67:
                    continue
            orders[order_id] = (price, size)
            levels[price] = size + (levels[price] if price in levels else 0)  # noqa: SIM401 - it has no get

    return {"value": _best(run) / len(rows)}


def nautilus_l3(source: str) -> dict[str, float]:
    """Update time of nautilus_trader's OrderBook (L3_MBO), ns an event; its deltas are made beforehand."""
    import numpy as np
    from nautilus_trader.model.book import OrderBook
    from nautilus_trader.model.data import BookOrder, OrderBookDelta
    from nautilus_trader.model.enums import BookAction, BookType, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId
    from nautilus_trader.model.objects import Price, Quantity

    instrument = InstrumentId.from_str("A.X")
    sides = {66: OrderSide.BUY, 65: OrderSide.SELL}
    deltas, sizes = [], {}
    rows = np.load(source).tolist()
    for side, order_id, price, size, action in rows:
        if action == 82:
            deltas.append(OrderBookDelta.clear(instrument, 0, 0, 0))
            sizes = {}
        elif action in (65, 67, 77):
            left = sizes.get(order_id, 0) - size if action == 67 else size
            kind = BookAction.ADD if action == 65 else BookAction.UPDATE if left > 0 else BookAction.DELETE
            sizes[order_id] = left
            value = Price.from_str(f"{price / 1e9:.9f}")
            order = BookOrder(sides[side], value, Quantity.from_int(max(left, 0)), order_id)
            deltas.append(OrderBookDelta(instrument, kind, order, 0, 0, 0, 0))

    def run() -> None:
        book = OrderBook(instrument, BookType.L3_MBO)
        apply = book.apply_delta
        for delta in deltas:
            apply(delta)

    return {"value": _best(run) / len(rows)}


def _hftbacktest_events(source: str) -> tuple[Any, float, int]:
    """Return (events for hftbacktest's local side alone, tick, ORDER records among them).

    It knows additions, deletions and changes: what takes a part away is a change to what is left, as in its own
    converter of Databento's files.
    """
    import numpy as np
    from hftbacktest.types import (
        ADD_ORDER_EVENT,
        BUY_EVENT,
        CANCEL_ORDER_EVENT,
        DEPTH_CLEAR_EVENT,
        LOCAL_EVENT,
        MODIFY_ORDER_EVENT,
        SELL_EVENT,
        event_dtype,
    )

    rows = np.load(source)
    prices = np.unique(rows[np.isin(rows[:, 4], (65, 77)), 2])
    tick = float(np.gcd.reduce(prices))
    sides, held, out = {66: BUY_EVENT, 65: SELL_EVENT}, {}, []
    for side, order_id, price, size, action in rows.tolist():
        kind, size_left = 0, float(size)
        if action == 82:
            kind, side, held = DEPTH_CLEAR_EVENT, 0, {}
        elif action in (65, 77):
            kind = ADD_ORDER_EVENT if action == 65 else MODIFY_ORDER_EVENT
            held[order_id] = (price, size)
        elif action == 67:
            price, left = held[order_id][0], held[order_id][1] - size
            kind, size_left = (MODIFY_ORDER_EVENT, float(left)) if left > 0 else (CANCEL_ORDER_EVENT, 0.0)
            held[order_id] = (price, left)
        if kind:
            out.append((kind | LOCAL_EVENT | sides.get(side, 0), 0, 0, float(price), size_left, order_id, 0, 0.0))
    events = np.array(out, dtype=event_dtype)
    events["exch_ts"] = events["local_ts"] = 1 + np.arange(len(events))
    return events, tick, len(rows)


def _hftbacktest_l3(source: str, *, vector: bool) -> dict[str, float]:
    """Update time of hftbacktest's L3 depth, ns an event.

    Its Python package gives that depth to no one by itself: the events go through its backtester, whose exchange side
    has nothing to do with them. What it reads and dispatches is in the figure, and stated apart as ``dispatch``: the
    same events as a kind that it passes over.
    """
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest, ROIVectorMarketDepthBacktest

    events, tick, records = _hftbacktest_events(source)
    low, high = float(events["px"][events["px"] != 0].min()), float(events["px"].max())
    if vector and (high - low) / tick > HFTBACKTEST_TICKS_MAX:
        return {}

    def replay(data: Any) -> float:
        asset = (
            BacktestAsset()
            .data(data)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .l3_fifo_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(tick)
            .lot_size(1.0)
        )
        if vector:
            backtest = ROIVectorMarketDepthBacktest([asset.roi_lb(low - tick).roi_ub(high + tick)])
        else:
            backtest = HashMapMarketDepthBacktest([asset])
        start = time.perf_counter_ns()
        backtest.elapse(10 * len(data))
        spent = time.perf_counter_ns() - start
        backtest.close()
        return float(spent)

    passed = events.copy()
    passed["ev"] = passed["ev"] >> 8 << 8 | 100
    replay(events)
    whole, dispatch = (min(replay(data) for _ in range(REPEATS)) for data in (events, passed))
    return {"value": whole / records, "dispatch": dispatch / records}


def hftbacktest_l3_vector(source: str) -> dict[str, float]:
    """hftbacktest's ROIVectorMarketDepth, by order; absent where prices span too many ticks for it."""
    return _hftbacktest_l3(source, vector=True)


def hftbacktest_l3_hash(source: str) -> dict[str, float]:
    """hftbacktest's HashMapMarketDepth, by order."""
    return _hftbacktest_l3(source, vector=False)


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


def polars(source: str) -> dict[str, float]:
    """Book at T out of Parquet by polars: group_by of each price, the last size; us p50 and p99, on one thread."""
    import os

    os.environ["POLARS_MAX_THREADS"] = "1"
    import polars as library

    path = Path(source)
    times = []
    for first, last in json.loads(path.with_suffix(".json").read_text()):
        start = time.perf_counter_ns()
        number = library.col("number")
        chosen = library.scan_parquet(path).filter((number > first) & (number <= last))
        held = chosen.group_by("side", "price").agg(library.col("size").last()).filter(library.col("size") > 0)
        held.sort("side", "price").collect()
        times.append(time.perf_counter_ns() - start)
    times.sort()
    return {"p50": times[len(times) // 2] / 1e3, "p99": times[len(times) * 99 // 100] / 1e3}


PEERS = {
    "order-book": order_book,
    "order-book-l3": order_book_l3,
    "nautilus-l3": nautilus_l3,
    "hftbacktest-l3-vector": hftbacktest_l3_vector,
    "hftbacktest-l3-hash": hftbacktest_l3_hash,
    "SortedDict": sorted_dict,
    "orjson": orjson,
    "duckdb": duckdb,
    "polars": polars,
}

if __name__ == "__main__":
    try:
        print(json.dumps(PEERS[sys.argv[1]](sys.argv[2])))
    except ImportError as missing:
        print(json.dumps({"absent": str(missing)}))
