"""A full disk is a CapacityError with nothing lost, never a SIGBUS; when space is freed the queue goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.errors import CapacityError, ChronicleError
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_file import LOCK_BYTES
from tests.support.mounts import small_disk
from tests.support.queues import contents, event
from tests.support.tiers import book_home

SEGMENT = 256 * 1024
DISK = 2 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, DISK) as path:
        yield path


def leave(disk: Path, free_bytes: int) -> Path:
    """Fill the disk until `free_bytes` (of whole pages) are free; removing the returned file frees it."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            size = file.tell()
            file.truncate(max(size - free_bytes, 0))
    return ballast


def append_until_full(appender: Appender, size: int = 1_000, limit: int = 100_000) -> int:
    """Append until there is no room; return how many appends returned."""
    for number in range(limit):
        try:
            appender.append(Kind.WIRE, bytes([number % 256]) * size, ts_recv=number, sequence=number)
        except CapacityError as error:
            if error.path is None or error.exit_code != 7:
                raise AssertionError("the error does not say where") from error
            return number
    raise AssertionError("the disk never filled")


def assert_goes_on(queue: Queue, appender: Appender, committed: list[bytes]) -> None:
    """Append more, seal, reopen: everything is there once."""
    first = appender.next_index
    assert first == len(committed)
    for number in range(600):
        assert appender.append(Kind.WIRE, b"again" * 100, ts_recv=10**9 + number) == first + number
    appender.seal()
    appender.close()
    with queue.appender() as other:
        assert other.next_index == first + 600
    found = contents(queue)
    assert found[:first] == committed
    assert len(found) == first + 600


@pytest.mark.parametrize("free", range(0, 5 * 4096, 4096))
def test_creating_a_queue_on_a_full_disk(disk: Path, free: int) -> None:
    ballast = leave(disk, free)
    with pytest.raises(CapacityError), Queue.create(disk / "q.q", segment_bytes=SEGMENT).appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
    ballast.unlink()
    with Queue.create(disk / "q.q", segment_bytes=SEGMENT, exist_ok=True) as queue:
        assert_goes_on(queue, queue.appender(), [])


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("free", [0, 4096, 64 * 1024, SEGMENT, SEGMENT + 16 * 1024, 2 * SEGMENT])
def test_rolling_and_sealing_on_a_full_disk(disk: Path, free: int, adapts: bool) -> None:
    """The next segment (or step of one) finds no room, or it does and the sealed form of the last one does not."""
    growth = {"segment_growth": 2, "segment_adapts": True} if adapts else {}
    queue = Queue.create(disk / "q.q", segment_bytes=SEGMENT, **growth)  # type: ignore[arg-type]
    appender = queue.appender()
    appender.append(Kind.STATUS, ts_recv=0)
    ballast = leave(disk, free)
    returned = append_until_full(appender) + 1
    committed = contents(queue)
    assert len(committed) == returned
    assert append_until_full(appender) + returned == len(contents(queue))  # still full, still nothing lost
    committed = contents(queue)
    ballast.unlink()
    assert_goes_on(queue, appender, committed)


def test_sealing_on_a_full_disk_keeps_what_was_to_be_sealed(disk: Path) -> None:
    queue = Queue.create(disk / "q.q", segment_bytes=SEGMENT)
    appender = queue.appender()
    for number in range(200):
        appender.append_event(*event(number + 1, 4))
    committed = contents(queue)
    for free in (0, 4096, 8192, 48 * 1024):
        ballast = leave(disk, free)
        with pytest.raises(CapacityError):
            appender.seal()
        assert contents(queue) == committed
    ballast = leave(disk, SEGMENT + 32 * 1024)
    appender.append(Kind.STATUS, ts_recv=10**6)  # a segment of its own, never over the one that waits
    assert contents(queue)[:-1] == committed
    committed = contents(queue)
    ballast.unlink()
    assert_goes_on(queue, appender, committed)


@pytest.mark.parametrize("pages", range(1, 12))
def test_tail_mark_on_a_full_disk(disk: Path, pages: int) -> None:
    """Wherever between the seal and its tail mark space runs out, a second seal() finishes the work."""
    queue = Queue.create(disk / "q.q", segment_bytes=SEGMENT)
    appender = queue.appender()
    appender.append(Kind.WIRE, bytes(5000), ts_recv=1)
    ballast = leave(disk, pages * 4096)
    try:
        appender.seal()
    except CapacityError:
        ballast.unlink()
        appender.seal()
    mark = queue.tail_mark()
    assert (mark.next_number, mark.next_base_index, mark.last_ts_recv) == (1, 1, 1)
    ballast.unlink(missing_ok=True)
    assert_goes_on(queue, appender, contents(queue))


