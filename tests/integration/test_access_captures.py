"""The reader on real captures: every truth they hold, from open queues, sealed ones and the archive alike."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chronicle
from chronicle.core.layout import INT64_MIN
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy

pytestmark = pytest.mark.data

LOBSTER = "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"
LOBSTER_EMPTY = 9_999_999_999


def refined(home: Path, *captures: Path) -> Path:
    """Replay captures into `home` and work them off."""
    replay_capture(home, list(captures))
    run_shard(home, drain=True)
    return home


@pytest.fixture(scope="module")
def lobster(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refined(tmp_path_factory.mktemp("lobster"), shared_data / LOBSTER)


@pytest.fixture(scope="module")
def kraken(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refined(tmp_path_factory.mktemp("kraken"), shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst")


@pytest.fixture(scope="module")
def spot(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shared_data / "hftbacktest-binance/spot"
    return refined(tmp_path_factory.mktemp("spot"), *sorted(folder.glob("*.gz")))


def archived(home: Path, target: Path) -> Path:
    """Return a copy of `home` with every sealed segment in the archive."""
    shutil.copytree(home, target)
    report = run_once(target, default_policy(target), everything=True)
    assert report.moved
    assert not report.failures
    return target


def test_every_lobster_row_is_the_book_after_its_message(lobster: Path, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / LOBSTER) as bundle:
        name = next(name for name in bundle.namelist() if "orderbook" in name)
        truth = np.loadtxt(bundle.open(name), delimiter=",", dtype=np.int64)
    with chronicle.open(lobster) as store:
        books = store.books("nasdaq:AMZN", on="event", depth=5, decimals="int")
        assert len(books) == len(truth) == 155_935
        assert (books.price_exponent, books.size_exponent) == (4, 0)
        assert set(books.status.tolist()) == {"ok"}
        for offset, column in enumerate(("ask_price", "ask_size", "bid_price", "bid_size")):
            expected = truth[:, offset::4]
            got = getattr(books, column)
            if column.endswith("price"):
                expected = np.where(np.abs(expected) == LOBSTER_EMPTY, INT64_MIN, expected)
            assert np.array_equal(got, expected), column


def test_every_kraken_check_passed_and_every_book_is_checked(kraken: Path) -> None:
    with chronicle.open(kraken) as store:
        symbols = [row.symbol for row in store.instruments() if "book" in row.channels]
        qualities = [store.quality(symbol) for symbol in symbols]
        assert sum(quality.checks_passed for quality in qualities) == 4_269
        assert sum(quality.checks_failed + quality.gaps for quality in qualities) == 0
        for symbol in symbols:
            book = store.book(symbol, at=store.books(symbol, on="event", depth=1).ts_recv[-1])
            assert (book.status, book.verified_by) == ("ok", "checksum")
            assert store.book(symbol).status == "stale"


def test_binance_over_midnight_has_no_gap(spot: Path) -> None:
    with chronicle.open(spot) as store:
        assert store.gaps("binance:BTCUSDT") == []
        books = store.books("binance:btcusdt", on="event", depth=1)
        assert set(np.unique(books.status).tolist()) <= {"unverified", "ok"}
        assert store.book("BINANCE:BTC/USDT", at="2024-08-09T00:00:00Z").verified_by == "sequence"


def sampled(store: chronicle.Store, symbol: str) -> list[Any]:
    """Answers at many moments, without what depends on the place."""
    covered = store.coverage(symbol, "book")
    step = max(1, (covered.ts_last - covered.ts_first) // 40)
    answers: list[Any] = []
    for at in range(covered.ts_first - step, covered.ts_last + 2 * step, step):
        book = store.book(symbol, at=at, depth=20)
        values = book.to_dict()
        values["source"].pop("place", None)
        answers.append((values, book.verified_by, book.snapshot_age_ns, book.complete_range))
    return answers


@pytest.mark.parametrize("capture", ["lobster", "kraken", "spot"])
def test_answers_from_the_archive_equal_those_from_the_home(
    capture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    home: Path = request.getfixturevalue(capture)
    cold = archived(home, tmp_path / "cold")
    with chronicle.open(home) as here, chronicle.open(cold) as there, chronicle.open(cold / "archive") as root:
        places = {segment.place for segment in there.coverage(there.instruments()[0].symbol).segments}
        assert "hot" not in places
        for symbol in [row.symbol for row in here.instruments() if "book" in row.channels][:4]:
            assert sampled(there, symbol) == sampled(here, symbol)
            for channel in here.channels(symbol):
                one, two = (store.scan(symbol, channel, decimals="int").to_numpy() for store in (here, there))
                assert all(np.array_equal(one[name], two[name]) for name in one)
        assert [row.symbol for row in root.instruments()] == [row.symbol for row in here.instruments()]
        symbol = here.instruments()[0].symbol
        index = here.coverage(symbol, "book").records // 2
        chains = [store.explain(symbol, "book", index) for store in (here, there)]
        assert chains[0].payload == chains[1].payload != b""


def test_explain_gives_the_bytes_of_the_exchange(kraken: Path) -> None:
    with chronicle.open(kraken) as store:
        rows = store.scan("kraken:ADA/XBT", kinds=["delta"]).to_numpy()
        for place in (0, 100, -1):
            row = {name: rows[name][place] for name in ("symbol", "index", "lane", "kind")}
            chain = store.explain(row)
            assert b'"book-1000","ADA/XBT"]' in chain.payload
            price = f"{rows['price'][place]:.9f}".rstrip("0").encode()
            assert price in chain.payload
            assert chain.form == "text"


def test_replay_gives_every_event_in_order_of_time(kraken: Path) -> None:
    with chronicle.open(kraken) as store:
        symbols = [row.symbol for row in store.instruments()]
        times, count = [], 0
        for event in store.replay(symbols):
            times.append(event.ts_recv)
            count += len(event.records)
        assert times == sorted(times)
        total = sum(
            segment.records
            for symbol in symbols
            for channel in store.channels(symbol)
            if channel != "candle"  # made from the trades, which are replayed
            for segment in store.coverage(symbol, channel).segments
        )
        assert count == total


def test_removed_depth_line_is_one_gap_and_never_ok_behind_it(shared_data: Path, tmp_path: Path) -> None:
    lines = gzip.decompress((shared_data / "hftbacktest-binance/spot/btcusdt_20240808.gz").read_bytes()).splitlines(
        True
    )
    updates = [number for number, line in enumerate(lines) if b'"depthUpdate"' in line]
    removed = updates[len(updates) // 2]
    lost_ts = int(lines[removed].split(b" ", 1)[0])
    del lines[removed]
    capture = tmp_path / "btcusdt_20240808.gz"
    capture.write_bytes(gzip.compress(b"".join(lines), 1))
    with chronicle.open(refined(tmp_path / "home", capture)) as store:
        (gap,) = store.gaps("binance:BTCUSDT")
        assert (gap.cause, gap.state) == ("sequence", "open")
        assert gap.last_good_ts < lost_ts < gap.detected_ts
        books = store.books("binance:BTCUSDT", on="event", depth=1)
        late = books.ts_recv > gap.last_good_ts
        assert set(books.status[late].tolist()) == {"gap"}
        assert "ok" in books.status[~late]
        assert store.book("binance:BTCUSDT", at=lost_ts).status == "gap"
        assert store.book("binance:BTCUSDT", at=gap.last_good_ts).status == "ok"
        grid = store.books("binance:BTCUSDT", every="100ms", depth=1)
        assert "ok" not in grid.status[grid.ts_recv > gap.last_good_ts]
