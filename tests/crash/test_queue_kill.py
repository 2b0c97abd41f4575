"""kill -9 of a writer at random moments loses no committed record, doubles none, and needs no repair."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.core import Queue
from chronicle.core.layout import Flag

ROUNDS = 12
SOAK_ROUNDS = 400


def kill_cycles(folder: Path, rounds: int) -> None:
    rng = random.Random(20261121)
    path = folder / "q.q"
    promised = 0
    for round_ in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.writer", str(path), str(round_)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        wanted = rng.randrange(2, 400)
        lines = bytearray()
        while lines.count(b"\n") < wanted:
            ready, _, _ = select.select([process.stdout], [], [], 60)
            assert ready, process.stderr.read().decode()
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, process.stderr.read().decode()
            lines += chunk
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        done = (bytes(lines) + rest).split(b"\n")[:-1]
        promised = int(done[-1])
        queue = Queue.open(path)
        with queue.appender() as appender:  # the next writer, no repair
            assert appender.next_index >= promised, f"round {round_}: a committed record was lost"
            committed = appender.next_index
        records = list(queue.tailer().drain())
        assert [r.index for r in records] == list(range(committed))
        assert not records or records[-1].flags & Flag.LAST
        starts = [r for r, before in zip(records, [None, *records], strict=False) if before is None or before.is_last]
        assert all(r.ts_recv == r.index for r in starts), "an event was doubled or lost"


def test_killed_writer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_cycles(tmp_path, ROUNDS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_writer_loses_and_doubles_nothing_for_long(tmp_path: Path) -> None:
    kill_cycles(tmp_path, SOAK_ROUNDS)
