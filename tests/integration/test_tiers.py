"""Tiers from end to end: plan, apply, read through, one agent, full disks, moving under a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.core import Queue
from chronicle.core.clock import FakeClock
from chronicle.core.cursor import Cursor
from chronicle.core.errors import CapacityError, CorruptionError, NotFoundError, QueueLockedError, StateError
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import Method
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.source import ArchiveSource, TieredSource, open_source
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import agent_lock, apply_plan, make_plan, run_once
from chronicle.storage.tiers.policy import default_policy
from chronicle.storage.tiers.status import tier_status
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import (
    BOOK,
    RAW,
    apply_all,
    book_events,
    book_home,
    fill,
    progress,
    sealed_images,
    source_records,
    three_tiers,
)

NOW = 4_000_000_000 * 10**9
HOUR = 3600 * 10**9


def cursor_records(home: Path) -> list[bytes]:
    cursor, found = Cursor(open_source(home), BOOK), []
    while (window := cursor.next_window()) is not None:
        found.extend(bytes(record.data) for record in window.records())
    return found


def test_open_sealed_and_archived_segments_read_as_one_queue(tmp_path: Path) -> None:
    fill(tmp_path, BOOK, book_events(350), per_segment=100, seal=False)
    before = cursor_records(tmp_path)
    policy = three_tiers(tmp_path)
    apply_all(tmp_path, policy)
    assert [info.place for info in TieredSource(tmp_path).segments(BOOK)] == ["warm"] * 3 + ["hot"]
    assert cursor_records(tmp_path) == before
    apply_all(tmp_path, policy)
    assert [info.place for info in TieredSource(tmp_path).segments(BOOK)] == ["cold"] * 3 + ["hot"]
    assert cursor_records(tmp_path) == before
    assert verify(tmp_path, deep=True).ok
    assert verify(tmp_path / "cold", deep=True).ok


@pytest.mark.parametrize("source", ["zstd", "none"])
def test_a_cold_tier_holds_compacted_segments_of_any_source(tmp_path: Path, source: str) -> None:
    book_home(tmp_path, per_segment=400, sizes=50)
    before, images = cursor_records(tmp_path), sealed_images(tmp_path)
    policy = three_tiers(tmp_path, warm=source, cold="compacted")
    apply_all(tmp_path, policy)
    apply_all(tmp_path, policy)
    entries = Manifest.open(tmp_path).entries(BOOK)  # type: ignore[union-attr]
    assert {(entry.place, entry.encoding) for entry in entries} == {("cold", "compacted")}
    assert cursor_records(tmp_path) == before
    for entry in entries:
        with ArchivedSegment(LocalStore(tmp_path / "cold"), entry.object) as segment:
            assert any(block.method == Method.TABLED for block in segment.footer.blocks)
            assert bytes(segment.view(0, segment.footer.file_bytes)) == images[entry.number]
    assert verify(tmp_path, deep=True).ok
    assert verify(tmp_path / "cold", deep=True).ok
    rebuild_manifest(tmp_path, policy)
    assert {entry.encoding for entry in Manifest.open(tmp_path).entries(BOOK)} == {"compacted"}  # type: ignore[union-attr]


def test_the_writer_continues_after_every_segment_moved_away(tmp_path: Path) -> None:
    events = book_events(250)
    queue = fill(tmp_path, BOOK, events[:200], per_segment=100)
    end, last = queue.end_index(), queue.last_ts_recv()
    apply_all(tmp_path)
    assert sealed_images(tmp_path) == {}
    with queue.appender() as appender:
        assert (appender.next_index, appender.last_ts_recv) == (end, last)
        for data, count in events[200:]:
            appender.append_event(data, count)
        appender.seal()
    infos = TieredSource(tmp_path).segments(BOOK)
    assert [(info.number, info.place) for info in infos] == [(0, "warm"), (1, "warm"), (2, "hot")]
    assert verify(tmp_path, deep=True).ok
    apply_all(tmp_path)
    expected = Queue.create(tmp_path / "other.q")
    with expected.appender() as appender:
        for data, count in events:
            appender.append_event(data, count)
    assert cursor_records(tmp_path) == [bytes(record.data) for record in expected.tailer().drain()]


@pytest.mark.parametrize("warm", ["zstd", "none"])
def test_archived_segments_decode_to_the_sealed_files(tmp_path: Path, warm: str) -> None:
    book_home(tmp_path, 3)
    images = sealed_images(tmp_path)
    apply_all(tmp_path, three_tiers(tmp_path, warm=warm))
    assert sealed_images(tmp_path) == {}
    source = TieredSource(tmp_path)
    for number, image in images.items():
        view = source.open(BOOK, number)
        assert isinstance(view, ArchivedSegment) == (warm == "zstd")
        assert bytes(view.view(0, len(image))) == image


def test_age_counts_from_when_the_segment_was_first_seen(tmp_path: Path) -> None:
    import os

    book_home(tmp_path, 1)
    path = next((tmp_path / BOOK).glob("*.seg"))
    os.utime(path, ns=(NOW, NOW))
    policy, clock = default_policy(tmp_path), FakeClock(NOW)
    assert run_once(tmp_path, policy, clock=clock).moved == []
    os.utime(path, ns=(NOW + 5 * HOUR, NOW + 5 * HOUR))  # a touched file does not become young again
    clock.sleep_ns(2 * HOUR)
    assert len(run_once(tmp_path, policy, clock=clock).moved) == 1


def test_sources_are_deleted_after_the_grace_period(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    policy, clock = three_tiers(tmp_path, grace_ns=HOUR), FakeClock(NOW)
    report = apply_all(tmp_path, policy, clock=clock)
    assert (report.deleted, report.retired_pending) == (0, 2)
    assert len(sealed_images(tmp_path)) == 2
    assert verify(tmp_path).ok
    assert tier_status(tmp_path, policy).retired_copies == 2
    nothing, _ = make_plan(tmp_path, policy, prefix="none")
    clock.sleep_ns(HOUR)
    assert apply_plan(tmp_path, nothing, policy, clock=clock).deleted == 2
    assert sealed_images(tmp_path) == {}


def test_raw_stays_until_every_shard_is_past_it(tmp_path: Path) -> None:
    queue = fill(tmp_path, RAW, book_events(200), per_segment=100)
    policy = default_policy(tmp_path)
    second = queue.segments()[1].base_index
    plan, _ = make_plan(tmp_path, policy, everything=True)
    assert len(plan.moves) == 0
    assert "no ETL shard" in plan.held[0].reason
    progress(tmp_path, second)
    plan, _ = make_plan(tmp_path, policy, everything=True)
    assert [move.segment.number for move in plan.moves] == [0]
    assert "shard main is at record" in plan.held[0].reason
    progress(tmp_path, queue.end_index())
    progress(tmp_path, 0, shard="late")
    assert make_plan(tmp_path, policy, everything=True)[0].moves == ()
    progress(tmp_path, queue.end_index(), shard="late")
    assert len(apply_all(tmp_path).moved) == 2


def test_one_agent_per_home(tmp_path: Path) -> None:
    book_home(tmp_path, 1)
    with agent_lock(tmp_path, now_ns=5), pytest.raises(QueueLockedError) as raised:
        apply_all(tmp_path)
    assert '"pid"' in str(raised.value.found)
    assert len(apply_all(tmp_path).moved) == 1


def test_a_full_target_pauses_the_tier_and_loses_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    book_home(tmp_path, 3)
    truth, images = source_records(TieredSource(tmp_path)), sealed_images(tmp_path)
    blocked = tmp_path / "archive" / BOOK / ".tmp-0000000001.czst"
    blocked.parent.mkdir(parents=True)
    blocked.symlink_to("/dev/full")
    report = apply_all(tmp_path)
    assert isinstance(report.paused["warm"], CapacityError)
    assert [entry.number for entry in report.moved] == [0]
    assert sealed_images(tmp_path) == {1: images[1], 2: images[2]}
    with pytest.raises(CapacityError):
        report.raise_for_failures()
    assert source_records(TieredSource(tmp_path)) == truth
    assert len(apply_all(tmp_path).moved) == 2
    assert verify(tmp_path, deep=True).ok


def test_a_damaged_source_does_not_move_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    book_home(tmp_path, 3)
    path = tmp_path / BOOK / "0000000001.seg"
    data = bytearray(path.read_bytes())
    data[-9000] ^= 1
    path.write_bytes(data)
    report = apply_all(tmp_path)
    assert [entry.number for entry in report.moved] == [0, 2]
    assert isinstance(report.failures[0].error, CorruptionError)
    assert path.read_bytes() == data
    assert [finding.number for finding in verify(tmp_path).findings if finding.kind == "interrupted"] == []


def test_another_segment_under_the_target_name_is_never_overwritten(tmp_path: Path) -> None:
    book_home(tmp_path / "one", 1)
    apply_all(tmp_path / "one")
    book_home(tmp_path / "two", 1)
    (tmp_path / "one" / "archive").rename(tmp_path / "two" / "archive")
    kept = next((tmp_path / "two" / "archive").rglob("*.czst")).read_bytes()
    (tmp_path / "two" / "archive" / "chronicle-catalog.msgpack.zst").unlink()
    report = apply_all(tmp_path / "two")
    assert isinstance(report.failures[0].error, StateError)
    assert next((tmp_path / "two" / "archive").rglob("*.czst")).read_bytes() == kept
    assert len(sealed_images(tmp_path / "two")) == 1


def test_the_root_of_another_home_is_refused_before_anything_moves(tmp_path: Path) -> None:
    book_home(tmp_path / "one", 1)
    apply_all(tmp_path / "one")
    book_home(tmp_path / "two", 1)
    policy = default_policy(tmp_path / "one")
    with pytest.raises(StateError, match="another home"):
        apply_all(tmp_path / "two", policy)
    assert len(sealed_images(tmp_path / "two")) == 1
    assert verify(tmp_path / "one").ok


def test_a_queue_made_again_hides_the_former_one(tmp_path: Path) -> None:
    import shutil

    book_home(tmp_path, 2)
    apply_all(tmp_path)
    shutil.rmtree(tmp_path / "clean")
    fill(tmp_path, BOOK, book_events(30, seed=9))
    assert [(info.number, info.place) for info in TieredSource(tmp_path).segments(BOOK)] == [(0, "hot")]


def test_a_reader_keeps_its_place_while_everything_moves(tmp_path: Path) -> None:
    book_home(tmp_path, 4)
    expected = cursor_records(tmp_path)
    policy = three_tiers(tmp_path)
    cursor, found, hops = Cursor(TieredSource(tmp_path), BOOK), [], 0
    while (window := cursor.next_window(max_bytes=4096)) is not None:
        found.extend(bytes(record.data) for record in window.records())
        if len(found) % 3 == 0 and hops < 2:
            apply_all(tmp_path, policy)
            hops += 1
    assert hops == 2
    assert found == expected


def test_open_looks_again_when_a_segment_moves_under_it(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    policy = three_tiers(tmp_path)
    apply_all(tmp_path, policy)
    source = TieredSource(tmp_path)
    stale = source.segments(BOOK)
    apply_all(tmp_path, policy)
    assert {info.place for info in stale} == {"warm"}
    assert source.open(BOOK, 1).info.place == "cold"
    with pytest.raises(NotFoundError):
        source.open(BOOK, 7)


def test_a_listing_passes_over_a_segment_that_just_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book_home(tmp_path, 3)
    queue = Queue.open(tmp_path / BOOK, name=BOOK)
    listed = queue.segment_files()
    apply_all(tmp_path)
    monkeypatch.setattr(Queue, "segment_files", lambda _: listed)
    assert queue.segments() == []
    assert [info.place for info in TieredSource(tmp_path).segments(BOOK)] == ["warm"] * 3


def test_a_reader_sees_each_record_once_while_another_process_moves_all(tmp_path: Path) -> None:
    home = tmp_path / "home"
    book_home(home, 25, per_segment=30)
    expected = cursor_records(home)
    for _ in ("to warm", "to cold"):
        arguments = [sys.executable, "-m", "tests.crash.tier_agent", str(home), "zstd", "zstd", "never", "1"]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as agent:
            try:
                while agent.poll() is None:
                    assert cursor_records(home) == expected
            finally:
                agent.kill()
            _, errors = agent.communicate()
        assert agent.returncode == 0, errors.decode()
    assert cursor_records(home) == expected
    assert {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}


def test_an_archive_root_alone_is_enough(tmp_path: Path) -> None:
    book_home(tmp_path / "home", 3)
    expected = cursor_records(tmp_path / "home")
    apply_all(tmp_path / "home")
    (tmp_path / "home" / "archive").rename(tmp_path / "elsewhere")
    source = open_source(tmp_path / "elsewhere")
    assert isinstance(source, ArchiveSource)
    assert source.queues() == [BOOK]
    assert cursor_records(tmp_path / "elsewhere") == expected
    (tmp_path / "elsewhere" / "chronicle-catalog.msgpack.zst").unlink()
    assert isinstance(open_source(tmp_path / "elsewhere"), ArchiveSource)
    assert cursor_records(tmp_path / "elsewhere") == expected


def test_a_home_can_be_moved_with_its_archive(tmp_path: Path) -> None:
    book_home(tmp_path / "one", 2)
    expected = cursor_records(tmp_path / "one")
    apply_all(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert cursor_records(tmp_path / "two") == expected
    assert verify(tmp_path / "two").ok


def test_status_counts_segments_and_bytes(tmp_path: Path) -> None:
    fill(tmp_path, BOOK, book_events(250), per_segment=100, seal=False)
    policy = three_tiers(tmp_path)
    plan, _ = make_plan(tmp_path, policy, everything=True)
    apply_plan(tmp_path, replace(plan, moves=plan.moves[:1]), policy)
    hot, warm, cold = tier_status(tmp_path, policy).tiers
    assert (hot.segments, hot.open_segments, warm.segments, cold.segments) == (1, 1, 1, 0)
    assert warm.stored_bytes < warm.raw_bytes
    assert warm.ratio is not None
    assert tier_status(tmp_path / "nothing").to_dict()["tiers"][0]["segments"] == 0
    assert not (tmp_path / "nothing").exists()


def test_empty_home_plans_nothing(tmp_path: Path) -> None:
    plan, errors = make_plan(tmp_path / "none", default_policy(tmp_path / "none"), everything=True)
    assert (plan.moves, plan.held, errors) == ((), (), [])
    assert verify(tmp_path / "none").ok


def test_progress_is_told(tmp_path: Path) -> None:
    book_home(tmp_path, 3)
    told: list[tuple[int, int]] = []
    apply_all(tmp_path, progress=lambda done, total, _: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_status_and_listing_load_no_numpy(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    apply_all(tmp_path)
    code = (
        "import sys; from chronicle.storage import open_source, tier_status;"
        f"s = open_source({str(tmp_path)!r}); assert len(s.segments({BOOK!r})) == 2; tier_status({str(tmp_path)!r});"
        "assert not {'numpy', 'numba', 'zstandard'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_a_rule_deletes_what_is_old_and_the_rest_stays_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from chronicle.storage.tiers.policy import DELETE, Rule

    book_home(tmp_path, 4)
    clock = FakeClock(NOW)
    policy = three_tiers(tmp_path)
    for _ in range(2):
        apply_all(tmp_path, policy, clock=clock)
    rest = source_records_from(tmp_path, 2)
    policy = replace(policy, rules=(*policy.rules, Rule("cold", DELETE, 24 * HOUR)))
    clock.sleep_ns(24 * HOUR)
    plan, _ = make_plan(tmp_path, policy, clock=clock)
    oldest = replace(plan, moves=plan.moves[:2])
    report = apply_plan(tmp_path, oldest, policy, clock=clock)
    assert [entry.number for entry in report.expired] == [0, 1]
    assert report.deleted == 2
    assert [info.number for info in TieredSource(tmp_path).segments(BOOK)] == [2, 3]
    assert [info.number for info in ArchiveSource(tmp_path / "cold").segments(BOOK)] == [2, 3]
    assert len(list((tmp_path / "cold").rglob("*.czst"))) == 2
    assert source_records_from(tmp_path, 2) == rest
    assert verify(tmp_path, deep=True).findings == ()
    again, _ = make_plan(tmp_path, policy, clock=clock)
    assert [move.segment.number for move in again.moves] == [2, 3]
    rebuild_manifest(tmp_path, policy, clock=clock)
    entries = Manifest.open(tmp_path).entries(BOOK)  # type: ignore[union-attr]
    assert [entry.place for entry in entries] == ["delete", "delete", "cold", "cold"]
    assert verify(tmp_path, deep=True).findings == ()
    assert run(["tier", "log", "--last", "2", "--home", str(tmp_path)]) == 0
    assert "deleted" in capsys.readouterr().out


def test_a_rebuild_brings_nothing_back_that_was_to_be_deleted(tmp_path: Path) -> None:
    from chronicle.storage.tiers.policy import DELETE, Rule

    book_home(tmp_path, 3)
    clock = FakeClock(NOW)
    policy = three_tiers(tmp_path, grace_ns=HOUR)
    for _ in range(2):
        apply_all(tmp_path, policy, clock=clock)
    policy = replace(policy, rules=(*policy.rules, Rule("cold", DELETE, 0)))
    plan, _ = make_plan(tmp_path, policy, clock=clock)
    apply_plan(tmp_path, replace(plan, moves=plan.moves[:1]), policy, clock=clock)
    assert len(list((tmp_path / "cold").rglob("*.czst"))) == 3  # the grace period is not over
    rebuild_manifest(tmp_path, policy, clock=clock)
    assert [info.number for info in TieredSource(tmp_path).segments(BOOK)] == [1, 2]
    apply_plan(tmp_path, replace(plan, moves=()), policy, clock=clock)
    assert len(list((tmp_path / "cold").rglob("*.czst"))) == 2
    assert [info.number for info in TieredSource(tmp_path).segments(BOOK)] == [1, 2]


def source_records_from(home: Path, number: int) -> bytes:
    """All record bytes of the segments from `number` on."""
    source, parts = TieredSource(home), []
    for info in source.segments(BOOK):
        if info.number >= number:
            view = source.open(BOOK, info.number)
            parts.append(bytes(view.view(view.data_offset, view.data_end())))
            view.close()
    return b"".join(parts)


def test_no_space_on_a_target_pauses_it_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    home = book_home(tmp_path / "home", 3)
    truth = cursor_records(home)
    policy = three_tiers(home)
    synced = os.fsync

    def full(descriptor: int) -> None:
        if "/archive/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        report = apply_all(home, policy)
    assert (list(report.paused), report.moved, len(report.failures)) == (["warm"], [], 1)
    assert cursor_records(home) == truth
    status = tier_status(home, policy)
    assert "no space" in status.failed[0]["error"]
    assert list(home.rglob(".tmp-*")) == []
    assert len(apply_all(home, policy).moved) == 3
    assert tier_status(home, policy).failed == ()
    assert cursor_records(home) == truth


def test_a_named_tailer_may_say_how_far_it_came_when_its_segment_went_to_a_tier(tmp_path: Path) -> None:
    queue = fill(tmp_path, RAW, book_events(250), per_segment=100, seal=False)
    queue.tailer("shard").close()
    run_once(tmp_path, replace(default_policy(tmp_path), raw_waits_for_etl=False), everything=True)
    end = queue.segments()[0].base_index
    assert end > 0
    tailer = queue.tailer("shard")
    assert tailer.index == 0
    tailer.index = end
    tailer.commit()
    tailer.close()
    again = queue.tailer("shard")
    assert again.index == end
    again.close()
