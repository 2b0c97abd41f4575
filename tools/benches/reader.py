"""The reader: a book at T from hot and warm segments, sampled books, a row an event, a scan, a short slice.

Peers: DuckDB (Parquet and native), polars, pyarrow, ArcticDB, hftbacktest; ``$CHRONICLE_BENCH_PEERS`` names a venv
that has those which are no dependency of ours. Each peer runs on one thread.

``book_warm`` looks up random moments through one store, first touches of a block included; ``book_warm_open`` opens
the store anew for each, so that every lookup pays for the footer and a block. ``book_s3`` is the same from S3.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

import chronicle
from chronicle.access.store import Store
from chronicle.core.layout import Side
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import Policy, Rule, TierPolicy, default_policy
from tools.benches import peers, range_peers
from tools.benches.archive import book_table, write_parquet
from tools.benches.books import BookData, book_data
from tools.benches.figure import Figure, best_ns, quantile
from tools.benches.market import Market, market, markets, note, suffix, work_folder

LOOKUPS = 400
OPENED = 30
S3_LOOKUPS = 200
PEER_LOOKUPS = 100
REPEATS = 5
SLICE_NS = 1_000_000_000
STEP_NS = 1_000_000_000
SCANNED = ("ts_recv", "side", "price", "size")


def run() -> Iterator[Figure]:
    """Yield the figures."""
    import chronicle.access.books.moment  # noqa: F401 - a process that looks up many books has the kernels

    for each in markets("binance", "lobster"):
        yield from _lookups(each)
    for each in markets("binance"):
        yield from _s3(each)
    for each in markets("binance", "lobster"):
        yield from _ranges(each)


@cache
def _warm(name: str) -> Path:
    """Return a copy of the market's home whose sealed segments are all in the archive."""
    home = work_folder() / f"{name}-warm"
    shutil.copytree(market(name).home, home)
    run_once(home, default_policy(home), everything=True)
    return home


def _moments(data: BookData, count: int) -> list[int]:
    chance = random.Random(4)
    return [chance.randrange(data.ts_first, data.ts_last) for _ in range(count)]


def _lookups(of: Market) -> Iterator[Figure]:
    data, end = book_data(of.name), suffix(of.name)
    asked = _book_peers(data, of.name)
    for place, home in (("hot", of.home), ("warm", _warm(of.name))):
        with chronicle.open(home) as store:
            store.book(data.symbol, at=data.ts_first, depth=10)
            times = _timed(_moments(data, LOOKUPS), lambda at, store=store: store.book(data.symbol, at=at, depth=10))
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            spent = quantile(times, share) / 1e3
            for peer, found in asked.items() or [(None, {})]:
                yield Figure(f"reader.book_{place}_{label}_us{end}", spent, "us", LOOKUPS, peer, found.get(label))
    home = _warm(of.name)

    def anew(at: int) -> None:
        with chronicle.open(home) as store:
            store.book(data.symbol, at=at, depth=10)

    times = _timed(_moments(data, OPENED), anew)
    yield Figure(f"reader.book_warm_open_p50_us{end}", quantile(times, 0.5) / 1e3, "us", OPENED)


