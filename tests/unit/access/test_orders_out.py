"""Books of orders leave the library like any other: in SQL, in files, as hftbacktest's events, and audited."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

import chronicle
from chronicle.core.layout import Action, Kind, Side
from tests.support.home_builder import CleanQueue, definition

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

START = 1_700_006_400_000_000_000
L2, L3 = "kraken:BTC-EUR", "nasdaq:AMZN"
LARGE = 2**64 - 2
ROWS = [
    (1, "bid", 7, 100, 3, Action.ADD),
    (2, "ask", LARGE, 105, 4, Action.ADD),
    (3, "bid", 8, 100, 2, Action.ADD),
    (4, "bid", 7, 100, 1, Action.FILL),
    (4, "bid", 7, 100, 1, Action.CANCEL),
    (5, "bid", 8, 101, 2, Action.MODIFY),
]


def write(home: Path, symbol: str = L3) -> None:
    book = CleanQueue(home, symbol, fields=definition(symbol, driver=int(Kind.ORDER)))
    book.define(START)
    book.begin(START).order(1, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=START)
    book.commit(START)
    for ts, side, order_id, price, size, action in ROWS:
        code = Side.BID if side == "bid" else Side.ASK
        book.begin(START + ts).order(1, code, order_id, price, size, action=action, ts_event=START + ts)
        book.commit(START + ts)
    book.close()


@pytest.fixture
def store(tmp_path: Path):
    write(tmp_path)
    levels = CleanQueue(tmp_path, L2)
    levels.define(START)
    levels.venue_snapshot(START, [(100, 1)], [(101, 1)])
    levels.deltas(START + 1, ("bid", 100, 5))
    levels.close()
    with chronicle.open(tmp_path) as opened:
        yield opened


def expected() -> list[tuple[int, str]]:
    return [(0, "clear"), *((row[2], row[5].name.lower()) for row in ROWS)]


def rows_of(store, query: str, *parameters: object, **options: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in store.sql(query, parameters, **options).rows()]


def test_sql_tells_orders_and_null_where_a_row_is_none(store) -> None:
    pytest.importorskip("duckdb")
    assert rows_of(store, "select order_id, action from book where symbol = ? order by index", L3) == expected()
    assert rows_of(store, "select distinct order_id, action from book where symbol = ?", L2) == [(None, None)]
    assert rows_of(store, "select index from book where order_id = ?", LARGE) == [(3,)]
    assert rows_of(store, "select count(*) from book") == [(len(ROWS) + 1 + 3,)]
    assert rows_of(store, "select max(order_id) from book where action = 'fill'", decimals="decimal") == [(7,)]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_hold_ids_and_actions(store, tmp_path: Path, form: str) -> None:
    store.export(tmp_path / "out", [L2, L3], "book", form=form)
    path = next((tmp_path / "out").rglob(f"symbol=AMZN/*/*.{form}"))
    if form == "csv":
        lines = path.read_text().splitlines()
        at = lines[0].replace('"', "").split(",").index("order_id")
        found = [tuple(line.replace('"', "").split(",")[at : at + 2]) for line in lines[1:]]
        assert found == [(str(number), word) for number, word in expected()]
    else:
        table = pq.read_table(path)
        found = zip(table["order_id"].to_pylist(), table["action"].to_pylist(), strict=True)
        assert list(found) == [(Decimal(number), word) for number, word in expected()]
        other = pq.read_table(next((tmp_path / "out").rglob("symbol=BTC-EUR/*/*.parquet")))
        assert other.schema.equals(table.schema)
        assert set(other["order_id"].to_pylist()) == {None} == set(other["action"].to_pylist())
    store.export(tmp_path / "levels", L2, "book")
    assert "order_id" not in pq.read_table(next((tmp_path / "levels").rglob("*.parquet"))).column_names
