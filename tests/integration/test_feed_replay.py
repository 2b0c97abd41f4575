"""Replay of recorded captures: verbatim, once, resumable at any point, and never back in time."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.errors import AlreadyCapturedError, ConfigError, DecodeError, StateError
from chronicle.core.layout import Flag, Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.feed.captures import open_capture
from chronicle.feed.lanes import load_instruments
from chronicle.feed.replay import replay_capture
from chronicle.feed.writer import FeedWriter

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = 64 * 1024
"""Segments so small that every capture rolls."""


def records(home: Path, queue: str) -> list[Record]:
    return [record.copy() for record in Queue.open(home / queue).tailer().drain()]


def contents(home: Path, queue: str) -> list[tuple[int, bytes]]:
    return [(record.index, bytes(record.data)) for record in Queue.open(home / queue).tailer().drain()]


def statuses(home: Path, queue: str = "raw/main.q") -> list[tuple[str, int]]:
    return [
        (StatusCode(record.fields()["code"]).name, record.source)
        for record in records(home, queue)
        if record.kind == Kind.STATUS and not record.instrument
    ]


def write_capture(path: Path, start: int, count: int, *, bad: str | None = None) -> Path:
    """Write a small Kraken text capture whose first time is `start` seconds."""
    lines = [f"wss://ws.kraken.com <-> {start}"]
    for number in range(count):
        row = f'[1,[["0.5","2.0","{start}.000001","b","l",""]],"trade","XBT/USD"]'
        lines.append(f"{start + number // 100}.{number % 100:02d}: {row}")
    if bad is not None:
        lines.insert(3, bad)
    path.write_text("\n".join(lines) + "\n")
    return path


class Killed(BaseException):
    """Stands for a kill -9 at one instruction."""


def test_wire_is_verbatim_and_raw_points_to_it(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"
    report = replay_capture(tmp_path, [path])
    frames = list(open_capture([path]).frames())
    wire = records(tmp_path, "wire/main.q")
    assert report.exit_code == 0
    assert report.frames == len(wire) == len(frames) + 2
    for frame, record in zip(frames, wire[1:-1], strict=True):
        fields = record.fields()
        assert (fields["form"], fields["address"], fields["payload"]) == (frame.form, frame.address, frame.payload)
        assert (record.ts_recv, record.source) == (frame.ts_recv, frame.connection)
    raw = records(tmp_path, "raw/main.q")
    assert report.records == len(raw)
    for record in raw:
        assert wire[record.source_index].ts_recv == record.ts_recv
    kinds = Counter(record.kind for record in raw)
    assert kinds[Kind.CHECK] == 4269
    assert kinds[Kind.BOOK_SNAPSHOT] == 10


def test_statuses_bound_a_capture(shared_data: Path, tmp_path: Path) -> None:
    report = replay_capture(tmp_path, [shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"])
    said = [pair for pair in statuses(tmp_path) if pair[0] != "VENUE"]
    assert said[0] == ("CAPTURE_START", 0)
    assert sorted(said[1:4]) == [("CONNECTED", 1), ("CONNECTED", 2), ("CONNECTED", 3)]
    assert said[4:] == [("DISCONNECTED", 1), ("DISCONNECTED", 2), ("DISCONNECTED", 3), ("CAPTURE_END", 0)]
    raw = records(tmp_path, "raw/main.q")
    last = max(
        frame.ts_recv for frame in open_capture([shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"]).frames()
    )
    assert {record.ts_recv for record in raw[-4:]} == {last + 1} == {report.last_ts}
    start = raw[0].fields()["details"]
    assert (start["capture"], start["format"], start["files"]) == (report.capture, "cryptofeed", ["KRAKEN.jsonl.zst"])


def test_lines_without_connect_frames_are_connected_by_the_start(shared_data: Path, tmp_path: Path) -> None:
    replay_capture(tmp_path, [shared_data / "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip"])
    assert statuses(tmp_path) == [("CAPTURE_START", 0), ("CONNECTED", 1), ("DISCONNECTED", 1), ("CAPTURE_END", 0)]
    assert sum(r.kind == Kind.ORDER for r in records(tmp_path, "raw/main.q")) == 57_515


def test_same_capture_twice_is_refused_unless_again(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cryptofeed-ws/raw-text/KRAKEN.ws.49.0.zst"
    replay_capture(tmp_path, [path])
    before = contents(tmp_path, "raw/main.q")
    with pytest.raises(AlreadyCapturedError, match="--again"):
        replay_capture(tmp_path, [path])
    copy = tmp_path / "KRAKEN.ws.7.0.zst"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(AlreadyCapturedError):
        replay_capture(tmp_path, [copy])
    with pytest.raises(AlreadyCapturedError):
        replay_capture(tmp_path, [path, shared_data / "cryptofeed-ws/raw-text/KRAKEN.ws.48.0.zst"])
    report = replay_capture(tmp_path, [path], again=True)
    assert (report.lane, report.raw, report.wire) == (1, "raw/main@1.q", "wire/main@1.q")
    assert report.capture.endswith("-2")
    assert contents(tmp_path, "raw/main.q") == before
    assert len(contents(tmp_path, "raw/main@1.q")) == len(before)


def test_older_captures_get_lanes_and_time_never_runs_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    starts = {"A": 2_000_000_000, "B": 1_900_000_000, "C": 1_950_000_000, "D": 2_100_000_000, "E": 1_800_000_000}
    lanes = {}
    for name, start in starts.items():
        path = write_capture(tmp_path / f"KRAKEN.ws.{ord(name)}.0", start, 50)
        lanes[name] = replay_capture(home, [path]).lane
    assert lanes == {"A": 0, "B": 1, "C": 1, "D": 0, "E": 2}
    for queue in ("raw/main.q", "raw/main@1.q", "wire/main@1.q", "raw/main@2.q"):
        rows = records(home, queue)
        assert [r.ts_recv for r in rows] == sorted(r.ts_recv for r in rows)
        assert not any(r.flags & Flag.BAD_TS_RECV for r in rows)


def test_a_clock_step_back_is_clamped_and_flagged_alike_in_both_queues(tmp_path: Path) -> None:
    path = tmp_path / "KRAKEN.ws.1.0"
    row = '[1,[["0.5","2.0","1618678132.000001","b","l",""]],"trade","XBT/USD"]'
    heartbeat = '{"event":"heartbeat"}'
    rows = [("10", row), ("20", heartbeat), ("15", row), ("21", row)]
    path.write_text("wss://ws.kraken.com <-> 1618678100\n" + "".join(f"16186781{t}: {text}\n" for t, text in rows))
    replay_capture(tmp_path / "home", [path])
    wire = records(tmp_path / "home", "wire/main.q")
    assert [r.ts_recv // 10**9 % 1000 for r in wire] == [100, 100, 110, 120, 120, 121, 121]
    trades = [r for r in records(tmp_path / "home", "raw/main.q") if r.kind == Kind.TRADE]
    assert [r.ts_recv // 10**9 % 1000 for r in trades] == [110, 120, 121]
    assert [bool(r.flags & Flag.BAD_TS_RECV) for r in trades] == [False, True, False]
    assert bool(wire[4].flags & Flag.BAD_TS_RECV)


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_replay_continues_exactly(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Death between any two appends: after WIRE, after the event, at rolls, again and again."""
    folder = shared_data / "cryptofeed-ws"
    paths = sorted((folder / "raw-text").glob("KRAKEN.*")) if seed % 2 else [folder / "jsonl/OKX.jsonl.zst"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    replay_capture(whole, paths, segment_bytes=SMALL)
    chance = random.Random(seed)
    fuse = [0]

    def dying(method: Any) -> Any:
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            fuse[0] -= 1
            if fuse[0] == 0:
                raise Killed
            return method(self, *arguments, **named)

        return call

    from chronicle.core.appender import Appender
    from chronicle.feed.direct import DirectPath

    make_path = DirectPath.__init__

    def make_dying(self: DirectPath, *arguments: Any, **named: Any) -> None:
        make_path(self, *arguments, **named)
        put = self.put
        self.put = functools.partial(dying(lambda _, *message: put(*message)), self)

    with monkeypatch.context() as patch:
        patch.setattr(DirectPath, "__init__", make_dying)
        patch.setattr(Appender, "append", dying(Appender.append))
        patch.setattr(Appender, "append_event", dying(Appender.append_event))
        patch.setattr(FeedWriter, "finish", dying(FeedWriter.finish))
        for attempt in range(8):
            fuse[0] = 1 + attempt if attempt < 4 else chance.randrange(1, 150 if seed % 2 == 0 else 1200)
            with pytest.raises(Killed):
                replay_capture(broken, paths, segment_bytes=SMALL)
            fuse[0] = 0
    report = replay_capture(broken, paths, segment_bytes=SMALL)
    assert report.resumed
    for queue in ("wire/main.q", "raw/main.q"):
        assert contents(broken, queue) == contents(whole, queue)
        sizes = [(info.number, info.record_count) for info in Queue.open(broken / queue).segments()]
        assert sizes == [(info.number, info.record_count) for info in Queue.open(whole / queue).segments()]
    with pytest.raises(AlreadyCapturedError):
        replay_capture(broken, paths)


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_a_random_moment_loses_and_doubles_nothing(shared_data: Path, tmp_path: Path, seed: int) -> None:
    paths = sorted((shared_data / "cryptofeed-ws/raw-text-2021-07-22").glob("OKEX.[w0]*"))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    replay_capture(whole, paths, segment_bytes=SMALL)
    script = (
        "import sys\nfrom chronicle.feed.replay import replay_capture\n"
        "def tell(count, ts):\n    print(count, flush=True)\n"
        f"replay_capture(sys.argv[1], sys.argv[2:], segment_bytes={SMALL}, progress=tell)\n"
    )
    chance = random.Random(seed)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(broken), *map(str, paths)],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(chance.choice((1, 2, 3))):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
    replay_capture(broken, paths, segment_bytes=SMALL) if unfinished(broken) else None
    for queue in ("wire/main.q", "raw/main.q"):
        assert contents(broken, queue) == contents(whole, queue)


