"""Peers that read ranges and sample books: ``python range_peers.py NAME INPUT`` prints JSON, as ``peers.py`` does.

Each runs on one thread, in a process of its own, on the same rows: a Parquet file, with the bounds of a short slice
in a JSON file beside it, or hftbacktest's npz. What a peer must do once (load its own store, compile) is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 7
COLUMNS = ("ts_recv", "side", "price", "size")


def _best(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return float(min(times))


def _question(source: str) -> tuple[int, int]:
    told = json.loads(Path(source).with_suffix(".json").read_text())
    return told["start"], told["end"]


def _answer(read: Callable[[], object], piece: Callable[[], object], rows: Callable[[], int]) -> dict[str, float]:
    return {"whole": _best(read), "slice": _best(piece), "slice_rows": rows()}


def pyarrow(source: str) -> dict[str, float]:
    """Parquet by pyarrow, to Arrow; the slice by row group statistics and a filter."""
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    start, end = _question(source)
    between = (ds.field("ts_recv") >= start) & (ds.field("ts_recv") < end)

    def piece() -> Any:
        return ds.dataset(source).to_table(columns=list(COLUMNS), filter=between, use_threads=False)

    whole = lambda: pq.read_table(source, columns=list(COLUMNS), use_threads=False)  # noqa: E731
    return _answer(whole, piece, lambda: piece().num_rows)


def polars(source: str) -> dict[str, float]:
    """Parquet by polars, lazily, to Arrow."""
    import polars as pl

    start, end = _question(source)

    def read() -> Any:
        return pl.scan_parquet(source).select(COLUMNS).collect().to_arrow()

    def piece() -> Any:
        column = pl.col("ts_recv")
        chosen = pl.scan_parquet(source).filter((column >= start) & (column < end)).select(COLUMNS)
        return chosen.collect().to_arrow()

    return _answer(read, piece, lambda: piece().num_rows)


def _duckdb(connection: Any, table: str, start: int, end: int) -> dict[str, float]:
    names = ", ".join(COLUMNS)
    connection.execute("SET threads = 1")

    def read() -> Any:
        return connection.execute(f"SELECT {names} FROM {table}").to_arrow_table()

    def piece() -> Any:
        chosen = f"SELECT {names} FROM {table} WHERE ts_recv >= {start} AND ts_recv < {end}"
        return connection.execute(chosen).to_arrow_table()

    return _answer(read, piece, lambda: piece().num_rows)


def duckdb_parquet(source: str) -> dict[str, float]:
    """Parquet by DuckDB, to Arrow."""
    import duckdb

    return _duckdb(duckdb.connect(), f"read_parquet('{source}')", *_question(source))


def duckdb_native(source: str) -> dict[str, float]:
    """DuckDB's own table in a file, to Arrow."""
    import duckdb

    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        connection = duckdb.connect(f"{folder}/native.duckdb")
        connection.execute(f"CREATE TABLE deltas AS SELECT * FROM read_parquet('{source}')")
        connection.execute("CHECKPOINT")
        found = _duckdb(connection, "deltas", *_question(source))
        connection.close()
        return found


def arcticdb(source: str) -> dict[str, float]:
    """ArcticDB over LMDB, indexed by time, to Arrow."""
    import arcticdb as library
    import pandas as pd
    import pyarrow.parquet as pq

    start, end = _question(source)
    frame = pq.read_table(source, columns=list(COLUMNS)).to_pandas()
    frame.index = pd.to_datetime(frame.pop("ts_recv"), unit="ns")
    bounds = pd.Timestamp(start), pd.Timestamp(end - 1)
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        store = library.Arctic(f"lmdb://{folder}?map_size=1GB", output_format=library.OutputFormat.PYARROW)
        stored = store.create_library("bench")
        stored.write("deltas", frame)

        def piece() -> Any:
            return stored.read("deltas", date_range=bounds).data

        return _answer(lambda: stored.read("deltas").data, piece, lambda: len(piece()))


def hftbacktest(source: str) -> dict[str, float]:
    """hftbacktest's replay of an npz, ten levels a side read off each second; ns for the whole of it, and rows."""
    import numpy as np
    from hftbacktest import BacktestAsset, ROIVectorMarketDepthBacktest
    from numba import njit

    told = json.loads(Path(source).with_suffix(".json").read_text())

    @njit
    def sample(backtest: Any, step: int, out: Any) -> int:
        rows, depth = 0, out.shape[2]
        while backtest.elapse(step) == 0 and rows < out.shape[1]:
            book = backtest.depth(0)
            tick, level = book.best_bid_tick, 0
            while level < depth and tick > book.roi_lb_tick:
                size = book.bid_qty_at_tick(tick)
                if size > 0:
                    out[0, rows, level], out[1, rows, level] = tick * book.tick_size, size
                    level += 1
                tick -= 1
            tick, level = book.best_ask_tick, 0
            while level < depth and tick < book.roi_ub_tick:
                size = book.ask_qty_at_tick(tick)
                if size > 0:
                    out[2, rows, level], out[3, rows, level] = tick * book.tick_size, size
                    level += 1
                tick += 1
            rows += 1
        return rows

    events = np.load(source)["data"]
    out = np.zeros((4, told["rows"] + 10, 10))

    def replay() -> tuple[float, int]:
        asset = (
            BacktestAsset()
            .data(events)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(told["tick"])
            .lot_size(told["lot"])
            .roi_lb(told["low"])
            .roi_ub(told["high"])
        )
        backtest = ROIVectorMarketDepthBacktest([asset])
        start = time.perf_counter_ns()
        rows = sample(backtest, told["every"], out)
        spent = time.perf_counter_ns() - start
        backtest.close()
        return spent, rows

    replay()
    found = [replay() for _ in range(REPEATS)]
    return {"whole": min(spent for spent, _ in found), "rows": found[0][1]}


PEERS = {
    "pyarrow, Parquet": pyarrow,
    "polars, Parquet": polars,
    "DuckDB, Parquet": duckdb_parquet,
    "DuckDB, native": duckdb_native,
    "ArcticDB": arcticdb,
    "hftbacktest": hftbacktest,
}

if __name__ == "__main__":
    os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        print(json.dumps(PEERS[sys.argv[1]](sys.argv[2])))
    except ImportError as missing:
        print(json.dumps({"absent": str(missing)}))
