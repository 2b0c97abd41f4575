"""Conditions on rows: read strictly, compared exactly, and what they rule out beforehand is not read."""

from __future__ import annotations

import ast
import json
import operator
import random
from decimal import Decimal
from pathlib import Path

import pytest

import chronicle
from chronicle.access.ranges.where import parse_where
from chronicle.cli.main import run
from chronicle.core.errors import ConfigError, SymbolError
from chronicle.core.layout import INT64_MAX, INT64_MIN
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


NUMBERS = {
    "bid_price": ["99.90", "99.91", "99.915", "-1e300", "1e300"],
    "bid_size": ["0.001", "0.0015", "0.003"],
    "ask_price": ["100.10", "100.105", "100.12"],
    "index": ["0", "17", "18.5", "60"],
    "ts_recv": [str(START + second * SECOND) for second in (0, 5, 20, 39)],
}
WORDS = {"symbol": [BTC, ETH, "kraken:XMR-EUR"], "kind": ["quote"]}


@pytest.fixture(scope="module")
def quotes(tmp_path_factory) -> Path:
    """Two instruments with quotes of which some have no bid."""
    home = tmp_path_factory.mktemp("quotes")
    for symbol in (BTC, ETH):
        queue = CleanQueue(home, symbol, "quote", fields=definition(symbol), segment_bytes=1 << 16)
        for step in range(40):
            bid = (9_990 + step % 3, 1 + step % 4) if step % 5 else (INT64_MIN, INT64_MIN)
            queue.quote(START + step * SECOND, bid, (10_010 + step % 4, 1 + step % 3))
        queue.close()
    other = CleanQueue(home, "kraken:XMR-EUR", "trade", fields=definition("kraken:XMR-EUR"))
    other.trade(START, "bid", 1, 1)
    other.close()
    return home


def drawn(rng: random.Random, depth: int = 0) -> str:
    """Return a condition as a researcher may write it."""
    choice = rng.random()
    if depth < 3 and choice < 0.5:
        word = rng.choice([" and ", " and ", " or "])
        return "(" + word.join(drawn(rng, depth + 1) for _ in range(rng.randrange(2, 4))) + ")"
    if depth < 3 and choice < 0.65:
        return f"(not {drawn(rng, depth + 1)})"
    if choice < 0.8:
        name = rng.choice(sorted(WORDS))
        values = [repr(value) for value in rng.sample(WORDS[name], rng.randrange(1, len(WORDS[name]) + 1))]
        if rng.random() < 0.5:
            return f"{name} {rng.choice(['in', 'not in'])} ({', '.join(values)},)"
        return f"{name} {rng.choice(['==', '!='])} {values[0]}"
    name = rng.choice(sorted(NUMBERS))
    values = NUMBERS[name]
    if rng.random() < 0.2:
        return f"{name} {rng.choice(['in', 'not in'])} ({', '.join(rng.sample(values, 2))})"
    sign, value = rng.choice(["==", "!=", "<", "<=", ">", ">="]), rng.choice(values)
    return f"{value} {sign} {name}" if rng.random() < 0.3 else f"{name} {sign} {value}"


def holds(node: ast.expr, row: dict[str, object]) -> bool:
    """The obvious reading of a condition: Python's own, exact, and nothing holds of what is not there."""
    if isinstance(node, ast.BoolOp):
        found = [holds(value, row) for value in node.values]
        return all(found) if isinstance(node.op, ast.And) else any(found)
    if isinstance(node, ast.UnaryOp):
        return not holds(node.operand, row)
    assert isinstance(node, ast.Compare)

    def value(side: ast.expr) -> object:
        if isinstance(side, ast.Name):
            return row[side.id]
        if isinstance(side, ast.Tuple):
            return [value(one) for one in side.elts]
        found = ast.literal_eval(side)
        return found if isinstance(found, str) else Decimal(ast.unparse(side))

    left, right = value(node.left), value(node.comparators[0])
    if left is None or right is None:
        return False
    compare = {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.In: lambda one, many: one in many,
        ast.NotIn: lambda one, many: one not in many,
    }
    return bool(compare[type(node.ops[0])](left, right))


def test_conditions_of_any_shape_leave_the_rows_that_a_plain_reading_leaves(quotes: Path) -> None:
    rng = random.Random(20261122)
    names = ["ts_recv", "symbol", "kind", "bid_price", "bid_size", "ask_price", "index"]
    with chronicle.open(quotes) as store:
        whole = store.scan([BTC, ETH], "quote", columns=names, decimals="decimal").to_numpy()
        rows = [
            dict(zip(whole, values, strict=True))
            for values in zip(*(c.tolist() for c in whole.values()), strict=True)
        ]
        assert len(rows) == 80
        assert sum(row["bid_price"] is None for row in rows) == 16
        some = 0
        for _ in range(400):
            where = drawn(rng)
            start = rng.choice([None, START + rng.randrange(-1, 40) * SECOND])
            end = rng.choice([None, max(start or 0, START + rng.randrange(40) * SECOND + 1)])
            scan = store.scan([BTC, ETH], "quote", start, end, where=where, columns=["ts_recv", "symbol"])
            found = scan.to_numpy()
            tree = ast.parse(where, mode="eval").body
            low, high = start or 0, INT64_MAX if end is None else end
            inside = [row for row in rows if low <= row["ts_recv"] < high]
            wanted = [(row["ts_recv"], row["symbol"]) for row in inside if holds(tree, row)]
            assert list(zip(found["ts_recv"].tolist(), found["symbol"].tolist(), strict=True)) == wanted, where
            size = rng.randrange(1, 9)
            batches = [part["ts_recv"].tolist() for part in scan.batches(size)]
            assert [ts for part in batches for ts in part] == found["ts_recv"].tolist()
            assert all(len(part) == size for part in batches[:-1])
            some += 0 < len(wanted) < len(rows)
        assert some > 100, "many conditions divide the rows"


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
