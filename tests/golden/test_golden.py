"""Files of format version 1 are read for ever, and today's writer still makes the same bytes.

``python -m tests.golden.test_golden`` writes the files anew; that is only right together with a version bump.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chronicle.core import EventBuilder, Kind, Queue, Side
from chronicle.core.layout import INT64_MAX, INT64_MIN, ORDER_SNAPSHOT_BODY, Action, GapState, Origin, Verdict
from chronicle.core.records import InstrumentFields, SnapshotFields, pack_record
from chronicle.core.segment import LocalSegment
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import Method
from chronicle.storage.codec.encode import EncodeOptions, encode_segment
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.manifest import catalog_parts
from chronicle.storage.manifest.catalog import (
    CATALOG_NAME,
    Catalog,
    Pointer,
    publish_catalog,
    read_catalog,
    read_pointer,
)
from chronicle.storage.manifest.catalog_changes import Change, publish_changes
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.stores.stores import LocalStore
from tests.support.home_builder import CleanQueue

FOLDER = Path(__file__).resolve().parent
SEGMENT = FOLDER / "queue-v1.seg"
ARCHIVE = FOLDER / "archive-v1.czst"
EVENTS = FOLDER / "archive-v1-events.czst"
ORDERS = FOLDER / "archive-v1-orders.czst"
COMPACTED = FOLDER / "archive-v1-compacted.czst"
"""Of the arithmetic code, which no writer makes any more."""
TABLED = FOLDER / "archive-v1-tabled.czst"
HOLDING = FOLDER / "catalog-v3-holds"
HOLDS = (11, 0, 43)
NAME = "clean/kraken/btc_eur/book.q"


def one_of_each(out: EventBuilder) -> None:
    """Add a record of every kind."""
    details = {"symbol": "kraken:BTC-EUR", "venue": "kraken", "venue_symbol": "XBT/EUR"}
    out.instrument(1, InstrumentFields(1, 8, check_rule=1, check_price_decimals=5, book_depth=1000, details=details))
    out.status(2, {"channel": "book"}, instrument=1)
    out.gap(1, 3, GapState.OPEN, last_good_ts=900, first_missing=4, last_missing=7)
    out.snapshot(
        1, SnapshotFields([(999, 5), (998, 1)], [(1001, 7)], Origin.VENUE, 1, 2, INT64_MIN, INT64_MAX), ts_event=1
    )
    out.delta(1, Side.ASK, 1002, 0, ts_event=2, sequence=9, sequence_first=8, sequence_previous=7)
    out.order(1, Side.BID, 77, 999, 5, action=Action.ADD, ts_event=3, code=1)
    out.trade(1, Side.BID, 1001, 2, ts_event=4, trade_id=5, trade_id_last=6, trade_type=1)
    out.quote(1, 999, 5, 1001, 7, ts_event=5, sequence=10)
    out.check(1, 1, 2583817756, ts_event=6, verdict=1, computed=2583817756)
    out.wire(1, b'{"event":"heartbeat"}', address=b"wss://ws.kraken.com")
    out.record(Kind.PROGRESS, bytes(32))


def build(folder: Path) -> bytes:
    """Return the sealed segment that version 1 makes of fixed records."""
    queue = Queue.create(folder / NAME, name=NAME, queue_id=bytes(range(16)), segment_bytes=64 * 1024)
    out = EventBuilder()
    with queue.appender(prologue=lambda: {"schema": 1, "queue": NAME}) as appender:
        for number in range(120):
            out.begin(1_000 + number, source_index=number, source=0)
            if number % 40 == 0:
                one_of_each(out)
            for level in range(number % 4 + 1):
                out.delta(
                    1, Side.BID if level % 2 else Side.ASK, 1_000 + level, number, ts_event=number, sequence=number
                )
            appender.append_event(*out.take())
        appender.seal()
    return next(iter(queue.segment_files().values())).read_bytes()


def records(path: Path) -> list[bytes]:
    with LocalSegment(path, queue=NAME) as segment:
        end, _, _ = segment.extent()
        memory = segment.view(segment.data_offset, end)
        starts = [int(start) for start in _starts(memory)]
        return [bytes(memory[a:b]) for a, b in zip(starts, [*starts[1:], len(memory)], strict=True)]


def _starts(memory: memoryview) -> list[int]:
    starts, position = [], 0
    while position < len(memory):
        starts.append(position)
        position += int.from_bytes(memory[position : position + 4], "little")
    return starts


def test_today_s_writer_makes_the_bytes_of_version_1(tmp_path: Path) -> None:
    assert build(tmp_path) == SEGMENT.read_bytes()


def test_segment_of_version_1_is_read() -> None:
    found = records(SEGMENT)
    assert len(found) == 120 // 4 * (1 + 2 + 3 + 4) + 3 * 11
    with LocalSegment(SEGMENT, queue=NAME) as segment:
        assert segment.prologue() == {"schema": 1, "queue": NAME}
        assert [point.kind for point in segment.seek_points()] == [Kind.BOOK_SNAPSHOT] * 3


def test_archive_object_of_version_1_gives_back_the_segment() -> None:
    assert decoded(ARCHIVE) == SEGMENT.read_bytes()


def test_archive_object_with_event_blocks_is_read() -> None:
    footer, _ = read_whole(LocalStore(EVENTS.parent), EVENTS.name)
    assert {block.method for block in footer.blocks} == {Method.EVENTS, Method.PROLOGUE, Method.SEEK}
    with ArchivedSegment(LocalStore(EVENTS.parent), EVENTS.name) as segment:
        assert sum(map(len, (event_records(segment)))) == footer.data_bytes
        stretches = list(segment.stretches(None, None, ("price", "size"), {Kind.BOOK_DELTA}, sides=(1, 2)))
        assert len(stretches) == 1
        assert stretches[0].columns is not None
        prices = [record[48:56] for record in event_records(segment) if record[4] == Kind.BOOK_DELTA]
        assert stretches[0].columns["price"].tobytes() == b"".join(prices)


@pytest.mark.parametrize(("path", "method"), [(COMPACTED, Method.COMPACTED), (TABLED, Method.TABLED)])
def test_compacted_archive_objects_are_read(path: Path, method: Method) -> None:
    footer, _ = read_whole(LocalStore(path.parent), path.name)
    assert {block.method for block in footer.blocks} == {method, Method.PROLOGUE, Method.ZSTD}
    with ArchivedSegment(LocalStore(path.parent), path.name) as segment:
        stretches = list(segment.stretches(None, None, ("price", "size"), {Kind.BOOK_DELTA}, sides=(1, 2)))
        deltas = [record for record in event_records(segment) if record[4] == Kind.BOOK_DELTA]
        for name, begin in (("price", 48), ("size", 56)):
            assert stretches[0].columns is not None
            assert stretches[0].columns[name].tobytes() == b"".join(record[begin : begin + 8] for record in deltas)
    assert len(deltas) == 1491


def test_archive_object_with_order_blocks_gives_back_the_segment(tmp_path: Path) -> None:
    footer, _ = read_whole(LocalStore(ORDERS.parent), ORDERS.name)
    assert Method.ORDERS in {block.method for block in footer.blocks}
    assert decoded(ORDERS) == build_orders(tmp_path)


def build_orders(folder: Path) -> bytes:
    """Return a sealed segment of orders and the levels they make, restated, with orders in its prologue."""
    queue = Queue.create(folder / NAME, name=NAME, queue_id=bytes(range(16)), segment_bytes=256 * 1024)
    out = EventBuilder()
    rests = [(7, 990, 5), (8, 1_010, 6)]
    counts = ORDER_SNAPSHOT_BODY.pack(1, 1)
    known = pack_record(Kind.ORDER_SNAPSHOT, counts + np.array(rests).tobytes(), ts_recv=900, instrument=1)
    with queue.appender(prologue=lambda: {"schema": 1, "orders": [known]}) as appender:
        for number in range(400):
            out.begin(1_000 + number * 17, source_index=3 * number, source=0)
            side = Side.BID if number % 2 else Side.ASK
            price, size = 1_000 + number % 9 * (-1 if number % 2 else 1), 1 + number % 5
            for order_id, action in (
                (100 + number, Action.ADD),
                (95 + number, Action.FILL),
                (95 + number, Action.CANCEL),
            ):
                taken = order_id < 100 + number
                out.order(1, side, order_id, price - taken, size + taken, action=action, ts_event=number)
            out.delta(1, side, price, size, ts_event=number)
            if number == 200:
                out.order(1, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=number)
                out.record(Kind.ORDER_SNAPSHOT, counts + np.array(rests).tobytes(), instrument=1)
                out.record(Kind.ORDER_SNAPSHOT, counts + np.array(rests).tobytes(), instrument=1)
            appender.append_event(*out.take())
        appender.seal()
    return next(iter(queue.segment_files().values())).read_bytes()


def event_records(segment: ArchivedSegment) -> list[bytes]:
    memory = segment.view(segment.data_offset, segment.extent()[0])
    starts = _starts(memory)
    return [bytes(memory[a:b]) for a, b in zip(starts, [*starts[1:], len(memory)], strict=True)]


def build_events(folder: Path, encoding: str = "zstd") -> bytes:
    """Return the archive object of a book's second segment, which begins with a book in its prologue."""
    queue = CleanQueue(folder)
    queue.define(1_000)
    queue.venue_snapshot(
        1_001, [(1000 - level, 5 + level) for level in range(40)], [(1001 + level, 7) for level in range(40)]
    )
    queue.seal()
    for number in range(300):
        changes = [
            ("bid", 1000 - (number * 7 + 3 * level) % 60, (number + level) % 4 * 100) for level in range(number % 9)
        ]
        queue.deltas(2_000 + number, *changes, ("ask", 1001 + number % 50, number % 3), check=Verdict.PASSED)
        if number % 100 == 50:
            queue.etl_snapshot(2_000 + number)
    queue.seal()
    queue.close()
    with LocalSegment(queue.queue.segment_files()[1], queue=queue.queue.name) as sealed:
        return b"".join(encode_segment(sealed, EncodeOptions.of(encoding, 3)))


