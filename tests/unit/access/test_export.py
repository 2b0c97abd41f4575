"""Exports hold what scans hold, in every form; records come back byte for byte; nothing half is ever seen."""

from __future__ import annotations

import csv
import json
import random
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.formats import export
from chronicle.access.formats.hftbacktest import (
    BUY,
    DEPTH_CLEAR,
    DEPTH_SNAPSHOT,
    EVENT_DTYPE,
    EXCH,
    LOCAL,
    in_both_orders,
)
from chronicle.access.formats.importing import import_records
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ChronicleError, ConfigError, CorruptionError, NotFoundError, StateError, StoreError
from chronicle.core.layout import Cause, StatusCode, Verdict
from chronicle.storage.stores.source import open_source
from tests.support.home_builder import CleanQueue, definition

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

DAY = 86_400 * 10**9
MIDNIGHT = 1_700_006_400_000_000_000
START = MIDNIGHT - 60 * 10**9
BTC, ODD = "kraken:BTC-EUR", "kraken:O/D D-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two instruments around midnight UTC with different exponents, gaps, checks, a status and a redefinition."""
    home = tmp_path_factory.mktemp("export")
    for symbol, exponent in ((BTC, 2), (ODD, 18)):
        rng = random.Random(exponent)
        fields = definition(symbol, price_exponent=exponent, check_rule=1)
        book = CleanQueue(home, symbol, fields=fields, segment_bytes=1 << 16)
        trade = CleanQueue(home, symbol, "trade", fields=fields, segment_bytes=1 << 16)
        quote = CleanQueue(home, symbol, "quote", fields=fields, segment_bytes=1 << 16)
        book.define(START)
        book.venue_snapshot(START + 10, [(9990 - n, 3) for n in range(5)], [(10010 + n, 4) for n in range(6)])
        ts = START + 10
        for step in range(1_200):
            ts += rng.randrange(0, 200_000_000)
            book.deltas(ts, ("bid", 9990, rng.randrange(9)), ("ask", 10010, 5), check=Verdict.PASSED, sequence=step)
            if step % 100 == 50:
                book.gap_open(ts + 1, ts, Cause.CHECK)
                book.venue_snapshot(ts + 2, [(9990, 3)], [(10010, 4), (10011, 1)])
                book.gap_closed(ts + 2, ts)
                ts += 2
            trade.trade(ts, rng.choice(["bid", "ask", ""]), rng.randrange(9990, 10011), rng.randrange(1, 50), step)
            if step % 7 == 0:
                quote.quote(ts, (9990, 1), (10010, 2))
        book.redefine(ts + 5, definition(symbol, price_exponent=exponent, size_exponent=4))
        book.deltas(ts + 6, ("bid", 9990, 70))
        book.status(ts + 7, StatusCode.DISCONNECTED)
        for queue in (book, trade, quote):
            queue.close(seal=symbol == BTC)
    return home


@pytest.fixture
def store(home: Path):
    with chronicle.open(home) as opened:
        yield opened


def wanted(store, symbol: str, channel: str) -> dict[str, list[object]]:
    scan = store.scan(symbol, channel, decimals="decimal").to_numpy()
    return {name: values.tolist() for name, values in scan.items()}


