"""Versions of clean queues: a rebuild beside the first run, chosen by number or time, and compared."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

import chronicle
from chronicle.access import Partition
from chronicle.cli.diff import command as diff
from chronicle.core.clock import FakeClock
from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.queue import Queue
from chronicle.etl import EtlConfig, rebuild, run_shard
from tests.support.etl_streams import BID, RawStream, instrument

SYMBOL = "kraken:BTC-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    for number in range(100):
        stream.deltas(1, (BID, 9, 1 + number))
    with Queue.create(home / "raw/main.q", name="raw/main.q").appender() as appender:
        for _, data in stream.events:
            appender.append_event(data, 1)
    run_shard(home, drain=True, config=EtlConfig(snapshot_deltas=50))
    for number, deltas in ((1, 50), (2, 20)):
        rebuild(
            home,
            home / f"rebuilt/{number}",
            config=EtlConfig(snapshot_deltas=deltas),
            clock=FakeClock(number * 10**18),
        )
    return home


def _records(store: chronicle.Store) -> int:
    return sum(segment.records for segment in store.coverage(SYMBOL, "book").segments)


def test_a_version_is_chosen_by_number_or_by_time(home: Path) -> None:
    found = {}
    for name, chosen in {
        "plain": {},
        "own": {"version": 0},
        "one": {"version": 1},
        "two": {"version": 2},
        "before": {"as_of": 5},
        "between": {"as_of": 15 * 10**17},
        "now": {"as_of": 3 * 10**18},
    }.items():
        with chronicle.open(home, **chosen) as store:
            found[name] = _records(store)
            assert store.book(SYMBOL).bids
            row = store.scan([SYMBOL], channel="book").to_arrow().to_pylist()[5]
            assert store.explain(row).raw is not None, "raw records are the home's in every version"
    assert found["plain"] == found["own"] == found["one"] == found["before"] == found["between"]
    assert found["two"] == found["now"] > found["one"]
    with pickle.loads(pickle.dumps(chronicle.open(home, version=2))) as store:
        assert _records(store) == found["two"]


@pytest.mark.parametrize("chosen", [{"version": 2}, {"as_of": 3 * 10**18}, {"version": 1}])
def test_workers_read_the_version_that_was_chosen(home: Path, chosen: dict[str, int]) -> None:
    number = chosen.get("version", 2)
    with chronicle.open(home, **chosen) as store:
        units = store.partitions(SYMBOL, "book", records=20)
        whole = store.scan(SYMBOL, "book").to_numpy()["index"].tolist()
    assert {unit.version for unit in units} == {number}
    assert len(units) >= 2
    again = pickle.loads(pickle.dumps(units))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rows = pool.map(_indexes, again)
    assert [index for part in rows for index in part] == whole


def _indexes(unit: Partition) -> list[int]:
    return unit.scan().to_numpy()["index"].tolist()


def test_versions_that_are_not_there_are_refused(home: Path) -> None:
    with pytest.raises(NotFoundError, match="no version 3"):
        chronicle.open(home, version=3)
    with pytest.raises(ConfigError, match="not both"):
        chronicle.open(home, version=1, as_of=5)
    with pytest.raises(ConfigError, match="of one home"):
        chronicle.open([home, home], version=1)


def test_diff_names_the_first_record_that_differs(home: Path, tmp_path: Path) -> None:
    equal = CliRunner().invoke(diff, ["0", "1", "--home", str(home)])
    assert (equal.exit_code, equal.output) == (0, "1 queues are equal, 0 are not\n")
    differing = CliRunner().invoke(diff, ["0", str(home / "rebuilt/2"), "--home", str(home), "--json"])
    assert differing.exit_code == 5
    said = json.loads(differing.output)
    assert [item["queue"] for item in said["differences"]] == ["clean/kraken/btc_eur/book.q"]
    first = said["differences"][0]
    assert (first["index"], first["a"]["kind"], first["b"]["kind"]) == (22, "BOOK_DELTA", "BOOK_SNAPSHOT")
    assert said["b"]["etl"]["config"]["snapshot_deltas"] == 20
    told = CliRunner().invoke(diff, ["1", "2", "--home", str(home)])
    assert "clean/kraken/btc_eur/book.q record 22: kind" in told.output
    other = tmp_path / "other"
    other.mkdir()
    missing = CliRunner().invoke(diff, ["0", str(other), "--home", str(home)])
    assert (missing.exit_code, "is only in 0" in missing.output) == (5, True)
