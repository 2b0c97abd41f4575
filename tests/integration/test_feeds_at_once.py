"""Feeds that start at the same moment: each gets a lane of its own, and every capture is taken in whole, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.core.clock import FakeClock, SystemClock
from chronicle.core.errors import QueueLockedError
from chronicle.core.local import LocalSource
from chronicle.core.paths import lane_of
from chronicle.core.queue import Queue
from chronicle.feed.lanes import deciding, prepare_home
from chronicle.feed.ledger import DONE, Ledger
from tests.integration.test_feed_replay import write_capture

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS, AT_ONCE, LINES = 3, 6, 1000
"""A hundred lines are a second: all captures overlap, and none fits behind another in a lane, in whatever order."""

REPLAY = """
import sys
from chronicle.feed.replay import replay_capture
print("ready", flush=True)
sys.stdin.readline()
replay_capture(sys.argv[1], [sys.argv[2]], format="cryptofeed", segment_bytes=65536)
"""
LIVE = """
import sys
from pathlib import Path
from chronicle.core.clock import SystemClock
from chronicle.core.layout import Kind
from chronicle.feed.lanes import choose_lane, deciding, open_lane
home, name = Path(sys.argv[1]), sys.argv[2]
with open_lane(home, 0, name=name, segment_bytes=65536).wire.appender() as main:
    main.append(Kind.STATUS, b"from a clock that was ahead", ts_recv=10**18)
print("ready", flush=True)
sys.stdin.readline()
with deciding(home, SystemClock()):
    open_lane(home, choose_lane(home, 1, name=name), name=name, segment_bytes=65536)
"""


def at_once(script: str, arguments: list[list[str]]) -> None:
    """Run a process for each list of arguments; all of them go on together once they are loaded."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *each], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for each in arguments
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=600)
    assert [process.returncode for process in started] == [0] * len(started)


@pytest.mark.parametrize("_", range(ROUNDS))
def test_replays_that_start_together_are_all_taken_in(tmp_path: Path, _: int) -> None:
    home = tmp_path / "home"
    captures = [
        write_capture(tmp_path / f"KRAKEN.ws.{number}.0", 1_600_000_000 - number, LINES) for number in range(AT_ONCE)
    ]
    at_once(REPLAY, [[str(home), str(path)] for path in captures])
    entries = Ledger(home).entries()
    assert sorted(entry.files[0][0] for entry in entries) == sorted(path.name for path in captures)
    assert {entry.state for entry in entries} == {DONE}
    assert len({entry.lane for entry in entries}) == AT_ONCE
    queues = LocalSource(home).queues("wire/")
    ends = {lane_of(queue): Queue.open(home / queue).end_index() for queue in queues}
    assert ends == {entry.lane: entry.frames for entry in entries}


@pytest.mark.parametrize("_", range(ROUNDS))
def test_feeds_that_need_another_lane_at_once_get_numbers_of_their_own(tmp_path: Path, _: int) -> None:
    prepare_home(tmp_path)
    at_once(LIVE, [[str(tmp_path), f"feed{number}"] for number in range(AT_ONCE)])
    numbers = [lane_of(queue) for queue in LocalSource(tmp_path).queues("raw/") if lane_of(queue)]
    assert sorted(numbers) == list(range(1, AT_ONCE + 1))


def test_a_feed_that_never_comes_to_the_end_of_its_start_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    with deciding(tmp_path, SystemClock()), pytest.raises(QueueLockedError, match="is starting"):  # noqa: SIM117
        with deciding(tmp_path, FakeClock(1)):
            pytest.fail("two decide at once")
    with deciding(tmp_path, FakeClock(1)):
        pass  # it was let go of
