"""The README's commands and code do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def run(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's shell block was run, line by line."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("KRAKEN.0.zst", "KRAKEN.ws.50.0.zst"):
        (folder / name).symlink_to(shared_data / "cryptofeed-ws" / "raw-text" / name)
    block = next(text for language, text in BLOCKS if language == "sh" and "feed replay" in text)
    shown = {}
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "chronicle"
        shown[arguments[0]] = run(["-m", "chronicle", *arguments], folder)
    assert "kraken:BTC-CHF" in shown["ls"]
    assert "ok" in shown["book"]
    assert "XBT/CHF" in shown["explain"]
    return folder


def test_python_blocks_run(folder: Path) -> None:
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) == 2
    store, queue = (run(["-c", block], folder) for block in blocks)
    assert store.startswith("ok checksum")
    assert queue.startswith("0 b'hello")


def test_files_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"`(docs/[\w./]+)`", README):
        assert (ROOT / name).exists(), name
