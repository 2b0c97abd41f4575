"""Frames become records whatever they are: oversize, hostile, unknown; and numbers survive restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronicle.core.errors import CorruptionError, DecodeError, StateError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, Side, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.decoder import FrameDecoder
from chronicle.feed.lanes import choose_lane, load_instruments, open_lane, prepare_home
from chronicle.feed.marks import END, START, CaptureMark, Line, end_frame, read_mark, start_frame
from chronicle.feed.writer import FRAME_BYTES_MAX, FeedWriter

LINE = Line(1, "KRAKEN.ws.1", "kraken")
TRADE = b'[1,[["0.5","2.0","1618678132.000001","b","l",""]],"trade","XBT/USD"]'


def start(ts: int = 1) -> Frame:
    return start_frame(CaptureMark("c", "cryptofeed", ("f",), (LINE,)), ts)


def text(payload: bytes, ts: int = 2, connection: int = 1) -> Frame:
    return Frame(WireForm.TEXT, connection, "wss://ws.kraken.com", ts, payload)


def records(queue: Queue) -> list[Record]:
    return [record.copy() for record in queue.tailer().drain()]


class Adapter:
    """Does what the payload says."""

    venue = "kraken"

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        if frame.form != WireForm.TEXT:
            return
        out.trade(1, Side.BID, 5, 7, ts_event=1)
        if frame.payload == b"decode":
            raise DecodeError("half of it is bad")
        if frame.payload == b"bug":
            raise ZeroDivisionError("a bug")
        if frame.payload == b"told":
            out.status(StatusCode.DECODE_ERROR, {"problem": "x"}, instrument=1)
            raise DecodeError("told already")


def decode(decoder: FrameDecoder, frame: Frame, index: int = 0) -> list[Record]:
    data, _ = decoder.decode(frame, ts_recv=frame.ts_recv, wire_index=index)
    view, found = memoryview(bytes(data)), []
    while view:
        record = Record(view)
        found.append(Record(view[: record.length]))
        view = view[record.length :]
    return found


@pytest.fixture
def decoder() -> FrameDecoder:
    made = FrameDecoder(lambda venue: Adapter())
    decode(made, start())
    return made


def test_what_could_be_read_is_kept_and_the_error_told(decoder: FrameDecoder) -> None:
    kinds = [record.kind for record in decode(decoder, text(b"decode"))]
    assert kinds == [Kind.TRADE, Kind.STATUS]
    assert decoder.decode_errors == 1


def test_a_bug_of_an_adapter_is_told_and_half_done_records_are_dropped(decoder: FrameDecoder) -> None:
    (status,) = decode(decoder, text(b"bug"))
    details = status.fields()["details"]
    assert (status.source, details["error"], details["excerpt"]) == (1, "ZeroDivisionError: a bug", "bug")


def test_an_error_that_the_adapter_told_of_is_not_told_twice(decoder: FrameDecoder) -> None:
    found = decode(decoder, text(b"told"))
    assert [(record.kind, record.instrument) for record in found] == [(Kind.TRADE, 1), (Kind.STATUS, 1)]
    assert decoder.decode_errors == 1


def test_a_frame_of_no_known_venue_is_an_error_in_the_stream() -> None:
    decoder = FrameDecoder(lambda venue: Adapter())
    (status,) = decode(decoder, Frame(WireForm.TEXT, 1, "ws://nowhere", 2, b"x"))
    assert status.fields()["code"] == StatusCode.DECODE_ERROR


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"capture":1}', b'{"capture":"a","lines":[[1]]}', b"\xff"])
def test_a_malformed_mark_is_an_error_in_the_stream(decoder: FrameDecoder, payload: bytes) -> None:
    (status,) = decode(decoder, Frame(WireForm.CONFIG, 0, START, 5, payload))
    assert status.fields()["code"] == StatusCode.DECODE_ERROR


def test_marks_read_back() -> None:
    mark = read_mark(end_frame("c", 9, reason="stopped", damage=["a"]))
    assert mark == {"capture": "c", "reason": "stopped", "damage": ["a"]}
    with pytest.raises(DecodeError):
        read_mark(Frame(WireForm.CONFIG, 0, END, 1, b"[]"))


def test_only_a_config_frame_can_be_a_mark(decoder: FrameDecoder) -> None:
    hostile = Frame(WireForm.TEXT, 1, START, 5, b'{"capture":"x","lines":[]}')
    assert [record.kind for record in decode(decoder, hostile)] == [Kind.TRADE]
    assert decoder.lines == {1: LINE}


def test_an_oversize_frame_is_refused_in_the_stream(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    lane = open_lane(tmp_path, 0)
    with FeedWriter(lane, tmp_path) as writer:
        writer.write(start())
        writer.write(text(b" " * (FRAME_BYTES_MAX + 1)))
        writer.write(text(TRADE, ts=3))
    kinds = [record.kind for record in records(lane.raw)]
    assert kinds == [Kind.STATUS, Kind.STATUS, Kind.INSTRUMENT, Kind.TRADE]
    assert "larger than" in records(lane.raw)[1].fields()["details"]["error"]
    assert all(record.length < 8192 for record in records(lane.wire))


def test_the_largest_frame_fits(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    lane = open_lane(tmp_path, 0)
    frame = text(b" " * (FRAME_BYTES_MAX - 30))
    with FeedWriter(lane, tmp_path) as writer:
        writer.write(start())
        writer.write(frame)
    assert records(lane.wire)[1].fields()["payload"] == frame.payload


def test_numbers_survive_a_restart_also_when_the_segments_have_moved(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    lane = open_lane(tmp_path, 0)
    with FeedWriter(lane, tmp_path) as writer:
        writer.write(start())
        writer.write(text(TRADE.replace(b"XBT/USD", b"ETH/USD")))
        writer.write(text(TRADE, ts=3))
        writer.finish()
        writer.raw.seal()
    known = load_instruments(tmp_path, lane.raw, lane.raw.end_index())
    assert sorted(known) == [1, 2]
    for path in (tmp_path / "raw/main.q").glob("*.seg"):
        path.unlink()
    assert load_instruments(tmp_path, lane.raw, lane.raw.end_index()) == known
    with FeedWriter(lane, tmp_path) as writer:
        writer.write(start(4))
        writer.write(text(TRADE, ts=5))
    assert [(r.kind, r.instrument) for r in records(lane.raw)][-1] == (Kind.TRADE, 2)


def test_unknown_numbers_are_not_given_twice(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    lane = open_lane(tmp_path, 0)
    with FeedWriter(lane, tmp_path) as writer:
        writer.write(start())
        writer.write(text(TRADE))
        writer.raw.seal()
    for path in (tmp_path / "raw/main.q").glob("*.seg"):
        path.unlink()
    with pytest.raises(StateError, match="moved away"), FeedWriter(lane, tmp_path):
        pass
    (tmp_path / "raw/main.q/instruments.msgpack").write_bytes(b"\xc1")
    with pytest.raises(CorruptionError):
        load_instruments(tmp_path, lane.raw, lane.raw.end_index())
    with lane.raw.appender():
        pass  # the refused writer left no lock


def test_lanes_are_chosen_by_their_end(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    assert choose_lane(tmp_path, 100) == 0
    with FeedWriter(open_lane(tmp_path, 0), tmp_path) as writer:
        writer.write(start(100))
    assert choose_lane(tmp_path, 100) == 0
    assert choose_lane(tmp_path, 99) == 1
    assert choose_lane(tmp_path, 100, taken=frozenset({0})) == 1


def test_no_two_feeds_get_one_number_above_0(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    for name in ("main", "okx"):
        with FeedWriter(open_lane(tmp_path, 0, name=name), tmp_path) as writer:
            writer.write(start(100))
    assert choose_lane(tmp_path, 99, name="okx") == 1
    with FeedWriter(open_lane(tmp_path, 1, name="okx"), tmp_path) as writer:
        writer.write(start(99))
    assert choose_lane(tmp_path, 99, name="okx") == 1
    assert choose_lane(tmp_path, 99) == 2
    assert choose_lane(tmp_path, 100) == 0


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    from chronicle.core.errors import ConfigError

    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        prepare_home(tmp_path / "file")


def test_health_is_kept_per_stream(decoder: FrameDecoder) -> None:
    frames: list[Any] = [text(b"x", ts=10), text(b"x", ts=30)]
    for frame in frames:
        decode(decoder, frame)
    assert decoder.streams == {(1, 1, "trade"): 30}


def test_a_frame_whose_records_a_crash_prevented_is_decoded_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the WIRE record and its event must not lose the trade that it carries."""
    from chronicle.core.appender import Appender

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    frames = [start(), text(TRADE, 2), text(b'{"event":"heartbeat"}', 3), text(TRADE, 4), start(5), text(TRADE, 6)]
    for home in (whole, broken):
        prepare_home(home)
    with FeedWriter(open_lane(whole, 0), whole) as writer:
        for frame in frames:
            writer.write(frame)
    lane = open_lane(broken, 0)
    with FeedWriter(lane, broken) as writer:
        for frame in frames[:3]:
            writer.write(frame)
        with monkeypatch.context() as patch:
            patch.setattr(Appender, "append_event", die)
            with pytest.raises(Killed):
                writer.write(frames[3])
    assert [record.kind for record in records(lane.raw)][-1] == Kind.TRADE
    with FeedWriter(lane, broken) as writer:
        for frame in frames[4:]:
            writer.write(frame)
    for queue in ("raw", "wire"):
        first, second = records(getattr(lane, queue)), records(getattr(open_lane(whole, 0), queue))
        assert [bytes(r.data) for r in first] == [bytes(r.data) for r in second]
