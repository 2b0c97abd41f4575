"""The L3 books - plain and over arrays - against the obvious one, and streams that try to break them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import DecodeError, RecordError
from chronicle.core.layout import INT64_MAX, ORDER_BYTES, Action, Kind
from chronicle.core.records import pack_record
from chronicle.etl import ArrayOrderBook, OrderBook, Problem
from chronicle.etl.books import order_book as plain
from tests.support.naive_orders import ASK, BID, NaiveOrders, Row

IN_CHILD = "CHRONICLE_ORDERS_WITHOUT_JIT"
BOOKS = [OrderBook, ArrayOrderBook]
WORDS = ORDER_BYTES >> 3


def packed(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return the records of `rows` side by side, and where each begins."""
    words = np.zeros((len(rows), WORDS), dtype=np.int64)
    for at, (action, order_id, side, price, size) in enumerate(rows):
        words[at, 0] = ORDER_BYTES | Kind.ORDER << 32 | side << 56
        words[at, 6:10] = (order_id, price, size, ord(action) if action != "N" else 0)
    return words.reshape(-1), np.arange(len(rows) + 1, dtype=np.int64) * WORDS


def check(book: OrderBook | ArrayOrderBook, naive: NaiveOrders) -> None:
    """Compare everything that can be asked."""
    assert book.levels(1 << 40) == (naive.levels(BID), naive.levels(ASK))
    for side, name in ((BID, "bid"), (ASK, "ask")):
        wanted = naive.orders(side)
        assert [(o.order_id, o.price, o.size, o.ahead) for o in book.orders(name)] == wanted
        for order_id, price, size, ahead in wanted[:5]:
            assert book.order(order_id) == plain.Order(order_id, name, price, size, ahead)
    bids, asks = naive.levels(BID), naive.levels(ASK)
    assert len(book) == len(naive.rows)
    assert book.count() == (len(bids), len(asks))
    assert book.best_bid == (bids[0][:2] if bids else None)
    assert book.best_ask == (asks[0][:2] if asks else None)
    assert book.crossed() == bool(bids and asks and bids[0][0] > asks[0][0])
    assert book.locked() == bool(bids and asks and bids[0][0] == asks[0][0])
    assert book.problems == Counter(naive.refused)


ids = st.integers(1, 12) | st.sampled_from([2**32 + 1, 2**63 - 1, 2**62 + 3])
sizes = st.integers(1, 9) | st.sampled_from([0, -1, INT64_MAX, INT64_MAX - 3])
prices = st.integers(-4, 4) | st.sampled_from([100, -(2**62), 2**62, 2**62 + 1, INT64_MAX, -(2**63)])
actions = st.sampled_from("AAAAAAAAAAAACCCCCCCMMMMMRTFNX")
rows = st.lists(st.tuples(actions, ids, st.sampled_from([BID, ASK, BID, ASK, 0]), prices, sizes), max_size=60)


@given(rows)
def test_books_are_the_naive_book_after_any_stream(stream: list[Row]) -> None:
    naive, book, array = NaiveOrders(), OrderBook(), ArrayOrderBook()
    for action, order_id, side, price, size in stream:
        why = naive.apply(action, order_id, side, price, size)
        code = 0 if action == "N" else ord(action)
        for each in (book, array):
            assert each.change(code, order_id, side, price, size).name.lower() == (why or "none")
    check(book, naive)
    check(array, naive)


@given(rows, st.integers(0, 60))
def test_a_block_of_records_is_the_same_as_one_by_one_and_halts_where_one_is_refused(
    stream: list[Row], cut: int
) -> None:
    naive = NaiveOrders()
    refused = [number for number, row in enumerate(stream) if naive.apply(*row)]
    words, starts = packed(stream)
    book, halting = ArrayOrderBook(), ArrayOrderBook()
    cut = min(cut, len(stream))
    book.apply_records(words, starts, 0, cut)
    book.apply_records(words, starts, cut, len(stream))
    check(book, naive)
    stops, at = [], 0
    while (at := halting.apply_records(words, starts, at, len(stream), halt=True)) < len(stream):
        stops.append(at)
        assert halting.refused
        at += 1
    assert stops == refused
    check(halting, naive)


