"""The collector is held back inside the block, and as it was behind it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from chronicle.core.collecting import Uncollected


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    """Leave the collector on for the tests behind."""
    yield
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_behind_the_block_and_an_error(enabled: bool) -> None:
    held = Uncollected()
    if not enabled:
        gc.disable()
    for _ in range(2):
        with held:
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    with pytest.raises(ZeroDivisionError), held:
        raise ZeroDivisionError
    assert gc.isenabled() == enabled
