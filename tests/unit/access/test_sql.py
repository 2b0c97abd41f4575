"""SQL over a store: equal to scans and books, read only as far as a filter goes, and shut to everything else."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import chronicle
from chronicle.access.sql import predicates, tables
from chronicle.core.errors import CapacityError, ChronicleError, ConfigError, SqlError, SymbolError
from chronicle.core.layout import StatusCode
from tests.conftest import REPOSITORY
from tests.support.home_builder import CleanQueue, definition
from tests.support.patience import HANG_SECONDS

pa = pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")
pads = pytest.importorskip("pyarrow.dataset")

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BTC, ETH = "kraken:BTC-EUR", "kraken:ETH-EUR"
RNG_SEED = 7


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two instruments with books, trades and quotes over a minute, several segments each."""
    home = tmp_path_factory.mktemp("sql")
    rng = random.Random(RNG_SEED)
    for symbol, exponent in ((BTC, 2), (ETH, 4)):
        fields = definition(symbol, price_exponent=exponent)
        book = CleanQueue(home, symbol, fields=fields, segment_bytes=1 << 16)
        book.define(START)
        book.venue_snapshot(START + 10, [(9990 - n, 3) for n in range(6)], [(10010 + n, 4) for n in range(6)])
        trade = CleanQueue(home, symbol, "trade", fields=fields, segment_bytes=1 << 16)
        quote = CleanQueue(home, symbol, "quote", fields=fields, segment_bytes=1 << 16)
        ts = START + 10
        for step in range(900):
            ts += rng.randrange(1, 130_000_000)
            side = rng.choice(["bid", "ask"])
            book.deltas(ts, (side, 9990 if side == "bid" else 10010, rng.randrange(1, 9)))
            if step % 3 == 0:
                trade.trade(ts + 1, side, rng.randrange(9990, 10011), rng.randrange(1, 50), trade_id=step)
            if step % 5 == 0:
                quote.quote(ts + 2, (9990, 1 + step), (10010, 2))
            if step == 450:
                book.gap_open(ts + 3, ts)
                book.gap_closed(ts + 5, ts)
                book.venue_snapshot(ts + 6, [(9990, 3)], [(10010, 4)])
        book.status(ts + 10, StatusCode.DISCONNECTED)
        for queue in (book, trade, quote):
            queue.close(seal=symbol == BTC)
    return home


@pytest.fixture
def store(home: Path):
    with chronicle.open(home) as opened:
        yield opened


