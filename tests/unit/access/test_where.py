"""Conditions on rows: read strictly, compared exactly, and what they rule out beforehand is not read."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

import chronicle
from chronicle.access.ranges.where import parse_where
from chronicle.cli.main import run
from chronicle.core.errors import ConfigError, SymbolError
from tests.support.home_builder import CleanQueue, definition

START = 1_700_000_000_000_000_000
SECOND = 10**9
BTC, ETH = "kraken:BTC-EUR", "kraken:ETH-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("where")
    for symbol in (BTC, ETH):
        trade = CleanQueue(home, symbol, "trade", fields=definition(symbol), segment_bytes=1 << 16)
        for step in range(2_000):
            trade.trade(START + step * SECOND, "bid" if step % 3 else "ask", 10_000 + step % 10, 1 + step % 4, step)
        trade.close()
    return home


@pytest.fixture
def store(home: Path):
    with chronicle.open(home) as opened:
        yield opened


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("side == 'ask'", 667),
        ("side != 'ask' and price == 100.05", 133),
        ("price >= 100.085", 200),
        ("price < 100.005 or size == 0.004", 700),
        ("not (price > 100.00)", 200),
        ("100.02 <= price <= 100.04", 600),
        ("price in (100.01, 100.015)", 200),
        ("size not in (0.001, 0.002)", 1_000),
        ("trade_id < 10", 10),
        ("price == 100.055", 0),
        ("price != 100.055", 2_000),
        ("price < 1e300 and index > -1e300", 2_000),
        ("ts_recv < '2023-11-14T22:13:30Z'", 10),
        ([("price", ">=", Decimal("100.09")), ("side", "=", "bid")], 133),
        ([("price", ">=", 100.09), ("size", "in", [0.002, "0.004"])], 200),
    ],
)
def test_rows_that_pass_are_counted_exactly(store, where: object, count: int) -> None:
    for decimals in ("float", "int", "decimal"):
        rows = store.scan(BTC, "trade", where=where, columns=["ts_recv", "price"], decimals=decimals)
        assert len(rows.to_numpy()["price"]) == count
        assert list(rows.to_numpy()) == ["ts_recv", "price"]


def test_what_is_ruled_out_beforehand_is_not_read(store) -> None:
    whole = store.scan([BTC, ETH], "trade")
    list(whole.batches())
    some = store.scan(
        [BTC, ETH], "trade", where=f"symbol == 'kraken:ETH/EUR' and ts_recv >= {START + 1_900 * SECOND}"
    )
    rows = some.to_numpy()
    assert set(rows["symbol"].tolist()) == {ETH}
    assert len(rows["ts_recv"]) == 100
    assert some.cost.bytes_read < whole.cost.bytes_read / 8
    nothing = store.scan(BTC, "trade", where=f"ts_recv < {START}")
    assert len(nothing.to_numpy()["price"]) == 0
    assert nothing.cost.bytes_read == 0


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("pric > 3", "no column 'pric'"),
        ("side == 'bidd'", "never 'bidd'"),
        ("side > 'bid'", "no order"),
        ("price > side", "cannot be compared"),
        ("price > size", "cannot be compared"),
        ("price", "no comparison"),
        ("price >", "cannot be read"),
        ("price > 'much'", "compared with a number"),
        ("price is 3", "compares nothing"),
        ("price in 3", "values in brackets"),
        ("price in ()", "no values"),
        ("__import__('os').system('true') == 0", "names a column"),
        ("(lambda: 1)() == price", "no value"),
        ("price > " + "-" * 5_000 + "1", "cannot be read"),
        ("(" * 5_000, "cannot be read"),
        ("not " * 60 + "price > 1", "within one another"),
        ("x" * 20_000, "short"),
        ([("price", "~", 3)], "no comparison '~'"),
        ([("price", ">")], "three parts"),
        ([], "no condition"),
        (7, "no condition"),
    ],
)
def test_a_condition_that_cannot_be_is_told_in_one_line(store, where: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        store.scan(BTC, "trade", where=where)
    assert len(str(told.value)) < 600
    assert "\n" not in str(told.value)


def test_an_unknown_symbol_in_a_condition_is_told(store) -> None:
    with pytest.raises(SymbolError, match="close: kraken:BTC-EUR"):
        store.scan([BTC, ETH], "trade", where="symbol == 'kraken:BTC-EURO'")


def test_an_instrument_that_the_scan_is_not_of_has_no_rows(store) -> None:
    assert len(store.scan(BTC, "trade", where=f"symbol == '{ETH}'").to_numpy()["price"]) == 0
    assert len(store.scan(BTC, "trade", where=f"symbol != '{ETH}' and index < 10").to_numpy()["price"]) == 10


def test_text_is_parsed_and_never_run() -> None:
    where = parse_where("1.10 < price and side == 'bid'")
    assert where.columns() == {"price", "side"}
    assert where.parts[0].value == Decimal("1.10")
    assert where.parts[0].sign == ">"


def test_units_for_workers_carry_the_condition(store, home: Path) -> None:
    where = "side == 'ask' and price > 100.03"
    units = store.partitions([BTC], "trade", where=where, records=500)
    assert len(units) > 2
    rows = sum(len(unit.scan().to_numpy()["price"]) for unit in units)
    assert rows == len(store.scan(BTC, "trade", where=where).to_numpy()["price"]) > 0
    fl = pytest.importorskip("pyarrow.flight")
    from chronicle.access.serving.flight import StoreServer

    with StoreServer(store) as server, fl.connect(f"grpc://127.0.0.1:{server.port}") as client:
        question = {"symbols": [BTC], "channel": "trade", "where": where, "records": 500}
        info = client.get_flight_info(fl.FlightDescriptor.for_command(json.dumps(question)))
        assert sum(client.do_get(one.ticket).read_all().num_rows for one in info.endpoints) == rows
    with pytest.raises(ConfigError, match="as text"):
        store.partitions([BTC], "trade", where=[("price", ">", 1)])[0].ticket()


def test_the_command_takes_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--channel", "trade", "--columns", "trade_id", "--home", str(home)]
    assert run(["scan", BTC, "--where", "trade_id < 3 and side == 'bid'", *options]) == 0
    assert capsys.readouterr().out.split() == ["trade_id", "1", "2"]
    assert run(["scan", BTC, "--where", "price > 1e9", *options]) == 0
    assert "no row of trade passes" in capsys.readouterr().err
    assert run(["scan", BTC, "--where", "prise > 1", *options]) != 0
    assert "no column 'prise'" in capsys.readouterr().err
