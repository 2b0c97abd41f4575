"""The manifest: transactions, checksums, rebuilding, and the catalog beside the data."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from chronicle.core.errors import (
    CapacityError,
    CorruptionError,
    ForeignFileError,
    StateError,
    StoreError,
    VersionError,
)
from chronicle.storage.manifest.catalog import CATALOG_NAME, Catalog, publish_catalog, read_catalog
from chronicle.storage.manifest.manifest import Entry, Intent, Manifest, Retired, manifest_error
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.source import TieredSource, open_source
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.policy import default_policy
from tests.support.held import descriptors_of
from tests.support.tiers import BOOK, apply_all, book_home, source_records


def entry(queue: str = BOOK, number: int = 0, **values: object) -> Entry:
    fields: dict[str, object] = {
        "generation": 1,
        "queue_id": "00" * 16,
        "base_index": number * 10,
        "record_count": 10,
        "ts_first": 1,
        "ts_last": 2,
        "data_bytes": 800,
        "file_bytes": 5000,
        "checksum": 2**64 - 1,
        "sealed_seen_ns": 3,
        "place": "warm",
        "encoding": "zstd",
        "object": f"{queue}/{number:010d}.czst",
        "offset": 0,
        "length": 77,
    }
    return Entry(queue=queue, number=number, **(fields | values))  # type: ignore[arg-type]


def manifest(home: Path) -> Manifest:
    found = Manifest.open(home, create=True)
    assert found is not None
    return found


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    store = manifest(tmp_path)
    moving = entry(number=300, intent=Intent("cold", "o", ".tmp-o", "write", 9), retired=(Retired("hot", "x", 5),))
    entries = [entry(number=n) for n in (2, 256, 1)] + [moving, entry("raw/main.q"), entry(number=0, generation=2)]
    store.put(entries, dirty=["warm"])
    assert [e.number for e in store.entries(BOOK)] == [1, 2, 256, 300, 0]
    assert store.get(moving.key) == moving
    assert store.queues() == [BOOK, "raw/main.q"]
    assert store.dirty() == ["warm"]
    store.catalog_published(store.catalog_state("warm"), 1)
    store.remove([moving.key])
    assert (store.dirty(), store.get(moving.key)) == ([], None)
    assert moving.state == "moving"


def test_a_queue_name_that_begins_another_is_not_mixed_up(tmp_path: Path) -> None:
    store = manifest(tmp_path)
    store.put([entry("clean/a/b/book.q"), entry("clean/a/b/book.q2/x.q")])
    assert [e.queue for e in store.entries("clean/a/b/book.q")] == ["clean/a/b/book.q"]


def test_reading_makes_no_manifest(tmp_path: Path) -> None:
    assert Manifest.open(tmp_path) is None
    assert TieredSource(tmp_path).queues() == []
    assert list(tmp_path.iterdir()) == []


def test_a_changed_entry_is_found(tmp_path: Path) -> None:
    store = manifest(tmp_path)
    store.put([entry()])
    with store._environment.begin(write=True) as transaction:
        (key, value), *_ = list(transaction.cursor(db=store._segments))
        transaction.put(bytes(key), bytes(value)[:-1] + b"\x7f", db=store._segments)
    with pytest.raises(CorruptionError, match="tier rebuild"):
        store.entries()


def test_a_file_of_zeros_is_no_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "manifest"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(bytes(8192))
    with pytest.raises(CorruptionError):
        Manifest.open(tmp_path)


def test_rebuild_finds_every_segment_again(tmp_path: Path) -> None:
    book_home(tmp_path, 3)
    before = source_records(TieredSource(tmp_path))
    apply_all(tmp_path)
    (tmp_path / "manifest" / "data.mdb").write_bytes(b"garbage " * 1024)
    report = rebuild_manifest(tmp_path, default_policy(tmp_path))
    assert (report.segments, report.copies, report.conflicts, report.errors) == (3, 0, (), ())
    assert source_records(TieredSource(tmp_path)) == before
    assert source_records(open_source(tmp_path / "archive")) == before


def test_rebuild_after_losing_the_manifest_publishes_the_hottest_copy(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    images = {path: path.read_bytes() for path in (tmp_path / BOOK).glob("*.seg")}
    apply_all(tmp_path)
    for path, data in images.items():
        path.write_bytes(data)
    (tmp_path / "archive" / BOOK / ".tmp-0000000009.czst").write_bytes(b"half")
    report = rebuild_manifest(tmp_path, default_policy(tmp_path))
    assert (report.segments, report.copies, report.temporaries_removed) == (2, 2, 1)
    assert {info.place for info in TieredSource(tmp_path).segments(BOOK)} == {"hot"}
    assert len(apply_all(tmp_path).moved) == 2
    assert {info.place for info in TieredSource(tmp_path).segments(BOOK)} == {"warm"}


def test_rebuild_keeps_readers_of_this_process_working(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    apply_all(tmp_path)
    source = TieredSource(tmp_path)
    before = source_records(source)
    rebuild_manifest(tmp_path, default_policy(tmp_path))
    assert source_records(source) == before


def test_catalog_round_trip_and_damage(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    catalog = Catalog("home", "warm", "zstd", (entry(), entry(number=1)))
    publish_catalog(store, catalog)
    assert read_catalog(store) == catalog
    path = tmp_path / CATALOG_NAME
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises((CorruptionError, ForeignFileError, VersionError)):
            read_catalog(store)
    path.write_bytes(data[:10])
    with pytest.raises(CorruptionError):
        read_catalog(store)


def test_two_homes_do_not_share_a_root(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    publish_catalog(store, Catalog("one", "warm", "zstd", ()))
    with pytest.raises(StateError, match="another home"):
        publish_catalog(store, Catalog("two", "warm", "zstd", ()))


def test_entries_of_a_later_version_are_read(tmp_path: Path) -> None:
    values = entry().to_dict() | {"colour": "blue"}
    assert Entry.from_dict(values) == entry()
    assert replace(entry(), place="cold").state == "published"


def test_handles_close_with_their_last_user(tmp_path: Path) -> None:
    for number in range(20):
        manifest(tmp_path / str(number)).put([entry()])
        assert len(descriptors_of(tmp_path)) <= 4, "of the manifest just used"
    gc.collect()
    assert descriptors_of(tmp_path) == []


def test_a_write_cut_short_on_a_full_disk_is_no_space(tmp_path, monkeypatch):
    error = lmdb.Error("mdb_txn_commit: Input/output error")
    assert isinstance(manifest_error(error, tmp_path), StoreError)
    monkeypatch.setattr("chronicle.storage.manifest.manifest_file._is_full", lambda _: True)
    assert isinstance(manifest_error(error, tmp_path), CapacityError)