def _s3(of: Market) -> Iterator[Figure]:
    """Look up books through an S3 server on loopback (moto, in another process): its own time is in the figures."""
    from tests.support.s3_server import BUCKET, KEYS, client, moto_server

    data, end = book_data(of.name), suffix(of.name)
    os.environ.update(KEYS)
    with moto_server() as endpoint:
        client(endpoint).create_bucket(Bucket=BUCKET)
        home = work_folder() / f"{of.name}-s3"
        shutil.copytree(of.home, home)
        root, options = f"s3://{BUCKET}/archive", {"endpoint_url": endpoint}
        policy = Policy(
            (TierPolicy("cold", root, options=options),), (Rule("hot", "cold", 0),), raw_waits_for_etl=False
        )
        moved = time.perf_counter_ns()
        report = run_once(home, policy, everything=True)
        moved = time.perf_counter_ns() - moved
        yield Figure(
            f"archive.tier_to_s3_mib_s{end}", report.source_bytes / 2**20 / (moved / 1e9), "MiB/s", len(report.moved)
        )
        requests = []

        def anew(at: int) -> None:
            with chronicle.open(root, options=options) as store:
                requests.append(store.book(data.symbol, at=at, depth=10).cost.requests)

        with chronicle.open(root, options=options) as store:
            store.book(data.symbol, at=data.ts_first, depth=10)
            times = _timed(_moments(data, S3_LOOKUPS), lambda at: store.book(data.symbol, at=at, depth=10))
        yield Figure(f"reader.book_s3_p50_us{end}", quantile(times, 0.5) / 1e3, "us", S3_LOOKUPS)
        yield Figure(f"reader.book_s3_p99_us{end}", quantile(times, 0.99) / 1e3, "us", S3_LOOKUPS)
        times = _timed(_moments(data, OPENED), anew)
        yield Figure(f"reader.book_s3_open_p50_us{end}", quantile(times, 0.5) / 1e3, "us", OPENED)
        yield Figure(f"reader.book_s3_requests{end}", max(requests), "requests", OPENED)


def _timed(moments: list[int], call: Callable[[int], object]) -> list[int]:
    times = []
    for at in moments:
        start = time.perf_counter_ns()
        call(at)
        times.append(time.perf_counter_ns() - start)
    return sorted(times)


def _book_peers(data: BookData, name: str) -> dict[str, dict[str, float]]:
    """Write deltas and snapshots (a row a level) as one Parquet file and let peers look up books in it."""
    sides, prices, sizes, numbers, begins = [], [], [], [], []
    for row, fields in data.snapshots:
        for code, levels in ((Side.BID, fields.bids), (Side.ASK, fields.asks)):
            values = np.array(levels, dtype=np.int64).reshape(-1, 2)
            sides.append(np.full(len(values), int(code), dtype=np.uint8))
            prices.append(values[:, 0])
            sizes.append(values[:, 1])
            numbers.append(np.full(len(values), 2 * row, dtype=np.int64))
        begins.append(row)
    if not begins:
        return {}
    columns = data.columns
    number = 2 * np.arange(len(data), dtype=np.int64) + 1  # a snapshot stands before the delta of its row
    joined = {
        "number": (numbers, number),
        "side": (sides, columns["side"]),
        "price": (prices, columns["price"]),
        "size": (sizes, columns["size"]),
    }
    whole = {name: np.concatenate([*parts, own]) for name, (parts, own) in joined.items()}
    order = np.argsort(whole["number"], kind="stable")
    table = pa.table({name: values[order] for name, values in whole.items()})
    path = work_folder() / f"book-{name}.parquet"
    write_parquet(table, path)
    ranges = []
    for at in _moments(data, PEER_LOOKUPS):
        last = int(np.searchsorted(columns["ts_recv"], at, side="right"))
        position = int(np.searchsorted(begins, last, side="right")) - 1
        if position >= 0:
            ranges.append((2 * begins[position] - 1, 2 * last))
    path.with_suffix(".json").write_text(json.dumps(ranges))
    known = {"DuckDB, Parquet with the same snapshots": "duckdb", "polars, the same Parquet": "polars"}
    found = {label: peers.ask(peer, path) for label, peer in known.items()}
    return {label: answer for label, answer in found.items() if answer}


