"""The API reference holds every public name, each with its docstring."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

from tools.api_reference import PACKAGES

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_is_told(tmp_path: Path) -> None:
    target = tmp_path / "api.md"
    done = subprocess.run(
        [sys.executable, "tools/api_reference.py", target], cwd=ROOT, env={"PYTHONPATH": "."}, check=False
    )
    assert done.returncode == 0
    text = target.read_text(encoding="utf-8")
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            assert name == "__version__" or re.search(rf"^### {name}\b", text, re.MULTILINE), (package, name)
    assert text.count("```") % 2 == 0
    for method in ("book", "books", "scan", "sql", "replay", "tail", "export", "quality", "audit", "partitions"):
        told = re.search(rf"^#### Store\.{method}\(.*\n\n(.+)\n", text, re.MULTILINE)
        assert told is not None, method
        assert len(told[1]) > 20
    entries = re.split(r"^####? ", text, flags=re.MULTILINE)[1:]
    silent = [entry.splitlines()[0] for entry in entries if not "".join(entry.splitlines()[1:]).strip()]
    assert silent == []
