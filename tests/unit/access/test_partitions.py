"""Units of a range: each record once, in any process; Dask over them."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.ranges.partitions import Partition, to_dask
from chronicle.core.errors import ConfigError
from tests.support.home_builder import CleanQueue

START = 1_700_000_000_000_000_000
BTC, ETH = "kraken:BTC-EUR", "kraken:ETH-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("partitions")
    rng = random.Random(11)
    for symbol, lanes in ((BTC, (0, 1)), (ETH, (0,))):
        for lane in lanes:
            trade = CleanQueue(home, symbol, "trade", lane=lane, segment_bytes=1 << 16)
            ts = START
            for step in range(4_000):
                ts += rng.randrange(3)
                trade.trade(ts, rng.choice(["bid", "ask"]), 100 + step % 9, 1, step)
            trade.close(seal=lane == 0)
    return home


@pytest.mark.parametrize("records", [1, 500, 3_000, 10**9])
def test_units_together_are_the_range(home: Path, records: int) -> None:
    with chronicle.open(home) as store:
        for start, end in ((None, None), (START + 1_000, START + 2_500), (START + 10**9, None)):
            whole = store.scan([BTC, ETH], "trade", start, end, columns=["symbol", "lane", "index"]).to_numpy()
            units = store.partitions([BTC, ETH], "trade", start, end, records=records)
            parts = [unit.scan().to_numpy() for unit in units]
            got = sorted((p["symbol"][i], p["lane"][i], p["index"][i]) for p in parts for i in range(len(p["index"])))
            assert got == sorted(zip(*(whole[name] for name in ("symbol", "lane", "index")), strict=True))
            for one, other in pairwise(units):
                assert one.symbol != other.symbol or one.end == other.start
            if records == 500 and start is None:
                assert len(units) > 10
                assert all(unit.records >= 500 for unit in units[:1])
        with pytest.raises(ConfigError):
            store.partitions(BTC, "trade", records=0)
        with pytest.raises(ConfigError):
            store.partitions(BTC, "depth")


def test_a_unit_is_read_in_another_process(home: Path) -> None:
    with chronicle.open(home) as store:
        units = store.partitions("kraken:*", "trade", records=2_000, columns=["price", "size"], decimals="int")
        want = store.scan("kraken:*", "trade", decimals="int").to_numpy()["price"].sum()
    assert pickle.loads(pickle.dumps(units)) == units
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert sum(pool.map(_sum, units)) == want


def _sum(unit: Partition) -> int:
    columns = unit.scan().to_numpy()
    assert list(columns) == ["price", "size"]
    return int(columns["price"].sum())


def test_a_dask_frame_computes_what_the_scan_holds(home: Path) -> None:
    pytest.importorskip("dask.dataframe")
    with chronicle.open(home) as store:
        frame = to_dask(store.partitions("kraken:*", "trade", records=1_000))
        whole = store.scan("kraken:*", "trade").to_pandas()
        assert frame.npartitions > 4
        assert list(frame.columns) == list(whole.columns)
        assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
            name: str(kind) for name, kind in whole.dtypes.items()
        }
        computed = frame.groupby("symbol", observed=True)["price"].sum().compute(scheduler="synchronous")
        want = whole.groupby("symbol", observed=True)["price"].sum()
        assert np.allclose(computed.sort_index(), want.sort_index())
    with pytest.raises(ConfigError):
        to_dask([])
