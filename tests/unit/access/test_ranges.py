"""Replay by either clock, seeking, batches; patterns; best prices; books of many; async twins; forks."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.ranges.replay import Replay
from chronicle.access.ranges.tail import LOOK_NS, tail
from chronicle.core.clock import FakeClock
from chronicle.core.errors import ConfigError, NotFoundError, RangeError, SymbolError
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue, definition
from tests.support.patience import HANG_SECONDS

START = 1_700_000_000_000_000_000
SECOND = 10**9
BTC, ETH = "kraken:BTC-EUR", "kraken:ETH-EUR"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rng = random.Random(5)
    for symbol, exponent in ((BTC, 2), (ETH, 4)):
        book = CleanQueue(tmp_path, symbol, fields=definition(symbol, price_exponent=exponent))
        trade = CleanQueue(tmp_path, symbol, "trade", fields=definition(symbol, price_exponent=exponent))
        book.venue_snapshot(START, [(9990, 3)], [(10010, 4)])
        ts = START
        for step in range(300):
            ts += rng.randrange(1, 100_000_000)
            book.deltas(ts, ("bid", 9990 - rng.randrange(3), rng.randrange(1, 4)))
            out = trade.begin(ts + 1)
            out.trade(1, 66, 9990, 1, ts_event=ts - rng.randrange(3 * SECOND) if step % 50 else -1, trade_id=step)
            trade.commit(ts + 1)
        book.close(seal=symbol == BTC)
        trade.close()
    return tmp_path


def stamp(event) -> int:
    return event.ts_event if event.ts_event > 0 else event.ts_recv


def test_replay_by_the_venues_time_is_sorted_within_its_window(home: Path) -> None:
    with chronicle.open(home) as store:
        known = list(store.replay())
        replay = store.replay(order="ts_event", reorder="5s")
        events = list(replay)
        assert replay.late == 0
        assert [stamp(event) for event in events] == sorted(stamp(event) for event in known)
        assert {id_of(event) for event in events} == {id_of(event) for event in known}
        narrow = store.replay(order="ts_event", reorder="100ms")
        assert len(list(narrow)) == len(known)
        assert narrow.late > 0
        at_once = store.replay(order="ts_event", reorder=0)
        assert {id_of(event) for event in at_once} == {id_of(event) for event in known}


def id_of(event) -> tuple[str, str, int]:
    return event.symbol, event.channel, event.records[0].index


def test_replay_seeks_both_ways_and_gives_batches(home: Path) -> None:
    with chronicle.open(home) as store:
        known = list(store.replay([BTC, ETH]))
        replay = store.replay([BTC, ETH])
        batches = list(replay.batches(64))
        assert [len(batch) for batch in batches[:-1]] == [64] * (len(known) // 64)
        assert [id_of(event) for batch in batches for event in batch] == [id_of(event) for event in known]
        assert replay.position == known[-1].ts_recv
        for place in (100, 5, len(known) - 1, 0):
            replay.seek(known[place].ts_recv)
            first = next(i for i, event in enumerate(known) if event.ts_recv >= known[place].ts_recv)
            assert [id_of(event) for event in replay] == [id_of(event) for event in known[first:]]
        bounded = store.replay(BTC, START + SECOND, START + 2 * SECOND, channels="trade")
        bounded.seek(0)
        times = [event.ts_recv for event in bounded]
        assert times
        assert all(START + SECOND <= ts < START + 2 * SECOND for ts in times)
        with pytest.raises(ConfigError):
            next(store.replay(BTC).batches(0))


def test_speed_may_change_and_a_seek_does_not_wait_for_the_way(home: Path) -> None:
    clock = FakeClock()
    with chronicle.open(home) as store:
        replay = Replay(store._shelf, [BTC], None, None, speed=1.0, clock=clock)
        first, second = next(replay), next(replay)
        assert clock.steady_ns == second.ts_recv - first.ts_recv
        before = clock.steady_ns
        replay.seek(START + 5 * SECOND)
        landed = next(replay)
        assert clock.steady_ns == before
        replay.speed = None
        assert next(replay).ts_recv >= landed.ts_recv
        assert clock.steady_ns == before
        with pytest.raises(ConfigError):
            replay.speed = -1


def test_patterns_name_many(home: Path) -> None:
    with chronicle.open(home) as store:
        assert store.scan("kraken:*", "trade").symbols == store.scan(channel="trade").symbols == (BTC, ETH)
        assert store.scan("KRAKEN:b?C-*", "trade").symbols == (BTC,)
        with pytest.raises(SymbolError, match="fits"):
            store.scan("okx:*")
        with pytest.raises(ConfigError):
            store.scan([])


@pytest.mark.parametrize("start", [START, None])
def test_a_tail_takes_up_what_appears_later(tmp_path: Path, start: int | None) -> None:
    first = CleanQueue(tmp_path, BTC)
    first.venue_snapshot(START, [(1, 1)], [(2, 1)])

    class Writing(FakeClock):
        steps = 0

        def sleep_ns(self, duration_ns: int) -> None:
            super().sleep_ns(LOOK_NS)
            self.steps += 1
            if self.steps == 1:
                second = CleanQueue(tmp_path, ETH)
                second.venue_snapshot(START + 5, [(1, 1)], [(2, 1)])
                second.deltas(START + 6, ("bid", 1, 3))
                second.close()
            if self.steps == 3:
                first.deltas(START + 7, ("bid", 1, 3))

    with chronicle.open(tmp_path) as store:
        find = store._directory.matching
        events = tail(store._shelf.source, lambda: find(["kraken:*"]), start, timeout_ns=6 * LOOK_NS, clock=Writing())
        seen = [(event.symbol, event.ts_recv - START) for event in events]
    first.close()
    assert seen == [*([(BTC, 0)] if start is not None else []), (ETH, 5), (ETH, 6), (BTC, 7)]


def test_best_prices_are_the_changes_of_the_first_level(home: Path) -> None:
    with chronicle.open(home) as store:
        books = store.books(BTC, on="event", depth=1, decimals="int")
        state = np.column_stack((books.bid_price, books.bid_size, books.ask_price, books.ask_size))
        changed = np.append(True, np.any(state[1:] != state[:-1], axis=1) | (books.status[1:] != books.status[:-1]))
        best = store.bbo(BTC, decimals="int").to_numpy()
        assert 50 < len(best["ts_recv"]) < len(state)
        assert best["ts_recv"].tolist() == books.ts_recv[changed].tolist()
        assert best["bid_price"].tolist() == books.bid_price[changed, 0].tolist()
        assert best["ask_size"].tolist() == books.ask_size[changed, 0].tolist()
        assert store.bbo(BTC).to_numpy()["bid_price"][0] == 99.9
        with pytest.raises(NotFoundError):
            store.bbo("kraken:XRP-EUR")


def test_books_of_many_at_moments(home: Path) -> None:
    moments = [START + 3 * SECOND, START + SECOND, START - 5]
    with chronicle.open(home) as store:
        many = store.books("kraken:*", at=moments, depth=2)
        assert len(many) == 6
        columns = many.to_numpy()
        for row, book in enumerate(many):
            want = store.book(book.symbol, at=book.at, depth=2)
            assert book == want or book.bid_levels == want.bid_levels
            assert columns["symbol"][row] == book.symbol
            assert columns["status"][row] == want.status
            assert columns["bid_price"][row, 0] == pytest.approx(float(want.bids[0][0])) if want.bids else True
            assert np.isnan(columns["ask_price"][row, 1])
        assert list(columns["ts_recv"]) == [moment for moment in moments for _ in range(2)]
        assert store.books([BTC], at="2023-11-14T22:13:22Z").to_numpy()["status"].tolist() == ["ok"]
        with pytest.raises(ConfigError):
            store.books([BTC], START, at=START)
        with pytest.raises(ConfigError):
            store.books([BTC, ETH], START, START + 5)
        with pytest.raises(SymbolError):
            store.books([BTC, "kraken:NO-PE"], at=START)


def test_prices_that_do_not_fit_beside_one_another_are_refused(tmp_path: Path) -> None:
    for symbol, exponent, price in ((BTC, 0, 10**15), (ETH, 12, 5)):
        book = CleanQueue(tmp_path, symbol, fields=definition(symbol, price_exponent=exponent))
        book.venue_snapshot(START, [(price, 1)], [(price + 1, 1)])
        book.close()
    with chronicle.open(tmp_path) as store:
        many = store.books([BTC, ETH], at=START, decimals="int")
        with pytest.raises(RangeError, match="does not fit"):
            many.to_numpy()
        assert [book.status for book in many] == ["ok", "ok"]


def test_async_twins_answer_as_the_store(home: Path) -> None:
    async def ask() -> None:
        async with await chronicle.aopen(home) as store:
            plain = store.store
            at = START + 3 * SECOND
            books = await asyncio.gather(*(store.book(symbol, at=at) for symbol in (BTC, ETH) * 5))
            assert [book.bid_levels for book in books] == [plain.book(s, at=at).bid_levels for s in (BTC, ETH) * 5]
            rows = await store.scan(BTC, "trade", columns=["index"]).to_numpy()
            assert rows["index"].tolist() == plain.scan(BTC, "trade").to_numpy()["index"].tolist()
            parts = [part["index"] async for part in store.scan(BTC, "trade").batches(100)]
            assert np.concatenate(parts).tolist() == rows["index"].tolist()
            replayed = [id_of(event) async for event in store.replay([BTC, ETH])]
            assert replayed == [id_of(event) for event in plain.replay([BTC, ETH])]
            tailed = [id_of(event) async for event in store.tail([BTC, ETH], START, timeout_ns=1)]
            assert sorted(tailed) == sorted(replayed)
            assert [item.symbol for item in await store.instruments()] == [BTC, ETH]
            assert await store.gaps() == plain.gaps()
            with pytest.raises(SymbolError):
                await store.book("kraken:NO-PE")

    asyncio.run(ask())


def test_a_cancelled_tail_lets_its_thread_go(home: Path) -> None:
    async def ask() -> int:
        async with await chronicle.aopen(home) as store:
            seen = 0
            caught_up = asyncio.Event()

            async def follow() -> None:
                nonlocal seen
                async for _ in store.tail([BTC], START):
                    seen += 1
                    if seen == 600:
                        caught_up.set()

            task = asyncio.create_task(follow())
            await caught_up.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return seen

    assert asyncio.run(ask()) >= 600  # run() joins the threads: a tail that went on would hang here


def test_a_forked_worker_opens_its_own(home: Path) -> None:
    with chronicle.open(home) as store:
        want = store.book(BTC, at=START + SECOND).bid_levels
        shelf = store._shelf
        context = multiprocessing.get_context("fork")
        receive, send = context.Pipe(duplex=False)

        def work() -> None:
            send.send((store._shelf is not shelf, store.book(BTC, at=START + SECOND).bid_levels))

        process = context.Process(target=work)
        process.start()
        assert receive.poll(HANG_SECONDS)
        assert receive.recv() == (True, want)
        process.join(HANG_SECONDS)
        assert process.exitcode == 0
        assert store._shelf is shelf


def test_a_forked_worker_reads_a_home_with_a_manifest(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path, BTC, "trade")
    for step in range(10):
        clean.trade(START + step * SECOND, "bid", 100 + step, 1)
    clean.close(seal=True)
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    with chronicle.open(tmp_path) as store:
        assert store.scan(BTC, "trade").to_numpy()["price"].size == 10
        context = multiprocessing.get_context("fork")
        receive, send = context.Pipe(duplex=False)
        work = [
            context.Process(target=lambda: send.send(store.scan(BTC, "trade").to_numpy()["price"].size))
            for _ in range(2)
        ]
        for process in work:
            process.start()
        assert [receive.poll(HANG_SECONDS) and receive.recv() for _ in work] == [10, 10]
        for process in work:
            process.join(HANG_SECONDS)
            assert process.exitcode == 0
        clean = CleanQueue(tmp_path, BTC, "trade")  # the parent's own manifest goes on
        clean.trade(START + 10 * SECOND, "bid", 110, 1)
        clean.close(seal=True)
        run_once(tmp_path, default_policy(tmp_path), everything=True)
        assert store.scan(BTC, "trade").to_numpy()["price"].size == 11


def test_a_range_within_sealed_segments_lists_them_once_and_what_comes_later_is_seen(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path, BTC, "trade")
    for step in range(10):
        clean.trade(START + step * SECOND, "bid", 100 + step, 1)
    clean.close(seal=True)
    clean = CleanQueue(tmp_path, BTC, "trade")
    clean.trade(START + 10 * SECOND, "bid", 110, 1)
    with chronicle.open(tmp_path) as store:
        source, asked = store._shelf.source, []
        listed = source.segments
        source.segments = lambda queue: asked.append(queue) or listed(queue)

        def prices(start: int | None, end: int | None) -> list[int]:
            found = store.scan(BTC, "trade", start, end, columns=["price"], decimals="int")
            return found.to_numpy()["price"].tolist()

        assert prices(None, START + 4 * SECOND) == [100, 101, 102, 103]
        once = len(asked)
        assert prices(START + 2 * SECOND, START + 9 * SECOND) == list(range(102, 109))
        assert len(asked) == once
        assert prices(START + 9 * SECOND, START + 20 * SECOND) == [109, 110]
        clean.trade(START + 11 * SECOND, "bid", 111, 1)
        assert prices(START + 9 * SECOND, START + 20 * SECOND) == [109, 110, 111]
        assert prices(START + 10 * SECOND, None) == [110, 111]
        assert prices(START + 30 * SECOND, None) == []
    clean.close()
