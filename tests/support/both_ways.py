"""A raw stream through the pipeline both ways: by the long way in memory, and by the sweep into queues."""

from __future__ import annotations

import tempfile
from pathlib import Path

from chronicle.core.local import LocalSource
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.config import EtlConfig
from chronicle.etl.pipeline.pipeline import Pipeline
from tests.support.etl_streams import MemorySink, RawStream, pipeline, queue_records

__all__ = ["both_ways", "swept"]


def swept(
    stream: RawStream, config: EtlConfig | None = None, *, at_once: int = 1
) -> tuple[dict[str, bytes], Pipeline]:
    """Return the clean records by queue, as the sweep makes them of windows of `at_once` events; and the pipeline."""
    with tempfile.TemporaryDirectory() as folder, QueueSink(Path(folder)) as sink:
        machine = pipeline(sink, config)
        for first in range(0, len(stream.events), at_once):
            machine.feed(stream.memory(first, first + at_once), stream.events[first][0])
            machine.flush()
        machine.settle()
        queues = LocalSource(Path(folder)).queues("clean/")
        found = {queue: b"".join(bytes(r.data) for r in queue_records(Path(folder), queue)) for queue in queues}
    return found, machine


def both_ways(stream: RawStream, config: EtlConfig | None = None) -> MemorySink:
    """Return what the long way makes of the stream as one window; the sweep must make the same of single events."""
    sink = MemorySink()
    machine = pipeline(sink, config)
    machine.feed(stream.memory(), 0)
    machine.flush()
    found, other = swept(stream, config)
    assert found == sink.bytes(), "the sweep writes otherwise than the long way"
    assert [book.counts for _, book in machine.books()] == [book.counts for _, book in other.books()]
    return sink
