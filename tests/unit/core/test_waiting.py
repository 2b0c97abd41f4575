"""Every wait strategy wakes for every record, keeps its timeout, and follows rolls: one suite for all."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.doorbell import Doorbell
from chronicle.core.lag import measure_lag
from chronicle.core.layout import SegmentState
from chronicle.core.tailer import Tailer
from tests.support.queues import append_random, small_queue

STRATEGIES: dict[str, Callable[[Tailer, int], bool]] = {
    "wait": lambda tailer, timeout_ns: tailer.wait(timeout_ns),
    "spin": lambda tailer, timeout_ns: tailer.spin(timeout_ns),
}
LONG = 600_000_000_000


@pytest.mark.parametrize("name", STRATEGIES)
def test_timeout_ends_the_wait(tmp_path: Path, name: str) -> None:
    queue = small_queue(tmp_path)
    tailer = queue.tailer()
    assert STRATEGIES[name](tailer, 3_000_000) is False
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
        assert STRATEGIES[name](tailer, 0) is True
        assert tailer.next_event()
        assert STRATEGIES[name](tailer, 3_000_000) is False


@pytest.mark.parametrize("name", STRATEGIES)
def test_reader_sees_every_record_over_rolls_and_seals(tmp_path: Path, name: str) -> None:
    queue = small_queue(tmp_path)
    total = 3_000
    turn = threading.Semaphore(0)

    def write() -> None:
        with queue.appender() as appender:
            for number in range(total):
                if number % 100 == 0:
                    turn.acquire(timeout=600)
                appender.append(Kind.STATUS, bytes(60), ts_recv=number)
                if number % 700 == 699:
                    appender.seal()

    writer = threading.Thread(target=write)
    tailer, seen = queue.tailer(), []
    writer.start()
    turn.release()
    while len(seen) < total:
        assert STRATEGIES[name](tailer, LONG)
        while (found := tailer.next_event()) is not None:
            seen += [record.index for record in found]
        if len(seen) % 100 == 0:
            turn.release()
    writer.join()
    assert seen == list(range(total))
    assert len(queue.segments()) > 4


def test_reader_of_an_empty_segment_follows_the_one_that_replaces_it(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    appender = queue.appender()
    appender._make_room(64, 1)  # a writer that dies between its first segment and its first record
    tailer = queue.tailer()
    assert tailer.next_event() is None
    assert tailer.cursor.view is not None
    appender.close()
    with queue.appender() as appender:
        appender.append(Kind.WIRE, bytes(200_000), ts_recv=1)
        assert tailer.wait(LONG)
        assert tailer.spin(LONG)
        found = tailer.next_event()
    assert found is not None
    assert len(found[0].body) == 200_000


def test_async_iteration_yields_what_is_written_and_lets_the_loop_run(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    total = 1_500

    async def read() -> list[int]:
        seen = []
        async for record in queue.tailer():
            seen.append(record.index)
            if len(seen) == total:
                break
        return seen

    async def write() -> None:
        with queue.appender() as appender:
            for number in range(total):
                appender.append(Kind.STATUS, bytes(100), ts_recv=number)
                if number % 50 == 0:
                    await asyncio.sleep(0)

    async def both() -> list[int]:
        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        await write()
        return await asyncio.wait_for(reader, 600)

    assert asyncio.run(both()) == list(range(total))


def test_cancelled_async_reader_ends_its_thread(tmp_path: Path) -> None:
    queue, before = small_queue(tmp_path), bells()

    async def read() -> None:
        async for _ in queue.tailer():
            raise AssertionError("nothing was written")

    async def cancel() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bells() - before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert not bells() - before


def bells() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "doorbell"}


def test_doorbell_works_with_any_selector(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    tailer = queue.tailer()
    bell = Doorbell(tailer)
    with selectors.DefaultSelector() as selector, queue.appender() as appender:
        selector.register(bell, selectors.EVENT_READ)
        assert not selector.select(0)
        bell.arm()
        appender.append(Kind.STATUS, ts_recv=1)
        assert selector.select(600)
        bell.answer()
        assert not selector.select(0)
        assert tailer.next_event()
    bell.close()


def test_lag_is_told_in_records_bytes_and_time(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    assert measure_lag(queue, 0).to_dict() == {"records": 0, "size_bytes": 0, "age_ns": 0}
    with queue.appender() as appender:
        append_random(appender, 3_000, seed=1)
    segments = queue.segments()
    tailer = queue.tailer()
    lag = tailer.lag_figures()
    assert lag.records == tailer.lag() == queue.end_index()
    assert lag.size_bytes == sum(segment.data_bytes for segment in segments)
    assert lag.age_ns == segments[-1].ts_last - segments[0].ts_first
    tailer.seek_index(segments[1].base_index)
    assert tailer.lag_figures().size_bytes == lag.size_bytes - segments[0].data_bytes
    tailer.seek_index(segments[1].base_index + segments[1].record_count // 2)
    assert 0 < tailer.lag_figures().size_bytes < lag.size_bytes - segments[0].data_bytes
    tailer.seek_end()
    assert tailer.lag_figures().records == 0
    assert segments[0].state is SegmentState.SEALED


def test_tailers_of_other_names_and_none_read_side_by_side(tmp_path: Path) -> None:
    queue = Queue.create(tmp_path / "q.q", segment_bytes=64 * 1024)
    with queue.appender() as appender, queue.tailer("a") as one, queue.tailer("b") as two, queue.tailer() as three:
        append_random(appender, 300, seed=2)
        assert len({len(list(tailer.drain())) for tailer in (one, two, three)}) == 1
