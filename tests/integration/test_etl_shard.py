"""A shard on disk: restarts, drains, kills, lanes, progress, resync, and many queues."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ConfigError, QueueLockedError
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import Kind, SegmentState, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.etl import EtlConfig, rebuild, run_shard
from chronicle.etl.clean import clean_writer
from chronicle.etl.merge.owners import Owners
from chronicle.etl.shards import lane
from chronicle.etl.shards.claims import Claims
from tests.support.etl_streams import (
    BID,
    RawStream,
    binance,
    follow,
    instrument,
    queue_records,
    random_levels,
    statuses,
)
from tests.support.held import descriptors_of, maps_of

CONFIG = EtlConfig(snapshot_deltas=50)
BOOK = "clean/kraken/btc_eur/book.q"


def _stream(count: int = 400, seed: int = 1) -> RawStream:
    stream = RawStream()
    stream.define(1, instrument(book_depth=20))
    stream.define(2, binance())
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    stream.snapshot(2, [(10, 1)], [(11, 1)], sequence=0)
    for number, row in enumerate(random_levels(seed, count).tolist(), 1):
        stream.deltas(1, tuple(row))
        stream.deltas(2, tuple(row), first=2 * number - 1, last=2 * number)
        stream.begin().quote(1, row[1], 1, row[1] + 1, 1, ts_event=1)
        stream.end()
    return stream


def _write(home: Path, stream: RawStream, first: int = 0, end: int | None = None, queue: str = "raw/main.q") -> None:
    with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
        for _, data in stream.events[first:end]:
            appender.append_event(data, _count(data))


def _count(data: bytes) -> int:
    position = count = 0
    while position < len(data):
        position += int.from_bytes(data[position : position + 4], "little")
        count += 1
    return count


def _same(home: Path, other: Path) -> None:
    queues = LocalSource(home).queues("clean/")
    assert queues == LocalSource(other).queues("clean/")
    assert queues
    for queue in queues:
        assert compare_queue(LocalSource(home), LocalSource(other), queue) is None


def test_drains_restarts_and_windows_change_nothing(tmp_path: Path) -> None:
    stream = _stream()
    once, often = tmp_path / "once", tmp_path / "often"
    _write(once, stream)
    run_shard(once, drain=True, config=CONFIG)
    for start in range(0, len(stream.events), 137):
        _write(often, stream, start, start + 137)
        report = run_shard(often, drain=True, config=CONFIG, window_bytes=4096)
        assert report.lanes[0].resumed_at == stream.events[start][0]
    _same(once, often)
    states = {info.state for info in LocalSource(often).segments(BOOK)}
    assert states == {SegmentState.SEALED}
    assert {info.state for info in LocalSource(often).segments("raw/main.q")} == {SegmentState.SEALED}


def test_a_lost_or_foreign_checkpoint_only_costs_time(tmp_path: Path) -> None:
    stream = _stream()
    once, again = tmp_path / "once", tmp_path / "again"
    _write(once, stream)
    run_shard(once, drain=True, config=CONFIG)
    _write(again, stream, 0, 300)
    run_shard(again, drain=True, config=CONFIG)
    for path in (again / "etl" / "default").glob("checkpoint-*"):
        path.write_bytes(b"CHRETL01 and nothing of ours")
    _write(again, stream, 300)
    assert run_shard(again, drain=True, config=CONFIG).lanes[0].resumed_at == 0
    _same(once, again)


def test_a_rebuild_is_equal_and_a_difference_is_named(tmp_path: Path) -> None:
    home, into = tmp_path / "home", tmp_path / "into"
    _write(home, _stream())
    run_shard(home, drain=True, config=CONFIG)
    rebuild(home, into, config=CONFIG)
    _same(home, into)
    other = tmp_path / "other"
    rebuild(home, other, config=EtlConfig(snapshot_deltas=60))
    difference = compare_queue(LocalSource(home), LocalSource(other), BOOK)
    assert difference is not None
    assert difference.a is not None
    assert difference.a["kind"] == "BOOK_SNAPSHOT"
    assert BOOK in str(difference)
    with pytest.raises(ConfigError):
        rebuild(home, home)


CHILD = """
import sys
from pathlib import Path
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.shards import lane, shard
shard.PROGRESS_INTERVAL_NS = 0
lane.CHECKPOINT_RECORDS_MIN = 200
lane.PROGRESS_RECORDS = 50
def said(report):
    print(report.records, flush=True)
