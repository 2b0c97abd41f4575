"""The book at a moment by kernels: the last change of each price is the book that every change in turn gives."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.books import lookup, moment, sampling
from chronicle.access.books.bulk import BulkBook
from chronicle.access.books.changes import Changes
from chronicle.access.books.grid import GridBook
from chronicle.access.kernels import books as codes
from chronicle.access.kernels import moments as kernel
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.etl import ArrayBook
from tests.support.eventful import SECOND, START, eventful

SYMBOL = "kraken:BTC-EUR"
IN_CHILD = "CHRONICLE_TEST_IN_CHILD"


def merged(levels: dict[int, int], changes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The obvious way: one change after the other."""
    out = dict(levels)
    for price, size in changes:
        out[price] = size
    return sorted((price, size) for price, size in out.items() if size)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("depth", [None, 1, 3, 50])
def test_settled_changes_are_the_levels_after_each_in_turn(seed: int, depth: int | None) -> None:
    rng = random.Random(seed)
    span = rng.choice([40, 5_000, 2**61])
    table = Changes(64)
    levels = np.zeros((4, 80), dtype=np.int64)
    counts = np.zeros(2, dtype=np.int64)
    truth, words = [], []
    for half in range(2):
        keys = sorted({rng.randrange(-span, span) for _ in range(rng.randrange(60))})
        held = {key: rng.randrange(1, 9) for key in keys}
        counts[half] = len(held)
        levels[2 * half, : len(held)], levels[2 * half + 1, : len(held)] = list(held), list(held.values())
        changes = [(0, 1)]
        for _ in range(rng.randrange(60)):
            key = rng.choice(keys) if keys and rng.random() < 0.5 else rng.randrange(-span, span)
            changes.append((key, rng.randrange(3)))
        for key, size in changes:
            side = b"BA"[half] << 56
            head = np.array([side | 32 << 32 | 80, 0, 0, 0, 0, -1, -key if half else key, size, 0, 0], dtype=np.int64)
            words.append(head)
        truth.append(merged(held, changes))
    book = ArrayBook()
    book.replace_levels(levels)
    book.counts[:] = counts
    reg = np.zeros(codes.REGISTERS, dtype=np.int64)
    noted = np.concatenate([np.zeros(0, dtype=np.int64), *words])
    assert kernel.gather(*table.parts, reg, noted, 0, INT64_MAX) == (codes.DONE, len(noted))
    if depth is None:
        table.settle(book)
    else:
        table.keep_best(book, depth)
    for half in range(2):
        found = list(zip(*(book.levels[2 * half + row, : book.counts[half]].tolist() for row in (0, 1)), strict=True))
        assert found == (truth[half] if depth is None else truth[half][-depth:])
    assert not table.used.any()
    assert not table.heads.any()


@pytest.mark.parametrize("ends", [(INT64_MIN, INT64_MAX), (INT64_MIN, -1), (0, INT64_MAX), (5, 5)])
def test_keys_are_sorted_over_the_whole_of_int64(ends: tuple[int, int]) -> None:
    rng = random.Random(8)
    keys = np.array([*ends, *(rng.randint(*ends) for _ in range(98))], dtype=np.int64)
    sizes = np.arange(100, dtype=np.int64)
    truth = sorted(zip(keys.tolist(), sizes.tolist(), strict=True), key=lambda pair: pair[0])
    spare = np.empty((2, 100), dtype=np.int64)
    swapped = kernel._sort(keys, sizes, 100, spare[0], spare[1], np.empty(kernel.DIGITS, dtype=np.int64))
    found = (spare[0], spare[1]) if swapped else (keys, sizes)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == truth


def answers(home: Path, moments: list[int], depth: int | None, *, kernels: bool, patch: pytest.MonkeyPatch) -> list:
    patch.setattr(lookup, "_kernels_pay", lambda _: kernels)
    with chronicle.open(home) as store:
        books = [store.book(SYMBOL, at=at, depth=depth) for at in moments]
    return [
        (book.to_dict(), book.verified_by, book.snapshot_age_ns, book.complete_range, book.cost.deltas_replayed)
        for book in books
    ]


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("entries", [3, 8_192])
def test_kernels_answer_what_plain_python_answers(
    tmp_path: Path, seed: int, checks: bool, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = eventful(tmp_path, seed, steps=300, checks=checks)
    monkeypatch.setattr(moment._KEPT, "changes", Changes(entries))
    rng = random.Random(seed)
    moments = [rng.randrange(START, last + SECOND) for _ in range(60)] + [last, last - 1]
    for depth in (None, 2):
        plain = answers(tmp_path, moments, depth, kernels=False, patch=monkeypatch)
        assert answers(tmp_path, moments, depth, kernels=True, patch=monkeypatch) == plain


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("entries", [3, 8_192])
def test_the_grid_of_noted_changes_is_the_grid_of_each_in_turn(
    tmp_path: Path, seed: int, checks: bool, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = eventful(tmp_path, seed, checks=checks)
    with chronicle.open(tmp_path) as store:
        for every in ("1s", 7_777_777):
            found = []
            for kind in (partial(GridBook, changes=Changes(entries)), BulkBook):
                monkeypatch.setattr(sampling, "GridBook", kind)
                rows = store.books(SYMBOL, START, START + min(last - START, 20_000 * 7_777_777), every=every, depth=3)
                found.append(rows.to_arrow())
            assert found[0].num_rows > 20
            assert found[0].equals(found[1])


def test_the_rules_hold_without_the_compiler() -> None:
    if os.environ.get(IN_CHILD):
        pytest.skip("this is the child")
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-x", __file__], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
