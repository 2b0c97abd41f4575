"""What threads ask to be written at the same time is one transaction; what cannot be written fails alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from chronicle.core.errors import ChronicleError, StateError, StoreError
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_commits import Together
from tests.unit.storage.test_catalog_changes import entry

LONG = 600
"""Seconds; a hang, no measure."""


class Slow:
    """Writes that wait until they are let go on."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, items: Sequence[int]) -> None:
        self.begun.set()
        assert self.go.wait(LONG)
        if any(item < 0 for item in items):
            raise StateError("an item that cannot be written")
        if any(item == 0 for item in items):
            raise KeyboardInterrupt
        self.writes.append(list(items))


def waits(together: Together[int], number: int) -> bool:
    with together._lock:
        return len(together._waiting) == number


def ask(together: Together[int], items: Sequence[int], slow: Slow) -> dict[int, BaseException | None]:
    """Let a first item be written, and the others come while that takes its time."""
    told: dict[int, BaseException | None] = {}

    def one(item: int) -> None:
        try:
            together.do(item, slow.write)
            told[item] = None
        except (ChronicleError, KeyboardInterrupt) as error:
            told[item] = error

    threads = [threading.Thread(target=one, args=(item,)) for item in items]
    threads[0].start()
    assert slow.begun.wait(LONG)
    for number, thread in enumerate(threads[1:], 1):
        thread.start()
        while not waits(together, number):
            assert thread.is_alive()
            thread.join(0.001)
    slow.go.set()
    for thread in threads:
        thread.join(LONG)
    return told


def test_what_waits_is_written_together() -> None:
    slow = Slow()
    together = Together[int]()
    assert ask(together, [1, 2, 3, 4], slow) == dict.fromkeys([1, 2, 3, 4])
    assert slow.writes == [[1], [2, 3, 4]]


def test_what_cannot_be_written_fails_alone() -> None:
    slow = Slow()
    together = Together[int]()
    told = ask(together, [1, 2, -3, 4], slow)
    assert isinstance(told.pop(-3), StateError)
    assert told == dict.fromkeys([1, 2, 4])
    assert slow.writes == [[1], [2], [4]]


def test_an_interrupted_writer_leaves_the_others_to_themselves() -> None:
    slow = Slow()
    together = Together[int]()
    told = ask(together, [0, 2, 3], slow)
    assert isinstance(told.pop(0), KeyboardInterrupt)
    assert told == dict.fromkeys([2, 3])
    assert sorted(item for write in slow.writes for item in write) == [2, 3]


def test_threads_put_entries_in_few_transactions(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path, create=True)
    assert manifest is not None
    manifest.make_index()
    manifest.put([entry(0)])
    before, gate, count = manifest.version(), threading.Barrier(8), 20

    def put(number: int) -> None:
        gate.wait()
        for each in range(count):
            manifest.put([entry(number * count + each)], dirty=["warm"])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manifest.entries()) == 8 * count + 1
    assert manifest.version() - before <= 8 * count
    assert len(manifest.catalog_state("warm").changes) == 8 * count + 1
    assert manifest.totals()["warm"][0] == 8 * count + 1


def test_a_key_that_lmdb_does_not_take_is_our_error(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path, create=True)
    assert manifest is not None
    with pytest.raises(StoreError):
        manifest.put([entry(1, queue="clean/" + "x" * 600 + "/book.q")])
    assert manifest.entries() == []


def test_entries_are_read_on_from_a_key_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronicle.storage.manifest.manifest.PAGE_ENTRIES", 3)
    manifest = Manifest.open(tmp_path, create=True)
    assert manifest is not None
    assert list(manifest.following()) == []
    made = [entry(number, queue=queue) for queue in ("a/b.q", "a/b.qq", "b/c.q") for number in (0, 1, 7, 256)]
    manifest.put(made)
    assert list(manifest.following()) == made
    for place, each in enumerate(made):
        assert list(manifest.following(each.key)) == made[place + 1 :]
    assert list(manifest.following(("a/b.q", 1, 3))) == made[2:]
