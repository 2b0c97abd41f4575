"""The examples in the queue's docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["queue", "appender", "tailer"])
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"chronicle.core.{name}")
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
