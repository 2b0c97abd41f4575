"""Truths of captured orders: Databento's MBO against its own MBP-10 and trades, from the feed to the reader."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

import chronicle
from chronicle.core.layout import Flag, Kind
from chronicle.core.local import LocalSource
from chronicle.core.times import parse_time
from chronicle.etl import OrderBook, rebuild, run_shard
from chronicle.feed.replay import replay_capture
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.integration.test_three_places import run_live

pytestmark = pytest.mark.data

ARL = "databento-mbo-mbp10/ARL_2025-07-17_mbo.csv.zst"
ARL_LEVELS = "databento-mbo-mbp10/ARL_2025-07-17_mbp10.csv.zst"
ESM4 = "databento/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"

Side = list[tuple[int, int, int]]
Key = tuple[int, int]


def truth(path: Path) -> dict[Key, list[tuple[Side, Side]]]:
    """Return the ten levels of each side after each row, by (ts_event, sequence)."""
    found = defaultdict(list)
    text = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
    for row in csv.DictReader(io.TextIOWrapper(text)):
        sides: list[Side] = []
        for side in ("bid", "ask"):
            names = [(f"{side}_px_{n:02d}", f"{side}_sz_{n:02d}", f"{side}_ct_{n:02d}") for n in range(10)]
            sides.append(
                [(int(Decimal(row[p]) * 10**9), int(row[s]), int(row[c])) for p, s, c in names if row[p]],
            )
        found[parse_time(row["ts_event"]), int(row["sequence"])].append((sides[0], sides[1]))
    return found


def by_record(store: Any, symbol: str) -> dict[Key, list[tuple[Side, Side]]]:
    """Return the book after each ORDER record of the store."""
    book, found = OrderBook(), defaultdict(list)
    for event in store.replay([symbol]):
        for record in event.records:
            if record.kind == Kind.ORDER:
                book.apply(record)
                bids, asks = book.levels(10)
                found[record.ts_event, record.sequence].append((bids, asks))
    assert book.problems == {}
    return found


def sides_of(books: Any, row: int) -> tuple[Side, Side]:
    """Return a row of sampled books as levels."""
    found: list[Side] = []
    for side in ("bid", "ask"):
        names = (f"{side}_price", f"{side}_size", f"{side}_orders")
        columns = [getattr(books, name)[row].tolist() for name in names]
        found.append([level for level in zip(*columns, strict=True) if level[1]])
    return found[0], found[1]


def check_against_truth(place: Path, wanted: dict[Key, list[tuple[Side, Side]]]) -> int:
    """Compare every row of the truth with the store at `place`; return how many there are."""
    with chronicle.open(place) as store:
        found = by_record(store, "nasdaq:ARL")
        rows = [(key, levels) for key, rows in wanted.items() for levels in rows]
        assert all(levels in found[key] for key, levels in rows)
        books = store.books("nasdaq:ARL", on="event", depth=10, decimals="int")
        last = defaultdict(list)
        for row, ts_event in enumerate(books.ts_event.tolist()):
            last[ts_event].append(sides_of(books, row))
        assert all(levels[-1] in last[ts_event] for (ts_event, _), levels in wanted.items())
        assert set(books.status.tolist()) == {"ok"}
        times = books.ts_recv.tolist()
        for row in range(0, len(times) - 1, 150):
            if times[row] < times[row + 1]:
                book = store.book("nasdaq:ARL", at=times[row])
                bids, asks = sides_of(books, row)
                assert book.status == "ok"
                assert book.verified_by in ("sequence", "nothing")
                levels = zip(book.bid_levels, book.bid_counts, strict=True)
                assert [(*level, count) for level, count in levels][:10] == bids
                levels = zip(book.ask_levels, book.ask_counts, strict=True)
                assert [(*level, count) for level, count in levels][:10] == asks
                ahead = sum(order.size for order in book.orders("bid") if order.price == book.best_bid)
                assert ahead == (book.bids[0][1] if book.bids else 0)
        return len(rows)


def test_arl_has_the_mbp10_book_after_every_row_open_sealed_archived_and_rebuilt(
    shared_data: Path, tmp_path: Path
) -> None:
    home, wanted = tmp_path / "home", truth(shared_data / ARL_LEVELS)
    replay_capture(home, [shared_data / ARL])
    run_live(home)
    assert check_against_truth(home, wanted) == 3_928
    with chronicle.open(home) as store:
        found = store.audit("nasdaq:ARL")
        assert (found.snapshots > 5, found.deltas > 3_000, found.differences) == (True, True, [])
    run_shard(home, drain=True)
    assert check_against_truth(home, wanted) == 3_928
    rebuild(home, tmp_path / "again")
    run_once(home, default_policy(home), everything=True)
    with chronicle.open(home) as store:
        places = store.coverage("nasdaq:ARL", "book")
        assert {segment.place for segment in places.segments} == {"warm"}
    assert check_against_truth(home, wanted) == 3_928
    assert check_against_truth(home / "archive", wanted) == 3_928
    assert check_against_truth(tmp_path / "again", wanted) == 3_928


def test_esm4_starts_with_its_snapshot_and_is_never_crossed_where_an_event_ends(
    shared_data: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    replay_capture(home, [shared_data / ESM4, shared_data / "databento/orderbooks_definition.dbn.zst"])
    report = run_shard(home, drain=True)
    assert not [name for name in report.counts if name.startswith(("orders_", "gaps"))]
    queue = "clean/cme/esm4/book.q"
    for segment in LocalSource(home).segments(queue):
        with LocalSource(home).open(queue, segment.number) as view:
            assert {"book", "orders"} <= {name for name, value in view.prologue().items() if value is not None}
    run_once(home, default_policy(home), everything=True)
    with chronicle.open(home) as store:
        book = store.book("cme:ESM4", at="2024-05-08T00:00:00Z")
        assert (book.status, len(book.orders("bid")) + len(book.orders("ask"))) == ("ok", 13_600)
        books = store.books("cme:ESM4", on="event", depth=3)
        assert set(books.status.tolist()) == {"ok"}
        assert bool((books.bid_price[:, 0] < books.ask_price[:, 0]).all())
        (instrument,) = store.instruments()
        assert instrument.symbol == "cme:ESM4"
        events = [event for event in store.replay(["cme:ESM4"]) if event.records[0].kind == Kind.ORDER]
        assert len(books) == sum(not event.records[0].flags & Flag.SNAPSHOT for event in events)
        audited = store.audit("cme:ESM4")
        assert (audited.deltas > 10_000, audited.differences) == (True, [])
        assert store.export(tmp_path / "npz", "cme:ESM4", form="npz").rows > 13_600
        best = store.orders("cme:ESM4", depth=1)
        assert {order.side for order in best} == {"bid", "ask"}
        assert best[0].ahead == 0


def test_trades_within_quotes_are_those_of_the_trades_file(shared_data: Path, tmp_path: Path) -> None:
    columns = ["ts_recv", "ts_event", "side", "price", "size", "sequence"]
    found = []
    for name in ("mbp-1", "trades"):
        home = tmp_path / name
        stem = "2024-07-01T23-58_2024-07-02T00-02.dbn.zst"
        replay_capture(home, [shared_data / f"databento/futures_{name}_{stem}"])
        run_shard(home, drain=True)
        with chronicle.open(home) as store:
            rows = store.scan("cme:ESU4", channel="trade", columns=columns[1:], decimals="int").to_numpy()
            found.append({name: values.tolist() for name, values in rows.items()})
    assert found[0] == found[1]
    assert len(found[0]["price"]) == 120