def decoded(path: Path) -> bytes:
    """Return the sealed segment that the archive object holds."""
    with ArchivedSegment(LocalStore(path.parent), path.name) as segment:
        return bytes(segment.view(0, segment.header.file_bytes))


def catalog_entries() -> tuple[Entry, ...]:
    """What the golden catalogs hold."""
    start, day = 1_600_000_000 * 10**9, 86_400 * 10**9
    return tuple(
        Entry(
            queue=NAME,
            generation=1,
            number=number,
            queue_id="00" * 16,
            base_index=number * 10,
            record_count=10,
            ts_first=start + number * day,
            ts_last=start + number * day + 5,
            data_bytes=800,
            file_bytes=5000,
            checksum=2**64 - 1 - number,
            sealed_seen_ns=3,
            place="warm",
            encoding="zstd",
            object=f"{NAME}/{number:010d}.czst",
            offset=0,
            length=77,
        )
        for number in range(3)
    )


def test_a_catalog_of_version_1_is_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / CATALOG_NAME).write_bytes((FOLDER / "catalog-v1.msgpack.zst").read_bytes())
    expected = Catalog("home-of-the-golden-file", "warm", "zstd", catalog_entries())
    assert read_catalog(LocalStore(tmp_path)) == expected


def test_a_catalog_of_version_2_is_read_for_ever() -> None:
    expected = Catalog("home-of-the-golden-file", "warm", "zstd", catalog_entries())
    assert read_catalog(LocalStore(FOLDER / "catalog-v2")) == expected


