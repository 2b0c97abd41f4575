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
from chronicle.cli.main import run
from chronicle.core.clock import FakeClock
from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.queue import Queue
from chronicle.core.selection import Selection
from chronicle.etl import EtlConfig, rebuild, run_shard
from tests.support.etl_streams import BID, RawStream, binance, instrument

SYMBOL = "kraken:BTC-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    stream = RawStream()
    stream.define(1, instrument())
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    for number in range(100):
        stream.deltas(1, (BID, 9, 1 + number))
    _write(home, stream)
    run_shard(home, drain=True, config=EtlConfig(snapshot_deltas=50))
    for number, deltas in ((1, 50), (2, 20)):
        rebuild(
            home,
            home / f"rebuilt/{number}",
            config=EtlConfig(snapshot_deltas=deltas),
            clock=FakeClock(number * 10**18),
        )
    return home


def _write(home: Path, stream: RawStream, first: int = 0) -> None:
    with Queue.create(home / "raw/main.q", name="raw/main.q", exist_ok=True).appender() as appender:
        for _, data in stream.events[first:]:
            appender.append_event(data, 1)


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


TIMES = {"before": "1970-01-01T00:00:01Z", "between": str(15 * 10**17), "now": "2065-01-01"}
CHOSEN = {
    "plain": ([], 0),
    "own": (["--version", "0"], 0),
    "one": (["--version", "1"], 1),
    "two": (["--version", "2"], 2),
    "before": (["--as-of", TIMES["before"]], 0),
    "between": (["--as-of", TIMES["between"]], 1),
    "now": (["--as-of", TIMES["now"]], 2),
}


@pytest.mark.parametrize(("options", "number"), CHOSEN.values(), ids=CHOSEN)
def test_commands_read_the_version_that_is_named(
    home: Path, options: list[str], number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--home", str(home), *options]
    with chronicle.open(home, version=number) as store:
        book, deltas = store.book(SYMBOL).to_dict(), _records(store)
    assert run(["book", SYMBOL, "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(book))
    assert run(["scan", SYMBOL, "--format", "jsonl", "--columns", "index", *place]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["index"] == deltas - 1
    assert run(["gaps", SYMBOL, "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_gaps_are_those_of_the_version_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=5)
    stream.deltas(1, (BID, 9, 1), first=9, last=9)
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True)
    stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=12)
    _write(tmp_path, stream, 3)
    rebuild(tmp_path, tmp_path / "rebuilt/1", clock=FakeClock(10**18))
    for options, state in (([], "open"), (["--version", "1"], "closed"), (["--as-of", str(2 * 10**18)], "closed")):
        assert run(["gaps", "--json", "--home", str(tmp_path), *options]) == 0
        assert [gap["state"] for gap in json.loads(capsys.readouterr().out)] == [state], options


@pytest.mark.parametrize("words", [["book", SYMBOL], ["scan", SYMBOL], ["gaps"]], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--version", "3"], 3, "no version 3"),
        (["--version", "1", "--as-of", "2020-01-01"], 2, "not both"),
        (["--version", "one"], 2, "'one' is not a valid integer"),
        (["--as-of", "yesterday"], 2, "yesterday"),
    ],
)
def test_commands_refuse_versions_that_are_not_there(
    home: Path, words: list[str], options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, *options, "--home", str(home)]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert not told.out
    assert "Traceback" not in told.err


def test_a_rebuild_of_several_shards_is_a_version_with_the_last_of_them(tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, instrument())
    stream.define(2, instrument("okx:BTC-USDT"))
    for number in (1, 2):
        stream.snapshot(number, [(10, 1)], [(11, 1)])
    _write(tmp_path, stream)
    shards = {name: EtlConfig(symbols=(f"{name}:*",)) for name in ("kraken", "okx")}
    into, clock = tmp_path / "rebuilt/1", FakeClock(5 * 10**17)

    def make(shard: str) -> None:
        others: dict[str, Selection] = {name: other.selection for name, other in shards.items() if name != shard}
        rebuild(tmp_path, into, shard=shard, config=shards[shard], others=others, clock=clock)

    make("kraken")
    assert not (into / "version.json").exists()
    with pytest.raises(NotFoundError, match="no version 1"):
        chronicle.open(tmp_path, version=1)
    stream.deltas(1, (BID, 9, 1))
    _write(tmp_path, stream, 4)
    clock.sleep_ns(10**17)
    make("okx")
    said = json.loads((into / "version.json").read_bytes())
    assert said["made_ns"] == 6 * 10**17, "it is whole since the last shard was"
    assert said["raw"] == {"raw/main.q": 4}, "up to where all shards took the raw queue"
    with chronicle.open(tmp_path, version=1) as store:
        assert [item.symbol for item in store.instruments()] == [SYMBOL, "okx:BTC-USDT"]


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


def test_shards_are_rebuilt_into_one_version_and_each_held_against_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = RawStream()
    for number, symbol in ((1, "kraken:BTC-EUR"), (2, "okx:BTC-USDT")):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(10, 1)], [(11, 1)])
        stream.deltas(number, (BID, 9, 2))
    _write(tmp_path, stream)
    monkeypatch.setenv("CHRONICLE_ETL_SHARDS", "one=kraken:*;two=okx:*")
    place = ["--home", str(tmp_path)]
    for name in ("one", "two"):
        assert run(["etl", "run", "--drain", "--shard", name, *place]) == 0
    for name in ("one", "two", "one"):
        assert run(["etl", "rebuild", "--verify", "--shard", name, *place]) == 0
        assert f"every record equals the home's (shard {name})" in capsys.readouterr().out
    assert sorted(path.parent.name for path in tmp_path.glob("rebuilt/*/version.json")) == ["1"], "2 lacks a shard"
    assert run(["etl", "rebuild", "--verify", *place]) == 0
    told = capsys.readouterr().out
    assert "shard one: " in told
    assert "shard two: " in told
    assert sorted(path.parent.name for path in tmp_path.glob("rebuilt/*/version.json")) == ["1", "3"]
    assert run(["diff", "0", "3", *place]) == 0
    capsys.readouterr()
    (tmp_path / "rebuilt/4").mkdir()
    assert run(["etl", "rebuild", "--verify", "--shard", "two", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["into"] == str(tmp_path / "rebuilt/5")
