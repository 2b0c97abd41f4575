"""Appending mixed events by kernel, and comparing queues."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chronicle.core.compare import compare_queue
from chronicle.core.errors import RecordError
from chronicle.core.events import EventBuilder
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Flag, Kind, Side
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import SnapshotFields

NAME = "clean/kraken/btc_eur/book.q"


def _events(count: int, start: int = 0) -> list[tuple[bytes, int]]:
    out, events = EventBuilder(), []
    for number in range(start, start + count):
        out.begin(1_000 + number, source_index=number)
        if number % 40 == 0:
            out.snapshot(1, SnapshotFields([(1, 2)] * (number % 7), [(3, 4)], 2), ts_event=1)
        for price in range(number % 3 + 1):
            out.delta(1, Side.BID, price, number, ts_event=1)
        if number % 5 == 0:
            out.check(1, 1, number, ts_event=1)
        data, records = out.take()
        events.append((bytes(data), records))
    return events


def _words(events: list[tuple[bytes, int]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(b"".join(data for data, _ in events), dtype=np.uint64)


def _create(home: Path) -> Queue:
    return Queue.create(home / NAME, name=NAME, segment_bytes=64 * 1024, exist_ok=True)


def test_mixed_events_are_what_one_append_an_event_gives(tmp_path: Path) -> None:
    events = _events(3000)
    with _create(tmp_path / "one").appender() as appender:
        for data, count in events:
            appender.append_event(data, count)
        appender.seal()
    with _create(tmp_path / "many").appender() as appender:
        assert append_mixed(appender, _words(events[:1])) == 0
        assert append_mixed(appender, _words(events[1:2000])) == events[0][1]
        append_mixed(appender, _words(events[2000:]))
        assert appender.next_index == sum(count for _, count in events)
        appender.seal()
    one, many = LocalSource(tmp_path / "one"), LocalSource(tmp_path / "many")
    assert len(one.segments(NAME)) > 3
    assert compare_queue(one, many, NAME) is None
    for info in one.segments(NAME):
        with one.open(NAME, info.number) as a, many.open(NAME, info.number) as b:
            assert list(a.seek_points()) == list(b.seek_points())


def test_late_events_are_clamped_as_ever(tmp_path: Path) -> None:
    with _create(tmp_path).appender() as appender:
        append_mixed(appender, _words(_events(3, start=10)))
        append_mixed(appender, _words(_events(1, start=1)))
        assert appender.clamped_count > 0
    last = Queue.open(tmp_path / NAME).last_record()
    assert last is not None
    assert last.ts_recv == 1_012
    assert last.flags & Flag.BAD_TS_RECV


def test_bytes_that_are_no_events_are_refused_and_those_before_them_kept(tmp_path: Path) -> None:
    good = _words(_events(2, start=1))
    with _create(tmp_path).appender() as appender:
        append_mixed(appender, good)
        kept = appender.next_index
        for bad in ([0] * 6, [44, 0, 0, 0, 0, 0], [48 | int(Kind.STATUS) << 32, 0, 0, 0, 0, 0]):
            with pytest.raises(RecordError):
                append_mixed(appender, np.concatenate((good, np.array(bad, np.uint64))))
        assert appender.next_index == kept * 4


def test_the_first_differing_record_is_named(tmp_path: Path) -> None:
    events = _events(50)
    other = [*events[:30], *_events(1, start=31), *events[31:]]
    for name, content in (("a", events), ("b", other), ("c", events[:20])):
        with _create(tmp_path / name).appender() as appender:
            append_mixed(appender, _words(content))
    a, b, c = (LocalSource(tmp_path / name) for name in "abc")
    difference = compare_queue(a, b, NAME)
    assert difference is not None
    assert difference.index == sum(count for _, count in events[:30])
    assert "ts_recv 1030 / 1031" in str(difference)
    shorter = compare_queue(a, c, NAME)
    assert shorter is not None
    assert shorter.b is None
    assert shorter.index == sum(count for _, count in events[:20])
    assert "ends before it in the second" in str(shorter)
    assert "ends before it in the first" in str(compare_queue(c, a, NAME))
    assert compare_queue(a, LocalSource(tmp_path / "none"), NAME) is not None
