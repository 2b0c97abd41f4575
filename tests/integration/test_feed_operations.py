"""What an operator of a live feed has: metrics, logs, a view, redundant lines, stalled streams, redecoding."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import chronicle
from chronicle.cli.main import cli, run
from chronicle.core.clock import SystemClock
from chronicle.core.compare import compare_queue
from chronicle.core.errors import ConfigError, StateError
from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.etl import run_shard
from chronicle.feed import http
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.decoder import DECODER_VERSION
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.health import HealthSettings
from chronicle.feed.live import FeedSession, LiveReport
from chronicle.feed.log import EventLog
from chronicle.feed.redecode import decoder_of, redecode
from chronicle.feed.replay import replay_capture
from chronicle.feed.simulator import DEFAULT_PAIRS, FaultInjector, SimulatedExchange
from chronicle.feed.status import FeedStatus, LineStatus, read_status, write_status
from tests.support.captured import Captured
from tests.support.moved_time import MovedClock
from tests.support.polling import until

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = ConnectionSettings(backoff_first=0.02, backoff_last=0.1)


def records(home: Path, queue: str = "raw/main.q") -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def capture(
    home: Path,
    play: Callable[[SimulatedExchange, FeedSession, Captured], Awaitable[None]],
    *,
    lines: int = 1,
    venue: str = "kraken",
    settings: ConnectionSettings = FAST,
    **named: Any,
) -> LiveReport:
    """Capture from an exchange whose market only `play` moves, from when all is subscribed until `play` returns."""

    async def played() -> LiveReport:
        async with SimulatedExchange(venue=venue, rate=0, seed=5, pairs=DEFAULT_PAIRS[:2]) as exchange:
            names = tuple(exchange.speaker.names)
            rest = f"http://127.0.0.1:{exchange.port}"
            spec = FeedSpec(venue, exchange.url, names, depth=25, rest_url=rest, lines=lines)
            session = FeedSession(home, [spec], settings=settings, **named)
            captured, stop = Captured(home), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: task.done() or subscribed(captured, lines), "the subscriptions")
                await play(exchange, session, captured)
            finally:
                stop.set()
            return await task

    return asyncio.run(played())


def subscribed(captured: Captured, lines: int) -> bool:
    """Whether each line subscribed to three channels of two pairs, and the books have started."""
    books = captured.kind(Kind.BOOK_SNAPSHOT)
    return captured.code(StatusCode.SUBSCRIBED) >= 6 * lines and books >= 2 * lines


def lines_of(home: Path) -> list[LineStatus]:
    """Return what the feed says of its lines; nothing before it says anything."""
    status = read_status(home)
    return [] if status is None else status.lines


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def slow_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks over HTTP may be slow: the machine is."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 600.0)


@pytest.mark.usefixtures("slow_clients")
def test_metrics_and_readiness_are_served_while_the_feed_runs(tmp_path: Path) -> None:
    told: list[str] = []

    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(300)
        await until(lambda: captured.form(WireForm.TEXT) > 200, "messages")
        port = session.http_port
        assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
        assert await asyncio.to_thread(get, port, "/readyz") == (200, "ready\n")
        assert (await asyncio.to_thread(get, port, "/nothing"))[0] == 404
        status, text = await asyncio.to_thread(get, port, "/metrics")
        rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert status == 200
        assert int(rows['chronicle_feed_line_messages_total{venue="kraken",line="1"}']) > 150
        assert float(rows['chronicle_feed_line_oldest_stream_age_seconds{venue="kraken",line="1"}']) >= 0
        assert rows['chronicle_feed_queue_committed{queue="raw/main.q"}'] == rows["chronicle_feed_records_total"]
        assert rows['chronicle_feed_rest_breaker_state{venue="kraken"}'] == "0"
        exchange.mute()
        session.connections[0].drop("told to")
        await until(lambda: session.connections[0].failure_count >= 1, "the loss")

    log = EventLog(SystemClock(), told.append, "json")
    capture(tmp_path, play, http=("127.0.0.1", 0), log=log)
    events = [json.loads(line) for line in told]
    assert [event["event"] for event in events][:2] == ["capture_start", "http"]
    assert {"connected", "capture_end"} <= {event["event"] for event in events}
    assert all(event["ts"].endswith("Z") for event in events)


def test_redundant_lines_are_two_sources_and_who_was_first_is_counted(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(400)
        await until(lambda: sum(line.later for line in lines_of(tmp_path)) > 100, "both lines")
        lone = next(iter(exchange._sessions))
        lone.mute()
        exchange.pump(200)
        await until(lambda: sum(line.first for line in lines_of(tmp_path)) > 250, "the other line")

    capture(tmp_path, play, lines=2)
    status = read_status(tmp_path)
    assert status is not None
    assert [(line.line, line.venue) for line in status.lines] == [(1, "kraken"), (2, "kraken")]
    assert sum(line.first for line in status.lines) > 250
    assert sum(line.later for line in status.lines) > 100
    assert max(line.behind_ns_max for line in status.lines) > 0
    assert {record.source for record in records(tmp_path)} == {0, 1, 2}
    run_shard(tmp_path, drain=True)
    queues = {queue for queue in LocalSource(tmp_path).queues("clean/") if "btc_usd/book" in queue}
    assert queues == {"clean/kraken/btc_usd/book.q", "clean/kraken/btc_usd/book@1000.q"}


@pytest.mark.usefixtures("slow_clients")
def test_holes_are_counted_by_stream_and_shown_while_the_feed_runs(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        for _ in range(3):
            exchange.pump(60)
            exchange.drop_next()
        exchange.pump(60)
        await until(lambda: sum(line.gaps for line in lines_of(tmp_path)) == 3, "the holes")
        _, text = await asyncio.to_thread(get, session.http_port, "/metrics")
        assert 'chronicle_feed_line_gaps_total{venue="okx",line="1"} 3' in text
        assert 'chronicle_feed_stream_gaps_total{venue="okx",line="1",stream="okx:' in text
        assert "chronicle_feed_declined_total" in text

    capture(tmp_path, play, venue="okx", http=("127.0.0.1", 0))
    status = read_status(tmp_path)
    assert status is not None
    assert sum(status.lines[0].gap_streams.values()) == status.lines[0].gaps == 3
    assert all(name.startswith("okx:") for name in status.lines[0].gap_streams)
    assert status.scanned + status.declined > 0


class LateClock(SystemClock):
    """A clock that is 250 ms behind."""

    def now_ns(self) -> int:
        return super().now_ns() - 250_000_000


def test_a_clock_behind_the_venue_s_is_measured_and_told(tmp_path: Path) -> None:
    told: list[str] = []

    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        def behind() -> bool:
            exchange.pump(1)  # one at a time: each is as old as it was waited for
            return any(line.clock_behind_ns > 200_000_000 for line in lines_of(tmp_path))

        await until(behind, "an update that came at once")

    capture(tmp_path, play, venue="okx", clock=LateClock(), log=EventLog(SystemClock(), told.append, "json"))
    status = read_status(tmp_path)
    assert status is not None
    assert 200_000_000 < status.lines[0].clock_behind_ns <= 250_000_000
    assert len([line for line in told if "clock_behind" in line]) == 1, "said once"
    done = CliRunner().invoke(cli, ["feed", "top", "--once", "--home", str(tmp_path)])
    assert "(clock -2" in done.output
    assert [r.ts_recv for r in records(tmp_path)] == sorted(r.ts_recv for r in records(tmp_path))


def test_top_shows_every_feed_of_the_home_and_the_groups_of_multicast(tmp_path: Path) -> None:
    def status(raw: str, **line: Any) -> FeedStatus:
        values = LineStatus(1, "kraken", "wss://x", True, 1, 0, 5, "", 3, 4, first=7, missed=2, **line)
        return FeedStatus("live-1", 1, 9, raw, "wire/x.q", 8, 20, 0, 0, 0, 0, [values])

    (tmp_path / "control").mkdir()
    write_status(tmp_path, status("raw/main.q", later=4, behind_ns=8_000_000, behind_ns_max=5_000_000, gaps=11))
    group = "233.54.12.111:26477"
    arbitration = {"won": {group: 90}, "duplicates": {group: 6}, "filled": {group: 1}, "given_up": 13}
    write_status(
        tmp_path,
        status("raw/equities.q", multicast={"arbitration": arbitration, "dropped": {group: 3}}),
        "equities",
    )
    done = CliRunner().invoke(cli, ["feed", "top", "--once", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for word in ("main", "equities", "2.00 / 5.0 ms", "11", "13", group, "6 again, 1 filled a hole, 3 dropped"):
        assert word in done.output, word
    done = CliRunner().invoke(cli, ["feed", "top", "--json", "--home", str(tmp_path)])
    assert [entry["raw"] for entry in json.loads(done.output)] == ["raw/main.q", "raw/equities.q"]


def test_a_symbol_that_the_venue_does_not_list_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    async def captured() -> None:
        async with SimulatedExchange(venue="okx", rate=0, pairs=DEFAULT_PAIRS[:1]) as exchange:
            rest = f"http://127.0.0.1:{exchange.port}"
            spec = FeedSpec("okx", exchange.url, ("okx:BTC-USDT", "okx:NOPE-USDT"), rest_url=rest)
            session = FeedSession(tmp_path, [spec], settings=FAST, log=EventLog(SystemClock(), told.append))
            captured, stop = Captured(tmp_path), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: task.done() or captured.code(StatusCode.ERROR) > 0, "the refusal")
            finally:
                stop.set()
                await task

    asyncio.run(captured())
    assert [line.partition(" ")[2] for line in told if "unknown" in line] == [
        "unknown_symbol venue=okx line=1 symbol=NOPE-USDT"
    ]
    errors = [
        r.fields() for r in records(tmp_path) if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.ERROR
    ]
    assert errors, "the venue refused it, and the raw queue says so"


def test_a_hole_of_one_line_is_no_hole_of_the_other(tmp_path: Path) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(200)
        await until(lambda: all(c.frame_count > 80 for c in session.connections), "both lines")
        torn = sorted(exchange._sessions, key=lambda one: one.connection.remote_address[1])[0]
        torn._lane = FaultInjector({"drop": 1.0}, limit=40).lane()
        exchange.pump(400)
        await until(lambda: all(c.frame_count > 600 for c in session.connections), "what followed on both lines")

    capture(tmp_path, play, lines=2)
    run_shard(tmp_path, drain=True)
    gaps = {}
    for queue in ("clean/kraken/btc_usd/book.q", "clean/kraken/btc_usd/book@1000.q"):
        gaps[queue] = [record for record in records(tmp_path, queue) if record.kind == Kind.GAP]
    (hole,) = [found for found in gaps.values() if found]
    end = max(record.ts_recv for record in records(tmp_path) if record.kind == Kind.CHECK)
    with chronicle.open(tmp_path) as store:
        for moment in range(hole[0].ts_recv, end, max((end - hole[0].ts_recv) // 10, 1)):
            assert store.book("kraken:BTC-USD", at=moment).status == "ok"


def test_a_book_that_falls_silent_is_renewed_and_a_mute_line_is_given_up(tmp_path: Path) -> None:
    told: list[str] = []
    clock = MovedClock()
    health = HealthSettings(stall_seconds=300.0, answer_seconds=60.0)
    endless = ConnectionSettings(read_deadline=1e6, backoff_first=0.02, backoff_last=0.1)

    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        clock.move(301.0)  # and nobody moved the market
        await until(lambda: captured.kind(Kind.BOOK_SNAPSHOT) == 4, "a new snapshot of both books")
        assert any(" renew " in line for line in told)
        clock.move(61.0)
        exchange.pump(50)
        await until(lambda: captured.kind(Kind.CHECK) > 5, "updates: it answered, so it lives")
        assert session.connections[0].failure_count == 0
        exchange.mute()
        clock.move(601.0)
        await until(lambda: len([line for line in told if " renew " in line]) > 2, "that it is asked")
        clock.move(61.0)
        await until(lambda: session.connections[0].connect_count == 2, "a new connection")

    log = EventLog(SystemClock(), told.append)
    capture(tmp_path, play, health=health, log=log, clock=clock, settings=endless)
    reasons = [
        record.fields()["details"]["reason"]
        for record in records(tmp_path)
        if record.kind == Kind.STATUS and record.fields()["code"] == StatusCode.DISCONNECTED
    ]
    assert "also when asked for a snapshot" in reasons[0]


# --- redecoding


def test_an_unchanged_adapter_gives_the_same_records_again(tmp_path: Path) -> None:
    home = tmp_path / "home"

    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(200)
        await until(lambda: captured.kind(Kind.CHECK) > 40, "updates")
        exchange.cut_connections()
        await until(lambda: session.connections[0].connect_count == 2, "a reconnect")

    capture(home, play)
    capture(home, play)  # two sessions: the second knows the numbers of the first
    report = redecode(home, tmp_path / "again", seal=True)
    assert (report.decode_errors, report.decoder, report.old_decoder) == (0, DECODER_VERSION, DECODER_VERSION)
    assert compare_queue(LocalSource(home), LocalSource(tmp_path / "again"), "raw/main.q") is None
    assert decoder_of(tmp_path / "again/raw/main.q", "raw/main.q") == DECODER_VERSION
    starts = [r.fields()["details"] for r in records(home) if r.kind == Kind.STATUS and r.fields()["code"] == 11]
    assert [start["decoder"] for start in starts] == [DECODER_VERSION] * 2
    run_shard(tmp_path / "again", drain=True)
    run_shard(home, drain=True)
    for queue in LocalSource(home).queues("clean/"):
        assert compare_queue(LocalSource(home), LocalSource(tmp_path / "again"), queue) is None
    with pytest.raises(StateError, match="already"):
        redecode(home, tmp_path / "again")
    with pytest.raises(ConfigError, match="folder of its own"):
        redecode(home, home)


@pytest.mark.data
def test_a_capture_redecodes_to_the_same_records(shared_data: Path, tmp_path: Path) -> None:
    for name in ("KRAKEN", "BITFINEX"):
        home = tmp_path / name
        replay_capture(home, [shared_data / f"cryptofeed-ws/jsonl/{name}.jsonl.zst"], segment_bytes=1 << 20)
        redecode(home, home / "redecoded/1", segment_bytes=1 << 18)
        assert compare_queue(LocalSource(home), LocalSource(home / "redecoded/1"), "raw/main.q") is None


def test_a_fixed_adapter_shows_in_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(exchange: SimulatedExchange, session: FeedSession, captured: Captured) -> None:
        exchange.pump(100)
        await until(lambda: captured.kind(Kind.CHECK) > 20, "updates")

    home = tmp_path / "home"
    capture(home, play)
    from chronicle.feed.venues.kraken import KrakenAdapter

    monkeypatch.setattr(KrakenAdapter, "on_http", lambda self, frame, out: None)  # forgets the list of pairs
    done = CliRunner().invoke(cli, ["feed", "redecode", "--verify", "--home", str(home)])
    assert done.exit_code == 5
    assert "different: raw/main.q record" in done.output
    monkeypatch.undo()
    done = CliRunner().invoke(cli, ["feed", "redecode", "--verify", "--json", "--home", str(home)])
    assert (done.exit_code, json.loads(done.output)["difference"]) == (0, None)
    assert json.loads(done.output)["into"].endswith("redecoded/2")


# --- commands


def start(*arguments: str, **named: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "chronicle", *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, **named)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_run_and_top_as_processes_that_end_in_order(tmp_path: Path, number: int) -> None:
    home, faults = tmp_path / "home", tmp_path / "faults.jsonl"
    exchange = start(
        *("feed", "simulate", "--venue", "okx", "--rate", "300", "--fault", "duplicate=0.2"),
        *("--fault-log", str(faults)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert exchange.stdout is not None
    assert exchange.stderr is not None
    port = exchange.stdout.readline().strip()
    feed = start(
        *("feed", "run", "--venue", "okx", "--symbol", "BTC-USDT", "--url", f"ws://127.0.0.1:{port}"),
        *("--rest-url", f"http://127.0.0.1:{port}", "--log", "json", "--http", "127.0.0.1:0", "--json"),
        *("--home", str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        asyncio.run(until(lambda: (s := read_status(home)) is not None and s.records > 300, "300 records"))
        done = CliRunner().invoke(cli, ["feed", "top", "--once", "--home", str(home)])
        assert (done.exit_code, "okx" in done.output, "msg/s" in done.output) == (0, True, True)
        done = CliRunner().invoke(cli, ["feed", "top", "--json", "--home", str(home)])
        assert json.loads(done.output)["lines"][0]["is_up"] is True
    finally:
        feed.send_signal(number)
        output, errors = feed.communicate(timeout=200)
        exchange.send_signal(signal.SIGTERM)
        _, told = exchange.communicate(timeout=200)
    assert (feed.returncode, exchange.returncode) == (0 if number == signal.SIGTERM else 130, 0)
    report = json.loads(output)
    assert report["records"] == Queue.open(home / "raw/main.q").end_index()
    events = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "capture_end"
    logged = [json.loads(line) for line in faults.read_text().splitlines()]
    assert {fault["fault"] for fault in logged} == {"duplicate"}
    assert f"{len(logged)} duplicate" in told
    last = records(home)[-1]
    assert last.fields()["code"] == StatusCode.CAPTURE_END


@pytest.mark.data
def test_a_capture_of_any_venue_is_played(shared_data: Path, tmp_path: Path) -> None:
    from chronicle.feed.simulator.playback import PlaybackExchange, load_recording

    recording = load_recording([shared_data / "cryptofeed-ws/jsonl/KUCOIN.jsonl.zst"])

    async def played() -> LiveReport:
        async with PlaybackExchange(recording) as exchange:
            spec = FeedSpec("kucoin", exchange.url, ("ANKR-BTC", "SNX-BTC"), rest_url=exchange.rest_url)
            session = FeedSession(tmp_path, [spec], settings=FAST)
            captured, stop = Captured(tmp_path), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: task.done() or captured.form(WireForm.TEXT) >= 4721, "all frames")
                await until(lambda: task.done() or captured.kind(Kind.BOOK_SNAPSHOT) >= 2, "the books, over HTTP")
            finally:
                stop.set()
            return await task

    report = asyncio.run(played())
    assert report.decode_errors == 0
    kinds = [record.kind for record in records(tmp_path)]
    assert kinds.count(Kind.BOOK_SNAPSHOT) == 2
    assert kinds.count(Kind.TRADE) == 18


def test_what_cannot_be_simulated_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--venue", "nasdaq"],
        ["--fault", "fire=0.1"],
        ["--fault", "drop"],
        ["--fault", "drop=0.9", "--fault", "delay=0.9"],
        [str(tmp_path / "nothing.jsonl")],
        ["--fault-log", str(tmp_path / "no/such/folder")],
    ):
        assert run(["feed", "simulate", *arguments]) in {2, 3, 10}
        assert "Traceback" not in capsys.readouterr().err
