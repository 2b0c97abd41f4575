"""A catalog published from what changed is the one of all entries, after any history, and costs what it tells."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.core.source import summary_of
from chronicle.storage.manifest import catalog_changes
from chronicle.storage.manifest.catalog import (
    CATALOG_NAME,
    PARTS_FOLDER,
    Catalog,
    Pointer,
    publish_catalog,
    read_catalog,
    read_pointer,
    spans_of,
)
from chronicle.storage.manifest.catalog_changes import publish_changes
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_stocks import stocks_of
from chronicle.storage.manifest.published import PublishedCatalog
from chronicle.storage.stores.source import ArchiveSource
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import apply_plan, make_plan
from chronicle.storage.tiers.policy import default_policy
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import BOOK, apply_all, book_home, source_records, three_tiers

DAY = 86_400 * 10**9
START = 1_600_000_000 * 10**9
OTHER = "clean/a/quiet/trade.q"


def entry(number: int, *, queue: str = BOOK, day: float = 0, place: str = "warm", generation: int = 1) -> Entry:
    first = START + int(day * DAY)
    name = f"{queue}/{number:010d}.czst"
    return Entry(
        queue, generation, number, "00" * 16, number * 10, 10, first, first + DAY // 2, 800, 9, number, START, place,
        "zstd", name, 0, 77,
    )  # fmt: skip


def published(manifest: Manifest, store: LocalStore) -> Pointer:
    """Publish the catalog of warm as the agent does, from the changes."""
    before, state = read_pointer(store), manifest.catalog_state("warm")
    assert before is not None
    assert before.sequence == state.sequence
    pointer = publish_changes(store, before, state.changes, encoding="zstd", now_ns=0, told=state.told)
    manifest.catalog_published(state, pointer.sequence)
    return pointer


def begun(folder: Path) -> tuple[Manifest, LocalStore]:
    """An empty manifest, and a root whose catalog it has published."""
    manifest = Manifest.open(folder / "home", create=True)
    assert manifest is not None
    manifest.make_index()
    store = LocalStore(folder / "root")
    store.root.mkdir()
    state = manifest.catalog_state("warm", whole=True)
    manifest.catalog_published(
        state, publish_catalog(store, Catalog("home", "warm", "zstd", state.entries or ())).sequence
    )
    return manifest, store


def check(manifest: Manifest, store: LocalStore) -> None:
    """Compare what the catalog says, in every way in which it is asked, with what the manifest has."""
    mine = [each for each in manifest.entries() if each.place == "warm"]
    plain = [replace(each, intent=None, retired=()) for each in mine]
    catalog, pointer = read_catalog(store), read_pointer(store)
    assert catalog is not None
    assert pointer is not None
    assert list(catalog.entries) == plain
    exact = spans_of(mine)
    assert {name: span[2:] for name, span in pointer.queues.items() if name in exact}.keys() == exact.keys()
    for name, (first, last, generation, count) in exact.items():
        found = pointer.queues[name]
        assert found[3] == count
        assert found[2] >= generation
        if found[2] == generation:
            assert found[0] <= first
            assert found[1] >= last
    assert set(pointer.queues) == set(exact)
    for queue in exact:
        newest = pointer.queues[queue][2]
        told = [each for each in plain if each.queue == queue and each.generation == newest]
        assert PublishedCatalog(store).entries(queue) == told
        sums = PublishedCatalog(store).stock(queue)
        assert [replace(each, queue_id="") for each in stocks_of(told)] == ([] if sums is None else [sums])
        if told:
            ours, naive = (
                ArchiveSource(store.root).summary(queue),
                summary_of(ArchiveSource(store.root).segments(queue)),
            )
            times = {"ts_first": 0, "ts_last": 0}  # these entries' do not rise by their numbers, as a queue's do
            assert replace(ours, **times) == replace(naive, **times)
        for each in told:
            assert PublishedCatalog(store).entry(queue, each.number) == each
            near = PublishedCatalog(store).near(queue, each.ts_first)
            assert each in near
            assert near == [one for one in told if one in near]


@pytest.mark.parametrize("seed", range(6))
def test_changes_make_the_catalog_of_all_entries(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_changes, "FRESH_MAX", 5)
    rng = random.Random(seed)
    manifest, store = begun(tmp_path)
    for step in range(60):
        for _ in range(rng.randrange(1, 4)):  # several transactions between two publications
            fresh = [
                replace(
                    entry(rng.randrange(30), queue=rng.choice([BOOK, OTHER]), day=rng.randrange(4) + 0.1),
                    place=rng.choice(["warm", "warm", "warm", "hot", "cold", "delete"]),
                    length=rng.randrange(9),
                    holds=rng.choice([0, 1, 33]),
                )
                for _ in range(rng.randrange(1, 5))
            ]
            if rng.random() < 0.8:
                manifest.put(fresh, dirty=["warm"])
            else:
                manifest.remove([each.key for each in manifest.entries() if rng.random() < 0.2])
        if rng.random() < 0.8:
            published(manifest, store)
            check(manifest, store)
        if step == 40:
            manifest.put([entry(n, queue=OTHER, generation=2, day=5) for n in range(3)])
    published(manifest, store)
    check(manifest, store)
    pointer = read_pointer(store)
    assert pointer is not None
    names = {part.object for part in pointer.parts} | {name for name, _ in pointer.retired}
    assert names == {name for name, _ in store.list(PARTS_FOLDER)}


def test_what_changed_while_a_catalog_was_published_is_told_by_the_next(tmp_path: Path) -> None:
    manifest, store = begun(tmp_path)
    manifest.put([entry(0), entry(1)], dirty=["warm"])
    before, state = read_pointer(store), manifest.catalog_state("warm")
    manifest.put([entry(2), entry(1, place="cold")], dirty=["warm"])  # a move ends meanwhile
    assert before is not None
    pointer = publish_changes(store, before, state.changes, encoding="zstd", now_ns=0)
    manifest.catalog_published(state, pointer.sequence)
    assert manifest.dirty() == ["warm"]
    assert [each.number for each in read_catalog(store).entries] == [0, 1]  # type: ignore[union-attr]
    published(manifest, store)
    assert manifest.dirty() == []
    check(manifest, store)
    whole = manifest.catalog_state("warm", whole=True)
    manifest.put([entry(3), entry(0, place="cold")], dirty=["warm"])
    pointer = publish_catalog(store, Catalog("home", "warm", "zstd", whole.entries or ()))
    manifest.catalog_published(whole, pointer.sequence)
    assert manifest.dirty() == ["warm"]
    published(manifest, store)
    check(manifest, store)


def test_a_publication_costs_what_it_tells(tmp_path: Path) -> None:
    manifest, store = begun(tmp_path)
    written = 0
    put = store.put

    def counted(name, parts, *, resume=False):
        nonlocal written
        if name.startswith(PARTS_FOLDER):
            written += sum(len(part) for part in parts)
        return put(name, parts, resume=resume)

    store.put = counted  # type: ignore[method-assign]
    total, batch = 8_000, 64
    for start in range(0, total, batch):
        manifest.put([entry(number, day=0.1) for number in range(start, start + batch)], dirty=["warm"])
        published(manifest, store)
    pointer = read_pointer(store)
    assert pointer is not None
    assert 1 < len(pointer.parts) <= 4
    sizes = [part.entries for part in pointer.parts]
    assert all(one >= 4 * two for one, two in itertools.pairwise(sizes))
    assert len(pack_of(store)) < 40_000
    stored = sum(part.bytes for part in pointer.parts)
    assert written < 12 * stored  # one object a day, written anew by each of 125 publications, would be 63 times
    check_few(store, total)


def pack_of(store: LocalStore) -> bytes:
    found = store.fetch(CATALOG_NAME)
    assert found is not None
    return found[0]


def check_few(store: LocalStore, total: int) -> None:
    assert [each.number for each in PublishedCatalog(store).entries(BOOK)] == list(range(total))


def test_a_catalog_that_is_not_our_last_one_is_made_whole(tmp_path: Path) -> None:
    home = book_home(tmp_path / "home", 6)
    truth = source_records(ArchiveSource(moved(home, 3)))
    root = home / "archive"
    old = (root / CATALOG_NAME).read_bytes()
    apply_all(home)
    (root / CATALOG_NAME).write_bytes(old)  # put back by hand: the changes since are not among the next ones
    assert any(finding.kind == "catalog" for finding in verify(home).findings)
    manifest = Manifest.open(home)
    assert manifest is not None
    manifest.put([], dirty=["warm"])
    manifest.put(manifest.entries()[:1], dirty=["warm"])
    apply_all(home)
    assert verify(home).findings == ()
    assert len(source_records(ArchiveSource(root))) > len(truth)


def moved(home: Path, count: int) -> Path:
    """Move the first segments to warm and return its root."""
    policy = default_policy(home)
    plan, _ = make_plan(home, policy, everything=True)
    apply_plan(home, replace(plan, moves=plan.moves[:count]), policy)
    return home / "archive"


def test_a_manifest_of_an_older_build_publishes_whole_once(tmp_path: Path) -> None:
    home = book_home(tmp_path, 4)
    moved(home, 2)
    manifest = Manifest.open(home)
    assert manifest is not None
    with manifest._environment.begin(write=True) as transaction:  # as a build would leave it that knows no changes
        transaction.drop(manifest._changes)
        transaction.delete(b"published", db=manifest._meta)
    manifest._changes = None
    policy = three_tiers(home)
    apply_all(home, policy)
    assert verify(home).findings == ()
    catalog = read_catalog(LocalStore(home / "cold"))
    assert catalog is not None
    assert len(catalog.entries) == 2
