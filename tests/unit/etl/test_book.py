"""Both books, held to the same rules and to each other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from chronicle.core.errors import DecodeError, RecordError
from chronicle.core.layout import INT64_MAX, INT64_MIN, BookStatus, Origin, Side, VerifiedBy
from chronicle.core.records import SnapshotFields, pack_record
from chronicle.etl import ArrayBook, Book
from tests.support.etl_streams import random_levels

BOOKS = [Book, ArrayBook]


@pytest.mark.parametrize("kind", BOOKS)
def test_best_and_depth_follow_deltas(kind: type[Book]) -> None:
    book = kind()
    assert book.best_bid is None
    assert book.best_ask is None
    assert not book.crossed()
    for price, size in ((10, 1), (12, 2), (11, 3)):
        book.apply("bid", price, size)
        book.apply(Side.ASK, price + 10, size)
    assert book.depth(2) == ([(12, 2), (11, 3)], [(20, 1), (21, 3)])
    book.apply("bid", 12, 0)
    book.apply("bid", 99, 0)
    assert (book.best_bid, book.best_ask) == ((11, 3), (20, 1))
    assert book.size_at("ask", 21) == 3
    assert book.size_at("bid", 5) == 0
    assert book.count() == (2, 3)


@pytest.mark.parametrize("kind", BOOKS)
def test_a_delta_without_a_side_changes_nothing(kind: type[Book]) -> None:
    book = kind()
    book.load([(1, 1)], [(2, 1)])
    book.apply(Side.NONE, 0, 0)
    assert book.depth(5) == ([(1, 1)], [(2, 1)])


@pytest.mark.parametrize("kind", BOOKS)
def test_locked_is_not_crossed(kind: type[Book]) -> None:
    book = kind()
    book.load([(10, 1)], [(10, 1)])
    assert not book.crossed()
    book.apply("bid", 11, 1)
    assert book.crossed()


@pytest.mark.parametrize("kind", BOOKS)
def test_truncation_keeps_the_best_levels(kind: type[Book]) -> None:
    book = kind(book_depth=2)
    for price in (10, 11, 12):
        book.apply("bid", price, 1)
        book.apply("ask", price + 10, 1)
    assert book.count() == (3, 3)
    book.truncate()
    assert book.depth(9) == ([(12, 1), (11, 1)], [(20, 1), (21, 1)])


@pytest.mark.parametrize("kind", BOOKS)
def test_complete_range_is_the_snapshots_and_ends_at_the_last_level_of_a_full_side(kind: type[Book]) -> None:
    book = kind(book_depth=3)
    book.load([(10, 1), (9, 1)], [(12, 1)], bid_floor=5, ask_ceiling=40)
    assert (book.bid_floor, book.ask_ceiling) == (5, 40)
    book.apply("bid", 8, 1)
    assert book.bid_floor == 8
    assert book.bounds() == (5, 40)
    book.clear()
    assert (book.bid_floor, book.ask_ceiling) == (INT64_MIN, INT64_MAX)


@pytest.mark.parametrize("kind", BOOKS)
def test_redefinition_rescales_levels_and_bounds(kind: type[Book]) -> None:
    book = kind(price_exponent=1, size_exponent=2)
    book.load([(10, 5)], [(12, 7)], bid_floor=3)
    book.redefine(price_exponent=3, size_exponent=2, book_depth=0)
    assert book.depth(1) == ([(1000, 5)], [(1200, 7)])
    assert book.bounds() == (300, INT64_MAX)
    book.apply("bid", 1001, 1)
    with pytest.raises(DecodeError):
        book.redefine(price_exponent=2, size_exponent=2, book_depth=0)
    assert book.best_bid == (1001, 1)
    assert book.price_exponent == 3


@pytest.mark.parametrize("kind", BOOKS)
def test_load_drops_zero_sizes_and_sorts(kind: type[Book]) -> None:
    book = kind()
    book.load([(1, 1), (3, 1), (2, 0)], [(9, 1), (7, 2)])
    assert book.depth(9) == ([(3, 1), (1, 1)], [(7, 2), (9, 1)])


@pytest.mark.parametrize("depth", [0, 7])
@pytest.mark.parametrize("seed", range(5))
def test_the_two_books_agree_on_random_deltas(seed: int, depth: int) -> None:
    plain, arrays, bulk = Book(book_depth=depth), ArrayBook(book_depth=depth), ArrayBook(book_depth=depth)
    rows = random_levels(seed, 600)
    for start in range(0, len(rows), 6):
        for side, price, size in rows[start : start + 6].tolist():
            plain.apply(side, price, size)
            arrays.apply(side, price, size)
        part = rows[start : start + 6]
        bulk.apply_many(part[:, 0].astype(np.uint8), part[:, 1], part[:, 2])
        for book in (plain, arrays, bulk):
            book.truncate()
        assert plain.depth(99) == arrays.depth(99) == bulk.depth(99)
        assert (plain.bid_floor, plain.ask_ceiling) == (arrays.bid_floor, arrays.ask_ceiling)
        assert plain.crossed() == arrays.crossed()
        bids, asks = arrays.arrays(3)
        assert ([tuple(row) for row in bids.tolist()], [tuple(row) for row in asks.tolist()]) == plain.depth(3)


def test_array_book_grows_and_reads_its_own_snapshot() -> None:
    book = ArrayBook()
    for price in range(1, 300):
        book.apply("bid", price, price)
        book.apply("ask", 1000 + price, price)
    values = {"origin": Origin.ETL, "status": BookStatus.OK, "verified_by": VerifiedBy.NOTHING, "last_good_ts": 5}
    body = book.snapshot_body(**values)
    assert body == book.snapshot(**values).pack()
    other = ArrayBook()
    other.load_snapshot_record(pack_record(33, body, ts_recv=1))
    assert other.depth(400) == book.depth(400)
    assert SnapshotFields.unpack(body).bids[0] == (299, 299)


def test_array_book_refuses_what_is_no_snapshot() -> None:
    book = ArrayBook()
    with pytest.raises(RecordError):
        book.load_snapshot_record(b"\0" * 64)
    record = bytearray(pack_record(33, book.snapshot().pack(), ts_recv=1))
    record[48] = 200
    with pytest.raises(RecordError):
        book.load_snapshot_record(bytes(record))
    with pytest.raises(RecordError):
        book.apply_many(np.zeros(2, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_the_plain_book_loads_neither_numpy_nor_numba() -> None:
    code = (
        "import sys; from chronicle.etl import Book; from chronicle.etl.books.checks import checksum;"
        "from chronicle.etl.books.status import BookTrust; Book();"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("count", [0, 5, 63, 64, 500])
def test_many_updates_at_once_are_those_one_by_one(count: int) -> None:
    chance = np.random.default_rng(count)
    sides = chance.choice([int(Side.BID), int(Side.ASK), int(Side.NONE)], count).tolist()
    prices, sizes = chance.integers(1, 80, count).tolist(), chance.integers(0, 3, count).tolist()
    one, many = Book(), Book()
    for book in (one, many):
        book.load([(50, 1), (10, 2)], [(60, 1), (70, 2)])
    for side, price, size in zip(sides, prices, sizes, strict=True):
        one.apply(side, price, size)
    many.apply_many(sides, prices, sizes)
    assert many.depth(100) == one.depth(100)