@pytest.mark.parametrize("channel", ["book", "trade", "quote"])
def test_a_table_holds_the_rows_of_the_scan(store, channel: str) -> None:
    for symbol in (BTC, ETH):
        rows = store.sql(f"from {channel} where symbol = ?", [symbol]).to_arrow()
        scan = store.scan(symbol, channel).to_numpy()
        assert rows.num_rows == len(scan["ts_recv"]) > 50
        found, wanted = [], []
        for name in scan:
            if name in ("ts_recv", "ts_event"):
                found += [rows[f"{name}_ns"].to_pylist(), rows[name].cast(pa.int64()).to_pylist()]
                wanted += [scan[name].tolist(), (scan[name] // 1_000).tolist()]
            else:
                absent = -1 if name in tables.ABSENT else None
                found.append(rows[name].to_pylist())
                wanted.append([None if value == absent else value for value in scan[name].tolist()])
        # SQL promises no order, and rows of a snapshot differ in their level alone.
        assert sorted(zip(*found, strict=True), key=repr) == sorted(zip(*wanted, strict=True), key=repr)


def test_random_filters_give_what_a_filter_over_all_rows_gives(store) -> None:
    rng = random.Random(RNG_SEED)
    whole = store.sql("from trade").to_arrow().to_pylist()
    assert {row["symbol"] for row in whole} == {BTC, ETH}
    for _ in range(60):
        low = START + rng.randrange(60 * SECOND)
        high = low + rng.randrange(40 * SECOND)
        moment = "make_timestamp_ns({})::TIMESTAMPTZ"  # to the microsecond, as ts_recv is
        clauses = {
            f"ts_recv_ns >= {low}": lambda row, low=low: row["ts_recv_ns"] >= low,
            f"ts_recv_ns < {high}": lambda row, high=high: row["ts_recv_ns"] < high,
            f"ts_recv > {moment.format(low)}": lambda row, low=low: row["ts_recv_ns"] // 1000 > low // 1000,
            f"ts_recv <= {moment.format(high)}": lambda row, high=high: row["ts_recv_ns"] // 1000 <= high // 1000,
            f"symbol = '{BTC}'": lambda row: row["symbol"] == BTC,
            f"symbol in ('{ETH}', 'x', 'y')": lambda row: row["symbol"] == ETH,
            "side = 'bid'": lambda row: row["side"] == "bid",
            "size > 0.02": lambda row: row["size"] > 0.02,
            "trade_id between 30 and 200": lambda row: 30 <= row["trade_id"] <= 200,
            f"(ts_recv_ns < {low} or ts_recv_ns >= {high})": lambda row, low=low, high=high: (
                not low <= row["ts_recv_ns"] < high
            ),
        }
        chosen = rng.sample(sorted(clauses), rng.randrange(1, 4))
        query = f"select symbol, index, price from trade where {' and '.join(chosen)}"
        got = {(row["symbol"], row["index"], row["price"]) for row in store.sql(query)}
        want = {(r["symbol"], r["index"], r["price"]) for r in whole if all(clauses[one](r) for one in chosen)}
        assert got == want, query


def test_a_filter_decides_what_is_read(store, monkeypatch) -> None:
    asked = []

    class Spy(tables.Scan):
        def __init__(self, shelf, symbols, channel, start, end, **options):
            asked.append((symbols, start, end, tuple(options["columns"] or ())))
            super().__init__(shelf, symbols, channel, start, end, **options)

    monkeypatch.setattr(tables, "Scan", Spy)
    store.sql("select 1").to_arrow()
    asked.clear()
    query = f"select price from trade where symbol = '{BTC}' and ts_recv_ns >= {START} and ts_recv_ns < {START + 5}"
    assert store.sql(query).to_arrow().num_rows == 0
    assert asked == [((BTC,), START, START + 5, ("price",))]
    asked.clear()
    store.sql(f"select price from trade where ts_recv_ns > {START + 9} and ts_recv_ns < {START}").to_arrow()
    assert asked == []
    store.sql(f"select index from trade where symbol >= '{ETH}' and side = 'bid'").to_arrow()
    assert [(symbols, columns) for symbols, _, _, columns in asked] == [((ETH,), ("symbol", "side", "index"))]


def test_bounds_of_a_filter_are_never_too_narrow() -> None:
    schema = pa.schema([("ts_recv", predicates.STAMP), ("ts_recv_ns", pa.int64()), ("symbol", pa.string())])
    exact, rounded = pads.field("ts_recv_ns"), pads.field("ts_recv")
    rng = random.Random(RNG_SEED)
    for _ in range(200):
        one, other = sorted(rng.randrange(0, 4 * 10**18) for _ in range(2))
        stamp = pa.scalar(one // 1000, predicates.STAMP)
        cases = [
            ((exact >= one) & (exact < other), one, other - 1),
            ((rounded >= stamp) & (exact <= other), one // 1000 * 1000, other),
            (rounded == stamp, one // 1000 * 1000, one // 1000 * 1000 + 999),
            (exact.isin([one, other]), one, other),
            (~(exact < one), one, 2**63 - 1),
        ]
        for filter, low, high in cases:
            first, last = predicates.times_in(filter, schema)
            assert first <= low <= high <= last
        assert predicates.times_in(cases[0][0], schema) == (one, other - 1)
    assert predicates.times_in((exact > 5) & (exact < 3), schema) is None
    many = exact == 0
    for number in range(1, 40):
        many = many | (exact == number * 10)
    assert predicates.times_in(many, schema)[1] >= 390


def test_books_in_sql_are_the_books_of_the_store(store) -> None:
    at = START + 20 * SECOND
    want = store.book(BTC, at=at, depth=3)
    rows = list(
        store.sql("from book($symbol, $at, depth := 3) order by level", {"symbol": "kraken:btc-eur", "at": at})
    )
    assert [(row["bid_price"], row["bid_size"]) for row in rows if row["bid_price"]] == [
        (float(price), float(size)) for price, size in want.bids
    ]
    assert [(row["ask_price"], row["ask_size"]) for row in rows] == [(float(p), float(s)) for p, s in want.asks]
    assert {row["status"] for row in rows} == {want.status}
    query = """select ts_recv::VARCHAR AS at, status, ts_event, bid_price, ask_size, bids
        from books(?, '2023-11-14T22:13:00Z', '2023-11-14 22:14:30', every := '700ms', depth := 2)"""
    answered = list(store.sql(query, [BTC], decimals="decimal"))
    assert len(answered) == 129
    assert {row["status"] for row in answered} > {"ok", "unverified"}
    for row in answered:
        book = store.book(BTC, at=row["at"] + ":00", depth=2)
        assert row["status"] == book.status
        assert [(one["price"], one["size"]) for one in row["bids"]] == book.bids
        assert row["bid_price"] == book.best_bid
        assert row["ask_size"] == (book.asks[0][1] if book.asks else None)


def test_book_at_of_scattered_moments(store) -> None:
    query = """select ts_recv_ns, symbol, book_at(symbol, ts_recv_ns, depth := 1) AS b from trade
        where trade_id % 60 = 0 order by 1"""
    rows = list(store.sql(query))
    assert len(rows) == 30
    for row in rows:
        book = store.book(row["symbol"], at=row["ts_recv_ns"], depth=1)
        assert row["b"]["status"] == book.status
        assert [level["price"] for level in row["b"]["bids"]] == [float(price) for price, _ in book.bids]


def test_as_of_join_finds_the_quote_that_was_known(store) -> None:
    query = f"""select t.ts_recv_ns AS ts, q.ts_recv_ns AS quoted, q.bid_size from trade t
        asof join quote q on t.symbol = q.symbol and t.ts_recv_ns >= q.ts_recv_ns
        where t.symbol = '{BTC}' and q.symbol = '{BTC}'"""
    rows = list(store.sql(query))
    quotes = store.scan(BTC, "quote").to_numpy()
    assert len(rows) > 90
    for row in rows:
        known = quotes["ts_recv"].searchsorted(row["ts"], side="right") - 1
        assert (row["quoted"], row["bid_size"]) == (quotes["ts_recv"][known], quotes["bid_size"][known])


def test_small_tables(store) -> None:
    assert [row["symbol"] for row in store.sql("select symbol from instruments order by 1")] == [BTC, ETH]
    gaps = list(store.sql("from gaps where state = 'closed' order by symbol"))
    assert [(gap["symbol"], gap["recovery_ts_ns"]) for gap in gaps] == [
        (gap.symbol, gap.recovery_ts) for gap in store.gaps()
    ]
    segments = next(iter(store.sql("select sum(records) AS n from segments where channel = 'trade'")))
    assert segments["n"] == 2 * 300
    status = list(store.sql(f"from status where symbol = '{BTC}'"))
    assert [(row["status"], row["channel"]) for row in status] == [("disconnected", "book")]
    assert '"reason": "test"' in status[0]["details"]
    assert list(store.sql(f"from status where ts_recv_ns < {status[0]['ts_recv_ns']} and symbol = '{BTC}'")) == []


def test_decimals_are_exact(store) -> None:
    want = sum(store.scan(ETH, "trade", decimals="decimal").to_numpy()["price"].tolist(), start=Decimal(0))
    got = list(store.sql(f"select sum(price) AS p from trade where symbol = '{ETH}'", decimals="decimal"))
    assert got[0]["p"] == want


HOSTILE = (
    "create table x (a int)",
    "create or replace view trade as select 1",
    "drop view trade",
    "insert into trade values (1)",
    "copy trade to '{tmp}/x.csv'",
    "copy (select 1) to '/dev/stderr'",
    "export database '{tmp}/x'",
    "attach '{tmp}/x.db'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set threads = 64",
    "reset all",
    "pragma enable_profiling",
    "call pragma_version()",
    "from read_csv('/etc/passwd')",
    "from read_text('/etc/passwd')",
    "from read_blob('/proc/self/environ')",
    "from '/etc/passwd'",
    "from glob('/*')",
    "from parquet_metadata('{tmp}/x')",
    "from 'https://example.com/x.parquet'",
    "select 1; select 2",
    "select 1; drop view trade",
    "explain analyze create table x (a int)",
    "begin transaction",
    "rollback",
    "prepare p as select 1",
    "from query('drop view trade')",
    "from python_object",
    "",
    ";",
    "\0",
    "select " + "(" * 5_000 + "1" + ")" * 5_000,
)


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_but_reading_is_possible(store, tmp_path: Path, query: str) -> None:
    python_object = pa.table({"secret": [1]})
    with pytest.raises(SqlError):
        store.sql(query.replace("{tmp}", str(tmp_path))).to_arrow()
    assert python_object.num_rows == 1
    assert list(tmp_path.iterdir()) == []
    assert list(store.sql("select count(*) AS n from trade")) == [{"n": 600}]


def test_errors_say_what_to_do(store) -> None:
    with pytest.raises(SqlError, match="tables: book, trade"):
        store.sql("from trades")
    with pytest.raises(SqlError, match="nope"):
        store.sql("select nope from trade")
    with pytest.raises(SymbolError, match="close: kraken:BTC-EUR"):
        store.sql("from book('kraken:BTC-EU', '2023-11-14')").to_arrow()
    with pytest.raises(ChronicleError, match="moment of a book"):
        store.sql("from book('kraken:BTC-EUR', 'infinity'::TIMESTAMPTZ)").to_arrow()
    with pytest.raises(ConfigError, match="at least one level"):
        store.sql("from book('kraken:BTC-EUR', '2023-11-14', depth := 0)").to_arrow()
    with pytest.raises(ConfigError, match=r"float \| decimal"):
        store.sql("select 1", decimals="int")
    with pytest.raises(ConfigError, match="memory"):
        store.sql("select 1", memory_bytes=1)
    wide = store.sql("select list(range + random()) FROM range(50000000)", memory_bytes=32 << 20)
    with pytest.raises(CapacityError, match="more memory"):
        wide.to_arrow()


def test_a_damaged_record_ends_the_query_with_our_error(tmp_path: Path) -> None:
    queue = CleanQueue(tmp_path, BTC, "trade")
    for step in range(20):
        queue.trade(START + step, "bid", 100, 1, trade_id=step)
    queue.close(seal=True)
    segment = next((tmp_path / "clean/kraken/btc_eur/trade.q").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    with chronicle.open(tmp_path) as store:
        assert list(store.sql("select count(*) AS n from trade")) == [{"n": 20}]
        info = store.coverage(BTC, "trade").segments[0]
        assert info.records == 20
    position = data.index((START + 10).to_bytes(8, "little")) - 8
    data[position : position + 4] = (13).to_bytes(4, "little")
    segment.write_bytes(bytes(data))
    with chronicle.open(tmp_path) as store, pytest.raises(ChronicleError) as caught:
        store.sql("select sum(price) from trade").to_arrow()
    assert caught.value.kind == "corruption"


def test_answers_leave_in_every_form(store) -> None:
    answer = store.sql("select symbol, price, ts_recv from trade order by symbol, index limit 7")
    assert answer.columns == ["symbol", "price", "ts_recv"]
    assert answer.types == ["VARCHAR", "DOUBLE", "TIMESTAMP WITH TIME ZONE"]
    assert len(answer.to_pandas()) == answer.to_polars().height == answer.to_arrow().num_rows == 7
    assert pa.table(answer).equals(answer.to_arrow())
    assert [batch.num_rows for batch in answer.batches(3)] in ([3, 3, 1], [7])
    empty = store.sql("select symbol from trade where false")
    assert empty.to_arrow().schema.names == ["symbol"]
    with pytest.raises(ConfigError):
        next(answer.batches(0))


def test_a_forked_worker_and_a_thread_ask_at_once(store) -> None:
    assert list(store.sql("select count(*) AS n from trade")) == [{"n": 600}]
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(_count, (store,)) == 600
    one = store.sql("select ts_recv_ns from trade").batches(10)
    first = next(one)
    assert list(store.sql("select count(*) AS n from quote")) == [{"n": 360}]
    assert first.num_rows + sum(batch.num_rows for batch in one) == 600


def _count(store) -> int:
    with store:
        return next(iter(store.sql("select count(*) AS n from trade")))["n"]


IN_KOLKATA = """
import json, sys
import chronicle
with chronicle.open(sys.argv[1]) as store:
    books = store.sql("select count(*) as n from books('{btc}', '2023-11-14 22:13:30', '2023-11-14 22:13:40')")
    trades = store.sql("select count(*) as n from trade where ts_recv < TIMESTAMPTZ '2023-11-14 22:13:40'")
    told = store.sql("select ts_recv::VARCHAR as at from trade where symbol = '{btc}' order by index limit 1")
    print(json.dumps([list(answer)[0] for answer in (books, trades, told)]))
"""


def test_times_are_utc_wherever_the_machine_is(store, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_KOLKATA.replace("{btc}", BTC), str(home)],
        env=os.environ | {"TZ": "Asia/Kolkata", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    books, trades, told = json.loads(done.stdout)
    early = [row["ts_recv_ns"] < START + 20 * SECOND for row in store.sql("select ts_recv_ns from trade")]
    assert (books["n"], trades["n"]) == (10, sum(early))
    assert told["at"].startswith("2023-11-14 22:13:20")
    assert told["at"].endswith("+00")


def test_an_old_duckdb_is_refused_with_words(home: Path, monkeypatch) -> None:
    import duckdb

    monkeypatch.setattr(duckdb, "__version__", "1.4.1")
    with chronicle.open(home) as store, pytest.raises(ConfigError, match=r"2\.0 or newer"):
        store.sql("select 1")
