"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from chronicle.core import durability, watermarks

# The suite draws the same examples each time; `make soak` draws new ones and prints the seed of a failure.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("CHRONICLE_HYPOTHESIS", "suite"))

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def as_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues of this test count as lying on a disk, also where its folder (or a small disk) is a tmpfs."""
    for module in (durability, watermarks):
        monkeypatch.setattr(module, "is_memory", lambda folder: False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of captured market data beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared market data beside the checkout (looked for ../shared/data from {REPOSITORY.name})")
    return SHARED_DATA
