"""Messages written directly into both queues leave the bytes of the long way, whatever comes between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.core.layout import WireForm
from chronicle.core.queue import Queue
from chronicle.feed.adapter import Frame
from chronicle.feed.marks import Line
from chronicle.feed.race import LineRace
from tests.support.scanning import CAN_SCAN, MESSAGES, TS, Numbering, text_frame
from tests.support.twin_writers import QUEUES, TwinWriters

pytestmark = pytest.mark.skipif(not CAN_SCAN, reason="this interpreter runs no compiled scans")


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwinWriters]:
    both = TwinWriters(tmp_path, monkeypatch)
    both.number = Numbering()
    yield both
    both.direct.close()
    both.plain.close()


def started(twins: TwinWriters, venue: str, *, lines: int = 1) -> list[Frame]:
    """Start a capture of `venue` and return a frame of each of its messages, all names known."""
    address, before, messages = MESSAGES[venue]
    twins.start([Line(number, address, venue) for number in range(1, lines + 1)], TS)
    twins.write(*(text_frame(venue, payload) for payload in before))
    frames = [text_frame(venue, payload) for payload in messages]
    twins.write(*frames, *frames)
    return frames


@pytest.mark.parametrize("venue", MESSAGES)
def test_every_shape_is_written_directly_with_the_same_bytes(twins: TwinWriters, venue: str) -> None:
    frames = started(twins, venue)
    before, slow = twins.scanned, []
    twins.direct.decoder.decode = lambda *_, **__: slow.append(1) or (bytearray(), 0)  # type: ignore[method-assign, func-returns-value]
    for frame in map(twins.number, frames):
        twins.direct.write_message(frame.form, frame.connection, frame.address, frame.ts_recv, frame.payload)
        twins.plain.write(frame)
    assert twins.scanned - before == len(frames) - len(slow)
    assert len(slow) <= 1, "at most a message that is the plain adapter's in any case"
    if not slow:
        twins.close()


def test_segments_roll_under_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = TwinWriters(tmp_path, monkeypatch, segment_bytes=256 * 1024)
    frames = started(twins, "binance")
    for number in range(400):
        twins.write(*(replace(frame, ts_recv=TS + number) for frame in frames))
    twins.close()
    assert all(len(Queue.open(twins.homes[0] / name).segments()) > 1 for name in QUEUES)


def test_frames_of_other_forms_and_addresses_take_the_long_way(twins: TwinWriters) -> None:
    frame = started(twins, "binance")[3]
    for other in (
        replace(frame, form=WireForm.SENT),
        replace(frame, form=WireForm.BINARY),
        replace(frame, address=frame.address + "x"),
        replace(frame, form=WireForm.HTTP, address="https://api.binance.com/api/v3/depth?symbol=BTCUSDT"),
        replace(frame, payload=frame.payload[:-1]),
        replace(frame, payload=b""),
        frame,
    ):
        twins.write(other, frame)
    twins.close()


def test_a_reconnect_and_a_new_start_let_the_names_be_learned_again(twins: TwinWriters) -> None:
    frames = started(twins, "binance")
    for form in (WireForm.DISCONNECTED, WireForm.CONNECTED):
        twins.write(replace(frames[0], form=form, payload=b""))
    scanned = twins.scanned
    twins.write(frames[3])
    assert twins.scanned == scanned, "the first message of a connection is read plainly"
    twins.write(*frames, *frames)
    assert twins.scanned > scanned
    started(twins, "binance")
    twins.close()


def test_a_clock_that_steps_back_is_clamped_and_flagged(twins: TwinWriters) -> None:
    frames = started(twins, "binance")
    for step in (50, 10, 60, 0, 61):
        twins.write(*(replace(frame, ts_recv=TS + step) for frame in frames))
    assert twins.direct.clamped > 0
    twins.close()


def test_an_exponent_that_grows_between_direct_writes_is_told_before_its_use(twins: TwinWriters) -> None:
    frames = started(twins, "bybit")
    longer = replace(frames[1], payload=frames[1].payload.replace(b"65095.30", b"65095.305"))
    twins.write(frames[1], longer, frames[1], longer, frames[1])
    twins.close()


def test_redundant_lines_are_counted_alike(twins: TwinWriters) -> None:
    races = LineRace((1, 2)), LineRace((1, 2))
    twins.direct.race, twins.plain.race = races[0].take, races[1].take
    frames = started(twins, "binance", lines=2)
    for number in range(50):
        for connection in (1, 2) if number % 3 else (2,):
            twins.write(*(replace(frame, connection=connection, ts_recv=TS + number) for frame in frames))
    assert races[0].first == races[1].first
    assert sum(races[0].first.values()) > 0
    twins.close()


def test_a_closed_writer_writes_nothing_directly(twins: TwinWriters) -> None:
    frame = started(twins, "binance")[3]
    path = twins.direct._direct[1]
    assert path.put(frame.payload, frame.form, TS) == 1
    assert path.put(bytearray(frame.payload), frame.form, TS) == 0
    assert path.put(frame.payload, frame.form, 1 << 70) == 0
    assert path.put(frame.payload, frame.form) == 0
    twins.direct.close()
    assert path.put(frame.payload, frame.form, TS) == 0
