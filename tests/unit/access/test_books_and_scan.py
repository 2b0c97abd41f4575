"""books() agrees with book(at) at every row; scan() with a naive walk of the queues."""

from __future__ import annotations

import random
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.books import sampling
from chronicle.access.ranges import rows as rows_module
from chronicle.access.ranges.numbers import floats
from chronicle.core.errors import ConfigError, NotFoundError, RangeError
from chronicle.core.layout import INT64_MIN, Verdict
from tests.support.eventful import eventful
from tests.support.home_builder import CleanQueue, definition, progress

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_each_row_on_event_is_the_book_at_its_time(tmp_path: Path, seed: int, checks: bool) -> None:
    end = eventful(tmp_path, seed, checks=checks) + 1
    with chronicle.open(tmp_path) as store:
        books = store.books(SYMBOL, START, end, on="event", depth=7, decimals="int")
        assert len(books) > 500
        last_of_time = np.append(books.ts_recv[1:] != books.ts_recv[:-1], True)
        for row in np.flatnonzero(last_of_time).tolist():
            check_row(store, books, row, ts_event=True)


@pytest.mark.parametrize("every", ["1s", 333_333_333])
@pytest.mark.parametrize("seed", range(4))
def test_each_row_of_the_grid_is_the_book_at_its_time(tmp_path: Path, seed: int, every: str | int) -> None:
    end = eventful(tmp_path, seed) + 5 * SECOND
    progress(tmp_path, end - 3 * SECOND)
    with chronicle.open(tmp_path) as store:
        books = store.books(SYMBOL, START - SECOND, end, every=every, depth=7, decimals="int")
        step = SECOND if every == "1s" else every
        assert books.ts_recv.tolist() == list(range(START - SECOND, end, step))
        assert {"stale", "unverified"} <= set(books.status.tolist())
        for row in range(len(books)):
            check_row(store, books, row, ts_event=False)


def check_row(store: chronicle.Store, books: chronicle.access.Books, row: int, *, ts_event: bool) -> None:
    at = int(books.ts_recv[row])
    book = store.book(SYMBOL, at=at, depth=7)
    assert book.status == books.status[row], (row, at)
    if ts_event:
        assert book.ts_event == books.ts_event[row]
    price, size = (
        10 ** (books.price_exponent - book.price_exponent),
        10 ** (books.size_exponent - book.size_exponent),
    )
    for side, stored in (("bid", book.bid_levels), ("ask", book.ask_levels)):
        prices, sizes = getattr(books, f"{side}_price")[row].tolist(), getattr(books, f"{side}_size")[row].tolist()
        shown = [(p, s) for p, s in zip(prices, sizes, strict=True) if p != INT64_MIN]
        assert shown == [(p * price, s * size) for p, s in stored], (row, side)


def test_batches_bound_memory_and_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = eventful(tmp_path, 3) + 1
    with chronicle.open(tmp_path) as store:
        whole = {
            on: store.books(SYMBOL, START, end, **{on: value}, depth=3, decimals="int").to_numpy()
            for on, value in (("on", "event"), ("every", "100ms"))
        }
        monkeypatch.setattr(sampling, "ROWS_MAX", 7)
        monkeypatch.setattr(sampling, "ROWS_MIN", 7)
        for on, value in (("on", "event"), ("every", "100ms")):
            books = store.books(SYMBOL, START, end, **{on: value}, depth=3, decimals="int")
            parts = list(books.batches(5))
            assert max(len(part["ts_recv"]) for part in parts) <= 5
            for name, values in whole[on].items():
                assert np.array_equal(np.concatenate([part[name] for part in parts]), values), name


def test_books_start_inside_the_range_asked(tmp_path: Path) -> None:
    end = eventful(tmp_path, 1) + 1
    with chronicle.open(tmp_path) as store:
        whole = store.books(SYMBOL, on="event", depth=2, decimals="int")
        times = whole.ts_recv
        for start, stop in ((times[100], times[300]), (times[100] + 1, times[120] + 1), (end, end + 5)):
            part = store.books(SYMBOL, int(start), int(stop), on="event", depth=2, decimals="int")
            kept = (times >= start) & (times < stop)
            assert part.ts_recv.tolist() == times[kept].tolist()
            assert np.array_equal(part.status, whole.status[kept])