def unfinished(home: Path) -> bool:
    return b'"started"' in (home / "raw/captures.json").read_bytes()


def test_other_captures_keep_out_of_an_interrupted_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 300)
    second = write_capture(tmp_path / "KRAKEN.ws.2.0", 1_800_000_000, 50)
    home = tmp_path / "home"

    def stop(count: int, ts: int) -> None:
        raise Killed

    monkeypatch.setattr("chronicle.feed.replay.PROGRESS_FRAMES", 100)
    with pytest.raises(Killed):
        replay_capture(home, [first], progress=stop)
    assert replay_capture(home, [second]).lane == 1
    report = replay_capture(home, [first])
    assert (report.lane, report.resumed) == (0, True)
    whole = tmp_path / "whole"
    replay_capture(whole, [first])
    assert contents(home, "raw/main.q") == contents(whole, "raw/main.q")


def test_a_wire_queue_that_holds_something_else_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 300)
    home = tmp_path / "home"

    def stop(count: int, ts: int) -> None:
        raise Killed

    monkeypatch.setattr("chronicle.feed.replay.PROGRESS_FRAMES", 100)
    with pytest.raises(Killed):
        replay_capture(home, [path], progress=stop)
    queue = Queue.open(home / "wire/main.q")
    with queue.appender() as appender:
        appender.append(Kind.WIRE, b"\0" * 16, ts_recv=appender.last_ts_recv)
    with pytest.raises(StateError, match="another frame"):
        replay_capture(home, [path])


