"""Read-only media and other people's folders: readers work without lock files, writers get a clear error."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.errors import ChronicleError, StoreError
from tests.support.mounts import read_only
from tests.support.queues import append_random, contents, small_queue
from tests.support.survival import fast_folder


@pytest.fixture(autouse=True)
def files_that_others_may_read() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def as_nobody(work: Callable[[], None]) -> None:
    """Run `work` in a child process of the user nobody; fail when it fails."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    account = pwd.getpwnam("nobody")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(600)
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "see the child's traceback on stderr"


def filled(folder: Path) -> Queue:
    queue = small_queue(folder)
    with queue.appender() as appender:
        append_random(appender, 1_500, seed=1)
    return queue


def read_everything(path: Path, truth: list[bytes]) -> None:
    """What a reader does: open, tail, seek, wait, ask for totals."""
    queue = Queue.open(path)
    assert contents(queue) == truth
    tailer = queue.tailer()
    tailer.seek_index(len(truth) // 2)
    assert tailer.next_event() is not None
    tailer.seek_time(0)
    tailer.seek_end()
    assert tailer.wait(1_000_000) is False
    assert queue.end_index() == len(truth)
    assert len(queue.segments()) > 1
    named = queue.tailer("reader")
    assert named.next_event() is not None


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.path is not None


def test_read_only_media_serve_readers_and_refuse_writers(tmp_path: Path) -> None:
    queue = filled(tmp_path)
    truth = contents(queue)
    before = sorted(path.name for path in queue.path.rglob("*"))
    with read_only(tmp_path, queue.path) as path:
        read_everything(path, truth)
        refused(lambda: Queue.open(path).appender())
        refused(lambda: Queue.open(path).tailer("reader").commit())
        refused(lambda: Queue.create(path / "inner.q"))
    assert sorted(path.name for path in queue.path.rglob("*")) == before, "a reader left files"


def test_another_user_reads_without_lock_files_and_cannot_write() -> None:
    with fast_folder() as folder:
        folder.chmod(0o755)
        queue = filled(folder)
        truth = contents(queue)

        def work() -> None:
            read_everything(queue.path, truth)
            refused(lambda: Queue.open(queue.path).appender())
            refused(lambda: Queue.create(folder / "mine.q"))

        as_nobody(work)
        with queue.appender() as appender:  # a reader of another user follows a live writer
            appender.append(Kind.STATUS, ts_recv=10**12)
            truth = contents(queue)
            as_nobody(lambda: read_everything(queue.path, truth))


@pytest.mark.parametrize("hidden", [".", "queue.json", "tail.json", "control", "segment"])
def test_what_may_not_be_read_is_a_clear_error(hidden: str) -> None:
    with fast_folder() as folder:
        folder.chmod(0o755)
        queue = filled(folder)
        with queue.appender() as appender:
            appender.seal()
        truth = contents(queue)
        name = "0000000001.seg" if hidden == "segment" else hidden
        (queue.path / name).chmod(0)

        def work() -> None:
            if hidden == "control":  # a hint only
                assert contents(Queue.open(queue.path)) == truth
                return
            with pytest.raises(ChronicleError):
                read_everything(queue.path, truth)

        as_nobody(work)
