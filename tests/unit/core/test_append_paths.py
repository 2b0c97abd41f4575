"""The short append paths store what the long one stores, and a reservation is an event or nothing."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.errors import CapacityError, RecordError, StateError
from chronicle.core.layout import RECORD_BYTES_MAX, Flag
from chronicle.core.records import pack_record
from tests.support.queues import append_random, contents, event, small_queue


def test_append_recorder_and_bytes_store_what_append_event_stores(tmp_path: Path) -> None:
    rng = random.Random(7)
    queues = [small_queue(tmp_path, f"{number}.q") for number in range(4)]
    appenders = [queue.appender() for queue in queues]
    kinds = (Kind.STATUS, Kind.TRADE, Kind.BOOK_SNAPSHOT, 5_000)
    recorders = {
        (kind, size): appenders[1].recorder(kind, size, flags=4, side=66) for kind in kinds for size in (0, 7, 40)
    }
    ts = 1_000
    for number in range(6_000):
        ts += rng.randrange(-3, 50)
        kind, size = rng.choice(kinds), rng.choice((0, 7, 40))
        body = rng.randbytes(size)
        header = {"ts_event": number, "instrument": number % 9, "source_index": number, "sequence": -number}
        record = pack_record(kind, body, ts_recv=ts, flags=4 | Flag.LAST, side=66, **header)  # type: ignore[arg-type]
        indexes = {
            appenders[0].append(kind, body, ts_recv=ts, flags=4, side=66, **header),  # type: ignore[arg-type]
            recorders[kind, size](ts, body, number, number % 9, number, -number),
            appenders[2].append_bytes(record),
            appenders[3].append_event(record, 1),
        }
        assert indexes == {number}
    for appender in appenders:
        assert appender.clamped_count == appenders[3].clamped_count > 0
        appender.close()
    assert contents(queues[0]) == contents(queues[1]) == contents(queues[2]) == contents(queues[3])
    bases = [[(s.base_index, s.record_count) for s in queue.segments()] for queue in queues]
    assert bases[0] == bases[1] == bases[2] == bases[3]
    for number in queues[0].segment_files():
        points = [queue.open_segment(number).seek_points() for queue in queues]
        assert points[0] == points[1] == points[2] == points[3]


def test_all_paths_mix_in_one_queue(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    model: list[bytes] = []
    with queue.appender() as appender:
        put = appender.recorder(Kind.STATUS, 8)
        for number in range(4_000):
            ts = 10 + number
            if number % 4 == 0:
                put(ts, b"recorder")
                model.append(b"recorder")
            elif number % 4 == 1:
                appender.append(Kind.STATUS, b"appended", ts_recv=ts)
                model.append(b"appended")
            elif number % 4 == 2:
                with appender.reserve(Kind.STATUS, 8, ts_recv=ts) as body:
                    body[:] = b"reserved"
                model.append(b"reserved")
            else:
                appender.append_event(*event(ts, 1))
                model.append(bytes(event(ts, 1)[0][48:]))
    found = list(queue.tailer().drain())
    assert [bytes(record.body) for record in found] == model
    assert [record.index for record in found] == list(range(len(model)))
    assert len(queue.segments()) > 2


def test_reservation_is_committed_whole_or_leaves_no_trace(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, b"before", ts_recv=1)
        with contextlib.suppress(ZeroDivisionError), appender.reserve(2_000, 30_000, ts_recv=2) as body:
            body[:] = b"x" * 30_000
            raise ZeroDivisionError
        assert appender.next_index == 1
        assert queue.end_index() == 1
        with appender.reserve(2_000, 10, ts_recv=2, instrument=3, sequence=9) as body:
            assert bytes(body) == bytes(10), "what the abandoned reservation wrote is gone"
            body[:4] = b"kept"
            assert queue.end_index() == 1, "no reader sees it before the block ends"
            for call in (
                lambda: appender.append(Kind.STATUS, ts_recv=3),
                lambda: appender.append_event(*event(3, 1)),
                lambda: appender.reserve(2_000, 1, ts_recv=3).__enter__(),
                appender.seal,
            ):
                with pytest.raises(StateError, match="reservation"):
                    call()
        with pytest.raises(ValueError, match="released"):
            body[0] = 1
        appender.append(Kind.STATUS, b"after", ts_recv=3)
    records = list(queue.tailer().drain())
    assert [bytes(record.body).rstrip(b"\0") for record in records] == [b"before", b"kept", b"after"]
    assert (records[1].instrument, records[1].sequence, records[1].flags) == (3, 9, Flag.LAST)


def test_bodies_up_to_16_mib_are_taken_by_every_path_and_larger_ones_refused(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    size = 16 * 1024 * 1024
    with queue.appender() as appender:
        with appender.reserve(Kind.WIRE, size, ts_recv=1) as body:
            body[-4:] = b"tail"
        appender.append(Kind.WIRE, bytes(size - 4) + b"tail", ts_recv=2)
        for attempt in (
            lambda: appender.reserve(Kind.WIRE, RECORD_BYTES_MAX, ts_recv=3),
            lambda: appender.recorder(Kind.WIRE, RECORD_BYTES_MAX),
            lambda: appender.recorder(Kind.ROLL, 16),
        ):
            with pytest.raises(RecordError):
                attempt()
    first, second = queue.tailer().drain()
    assert bytes(first.body) == bytes(second.body)


def test_fields_that_do_not_fit_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, b"12345678", ts_recv=1)
        put = appender.recorder(Kind.STATUS, 8)
        for attempt in (
            lambda: appender.append(Kind.STATUS, b"12345678", ts_recv=2, instrument=1 << 32),
            lambda: appender.append(Kind.STATUS, b"1234", ts_recv=2, source=-1),
            lambda: put(2, b"123456789"),
            lambda: put(2, b"12345678", 1 << 64),
            lambda: appender.append_bytes(b"short"),
            lambda: appender.append_bytes(pack_record(Kind.STATUS, ts_recv=1)),
            lambda: appender.append_bytes(pack_record(Kind.ROLL, bytes(16), ts_recv=1, flags=Flag.LAST)),
        ):
            with pytest.raises(RecordError):
                attempt()
        assert put(2, b"short") == 1
        assert appender.append(Kind.STATUS, memoryview(b"anything"), ts_recv=2) == 2  # type: ignore[arg-type]
    assert [bytes(r.body) for r in queue.tailer().drain()] == [b"12345678", b"short\0\0\0", b"anything"]


def test_closed_appender_refuses_every_path(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    appender = queue.appender()
    put = appender.recorder(Kind.STATUS, 0)
    put(1, b"")
    appender.close()
    appender.close()
    for attempt in (
        lambda: put(2, b""),
        lambda: appender.append(Kind.STATUS, ts_recv=2),
        lambda: appender.reserve(Kind.STATUS, 0, ts_recv=2).__enter__(),
    ):
        with pytest.raises(StateError, match="closed"):
            attempt()
    assert queue.end_index() == 1


def test_full_disk_in_a_roll_loses_nothing_and_the_next_append_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 100, seed=3)
        before = appender.next_index

        def full(*_: object, **__: object) -> None:
            raise CapacityError("no space")

        with monkeypatch.context() as patch:
            patch.setattr("chronicle.core.segment_writer.create_segment", full)
            with pytest.raises(CapacityError):
                [appender.append(Kind.STATUS, bytes(64), ts_recv=10**9 + number) for number in range(10_000)]
        assert queue.end_index() == appender.next_index > before
        appender.append(Kind.STATUS, b"again", ts_recv=10**10)
    assert [r.index for r in queue.tailer().drain()] == list(range(Queue.open(queue.path).end_index()))
