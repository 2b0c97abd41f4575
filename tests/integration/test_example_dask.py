"""The example of a cluster runs: two worker processes, each opening the store by its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chronicle
from tests.support.eventful import eventful
from tests.support.patience import HANG_SECONDS

SYMBOL = "kraken:BTC-EUR"

ROOT = Path(__file__).resolve().parents[2]


def surroundings(folder: Path) -> dict[str, str]:
    """Return the environment of a cluster: a scratch folder of its own, and no bound below that of a hang."""
    bounds = {f"DASK_DISTRIBUTED__COMM__TIMEOUTS__{name}": f"{HANG_SECONDS}s" for name in ("CONNECT", "TCP")}
    return {
        **os.environ,
        **bounds,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        "DASK_TEMPORARY_DIRECTORY": str(folder),
    }


def test_two_workers_sample_books(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    eventful(tmp_path / "home", 8, steps=400)
    home = str(tmp_path / "home")
    text = f"import examples.dask_books as it; it.main({home!r}, {SYMBOL!r}, 200)"
    done = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    {text}"],
        cwd=ROOT,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "units" in done.stdout
    assert int(done.stdout.split()[0]) > 3
    assert "2023-11-14 22:00:00" in done.stdout


def test_a_month_on_two_workers(tmp_path: Path) -> None:
    """The month is made, archived and sampled each second; every hour is there, and one is what one reader has."""
    pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, "examples/month_of_books.py", tmp_path / "home", "--seconds", "60", "--records", "6000"],
        cwd=ROOT,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "[720 rows x 3 columns]" in done.stdout
    assert int(re.search(r"^(\d+) units", done.stdout, re.MULTILINE)[1]) >= 5
    shown = re.search(r"^2024-06-01 01:00:00\+00:00\s+(\d+)\s+([\d.]+)\s+([\d.]+)$", done.stdout, re.MULTILINE)
    with chronicle.open(tmp_path / "home") as store:
        assert {segment.place for segment in store.coverage("bitmex:BTC-USD-PERP", "book").segments} == {"warm"}
        books = store.books("bitmex:BTC-USD-PERP", "2024-06-01T01:00", "2024-06-01T02:00", every="1s", depth=1)
        spread = (books.ask_price - books.bid_price)[:, 0]
    assert len(spread) == int(shown[1]) == 3_600
    assert spread.mean() == pytest.approx(float(shown[2]), abs=1e-6)
    assert spread.max() == pytest.approx(float(shown[3]), abs=1e-6)