@pytest.mark.usefixtures("as_on_disk")
def test_the_synced_watermark_never_passes_a_segment_that_could_not_be_sealed(disk: Path) -> None:
    """Records of a rolled segment survive power by its seal; while that finds no space, sync() says so."""
    queue = Queue.create(disk / "q.q", segment_bytes=SEGMENT)
    appender = queue.appender()
    appender.append(Kind.STATUS, ts_recv=0)
    synced = appender.sync()
    ballast = leave(disk, SEGMENT + 16 * 1024)
    append_until_full(appender)
    for _ in range(2):
        with pytest.raises(CapacityError):
            appender.sync()
        assert queue.synced_index() == synced
    ballast.unlink()
    assert appender.sync() == queue.synced_index() == queue.end_index()
    appender.close()


def test_preparing_large_segments_on_a_full_disk(tmp_path: Path) -> None:
    """What the housekeeping thread cannot reserve ahead is no error; what a roll cannot have is."""
    with small_disk(tmp_path, 120 << 20) as disk:
        queue = Queue.create(disk / "q.q", segment_bytes=16 << 20)
        appender = queue.appender()
        body = bytes(64 * 1024)
        appender.append(Kind.WIRE, body, ts_recv=0)
        ballast = leave(disk, 20 << 20)
        count = append_until_full(appender, len(body)) + 1
        assert queue.end_index() == count
        ballast.unlink()
        for number in range(300):
            try:
                appender.append(Kind.WIRE, body, ts_recv=number)
            except CapacityError:  # what the thread met meanwhile is told once
                appender.append(Kind.WIRE, body, ts_recv=number)
        total = queue.end_index()
        assert total == count + 300
        appender.close()
        assert sum(1 for _ in queue.tailer().drain()) == total


def test_taking_the_lock_and_a_tailers_position_on_a_full_disk(disk: Path) -> None:
    queue = Queue.create(disk / "q.q", segment_bytes=SEGMENT)
    with queue.appender() as appender:
        for number in range(10):
            appender.append(Kind.STATUS, ts_recv=number)
    tailer = queue.tailer("strategy")
    tailer.next_event()
    tailer.commit()
    ballast = leave(disk, 0)
    with queue.appender() as appender:  # the open segment has room: no new space is needed
        assert appender.append(Kind.STATUS, ts_recv=10) == 10
    tailer.next_event()
    with pytest.raises(CapacityError):
        tailer.commit()
    tailer.close()
    with queue.tailer("strategy") as again:
        assert again.index == 1
    ballast.unlink()
    with queue.tailer("strategy") as again:
        again.next_event()
        again.commit()
    assert isinstance(queue.tailers()[0].index, int)
    assert issubclass(CapacityError, ChronicleError)


@pytest.mark.parametrize("is_there", [False, True], ids=["no manifest yet", "its lock file has holes"])
@pytest.mark.parametrize(
    "command", [["tier", "apply", "--all"], ["manifest", "rebuild"], ["tier", "status"], ["ls"]], ids=" ".join
)
def test_commands_about_tiers_on_a_full_disk(disk: Path, command: list[str], is_there: bool) -> None:
    home = disk / "home"
    book_home(home)
    if is_there:
        assert _chronicle("tier", "plan", "--home", str(home)).returncode == 0
        Manifest.open(home, create=True)
        lock = home / "manifest" / "lock.mdb"
        lock.write_bytes(b"")
        os.truncate(lock, LOCK_BYTES)
    ballast = leave(disk, 0)
    done = _chronicle(*command, "--home", str(home))
    reads = command[-1] in ("status", "ls") and not is_there
    assert done.returncode == (0 if reads else 7), done.stderr
    assert len(done.stderr.splitlines()) == (0 if reads else 1)
    ballast.unlink()
    assert _chronicle(*command, "--home", str(home)).returncode == 0
    assert _chronicle("verify", "--home", str(home)).returncode == 0


def _chronicle(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which a SIGBUS would kill."""
    return subprocess.run(
        [sys.executable, "-m", "chronicle", *arguments], capture_output=True, text=True, check=False
    )