def _ranges(of: Market) -> Iterator[Figure]:
    data, end = book_data(of.name), suffix(of.name)
    with chronicle.open(_warm(of.name)) as store:
        rows = len(store.books(data.symbol, on="event", depth=10))
        spent = best_ns(lambda: store.books(data.symbol, on="event", depth=10).to_arrow(), REPEATS)
        yield Figure(f"reader.books_on_event_rows_per_s{end}", rows / spent * 1e9, "1/s", rows)

        every = best_ns(lambda: store.books(data.symbol, every=STEP_NS, depth=10).to_arrow(), REPEATS)
        sampled = len(store.books(data.symbol, every=STEP_NS, depth=10))

        def scan() -> None:
            store.scan(data.symbol, "book", columns=SCANNED, kinds=["delta"]).to_arrow()

        scan()
        again = best_ns(scan, REPEATS)
        middle = (data.ts_first + data.ts_last) // 2

        def piece() -> pa.Table:
            slice_of = store.scan(data.symbol, "book", middle, middle + SLICE_NS, columns=SCANNED, kinds=["delta"])
            return slice_of.to_arrow()

        piece_ns, piece_rows = best_ns(piece, 10 * REPEATS), piece().num_rows
        replayed = _hftbacktest(store, data, of.name, sampled)
    if replayed:
        rows_per_s = replayed["rows"] / replayed["whole"] * 1e9
        peer = ("hftbacktest, its replay of the same events", rows_per_s)
    else:
        peer = (None, None)
    yield Figure(f"reader.books_every_rows_per_s{end}", sampled / every * 1e9, "1/s", sampled, *peer)
    first = best_ns(lambda: _scan_anew(of.name, data), REPEATS)
    path = work_folder() / f"scan-{of.name}.parquet"
    write_parquet(book_table(data), path)
    path.with_suffix(".json").write_text(json.dumps({"start": middle, "end": middle + SLICE_NS}))
    count = len(data)
    found = {name: peers.ask(name, path, range_peers.__file__) for name in range_peers.PEERS if name != "hftbacktest"}
    found = {name: answer for name, answer in found.items() if answer}
    for name, answer in found.items():
        rate = count / answer["whole"] * 1e9
        yield Figure(f"reader.scan_rows_per_s{end}", count / first * 1e9, "1/s", count, name, rate)
    for name, answer in found.items():
        rate = count / answer["whole"] * 1e9
        yield Figure(f"reader.scan_again_rows_per_s{end}", count / again * 1e9, "1/s", count, name, rate)
    for name, answer in found.items():
        if answer["slice_rows"] != piece_rows:
            note(f"{name} found {answer['slice_rows']:.0f} rows in the slice, we {piece_rows}")
        yield Figure(f"reader.scan_slice_1s_us{end}", piece_ns / 1e3, "us", piece_rows, name, answer["slice"] / 1e3)


def _hftbacktest(store: Store, data: BookData, name: str, rows: int) -> dict[str, float]:
    """Let hftbacktest replay our export of the same events; its answer is in ns and rows."""
    from chronicle.access.formats.hftbacktest import events_of

    instrument = next(row for row in store.instruments() if row.symbol == data.symbol)
    if data.symbol.startswith("nasdaq"):
        return {}  # one venue's orders there; its replay of levels would be of other events
    events = events_of(store._shelf, data.symbol, data.ts_first, data.ts_last + 1)
    path = work_folder() / f"events-{name}.npz"
    np.savez(path, data=events)
    prices = data.columns["price"]
    unit, middle = 10.0**-instrument.price_exponent, float(np.median(prices))
    told = {"tick": float(np.gcd.reduce(prices)) * unit, "lot": 10.0**-instrument.size_exponent}
    told |= {"low": 0.5 * middle * unit, "high": 1.5 * middle * unit, "every": STEP_NS, "rows": rows}
    path.with_suffix(".json").write_text(json.dumps(told))
    return peers.ask("hftbacktest", path, range_peers.__file__)


def _scan_anew(name: str, data: BookData) -> None:
    """Scan with no block decoded before."""
    with chronicle.open(_warm(name)) as store:
        store.scan(data.symbol, "book", columns=SCANNED, kinds=["delta"]).to_arrow()