def test_numbers_go_on_over_captures_and_prologues_tell_them(shared_data: Path, tmp_path: Path) -> None:
    texts = shared_data / "cryptofeed-ws"
    replay_capture(tmp_path, [texts / "jsonl/KRAKEN.jsonl.zst"], segment_bytes=SMALL)
    report = replay_capture(tmp_path, [texts / "jsonl/OKX.jsonl.zst"], segment_bytes=SMALL)
    assert report.lane == 0
    names: dict[int, str] = {}
    for record in records(tmp_path, "raw/main.q"):
        if record.kind == Kind.INSTRUMENT:
            symbol = record.fields()["details"]["symbol"]
            assert names.setdefault(record.instrument, symbol) == symbol
    assert len(names) == 13
    queue = Queue.open(tmp_path / "raw/main.q")
    infos = queue.segments()
    assert len(infos) > 5
    for info in infos:
        with queue.open_segment(info.number) as segment:
            prologue = segment.prologue()
        known = load_instruments(tmp_path, queue, info.base_index)
        assert prologue["instruments"] == [known[number] for number in sorted(known)]


def test_an_own_wire_queue_replays_to_the_same_raw_queue(shared_data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("KRAKEN", "OKX"):
        replay_capture(first, [shared_data / f"cryptofeed-ws/jsonl/{name}.jsonl.zst"], segment_bytes=SMALL)
    report = replay_capture(second, [first], segment_bytes=SMALL)
    assert (report.format, report.exit_code) == ("wire", 0)
    for queue in ("wire/main.q", "raw/main.q"):
        assert contents(second, queue) == contents(first, queue)
    with pytest.raises(AlreadyCapturedError):
        replay_capture(second, [first / "wire/main.q"])


def test_sealed_wire_segments_alone_can_be_replayed(shared_data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    replay_capture(first, [shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"], segment_bytes=SMALL, seal=True)
    segments = sorted((first / "wire/main.q").glob("*.seg"))
    assert len(segments) > 8
    replay_capture(tmp_path / "second", segments[3:6])
    texts = [r for r in records(tmp_path / "second", "wire/main.q") if r.fields()["form"] == WireForm.TEXT]
    wanted = [r for r in records(first, "wire/main.q") if r.fields()["form"] == WireForm.TEXT]
    payloads = [r.fields()["payload"] for r in wanted]
    start = payloads.index(texts[0].fields()["payload"])
    assert [r.fields()["payload"] for r in texts] == payloads[start : start + len(texts)]


def test_damage_is_counted_kept_and_told(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 20, bad="garbage \x01")
    report = replay_capture(tmp_path / "home", [path])
    assert (report.decode_errors, report.exit_code) == (1, DecodeError.exit_code)
    errors = [
        r.fields()["details"]
        for r in records(tmp_path / "home", "raw/main.q")
        if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.DECODE_ERROR
    ]
    assert len(errors) == 1
    assert "KRAKEN.ws.1.0:4" in errors[0]["error"]
    assert sum(r.kind == Kind.TRADE for r in records(tmp_path / "home", "raw/main.q")) == 20


def test_a_frame_that_the_adapter_cannot_read_is_kept_and_told(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 20, bad='1700000000.015: {"event":7, "x":[')
    report = replay_capture(tmp_path / "home", [path])
    assert report.decode_errors == 1
    wire = records(tmp_path / "home", "wire/main.q")
    assert sum(r.fields()["payload"] == b'{"event":7, "x":[' for r in wire) == 1
    assert ("DECODE_ERROR", 1) in statuses(tmp_path / "home")


def test_a_torn_file_is_committed_up_to_the_tear(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "cryptofeed-ws/raw-text/KRAKEN.ws.50.0.zst").read_bytes()
    path = tmp_path / "KRAKEN.ws.50.0.zst"
    path.write_bytes(data[: len(data) // 2])
    report = replay_capture(tmp_path / "home", [path])
    assert report.exit_code == DecodeError.exit_code
    assert "in the middle" in report.damage[0]
    whole = [f.payload for f in open_capture([shared_data / "cryptofeed-ws/raw-text/KRAKEN.ws.50.0.zst"]).frames()]
    kept = [r.fields()["payload"] for r in records(tmp_path / "home", "wire/main.q")][1:-2]
    assert len(kept) > 20
    assert kept == whole[: len(kept)]
    end = records(tmp_path / "home", "raw/main.q")[-1].fields()
    assert (end["code"], end["details"]["reason"]) == (StatusCode.CAPTURE_END, "damaged")


def test_unknown_venues_are_refused_before_anything_is_written(shared_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(ConfigError, match="kraken"):
        replay_capture(home, [shared_data / "cryptofeed-ws/jsonl/HUOBI.jsonl.zst"])
    with pytest.raises(ConfigError, match="speed"):
        replay_capture(home, [shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"], speed="fast")
    assert not home.exists()


def test_several_venues_in_one_replay_are_one_stream(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws/jsonl"
    report = replay_capture(tmp_path, [folder / f"{name}.jsonl.zst" for name in ("OKX", "KRAKEN", "BINANCE")])
    assert (report.venues, report.decode_errors) == (("binance", "kraken", "okx"), 0)
    kinds = Counter(record.kind for record in records(tmp_path, "raw/main.q"))
    assert kinds[Kind.CHECK] == 4269 + 290
    assert kinds[Kind.BOOK_SNAPSHOT] == 10 + 3 + 4


def test_a_paced_replay_follows_the_recorded_times(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 500)
    clock = FakeClock()
    report = replay_capture(tmp_path / "home", [path], speed="2", clock=clock)
    assert clock.monotonic_ns() == pytest.approx(4.99e9 / 2, rel=1e-6)
    assert report.seconds == pytest.approx(2.495, rel=1e-3)


def test_a_linked_raw_folder_is_followed(tmp_path: Path) -> None:
    home, memory = tmp_path / "home", tmp_path / "memory"
    home.mkdir()
    (home / "raw").symlink_to(memory / "raw")
    replay_capture(home, [write_capture(tmp_path / "KRAKEN.ws.1.0", 1_700_000_000, 5)])
    assert (memory / "raw/main.q/queue.json").exists()
    assert (home / "raw").is_symlink()