@pytest.mark.parametrize("channel", ["book", "trade", "quote"])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_files_hold_the_rows_of_the_scan(store, tmp_path: Path, form: str, channel: str) -> None:
    done = store.export(tmp_path, channels=channel, form=form)
    files = sorted(tmp_path.rglob(f"*.{form}"))
    assert done.files == len(files) == 4
    assert done.bytes == sum(path.stat().st_size for path in files)
    names = [str(path.relative_to(tmp_path)) for path in files]
    assert (
        f"{channel}/venue=kraken/symbol=O%2FD%20D/date=2023-11-14/part-0.{form}".replace("O%2FD%20D", "O%2FD%20D-EUR")
        in names
    )
    total = 0
    for symbol in (BTC, ODD):
        name = symbol.partition(":")[2]
        read = [
            pq.ParquetFile(path).read() if form == "parquet" else pa.ipc.open_file(path).read_all() for path in files
        ]
        table = pa.concat_tables(one for one in read if one["symbol"][0].as_py() == name)
        want = wanted(store, symbol, channel)
        total += table.num_rows
        assert table["ts_recv"].cast(pa.int64()).to_pylist() == want["ts_recv"]
        for column in ("price", "size") if channel != "quote" else ("bid_price", "ask_size"):
            assert [None if value is None else Decimal(value) for value in table[column].to_pylist()] == want[column]
        assert table["index"].to_pylist() == want["index"]
        assert table["sequence"].to_pylist() == [None if one == -1 else one for one in want["sequence"]]
        assert {str(day) for day in table["date"].to_pylist()} == {"2023-11-14", "2023-11-15"}
    assert total == done.rows
    read_days = [{ts // DAY for ts in one["ts_recv"].cast(pa.int64()).to_pylist()} for one in read]
    assert all(len(days) == 1 for days in read_days)


def test_parquet_says_how_it_is_sorted_and_what_it_holds(store, tmp_path: Path) -> None:
    store.export(tmp_path, BTC, "trade")
    path = min(tmp_path.rglob("*.parquet"))
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        place = file.schema_arrow.get_field_index("ts_recv")
        assert [one.column_index for one in group.sorting_columns] == [place]
        assert group.column(place).statistics.has_min_max
        assert file.schema_arrow.metadata[b"instrument"] == BTC.encode()


def test_text_is_exact(store, tmp_path: Path) -> None:
    want = wanted(store, ODD, "trade")
    store.export(tmp_path / "csv", ODD, "trade", form="csv")
    store.export(tmp_path / "jsonl", ODD, "trade", form="jsonl")
    rows: list[dict[str, str]] = []
    lines: list[dict[str, object]] = []
    for day in ("2023-11-14", "2023-11-15"):
        folder = f"trade/venue=kraken/symbol=O%2FD%20D-EUR/date={day}"
        with open(tmp_path / "csv" / folder / "part-0.csv", newline="") as file:
            rows += list(csv.DictReader(file))
        lines += [
            json.loads(line) for line in (tmp_path / "jsonl" / folder / "part-0.jsonl").read_text().splitlines()
        ]
    assert [Decimal(row["price"]) for row in rows] == [Decimal(row["price"]) for row in lines] == want["price"]
    assert [row["ts_recv"] for row in rows] == [row["ts_recv"] for row in lines]
    assert [int(np.datetime64(row["ts_recv"].removesuffix("Z"), "ns").astype(int)) for row in rows] == want["ts_recv"]


def test_numbers_leave_as_asked(store, tmp_path: Path) -> None:
    for decimals in ("float", "int"):
        store.export(tmp_path / decimals, (BTC, ODD), "trade", decimals=decimals)
    for symbol, exponent in ((BTC, 2), (ODD, 18)):
        name = symbol.partition(":")[2].replace("/", "%2F").replace(" ", "%20")
        tables = [
            pq.ParquetFile(
                tmp_path / decimals / f"trade/venue=kraken/symbol={name}/date=2023-11-14/part-0.parquet"
            ).read()
            for decimals in ("float", "int")
        ]
        assert set(tables[1]["price_exponent"].to_pylist()) == {exponent}
        floats = [value / 10**exponent for value in tables[1]["price"].to_pylist()]
        assert tables[0]["price"].to_pylist() == pytest.approx(floats)


def test_a_range_is_exact_and_days_without_rows_have_no_file(store, tmp_path: Path) -> None:
    times = store.scan(BTC, "trade").to_numpy()["ts_recv"]
    start, end = int(times[10]), int(times[20])
    done = store.export(tmp_path, BTC, "trade", start, end)
    assert done.rows == int(((times >= start) & (times < end)).sum())
    assert store.export(tmp_path / "none", BTC, "trade", START - DAY, START - DAY // 2).files == 0
    assert list(tmp_path.glob("none/**/*.parquet")) == []


def test_records_come_back_byte_for_byte(home: Path, store, tmp_path: Path) -> None:
    done = store.export(tmp_path / "copy", form="records", channels=["book", "trade", "quote"])
    imported = import_records(tmp_path / "home", [tmp_path / "copy"])
    assert imported.records == done.rows
    assert imported.queues == 6
    for folder in (home / "clean").rglob("*.q"):
        name = str(folder.relative_to(home))
        assert compare_queue(open_source(home), open_source(tmp_path / "home"), name) is None, name
    with chronicle.open(tmp_path / "home") as other:
        for at in (START + 20, MIDNIGHT, MIDNIGHT + 30 * 10**9):
            assert other.book(BTC, at=at).to_dict()["bids"] == store.book(BTC, at=at).to_dict()["bids"]
            assert other.book(BTC, at=at).status == store.book(BTC, at=at).status
    with pytest.raises(StateError, match="there already"):
        import_records(tmp_path / "home", [tmp_path / "copy"])


def test_a_changed_or_missing_or_foreign_file_is_not_imported(store, tmp_path: Path) -> None:
    store.export(tmp_path / "copy", BTC, "trade", form="records")
    files = sorted((tmp_path / "copy").rglob("*.parquet"))
    assert len(files) > 1
    target = tmp_path / "home"
    with pytest.raises(CorruptionError, match="not whole from the first on"):
        import_records(target, files[1:])
    with pytest.raises(ConfigError, match="twice"):
        import_records(target, [*files, shutil.copy(files[0], tmp_path / "again.parquet")])
    with pytest.raises(NotFoundError):
        import_records(target, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError):
        import_records(target, [tmp_path / "empty"])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "torn.parquet").write_bytes(files[0].read_bytes()[:500])
    for name in ("foreign", "torn"):
        with pytest.raises(ChronicleError) as caught:
            import_records(target, [tmp_path / f"{name}.parquet"])
        assert caught.value.kind == "foreign_file"
    with pq.ParquetFile(files[0]) as source:
        table = source.read()
        told = source.metadata.metadata[b"chronicle"]
    sizes = table["size"].to_pylist()
    sizes[5] += 1
    changed = table.set_column(
        table.schema.get_field_index("size"), table.schema.field("size"), pa.array(sizes, pa.int64())
    )
    pq.write_table(changed.replace_schema_metadata({b"chronicle": told}), files[0])
    with pytest.raises(CorruptionError, match="not the records that were exported"):
        import_records(target, [tmp_path / "copy"])
    assert not list(target.rglob("*.q"))


def test_a_name_that_leads_outside_is_refused(store, tmp_path: Path) -> None:
    import msgpack

    store.export(tmp_path / "copy", BTC, "trade", form="records")
    path = min((tmp_path / "copy").rglob("*.parquet"))
    with pq.ParquetFile(path) as source:
        table, told = source.read(), msgpack.unpackb(bytes.fromhex(source.metadata.metadata[b"chronicle"].decode()))
    for queue in (
        "../../trade.q",
        "/etc/trade.q",
        "clean/kraken/../trade.q",
        "clean/a/b/c/trade.q",
        "raw/main.q/trade.q",
    ):
        told["queue"] = queue
        described = {b"chronicle": msgpack.packb(told).hex().encode()}
        pq.write_table(table.replace_schema_metadata(described), tmp_path / "x.parquet")
        with pytest.raises((CorruptionError, ChronicleError)):
            import_records(tmp_path / "home", [tmp_path / "x.parquet"])
    assert not (tmp_path / "home").exists()


def test_npz_is_in_both_orders_and_begins_snapshots_with_a_clear(store, tmp_path: Path) -> None:
    done = store.export(tmp_path, BTC, form="npz")
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == done.files == 2
    events = np.concatenate([np.load(path)["data"] for path in files])
    assert events.dtype == EVENT_DTYPE
    kinds = events["ev"] & 0xFF
    clears = np.flatnonzero(kinds == DEPTH_CLEAR)
    book = store.scan(BTC, "book").to_numpy()
    snapshots = np.unique(book["index"][book["kind"] == "snapshot"])
    assert len(clears) == len(snapshots) > 10
    assert np.all(kinds[clears + 1] == DEPTH_SNAPSHOT)
    trades = store.scan(BTC, "trade").to_numpy()
    local = events[(events["ev"] & LOCAL) > 0]
    assert np.all(np.diff(local["local_ts"]) >= 0)
    taken = local[(local["ev"] & 0xFF) == 2]
    assert np.array_equal(taken["px"], trades["price"])
    assert np.array_equal((taken["ev"] & BUY) > 0, trades["side"] == "bid")
    assert len(events) == len(book["index"]) + len(trades["index"]) + len(clears)


def test_rows_of_times_that_step_back_are_parted() -> None:
    rng = random.Random(3)
    rows = np.zeros(500, dtype=EVENT_DTYPE)
    rows["local_ts"] = np.cumsum([rng.randrange(3) for _ in rows])
    rows["exch_ts"] = rows["local_ts"] - np.array([rng.randrange(9) for _ in rows])
    rows["ev"] = EXCH | LOCAL
    rows["px"] = np.arange(500)
    out = in_both_orders(rows)
    for flag, time in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        seen = out[(out["ev"] & flag) > 0]
        assert np.all(np.diff(seen[time]) >= 0)
        assert sorted(seen["px"].tolist()) == list(range(500))
    assert in_both_orders(rows[:0]).size == 0


@pytest.mark.parametrize("register", ["delta", "iceberg"])
def test_a_registered_table_is_read_by_duckdb_and_polars(store, tmp_path: Path, register: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    pl = pytest.importorskip("polars")
    pytest.importorskip("deltalake" if register == "delta" else "pyiceberg")
    for _ in range(2):  # registering anew is no second copy
        store.export(tmp_path, channels=["trade", "quote"], register=register)
    want = {symbol: sum(wanted(store, symbol, "trade")["price"], start=Decimal(0)) for symbol in (BTC, ODD)}
    if register == "delta":
        import deltalake

        table = deltalake.DeltaTable(str(tmp_path / "trade"))
        frame, arrow = pl.scan_delta(table), table.to_pyarrow_dataset()
    else:
        from chronicle.access.formats.registers import iceberg_catalog

        catalog = iceberg_catalog(tmp_path)
        table = catalog.load_table("chronicle.trade")
        frame, arrow = pl.from_arrow(table.scan().to_arrow()).lazy(), table.scan().to_arrow()
        catalog.close()
    found = frame.group_by("venue", "symbol").agg(pl.col("price").sum()).collect()
    assert {f"{row[0]}:{row[1]}": row[2] for row in found.iter_rows()} == want
    with duckdb.connect() as database:
        database.register("trade", arrow)
        rows = database.execute(
            "select venue || ':' || symbol, sum(price), count(distinct date) from trade group by 1"
        )
        assert {symbol: total for symbol, total, days in rows.fetchall() if days == 2} == want


def test_a_failed_write_leaves_nothing_under_the_final_name(store, tmp_path: Path, monkeypatch) -> None:
    store.export(tmp_path / "kept", BTC, "trade")
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*.parquet")}

    def interrupted(*_: object, **__: object) -> int:
        next((tmp_path / "kept").rglob(".tmp-*"), None)
        raise KeyboardInterrupt

    monkeypatch.setattr("chronicle.access.formats.export_rows.write_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.export(tmp_path / "kept", BTC, "trade")
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == before


def test_choices_that_cannot_be_are_refused(store, tmp_path: Path) -> None:
    for options in (
        {"form": "xls"},
        {"channels": "depth"},
        {"register": "hudi"},
        {"form": "csv", "register": "delta"},
    ):
        with pytest.raises(ConfigError):
            store.export(tmp_path, **options)
    with pytest.raises(ConfigError):
        store.export(tmp_path, decimals="exact")
    blocked = tmp_path / "file"
    blocked.write_text("here")
    with pytest.raises(StoreError):
        store.export(blocked, BTC, "trade")
    plan = store.export_job(tmp_path / "plan", BTC, "trade").units()
    assert [unit.path.rsplit("/", 2)[1] for unit in plan] == ["date=2023-11-14", "date=2023-11-15"]
    assert not (tmp_path / "plan").exists()
    assert export.FORMATS[0] == "parquet"
