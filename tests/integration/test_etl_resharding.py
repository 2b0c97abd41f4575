"""Shards by patterns, venues and shares; instruments that change shards; and what is refused."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chronicle
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ConfigError, QueueLockedError, RetiredError
from chronicle.core.layout import Side, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.retention import RetentionPolicy
from chronicle.core.selection import Selection
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.merge.owners import Owners
from chronicle.etl.shards import lane
from chronicle.etl.shards.claims import Claims
from tests.support.etl_streams import RawStream, binance, instrument, queue_records, random_levels

SYMBOLS = (
    "kraken:BTC-EUR", "kraken:ETH-EUR", "binance:BTC-USDT", "binance:ETH-USDT", "okx:BTC-USDT", "okx:SOL-USDT",
)  # fmt: skip
DELTAS = 50


def _stream(rounds: int = 120, seed: int = 3, start_ts: int = 1_000_000_000_000) -> RawStream:
    """Books with and without numbers, trades, a second line that comes and goes, a gap, a late definition."""
    stream = RawStream(start_ts)
    fields = {
        number: (binance(symbol) if symbol.startswith("binance") else instrument(symbol, book_depth=20))
        for number, symbol in enumerate(SYMBOLS, 1)
    }
    late = len(SYMBOLS)
    for number in range(1, late):
        stream.define(number, fields[number])
        stream.snapshot(number, [(10, 1)], [(11, 1)], sequence=0)
    levels = random_levels(seed, rounds * len(SYMBOLS)).tolist()
    for step in range(1, rounds + 1):
        if step == rounds // 2:
            stream.define(late, fields[late])
            stream.snapshot(late, [(10, 1)], [(11, 1)], sequence=0)
        if step == rounds // 3:
            stream.status(StatusCode.DISCONNECTED, source=2)
        for number in range(1, late + (step >= rounds // 2)):
            row = tuple(levels.pop())
            hole = 10 if step > 2 * rounds // 3 else 0
            stream.deltas(number, row, first=2 * step - 1 + hole, last=2 * step + hole)
            stream.begin(source=1 + step % 2 if number == 1 else 1).trade(
                number, Side.BID, row[1], 1 + row[2], ts_event=step
            )
            stream.end()
    return stream


def _write(home: Path, stream: RawStream, first: int = 0, end: int | None = None, queue: str = "raw/main.q") -> None:
    with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
        for at, data in stream.events[first:end]:
            following = next((index for index, _ in stream.events if index > at), stream.next_index)
            appender.append_event(data, following - at)


def _config(*symbols: str, **selected: object) -> EtlConfig:
    return EtlConfig(snapshot_deltas=DELTAS, symbols=symbols or ("*",), **selected)  # type: ignore[arg-type]


def _same(home: Path, other: Path) -> None:
    queues = LocalSource(home).queues("clean/")
    assert queues == LocalSource(other).queues("clean/")
    assert queues
    for queue in queues:
        assert compare_queue(LocalSource(home), LocalSource(other), queue) is None


def _whole(home: Path, stream: RawStream) -> Path:
    _write(home, stream)
    run_shard(home, drain=True, config=_config())
    return home


class _Crash(Exception):
    pass


def _crash_after(reports: int):  # type: ignore[no-untyped-def]
    left = [reports]

    def said(report: object) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise _Crash

    return said


@pytest.mark.parametrize("seed", range(8))
def test_any_resharding_with_crashes_equals_one_shard(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "CHECKPOINT_RECORDS_MIN", 60)
    monkeypatch.setattr(lane, "PROGRESS_RECORDS", 40)
    monkeypatch.setattr("chronicle.etl.shards.shard.PROGRESS_INTERVAL_NS", 0)
    stream = _stream()
    once, home = _whole(tmp_path / "once", stream), tmp_path / "home"
    chance = random.Random(seed)
    written = 0
    for round_number in range(7):
        last = round_number == 6
        until = len(stream.events) if last else min(len(stream.events), written + chance.randrange(40, 330))
        _write(home, stream, written, until)
        written = until
        owner = {symbol: chance.choice("abc" if last else "abcd") for symbol in SYMBOLS}  # d does not run
        for shard in chance.sample("abc", 3):
            symbols = [symbol for symbol in SYMBOLS if owner[symbol] == shard]
            if not symbols:
                continue
            crash = None if last or chance.random() < 0.4 else _crash_after(chance.randrange(1, 12))
            with contextlib.suppress(_Crash):
                run_shard(home, shard=shard, drain=True, config=_config(*symbols), window_bytes=3000, progress=crash)
        if chance.random() < 0.2:
            for path in (home / "etl" / chance.choice("abc")).glob("checkpoint-*"):
                path.unlink()
    _same(once, home)


CHILD = """
import sys
from pathlib import Path
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.shards import lane, shard
shard.PROGRESS_INTERVAL_NS = 0
lane.CHECKPOINT_RECORDS_MIN = 100
lane.PROGRESS_RECORDS = 50
def said(report):
    print(report.records, flush=True)
