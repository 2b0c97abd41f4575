"""A process that rolls very many queues through a day and measures itself; ran by test_many_queues.

``python -m tests.crash.day COUNT``. A process of its own: what it holds is not what other tests left behind, what
their threads open meanwhile, or what an allocator kept of them.
"""

from __future__ import annotations

import resource
import sys
from contextlib import ExitStack
from pathlib import Path

from chronicle.core import Kind, Queue
from chronicle.core.layout import SegmentState
from tests.support.survival import fast_folder

HOUR_NS = 3_600 * 10**9
DESCRIPTORS_PER_QUEUE = 1
"""The writer lock, where a map does not keep it; neither maps nor closed segments keep one."""
MAPS_PER_QUEUE = 3
"""The control page, the open segment, and the writer lock (decision 39)."""
MEMORY_PER_QUEUE = 96 * 1024
"""The pages of the open segment that were touched, the control page, and the objects of one appender."""
OPEN_BYTES_MAX = 80 * 1024
"""A quiet queue's open segment: header page, 64 KiB for records, seek entries."""
SEALED_BYTES_MAX = 9 * 1024
"""A sealed one holds what it holds: header page, three records, seek index, checksums."""
SLACK = 64
SLACK_BYTES = 24 * 1024 * 1024


def usage() -> tuple[int, int, int]:
    """Return (open descriptors, maps, resident bytes) of this process."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    maps = Path("/proc/self/maps").read_bytes().count(b"\n")
    resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    return descriptors, maps, resident


def quiet_queue(path: Path) -> Queue:
    return Queue.create(
        path,
        segment_bytes=64 * 1024,
        segment_growth=4,
        segment_bytes_max=4 << 20,
        segment_adapts=True,
        cycle_ns=HOUR_NS,
    )


def descriptors_wanted(count: int) -> int:
    return count * DESCRIPTORS_PER_QUEUE + 4 * SLACK


def a_day(count: int) -> None:
    """Roll `count` queues through a day, and hold what this process uses against the bounds."""
    allowed, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, descriptors_wanted(count)), hard))
    with fast_folder() as folder, ExitStack() as stack:
        with quiet_queue(folder / "first.q").appender() as appender:  # loads and compiles what all of them share
            for hour in range(3):
                appender.append(Kind.STATUS, bytes(40), ts_recv=hour * HOUR_NS)
        before = usage()
        queues = [quiet_queue(folder / f"{number}.q") for number in range(count)]
        appenders = [stack.enter_context(queue.appender()) for queue in queues]
        peaks = []
        for hour in range(25):
            for appender in appenders:
                for minute in (0, 20, 40):
                    appender.append(Kind.STATUS, bytes(40), ts_recv=hour * HOUR_NS + minute * 60 * 10**9)
            peaks.append(usage())
        for name, per_queue, slack, at in (
            ("descriptors", DESCRIPTORS_PER_QUEUE, SLACK, 0),
            ("maps", MAPS_PER_QUEUE, SLACK + count // 50, 1),
            ("resident bytes", MEMORY_PER_QUEUE, SLACK_BYTES, 2),
        ):
            used = max(peak[at] for peak in peaks) - before[at]
            print(f"{count} queues, 24 rolls each: {used} {name}, {used / count:.2f} a queue")
            assert used <= count * per_queue + slack, name
        late, early = peaks[-1], peaks[1]
        assert late[0] <= early[0], "descriptors grow with every roll"
        assert late[1] <= early[1] + SLACK, "maps grow with every roll"
        assert late[2] <= early[2] + SLACK_BYTES, "memory grows with every roll"
        for queue in queues[:: max(1, count // 20)]:
            segments = queue.segments()
            assert len(segments) == 25
            assert [info.state for info in segments[:-1]] == [SegmentState.SEALED] * 24
            assert max(info.size_bytes for info in segments[:-1]) <= SEALED_BYTES_MAX
            assert segments[-1].size_bytes <= OPEN_BYTES_MAX, "a quiet queue's segments stay small, however many"
            assert sum(1 for _ in queue.tailer().drain()) == 75


if __name__ == "__main__":
    a_day(int(sys.argv[1]))
