"""Replays of binary captures: interrupted anywhere they continue exactly, and a wire queue gives the same again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from chronicle.core.appender import Appender
from chronicle.core.errors import AlreadyCapturedError
from chronicle.core.layout import Kind
from chronicle.core.queue import Queue
from chronicle.feed.replay import replay_capture
from chronicle.feed.writer import FeedWriter
from tests.support.itch_day import ItchDay, framed, mold_packets
from tests.support.packet_files import ethernet, pcap, udp

SMALL = 64 * 1024
TS = 1_692_711_000 * 10**9


class Killed(BaseException):
    """Stands for a process that dies."""


@pytest.fixture(params=["pcap", "itch"])
def capture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two sessions over two lines of which one loses packets, or a daily file."""
    first, second = ItchDay(seed=41).open().trade(1_500), ItchDay(seed=42).open().trade(300)
    if request.param == "itch":
        path = tmp_path / "20230822.itch"
        path.write_bytes(framed(first.messages))
        return path
    rng = random.Random(4)
    packets = mold_packets(first.messages, per_packet=9)
    packets += mold_packets(second.messages, per_packet=9, session=b"SESSION002")
    frames = []
    for number, packet in enumerate(packets):
        ts = TS + number * 100_000
        frames.append((ts, ethernet(udp(packet, "233.54.12.111"))))
        if rng.random() < 0.8:
            frames.append((ts + 250_000, ethernet(udp(packet, "233.49.196.111"))))
    frames.sort()
    path = tmp_path / "day.pcap"
    path.write_bytes(pcap([frame for frame in frames if rng.random() < 0.97], nanoseconds=True))
    return path


def contents(home: Path, queue: str) -> list[bytes]:
    return [bytes(record.data) for record in Queue.open(home / queue).tailer().drain()]


def dying(method: Any, fuse: list[int]) -> Any:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        fuse[0] -= 1
        if fuse[0] == 0:
            raise Killed
        return method(self, *arguments, **named)

    return call


def test_an_interrupted_replay_continues_exactly(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    report = replay_capture(whole, [capture], segment_bytes=SMALL)
    assert report.decode_errors == 0
    assert report.events > report.frames
    fuse, chance = [0], random.Random(3)
    with monkeypatch.context() as patch:
        for name in ("append", "append_event", "append_events"):
            patch.setattr(Appender, name, dying(getattr(Appender, name), fuse))
        patch.setattr(FeedWriter, "finish", dying(FeedWriter.finish, fuse))
        for attempt in range(8):
            fuse[0] = 1 + attempt if attempt < 4 else chance.randrange(1, 12)
            with pytest.raises(Killed):
                replay_capture(broken, [capture], segment_bytes=SMALL)
            fuse[0] = 0
    assert replay_capture(broken, [capture], segment_bytes=SMALL).resumed
    for queue in ("wire/main.q", "raw/main.q"):
        assert contents(broken, queue) == contents(whole, queue)
    with pytest.raises(AlreadyCapturedError):
        replay_capture(broken, [capture])


def test_a_wire_queue_gives_the_same_raw_queue_again(capture: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    replay_capture(first, [capture])
    replay_capture(second, [first / "wire" / "main.q"], format="wire")
    assert contents(first, "raw/main.q") == contents(second, "raw/main.q")
    assert contents(first, "wire/main.q") == contents(second, "wire/main.q")


def test_every_raw_record_points_to_the_packet_it_came_in(capture: Path, tmp_path: Path) -> None:
    replay_capture(tmp_path, [capture])
    wire = {record.index: record.copy() for record in Queue.open(tmp_path / "wire/main.q").tailer().drain()}
    for record in Queue.open(tmp_path / "raw/main.q").tailer().drain():
        source = wire[record.source_index]
        assert record.ts_recv >= source.ts_recv
        if record.kind == Kind.ORDER and record.fields()["action"] != ord("R"):
            order_id = record.fields()["order_id"]
            assert order_id.to_bytes(8, "big") in source.fields()["payload"]
