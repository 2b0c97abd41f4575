"""A queue in memory claims nothing about power."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.core import Kind, Queue, media
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


@pytest.mark.parametrize(
    "table",
    ["", "\n\n", "22 1 0:0 / / rw", "a b c d e f g h i j k", "\x00" * 100, "1 2 {device} / / rw - "],
)
def test_a_mount_table_that_says_nothing_means_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(media, "MOUNT_TABLE", tmp_path / "mountinfo")
    assert not is_memory(tmp_path)
    (tmp_path / "mountinfo").write_text(table)
    assert not is_memory(tmp_path)


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
