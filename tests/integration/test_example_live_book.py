"""examples/live_book.py keeps the book that the ETL's clean queue tells of."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import pytest

import chronicle
from chronicle.core.decimals import to_decimal
from chronicle.core.layout import StatusCode
from chronicle.core.queue import Queue
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from tests.conftest import REPOSITORY
from tests.support.etl_streams import BID, RawStream, binance, split
from tests.support.patience import HANG_SECONDS


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("live_book", REPOSITORY / "examples" / "live_book.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_joins_early_diffs_and_doubts_a_break(example: ModuleType) -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.deltas(1, (BID, 95, 1), first=90, last=98)
    stream.deltas(1, (BID, 96, 2), first=99, last=102)
    stream.snapshot(1, [(94, 1)], [(101, 1)], source=0, sequence=100)
    stream.deltas(1, (BID, 97, 3), first=103, last=104)
    stream.deltas(1, (BID, 97, 3), first=103, last=104, source=2)
    stream.deltas(1, (BID, 98, 3), first=107, last=108)
    stream.snapshot(1, [(94, 1)], [(101, 1)], source=0, sequence=120)
    stream.status(StatusCode.DISCONNECTED)
    said = []
    book = example.LiveBook("binance:BTC-USDT")
    for _, data in stream.events:
        changed = book.take(list(split(data)))
        said.append((changed, book.trusted, book.book.best_bid))
    assert said == [
        (False, False, None),
        (False, False, None),
        (False, False, None),
        (True, True, (96, 2)),
        (True, True, (97, 3)),
        (False, True, (97, 3)),
        (False, False, (97, 3)),
        (True, True, (94, 1)),
        (False, False, (94, 1)),
    ]


def test_it_follows_a_running_feed(example: ModuleType, tmp_path: Path) -> None:
    name = "raw/main.q"
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, [(94, 1)], [(101, 1)], sequence=100)
    for number in range(20):
        stream.deltas(1, (BID, 94, number + 2), first=101 + number, last=101 + number)
    with Queue.create(tmp_path / name, name=name).appender() as appender:
        seen = threading.Semaphore(1)

        def write() -> None:
            for _, data in stream.events[1:]:
                seen.acquire(timeout=HANG_SECONDS)
                appender.append_event(data, 1)

        appender.append_event(stream.events[0][1], 1)
        writer = threading.Thread(target=write)
        writer.start()
        sizes = []
        for state in example.follow(tmp_path, "binance:BTC-USDT"):
            sizes.append(state.book.best_bid[1])
            seen.release()
            if len(sizes) == 21:
                break
        writer.join()
    assert sizes == list(range(1, 22))


@pytest.mark.data
def test_it_ends_with_the_book_of_the_clean_queue(example: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    replay_capture(tmp_path, [folder / "KRAKEN.0.zst", *sorted(folder.glob("KRAKEN.ws.*"))])
    run_shard(tmp_path, drain=True)
    with chronicle.open(str(tmp_path)) as store:
        symbol = next(row.symbol for row in store.instruments() if "book" in row.channels)
        wanted = store.book(symbol)
        last = None
        for last in example.follow(tmp_path, symbol, live=False):  # noqa: B007
            pass
        assert last is not None
        bids, asks = last.book.depth(1 << 30)
    places = last.book.price_exponent, last.book.size_exponent
    for ours, theirs in ((bids, wanted.bids), (asks, wanted.asks)):
        assert len(ours) > 5
        assert [tuple(level) for level in theirs] == [
            (to_decimal(price, places[0]), to_decimal(size, places[1])) for price, size in ours
        ]