def test_books_span_lanes_in_turn(tmp_path: Path) -> None:
    middle = eventful(tmp_path, 5, steps=50, lane=1)
    later = middle + 100 * SECOND
    eventful(tmp_path, 6, steps=50, lane=0, at=later)
    with chronicle.open(tmp_path) as store:
        books = store.books(SYMBOL, every="10s", depth=1, decimals="int")
        between = (books.ts_recv > middle) & (books.ts_recv < later)
        assert between.any()
        assert set(books.status[between].tolist()) == {"stale"}
        for row in range(len(books)):
            check_status(store, books, row)


def check_status(store: chronicle.Store, books: chronicle.access.Books, row: int) -> None:
    assert store.book(SYMBOL, at=int(books.ts_recv[row])).status == books.status[row]


def test_checks_and_gaps_are_counted(tmp_path: Path) -> None:
    eventful(tmp_path, 4, checks=True)
    with chronicle.open(tmp_path) as store:
        quality = store.quality(SYMBOL)
        assert quality.checks_passed > 400
        assert quality.checks_failed == 0
        assert quality.gaps == len(store.gaps(SYMBOL)) > 0
        assert quality.records["book_delta"] > 900


def naive_rows(store: chronicle.Store, symbol: str, start: int, end: int) -> list[tuple[object, ...]]:
    """All deltas and venue levels of `symbol` by walking the events."""
    out = []
    exponent = 2
    for event in store.replay(symbol):
        for record in event.records:
            fields = record.fields()
            name = record.to_dict()["kind"]
            if name == "INSTRUMENT":
                exponent = fields["price_exponent"]
            if not start <= record.ts_recv < end:
                continue
            if name == "BOOK_DELTA":
                side = {66: "bid", 65: "ask"}[record.side]
                out.append(
                    (record.ts_recv, "delta", side, Decimal(fields["price"]).scaleb(-exponent), fields["size"])
                )
            elif name == "BOOK_SNAPSHOT" and fields["origin"] == 1:
                for side, levels in (("bid", fields["bids"]), ("ask", fields["asks"])):
                    out += [(record.ts_recv, "snapshot", side, Decimal(p).scaleb(-exponent), s) for p, s in levels]
    return out


