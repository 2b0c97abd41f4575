"""Compiled appends store what the long way stores, refuse what it refuses, and never touch what they do not own."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.compiled import install, is_possible
from chronicle.core.errors import RecordError, StateError
from chronicle.core.layout import INT64_MAX, INT64_MIN, Flag
from chronicle.core.records import pack_record
from tests.support.queues import contents, event, small_queue

pytestmark = pytest.mark.skipif(not is_possible(), reason="this process compiles nothing")

FIELDS: dict[str, tuple[Any, ...]] = {
    "ts_event": (0, -5, 7, INT64_MAX, INT64_MIN, 1 << 63, 1.5, None, np.int64(3)),
    "flags": (0, 4, 127, 255, 256, -1, Flag.SNAPSHOT),
    "side": (0, 65, 255, 256, -1),
    "instrument": (0, 9, (1 << 32) - 1, 1 << 32, -1, "7"),
    "source": (0, 65_535, 65_536, -1),
    "source_index": (-1, 4, INT64_MIN, 1 << 63),
    "ordinal": (0, 65_535, 65_536, -1),
    "sequence": (-1, 4, INT64_MAX, -(1 << 63) - 1),
}
KINDS = (Kind.STATUS, Kind.BOOK_SNAPSHOT, 5_000, 65_535, 65_536, 0, Kind.ROLL, -1, "x", None)
BODIES = (b"", b"1234567", bytes(range(40)), bytearray(b"bytearray"), memoryview(b"view"), 5, "text", None)


def outcome(call: Callable[[], int]) -> object:
    """Return what a call gives: its index, or the type of its error."""
    try:
        return call()
    except (RecordError, TypeError, OverflowError, ValueError) as error:
        return type(error)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Queue, Queue]:
    install(Appender)
    return small_queue(tmp_path, "compiled.q"), small_queue(tmp_path, "long.q")


def test_methods_are_compiled_and_documented() -> None:
    install(Appender)
    for name in ("append", "append_event"):
        method = getattr(Appender, name)
        assert type(method).__name__ == "method_descriptor"
        assert method.__doc__


def test_append_is_its_long_way_for_good_and_bad_fields(pair: tuple[Queue, Queue]) -> None:
    rng = random.Random(11)
    ts = 1_000
    with pair[0].appender() as compiled, pair[1].appender() as plain:
        for _ in range(6_000):
            names = rng.sample(sorted(FIELDS), rng.randrange(4))
            # Good values mostly: a record with two bad fields may be refused for either.
            fields = {name: FIELDS[name][min(int(rng.expovariate(0.7)), len(FIELDS[name]) - 1)] for name in names}
            kind = KINDS[min(int(rng.expovariate(0.7)), len(KINDS) - 1)]
            body = BODIES[min(int(rng.expovariate(0.6)), len(BODIES) - 1)]
            ts += rng.randrange(-3, 40)
            found = outcome(lambda k=kind, b=body, t=ts, f=fields: compiled.append(k, b, ts_recv=t, **f))  # type: ignore[misc]
            expected = outcome(lambda k=kind, b=body, t=ts, f=fields: plain._append_long(k, b, ts_recv=t, **f))  # type: ignore[misc]
            assert found == expected, (kind, body, ts, fields)
        assert compiled.clamped_count == plain.clamped_count > 0
        assert compiled.last_ts_recv == plain.last_ts_recv
    assert_equal(*pair)


def assert_equal(one: Queue, other: Queue) -> None:
    """The records, the segments and the seek indexes of two queues are the same."""
    assert contents(one) == contents(other)
    assert len(one.segments()) > 1
    for number in one.segment_files():
        with one.open_segment(number) as a, other.open_segment(number) as b:
            assert a.seek_points() == b.seek_points()
            assert (a.info.base_index, a.info.record_count) == (b.info.base_index, b.info.record_count)


def test_events_and_bytes_are_their_long_way(pair: tuple[Queue, Queue]) -> None:
    rng = random.Random(5)
    good = [event(1_000 + 10 * number, rng.randrange(1, 7)) for number in range(2_000)]
    with pair[0].appender() as compiled, pair[1].appender() as plain:
        for number, (data, count) in enumerate(good):
            if number % 7 == 3:
                data[rng.randrange(8)] ^= 1 << rng.randrange(8)  # a commit word that may be none
            if number % 50 == 9:
                data, count = event(5, 3)  # long ago
            given = rng.choice((bytes, bytearray, memoryview))(data)
            if count == 1 and number % 2:
                whole = bytes(data)
                found = outcome(lambda d=whole: compiled.append_bytes(d))  # type: ignore[misc]
                expected = outcome(lambda d=whole: plain._append_event_long(d, 1))  # type: ignore[misc]
            else:
                found = outcome(lambda d=given, c=count: compiled.append_event(d, c))  # type: ignore[misc]
                expected = outcome(lambda d=given, c=count: plain._append_event_long(d, c))  # type: ignore[misc]
            assert found == expected, number
    assert_equal(*pair)


@pytest.mark.parametrize("name", ["append", "append_event"])
def test_wrong_calls_raise_what_python_raises(tmp_path: Path, name: str) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        method, index = getattr(appender, name), appender.append(Kind.STATUS, b"", ts_recv=1)
        for arguments, keywords in (
            ((), {}),
            ((1, 2, 3, 4), {}),
            ((17,), {}),
            ((17, b"", 3), {}),
            ((17,), {"ts_recv": 1, "nonsense": 2}),
            ((17, b""), {"ts_recv": 1, "body": b""}),
            ((object(), object()), {}),
            ((None,), {"ts_recv": None}),
        ):
            with pytest.raises((TypeError, RecordError)):
                method(*arguments, **keywords)
        assert appender.next_index == index + 1
        with pytest.raises(TypeError):
            getattr(Appender, name)(object())
    assert queue.end_index() == 1


def test_recorder_takes_its_long_way_and_keeps_the_appender(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    appender = queue.appender()
    put = appender.recorder(2_000, 8)
    assert type(put).__name__ == "builtin_function_or_method"
    watched = weakref.ref(appender)
    del appender
    gc.collect()
    assert put(5, b"12345678") == 0
    assert put(5, b"short") == 1
    assert put(4, b"late") == 2
    assert put(6, bytearray(b"another")) == 3
    assert put(ts_recv=7, body=b"keyword") == 4
    for bad in ((), (1,), (8, b"123456789"), (8, b"", 0, 1 << 32), (8, "text"), (8, b"", 0, 0, 0, 0, 0, 0, 9)):
        with pytest.raises((RecordError, TypeError)):
            put(*bad)
    appender = watched()
    assert appender is not None
    appender.close()
    with pytest.raises(StateError, match="closed"):
        put(8, b"")
    del appender, put
    gc.collect()
    assert watched() is None, "a recorder that is gone keeps nothing"
    records = list(queue.tailer().drain())
    assert [record.ts_recv for record in records] == [5, 5, 5, 6, 7]
    assert records[2].flags & Flag.BAD_TS_RECV


def test_a_body_shorter_than_the_recorders_is_padded_over_what_stood_there(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        put = appender.recorder(2_000, 64)
        put(1, b"")
        memory, position = appender._memory, appender._position
        memory[position + 48 : position + 112] = b"\xff" * 64  # as a torn record of a caller's own might leave it
        put(2, b"short")
    assert bytes(list(queue.tailer().drain())[1].body) == b"short".ljust(64, b"\0")


def test_appends_go_through_python_where_something_is_due(tmp_path: Path) -> None:
    """Counted syncs are made before their append returns, and a reservation keeps compiled appends out."""
    queue = Queue.create(tmp_path / "q.q", segment_bytes=1 << 16, durability="fsync", sync_records=3)
    with queue.appender() as appender:
        put = appender.recorder(Kind.STATUS, 0)
        for number in range(10):
            put(number, b"")
            assert appender._synced == (number + 1) // 3 * 3
        with appender.reserve(2_000, 8, ts_recv=20) as body:
            for call in (
                lambda: put(21, b""),
                lambda: appender.append(Kind.STATUS, ts_recv=21),
                lambda: appender.append_bytes(pack_record(Kind.STATUS, ts_recv=21, flags=Flag.LAST)),
            ):
                with pytest.raises(StateError):
                    call()
            body[:] = b"reserved"
        assert put(22, b"") == 11


def test_without_a_compiler_everything_works_the_long_way(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from chronicle.core import Kind, Queue\n"
        "queue = Queue.create(Path(sys.argv[1]), segment_bytes=1 << 16)\n"
        "with queue.appender() as appender:\n"
        "    put = appender.recorder(2_000, 16)\n"
        "    for number in range(3_000):\n"
        "        appender.append(Kind.STATUS, b'body', ts_recv=number)\n"
        "        put(number, b'put')\n"
        "assert type(appender.append).__name__ == 'method', type(appender.append)\n"
        "assert 'numba' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "q.q")],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Queue.open(tmp_path / "q.q").end_index() == 6_000


def test_opening_a_writer_loads_no_compiler(tmp_path: Path) -> None:
    small_queue(tmp_path)
    script = (
        "import sys\n"
        "from chronicle.core import Queue\n"
        "with Queue.open(sys.argv[1]).appender() as appender:\n"
        "    appender.seal()\n"
        "sys.exit('numba' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "q.q")], check=False).returncode == 0


def test_a_full_seek_index_hinders_neither_compiled_appends_nor_the_next_segment(tmp_path: Path) -> None:
    snapshot = pack_record(Kind.BOOK_SNAPSHOT, bytes(40), ts_recv=1, flags=Flag.LAST)
    queue = Queue.create(tmp_path / "dense.q", segment_bytes=4 * 1024 * 1024)
    with queue.appender() as appender:
        appender.prefault()
        while appender._number == 0:
            appender.append_event(snapshot, 1)
            if appender._seek_count == appender._seek_capacity and appender._position >= appender._limit // 2:
                assert appender._gate == INT64_MAX, "the next segment was asked for, and nothing more is due"
        appender.seal()
    first = queue.segments()[0]
    with queue.open_segment(first.number) as segment:
        assert len(list(segment.seek_points())) == first.record_count > appender._seek_capacity
