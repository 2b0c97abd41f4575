"""Redundant lines: one stream where the venue numbers its messages, the first copy wins, another fills a hole."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.compare import compare_queue
from chronicle.core.layout import Kind, SequenceRule, Side, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.etl import EtlConfig, rebuild, run_shard
from chronicle.etl.merge.racing import Racing
from chronicle.etl.shards import lane, shard
from tests.support.etl_streams import RawStream, instrument, queue_records, statuses
from tests.support.race_runs import BOOK, TRADES, RaceRun

RULES = (SequenceRule.BINANCE_SPOT, SequenceRule.OKX_V5, SequenceRule.BINANCE_FUTURES)
CONFIG = EtlConfig(snapshot_deltas=30)


class _Crash(Exception):
    pass


def _same(home: Path, other: Path) -> None:
    queues = LocalSource(home).queues("clean/")
    assert queues == LocalSource(other).queues("clean/")
    for queue in queues:
        assert compare_queue(LocalSource(home), LocalSource(other), queue) is None, queue


def _write(home: Path, stream: RawStream, queue: str = "raw/main.q") -> None:
    with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024).appender() as appender:
        for place, (index, data) in enumerate(stream.events):
            following = stream.events[place + 1][0] if place + 1 < len(stream.events) else stream.next_index
            appender.append_event(data, following - index)


@pytest.mark.parametrize("seed", range(12))
def test_what_a_line_brought_is_there_once_and_what_none_brought_is_a_gap(tmp_path: Path, seed: int) -> None:
    run = RaceRun(seed, lines=2 + seed % 2, rule=RULES[seed % 3], queues=1 + seed // 6)
    run.write(tmp_path)
    report = run_shard(tmp_path, drain=True, config=CONFIG, window_bytes=[400, 3000, None][seed % 3])
    run.check(tmp_path)
    assert report.counts["race_duplicates"] > 0
    assert not [queue for queue in LocalSource(tmp_path).queues("clean/") if "@" in queue], "no second lane"


@pytest.mark.parametrize("seed", range(6))
def test_windows_and_crashes_change_nothing_in_a_race(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "CHECKPOINT_RECORDS_MIN", 20)
    monkeypatch.setattr(lane, "PROGRESS_RECORDS", 15)
    monkeypatch.setattr(shard, "PROGRESS_INTERVAL_NS", 0)
    run, chance = RaceRun(seed, rule=RULES[seed % 3], queues=1 + seed % 2), random.Random(seed)
    home, into = tmp_path / "home", tmp_path / "into"
    run.write(home)
    for _ in range(4):
        left = [chance.randrange(1, 25)]

        def said(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise _Crash

        with contextlib.suppress(_Crash):
            run_shard(home, drain=True, config=CONFIG, window_bytes=chance.choice([300, 700]), progress=said)
    run_shard(home, drain=True, config=CONFIG)
    run.check(home)
    rebuild(home, into, config=CONFIG)
    _same(home, into)


def test_a_hole_of_one_line_is_filled_by_the_other_and_the_lines_end_one_by_one(tmp_path: Path) -> None:
    stream = RawStream()
    for line in (1, 2):
        stream.status(StatusCode.CONNECTED, source=line)
    stream.define(1, instrument("binance:BTC-USDT", sequence_rule=SequenceRule.BINANCE_SPOT))
    stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=100, source=0)

    def delta(number: int, line: int) -> None:
        stream.deltas(1, (Side.BID, 5, number), first=number, last=number, source=line)

    for number, line in [(101, 1), (101, 2), (103, 1), (104, 1), (102, 2), (103, 2), (104, 2), (105, 2), (105, 1)]:
        delta(number, line)
    stream.status(StatusCode.DISCONNECTED, source=1)
    delta(106, 2)
    stream.status(StatusCode.DISCONNECTED, source=2)
    _write(tmp_path, stream)
    report = run_shard(tmp_path, drain=True, config=CONFIG)
    records = queue_records(tmp_path, BOOK)
    assert [record.sequence for record in records if record.kind == Kind.BOOK_DELTA] == [101, 102, 103, 104, 105, 106]
    assert statuses(records)[1:] == ["ok"] * 7 + ["stale"]
    counts = report.counts
    assert (counts["race_duplicates"], counts["race_holes_filled"]) == (4, 1)
    assert "gaps" not in counts
    said = json.loads((tmp_path / "etl/default/live.json").read_bytes())["lines"]
    assert said == {"raw/main.q line 1": 2, "raw/main.q line 2": 3}, "since there were two"


@pytest.mark.parametrize("rule", [SequenceRule.NONE, SequenceRule.COUNT, SequenceRule.CONNECTION])
def test_lines_without_numbers_of_the_venue_stay_apart(tmp_path: Path, rule: int) -> None:
    stream = RawStream()
    stream.define(1, instrument("binance:BTC-USDT", sequence_rule=rule))
    for line in (1, 2):
        stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=100, source=line)
        stream.begin(line).trade(1, Side.BID, 10, 1, ts_event=1)
        stream.end()
    for number in range(101, 120):
        for line in (1, 2):
            stream.deltas(1, (Side.BID, 5, number), last=number, source=line)
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True, config=CONFIG)
    for queue in (BOOK, BOOK.replace("book", "book@1000")):
        records = queue_records(tmp_path, queue)
        assert [r.sequence for r in records if r.kind == Kind.BOOK_DELTA] == list(range(101, 120))
    assert len(queue_records(tmp_path, TRADES)) == 2, "a trade without an id has no copies"


def test_a_new_numbering_is_never_taken_for_copies(tmp_path: Path) -> None:
    """After the venue began to number anew, messages are old by number; the book must not stand still as if ok."""
    stream = RawStream()
    stream.define(1, instrument("binance:BTC-USDT", sequence_rule=SequenceRule.OKX_V5))
    for line in (1, 2):
        stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=5000, source=line)
    for number in range(5001, 5011):
        for line in (1, 2):
            stream.deltas(1, (Side.BID, 5, number), previous=number - 1, last=number, source=line)
    for number in range(11, 20):
        for line in (1, 2):
            stream.deltas(1, (Side.BID, 6, number), previous=number - 1, last=number, source=line, step_ns=10**9)
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True, config=CONFIG)
    records = queue_records(tmp_path, BOOK)
    assert statuses(records)[-1] == "gap"
    assert [record.sequence for record in records if record.kind == Kind.BOOK_DELTA][-5:] == list(range(15, 20))


def test_the_end_of_a_connection_looks_at_the_lines_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merged home's table of numbers has a million places a raw queue: they must not be asked one by one."""
    asked = [0]
    end_lines = Racing._end_lines

    def counting(self: Racing, which: Callable[[int], bool], *more: Any) -> Any:
        def counted(holder: int) -> bool:
            asked[0] += 1
            return which(holder)

        return end_lines(self, counted, *more)

    monkeypatch.setattr(Racing, "_end_lines", counting)
    run = RaceRun(1, queues=2)
    run.write(tmp_path)
    with Queue.open(tmp_path / "raw/b.q", name="raw/b.q").appender() as appender:
        late = RawStream(appender.last_ts_recv)
        for line in range(1, 11):
            late.status(StatusCode.DISCONNECTED, source=line)
        for _, data in late.events:
            appender.append_event(data, 1)
    run_shard(tmp_path, drain=True, config=CONFIG)
    assert 0 < asked[0] < 200
    assert queue_records(tmp_path, BOOK)[-1].kind == Kind.STATUS, "the last line is gone"
