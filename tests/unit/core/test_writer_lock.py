"""The writer lock makes a writer single, dies with it, and keeps no descriptor where a map keeps the lock."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue, writer_lock
from chronicle.core.clock import FakeClock
from chronicle.core.errors import QueueLockedError
from chronicle.core.writer_lock import WriterLock, lock_exclusively, lock_holder, maps_keep_locks
from tests.support.held import descriptors_of
from tests.support.queues import small_queue

MANY = """
import resource, sys
from chronicle.core import Kind, Queue
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
held = [Queue.create(f"{sys.argv[1]}/q{number}.q", segment_bytes=65536).appender() for number in range(100)]
for appender in held:
    appender.append(Kind.STATUS, ts_recv=1)
print(sum(appender.keeps_descriptor for appender in held), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["map", "descriptor"])
def held_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Both ways to keep the lock."""
    if request.param == "descriptor":
        monkeypatch.setattr(writer_lock, "maps_keep_locks", lambda folder: False)
    elif not maps_keep_locks(tmp_path):
        pytest.skip("the file system of the tests gives a lock up with its descriptor")
    return str(request.param)


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path, held_by: str) -> None:
    lock = WriterLock.acquire(tmp_path, started_ns=5)
    assert lock.keeps_descriptor == (held_by == "descriptor")
    assert len(descriptors_of(tmp_path)) == int(lock.keeps_descriptor)
    with pytest.raises(QueueLockedError) as refused:
        WriterLock.acquire(tmp_path, started_ns=6)
    assert refused.value.found == {"pid": os.getpid(), "host": os.uname().nodename, "started_ns": 5}
    lock.release()
    assert lock_holder(tmp_path) is None
    assert (tmp_path / "lock").read_bytes() == b"", "a clean end empties the text"
    WriterLock.acquire(tmp_path, started_ns=7).release()


class Asker(FakeClock):
    """Somebody who asks for the holder and stands still with the shared lock, for so long by this clock."""

    def __init__(self, path: Path, stands_ns: int) -> None:
        super().__init__()
        self._descriptor, self._stands_ns = os.open(path, os.O_RDONLY), stands_ns
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def sleep_ns(self, duration_ns: int) -> None:
        super().sleep_ns(duration_ns)
        if self._descriptor and self.steady_ns >= self._stands_ns:
            os.close(self._descriptor)
            self._descriptor = 0


@pytest.mark.parametrize(("stands_ns", "is_free"), [(15 * 10**9, True), (25 * 10**9, False)])
def test_who_asks_for_the_holder_and_stands_still_is_waited_for(
    tmp_path: Path, stands_ns: int, is_free: bool
) -> None:
    (tmp_path / "lock").write_bytes(b"")
    with open(tmp_path / "lock", "rb") as file:
        asker = Asker(tmp_path / "lock", stands_ns)
        assert lock_exclusively(file.fileno(), tmp_path / "lock", clock=asker) is is_free
        assert asker.steady_ns == pytest.approx(min(stands_ns, 20 * 10**9), abs=10**7)
        asker.sleep_ns(stands_ns)


def test_a_lock_that_was_released_twice_is_released_once(tmp_path: Path, held_by: str) -> None:
    lock = WriterLock.acquire(tmp_path, started_ns=1)
    lock.release()
    again = WriterLock.acquire(tmp_path, started_ns=2)
    lock.release()
    assert lock_holder(tmp_path) is not None
    again.release()


def test_a_forgotten_appender_gives_its_queue_up(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    appender = queue.appender()
    appender.append(Kind.STATUS, ts_recv=1)
    assert queue.writer() is not None
    del appender
    gc.collect()
    assert queue.writer() is None
    with queue.appender() as successor:
        assert successor.next_index == 1


def test_a_process_writes_more_queues_than_it_may_have_descriptors(tmp_path: Path) -> None:
    if not maps_keep_locks(tmp_path):
        pytest.skip("the file system of the tests gives a lock up with its descriptor")
    with subprocess.Popen(
        [sys.executable, "-c", MANY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "0"
        queue = Queue.open(tmp_path / "q99.q")
        with pytest.raises(QueueLockedError):
            queue.appender()
        process.send_signal(signal.SIGKILL)
        process.wait()
    for number in range(100):
        with Queue.open(tmp_path / f"q{number}.q").appender() as appender:
            assert appender.next_index == 1


def test_a_file_system_that_cannot_be_tried_keeps_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "_KEEPS_LOCKS", {})
    monkeypatch.setattr(writer_lock, "hold_file", lambda descriptor: None)  # the process has all its maps
    assert not maps_keep_locks(tmp_path)
    assert not maps_keep_locks(tmp_path / "not" / "there")
    lock = WriterLock.acquire(tmp_path, started_ns=1)
    assert lock.keeps_descriptor
    with pytest.raises(QueueLockedError):
        WriterLock.acquire(tmp_path, started_ns=2)
    lock.release()


def test_one_who_asks_and_is_stopped_while_asking_is_no_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = small_queue(tmp_path)
    queue.appender().close()
    with open(queue.path / "lock", "rb") as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)

        class Stopped(FakeClock):
            """Lets the one who asks go on after ten seconds."""

            def sleep_ns(self, duration_ns: int) -> None:
                super().sleep_ns(duration_ns)
                if self.steady_ns >= 10**10:
                    fcntl.flock(asker, fcntl.LOCK_UN)

        clock = Stopped()
        monkeypatch.setattr(writer_lock, "SystemClock", lambda: clock)
        queue.appender().close()
        assert clock.steady_ns == 10**10
