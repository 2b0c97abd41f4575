"""One writer and several reader processes at once, over rolls and seals: order, bytes, whole events, nothing lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.core import Queue
from tests.crash.process import SEGMENT_BYTES
from tests.support.survival import fast_folder

READERS = 3
TIMEOUT_S = 1_500


def run_together(folder: Path, records: int) -> None:
    path = folder / "q.q"
    Queue.create(path, segment_bytes=SEGMENT_BYTES)
    command = [sys.executable, "-m", "tests.crash.process"]
    readers = [
        subprocess.Popen(
            [*command, "read", str(path), *([f"reader{number}"] if number == 0 else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(READERS)
    ]
    try:
        writer = subprocess.run(
            [*command, "write", str(path), "7", str(records)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert writer.returncode == 0, writer.stderr
        queue = Queue.open(path)
        end = queue.end_index()
        for reader in readers:
            output, errors = reader.communicate(timeout=TIMEOUT_S)
            assert reader.returncode == 0, errors
            assert output == f"done {end}\n"
        with queue.tailer("reader0") as tailer:
            assert tailer.index == end
        print(f"{end} records in {len(queue.segments())} segments, read by {READERS} processes meanwhile")
        assert len(queue.segments()) > 10
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_readers_beside_a_writer_see_every_event_whole_and_in_order() -> None:
    with fast_folder() as folder:
        run_together(folder, 8_000)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_readers_beside_a_writer_of_a_million_records() -> None:
    with fast_folder() as folder:
        run_together(folder, 1_000_000)