@pytest.mark.parametrize("seed", range(3))
def test_scan_gives_every_record_once_at_its_value(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = eventful(tmp_path, seed) + 1
    rng = random.Random(seed)
    with chronicle.open(tmp_path) as store:
        for _ in range(6):
            first, last = sorted((rng.randrange(START, end), rng.randrange(START, end)))
            scan = store.scan(SYMBOL, "book", first, last, decimals="decimal")
            got = scan.to_numpy()
            size = [int(value.scaleb(scan.size_exponent)) for value in got["size"]]
            rows = list(
                zip(
                    got["ts_recv"].tolist(),
                    got["kind"].tolist(),
                    got["side"].tolist(),
                    got["price"],
                    size,
                    strict=True,
                )
            )
            assert rows == naive_rows(store, SYMBOL, first, last)
            number = rng.randrange(1, 40)
            parts = list(
                store.scan(SYMBOL, "book", first, last, columns=["ts_recv", "index", "flags"]).batches(number)
            )
            assert np.array_equal(np.concatenate([p["index"] for p in parts] or [got["index"][:0]]), got["index"])
            assert all(part["flags"][-1] & 128 for part in parts)


def test_scan_merges_symbols_and_lanes_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = ["kraken:BTC-EUR", "kraken:ETH-EUR", "kraken:SOL-EUR"]
    rng = random.Random(7)
    everything = []
    for number, symbol in enumerate(symbols):
        for lane in (0, 1):
            clean = CleanQueue(tmp_path, symbol, "trade", lane=lane, segment_bytes=1 << 16)
            ts = START
            for trade in range(1_500):
                ts += rng.randrange(3)
                clean.trade(ts, "bid", 100 + trade, 1, trade)
                everything.append((ts, number, lane, trade))
            clean.close(seal=lane == 1)
    with chronicle.open(tmp_path) as store:
        got = store.scan(symbols, "trade", columns=["ts_recv", "symbol", "lane", "trade_id"]).to_numpy()
        rows = list(
            zip(
                got["ts_recv"].tolist(),
                got["symbol"].tolist(),
                got["lane"].tolist(),
                got["trade_id"].tolist(),
                strict=True,
            )
        )
        assert rows == [(ts, symbols[n], lane, trade) for ts, n, lane, trade in sorted(everything)]
        parts = list(store.scan(symbols, "trade", columns=["trade_id"]).batches(1_000))
        assert [len(part["trade_id"]) for part in parts] == [1_000] * 9


def test_scan_of_quotes_and_frames_agree(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    clean = CleanQueue(tmp_path, channel="quote")
    clean.quote(START, (10001, 5), (10002, 6))
    clean.quote(START + 10, (INT64_MIN, 0), (10003, 7))
    clean.close()
    with chronicle.open(tmp_path) as store:
        scan = store.scan(SYMBOL, "quote")
        table = scan.to_arrow()
        assert str(table.schema.field("ts_recv").type) == "timestamp[ns, tz=UTC]"
        assert table["bid_price"].to_pylist() == [100.01, None]
        assert store.scan(SYMBOL, "quote", decimals="decimal").to_arrow()["ask_price"].to_pylist() == [
            Decimal("100.02"), Decimal("100.03"),
        ]  # fmt: skip
        assert store.scan(SYMBOL, "quote", decimals="int").to_arrow()["bid_price"].to_pylist() == [10001, None]
        frame = scan.to_pandas()
        assert frame["symbol"].tolist() == [SYMBOL] * 2
        assert str(frame["ts_recv"].dt.tz) == "UTC"
        polars = scan.to_polars()
        assert polars["ask_size"].to_list() == [0.006, 0.007]
        import pyarrow

        assert pyarrow.table(scan).num_rows == 2


def test_books_frames_hold_levels(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    clean = CleanQueue(tmp_path)
    clean.venue_snapshot(START, [(10000, 5)], [(10010, 3), (10011, 4)])
    clean.close()
    with chronicle.open(tmp_path) as store:
        books = store.books(SYMBOL, on="event", depth=2)
        assert books.to_arrow()["ask_price"].to_pylist() == [[100.10, 100.11]]
        frame = books.to_pandas()
        assert (frame["bid_price_0"][0], frame["ask_size_1"][0]) == (100.0, 0.004)
        assert np.isnan(frame["bid_price_1"][0])
        assert books.to_polars().height == 1


def test_trade_redefinition_scales_right(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path, channel="trade")
    clean.trade(START, "bid", 10001, 5)
    clean.redefine(START + 1, definition(price_exponent=5))
    clean.trade(START + 2, "ask", 10001007, 5)
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert store.scan(SYMBOL, "trade").to_numpy()["price"].tolist() == [100.01, 100.01007]
        assert store.scan(SYMBOL, "trade", START + 2).to_numpy()["price"].tolist() == [100.01007]
        with pytest.raises(NotFoundError, match="no book is kept"):
            store.book(SYMBOL)
        assert store.scan(SYMBOL, "trade", START, START + 1).to_numpy()["price"].tolist() == [100.01]


def test_orders_are_rows_only_when_asked_for(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path)
    clean.venue_snapshot(START, [(10000, 5)], [(10010, 3)])
    clean.order(START + 1, "bid", 77, 10000, 2)
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert set(store.scan(SYMBOL).to_numpy()["kind"].tolist()) == {"snapshot"}
        got = store.scan(SYMBOL, kinds=["order"]).to_numpy()
        assert (got["price"].tolist(), got["size"].tolist(), got["side"].tolist()) == ([100.0], [0.002], ["bid"])
        assert len(store.books(SYMBOL, on="event", depth=1)) == 2


def test_wrong_questions_get_one_clear_line(tmp_path: Path) -> None:
    eventful(tmp_path, 2, steps=5)
    with chronicle.open(tmp_path) as store:
        with pytest.raises(RangeError, match="ends before"):
            store.scan(SYMBOL, start=START + 5, end=START)
        with pytest.raises(ConfigError, match="candles"):
            store.scan(SYMBOL, "candles")
        with pytest.raises(ConfigError, match="no column"):
            store.scan(SYMBOL, columns=["nope"])
        with pytest.raises(ConfigError, match="step"):
            store.books(SYMBOL, every="soon")
        with pytest.raises(ConfigError):
            store.books(SYMBOL, depth=0)
        assert len(store.scan(SYMBOL, start=START, end=START).to_numpy()["ts_recv"]) == 0
        assert rows_module.CHANNEL_KINDS["book"] == ("delta", "snapshot", "order")


def test_a_row_that_names_no_record_cannot_be_explained(tmp_path: Path) -> None:
    with chronicle.open(tmp_path) as store, pytest.raises(ConfigError):
        store.explain({"price": 1})


def test_scan_of_archived_blocks_as_columns_is_the_scan_of_their_records(tmp_path: Path) -> None:
    import shutil

    from chronicle.storage.tiers.agent import run_once
    from chronicle.storage.tiers.policy import default_policy

    queue = CleanQueue(tmp_path / "home")
    queue.define(START)
    queue.venue_snapshot(START + 1, [(100, 5)], [(101, 6)])
    for segment in range(4):
        for number in range(300):
            ts = START + 10 + 1_000 * segment + number
            changes = [("bid", 100 - level, number % 5) for level in range(number % 4)]
            queue.deltas(ts, *changes, ("ask", 101 + number % 7, number % 3), check=Verdict.PASSED, sequence=number)
            if number % 90 == 0:
                queue.etl_snapshot(ts)
        if segment == 2:
            queue.redefine(START + 10 + 1_000 * segment + 400, definition(SYMBOL, price_exponent=4))
        queue.seal()
    queue.close()
    shutil.copytree(tmp_path / "home", tmp_path / "moved")
    assert run_once(tmp_path / "moved", default_policy(tmp_path / "moved"), everything=True).moved
    ranges = [(None, None), (START + 40, START + 2_100), (START + 3_011, START + 3_012)]
    with chronicle.open(tmp_path / "home") as hot, chronicle.open(tmp_path / "moved") as moved:
        for first, last in ranges:
            for kinds in (None, ["delta"], ["snapshot"]):
                expected = hot.scan(SYMBOL, "book", first, last, kinds=kinds, decimals="int").to_numpy()
                got = moved.scan(SYMBOL, "book", first, last, kinds=kinds, decimals="int").to_numpy()
                assert {name: values.tolist() for name, values in got.items()} == {
                    name: values.tolist() for name, values in expected.items()
                }


@pytest.mark.parametrize("exponent", [0, 1, 8, 18])
def test_floats_are_the_nearest_with_and_without_the_compiler(exponent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(exponent)
    drawn = [0, 1, -1, 2**53 + 1, INT64_MIN + 1, 2**63 - 1, *(rng.randrange(-(10**15), 10**15) for _ in range(500))]
    for holes in (False, True):
        values = np.array([*drawn, *([INT64_MIN] * 3 if holes else [])], dtype=np.int64)
        compiled = floats(values, exponent)
        with monkeypatch.context() as without:
            without.delitem(sys.modules, "numba", raising=False)
            plain = floats(values, exponent)
        expected = [
            float("nan") if value == INT64_MIN else float(value) / 10.0**exponent for value in values.tolist()
        ]
        assert np.array_equal(compiled, expected, equal_nan=True)
        assert np.array_equal(plain, expected, equal_nan=True)
