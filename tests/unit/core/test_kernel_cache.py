"""Two processes that compile at once leave a cache in which each form has its own code."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from chronicle.core.kernels import cache_lock

numba_caching = pytest.importorskip("numba.core.caching")


def cache_file(folder: Path):
    return numba_caching.IndexDataCacheFile(str(folder), "kernels.sum-1.py3", "stamp")


def test_entries_that_are_saved_at_once_keep_their_own_code(tmp_path: Path) -> None:
    """One stands still between its look at the index and its own entry, the other before its code is written."""
    one, other = cache_file(tmp_path), cache_file(tmp_path)
    one_is_in, other_is_in, one_is_done = threading.Event(), threading.Event(), threading.Event()
    save_index, save_data = one._save_index, other._save_data

    def after_the_other(overloads: object) -> None:
        one_is_in.set()
        other_is_in.wait(0.5)  # it does not come in
        save_index(overloads)

    def last(name: str, data: object) -> None:
        other_is_in.set()
        one_is_done.wait(600)
        save_data(name, data)

    one._save_index, other._save_data = after_the_other, last
    begun = threading.Thread(target=one.save, args=("float", "code of float"))
    beside = threading.Thread(target=other.save, args=("int", "code of int"))
    begun.start()
    assert one_is_in.wait(600)
    beside.start()
    begun.join()
    one_is_done.set()
    beside.join()
    found = cache_file(tmp_path)
    assert (found.load("float"), found.load("int")) == ("code of float", "code of int")


def test_a_lock_that_is_not_given_up_costs_a_compilation_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_file(tmp_path).save("int", "code")
    monkeypatch.setattr(cache_lock, "_LOOKS_MAX", 2)
    with open(tmp_path / cache_lock.LOCK_NAME, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cache_file(tmp_path).load("int") is None
        cache_file(tmp_path).save("float", "code")
    assert cache_file(tmp_path).load("int") == "code"
    assert cache_file(tmp_path).load("float") is None


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert cache_file(tmp_path / "absent").load("int") is None
    assert os.listdir(tmp_path) == []