run_shard(Path(sys.argv[1]), drain=True, config=EtlConfig(snapshot_deltas=50), window_bytes=2048, progress=said)
"""


@pytest.mark.parametrize("reports", [1, 7, 20, 33])
def test_kill_at_any_moment_changes_nothing(tmp_path: Path, reports: int) -> None:
    stream = _stream()
    once, killed = tmp_path / "once", tmp_path / "killed"
    _write(once, stream)
    run_shard(once, drain=True, config=CONFIG)
    _write(killed, stream)
    for round_number in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(killed)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(reports + round_number):
            if not child.stdout.readline():
                break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    run_shard(killed, drain=True, config=CONFIG)
    _same(once, killed)
    frontiers = [record.fields()["frontier_index"] for record in queue_records(killed, "etl/default/progress.q")]
    assert frontiers == sorted(set(frontiers))
    assert frontiers[-1] == stream.next_index


def test_clean_queues_that_lost_their_tail_are_continued_from_an_older_checkpoint(tmp_path: Path) -> None:
    stream = _stream()
    home, once = tmp_path / "home", tmp_path / "once"
    _write(once, stream)
    run_shard(once, drain=True, config=CONFIG)
    _write(home, stream, 0, 200)
    run_shard(home, drain=True, config=CONFIG)
    _write(home, stream, 200, 400)
    run_shard(home, drain=True, config=CONFIG)
    queue = home / BOOK
    last = max(queue.glob("*.seg"))
    number = int(last.stem)
    mark = {"next_number": number, "next_base_index": LocalSource(home).segments(BOOK)[-1].base_index}
    last_ts = LocalSource(home).segments(BOOK)[-2].ts_last
    last.unlink()
    (queue / "tail.json").write_text(json.dumps(mark | {"last_ts_recv": last_ts}))
    _write(home, stream, 400)
    assert run_shard(home, drain=True, config=CONFIG).lanes[0].resumed_at == stream.events[200][0]
    _same(once, home)


def test_few_queues_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_writer, "open_queues_max", lambda **_: 3)
    stream = RawStream()
    for number in range(1, 13):
        stream.define(number, instrument(f"kraken:A{number}-EUR"))
        stream.snapshot(number, [(1, 1)], [(2, 2)])
    for round_number in range(20):
        for number in range(1, 13):
            stream.deltas(number, (BID, 1, round_number + 1))
    _write(tmp_path, stream)
    opened = []

    def counted(*args: Any) -> int:
        opened.append(sum(path.endswith("/lock") for path in maps_of(tmp_path / "clean")))
        return int(append_mixed(*args))

    monkeypatch.setattr(clean_writer, "append_mixed", counted)
    run_shard(tmp_path, drain=True, window_bytes=2048)
    assert descriptors_of(tmp_path) == []
    assert max(opened) <= 3, "each open queue has its lock mapped"
    for number in range(1, 13):
        records = queue_records(tmp_path, f"clean/kraken/a{number}_eur/book.q")
        assert [record.kind for record in records].count(Kind.BOOK_DELTA) == 20


def test_a_shard_makes_its_streams_and_its_state_uncollected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, _stream(40))
    seen: list[tuple[str, bool]] = []
    for name in ("give", "whole_state"):
        call = getattr(lane, name)

        def watched(*args: object, name: str = name, call: object = call) -> object:
            seen.append((name, gc.isenabled()))
            return call(*args)  # type: ignore[operator]

        monkeypatch.setattr(lane, name, watched)
    run_shard(tmp_path, drain=True)
    assert ("give", False) in seen
    assert seen[-1] == ("whole_state", False)
    assert gc.isenabled()


def test_lanes_go_to_clean_lanes(tmp_path: Path) -> None:
    _write(tmp_path, _stream(40))
    _write(tmp_path, _stream(30, seed=2), queue="raw/main@1.q")
    report = run_shard(tmp_path, drain=True)
    assert [lane_report.raw_queue for lane_report in report.lanes] == ["raw/main.q", "raw/main@1.q"]
    assert LocalSource(tmp_path).queues("clean/kraken/") == [
        BOOK,
        "clean/kraken/btc_eur/book@1.q",
        "clean/kraken/btc_eur/quote.q",
        "clean/kraken/btc_eur/quote@1.q",
    ]
    assert LocalSource(tmp_path).queues("etl/") == ["etl/default/progress.q", "etl/default/progress@1.q"]


def test_segments_explain_themselves_and_the_book_goes_on_from_a_prologue(tmp_path: Path) -> None:
    stream = _stream(16_000)
    _write(tmp_path, stream)
    run_shard(tmp_path, drain=True)
    source = LocalSource(tmp_path)
    segments = source.segments(BOOK)
    assert len(segments) > 1
    with Queue.open(tmp_path / BOOK, name=BOOK).open_segment(1) as view:
        prologue = view.prologue()
    assert prologue["queue"] == BOOK
    assert prologue["channel"] == "book"
    assert prologue["sources"] == [{"queue": "raw/main.q", "generation": 1}]
    last = segments[1].base_index - 1
    at_end = next(
        book.depth(1 << 20) for record, book, _ in follow(queue_records(tmp_path, BOOK)) if record.index == last
    )
    fields = Record(prologue["book"]).fields()
    assert (fields["bids"], fields["asks"]) == at_end


def test_a_live_shard_follows_asks_for_resync_and_ends_on_stop(tmp_path: Path) -> None:
    stream = RawStream()
    stream.define(1, binance())
    stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=5)
    stream.deltas(1, (BID, 10, 2), first=9, last=9)
    stream.deltas(1, (BID, 10, 3), first=10, last=10)
    _write(tmp_path, stream)
    stop = Event()
    more = iter([True])

    def said(report: object) -> None:
        if next(more, None):
            late = RawStream(stream.ts_recv)
            late.snapshot(1, [(10, 1)], [(11, 1)], sequence=10)
            _write(tmp_path, late)
        else:
            stop.set()

    run_shard(tmp_path, stop=stop, clock=FakeClock(), progress=said)
    assert statuses(queue_records(tmp_path, "clean/binance/btc_usdt/book.q"))[-1] == "ok"
    requests = queue_records(tmp_path, "control/resync.q")
    assert len(requests) == 1
    fields = requests[0].fields()
    assert fields["code"] == StatusCode.RESYNC
    assert fields["details"]["symbol"] == "binance:BTC-USDT"
    assert fields["details"]["venue_symbol"] == "BTC/USDT"


def test_one_shard_runs_once(tmp_path: Path) -> None:
    _write(tmp_path, _stream(5))
    source, claims = LocalSource(tmp_path), Claims(tmp_path, "default", CONFIG.selection, {})
    runner = lane.LaneRunner(source, "raw/main.q", tmp_path, claims, CONFIG, Owners(source))
    with pytest.raises(QueueLockedError):
        run_shard(tmp_path, drain=True)
    runner.close()
    run_shard(tmp_path, drain=True)


@pytest.mark.parametrize("shard", ["", "../x", "A", "x" * 65])
def test_shard_names_are_checked(tmp_path: Path, shard: str) -> None:
    with pytest.raises(ConfigError):
        run_shard(tmp_path, shard=shard, drain=True)


def test_an_empty_home_drains_to_nothing(tmp_path: Path) -> None:
    assert run_shard(tmp_path / "none", drain=True).records == 0
