"""Homes and their memory folders: made, found again, put back after a reboot, cleaned when the home is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil

import pytest

from chronicle.config import home as home_module
from chronicle.config import leftovers
from chronicle.config.home import prepare_home
from chronicle.config.leftovers import find_memory, remove_memory
from chronicle.core.errors import CapacityError, QueueLockedError, StateError


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


def test_raw_is_a_link_into_shared_memory(tmp_path, shared):
    said = []
    state = prepare_home(tmp_path / "a", {"CHRONICLE_RAW_SEGMENT_BYTES": "64KiB"}, said.append, shared=shared)
    assert state.created
    assert state.in_memory
    assert (tmp_path / "a" / "raw").resolve() == shared / f"chronicle-{state.id}" / "raw"
    again = prepare_home(tmp_path / "a", {}, said.append, shared=shared)
    assert (again.id, again.created, again.restored, said) == (state.id, False, False, [])


def test_memory_in_the_making_is_never_taken_for_left_over(tmp_path, shared, monkeypatch):
    states = []
    publish = home_module.publish_bytes

    def published(path, data):
        states.extend(item.state for item in find_memory(shared))
        publish(path, data)
        states.extend(item.state for item in find_memory(shared))

    monkeypatch.setattr(home_module, "publish_bytes", published)
    prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    assert states == ["foreign", "used", "used", "used"]


def test_memory_that_cannot_be_made_leaves_no_link(tmp_path, shared, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "no space left", str(path))

    publish = home_module.publish_bytes
    monkeypatch.setattr(home_module, "publish_bytes", full)
    with pytest.raises(CapacityError):
        prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    monkeypatch.setattr(home_module, "publish_bytes", publish)
    assert not (tmp_path / "a" / "raw").is_symlink()
    said = []
    assert prepare_home(tmp_path / "a", {}, said.append, shared=shared, memory="shm").in_memory
    assert said == []


def test_memory_that_another_removes_too_is_gone(tmp_path, shared, monkeypatch):
    state = prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    folder = shared / f"chronicle-{state.id}"
    (folder / "raw" / "main.q").mkdir()
    remove, looked = shutil.rmtree, []

    def interfered(path):
        looked.append(path)
        if len(looked) < 3:
            remove(folder / "raw", ignore_errors=True)
            raise FileNotFoundError(str(path))
        remove(path)

    monkeypatch.setattr(leftovers.shutil, "rmtree", interfered)
    remove_memory(folder)
    assert not folder.exists()
    assert len(looked) == 3
    remove(shared)
    assert find_memory(shared) == []
    assert leftovers.folder_bytes(folder) == 0
    assert leftovers.locked_queues(folder) == []


def test_a_reboot_empties_the_memory_and_is_said_aloud(tmp_path, shared):
    said = []
    state = prepare_home(tmp_path / "a", {}, said.append, shared=shared, memory="shm")
    shutil.rmtree(shared / f"chronicle-{state.id}")
    again = prepare_home(tmp_path / "a", {}, said.append, shared=shared)
    assert again.restored
    assert (tmp_path / "a" / "raw").is_dir()
    assert "reboot" in said[0]


def test_a_lost_raw_memory_that_the_etl_used_is_refused(tmp_path, shared):
    home = tmp_path / "a"
    state = prepare_home(home, {}, print, shared=shared, memory="shm")
    (home / "clean" / "kraken" / "btc_eur" / "book.q").mkdir(parents=True)
    shutil.rmtree(shared / f"chronicle-{state.id}")
    for _ in range(2):
        with pytest.raises(StateError, match="capture into a new one"):
            prepare_home(home, {}, print, shared=shared)


def test_the_memory_follows_a_home_that_moved(tmp_path, shared):
    prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    (tmp_path / "a").rename(tmp_path / "b")
    assert find_memory(shared)[0].state == "gone"
    prepare_home(tmp_path / "b", {}, print, shared=shared)
    assert find_memory(shared)[0].state == "used"


def test_without_room_the_raw_queue_stays_on_disk_or_is_refused(tmp_path, shared):
    said = []
    environ = {"CHRONICLE_RAW_SEGMENT_BYTES": "16 GiB"}
    missing = shared / "absent"
    state = prepare_home(tmp_path / "a", environ, said.append, shared=missing)
    assert not state.in_memory
    assert "stays on the home's disk" in said[0]
    with pytest.raises(CapacityError, match="no room"):
        prepare_home(tmp_path / "b", environ, said.append, shared=missing, memory="shm")


def test_a_file_in_the_way(tmp_path, shared):
    (tmp_path / "a").write_text("x")
    with pytest.raises(StateError):
        prepare_home(tmp_path / "a", {}, print, shared=shared)


def test_leftovers_are_judged(tmp_path, shared):
    used = prepare_home(tmp_path / "used", {}, print, shared=shared, memory="shm")
    gone = prepare_home(tmp_path / "gone", {}, print, shared=shared, memory="shm")
    shutil.rmtree(tmp_path / "gone")
    (shared / "chronicle-unmarked").mkdir()
    (shared / "chronicle-link").symlink_to(tmp_path)
    (shared / "other").mkdir()
    states = {item.folder.name: item.state for item in find_memory(shared)}
    assert states == {
        f"chronicle-{used.id}": "used",
        f"chronicle-{gone.id}": "gone",
        "chronicle-unmarked": "foreign",
    }
    remove_memory(shared / f"chronicle-{gone.id}")
    assert not (shared / f"chronicle-{gone.id}").exists()


def test_a_live_writers_memory_is_never_removed(tmp_path, shared):
    state = prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    folder = shared / f"chronicle-{state.id}"
    (folder / "raw" / "main.q").mkdir()
    shutil.rmtree(tmp_path / "a")
    descriptor = os.open(folder / "raw" / "main.q" / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert find_memory(shared)[0].state == "locked"
        with pytest.raises(QueueLockedError):
            remove_memory(folder)
    finally:
        os.close(descriptor)
    assert find_memory(shared)[0].state == "gone"


def test_looking_for_writers_is_no_writing(tmp_path, shared, monkeypatch):
    state = prepare_home(tmp_path / "a", {}, print, shared=shared, memory="shm")
    queue = shared / f"chronicle-{state.id}" / "raw" / "main.q"
    queue.mkdir()
    lock = queue / "lock"
    lock.touch()
    flock, shared_too = fcntl.flock, []

    def observed(descriptor, how):
        flock(descriptor, how)
        with open(lock, "rb") as other:  # as a writer that starts now tells an owner from one who looks
            flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            shared_too.append(how)

    monkeypatch.setattr(fcntl, "flock", observed)
    assert leftovers.locked_queues(queue.parent) == []
    assert len(shared_too) == 1


@pytest.mark.parametrize("marker", [b"", b"[]", b'{"home": 3}', b'{"home": "relative"}', b"\xff" * 100])
def test_a_hostile_marker_is_foreign(shared, marker):
    (shared / "chronicle-x").mkdir()
    (shared / "chronicle-x" / "home.json").write_bytes(marker)
    assert find_memory(shared)[0].state == "foreign"
