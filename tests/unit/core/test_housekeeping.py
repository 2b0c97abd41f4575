"""What is prepared ahead is handed over once, and never touched again."""

from __future__ import annotations

from pathlib import Path

from chronicle.core import Kind, Queue
from chronicle.core.housekeeping import BACKGROUND_BYTES_MIN, Housekeeper
from chronicle.core.layout import SegmentState
from chronicle.core.media import is_memory
from chronicle.core.seal import Ended, sealed_bytes
from chronicle.core.segment import LocalSegment
from tests.support.queues import append_random, small_queue

SIZE = 1 << 20


def test_a_blank_that_was_taken_is_not_reused_for_the_next(tmp_path: Path) -> None:
    """The next one may be asked for while the first is still being made a segment."""
    keeper = Housekeeper(tmp_path, "q.q", in_memory=is_memory(tmp_path))
    keeper.prepare(SIZE)
    keeper.finish()
    taken = keeper.take_blank(SIZE)
    assert taken is not None
    first, mapping = taken
    assert mapping.length == SIZE == first.stat().st_size
    first.write_bytes(b"header".ljust(SIZE, b"x"))
    keeper.prepare(SIZE)
    keeper.finish()
    second = keeper.take_blank(SIZE)
    assert second is not None
    assert second[0] != first
    assert first.read_bytes()[:7] == b"headerx"
    keeper.close()


def test_one_blank_is_kept_and_the_unused_are_removed(tmp_path: Path) -> None:
    keeper = Housekeeper(tmp_path, "q.q", in_memory=is_memory(tmp_path))
    for size in (SIZE, SIZE, 2 * SIZE):
        keeper.prepare(size)
        keeper.finish()
    assert keeper.take_blank(SIZE) is None
    assert len(list(tmp_path.iterdir())) == 1
    keeper.close()
    assert not list(tmp_path.iterdir())


def test_what_the_writer_knows_seals_the_same_bytes_as_a_walk(tmp_path: Path) -> None:
    """A full seek index, snapshots, and a segment of one record are among them."""
    for name, events in (("few", 1), ("many", 1_500)):
        queue = small_queue(tmp_path, f"{name}.q")
        known: list[tuple[Ended | None, list[bytes]]] = []
        with queue.appender() as appender:
            append_random(appender, events, seed=3)
            for number in range(0 if name == "few" else 80):
                appender.append(Kind.BOOK_SNAPSHOT, bytes(40), ts_recv=10**9 + number)
            ended = appender._ended()
            appender._write_roll()
            with LocalSegment(appender._path(SegmentState.OPEN), queue="q.q") as segment:
                for each in (ended, None):
                    known.append((each, [bytes(part) for part in sealed_bytes(segment, each)]))
            if name == "many":
                assert ended.seek_count >= 64
        assert known[0][1] == known[1][1]


def test_rolls_of_large_segments_use_what_was_prepared_and_keep_every_record(tmp_path: Path) -> None:
    queue = Queue.create(tmp_path / "q.q", segment_bytes=BACKGROUND_BYTES_MIN)
    count, size = 6_000, 1_000
    with queue.appender() as appender:
        put = appender.recorder(Kind.WIRE, size)
        for number in range(count):
            put(number, number.to_bytes(8, "little") * (size // 8))
            if number % 400 == 399:
                assert appender._keeper is not None
                appender._keeper.finish()  # (as a quiet moment would let it)
    records = list(queue.tailer().drain())
    assert [int.from_bytes(record.body[:8], "little") for record in records] == list(range(count))
    states = [info.state for info in queue.segments()]
    assert len(states) > 4
    assert set(states[:-1]) == {SegmentState.SEALED}
    assert not list(queue.path.glob(".tmp-*")), "an unused blank was left"
