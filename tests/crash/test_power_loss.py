"""Power loss at every step of a move and of the manifest's commits: no segment is lost; without a sync one is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from chronicle.core.errors import ChronicleError
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.verify import verify
from tests.crash.test_strace import strace_problem
from tests.support.power import Disk, trace
from tests.support.survival import fast_folder
from tests.support.tiers import BOOK, apply_all, book_home, source_records, three_tiers

BEFORE = {"fsync", "fdatasync", "rename", "renameat", "link", "linkat", "unlink", "unlinkat"}
"""The disk is looked at before each of these takes effect: what it is for has not happened yet."""


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    problem = strace_problem()
    if problem is not None:
        pytest.skip(problem)


def record(folder: Path, warm: str, moves: int = 1) -> tuple[Path, Path, bytes]:
    """Return (the home before its moves, so many at once; the log of the agent's calls; the records)."""
    home, before, log = folder / "home", folder / "before", folder / "log"
    book_home(home, 2 * moves, per_segment=40)
    truth = source_records(TieredSource(home))
    shutil.copytree(home, before)
    command = [sys.executable, "-m", "tests.crash.tier_agent", str(home), warm, "zstd", "never", "1"]
    trace(command, os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "CHRONICLE_TEST_MOVES": str(moves)}, log)
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"warm"}
    shutil.rmtree(home)
    before.rename(home)
    return home, log, truth


def whole(image: Path, truth: bytes) -> str:
    """Return what is wrong with an image, empty when nothing is."""
    try:
        if source_records(TieredSource(image)) != truth:
            return "records are missing"
        policy = three_tiers(image)
        apply_all(image, policy).raise_for_failures()
        apply_all(image, policy).raise_for_failures()
        if source_records(TieredSource(image)) != truth:
            return "records are missing after the next run"
        findings = verify(image).findings
        return str(findings) if findings else ""
    except ChronicleError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["strict", "names"])
@pytest.mark.parametrize(("warm", "moves"), [("zstd", 1), ("none", 1), ("zstd", 2)])
def test_power_loss_at_any_step_of_a_move_loses_nothing(warm: str, moves: int, kind: str) -> None:
    with fast_folder() as folder:
        home, log, truth = record(folder, warm, moves)
        disk, looked = Disk(home), 0
        for call, path in disk.replay(log):
            if call not in BEFORE:
                continue
            looked += 1
            image = folder / f"image-{looked}"
            disk.image(image, kind=kind)
            assert whole(image, truth) == "", f"before {call} of {path}"
            shutil.rmtree(image)
        assert looked > 20


@pytest.mark.parametrize("unsynced", ["/archive/", "/manifest/"])
def test_without_a_sync_the_loss_is_seen(unsynced: str) -> None:
    with fast_folder() as folder:
        home, log, truth = record(folder, "zstd")
        disk = Disk(home, ignore=lambda path: unsynced in f"{path}/")
        for _ in disk.replay(log):
            pass
        image = folder / "image"
        disk.image(image, kind="names")
        assert whole(image, truth) != ""
