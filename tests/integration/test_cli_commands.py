"""Every command on homes that are empty, filled, archived, damaged or hostile: exit codes, one line, no traceback."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.config import home as home_module
from chronicle.config import leftovers
from tests.support.patience import HANG_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]
SYMBOL = "kraken:SC-EUR"
AT = "2021-04-17T16:49:10Z"


def chronicle(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CHRONICLE_")}
    return subprocess.run(
        [sys.executable, "-m", "chronicle", *arguments],
        env=clean | {"PYTHONPATH": str(REPOSITORY)} | environ,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def archived(shared_data, tmp_path_factory) -> Path:
    """A home with a replayed, refined and archived Kraken capture."""
    home = tmp_path_factory.mktemp("archived")
    capture = shared_data / "cryptofeed-ws" / "jsonl" / "KRAKEN.jsonl.zst"
    for arguments in (
        ["feed", "replay", str(capture), "--format", "cryptofeed"],
        ["etl", "run", "--drain"],
        ["tier", "apply", "--all"],
    ):
        done = chronicle(*arguments, "--home", str(home))
        assert done.returncode == 0, done.stderr
    return home


def named(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


EVERY = [
    (["ls"], 0),
    (["ls", "--raw"], 0),
    (["feed", "venues"], 0),
    (["feed", "status"], 0),
    (["feed", "replay", "/nope"], 3),
    (["feed", "run"], 2),
    (["etl", "run", "--drain"], 0),
    (["etl", "status"], 0),
    (["tier", "plan", "--all"], 0),
    (["tier", "apply", "--all"], 0),
    (["tier", "status"], 0),
    (["tier", "rebuild"], 0),
    (["book", "kraken:BTC-EUR"], 3),
    (["scan", "kraken:BTC-EUR"], 3),
    (["tail", "kraken:BTC-EUR", "--timeout", "0"], 3),
    (["gaps"], 0),
    (["quality"], 0),
    (["explain", "kraken:BTC-EUR", "--index", "0"], 3),
    (["verify"], 0),
    (["diff", "0", "0"], 0),
    (["diff", "0", "7"], 3),
    (["diff", "0", "/nope"], 3),
    (["audit"], 0),
    (["sql", "from instruments"], 0),
    (["sql", "selec"], 2),
    (["export", "out", "--plan"], 0),
    (["export", "out", "kraken:BTC-EUR"], 3),
    (["import", "/nope"], 3),
    (["queue", "inspect"], 0),
    (["queue", "check", "raw/main"], 3),
    (["queue", "dump", "raw/main"], 3),
    (["queue", "repair", "raw/main"], 3),
]


@pytest.mark.parametrize(("arguments", "code"), EVERY, ids=named)
def test_every_command_works_in_an_empty_uninitialised_home(arguments, code, tmp_path, capsys):
    assert run([*arguments, "--home", str(tmp_path)]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert bool(captured.err) == bool(code), captured.err
    if code:
        assert captured.err.startswith("chronicle: ")
        assert captured.err.count("\n") == 1


WITH_JSON = [pair for pair in EVERY if pair[0][0] not in {"scan"} and pair[0][:2] != ["queue", "dump"]]


@pytest.mark.parametrize(("arguments", "code"), WITH_JSON, ids=named)
def test_every_json_answer_is_json(arguments, code, tmp_path, capsys):
    assert run([*arguments, "--json", "--home", str(tmp_path)]) == code
    out = capsys.readouterr().out
    value = json.loads(out)
    if code:
        assert set(value) >= {"error", "message"}


@pytest.mark.parametrize(("arguments", "code"), EVERY, ids=named)
def test_a_home_that_is_a_file_or_absent_is_a_clear_error(arguments, code, tmp_path, capsys):
    del code
    (tmp_path / "file").write_text("x")
    for home in (tmp_path / "file", tmp_path / "absent"):
        found = run([*arguments, "--home", str(home)])
        error = capsys.readouterr().err
        assert found in {0, 2, 3}, error
        assert "Traceback" not in error
        assert "mistake of its own" not in error
    assert not (tmp_path / "absent").exists() or arguments[:2] == ["feed", "run"]


def test_sql_answers_in_every_form(archived, tmp_path, capsys):
    query = f"select symbol, price, ts_recv from trade where symbol = '{SYMBOL}' order by index"
    assert run(["sql", query, "--home", str(archived)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["symbol", "price", "ts_recv"]
    assert run(["sql", query, "--json", "--home", str(archived)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert run(["sql", query, "--csv", "--exact", "--home", str(archived)]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == len(lines) == len(table) - 1 > 0
    assert [row["ts_recv"] for row in rows] == [line["ts_recv"] for line in lines]
    assert [row["price"] for row in rows] == [float(line["price"]) for line in lines]
    for name in ("a.csv", "a.jsonl", "a.parquet", "a.arrow"):
        assert run(["sql", query, "-o", str(tmp_path / name), "--home", str(archived)]) == 0
        assert f"{len(rows)} rows" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "a.csv", "a.jsonl", "a.parquet"]
    assert run(["sql", query, "-o", str(tmp_path / "a.xls"), "--home", str(archived)]) == 2
    assert run(["sql", query, "--json", "--csv", "--home", str(archived)]) == 2
    assert run(["sql", query, "--memory", "7 apples", "--home", str(archived)]) == 2
    assert run(["sql", f"from book('{SYMBOL}', '{AT}', depth := 2)", "--home", str(archived)]) == 0


def test_exported_records_make_the_same_home(archived, tmp_path, capsys):
    copy, other = tmp_path / "copy", tmp_path / "other"
    assert run(["export", str(copy), "--format", "records", "--json", "--home", str(archived)]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert run(["import", str(copy), "--json", "--home", str(other)]) == 0
    imported = json.loads(capsys.readouterr().out)
    assert imported["records"] == exported["rows"] > 1_000
    answers = []
    for home in (archived, other):
        assert run(["book", SYMBOL, "--at", AT, "--json", "--home", str(home)]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    for answer in answers:
        del answer["source"]
    assert answers[0] == answers[1]
    assert run(["import", str(copy), "--home", str(other)]) == 2
    assert "there already" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "rows"), SYMBOL, "--channel", "trade", "--home", str(archived)]) == 0
    assert "1 files" in capsys.readouterr().out


HOSTILE = [
    "",
    "\x00",
    "../../../etc/passwd",
    "kraken:",
    ":",
    "x" * 5000,
    "kraken:\x1b[31m",
    "💥:💥",
    "-",
    "kraken:B\n",
]
ASKING = [
    ["book"],
    ["scan"],
    ["gaps"],
    ["quality"],
    ["ls"],
    ["explain", "--index", "1"],
    ["tail", "--timeout", "0"],
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_hostile_symbols(words, text, tmp_path, capsys):
    code = run([*words, "--home", str(tmp_path), "--", text])
    error = capsys.readouterr().err
    assert code in {0, 2, 3}, error
    assert "Traceback" not in error
    assert "mistake of its own" not in error


@pytest.mark.parametrize(
    "time", ["", "yesterday", "9" * 30, "2021-13-01", "1e18", "-1", "nan", "2021-04-17T25:00:00Z"]
)
def test_hostile_times(time, tmp_path, capsys):
    assert run(["book", "kraken:BTC-EUR", f"--at={time}", "--home", str(tmp_path)]) in {2, 3}
    assert "mistake of its own" not in capsys.readouterr().err


def test_a_broken_configuration_is_told_by_every_command_that_reads_it(tmp_path, capsys):
    (tmp_path / "chronicle.toml").write_text("[rawe]\n")
    for arguments in (["tier", "status"], ["etl", "run", "--drain"], ["init"], ["feed", "replay", "/nope"]):
        assert run([*arguments, "--home", str(tmp_path)]) == 2
        assert "did you mean raw?" in capsys.readouterr().err


def test_init_and_clean_over_a_life(tmp_path, monkeypatch, capsys):
    home, shared = tmp_path / "home", tmp_path / "shm"
    shared.mkdir()
    # `clean` removes what it finds left in /dev/shm, of whomever: here it has one of its own
    monkeypatch.setattr(home_module, "prepare_home", partial(home_module.prepare_home, shared=shared))
    monkeypatch.setattr(leftovers, "find_memory", partial(leftovers.find_memory, shared))
    monkeypatch.setenv("CHRONICLE_RAW_SEGMENT_BYTES", "64 KiB")
    monkeypatch.setenv("CHRONICLE_HOME", str(home))

    def said(*arguments: str) -> str:
        assert run([*arguments]) == 0
        return capsys.readouterr().out

    made = json.loads(said("init", "--json"))
    assert (made["created"], made["in_memory"]) == (True, True)
    assert not json.loads(said("init", "--json"))["created"]
    assert run(["clean", "--home", str(home)]) == 2
    assert "Nothing to remove" in said("clean")
    folder = Path(made["raw"]).parent
    assert folder.parent == shared
    shutil.rmtree(home)
    assert f"Would remove {folder}" in said("clean", "--dry-run")
    assert folder.exists()
    assert f"Removed {folder}" in said("clean")
    assert not folder.exists()
    assert run(["ls"]) == 3


@pytest.mark.data
def test_book_as_a_ladder_and_as_json(archived):
    done = chronicle("book", SYMBOL, "--at", AT, "--depth", "3", "--home", str(archived))
    assert done.returncode == 0, done.stderr
    assert "verified by checksum" in done.stdout
    assert done.stdout.count("  ask  ") == done.stdout.count("  bid  ") == 3
    found = json.loads(
        chronicle("book", "kraken:SC/EUR", "--at", AT, "--depth", "3", "--json", "--home", str(archived)).stdout
    )
    assert (found["symbol"], found["status"], len(found["bids"])) == (SYMBOL, "ok", 3)
    assert all(isinstance(text, str) for level in found["bids"] + found["asks"] for text in level)
    assert chronicle("book", SYMBOL, "--strict", "--home", str(archived)).returncode == 11


@pytest.mark.data
def test_scan_writes_the_same_rows_in_every_format(archived, tmp_path, capsys):
    home = ["--home", str(archived)]
    for name in ("rows.csv", "rows.jsonl", "rows.parquet", "rows.arrow"):
        assert run(["scan", SYMBOL, "-o", str(tmp_path / name), *home]) == 0
    import pyarrow.parquet
    from pyarrow import ipc

    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    with ipc.open_file(tmp_path / "rows.arrow") as file:
        arrow = file.read_all()
    assert len(rows) == len(lines) == table.num_rows == arrow.num_rows > 500
    assert (
        [row["price"] for row in rows]
        == [line["price"] for line in lines]
        == [str(value) for value in table["price"].to_pylist()]
    )
    assert table.equals(arrow)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rows.arrow",
        "rows.csv",
        "rows.jsonl",
        "rows.parquet",
    ]
    capsys.readouterr()
    assert (
        run(["scan", SYMBOL, "--channel", "trade", "--columns", "ts_recv,price", "--iso", "--limit", "1", *home]) == 0
    )
    assert capsys.readouterr().out.splitlines()[1].startswith("2021-04-17T16:49:05.948901200Z,0.04")


@pytest.mark.data
def test_a_scan_that_fails_leaves_no_file(archived, tmp_path, capsys):
    assert run(["scan", SYMBOL, "-o", str(tmp_path / "absent" / "x.csv"), "--home", str(archived)]) == 10
    assert run(["scan", SYMBOL, "--columns", "nope", "-o", str(tmp_path / "x.csv"), "--home", str(archived)]) == 2
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()


@pytest.mark.data
def test_explain_reaches_the_bytes_of_the_exchange(archived):
    done = chronicle("explain", SYMBOL, "--channel", "trade", "--index", "3", "--home", str(archived))
    assert done.returncode == 0, done.stderr
    assert '"2383.16665529"' in done.stdout
    found = json.loads(chronicle("explain", SYMBOL, "--at", AT, "--json", "--home", str(archived)).stdout)
    assert found["wire"]["record"]["payload"].startswith("[")
    assert chronicle("explain", SYMBOL, "--index", "99999999", "--home", str(archived)).returncode == 3


@pytest.mark.data
def test_quality_gaps_verify_and_rebuild_agree(archived, tmp_path):
    quality = json.loads(chronicle("quality", "--json", "--home", str(archived)).stdout)
    assert sum(item["checks_passed"] for item in quality) == 4269
    assert sum(item["checks_failed"] for item in quality) == 0
    assert json.loads(chronicle("gaps", "--json", "--home", str(archived)).stdout) == []
    verified = json.loads(chronicle("verify", "--deep", "--json", "--home", str(archived)).stdout)
    assert verified["ok"], verified["findings"]
    assert len(verified["records"]["compared"]) > 5
    assert verified["records"]["passed_over"] == []
    again = chronicle(
        "etl", "rebuild", "--into", str(tmp_path / "again"), "--verify", "--json", "--home", str(archived)
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["differences"] == []


@pytest.mark.data
def test_the_same_capture_twice_is_refused(archived, shared_data):
    capture = shared_data / "cryptofeed-ws" / "jsonl" / "KRAKEN.jsonl.zst"
    done = chronicle("feed", "replay", str(capture), "--json", "--home", str(archived))
    assert done.returncode == 9
    assert json.loads(done.stdout)["error"] == "already_captured"


@pytest.mark.data
def test_tail_goes_from_history_to_the_end(archived):
    done = chronicle(
        "tail",
        SYMBOL,
        "--channel",
        "trade",
        "--start",
        "2021-04-17",
        "--timeout",
        "0.1",
        "--json",
        "--home",
        str(archived),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(row["kind"] == "trade" for row in rows) == 6
    assert [row["ts_recv"] for row in rows] == sorted(row["ts_recv"] for row in rows)
    few = chronicle("tail", SYMBOL, "--start", "2021-04-17", "--limit", "3", "--json", "--home", str(archived))
    assert (few.returncode, len(few.stdout.splitlines())) == (0, 3)


@pytest.mark.data
@pytest.mark.parametrize(
    "arguments", [["ls"], ["tier", "status"], ["etl", "status"], ["queue", "inspect"]], ids=" ".join
)
def test_light_commands_load_neither_kernels_nor_frames(arguments, archived):
    code = (
        "import sys; from chronicle.cli.main import run; code = run(sys.argv[1:]);"
        "heavy = {'numba', 'numpy', 'pyarrow', 'pandas', 'polars', 'rich'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    environ = dict(os.environ, CHRONICLE_HOME=str(archived), PYTHONPATH=str(REPOSITORY))
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.data
def test_a_book_where_the_seek_is_short_needs_no_kernel(archived):
    code = (
        "import sys; from chronicle.cli.main import run; code = run(sys.argv[1:]); "
        "sys.exit(code or ('numba' in sys.modules))"
    )
    environ = dict(os.environ, CHRONICLE_HOME=str(archived), PYTHONPATH=str(REPOSITORY))
    command = [sys.executable, "-c", code, "book", SYMBOL, "--at", AT]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def test_ls_shows_a_damaged_channel_under_its_symbol(archived, tmp_path):
    home = shutil.copytree(archived, tmp_path / "home")
    queue = "clean/kraken/sc_eur/trade.q"
    mark = home / queue / "tail.json"
    values = json.loads(mark.read_bytes())
    mark.write_text(json.dumps(values | {"next_base_index": values["next_base_index"] + 5}))
    done = chronicle("ls", "kraken:SC-*", "--json", "--home", str(home))
    (row,) = [row for row in json.loads(done.stdout) if row["queue"] == queue]
    assert (row["symbol"], row["channel"]) == (SYMBOL, "trade")
    assert "missing" in row["error"]
