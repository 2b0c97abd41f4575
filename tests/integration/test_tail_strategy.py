"""The example strategy runs beside a writer, sees every trade and says how late it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("options", [[], ["--spin"]])
def test_strategy_reacts_to_every_trade_and_prints_its_latency(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "tail_strategy.py"), "--seconds", "2", *options],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trades"] == sum(result["histogram_ns"].values()) > 100
    assert (result["missed"], result["lag"]) == (0, 0)
    assert 0 < result["p50_ns"] <= result["p99_ns"] <= result["max_ns"]