def test_the_kernels_are_the_naive_book_without_compilation() -> None:
    if os.environ.get(IN_CHILD):
        pytest.skip("this is the child")
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    tests = [
        f"{__file__}::{name}"
        for name in (
            "test_books_are_the_naive_book_after_any_stream",
            "test_a_block_of_records_is_the_same_as_one_by_one_and_halts_where_one_is_refused",
        )
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-x", *tests], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_deep_book_that_wanders_keeps_its_levels_in_ladder_and_overflow() -> None:
    random = np.random.default_rng(5)
    naive: dict[int, tuple[int, int, int]] = {}
    stream: list[Row] = []
    for number in range(40_000):
        middle = 10**6 + number * 7 if number < 20_000 else 10**6 + 140_000 - number * 9
        side = BID if random.random() < 0.5 else ASK
        away = int(random.exponential(400)) * 5
        price = middle - away if side == BID else middle + 5 + away
        stream.append(("A", number, side, price - price % 5 + (number % 97 == 0), int(random.integers(1, 50))))
        naive[number] = stream[-1][2:]
        if number > 3_000:
            gone = int(random.integers(max(0, number - 9_000), number))
            if gone in naive:
                stream.append(("C", gone, 0, 0, naive.pop(gone)[2]))
    words, starts = packed(stream)
    book = ArrayOrderBook()
    book.apply_records(words, starts, 0, len(stream))
    wanted = {BID: Counter[int](), ASK: Counter[int]()}
    for side, price, size in naive.values():
        wanted[side][price] += size
    assert [dict(level[:2] for level in levels) for levels in book.levels(1 << 40)] == [wanted[BID], wanted[ASK]]
    assert [level[0] for level in book.levels(1 << 40)[0]] == sorted(wanted[BID], reverse=True)
    assert book.problems == {}
    assert len(book) == len(naive)


def test_a_million_orders_are_held_and_the_next_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1 << 20
    book = ArrayOrderBook()
    orders = np.empty((count, 3), dtype=np.int64)
    orders[:, 0] = np.arange(count) * 3 + 1
    orders[:, 1] = 10**6 - np.arange(count) // 7
    orders[:, 2] = 2
    book.load(orders, "bid")
    assert len(book) == count
    assert book.add(2, "ask", 2 * 10**6, 1) is Problem.FULL
    assert book.order(int(orders[6, 0])) == plain.Order(int(orders[6, 0]), "bid", 10**6, 2, 12)
    assert np.array_equal(book.order_array("bid"), orders)
    for order_id in orders[::2, 0].tolist()[:1000]:
        assert book.cancel(order_id, 2) is Problem.NONE
    assert len(book) == count - 1000
    assert book.add(2, "ask", 2 * 10**6, 1) is Problem.NONE
    book.clear()
    assert (len(book), book.count(), book.best_bid) == (0, (0, 0), None)
    monkeypatch.setattr(plain, "ORDERS_MAX", 2)
    small = OrderBook()
    assert [small.add(number, "bid", 1, 1) for number in range(3)] == [Problem.NONE, Problem.NONE, Problem.FULL]


@pytest.mark.parametrize("make", BOOKS)
def test_an_id_may_be_used_again_once_its_order_is_gone(make: type[OrderBook | ArrayOrderBook]) -> None:
    book = make()
    for price in (5, 6, 7):
        assert book.add(2**64 - 1, "bid", price, 1) is Problem.NONE
        assert book.add(2**64 - 1, "bid", price, 1) is Problem.DUPLICATE_ORDER
        assert book.order(2**64 - 1) == plain.Order(2**64 - 1, "bid", price, 1, 0)
        assert book.cancel(2**64 - 1, 5) is Problem.NONE
    assert len(book) == 0


def test_ids_of_one_hash_chain_can_be_taken_out_in_any_order() -> None:
    random = np.random.default_rng(2)
    colliding = [number << 32 | 5 for number in range(40)] + [number * 2**26 for number in range(1, 40)]
    for _ in range(30):
        book, order = ArrayOrderBook(), random.permutation(len(colliding))
        for number, order_id in enumerate(colliding):
            assert book.add(order_id, "ask", number, 1) is Problem.NONE
        for done, position in enumerate(order.tolist(), start=1):
            assert book.cancel(colliding[position], 1) is Problem.NONE
            left = [colliding[other] for other in order[done:].tolist()]
            assert all(book.order(order_id) is not None for order_id in left)
            assert len(book) == len(left)


@pytest.mark.parametrize("make", BOOKS)
def test_a_redefinition_rescales_orders_and_keeps_their_places(make: type[OrderBook | ArrayOrderBook]) -> None:
    book = make(price_exponent=2, size_exponent=0)
    for order_id, price, size in ((3, 100, 5), (1, 100, 6), (2, 90, 7)):
        book.add(order_id, "bid", price, size)
    book.redefine(price_exponent=4, size_exponent=1)
    assert book.rows("bid") == [(3, 10_000, 50), (1, 10_000, 60), (2, 9_000, 70)]
    book.add(4, "ask", 10_001, 5)
    with pytest.raises(DecodeError):
        book.redefine(price_exponent=2, size_exponent=0)
    assert len(book) == 4


@pytest.mark.parametrize("make", BOOKS)
def test_apply_takes_order_records_and_passes_over_others(make: type[OrderBook | ArrayOrderBook]) -> None:
    from chronicle.core import layout
    from chronicle.core.records import Record

    book = make()
    body = layout.ORDER_BODY.pack(2**63 + 5, 100, 7, Action.ADD, 0)
    assert book.apply(Record(pack_record(Kind.ORDER, body, ts_recv=1, side=BID))) is Problem.NONE
    assert book.apply(Record(pack_record(Kind.TRADE, bytes(40), ts_recv=1))) is Problem.NONE
    assert book.rows("bid") == [(2**63 + 5, 100, 7)]


def test_records_outside_their_words_are_refused_before_the_kernel_sees_them() -> None:
    words, starts = packed([("A", 1, BID, 5, 5)])
    with pytest.raises(RecordError):
        ArrayOrderBook().apply_records(words[:-1], starts, 0, 1)
    with pytest.raises(RecordError):
        ArrayOrderBook().apply_records(words, starts, 0, 2)


@given(st.lists(st.tuples(ids, prices, sizes), max_size=30), st.lists(st.tuples(ids, prices, sizes), max_size=30))
def test_loading_a_snapshot_is_adding_its_orders_whatever_they_are(
    bids: list[tuple[int, int, int]], asks: list[tuple[int, int, int]]
) -> None:
    naive, books = NaiveOrders(), (OrderBook(), ArrayOrderBook())
    for side, code, orders in (("bid", BID, bids), ("ask", ASK, asks)):
        for order_id, price, size in orders:
            naive.apply("A", order_id, code, price, size)
        for book in books:
            book.load(orders, side)
    for book in books:
        check(book, naive)
