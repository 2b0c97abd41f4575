"""Books of a long range on a local cluster of two workers: `python examples/dask_books.py HOME SYMBOL`.

Each unit of time is sampled by the worker that gets it, once a second; what comes back is a row an hour. The store is
opened by its place in each worker, so a cluster of many hosts needs only a path or URL that all of them see.
"""

from __future__ import annotations

import sys

import pandas as pd
from dask import bag
from distributed import Client, LocalCluster

import chronicle
from chronicle.access import Partition, to_dask

RECORDS = 100_000
"""Of a unit, about."""


def spreads(unit: Partition) -> pd.DataFrame:
    """Return the sampled spread of one unit."""
    books = unit.books(every="1s", depth=1).to_pandas()
    books["spread"] = books["ask_price_0"] - books["bid_price_0"]
    return books.loc[books["status"] == "ok", ["ts_recv", "spread"]]


def main(home: str, symbol: str, records: int = RECORDS) -> pd.DataFrame:
    """Print and return the mean spread of each hour."""
    with chronicle.open(home) as store:
        covered = store.coverage(symbol, "book")
        whole = covered.ts_first, covered.ts_last + 1
        units = store.partitions(symbol, "book", *whole, records=records, columns=["side", "size"])
    print(f"{len(units)} units, {sum(unit.records for unit in units):,} records")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        parts = bag.from_sequence(units, npartitions=len(units)).map(spreads).compute()
        deltas = to_dask(units).groupby("side", observed=True)["size"].count(split_out=1).compute()
    print(deltas)
    table = pd.concat(parts).set_index("ts_recv")["spread"].resample("1h").agg(["count", "mean", "max"])
    print(table)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
