"""A dead writer costs nothing; damage is an error with its place; a torn event is seen by nobody."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue, recovery
from chronicle.core.errors import ChronicleError, CorruptionError, ForeignFileError, TornSegmentError, VersionError
from chronicle.core.queue_folder import segment_info
from chronicle.core.segment import LocalSegment
from chronicle.core.segment_header import SegmentHeader
from chronicle.core.source import SegmentInfo
from tests.support.queues import append_random, contents, event, small_queue


def tail_path(queue: Queue) -> Path:
    return list(queue.segment_files().values())[-1]


def patch(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 200, seed=1)
    return queue


def tail_end(queue: Queue) -> int:
    with LocalSegment(tail_path(queue), queue="q.q") as segment:
        return segment.data_end()


@pytest.mark.parametrize("torn_bytes", [1, 8, 72, 79, 1_000])
def test_torn_event_is_seen_by_nobody_and_cut_by_the_next_writer(queue: Queue, torn_bytes: int) -> None:
    before, end = contents(queue), tail_end(queue)
    patch(tail_path(queue), end + 8, b"\xab" * torn_bytes)
    assert contents(queue) == before
    with queue.appender() as appender:
        data, count = event(10**9, 2)
        appender.append_event(data, count)
    assert contents(queue) == [*before, bytes(data[:80]), bytes(data[80:])]


def test_impossible_word_is_corruption_with_its_offset(queue: Queue) -> None:
    end = tail_end(queue)
    patch(tail_path(queue), end, (7).to_bytes(8, "little"))
    for attempt in (lambda: contents(queue), lambda: queue.appender()):
        with pytest.raises(CorruptionError) as caught:
            attempt()
        assert caught.value.offset == end
        assert caught.value.path == str(tail_path(queue))


def test_zeroed_records_before_the_tail_are_corruption_not_a_torn_tail(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(500):
            appender.append_event(*event(number + 1))
    path = tail_path(queue)
    with LocalSegment(path, queue="q.q") as segment:
        start = segment.data_offset
    patch(path, start + 80 * 100, bytes(80 * 50))
    with pytest.raises(CorruptionError, match="missing") as caught:
        queue.appender()
    assert caught.value.offset == start + 80 * 100


def test_segment_prepared_before_the_roll_is_removed(queue: Queue) -> None:
    before = contents(queue)
    path = tail_path(queue)
    number = int(path.stem)
    with LocalSegment(path, queue="q.q") as segment:
        header = segment.header
    spare = path.with_name(f"{number + 1:010d}.open")
    shutil.copy(path, spare)
    ahead = SegmentHeader(
        **{name: getattr(header, name) for name in SegmentHeader.__slots__}
        | {"number": number + 1, "base_index": queue.end_index()}
    )
    patch(spare, 0, ahead.pack()[:512])
    patch(spare, header.data_offset, bytes(header.data_capacity))
    patch(spare, 512, bytes(8))
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=10**12)
    assert not spare.exists()
    assert len(contents(queue)) == len(before) + 1


def test_leftovers_of_dead_processes_are_removed_and_of_live_ones_kept(queue: Queue) -> None:
    dead = queue.path / ".tmp-0000000009.seg-999999999"
    alive = queue.path / f".tmp-0000000009.seg-{os.getppid()}"
    dead.write_bytes(b"x")
    alive.write_bytes(b"x")
    queue.appender().close()
    assert not dead.exists()
    assert alive.exists()


def test_open_file_beside_its_sealed_form_is_removed(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 20, seed=4)
        copy = tmp_path / "copy"
        shutil.copy(tail_path(queue), copy)
        appender.seal()
    shutil.copy(copy, queue.path / "0000000000.open")
    before = contents(queue)
    with queue.appender() as appender:
        assert appender.next_index == len(before)
    assert not (queue.path / "0000000000.open").exists()
    assert contents(queue) == before


FOREIGN = [
    ("zeros", lambda data: bytes(len(data)), ForeignFileError),
    ("random", lambda data: b"\x93NUMPY" + data[6:], ForeignFileError),
    ("empty", lambda data: b"", TornSegmentError),
    ("short", lambda data: data[:100], TornSegmentError),
    ("truncated", lambda data: data[:-5000], TornSegmentError),
    ("version", lambda data: data[:8] + b"\x09" + data[9:], VersionError),
    ("byte order", lambda data: data[:12] + b"\x01\x02\x03\x04" + data[16:], VersionError),
    ("header bit", lambda data: data[:50] + bytes([data[50] ^ 4]) + data[51:], CorruptionError),
]


@pytest.mark.parametrize(("name", "spoil", "error"), FOREIGN, ids=[row[0] for row in FOREIGN])
@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_foreign_torn_and_damaged_segment_files_are_clear_errors(
    queue: Queue, name: str, spoil: object, error: type[ChronicleError], sealed: bool
) -> None:
    if sealed:
        with queue.appender() as appender:
            appender.seal()
    path = tail_path(queue)
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    for attempt in (queue.segments, lambda: contents(queue), queue.appender):
        with pytest.raises(error) as caught:
            attempt()
        assert caught.value.path == str(path)


def test_every_flipped_bit_of_a_sealed_segment_is_an_error_or_harmless(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender(prologue=lambda: {"schema": 1}) as appender:
        for number in range(60):
            appender.append_event(*event(number + 1, 2))
        appender.seal()
    path = tail_path(queue)
    original = path.read_bytes()
    truth = contents(queue)
    for position in range(0, len(original), 7):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        read = None
        with contextlib.suppress(ChronicleError), queue.open_segment(0) as segment:
            segment.prologue()
            read = contents(queue)
        assert read in (None, truth), f"wrong data after a flip at {position}"


def test_foreign_settings_control_and_tail_mark_are_clear_errors(queue: Queue) -> None:
    (queue.path / "control").write_bytes(b"something else")
    with queue.appender() as appender:  # a lost control page is made anew
        assert appender.next_index == queue.end_index()
    (queue.path / "tail.json").write_text("[]")
    with pytest.raises(ForeignFileError):
        queue.appender()
    (queue.path / "queue.json").write_text('{"format": "other"}')
    with pytest.raises(ForeignFileError):
        Queue.open(queue.path)


@pytest.mark.parametrize("marked", [True, False])
def test_a_segment_that_moves_to_another_tier_while_the_next_writer_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    """Between the listing and the look at a segment the tiering agent, or retention, may take it."""
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(7):
            appender.append(Kind.WIRE, bytes([number]) * 30_000, ts_recv=number)
        if marked:
            appender.seal()
    if marked:
        (queue.path / "tail.json").unlink()
        queue.appender().close()  # finds its place by the last sealed segment, and marks it
    taken: list[Path] = []

    def look(path: Path, name: str) -> SegmentInfo:
        if not taken and path.suffix == ".seg":
            taken.append(path)
            path.unlink()
        return segment_info(path, name)

    monkeypatch.setattr(recovery, "segment_info", look)
    with queue.appender() as appender:
        assert appender.next_index == 7
        assert appender.append(Kind.STATUS, ts_recv=100) == 7
    assert len(taken) == 1


def test_a_writer_of_very_many_segments_looks_at_the_last_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(40):
            appender.append(Kind.WIRE, bytes([number]) * 40_000, ts_recv=number)
    looked: list[Path] = []

    def look(path: Path, name: str) -> SegmentInfo:
        looked.append(path)
        return segment_info(path, name)

    monkeypatch.setattr(recovery, "segment_info", look)
    queue.appender().close()
    assert len(looked) <= 1
