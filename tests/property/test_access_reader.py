"""scan() and books() against a naive reader: random ranges, columns, kinds, batch sizes, hot and archived."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronicle
from chronicle.core.layout import Kind, Side
from chronicle.core.queue import Queue
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.eventful import START, eventful

SYMBOL = "kraken:BTC-EUR"

SIDES = {Side.BID: "bid", Side.ASK: "ask", Side.NONE: "none"}
WORDS = {Kind.BOOK_DELTA: "delta", Kind.BOOK_SNAPSHOT: "snapshot", Kind.ORDER: "order"}
COLUMNS = (
    "ts_recv",
    "ts_event",
    "kind",
    "side",
    "price",
    "size",
    "sequence",
    "flags",
    "index",
    "source_index",
    "lane",
)


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[list[Path], list[dict[str, object]], int]:
    """Return a hot home, the same in the archive, the same half open half archived; its rows; its last time."""
    hot = tmp_path_factory.mktemp("hot")
    end = eventful(hot, 3, steps=500)
    rows = naive(hot)
    warm = tmp_path_factory.mktemp("places") / "warm"
    shutil.copytree(hot, warm)
    with Queue.open(warm / "clean/kraken/btc_eur/book.q").appender() as appender:
        appender.seal()
    run_once(warm, default_policy(warm), everything=True)
    return [hot, warm], rows, end


def naive(home: Path) -> list[dict[str, object]]:
    """Read the queue record by record: the rows that a scan of every kind must give."""
    rows: list[dict[str, object]] = []
    exponents = (2, 3)
    opened: list[dict[str, object]] = []
    for record in Queue.open(home / "clean/kraken/btc_eur/book.q").tailer().drain():
        fields = record.fields()
        if record.kind == Kind.INSTRUMENT:
            exponents = fields["price_exponent"], fields["size_exponent"]
        base = {
            "ts_recv": record.ts_recv,
            "ts_event": record.ts_event,
            "sequence": record.sequence,
            "flags": record.flags & 0x7F,
            "index": record.index,
            "source_index": record.source_index,
            "lane": 0,
        }
        made: list[dict[str, object]] = []
        if record.kind == Kind.BOOK_SNAPSHOT and fields["origin"] == 1:
            for side in ("bid", "ask"):
                made += [base | row("snapshot", side, level, exponents) for level in fields[f"{side}s"]]
        elif record.kind in (Kind.BOOK_DELTA, Kind.ORDER):
            level = fields["price"], fields["size"]
            made.append(base | row(WORDS[Kind(record.kind)], SIDES[Side(record.side)], level, exponents))
        rows += made
        opened += made
        if record.is_last:
            if opened:
                opened[-1]["last"] = True
            opened = []
    return rows


def row(kind: str, side: str, level: tuple[int, int], exponents: tuple[int, int]) -> dict[str, object]:
    price, size = (Decimal(value).scaleb(-places) for value, places in zip(level, exponents, strict=True))
    return {"kind": kind, "side": side, "price": price, "size": size, "last": False}


@given(data=st.data())
def test_scan_gives_what_a_naive_reader_gives(places, data) -> None:
    homes, rows, end = places
    times = sorted({row["ts_recv"] for row in rows})
    edge = st.one_of(st.sampled_from(times), st.integers(START - 5, end + 5)).flatmap(
        lambda ts: st.sampled_from([ts - 1, ts, ts + 1])
    )
    first, last = sorted((data.draw(edge), data.draw(edge)))
    kinds = data.draw(st.sets(st.sampled_from(["delta", "snapshot", "order"]), min_size=1))
    columns = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
    batch = data.draw(st.integers(1, 400))
    wanted = [row for row in rows if first <= row["ts_recv"] < last and row["kind"] in kinds]
    with chronicle.open(data.draw(st.sampled_from(homes))) as store:
        scan = store.scan(SYMBOL, "book", first, last, columns=columns, kinds=sorted(kinds), decimals="decimal")
        whole = scan.to_numpy()
        parts = list(scan.batches(batch))
    for name in columns:
        values = whole[name].tolist()
        if name == "flags":
            assert [value & 0x7F for value in values] == [row["flags"] for row in wanted]
        else:
            assert values == [row[name] for row in wanted], name
        joined = [value for part in parts for value in part[name].tolist()]
        assert joined == values
    if "flags" in columns and kinds == {"delta", "snapshot", "order"}:
        assert [bool(value & 128) for value in whole["flags"].tolist()] == [row["last"] for row in wanted]
    assert all(len(part[columns[0]]) for part in parts)


@given(data=st.data())
def test_sampled_books_are_single_books(places, data) -> None:
    homes, _, end = places
    start = data.draw(st.integers(START - 10**9, end))
    every = data.draw(st.sampled_from([10**6, 10**8, 10**9, 7 * 10**9]))
    depth = data.draw(st.integers(1, 7))
    stop = start + every * data.draw(st.integers(1, 12))
    with chronicle.open(data.draw(st.sampled_from(homes))) as store:
        books = store.books(SYMBOL, start, stop, every=every, depth=depth, decimals="decimal").to_numpy()
        for place, at in enumerate(range(start, stop, every)):
            book = store.book(SYMBOL, at=at, depth=depth)
            assert books["ts_recv"][place] == at
            assert books["status"][place] == book.status
            for side, levels in (("bid", book.bids), ("ask", book.asks)):
                there = [value for value in books[f"{side}_price"][place] if value is not None]
                assert there == [price for price, _ in levels]
                assert list(books[f"{side}_size"][place][: len(levels)]) == [size for _, size in levels]
    assert len(books["ts_recv"]) == len(range(start, stop, every))
    assert np.all(np.diff(books["ts_recv"]) == every)
