"""The history says what was done, in a chain that shows every change; the catalog is parted by days."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack
import pytest

from chronicle.cli.main import run
from chronicle.core.clock import FakeClock
from chronicle.core.errors import CorruptionError
from chronicle.storage.manifest.catalog import (
    CATALOG_NAME,
    PARTS_FOLDER,
    Catalog,
    publish_catalog,
    read_catalog,
    read_pointer,
)
from chronicle.storage.manifest.catalog_layout import POINTER_MAGIC, pack_object
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.published import PublishedCatalog
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.policy import default_policy
from tests.support.tiers import BOOK, apply_all, book_home, three_tiers

DAY = 86_400 * 10**9
START = 1_600_000_000 * 10**9


def entry(number: int, *, queue: str = BOOK, day: int = 0, days: float = 0.5, generation: int = 1) -> Entry:
    first = START + day * DAY
    return Entry(
        queue, generation, number, "00" * 16, number * 10, 10, first, first + int(days * DAY), 800, 5000, 7, 3,
        "warm", "zstd", f"{queue}/{number:010d}.czst", 0, 77,
    )  # fmt: skip


def manifest_of(home: Path) -> Manifest:
    found = Manifest.open(home)
    assert found is not None
    return found


def test_every_move_and_deletion_is_told(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    policy = three_tiers(tmp_path)
    apply_all(tmp_path, policy)
    apply_all(tmp_path, policy)
    events = manifest_of(tmp_path).history()
    told = {(event.action, event.segment, event.source[:4], event.target[:4]) for event in events}
    hops = [("hot/", "warm"), ("warm", "cold")]
    assert told == {(what, number, *hop) for what in ("moved", "deleted") for number in (0, 1) for hop in hops}
    assert [event.number for event in events] == list(range(1, 9))
    assert manifest_of(tmp_path).history_head() == (8, events[-1].hash)
    assert read_pointer(LocalStore(tmp_path / "cold")).history[0] >= 5  # type: ignore[union-attr]
    assert manifest_of(tmp_path).history(after=6) == events[6:]


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_changed_event_breaks_the_chain(tmp_path: Path, number: int) -> None:
    book_home(tmp_path, 2)
    apply_all(tmp_path)
    store = manifest_of(tmp_path)
    with store._environment.begin(write=True) as transaction:
        database = store._environment.open_db(b"history", txn=transaction)
        key = number.to_bytes(8, "big")
        data, digest = msgpack.unpackb(transaction.get(key, db=database))
        values = msgpack.unpackb(data) | {"agent": "somebody else"}
        transaction.put(key, msgpack.packb([msgpack.packb(values), digest]), db=database)
    with pytest.raises(CorruptionError, match=f"event {number}"):
        store.history()
    assert run(["tier", "log", "--home", str(tmp_path)]) == 5


def test_an_event_that_was_left_out_breaks_the_chain(tmp_path: Path) -> None:
    book_home(tmp_path, 2)
    apply_all(tmp_path)
    store = manifest_of(tmp_path)
    with store._environment.begin(write=True) as transaction:
        database = store._environment.open_db(b"history", txn=transaction)
        transaction.delete((2).to_bytes(8, "big"), db=database)
    with pytest.raises(CorruptionError):
        store.history()


def test_the_log_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book_home(tmp_path, 2)
    assert run(["tier", "log", "--home", str(tmp_path)]) == 0
    assert "0 events" in capsys.readouterr().out
    apply_all(tmp_path)
    rebuild_manifest(tmp_path, default_policy(tmp_path))
    assert run(["tier", "log", "--home", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "moved" in printed
    assert "rebuilt" in printed
    assert run(["tier", "log", "--json", "--last", "2", "--home", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["action"] for line in lines] == ["deleted", "rebuilt"]


def test_a_former_part_stays_for_an_hour(tmp_path: Path) -> None:
    store, hour = LocalStore(tmp_path), 3600 * 10**9
    former = publish_catalog(store, Catalog("home", "warm", "zstd", (entry(0),)), now_ns=0).parts[0].object
    publish_catalog(store, Catalog("home", "warm", "zstd", (entry(0), entry(1))), now_ns=1)
    publish_catalog(store, Catalog("home", "warm", "zstd", (entry(0), entry(1))), now_ns=hour)
    assert store.size(former) is not None
    publish_catalog(store, Catalog("home", "warm", "zstd", (entry(0), entry(1))), now_ns=hour + 1)
    assert store.size(former) is None
    assert len(list(store.list(PARTS_FOLDER))) == 1


def test_a_catalog_of_version_1_is_read(tmp_path: Path) -> None:
    store, entries = LocalStore(tmp_path), [entry(0), entry(1, day=3)]
    values = {"home_id": "home", "tier": "warm", "encoding": "zstd", "entries": [item.to_dict() for item in entries]}
    (tmp_path / CATALOG_NAME).write_bytes(pack_object(POINTER_MAGIC, 1, msgpack.packb(values))[0])
    assert read_catalog(store) == Catalog("home", "warm", "zstd", tuple(entries))
    published = PublishedCatalog(store)
    assert published.entries(BOOK) == entries
    publish_catalog(store, Catalog("home", "warm", "zstd", tuple(entries)))
    assert read_catalog(store) == Catalog("home", "warm", "zstd", tuple(entries))


class Counting(LocalStore):
    """A folder that behaves as a store of requests does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_remote = True
        self.fetched: list[str] = []

    def fetch(self, name: str) -> tuple[bytes, str] | None:
        self.fetched.append(name)
        return super().fetch(name)


