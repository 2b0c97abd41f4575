"""Answers as polars.LazyFrame: only the needed columns are decoded, in batches, and nothing before collect()."""

from __future__ import annotations

from pathlib import Path

import pytest

import chronicle
from tests.support.eventful import START, eventful

pl = pytest.importorskip("polars")
SYMBOL = "kraken:BTC-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("lazy")
    eventful(home, 3, steps=300)
    return home


def test_a_lazy_scan_is_the_scan(home: Path) -> None:
    with chronicle.open(home) as store:
        scan = store.scan(SYMBOL)
        whole, frame = scan.to_polars(), scan.lazy()
        assert frame.collect().equals(whole)
        assert frame.select(pl.len()).collect().item() == whole.height
        assert frame.head(7).collect().equals(whole.head(7))
        bids = pl.col("side") == "bid"
        assert (
            frame.filter(bids).select("price", "index").collect().equals(whole.filter(bids).select("price", "index"))
        )
        sums = frame.group_by("side").agg(pl.col("size").sum()).sort("side").collect(engine="streaming")
        assert sums["size"].to_list() == pytest.approx(
            whole.group_by("side").agg(pl.col("size").sum()).sort("side")["size"].to_list()
        )


def test_only_the_needed_columns_are_decoded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chronicle.access.ranges.frames import Columnar

    asked: list[list[str]] = []
    narrowed = Columnar._narrowed
    monkeypatch.setattr(
        Columnar, "_narrowed", lambda self, names: (asked.append(sorted(names)), narrowed(self, names))[1]
    )
    with chronicle.open(home) as store:
        frame = store.scan(SYMBOL).lazy()
        assert asked == []
        frame.filter(pl.col("price") > 99).select("size").collect()
        assert asked == [["price", "size"]]


def test_empty_ranges_books_and_best_prices(home: Path) -> None:
    with chronicle.open(home) as store:
        empty = store.scan(SYMBOL, "book", START, START).lazy().collect()
        assert empty.height == 0
        assert empty.columns == list(store.scan(SYMBOL).to_polars().columns)
        books = store.books(SYMBOL, every="10s", depth=2)
        assert (
            books.lazy()
            .select("status", "bid_price")
            .collect()
            .equals(books.to_polars().select("status", "bid_price"))
        )
        best = store.bbo(SYMBOL)
        assert best.lazy().collect().equals(best.to_polars())


def test_what_is_not_read_yet_says_what_it_would_be(home: Path) -> None:
    with chronicle.open(home) as store:
        shown = repr(store.scan(SYMBOL, columns=["ts_recv", "price"]))
    assert shown.startswith("<Scan of ts_recv, price; not read yet")
    assert "to_pandas()" in shown
