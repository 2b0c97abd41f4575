"""scan(where=...), several symbols, lanes and books of orders against a naive reader, from every place.

The same queues lie open, sealed, in the warm archive and behind S3; a draw asks one of them.
"""

from __future__ import annotations

import operator
import os
import random
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chronicle
from chronicle.core.layout import Action, Kind, Side
from chronicle.core.queue import Queue
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import Policy, Rule, TierPolicy, default_policy
from tests.support.eventful import START, eventful
from tests.support.home_builder import CleanQueue, definition
from tests.support.naive_book import NaiveBook
from tests.support.naive_orders import NaiveOrders
from tests.support.s3_server import BUCKET, KEYS, client, moto_server

BTC, ETH, SOL = "kraken:BTC-EUR", "kraken:ETH-EUR", "kraken:SOL-EUR"
SYMBOLS = (BTC, ETH, SOL)
"""Levels in two lanes and with a redefinition; orders; levels."""
SIDES = {Side.BID: "bid", Side.ASK: "ask", Side.NONE: "none"}
WORDS = {Kind.BOOK_DELTA: "delta", Kind.ORDER: "order"}
QUEUES = [(BTC, 0, "btc_eur/book"), (BTC, 1, "btc_eur/book@1"), (ETH, 0, "eth_eur/book"), (SOL, 0, "sol_eur/book")]
COMPARED = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COLUMNS = ("ts_recv", "symbol", "kind", "side", "price", "size", "index", "lane")

Row = dict[str, Any]


