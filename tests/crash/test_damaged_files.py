"""Flipped, torn, zeroed and foreign files: an error of ours or the truth, never a crash, a hang or wrong totals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chronicle.core import EventBuilder, Kind, Queue, Side
from chronicle.core.errors import ChronicleError, ForeignFileError
from chronicle.core.records import InstrumentFields
from chronicle.core.segment import LocalSegment
from tests.support.queues import contents, event, small_queue


def varied(folder: Path) -> Queue:
    """A queue with every common kind in its open segment, bodies with inner lengths among them."""
    queue = small_queue(folder)
    with queue.appender(prologue=lambda: {"schema": 1, "note": "x" * 100}) as appender:
        fields = InstrumentFields(2, 3, details={"symbol": "kraken:BTC-EUR", "venue": "kraken"})
        appender.append(Kind.INSTRUMENT, fields.pack(), ts_recv=1)
        appender.append(Kind.STATUS, b"\x01\x00\x00\x00\x00\x00\x00\x00", ts_recv=2)
        out = EventBuilder()
        out.begin(3)
        out.delta(1, Side.BID, 100, 5, ts_event=3)
        out.delta(1, Side.ASK, 101, 5, ts_event=3)
        data, count = out.take()
        appender.append_event(data, count)
        appender.append(Kind.BOOK_SNAPSHOT, bytes(104), ts_recv=4)
        appender.append(
            Kind.WIRE, b"\x01\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00abcdata", ts_recv=5
        )
        for number in range(8):
            appender.append_event(*event(10 + number, 2))
    return queue


def use_it_all(queue: Queue) -> None:
    """Everything that a reader, a status command and a dump do."""
    queue.segments()
    queue.end_index()
    queue.last_ts_recv()
    queue.synced_index()
    queue.last_record()
    tailer = queue.tailer()
    for record in tailer.drain():
        try:
            record.to_dict()
            repr(record)
        except ChronicleError:
            continue
    tailer.seek_time(8)
    tailer.next_event()
    tailer.seek_index(3)
    tailer.seek_end()
    with queue.open_segment(0) as segment:
        segment.prologue()


def only_our_errors(call: Callable[[], object]) -> bool:
    """Whether `call` returned; errors of ours are an answer as well, all others fail the test."""
    try:
        call()
    except ChronicleError as error:
        json.dumps(error.to_dict())
        return False
    return True


def what_readers_see(queue: Queue) -> list[bytes] | None:
    """Return the records, or None when readers get an error of ours."""
    try:
        return contents(queue)
    except ChronicleError:
        return None


def flips(original: bytes, start: int, end: int, step: int) -> Iterator[tuple[int, bytes]]:
    """Each byte of [start, end) with one bit, and then all bits, the other way."""
    for position in range(start, end, step):
        for mask in (1 << (position % 8), 0xFF):
            damaged = bytearray(original)
            damaged[position] ^= mask
            yield position, bytes(damaged)


def read_flipped_open(folder: Path, step: int) -> None:
    queue = varied(folder)
    path = queue.path / "0000000000.open"
    with LocalSegment(path, queue="q.q") as segment:
        records = (segment.data_offset, segment.data_end() + 128)
        seek = (segment.header.seek_offset, segment.header.seek_offset + 128)
    original = path.read_bytes()
    for start, end in ((0, 600), (4096, 4300), records, seek):
        for _, damaged in flips(original, start, end, step):
            path.write_bytes(damaged)
            only_our_errors(lambda: use_it_all(queue))
    path.write_bytes(original)
    use_it_all(queue)


def recover_flipped_open(folder: Path, step: int) -> None:
    """The next writer refuses, or continues without cutting a record that readers could read."""
    queue = varied(folder)
    path = queue.path / "0000000000.open"
    with LocalSegment(path, queue="q.q") as segment:
        start, end = segment.data_offset, segment.data_end() + 128
    original = path.read_bytes()
    for position, damaged in flips(original, start, end, step):
        path.write_bytes(damaged)
        seen = what_readers_see(queue)

        def reopen() -> None:
            with queue.appender() as appender:
                appender.append(Kind.STATUS, ts_recv=10**9)

        if only_our_errors(reopen):
            assert seen is not None, f"a writer went on where readers stop, after a flip at {position}"
            assert contents(queue)[:-1] == seen


def test_flipped_bytes_of_an_open_segment_never_crash_a_reader(tmp_path: Path) -> None:
    read_flipped_open(tmp_path, 5)


def test_flipped_bytes_of_an_open_segment_never_crash_the_next_writer(tmp_path: Path) -> None:
    recover_flipped_open(tmp_path, 11)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_flipped_byte_of_an_open_segment(tmp_path: Path) -> None:
    read_flipped_open(tmp_path, 1)
    (tmp_path / "next").mkdir()
    recover_flipped_open(tmp_path / "next", 1)


def read_flipped_sealed(folder: Path, step: int) -> None:
    queue = varied(folder)
    with queue.appender() as appender:
        appender.seal()
    path = queue.path / "0000000000.seg"
    original, truth = path.read_bytes(), contents(queue)
    for position, damaged in flips(original, 0, len(original), step):
        path.write_bytes(damaged)
        only_our_errors(lambda: use_it_all(queue))
        assert what_readers_see(queue) in (None, truth), f"wrong data after a flip at {position}"


def test_flipped_bytes_of_a_sealed_segment_are_errors_in_every_reading(tmp_path: Path) -> None:
    read_flipped_sealed(tmp_path, 13)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_flipped_byte_of_a_sealed_segment(tmp_path: Path) -> None:
    read_flipped_sealed(tmp_path, 1)


def spoiled(data: bytes) -> Iterator[bytes]:
    """Torn, zeroed and foreign forms of a small file."""
    yield from (b"", bytes(len(data)), bytes(4096), b"\xff" * 300, b"null", b"[]", b"{}", b'"text"', b"12", b"1e999")
    yield from (data[:cut] for cut in range(1, len(data), 3))
    yield b"[" * 100_000
    yield data.decode("utf-8", "replace").encode("utf-16")
    try:
        values = json.loads(data)
    except ValueError:
        return
    for name in values:
        for value in ([{}], [1], [{"first_index": 1e999}], None, -1, 1e999, 10**30, "abc", [], {}, True, 0.5, ""):
            yield json.dumps(values | {name: value}).encode()
        yield json.dumps({key: held for key, held in values.items() if key != name}).encode()


@pytest.mark.parametrize(
    "name", ["queue.json", "tail.json", "control", "tailers/strategy.json", "lock", "retired.json"]
)
def test_spoiled_small_files_are_clear_errors_or_harmless(tmp_path: Path, name: str) -> None:
    queue = varied(tmp_path)
    with queue.tailer("strategy") as tailer:
        tailer.next_event()
        tailer.commit()
    with queue.appender() as appender:
        appender.seal()
        appender.append(Kind.STATUS, ts_recv=10**6)
    truth = contents(queue)
    path = queue.path / name
    original = path.read_bytes() if path.exists() else b'{"retirements": [{"first_index": 0}]}'

    def use() -> None:
        opened = Queue.open(queue.path)
        use_it_all(opened)
        opened.writer()
        opened.tailers()
        with opened.tailer("strategy") as tailer:
            tailer.next_event()
        assert contents(opened) == truth

    def write() -> None:
        with Queue.open(queue.path).appender() as appender:
            assert appender.next_index == len(truth)

    for data in spoiled(original if name != "control" else original[:200]):
        path.write_bytes(data)
        only_our_errors(use)
        path.write_bytes(data)
        only_our_errors(write)
    path.write_bytes(original)
    use()
    write()


def test_the_error_names_the_spoiled_file(tmp_path: Path) -> None:
    queue = varied(tmp_path)
    (queue.path / "queue.json").write_bytes(b"\0" * 300)
    with pytest.raises(ForeignFileError) as caught:
        Queue.open(queue.path)
    assert caught.value.path == str(queue.path / "queue.json")


def test_folders_and_pipes_in_place_of_segments_are_clear_errors(tmp_path: Path) -> None:
    import os

    for make in (os.mkdir, os.mkfifo):
        queue = small_queue(tmp_path, f"{make.__name__}.q")
        make(queue.path / "0000000000.open")
        for call in (queue.segments, queue.appender, queue.end_index, lambda q=queue: contents(q)):
            with pytest.raises(ChronicleError):
                call()
