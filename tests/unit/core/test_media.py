"""A queue in memory claims nothing about power."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.core import Kind, Queue
from chronicle.core.durability import Durability
from chronicle.core.errors import ConfigError, StateError
from chronicle.core.media import is_memory
from tests.support.mounts import small_disk
from tests.support.queues import small_queue


def test_a_tmpfs_is_memory_and_proc_is_not(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 20) as disk:
        assert is_memory(disk)
        assert is_memory(disk / "not" / "yet" / "there.q")
    assert not is_memory(Path("/proc/self"))


def test_a_place_that_nothing_can_be_said_of_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert is_memory(tmp_path / "file" / "below.q") == is_memory(tmp_path)
    assert not is_memory(tmp_path / ("n" * 300) / "q.q"), "a name that the file system refuses"


def test_the_root_stands_on_what_the_mount_table_says() -> None:
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    fields = [line.split(" ") for line in table]
    for place, kind in [(line[4], line[line.index("-") + 1]) for line in fields if line[4] in ("/", "/dev/shm")]:
        last = [line for line in fields if line[4] == place][-1]  # what is mounted over it counts
        if kind == last[last.index("-") + 1]:
            assert is_memory(Path(place)) == (kind in {"tmpfs", "ramfs"})


def test_buffered_in_memory_never_claims_to_be_synced(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 20) as disk:
        queue = small_queue(disk)
        with queue.appender() as appender:
            appender.append(Kind.STATUS, ts_recv=1)
            assert appender.sync() == 0
            appender.seal()
            assert appender.sync() == 0
        assert queue.watermarks().to_dict() == {"committed": 1, "synced": 0, "tiered": 0}
        with pytest.raises(StateError, match="in memory"):
            queue.wait_synced(1)


def test_fsync_in_memory_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 20) as disk:
        with pytest.raises(ConfigError, match="no power cut spares"):
            Queue.create(disk / "q.q", durability="fsync")
        assert list(disk.iterdir()) == []


def test_an_fsync_queue_carried_into_memory_can_be_read_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = small_queue(tmp_path, durability="fsync")
    with queue.appender() as appender:
        appender.append(Kind.STATUS, ts_recv=1)
    assert queue.synced_index() == 1
    with small_disk(tmp_path, 1 << 20) as disk:
        queue.path.rename(tmp_path / "carried.q")
        (disk / "q.q").mkdir()
        for file in (tmp_path / "carried.q").iterdir():
            if file.is_file():
                (disk / "q.q" / file.name).write_bytes(file.read_bytes())
        carried = Queue.open(disk / "q.q")
        assert [record.ts_recv for record in carried.tailer().drain()] == [1]
        assert carried.watermarks().synced == 0
        with pytest.raises(ConfigError, match="no power cut spares"):
            carried.appender()
        assert carried.writer() is None, "the lock was given back"
    assert Durability.of(queue.settings).can_sync
