"""What a session counts behind its writer: holes and clocks are told, and damage there never ends the session."""

from __future__ import annotations

from pathlib import Path

from chronicle.core.clock import FakeClock
from chronicle.core.events import EventBuilder
from chronicle.core.layout import SequenceRule, Side
from chronicle.core.queue import Queue
from chronicle.feed.behind import BehindWriter
from chronicle.feed.clocks import ClockWatch
from chronicle.feed.holes import HoleCounts
from chronicle.feed.log import EventLog

START = 0x0102_0304_0506_0708


def written(queue: Queue, sequences: list[int], *, ahead_ns: int = 0) -> None:
    """Append a delta of instrument 1 on line 1 for each of the numbers."""
    out = EventBuilder()
    with queue.appender() as appender:
        for sequence in sequences:
            ts = START + sequence
            out.begin(ts, source=1)
            out.delta(1, Side.BID, 100, 1, ts_event=ts + ahead_ns, sequence=sequence)
            appender.append_event(*out.take())


def watch(queue: Queue, lines: list[str]) -> tuple[BehindWriter, HoleCounts]:
    holes = HoleCounts({1: SequenceRule.COUNT})
    return BehindWriter(queue, holes, ClockWatch(), EventLog(FakeClock(), lines.append)), holes


def test_what_was_written_since_the_last_look_is_counted(tmp_path: Path) -> None:
    queue = Queue.create(tmp_path / "raw.q", segment_bytes=1 << 20)
    written(queue, [1, 5])
    lines: list[str] = []
    behind, holes = watch(queue, lines)
    behind.count()
    assert holes.of_line(1) == {}, "what is older than the session is not the session's"
    written(queue, [6, 7, 9], ahead_ns=2_000_000)
    behind.count()
    written(queue, [20])
    behind.close()
    assert holes.of_line(1) == {1: 2}
    assert [line.split(" ", 1)[1] for line in lines] == ["clock_behind line=1 seconds=0.002"]


def test_a_damaged_record_ends_the_counting_and_nothing_else(tmp_path: Path) -> None:
    queue = Queue.create(tmp_path / "raw.q", segment_bytes=1 << 20)
    lines: list[str] = []
    behind, holes = watch(queue, lines)
    written(queue, [1, 2, 5])
    segment = next((tmp_path / "raw.q").rglob("*.open*"))
    data = segment.read_bytes()
    position = data.index((START + 2).to_bytes(8, "little")) - 8
    with segment.open("r+b") as file:
        file.seek(position)
        file.write((13).to_bytes(4, "little"))
    behind.count()
    assert "holes_not_counted" in lines[0]
    assert "13" in lines[0]
    behind.count()
    behind.close()
    assert len(lines) == 1
    assert holes.of_line(1) == {}
