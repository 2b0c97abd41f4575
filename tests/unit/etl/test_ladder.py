"""Books in a tick ladder against the plain Python book, wherever their prices go."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.layout import INT64_MAX, INT64_MIN, Side
from chronicle.etl import ArrayBook, Book
from chronicle.etl.books import array_book, ladder

SMALL = {"LEVELS_MIN": 0, "SLOTS": 64, "RECENTRE_UPDATES": 5, "OVERFLOW_SHARE": 8}
prices = st.one_of(
    st.integers(-40, 40).map(lambda ticks: 10_000 + 10 * ticks),
    st.integers(9_000, 11_000),
    st.integers(-100, 100),
    st.sampled_from([INT64_MAX, INT64_MIN + 1, 1 << 60, -(1 << 62), 1 << 62]),
)
updates = st.lists(st.tuples(st.sampled_from([66, 66, 65, 65, 0]), prices, st.integers(0, 3)), max_size=60)


def _apply(book: ArrayBook, rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array([row[at] for row in rows], dtype=np.int64) for at in range(3)]
    book.apply_many(columns[0].astype(np.uint8), columns[1], columns[2])


def _same(book: ArrayBook, plain: Book) -> None:
    assert (book.best_bid, book.best_ask, book.crossed()) == (plain.best_bid, plain.best_ask, plain.crossed())
    assert book.count() == plain.count()


@given(st.lists(updates, max_size=6), st.booleans(), st.integers(1, 1000))
def test_a_book_in_a_ladder_is_the_book(batches: list[list[tuple[int, int, int]]], look: bool, scale: int) -> None:
    book, plain = ArrayBook(), Book()
    with mock.patch.multiple(ladder, **SMALL), mock.patch.multiple(array_book, _BULK=1, RECENTRE_UPDATES=7):
        for rows in batches:
            scaled = [(side, price * scale if abs(price) < 1 << 50 else price, size) for side, price, size in rows]
            _apply(book, scaled)
            for side, price, size in scaled:
                plain.apply(side, price, size)
            _same(book, plain)
            if look:
                assert book.depth(1000) == plain.depth(1000)
                for side, price, _ in scaled:
                    assert book.size_at(side, price) == plain.size_at(side, price) or not side
        book.apply(Side.BID, 10_000, 7)
        plain.apply(Side.BID, 10_000, 7)
    assert book.depth(1000) == plain.depth(1000)


def test_a_deep_book_that_wanders_follows_its_touch() -> None:
    generator = np.random.default_rng(3)
    book, plain = ArrayBook(), Book()
    middle = 5_000_000
    first = [(middle - 10 * n, 1 + n) for n in range(1, 400)], [(middle + 10 * n, 1 + n) for n in range(1, 400)]
    book.load(*first)
    plain.load(*first)
    moved = 0
    with mock.patch.object(ladder, "SLOTS", 1024):
        for _ in range(12):
            middle += int(generator.integers(-3000, 12_000))
            offsets = generator.exponential(3000, 3000).astype(np.int64) // 10 * 10
            sides = generator.choice([65, 66], 3000).astype(np.uint8)
            mantissas = np.where(sides == 66, middle - offsets, middle + offsets)
            sizes = np.where(generator.random(3000) < 0.45, 0, generator.integers(1, 99, 3000))
            book.apply_many(sides, mantissas, sizes)
            for side, price, size in zip(sides.tolist(), mantissas.tolist(), sizes.tolist(), strict=True):
                plain.apply(side, price, size)
            _same(book, plain)
            assert book._ladder is not None
            moved += book._ladder.on
    assert moved == 12
    assert book.depth(1 << 20) == plain.depth(1 << 20)


def test_ladders_are_bounded_and_given_back() -> None:
    before = ladder.Ladder.bytes_used
    book = ArrayBook()
    book.load([(n, 1) for n in range(1, 500)], [(n, 1) for n in range(600, 900)])
    book.parts(lift=True)
    assert ladder.Ladder.bytes_used > before
    del book
    assert ladder.Ladder.bytes_used == before
    with mock.patch.object(ladder, "BYTES_MAX", 0):
        book = ArrayBook()
        book.load([(n, 1) for n in range(1, 500)], [(n, 1) for n in range(600, 900)])
        assert book.parts(lift=True)[2] is ladder.NO_LADDER


@pytest.mark.parametrize("depth", [1, 10])
def test_a_book_with_a_depth_limit_has_none(depth: int) -> None:
    book = ArrayBook(book_depth=depth)
    with mock.patch.multiple(ladder, **SMALL):
        assert book.parts(lift=True)[2] is ladder.NO_LADDER