def build_catalog(root: Path, *holds: int) -> Catalog:
    """Publish a catalog whose parts and pointer have everything they can: rows, and what is gone; return it."""
    store = LocalStore(root)
    entries = [replace(entry, holds=told) for entry, told in zip(catalog_entries(), holds or (0, 0, 0), strict=True)]
    day = entries[0].partition
    many = [replace(entries[0], number=number, object=f"{NAME}/{number:010d}.czst") for number in range(10, 2_000)]
    first = Catalog("home-of-the-golden-file", "warm", "zstd", (*entries, *many))
    pointer: Pointer = publish_catalog(store, first, now_ns=7, history=(2, "ab" * 32))
    told = [(many[:300], day), (entries[1:2], entries[1].partition)]
    for gone, was_day in told:  # the first is much, and becomes a part; the second stays in the pointer
        changes = [Change(entry.key, was_day, None) for entry in gone]
        changes += [Change(entries[0].key, day, replace(entries[0], length=len(gone)))]
        pointer = publish_changes(store, pointer, changes, encoding="zstd", now_ns=8, history=(3, "cd" * 32))
    return replace(first, entries=(replace(entries[0], length=1), entries[2], *many[300:]))


def test_a_catalog_of_version_3_that_says_nothing_of_kinds_is_read_for_ever(tmp_path: Path) -> None:
    assert read_catalog(LocalStore(FOLDER / "catalog-v3")) == build_catalog(tmp_path)
    pointer = read_pointer(LocalStore(FOLDER / "catalog-v3"))
    assert pointer is not None
    assert pointer.stock(NAME) is None