number, count = sys.argv[2].split("/")
config = EtlConfig(snapshot_deltas=50, share=(int(number), int(count)))
run_shard(Path(sys.argv[1]), shard=sys.argv[3], drain=True, config=config, window_bytes=4096, progress=said)
"""


def test_kills_between_and_while_shares_change(tmp_path: Path) -> None:
    stream = _stream()
    once, home = _whole(tmp_path / "once", stream), tmp_path / "home"
    _write(home, stream)
    for reports, share, shard in [
        (4, "1/1", "a"),
        (3, "1/2", "a"),
        (6, "2/2", "b"),
        (2, "1/3", "b"),
        (9, "1/2", "a"),
    ]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(home), share, shard], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(reports):
            if not child.stdout.readline():
                break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    for number, shard in ((1, "x"), (2, "b"), (3, "a")):
        run_shard(home, shard=shard, drain=True, config=_config(share=(number, 3)))
    _same(once, home)


def test_an_instrument_goes_on_from_its_former_shards_checkpoint(tmp_path: Path) -> None:
    stream = _stream()
    home, half = tmp_path / "home", len(stream.events) // 2
    _write(home, stream, 0, half)
    run_shard(home, shard="all", drain=True, config=_config())
    _write(home, stream, half)
    begun = stream.events[half][0]
    left = run_shard(home, shard="all", drain=True, config=_config("kraken:*"))
    assert left.lanes[0].resumed_at == begun
    assert list((home / "etl" / "all").glob("handover-0-*"))
    taken = run_shard(home, shard="rest", drain=True, config=_config(venues=("binance", "okx")))
    assert taken.lanes[0].resumed_at == begun
    run_shard(home, shard="all", drain=True, config=_config("kraken:*"))
    assert not list((home / "etl" / "all").glob("handover-0-*")), "what was taken over is forgotten"
    _same(_whole(tmp_path / "once", stream), home)


def test_raw_records_wait_for_instruments_given_away(tmp_path: Path) -> None:
    stream = _stream()
    home, half = tmp_path / "home", len(stream.events) // 2
    _write(home, stream, 0, half)
    run_shard(home, shard="all", drain=True, config=_config())
    _write(home, stream, half)
    run_shard(home, shard="all", drain=True, config=_config("kraken:*"))
    run_shard(home, shard="all", drain=True, config=_config("kraken:*"))
    queue = Queue.open(home / "raw/main.q", name="raw/main.q")
    assert [tailer.index for tailer in queue.tailers()] == [stream.events[half][0]]
    plan = queue.retain(RetentionPolicy(bytes_max=0), stream.ts_recv)
    assert plan.first_index <= stream.events[half][0]
    run_shard(home, shard="rest", drain=True, config=_config("binance:*", "okx:*"))
    _same(_whole(tmp_path / "once", stream), home)


def test_a_start_that_would_leave_records_out_is_refused(tmp_path: Path) -> None:
    stream = _stream(400)
    home = tmp_path / "home"
    _whole(home, stream)
    queue = Queue.open(home / "raw/main.q", name="raw/main.q")
    assert queue.retain(RetentionPolicy(bytes_max=0), stream.ts_recv, force=True).numbers
    more = _stream(5, start_ts=stream.ts_recv)
    _write(home, more)
    for path in (home / "etl" / "default").glob("checkpoint-*"):
        path.unlink()
    with pytest.raises(RetiredError, match="no checkpoint of it is left"):
        run_shard(home, drain=True, config=_config())


def test_an_instrument_of_two_shards_is_refused_with_both_names(tmp_path: Path) -> None:
    _write(tmp_path, _stream(5))
    with pytest.raises(ConfigError, match=r"shards a and b both have kraken:BTC-EUR") as caught:
        run_shard(tmp_path, shard="a", drain=True, config=_config(), others={"b": Selection(("kraken:*",))})
    assert "okx" not in str(caught.value)
    others = {"a": Selection(), "b": Selection(("kraken:*",), ("okx",))}
    assert run_shard(tmp_path, shard="a", drain=True, config=_config(), others=others).records


def test_a_shard_that_runs_with_an_overlap_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, _stream(20))
    source = LocalSource(tmp_path)
    claims = Claims(tmp_path, "first", _config("kraken:*").selection, {})
    running = lane.LaneRunner(source, "raw/main.q", tmp_path, claims, _config("kraken:*"), Owners(source))
    try:
        with pytest.raises(ConfigError, match="shards second and first both have kraken:BTC-EUR"):
            run_shard(tmp_path, shard="second", drain=True, config=_config("*:BTC-*"))
        run_shard(tmp_path, shard="second", drain=True, config=_config("binance:*"))
        running.step(1 << 20)
        (tmp_path / "etl/first/selection.json").unlink()  # as if of another version: the queue's lock still holds
        with pytest.raises(QueueLockedError, match="shards second and first both write a queue"):
            run_shard(tmp_path, shard="second", drain=True, config=_config("kraken:BTC*"))
    finally:
        running.close()


def test_a_share_is_the_same_everywhere_and_shares_are_disjoint() -> None:
    names = [f"binance:S{number}-USDT" for number in range(2000)]
    counts = [sum(Selection(share=(number, 8)).selects(name) for name in names) for number in range(1, 9)]
    assert sum(counts) == len(names)
    assert min(counts) > 180
    assert all(sum(Selection(share=(number, 8)).selects(name) for number in range(1, 9)) == 1 for name in names)
    assert [name for name in SYMBOLS if Selection(share=(1, 2)).selects(name)] == [
        name for name in SYMBOLS if Selection(share=(1, 2)).selects(name.upper())
    ]
    assert not Selection(venues=("okx",)).selects("kraken:BTC-EUR")
    with pytest.raises(ConfigError, match="out of range"):
        Selection(share=(3, 2))


def test_a_quiet_book_is_known_up_to_the_frontier_of_the_shard_that_has_it_now(tmp_path: Path) -> None:
    stream = _stream(20)
    home = tmp_path / "home"
    _write(home, stream)
    run_shard(home, shard="all", drain=True, config=_config())
    quiet = queue_records(home, "clean/kraken/btc_eur/book.q")[-1].ts_recv
    other = RawStream(stream.ts_recv + 10**12)
    other.next_index = stream.next_index
    other.deltas(5, (int(Side.BID), 10, 5), first=5, last=6)
    _write(home, other)
    run_shard(home, shard="rest", drain=True, config=_config("okx:*"))
    with chronicle.open(home) as store:
        assert store.book("kraken:BTC-EUR", at=other.ts_recv).status == "stale", "all is not there yet"
    run_shard(home, shard="mine", drain=True, config=_config("kraken:*"))
    with chronicle.open(home) as store:
        assert quiet < stream.ts_recv < other.ts_recv
        assert store.book("kraken:BTC-EUR", at=other.ts_recv).status == "crossed"
        assert store.book("kraken:BTC-EUR", at=other.ts_recv + 1).status == "stale"
