"""Several raw queues in one home, merged: order, lineage, joining and leaving, units, and who waits for whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import chronicle
from chronicle.cli.main import run
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.layout import INT64_MIN, STATUS_BODY, Flag, Kind, Side, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.membership import Decision, DecisionLog, decide
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, pack_details
from chronicle.etl import EtlConfig, EtlReport, rebuild, run_shard
from chronicle.etl.merge.members import Ending, leave, plan_joins, plan_leave
from chronicle.etl.merge.units import Units
from chronicle.storage.tiers.state import frontiers
from tests.support.etl_streams import RawStream, final, instrument, queue_records, random_levels, statuses

CONFIG = EtlConfig(snapshot_deltas=30)
A = Decision("a", 0, joins=True, at=INT64_MIN)
BOOK = "clean/kraken/btc_eur/book.q"


def _stream(symbol: str, seed: int, start_ts: int = 1_000_000_000_000, count: int = 200) -> RawStream:
    stream = RawStream(start_ts)
    stream.define(1, instrument(symbol))
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    for row in random_levels(seed, count).tolist():
        stream.deltas(1, tuple(row))
        stream.begin().trade(1, Side.BID, row[1], 1 + row[2], ts_event=1)
        stream.end()
    return stream


def _write(home: Path, queue: str, stream: RawStream, first: int = 0, end: int | None = None) -> None:
    with Queue.create(home / queue, name=queue, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
        for _, data in stream.events[first:end]:
            appender.append_event(data, 1)


def _decisions(home: Path) -> list[Decision]:
    log = DecisionLog(home)
    log.poll()
    log.close()
    return log.decisions


def _same(home: Path, other: Path) -> None:
    queues = LocalSource(home).queues("clean/")
    assert queues == LocalSource(other).queues("clean/")
    for queue in queues:
        assert compare_queue(LocalSource(home), LocalSource(other), queue) is None


def test_raw_queues_of_their_own_instruments_come_out_as_alone(tmp_path: Path) -> None:
    streams = {"raw/main.q": _stream("kraken:BTC-EUR", 1), "raw/okx.q": _stream("okx:BTC-USDT", 2)}
    home, alone = tmp_path / "home", {}
    for queue, stream in streams.items():
        apart = tmp_path / queue.removesuffix(".q").replace("/", "-")
        _write(apart, queue, stream)
        run_shard(apart, drain=True, config=CONFIG)
        alone |= {name: LocalSource(apart) for name in LocalSource(apart).queues("clean/")}
        _write(home, queue, stream)
    report = run_shard(home, drain=True, config=CONFIG, window_bytes=4096)
    assert [lane.raw_queue for lane in report.lanes] == sorted(streams)
    assert sorted(alone) == LocalSource(home).queues("clean/")
    for queue in alone:
        mine, other = (
            [bytes(record.body) for record in queue_records(place, queue)] for place in (home, alone[queue].home)
        )
        ended = 1 if "book" in queue else 9 if "candle" in queue else 0
        assert mine[: len(mine) - ended] == other, "the same, and behind it that the queue left"
    assert sorted(LocalSource(home).queues("etl/")) == ["etl/default/progress-okx.q", "etl/default/progress.q"]
    assert frontiers(home) == {"raw/main.q": {"default": 402}, "raw/okx.q": {"default": 402}}
    with chronicle.open(home) as store:
        assert [item.symbol for item in store.instruments()] == ["kraken:BTC-EUR", "okx:BTC-USDT"]
        for symbol in ("kraken:BTC-EUR", "okx:BTC-USDT"):
            assert store.book(symbol, at=streams["raw/okx.q"].ts_recv).status in ("ok", "crossed")
            assert store.book(symbol, at=streams["raw/okx.q"].ts_recv + 1).status == "stale"
            row = store.explain(store.book(symbol, at=streams["raw/okx.q"].ts_recv))
            assert row.raw is not None
            assert row.raw.queue == ("raw/main.q" if symbol.startswith("kraken") else "raw/okx.q")


def test_lineage_names_the_queue_in_every_segment(tmp_path: Path) -> None:
    first, late = _stream("kraken:BTC-EUR", 1), _stream("kraken:BTC-EUR", 2, 1_000_300_000_000)
    _write(tmp_path, "raw/b.q", first)
    run_shard(tmp_path, drain=True, config=CONFIG)
    _write(tmp_path, "raw/a.q", late)
    run_shard(tmp_path, drain=True, config=CONFIG)
    assert [(item.raw, item.number) for item in _decisions(tmp_path)[:2]] == [("raw/b.q", 0), ("raw/a.q", 1)]
    source = LocalSource(tmp_path)
    raw = {name: queue_records(tmp_path, name) for name in ("raw/a.q", "raw/b.q")}
    seen = set()
    for queue in source.queues("clean/"):
        records = queue_records(tmp_path, queue)
        for info in source.segments(queue):
            with source.open(queue, info.number) as view:
                table = view.prologue()["sources"]
            for record in records[info.base_index : info.end_index]:
                name = table[record.source]["queue"]
                seen.add(name)
                origin = raw[name][record.source_index]
                if record.kind in (Kind.BOOK_DELTA, Kind.TRADE):
                    assert record.fields() == origin.fields()
    assert seen == set(raw)


def test_a_queue_that_comes_later_joins_behind_what_is_done(tmp_path: Path) -> None:
    home, into = tmp_path / "home", tmp_path / "into"
    _write(home, "raw/a.q", _stream("kraken:BTC-EUR", 1))
    run_shard(home, drain=True, config=CONFIG)
    older = _stream("kraken:BTC-EUR", 2, 1_000_100_000_000)
    older.define(2, instrument("okx:BTC-USDT"))
    older.deltas(2, (Side.BID, 1, 1))
    _write(home, "raw/b.q", older)
    run_shard(home, shard="default", drain=True, config=CONFIG)
    joined = _decisions(home)[1]
    assert joined == Decision("raw/b.q", 1, joins=True, at=1_000_402_000_001)
    late = [record for record in queue_records(home, BOOK) if record.source == 1]
    assert late[0].ts_recv == joined.at, "of what both tell, the older is told when it was known here"
    assert late[0].flags & Flag.BAD_TS_RECV
    alone = queue_records(home, "clean/okx/btc_usdt/book.q")
    assert {record.ts_recv for record in alone[:2]} == {older.ts_recv}, "what one tells alone keeps its times"
    rebuild(home, into, config=CONFIG)
    _same(home, into)


def test_a_queue_that_a_dying_shard_wrote_from_goes_first_without_any_progress(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def die(_: object) -> None:
        raise Crash

    home, into = tmp_path / "home", tmp_path / "into"
    _write(home, "raw/b.q", _stream("kraken:BTC-EUR", 1))
    with pytest.raises(Crash):
        run_shard(home, drain=True, config=CONFIG, progress=die)
    assert queue_records(home, "etl/default/progress.q") == []
    assert queue_records(home, BOOK)
    _write(home, "raw/a.q", _stream("kraken:BTC-EUR", 2))
    run_shard(home, drain=True, config=CONFIG)
    assert [item.raw for item in _decisions(home)[:2]] == ["raw/b.q", "raw/a.q"], "what is written stays"
    rebuild(home, into, config=CONFIG)
    _same(home, into)


def test_a_dead_queue_holds_the_others_back_until_it_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path
    _write(home, "raw/a.q", _stream("kraken:BTC-EUR", 1, count=50))
    _write(home, "raw/b.q", _stream("okx:BTC-USDT", 2, count=50))
    held = {name: Queue.open(home / name, name=name).appender() for name in ("raw/a.q", "raw/b.q")}
    try:
        report = run_shard(home, drain=True, config=CONFIG)
        assert [lane.lag_records for lane in report.lanes] == [0, 1], "of equal times the first queue goes first"
        assert [lane.holds_back for lane in report.lanes] == [True, False]
        assert [item.joins for item in _decisions(home)] == [True, True], "their feeds live: nobody leaves"
        body = STATUS_BODY.pack(StatusCode.HEARTBEAT, 1) + pack_details({})
        held["raw/b.q"].append(Kind.STATUS, body, ts_recv=2_000_000_000_000)
        run_shard(home, drain=True, config=CONFIG)
        assert run(["etl", "status", "--home", str(home)]) == 0
        told = capsys.readouterr().out
        assert "waits for raw/a.q: no record or heartbeat since" in told
        assert "`chronicle etl leave raw/a.q`" in told
    finally:
        for appender in held.values():
            appender.close()
    assert run(["etl", "leave", "a", "--json", "--home", str(home)]) == 0
    assert json.loads(capsys.readouterr().out)["index"] == 102
    run_shard(home, drain=True, config=CONFIG)
    assert statuses(queue_records(home, BOOK))[-1] == "stale"
    with pytest.raises(NotFoundError, match="takes no part"):
        leave(home, "raw/a.q", ts_recv=1)
    _write(home, "raw/a.q", _stream("kraken:BTC-EUR", 3, 3_000_000_000_000, count=10))
    assert run_shard(home, drain=True, config=CONFIG).lanes[0].records == 22
    rebuild(home, home / "again", config=CONFIG)
    _same(home, home / "again")


def test_leave_refuses_what_it_cannot_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--home", str(tmp_path)]

    def refused(raw: str, code: int, *said: str) -> None:
        assert run(["etl", "leave", raw, *place]) == code
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1), told.err
        assert told.err.startswith("chronicle: ")
        assert all(word in told.err for word in said), told.err
        assert run(["etl", "leave", raw, "--json", *place]) == code
        assert {"error", "message"} <= set(json.loads(capsys.readouterr().out))

    _write(tmp_path, "raw/a.q", _stream("kraken:BTC-EUR", 1, count=5))
    refused("a", 3, "raw/a.q takes no part in a merge", "several raw queues")
    assert not (tmp_path / "control").exists(), "a refusal records nothing"
    _write(tmp_path, "raw/b.q", _stream("okx:BTC-USDT", 2, count=5))
    with Queue.open(tmp_path / "raw/a.q", name="raw/a.q").appender():
        run_shard(tmp_path, drain=True, config=CONFIG)
        refused("raw/a.q", 2, "raw/a.q cannot leave the merge: its feed is alive", "process ", "stop that feed")
    assert run(["etl", "leave", "raw/a.q", *place]) == 0
    assert "raw/a.q leaves the merge before its record 12" in capsys.readouterr().out
    before = _decisions(tmp_path)
    refused("a.q", 3, "it left before its record 12 already")
    for unknown in ("c", "../clean/kraken", "raw/", "", "x" * 5000, "a\x1b[31m"):
        refused(unknown, 3, "there is no raw queue", "raw/a.q or raw/b.q")
    assert _decisions(tmp_path) == before
    assert run(["etl", "leave", *place]) == 2, "a raw queue must be named"


def test_history_in_lanes_of_two_feeds_is_read_beside_what_is_merged(tmp_path: Path) -> None:
    older = {"raw/a@1.q": 1_000_000_000_000, "raw/b@2.q": 1_001_000_000_000}
    newer = {"raw/a.q": 1_002_000_000_000, "raw/b.q": 1_003_000_000_000}
    streams = {name: _stream("kraken:BTC-EUR", seed, ts) for seed, (name, ts) in enumerate((older | newer).items())}
    for name, stream in streams.items():
        _write(tmp_path, name, stream)
    run_shard(tmp_path, drain=True, config=CONFIG)
    with chronicle.open(tmp_path) as store:
        trades = store.scan(["kraken:BTC-EUR"], "trade").to_numpy()
        assert len(trades["ts_recv"]) == 4 * 200
        for name in older:
            book = store.book("kraken:BTC-EUR", at=streams[name].ts_recv)
            assert book.source["queue"].endswith(name.removeprefix("raw/a").removeprefix("raw/b"))
            assert book.status in ("ok", "crossed")
    _write(tmp_path, "raw/b@1.q", _stream("kraken:BTC-EUR", 9, 900_000_000_000))
    with pytest.raises(ConfigError, match=r"raw/a@1\.q and raw/b@1\.q both deliver kraken:BTC-EUR") as caught:
        run_shard(tmp_path, drain=True, config=CONFIG)
    assert "keep it in a home of its own" in str(caught.value)


def test_a_decision_behind_a_shards_place_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "raw/a.q", _stream("kraken:BTC-EUR", 1, count=50))
    run_shard(tmp_path, drain=True, config=CONFIG)
    _write(tmp_path, "raw/b.q", _stream("kraken:BTC-EUR", 2, count=50))
    early = [Decision("raw/a.q", 0, joins=True, at=INT64_MIN), Decision("raw/b.q", 1, joins=True, at=5)]
    decide(tmp_path, lambda _: early, ts_recv=1)
    with pytest.raises(ConfigError, match=r"raw/b\.q joins the merge at a place that this shard is past"):
        run_shard(tmp_path, drain=True, config=CONFIG)


@pytest.mark.parametrize("joins", [True, False])
def test_no_shard_passes_a_place_while_it_is_decided(tmp_path: Path, joins: bool) -> None:
    """The raw queue grows at full speed between the look at its end and the record of the decision."""
    main, late = _stream("kraken:BTC-EUR", 1), _stream("okx:BTC-USDT", 2, 1_000_000_900_000)
    home, into = tmp_path / "home", tmp_path / "into"
    _write(home, "raw/main.q", main, 0, 100)
    if not joins:
        _write(home, "raw/late.q", late, 0, 50)
    reached: list[int] = []
    moved, stop = Event(), Event()

    def progress(report: EtlReport) -> None:
        reached.append(sum(lane.frontier_index for lane in report.lanes))
        moved.set()

    def work() -> None:
        run_shard(home, config=CONFIG, stop=stop, progress=progress)

    def wait_for(records: int, turns: int) -> None:
        for _ in range(turns):
            if moved.wait(0.05):
                moved.clear()
            if reached and reached[-1] >= records:
                return

    def plan(known: Sequence[Decision]) -> list[Decision]:
        local = LocalSource(home)
        present = {
            name: Ending(local.queue(name).end_index(), local.queue(name).last_ts_recv())
            for name in local.queues("raw/")
        }
        if joins:
            found = plan_joins(
                known, {"raw/main.q": present["raw/main.q"], "raw/late.q": Ending(0, 0)}, ("raw/main.q",)
            )
        else:
            found = plan_leave(known, "raw/late.q", present["raw/late.q"])
        _write(home, "raw/main.q", main, 100)
        if not joins:
            _write(home, "raw/late.q", late, 50)
        wait_for(300, 20)  # a shard that reads on now is past the place
        return found

    with ThreadPoolExecutor(1) as pool:
        shard = pool.submit(work)
        wait_for(100, 12_000)
        assert decide(home, plan, ts_recv=1)
        if joins:
            _write(home, "raw/late.q", late)
        stop.set()
        shard.result()
    run_shard(home, drain=True, config=CONFIG)
    rebuild(home, into, config=CONFIG)
    _same(home, into)


def test_two_queues_that_tell_an_instrument_in_other_units_agree(tmp_path: Path) -> None:
    coarse, fine = RawStream(), RawStream(1_000_000_500_000)
    coarse.define(1, instrument("kraken:BTC-EUR", price_exponent=1, tick=1))
    fine.define(7, instrument("kraken:BTC-EUR", price_exponent=3, size_exponent=5, tick=100, lot=1))
    coarse.snapshot(1, [(100, 1)], [(110, 1)])
    fine.snapshot(7, [(10_000, 100)], [(11_000, 100)])
    coarse.deltas(1, (Side.BID, 105, 2))
    fine.deltas(7, (Side.BID, 10_555, 300))
    for name, stream in (("raw/a.q", coarse), ("raw/b.q", fine)):
        _write(tmp_path, name, stream)
    run_shard(tmp_path, drain=True, config=CONFIG)
    book, _ = final(queue_records(tmp_path, BOOK))
    assert (book.price_exponent, book.size_exponent) == (3, 5)
    assert book.depth(5) == ([(10_500, 200), (10_000, 100)], [(11_000, 100)])
    other, _ = final(queue_records(tmp_path, BOOK.replace("book", "book@1000")))
    assert other.depth(5) == ([(10_555, 300), (10_000, 100)], [(11_000, 100)])


def test_units_come_and_go_with_the_definitions() -> None:
    units = Units()
    low, high = instrument(price_exponent=1), instrument(price_exponent=4, tick=10)
    assert units.define(1, low.pack()) == low.pack()
    assert units.define(2, high.pack()) == high.pack()
    again = InstrumentFields.unpack(units.define(1, instrument(price_exponent=1, tick=1).pack()))
    assert (again.price_exponent, again.tick) == (4, 1000)
    units.define(2, low.pack())
    assert units.define(1, low.pack()) == low.pack()


@pytest.mark.parametrize(
    ("known", "begun", "expected"),
    [
        ([], (), [("a", 0, INT64_MIN), ("b", 1, INT64_MIN)]),
        ([], ("b",), [("b", 0, INT64_MIN), ("a", 1, 201)]),
        ([Decision("a", 0, True, INT64_MIN)], (), [("b", 1, 101)]),
        ([A, Decision("a", 0, False, 5, 900)], (), [("a", 0, 901), ("b", 1, 901)]),
        ([A, Decision("a", 0, False, 10, 900)], (), [("b", 1, 901)]),
    ],
)  # fmt: skip
def test_whoever_is_new_joins_where_nobody_is_past(
    known: list[Decision], begun: tuple[str, ...], expected: list[tuple[str, int, int]]
) -> None:
    present = {"a": Ending(10, 100), "b": Ending(20, 200)}
    plan = plan_joins(known, present, begun)
    assert [(item.raw, item.number, item.at) for item in plan] == expected
    assert all(item.joins for item in plan)


def test_a_log_that_says_something_else_is_refused(tmp_path: Path) -> None:
    from chronicle.core.errors import CorruptionError

    for name in ("raw/a.q", "raw/b.q"):
        _write(tmp_path, name, _stream("kraken:BTC-EUR", 1, count=5))
    queue = Queue.create(tmp_path / "control/merge.q", name="control/merge.q", segment_bytes=64 * 1024)
    with queue.appender() as appender:
        appender.append(Kind.STATUS, STATUS_BODY.pack(StatusCode.HALTED, 1) + pack_details({}), ts_recv=1)
    with pytest.raises(CorruptionError, match="says something else"):
        run_shard(tmp_path, drain=True, config=CONFIG)
