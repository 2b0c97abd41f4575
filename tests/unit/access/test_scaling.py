"""Instruments of very different decimals in one answer: exact where asked, the nearest float, or refused."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.ranges.scaling import Scaling, widened
from chronicle.cli.main import run
from chronicle.core.errors import RangeError
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue, definition

pa = pytest.importorskip("pyarrow")
START = 1_700_000_000_000_000_000
COARSE, FINE = "kraken:BTC-EUR", "kraken:SHIB-EUR"
PRICES = {COARSE: [6_183_700, 99, INT64_MAX], FINE: [12_345_678_901_234, 1, INT64_MAX]}


def write(home: Path, exponents: dict[str, int]) -> None:
    for symbol, exponent in exponents.items():
        fields = definition(symbol, price_exponent=exponent)
        book, trade = (CleanQueue(home, symbol, channel, fields=fields) for channel in ("book", "trade"))
        for queue in (book, trade):
            queue.define(START)
        book.venue_snapshot(START, [(PRICES[symbol][0], 5)], [])
        for step, price in enumerate(PRICES[symbol]):
            book.deltas(START + step, ("bid", price, 7))
            trade.trade(START + step, "bid", price, 3)
        for queue in (book, trade):
            queue.close(seal=True)


def truth(symbol: str, exponent: int) -> list[Decimal]:
    return [Decimal(price).scaleb(-exponent) for price in PRICES[symbol]]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("fine", [12, 18, 21])
def test_every_value_is_right_beside_the_others(tmp_path: Path, fine: int, archived: bool) -> None:
    exponents = {COARSE: 2, FINE: fine}
    write(tmp_path, exponents)
    if archived:
        run_once(tmp_path, default_policy(tmp_path), everything=True)
    with chronicle.open(tmp_path) as store:
        for channel, kinds in (("trade", None), ("book", ["delta"])):
            wanted = {symbol: truth(symbol, exponent) for symbol, exponent in exponents.items()}
            columns = ["ts_recv", "symbol", "price", "size"]
            ask = {"channel": channel, "kinds": kinds, "columns": columns}
            exact = store.scan([COARSE, FINE], decimals="decimal", **ask)
            rows = exact.to_arrow()
            assert rows["price"].type == pa.decimal128(38, fine)
            for symbol, prices in wanted.items():
                at = np.array(rows["symbol"].to_pylist()) == symbol
                assert np.array(rows["price"].to_pylist())[at].tolist() == prices
                assert exact.to_numpy()["price"][at].tolist() == prices
                near = store.scan([COARSE, FINE], **ask)
                assert near.to_numpy()["price"][at].tolist() == [float(price) for price in prices]
                assert near.to_pandas()["price"][at].tolist() == [float(price) for price in prices]
                assert set(near.to_arrow()["size"].to_pylist()) == ({0.003} if channel == "trade" else {0.007})
            with pytest.raises(RangeError, match='decimals="float"'):
                store.scan([COARSE, FINE], decimals="int", **ask).to_numpy()
            assert near.arrow_schema().field("price").type == pa.float64()
            assert sum(batch.num_rows for batch in near.arrow_batches(2)) == rows.num_rows


def test_the_command_line_writes_exact_text_of_all(tmp_path: Path, capsys) -> None:
    write(tmp_path, {COARSE: 2, FINE: 21})
    arguments = ["scan", COARSE, FINE, "--channel", "trade", "--columns", "symbol,price", "--home", str(tmp_path)]
    assert run([*arguments, "--format", "csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted((symbol, Decimal(price)) for symbol, price in rows) == sorted(
        (symbol, price) for symbol, exponent in ((COARSE, 2), (FINE, 21)) for price in truth(symbol, exponent)
    )
    assert all("E" not in price for _, price in rows)


def test_mantissas_that_no_exponent_holds_are_refused_before_reading(tmp_path: Path) -> None:
    write(tmp_path, {COARSE: 2, FINE: 21})
    with chronicle.open(tmp_path) as store, pytest.raises(RangeError, match="no mantissas in common"):
        store.scan([COARSE, FINE], "trade", decimals="int")


def test_wide_numbers_are_the_products() -> None:
    rng = random.Random(3)
    values = [rng.randint(INT64_MIN + 1, INT64_MAX) >> rng.randrange(60) for _ in range(300)] + [0, 1, -1]
    shifts = [rng.randrange(39 - len(str(abs(value)))) for value in values]
    found = widened(np.array([*values, INT64_MIN]), np.array([*shifts, 5])).tolist()
    sums = [(high << 64) + (low & (1 << 64) - 1) for high, low in found[:-1]]
    assert sums == [value * 10**shift for value, shift in zip(values, shifts, strict=True)]
    assert found[-1][0] == INT64_MIN
    with pytest.raises(RangeError, match="38 digits"):
        widened(np.array([10**18]), 20)


def test_mantissas_move_within_int64_only() -> None:
    scaling = Scaling(4, 0)
    assert scaling.prices(np.array([1, -5, INT64_MIN]), 2).tolist() == [100, -500, INT64_MIN]
    assert scaling.prices(np.array([7, 7]), np.array([4, 3])).tolist() == [7, 70]
    assert Scaling(30, 0).prices(np.array([0]), 2).tolist() == [0]
    for price, exponent in ((30, 2), (2, -18)):
        with pytest.raises(RangeError):
            Scaling(price, 0).prices(np.array([5, INT64_MAX // 9]), exponent)


def test_books_of_a_moment_stand_side_by_side(tmp_path: Path) -> None:
    write(tmp_path, {COARSE: 2, FINE: 18})
    with chronicle.open(tmp_path) as store:
        books = store.books([COARSE, FINE], at=START, depth=2)
        assert books.to_numpy()["bid_price"][:, 0].tolist() == [61_837.0, 0.000012345678901234]
        assert books.to_arrow()["bid_price"].to_pylist()[0] == [61_837.0, None]
        with pytest.raises(RangeError, match='decimals="float"'):
            store.books([COARSE, FINE], at=START, depth=2, decimals="decimal").to_arrow()
