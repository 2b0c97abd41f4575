"""Small and read-only file systems, where this process may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["read_only", "small_disk"]


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs of `size_bytes` under `folder`; skip the test where that is not allowed."""
    with _mounted(folder / "disk", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs") as path:
        yield path


@contextmanager
def read_only(folder: Path, source: Path) -> Iterator[Path]:
    """Show `source` once more under `folder`, read-only; skip the test where that is not allowed."""
    with _mounted(folder / "read-only", "--bind", "-o", "ro", str(source)) as path:
        yield path


@contextmanager
def _mounted(path: Path, *arguments: str) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root and mount(8)")
    path.mkdir()
    done = subprocess.run(["mount", *arguments, str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this host does not let root mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
