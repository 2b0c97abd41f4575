"""What must hold of a queue's folder at any instant: readers and the next writer find whole committed events."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronicle.core import Kind, Queue
from chronicle.core.layout import Flag
from tests.support.queues import contents

__all__ = ["assert_survives", "event_ends", "fast_folder"]


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A scratch folder in shared memory where there is one: thousands of fsyncs cost nothing there."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="chronicle-test-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def event_ends(records: list[bytes]) -> set[int]:
    """Return the record counts at which `records` may end: at event ends, and 0."""
    return {0} | {number + 1 for number, data in enumerate(records) if data[6] & Flag.LAST}


def assert_survives(path: Path, truth: list[bytes], least: int, where: str) -> int:
    """Check the queue at `path` as its writer's death left it; return how many records it holds.

    Readers see a prefix of `truth` of at least `least` records that ends with an event, before the next writer and
    after it; that writer needs no repair and appends at the next index.
    """
    ends = event_ends(truth)
    seen = contents(Queue.open(path))
    assert len(seen) >= least, f"{where}: a committed record is lost to readers: {len(seen)} of {least}"
    assert seen == truth[: len(seen)], f"{where}: readers see wrong bytes"
    assert len(seen) in ends, f"{where}: readers see half an event"
    queue = Queue.open(path)
    with queue.appender() as appender:
        assert appender.next_index == len(seen), f"{where}: recovery changed what is committed"
        appender.append(Kind.STATUS, b"after", ts_recv=appender.last_ts_recv)
        appender.append(Kind.STATUS, b"", ts_recv=appender.last_ts_recv)
    after = contents(queue)
    assert after[:-2] == seen, f"{where}: the next writer damaged what was committed"
    assert [len(data) for data in after[-2:]] == [56, 48], f"{where}: the next writer's records are wrong"
    return len(seen)
