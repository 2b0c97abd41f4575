"""Books of orders leave the library like any other: in SQL, in files, as hftbacktest's events, and audited."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.formats.hftbacktest import events_of
from chronicle.access.formats.hftbacktest_events import BUY, DEPTH_CLEAR, SELL
from chronicle.access.formats.hftbacktest_orders import ADD_ORDER, CANCEL_ORDER, MODIFY_ORDER
from chronicle.core.layout import Action, Flag, Kind, Side
from chronicle.etl import ArrayOrderBook
from chronicle.etl.streams.snapshots import order_records, snapshot_record
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


def snapshot(clean: CleanQueue, book: ArrayOrderBook, ts: int) -> None:
    """Append what the ETL injects: the levels, then the orders."""
    told = {"ts_recv": ts, "ts_event": ts, "raw_index": clean.raw_index, "sequence": -1}
    orders = order_records(book, ordinal=1, flags=Flag.LAST, **told)
    data = snapshot_record(book, clean.trust, ordinal=0, last_good_ts=-1, **told) + b"".join(orders)
    clean.appender.append_event(data, 1 + len(orders))


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


def test_conditions_on_the_kind_find_orders_beside_levels(store) -> None:
    def counted(where: str, *symbols: str) -> int:
        return len(store.scan(symbols, where=where).to_numpy()["index"])

    orders = len(ROWS) + 1
    assert counted("kind == 'order'", L3) == counted("kind == 'order'", L2, L3) == orders
    assert counted("kind != 'order'", L2, L3) == counted("kind in ('delta', 'snapshot')", L2, L3) == 3
    assert counted("kind == 'delta'", L2, L3) == 1
    assert counted("kind == 'order' and action == 'clear'", L2, L3) == 1


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


def replayed(events: np.ndarray) -> list[tuple[int, int, float, float]]:
    """The orders that rest after hftbacktest's L3 events, by id, by the rules of its market depth."""
    orders: dict[int, tuple[int, float, float]] = {}
    for event in events:
        what, side, number = int(event["ev"]) & 0xFF, int(event["ev"]) & (BUY | SELL), int(event["order_id"])
        if what == DEPTH_CLEAR:
            orders.clear()
        elif what == ADD_ORDER:
            assert number not in orders
            orders[number] = side, event["px"], event["qty"]
        elif what == MODIFY_ORDER:
            assert orders[number][0] == side
            orders[number] = side, event["px"], event["qty"]
        elif what == CANCEL_ORDER:
            del orders[number]
    return sorted((number, *order) for number, order in orders.items())


@pytest.mark.parametrize("begin", range(6))
def test_npz_rebuilds_the_orders_from_wherever_it_begins(store, begin: int) -> None:
    events = events_of(store._shelf, L3, START + begin, START + 100)
    book = store.book(L3, at=START + 50)
    truth = [
        (order.order_id, BUY if order.side == "bid" else SELL, float(order.price), float(order.size))
        for order in book.orders("bid") + book.orders("ask")
    ]
    assert replayed(events) == sorted(truth)
    assert np.all(np.diff(events["local_ts"]) >= 0)


def test_what_contradicts_the_orders_is_no_event(tmp_path: Path) -> None:
    book = CleanQueue(tmp_path, L3, fields=definition(L3, driver=int(Kind.ORDER)))
    book.define(START)
    book.begin(START).order(1, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=START)
    book.commit(START)
    wrong = [
        (Side.BID, 9, 100, 1, Action.CANCEL),
        (Side.BID, 9, 100, 1, Action.MODIFY),
        (Side.BID, 1, 100, 5, Action.ADD),
        (Side.BID, 1, 101, 5, Action.ADD),
        (Side.ASK, 1, 101, 5, Action.MODIFY),
        (Side.BID, 1, 100, -1, Action.CANCEL),
    ]
    for step, (side, number, price, size, action) in enumerate(wrong):
        book.begin(START + step).order(1, side, number, price, size, action=action, ts_event=START)
        book.commit(START + step)
    book.close()
    with chronicle.open(tmp_path) as store:
        events = events_of(store._shelf, L3, START, START + 100)
        assert [int(event) & 0xFF for event in events["ev"]] == [DEPTH_CLEAR, ADD_ORDER]
        written = store.export(tmp_path / "out", L3, form="npz")
    assert (written.files, written.rows) == (1, 2)


def audited(home: Path, spoil) -> list[tuple[object, ...]]:
    clean = CleanQueue(home, L3, fields=definition(L3, driver=int(Kind.ORDER)))
    clean.define(START)
    clean.begin(START).order(1, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=START)
    clean.commit(START)
    book = ArrayOrderBook(price_exponent=2, size_exponent=3)
    for step, number in enumerate((1, 2, 3)):
        clean.begin(START + step).order(1, Side.BID, number, 100, 5, action=Action.ADD, ts_event=START)
        clean.commit(START + step)
    spoil(book)
    snapshot(clean, book, START + 10)
    clean.begin(START + 11).order(1, Side.BID, 3, 100, 5, action=Action.CANCEL, ts_event=START)
    clean.commit(START + 11)
    book.cancel(3, 5)
    snapshot(clean, book, START + 12)
    clean.close()
    with chronicle.open(home) as store:
        found = store.audit(L3)
    assert (found.snapshots, found.deltas) == (2, 5)
    assert found.wrong == (1 if found.differences else 0)
    return [(one.side, one.price, one.stored, one.rebuilt, one.order_id) for one in found.differences]


def test_an_audit_of_orders_tells_each_that_does_not_follow(tmp_path: Path) -> None:
    def load(*rows: tuple[int, int, int]):
        return lambda book: book.load(list(rows), "bid")

    right = (1, 100, 5), (2, 100, 5), (3, 100, 5)
    assert audited(tmp_path / "right", load(*right)) == []
    assert audited(tmp_path / "size", load((1, 100, 4), *right[1:])) == [
        ("bid", 100, 4, 5, 1),
        ("bid", 100, 14, 15, None),
    ]
    assert audited(tmp_path / "place", load(right[1], right[0], right[2])) == [
        ("bid", 100, 5, 5, 2),
        ("bid", 100, 5, 5, 1),
    ]
    assert audited(tmp_path / "price", load(right[0], right[2], (2, 99, 5))) == [
        ("bid", 99, 5, None, 2),
        ("bid", 100, None, 5, 2),
        ("bid", 99, 5, None, None),
        ("bid", 100, 10, 15, None),
    ]
