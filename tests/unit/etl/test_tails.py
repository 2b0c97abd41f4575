"""Where a clean queue ends: the one look that a start takes says what many looks by the queue's own means say."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import chronicle.core.kernels.walking as kernels
from chronicle.core import Kind, Queue, scan
from chronicle.core.errors import CorruptionError
from chronicle.core.layout import INT64_MAX, NONE, Flag, SegmentState
from chronicle.core.records import pack_record
from chronicle.core.segment import LocalSegment
from chronicle.etl.clean.lineage import position_of
from chronicle.etl.clean.outlet import DAY_NS, Tail
from chronicle.etl.clean.tails import stored_tail

QUEUE = "clean/kraken/btc_eur/trade.q"
SOURCES = {"sources": [{"queue": "raw/a.q", "generation": 1}, {"queue": "raw/b.q", "generation": 1}]}


def asked(home: Path) -> Tail:
    """Return the tail as the queue itself tells it, one question after the other."""
    stored = Queue.open(home / QUEUE, name=QUEUE)
    segments, mark, record = stored.segments(), stored.tail_mark(), stored.last_record()
    opened = bool(segments) and segments[-1].state is SegmentState.OPEN
    before = segments[:-1] if opened else segments
    words, day_end = 0, INT64_MAX
    if opened and segments[-1].record_count:
        words = segments[-1].data_bytes >> 3
        day_end = segments[-1].ts_first - segments[-1].ts_first % DAY_NS + DAY_NS
    return Tail(
        next_index=stored.end_index(),
        next_number=segments[-1].number + (not opened) if segments else mark.next_number,
        words=words,
        previous_words=(before[-1].data_bytes if before else mark.last_data_bytes) >> 3,
        sizes=stored.settings,
        day_end=day_end,
        source_index=NONE if record is None else record.source_index,
        ordinal=0 if record is None else record.ordinal,
    )


def event(number: int, size: int = 40, records: int = 1) -> bytes:
    return b"".join(
        pack_record(
            Kind.STATUS,
            bytes(size),
            ts_recv=DAY_NS * 3 + number,
            flags=Flag.LAST if part + 1 == records else 0,
            source=1,
            source_index=number,
            ordinal=part,
        )
        for part in range(records)
    )


@pytest.mark.parametrize("seed", range(6))
def test_one_look_says_what_the_queue_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    queue = Queue.create(tmp_path / QUEUE, name=QUEUE, segment_bytes=64 * 1024, segment_growth=2, segment_adapts=True)
    assert stored_tail(tmp_path, "clean/other.q", {}) == Tail()
    assert stored_tail(tmp_path, QUEUE, {}) == asked(tmp_path)
    number = 0
    for _ in range(12):
        with queue.appender(prologue=lambda: SOURCES) as appender:
            for _ in range(chance.choice([0, 1, 3, 500])):
                records = chance.randrange(1, 4)
                appender.append_event(event(number, chance.choice([8, 40, 600]), records), records)
                number += 1
            act = chance.random()
            if act < 0.3:
                appender.seal()
            elif act < 0.6 and number:
                appender.begin_segment(64, DAY_NS * 3 + number)  # and no record comes: a crash behind a roll
        assert stored_tail(tmp_path, QUEUE, {}) == asked(tmp_path)
    found = stored_tail(tmp_path, QUEUE, {"raw/a.q": 0, "raw/b.q": 5})
    assert found.source_index == position_of(5, number - 1)
    assert stored_tail(tmp_path, QUEUE, {"raw/a.q": 0}).source_index == NONE, "of a raw queue that is not merged"
    with queue.appender() as appender:
        appender.seal()
    for path in (tmp_path / QUEUE).glob("*.seg"):
        path.unlink()  # moved to another tier
    assert stored_tail(tmp_path, QUEUE, {}) == asked(tmp_path)


def test_walks_by_kernel_say_what_walks_in_python_say(tmp_path: Path) -> None:
    queue = Queue.create(tmp_path / QUEUE, name=QUEUE, segment_bytes=1 << 20)
    with queue.appender() as appender:
        for number in range(300):
            appender.append_event(event(number, 8 * (number % 9), 1 + number % 3), 1 + number % 3)
    (path,) = queue.segment_files().values()
    with LocalSegment(path, queue=QUEUE) as segment:
        mapping, start, limit = segment.mapping, segment.data_offset, segment.header.data_limit
        walked = scan.walk(mapping, start, 0, limit)
        assert scan.walk_far(mapping, start, 0, limit) == walked == segment.extent()
        offsets = [start + int(offset) for offset in scan.record_offsets(mapping.memory[start : walked[0]])]
        for place, offset in enumerate(offsets):
            end = offsets[place + 1] if place + 1 < len(offsets) else walked[0]
            assert kernels.last_start(mapping.address, start, end) == offset
    data = bytearray(path.read_bytes())
    data[offsets[7]] = 3  # no length
    path.write_bytes(data)
    with LocalSegment(path, queue=QUEUE) as segment:
        assert kernels.last_start(segment.mapping.address, start, walked[0]) == -1 - offsets[7]
        with pytest.raises(CorruptionError, match="length or kind is impossible"):
            scan.last_start(segment.mapping, start, walked[0])
