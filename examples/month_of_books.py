"""A month of books on a cluster of two workers: `python examples/month_of_books.py HOME [--days 30] [--seconds 2]`.

Makes the month first, where HOME is empty: a seeded market writes a Tardis CSV file a day, and the files go the way
of any capture, through feed, ETL and agent into the archive. Then two Dask workers sample it once a second
(dask_books.py).
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import dask_books  # beside this file
import pandas as pd

from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from chronicle.feed.simulator.market import Market, Pair
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy

SYMBOL = "bitmex:BTC-USD-PERP"
FIRST = pd.Timestamp("2024-06-01", tz="UTC")
LEVELS = 100
HEADER = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"


def write_month(folder: Path, days: int, seconds: float, seed: int = 1) -> list[Path]:
    """Write a file a day: the whole book first, then a message every `seconds`."""
    pair = Pair("XBT/USD", 1, 683_215, volatility=6.0, size_scale=10**6)
    market = Market(pair, seed, levels=LEVELS)
    step_us = round(seconds * 1e6)
    paths = []
    for day in range(days):
        paths.append(folder / f"bitmex_incremental_book_L2_{FIRST + pd.Timedelta(days=day):%Y-%m-%d}_XBTUSD.csv.gz")
        begin = FIRST.value // 1_000 + day * 86_400_000_000
        with gzip.open(paths[-1], "wt", compresslevel=1) as file:
            file.write(HEADER)
            for side, ladder in (("bid", market.bids), ("ask", market.asks)):
                for place in range(len(ladder)):
                    price = ladder.price(place)
                    file.write(row(begin, "true", side, price, ladder.size(price)))
            for at in range(begin + step_us, begin + 86_400_000_000, step_us):
                step = market.step({10 * LEVELS})
                for side, entries in (("bid", step.bids), ("ask", step.asks)):
                    for entry in entries[10 * LEVELS]:
                        file.write(row(at, "false", side, entry.price, entry.size))
    return paths


def row(at_us: int, is_snapshot: str, side: str, price: int, size: int) -> str:
    """Return a row; what the venue said took 20 ms to arrive."""
    return f"bitmex,XBTUSD,{at_us - 20_000},{at_us},{is_snapshot},{side},{price / 10:.1f},{size / 1e6:.6f}\n"


def make_month(home: Path, days: int, seconds: float) -> None:
    """Make the month and take it into the archive of `home`."""
    with tempfile.TemporaryDirectory() as folder:
        report = replay_capture(home, write_month(Path(folder), days, seconds), format="tardis", seal=True)
    print(f"{report.records:,} raw records")
    run_shard(home, drain=True)
    run_once(home, default_policy(home), everything=True)


def main() -> pd.DataFrame:
    """Make the month where it is not there, and return the spread of each hour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=2.0, help="between messages of the market")
    parser.add_argument("--records", type=int, default=dask_books.RECORDS, help="of a worker's unit, about")
    options = parser.parse_args()
    if not (options.home / "clean").exists():
        make_month(options.home, options.days, options.seconds)
    return dask_books.main(str(options.home), SYMBOL, options.records)


if __name__ == "__main__":
    main()
