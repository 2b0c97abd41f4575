"""What kinds of record a segment holds: told when it is archived, kept, found again, and never told wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from chronicle.core.layout import Kind
from chronicle.storage.codec.archive_layout import Holds, Method
from chronicle.storage.codec.footers import read_archive_footer
from chronicle.storage.codec.holding import holds_of_records, lacks
from chronicle.storage.manifest.catalog import read_catalog
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_keys import pack_entry
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import Policy
from chronicle.storage.tiers.repair import repair, scrub
from chronicle.storage.tiers.verify import verify
from tests.support.home_builder import CleanQueue
from tests.support.tiers import apply_all, three_tiers

START = 1_700_000_000_000_000_000
BOOK_BITS = Holds.KNOWN | Holds.INSTRUMENTS | Holds.SNAPSHOTS
EXPECTED = {
    ("book", 0): BOOK_BITS,
    ("book", 1): Holds.KNOWN | Holds.GAPS | Holds.STATUS,
    ("book", 2): Holds.KNOWN,
    ("book", 3): Holds.KNOWN | Holds.GAPS,
    ("trade", 0): Holds.KNOWN | Holds.INSTRUMENTS | Holds.OTHERS,
}


def build(home: Path) -> None:
    """Write segments of each sort: one begins the book, one has a hole, one is quiet, one is a GAP alone; trades."""
    book = CleanQueue(home)
    book.define(START)
    book.venue_snapshot(START + 1, [(100, 1)], [(101, 1)])
    for number in range(3):
        for step in range(120):
            ts = START + 1_000 * number + step + 2
            if (number, step) == (1, 50):
                book.status(ts, 2)
                book.gap_open(ts, ts - 1)
            book.deltas(ts, ("bid", 90 + step % 7, 1 + step))
        book.seal()
    book.gap_closed(START + 9_000, START)
    book.close(seal=True)
    trades = CleanQueue(home, channel="trade")
    trades.define(START)
    for step in range(50):
        trades.trade(START + step, "bid", 100 + step % 3, 1, step)
    trades.close(seal=True)


def told(entries: list[Entry] | tuple[Entry, ...]) -> dict[tuple[str, int], int]:
    """Return {(channel, number): what is told}."""
    return {(entry.queue.rpartition("/")[2].removesuffix(".q"), entry.number): entry.holds for entry in entries}


def archived(home: Path, **options: object) -> tuple[Manifest, Policy]:
    build(home)
    policy = three_tiers(home, **options)  # type: ignore[arg-type]
    apply_all(home, policy)
    manifest = Manifest.open(home)
    assert manifest is not None
    return manifest, policy


@pytest.mark.parametrize("warm", ["zstd", "none", "compacted"])
def test_what_a_segment_holds_is_told_when_it_is_archived_and_kept(tmp_path: Path, warm: str) -> None:
    manifest, policy = archived(tmp_path, warm=warm, pack_bytes=1 << 20)
    assert told(manifest.entries()) == EXPECTED
    catalog = read_catalog(LocalStore(tmp_path / "archive"))
    assert catalog is not None
    assert told(catalog.entries) == EXPECTED
    apply_all(tmp_path, policy)  # into one pack
    assert {entry.place for entry in manifest.entries()} == {"cold"}
    assert all(entry.packed for entry in manifest.entries())
    assert told(manifest.entries()) == EXPECTED


def test_a_rebuild_finds_what_a_book_holds_in_the_objects_alone(tmp_path: Path) -> None:
    manifest, policy = archived(tmp_path)
    store = LocalStore(tmp_path / "archive")
    methods = {block.method for entry in manifest.entries() for block in blocks_of(store, entry)}
    assert methods >= {Method.EVENTS, Method.COLUMNS, Method.ZSTD}, "those that tell and those that must be read"
    manifest.put([replace(entry, holds=0) for entry in manifest.entries()], dirty=["warm"])
    run_once(tmp_path, policy)
    assert set(told(manifest.entries()).values()) == {0}
    rebuild_manifest(tmp_path, policy)
    found = told(manifest.entries())
    assert found == EXPECTED | {("trade", 0): 0}, "no question is about kinds of trades: they are not read for it"


def blocks_of(store: LocalStore, entry: Entry):
    return read_archive_footer(store, entry.object, entry.length, entry.offset)[0].blocks


def test_a_rebuild_keeps_what_a_catalog_knows_of_the_same_segment_only(tmp_path: Path) -> None:
    manifest, policy = archived(tmp_path, warm="none")  # sealed files have no block table
    rebuild_manifest(tmp_path, policy)
    assert told(manifest.entries()) == EXPECTED
    other = [replace(entry, checksum=entry.checksum ^ 1) for entry in manifest.entries() if entry.number == 2]
    manifest.put(other, dirty=["warm"])
    run_once(tmp_path, policy)
    rebuild_manifest(tmp_path, policy)
    assert told(manifest.entries()) == EXPECTED | {("book", 2): 0}


@pytest.mark.parametrize("how", ["repair", "scrub"])
def test_the_scrubber_fills_in_what_an_earlier_release_did_not_tell(tmp_path: Path, how: str) -> None:
    manifest, policy = archived(tmp_path)
    manifest.put([replace(entry, holds=0) for entry in manifest.entries()], dirty=["warm"])
    run_once(tmp_path, policy)
    if how == "repair":
        repair(tmp_path, policy)
    else:
        scrub(tmp_path, policy, budget_bytes=1 << 40)
    assert told(manifest.entries()) == EXPECTED
    run_once(tmp_path, policy)
    catalog = read_catalog(LocalStore(tmp_path / "archive"))
    assert catalog is not None
    assert told(catalog.entries) == EXPECTED
    assert verify(tmp_path).ok


@pytest.mark.parametrize("warm", ["zstd", "none"])
def test_verify_finds_and_repair_rights_what_is_told_wrongly(tmp_path: Path, warm: str) -> None:
    manifest, policy = archived(tmp_path, warm=warm)
    wrong = [replace(entry, holds=int(Holds.KNOWN)) for entry in manifest.entries() if entry.holds & Holds.GAPS]
    manifest.put(wrong, dirty=["warm"])
    run_once(tmp_path, policy)
    for place in (tmp_path, tmp_path / "archive"):
        findings = verify(place).findings
        assert [(found.kind, found.number) for found in findings] == [("corruption", 1), ("corruption", 3)]
        assert "of which manifest or catalog says that it has none" in findings[0].message
    repair(tmp_path, policy)
    run_once(tmp_path, policy)
    assert verify(tmp_path).ok
    assert verify(tmp_path / "archive").ok


def test_an_entry_that_says_nothing_is_stored_as_it_always_was() -> None:
    values = dict.fromkeys(("generation", "number", "base_index", "record_count", "ts_first", "ts_last"), 1)
    values |= dict.fromkeys(("data_bytes", "file_bytes", "checksum", "sealed_seen_ns", "offset", "length"), 1)
    plain = values | dict.fromkeys(("queue", "queue_id", "place", "encoding", "object"), "x")
    entry = Entry(**plain)  # type: ignore[arg-type]
    stored = msgpack.unpackb(pack_entry(entry)[8:])
    assert stored == plain | {"intent": None, "retired": []}
    assert Entry.from_dict(stored) == entry
    known = replace(entry, holds=43)
    assert Entry.from_dict(msgpack.unpackb(pack_entry(known)[8:])) == known


def test_only_what_is_known_is_passed_over() -> None:
    gaps, known = {int(Kind.GAP)}, int(Holds.KNOWN)
    assert lacks(known, gaps)
    assert not lacks(known | Holds.GAPS, gaps)
    assert not lacks(0, gaps), "nobody has looked"
    assert not lacks(int(Holds.CHECKS), gaps), "a value that no release writes"
    assert not lacks(known, {int(Kind.BOOK_DELTA)}), "no flag tells of deltas"
    assert not lacks(known | Holds.OTHERS, {int(Kind.TRADE)})
    assert lacks(known | 1 << 20, gaps), "flags of later releases say nothing of today's kinds"


@pytest.mark.parametrize("data", [b"\0" * 48, b"\x07" * 64, b"\x30" + b"\0" * 6, b"\x38\0\0\0\x12\0\0\0" * 6])
def test_of_bytes_that_are_no_records_nothing_is_told(data: bytes) -> None:
    assert holds_of_records(data) == 0