def test_a_catalog_of_version_3_with_kinds_and_sums_is_read_for_ever_and_made_the_same(tmp_path: Path) -> None:
    expected = build_catalog(tmp_path, *HOLDS)
    assert read_catalog(LocalStore(HOLDING)) == expected
    assert read_catalog(LocalStore(tmp_path)) == expected
    golden = sorted(HOLDING.rglob("*.zst"))
    assert len(golden) == 5
    for path in golden:
        assert (tmp_path / path.relative_to(HOLDING)).read_bytes() == path.read_bytes()


def test_an_older_agent_goes_on_from_rows_with_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in HOLDING.rglob("*.zst"):
        target = tmp_path / path.relative_to(HOLDING)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    store = LocalStore(tmp_path)
    expected, pointer = read_catalog(store), read_pointer(store)
    assert expected is not None
    assert pointer is not None
    fields = catalog_parts.PART_FIELDS[: catalog_parts.FIELDS_MIN]
    with monkeypatch.context() as older:
        older.setattr(catalog_parts, "PART_FIELDS", fields)
        made = [replace(expected.entries[0], number=number) for number in range(3_000, 3_300)]
        changes = [Change(entry.key, "", entry) for entry in made]
        publish_changes(store, pointer, changes, encoding="zstd", now_ns=9)
    found = read_catalog(store)
    assert found is not None
    plain = [replace(entry, holds=0) for entry in (*expected.entries, *made)]
    assert [replace(entry, holds=0) for entry in found.entries] == sorted(plain, key=lambda entry: entry.key)
    assert {entry.holds for entry in found.entries if entry.number >= 3_000} == {0}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        SEGMENT.write_bytes(build(Path(scratch)))
    with LocalSegment(SEGMENT, queue=NAME) as sealed:
        ARCHIVE.write_bytes(b"".join(encode_segment(sealed)))
    with tempfile.TemporaryDirectory() as scratch:
        EVENTS.write_bytes(build_events(Path(scratch)))
    with tempfile.TemporaryDirectory() as scratch:
        TABLED.write_bytes(build_events(Path(scratch), "compacted"))
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "x.seg").write_bytes(build_orders(Path(scratch)))
        with LocalSegment(Path(scratch) / "x.seg", queue=NAME) as sealed:
            ORDERS.write_bytes(b"".join(encode_segment(sealed)))
    build_catalog(HOLDING, *HOLDS)
