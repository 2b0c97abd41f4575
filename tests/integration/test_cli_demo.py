"""The demo: whole, repeatable in one folder, and clean after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.patience import HANG_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CHRONICLE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "chronicle", "demo", "--dir", str(folder), *arguments],
        env=environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of live processes that name `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in words and "demo" not in words.split(str(folder))[0]:
                found.append(words)
    return found


def test_demo_shows_every_step_and_leaves_a_home_that_other_commands_open(tmp_path):
    folder = tmp_path / "run"
    with demo(folder, "--seconds", "4", "--json") as process:
        out, error = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0, out + error
    report = json.loads(out)
    assert report["ok"]
    assert (report["checks_failed"], report["gaps"], report["problems"]) == (0, 0, [])
    assert report["book"]["source"]["place"] == "warm"
    assert report["compression"] > 2
    assert processes_of(folder) == []
    from chronicle import open as open_store
    from chronicle.cli.main import run

    with open_store(folder) as store:
        symbols = [item.symbol for item in store.instruments()]
        assert len(symbols) == report["instruments"] == 3
        rows = [store.scan(symbol, kinds=["delta"]).to_numpy() for symbol in symbols]
    assert all(len(part["index"]) for part in rows)
    moments = sum(len(np.unique(part["ts_recv"])) for part in rows)
    runs = sum(1 + np.count_nonzero(np.diff(part["index"]) > 1) for part in rows)
    assert moments <= report["checks_passed"] == runs, "the venue signs every change of a book, and all of it holds"

    for arguments in (
        ["ls"],
        ["tier", "status"],
        ["verify", "--deep"],
        ["gaps"],
        ["etl", "status"],
        ["feed", "status"],
    ):
        assert run([*arguments, "--home", str(folder)]) == 0


def test_an_interrupted_demo_leaves_no_process_and_may_be_run_again(tmp_path):
    folder = tmp_path / "run"
    with demo(folder, "--seconds", "600") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("waiting"):
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert processes_of(folder) == []
    with demo(folder, "--seconds", "600") as process:
        assert process.stdout is not None
        assert "replacing" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANG_SECONDS)
    assert processes_of(folder) == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_demo_replaces_nothing_that_is_not_a_demo(tmp_path, what):
    folder = tmp_path / "mine"
    if what == "folder":
        folder.mkdir()
    keep = folder / "precious" if what == "folder" else folder
    keep.write_text("x")
    with demo(folder) as process:
        _, error = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 2
    assert "left alone" in error
    assert keep.read_text() == "x"
