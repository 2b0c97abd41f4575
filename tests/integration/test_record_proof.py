"""Clean records are compared with what raw gives again: equal ones pass, a changed one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.access.trust.proof import RecordProof, prove_records
from chronicle.core.errors import StoreError
from chronicle.core.layout import SEGMENT_OPEN_SUFFIX
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.etl import EtlConfig, run_shard
from chronicle.feed.redecode import redecode
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.etl_streams import RawStream, instrument, random_levels
from tests.support.mounts import read_only

CONFIG = EtlConfig(snapshot_deltas=50)
BOOK = "clean/kraken/btc_eur/book.q"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    stream = RawStream()
    stream.define(1, instrument(book_depth=20))
    stream.snapshot(1, [(10, 1)], [(11, 1)])
    for row in random_levels(1, 300).tolist():
        stream.deltas(1, tuple(row))
    with Queue.create(tmp_path / "raw/main.q", name="raw/main.q", segment_bytes=64 * 1024).appender() as appender:
        for _, data in stream.events:
            position = count = 0
            while position < len(data):
                position += int.from_bytes(data[position : position + 4], "little")
                count += 1
            appender.append_event(data, count)
    run_shard(tmp_path, config=CONFIG, drain=True)
    return tmp_path


def prove(home: Path, config: EtlConfig = CONFIG) -> RecordProof:
    return prove_records(home, TieredSource(home), {"default": config})


def test_what_was_refined_and_archived_is_what_raw_gives_again(home: Path) -> None:
    run_once(home, default_policy(home), everything=True)
    found = prove(home)
    assert BOOK in found.compared
    assert (found.differences, found.passed_over) == ((), ())
    assert list((home / "rebuilt").iterdir()) == []


def test_a_record_that_was_changed_is_found(home: Path) -> None:
    queue = Queue.open(home / BOOK, name=BOOK)
    with queue.appender(prologue=lambda: queue.open_segment(0).prologue()) as appender:
        last = queue.last_record()
        assert last is not None
        appender.append_event(bytes(Record(bytes(last.data)).data), 1)
    assert [path.suffix for path in queue.segment_files().values()][-1] == SEGMENT_OPEN_SUFFIX
    found = prove(home)
    assert len(found.differences) == 1
    assert found.differences[0].startswith(BOOK)


def test_another_configuration_and_absent_raw_are_passed_over(home: Path) -> None:
    other = prove(home, EtlConfig(snapshot_deltas=20))
    assert other.differences == ()
    assert any("another version or configuration" in reason for reason in other.passed_over)
    empty = home / "empty"
    empty.mkdir()
    assert prove(empty).passed_over == ("no raw records are kept",)


def test_a_read_only_home_is_proven_too_and_nothing_is_left(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_once(home, default_policy(home), everything=True)
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with read_only(tmp_path_factory.mktemp("mounts"), home) as seen:
        found = prove(seen)
        Queue.create(home / "wire/main.q", name="wire/main.q", segment_bytes=64 * 1024)
        with pytest.raises(StoreError, match="could not make a folder for the new raw queue"):
            redecode(seen, seen / "redecoded" / "1")
    assert BOOK in found.compared
    assert (found.differences, found.passed_over) == ((), ())
    assert list(scratch.iterdir()) == []
