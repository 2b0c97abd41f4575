"""The example of a cluster runs: two worker processes, each opening the store by its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventful import eventful

SYMBOL = "kraken:BTC-EUR"

ROOT = Path(__file__).resolve().parents[2]


def test_two_workers_sample_books(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    eventful(tmp_path / "home", 8, steps=400)
    home = str(tmp_path / "home")
    text = f"import examples.dask_books as it; it.RECORDS = 200; it.main({home!r}, {SYMBOL!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    {text}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "units" in done.stdout
    assert int(done.stdout.split()[0]) > 3
    assert "2023-11-14 22:00:00" in done.stdout