def orders(home: Path, seed: int, steps: int) -> None:
    """Write a book of orders: adds, cancels in part and whole, modifications, a clearing."""
    draw, known = random.Random(seed), {}
    clean = CleanQueue(
        home, ETH, fields=definition(ETH, driver=int(Kind.ORDER), price_exponent=1), segment_bytes=1 << 16
    )
    clean.define(START)
    ts = START + 5
    for step in range(steps):
        ts += draw.choice([0, 1, 50, 400_000_000])
        side, price, size = draw.choice(["bid", "ask"]), draw.randrange(9970, 10030), draw.randrange(1, 9)
        out = clean.begin(ts)
        number, action = step + 1, Action.ADD
        if known and draw.random() < 0.6:
            number = draw.choice(sorted(known))
            side, price_was, size_was = known[number]
            action = draw.choice([Action.CANCEL, Action.MODIFY])
            price = price_was if action == Action.CANCEL else price
            left = size_was - size if action == Action.CANCEL else size
            known[number] = side, price, left
            if left <= 0:
                del known[number]
        else:
            known[number] = side, price, size
        if draw.random() < 0.004:
            known, action, number, price, size = {}, Action.CLEAR, 0, 0, 0
        value = Side.BID if side == "bid" else Side.ASK
        out.order(1, value, number, price, size, action=action, ts_event=ts - 5)
        clean.commit(ts)
    clean.close(seal=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("open")
    eventful(home, 3, steps=250)
    eventful(home, 5, steps=120, lane=1, at=START - 10**12)
    eventful(home, 7, steps=200, symbol=SOL)
    orders(home, 11, 400)
    return home


@pytest.fixture(scope="module")
def places(written: Path, tmp_path_factory) -> Iterator[dict[str, tuple[str, dict[str, str]]]]:
    """Return how the store is opened at each place."""
    pytest.importorskip("moto")
    found = {"open": (str(written), {})}
    sealed, warm, far = (tmp_path_factory.mktemp("places") / name for name in ("sealed", "warm", "far"))
    shutil.copytree(written, sealed)
    for _, _, queue in QUEUES:
        with Queue.open(sealed / f"clean/kraken/{queue}.q").appender() as appender:
            appender.seal()
    for home in (warm, far):
        shutil.copytree(sealed, home)
    run_once(warm, default_policy(warm), everything=True)
    before = dict(os.environ)
    os.environ.update(KEYS)
    with moto_server() as endpoint:
        client(endpoint).create_bucket(Bucket=BUCKET)
        root, options = f"s3://{BUCKET}/archive", {"endpoint_url": endpoint}
        policy = Policy(
            (TierPolicy("cold", root, options=options),), (Rule("hot", "cold", 0),), raw_waits_for_etl=False
        )
        run_once(far, policy, everything=True)
        yield found | {"sealed": (str(sealed), {}), "warm": (str(warm), {}), "s3": (root, options)}
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def rows(written: Path) -> list[Row]:
    """Read every queue record by record; in order of time, then of symbols, then of lanes."""
    found = [row for place in QUEUES for row in naive(written, *place)]
    return sorted(found, key=lambda row: row["ts_recv"])


def naive(home: Path, symbol: str, lane: int, queue: str) -> Iterator[Row]:
    exponents = (0, 0)
    for record in Queue.open(home / f"clean/kraken/{queue}.q").tailer().drain():
        fields = record.fields()
        if record.kind == Kind.INSTRUMENT:
            exponents = fields["price_exponent"], fields["size_exponent"]
        base: Row = {"ts_recv": record.ts_recv, "symbol": symbol, "index": record.index, "lane": lane}
        if record.kind == Kind.BOOK_SNAPSHOT and fields["origin"] == 1:
            for side in ("bid", "ask"):
                for level in fields[f"{side}s"]:
                    yield base | priced("snapshot", side, level, exponents)
        elif record.kind in WORDS:
            level = fields["price"], fields["size"]
            yield base | priced(WORDS[Kind(record.kind)], SIDES[Side(record.side)], level, exponents)


def priced(kind: str, side: str, level: tuple[int, int], exponents: tuple[int, int]) -> Row:
    price, size = (Decimal(value).scaleb(-places) for value, places in zip(level, exponents, strict=True))
    return {"kind": kind, "side": side, "price": price, "size": size}


Test = Callable[[Row], bool]


def condition(draw: random.Random, rows: list[Row]) -> tuple[str, Test]:
    """Return a condition as text, and the test that a naive reader makes of it."""

    def simple() -> tuple[str, Test]:
        if draw.random() < 0.1:
            words = draw.sample(["bid", "ask", "none"], draw.randint(1, 3))
            return f"side in ({', '.join(map(repr, words))},)", lambda row: row["side"] in words
        column = draw.choice(["side", "kind", "symbol", "price", "size", "lane", "index", "ts_recv"])
        words_of = {"side": ["bid", "ask", "none"], "kind": ["delta", "snapshot", "order"], "symbol": list(SYMBOLS)}
        sign = draw.choice(["==", "!="] if column in words_of else list(COMPARED))
        value = draw.choice(words_of[column]) if column in words_of else draw.choice(rows)[column]
        if column == "price":
            value += draw.choice([Decimal(0), Decimal("0.00005")])
        text = repr(value) if isinstance(value, str) else str(value)
        return f"{column} {sign} {text}", lambda row: COMPARED[sign](row[column], value)

    def joined(word: str, parts: list[tuple[str, Test]]) -> tuple[str, Test]:
        test = all if word == "and" else any
        return f" {word} ".join(f"({text})" for text, _ in parts), lambda row: test(one(row) for _, one in parts)

    def part() -> tuple[str, Test]:
        shape = draw.random()
        if shape < 0.2:
            text, test = simple()
            return f"not ({text})", lambda row: not test(row)
        return joined("or", [simple() for _ in range(draw.randint(2, 3))]) if shape < 0.5 else simple()

    return joined("and", [part() for _ in range(draw.randint(1, 3))])


@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of a failure: rows are long
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_that_pass_are_those_of_a_naive_reader(places, rows: list[Row], seed: int) -> None:
    draw = random.Random(seed)
    place, options = places[draw.choice(sorted(places))]
    symbols = draw.sample(SYMBOLS, draw.randint(1, 3))
    lanes = draw.choice([None, [0], [1], [0, 1]])
    kinds = draw.choice([None, None, draw.sample(["delta", "snapshot", "order"], draw.randint(1, 3))])
    first, last = sorted((draw.choice(rows)["ts_recv"], draw.choice(rows)["ts_recv"]))
    text, test = condition(draw, rows) if draw.random() < 0.8 else (None, lambda row: True)
    chosen = draw.sample(COLUMNS, draw.randint(1, len(COLUMNS)))
    batch = draw.randint(1, 300)
    wanted = [
        row
        for row in rows
        if row["symbol"] in symbols
        and first <= row["ts_recv"] < last
        and (lanes is None or row["lane"] in lanes)
        and row["kind"] in (kinds or (["order"] if row["symbol"] == ETH else ["delta", "snapshot"]))
        and test(row)
    ]
    wanted.sort(key=lambda row: (row["ts_recv"], symbols.index(row["symbol"])))
    with chronicle.open(place, options=options) as store:
        asked = {"columns": chosen, "where": text, "lanes": lanes, "kinds": kinds and sorted(kinds)}
        scan = store.scan(symbols, "book", first, last, decimals="decimal", **asked)
        whole, parts = scan.to_numpy(), list(scan.batches(batch))
    for name in chosen:
        assert whole[name].tolist() == [row[name] for row in wanted], name
        assert [value for part in parts for value in part[name].tolist()] == whole[name].tolist()
    if text is not None:
        assert all(len(part[chosen[0]]) == batch for part in parts[:-1])


@pytest.fixture(scope="module")
def truths(written: Path) -> dict[str, list[tuple[int, list[Any], list[Any]]]]:
    """Return the levels after each event of two books, by the naive books."""
    found: dict[str, list[tuple[int, list[Any], list[Any]]]] = {SOL: [], ETH: []}
    levels, resting = NaiveBook(definition(SOL)), NaiveOrders()
    letters = {Action.ADD: "A", Action.CANCEL: "C", Action.MODIFY: "M", Action.CLEAR: "R"}
    for symbol, queue in ((SOL, "sol_eur/book"), (ETH, "eth_eur/book")):
        exponents = (0, 0)
        for record in Queue.open(written / f"clean/kraken/{queue}.q").tailer().drain():
            fields = record.fields()
            if record.kind == Kind.INSTRUMENT:
                exponents = fields["price_exponent"], fields["size_exponent"]
            if symbol == SOL:
                follow(levels, record, fields)
                sides = [sorted(levels.bids.items(), reverse=True), sorted(levels.asks.items())]
            elif record.kind == Kind.ORDER:
                values = fields["order_id"], record.side, fields["price"], fields["size"]
                assert resting.apply(letters[Action(fields["action"])], *values) == ""
                sides = [totals(resting, Side.BID), totals(resting, Side.ASK)]
            else:
                continue
            if record.is_last:
                exact = [[tuple(priced("", "", level, exponents).values())[2:] for level in side] for side in sides]
                found[symbol].append((record.ts_recv, *exact))
    return found


def follow(book: NaiveBook, record: Any, fields: dict[str, Any]) -> None:
    """Apply a record of levels as the clean stream means it."""
    if record.kind == Kind.BOOK_SNAPSHOT:
        book.bids, book.asks = dict(fields["bids"]), dict(fields["asks"])
    elif record.kind == Kind.BOOK_DELTA:
        side = book.bids if record.side == Side.BID else book.asks
        side.pop(fields["price"], None)
        if fields["size"]:
            side[fields["price"]] = fields["size"]


def totals(book: NaiveOrders, side: int) -> list[tuple[int, int]]:
    sums: dict[int, int] = {}
    for _, of, price, size in book.rows:
        if of == side:
            sums[price] = sums.get(price, 0) + size
    return sorted(sums.items(), reverse=side == Side.BID)


@settings(max_examples=40)
@given(data=st.data())
def test_sampled_books_are_the_naive_ones(places, truths, data) -> None:
    place, options = places[data.draw(st.sampled_from(sorted(places)))]
    symbol = data.draw(st.sampled_from([SOL, ETH]))
    states = truths[symbol]
    edge = st.sampled_from([ts for ts, _, _ in states])
    start = data.draw(edge) - data.draw(st.integers(0, 3))
    every = data.draw(st.sampled_from([10**6, 10**8, 10**9]))
    depth, steps = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 10))
    with chronicle.open(place, options=options) as store:
        books = store.books(
            symbol, start, start + steps * every, every=every, depth=depth, decimals="decimal"
        ).to_numpy()
    for row, at in enumerate(range(start, start + steps * every, every)):
        before = [state for state in states if state[0] <= at]
        for side, name in ((1, "bid"), (2, "ask")):
            there = list(zip(books[f"{name}_price"][row], books[f"{name}_size"][row], strict=True))
            want = before[-1][side][:depth] if before else []
            assert [level for level in there if level[0] is not None] == want