def test_a_moment_needs_its_day_alone(tmp_path: Path) -> None:
    entries = [entry(number, day=number) for number in range(100)]
    entries += [entry(number, queue="clean/a/quiet/trade.q", day=number * 60) for number in range(2)]
    publish_catalog(LocalStore(tmp_path), Catalog("home", "warm", "zstd", tuple(entries)))
    store = Counting(tmp_path)
    published = PublishedCatalog(store)
    assert store.fetched == [CATALOG_NAME]
    near = published.near(BOOK, START + 50 * DAY + DAY // 4)
    assert 50 in [found.number for found in near]
    assert [found.number for found in near if found.ts_first > START + 50 * DAY][:1] == [51]
    assert len(store.fetched) <= 3
    assert [found.number for found in published.near("clean/a/quiet/trade.q", START + 40 * DAY)][:1] == [0]
    assert published.near("clean/nobody.q", START) == []
    assert [found.number for found in published.entries(BOOK)] == list(range(100))
    assert published.near(BOOK, 0) == published.entries(BOOK)


def test_near_is_what_the_whole_list_says(tmp_path: Path) -> None:
    import random

    chance = random.Random(5)
    entries, day = [], 0
    for number in range(60):
        day += chance.choice([0, 0, 1, 1, 2, 9])
        entries.append(entry(number, day=day, days=0.01 * number))
    entries += [entry(number, queue="clean/b/long/book.q", day=number * 20, days=40) for number in range(4)]
    publish_catalog(LocalStore(tmp_path), Catalog("home", "warm", "zstd", tuple(entries)))
    whole = PublishedCatalog(LocalStore(tmp_path)).entries(BOOK)
    for _ in range(200):
        ts = START + chance.randrange(-DAY, (day + 3) * DAY)
        near = PublishedCatalog(Counting(tmp_path)).near(BOOK, ts)
        before = [found.number for found in whole if found.ts_first <= ts]
        assert [found.number for found in near if found.ts_first <= ts][-1:] == before[-1:]
        after = [found.number for found in whole if ts < found.ts_first <= ts + DAY]
        assert [found.number for found in near if ts < found.ts_first <= ts + DAY] == after


def test_a_reader_sees_what_was_published_since(tmp_path: Path) -> None:
    writer = LocalStore(tmp_path)
    publish_catalog(writer, Catalog("home", "warm", "zstd", (entry(0),)))
    clock, store = FakeClock(), Counting(tmp_path)
    published = PublishedCatalog(store, clock=clock)
    publish_catalog(writer, Catalog("home", "warm", "zstd", (entry(0), entry(1))))
    published.refresh()
    assert len(published.entries(BOOK)) == 1
    clock.sleep_ns(10 * 10**9)
    published.refresh()
    assert len(published.entries(BOOK)) == 2
    fetched = len(store.fetched)
    clock.sleep_ns(10 * 10**9)
    published.refresh()
    assert len(store.fetched) == fetched + 1


def test_parts_that_nobody_names_are_removed_by_the_next_run(tmp_path: Path) -> None:
    book_home(tmp_path, 1)
    apply_all(tmp_path)
    orphan = tmp_path / "archive" / PARTS_FOLDER / "2020-01-01.0000000000000000.msgpack.zst"
    orphan.write_bytes(b"half a publication")
    manifest_of(tmp_path).put([], dirty=[])
    store = manifest_of(tmp_path)
    store.put(store.entries(), dirty=["warm"])
    apply_all(tmp_path)
    assert not orphan.exists()
