"""A tail across a moving tier: other processes write, roll and move; each event comes once, in order, with no hole.

The writer rolls a segment at each step (a second apart in `make soak`, at once otherwise), the agent moves what is
sealed to the warm tier as fast as it can, and the tail that began in the archive never ends in between.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import chronicle

SYMBOL = "kraken:BTC-EUR"
START = 1_700_000_000_000_000_000
EVENTS = 400
"""Each roll's."""

WRITER = """
import sys, time
from pathlib import Path
from tests.support.home_builder import CleanQueue
home, first, rolls, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
for roll in range(first, first + rolls):
    clean = CleanQueue(home, "{symbol}")
    for step in range(roll * {events}, (roll + 1) * {events}):
        clean.deltas({start} + step, ("bid", 100 + step % 7, step % 5))
    clean.close(seal=True)
    print(roll, flush=True)
    time.sleep(pause)  # the load's own pace
"""
AGENT = """
import sys
from pathlib import Path
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
home = Path(sys.argv[1])
while True:
    run_once(home, default_policy(home), everything=True)
    print("moved", flush=True)
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    text = code.format(symbol=SYMBOL, events=EVENTS, start=START) if code is WRITER else code
    command = [sys.executable, "-c", text, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("rolls", "pause"), [(12, 0.0), pytest.param(180, 1.0, marks=(pytest.mark.soak, pytest.mark.timeout(600)))]
)
def test_every_event_once_and_in_order(tmp_path: Path, rolls: int, pause: float) -> None:
    with child(WRITER, tmp_path, 0, 2, 0) as history:
        assert history.wait() == 0, history.stderr.read()  # what the tail begins with
    wanted = EVENTS * (2 + rolls)
    seen, places = 0, set()
    with child(AGENT, tmp_path) as agent:
        assert agent.stdout.readline() == "moved\n"  # the history is in the archive
        with child(WRITER, tmp_path, 2, rolls, pause) as writer, chronicle.open(tmp_path) as store:
            for event in store.tail(SYMBOL, START, timeout_ns=800 * 10**9):
                assert event.ts_recv == START + seen
                assert event.records[0].index == seen
                seen += 1
                if seen % (EVENTS * 3) == 0:
                    places |= {segment.place for segment in store.coverage(SYMBOL, "book").segments}
                if seen == wanted:
                    break
            assert writer.wait() == 0, writer.stderr.read()
        assert agent.poll() is None, agent.stderr.read()
    assert seen == wanted
    assert "warm" in places
    with chronicle.open(tmp_path) as store:
        index = store.scan(SYMBOL, "book", columns=["index"]).to_numpy()["index"]
    assert index.tolist() == list(range(wanted))
