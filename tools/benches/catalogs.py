"""An archive root whose catalog has many entries, and the local manifest beside it.

How long they take to open, to find a book in, to publish, and to say what they hold and lack. Their entries are those
of one real book channel and made-up ones of 1,000 queues over two years of days.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import chronicle
from chronicle.access import Gap
from chronicle.access.opened.segments import Shelf
from chronicle.access.opened.symbols import Directory
from chronicle.access.trust.gaps import gaps_of_all
from chronicle.core.clock import SystemClock
from chronicle.core.source import SegmentSource, summary_of
from chronicle.storage.codec.archive_layout import Holds
from chronicle.storage.manifest.catalog import Catalog, publish_catalog, read_catalog
from chronicle.storage.manifest.catalogs import Catalogs
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.source import ArchiveSource, open_source
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from chronicle.storage.tiers.status import tier_status
from tools.benches.books import book_data
from tools.benches.figure import Figure, best_ns
from tools.benches.market import Market, suffix, work_folder

COUNTS = (1_000, 100_000, 1_000_000)
QUEUES = 1_000
DAYS = 730
DAY_NS = 86_400 * 10**9
REPEATS = 5
BATCH = 64
QUIET = int(Holds.KNOWN | Holds.SNAPSHOTS | Holds.CHECKS)
T = TypeVar("T")


def figures(of: Market) -> Iterator[Figure]:
    """Yield how long it takes to open, to look up a book, and to publish a day that changed."""
    data, end = book_data(of.name), suffix(of.name)
    for count in COUNTS:
        home = work_folder() / f"{of.name}-catalog-{count}"
        shutil.copytree(of.home, home)
        run_once(home, default_policy(home), everything=True)
        store = LocalStore(home / "archive")
        real = read_catalog(store)
        assert real is not None
        entries = (*real.entries, *_made_up(count, real.entries[0]))
        whole = Catalog(real.home_id, real.tier, real.encoding, entries)
        publish_catalog(store, whole)
        root = store.location
        opened = best_ns(lambda root=root: ArchiveSource(root).queues(), REPEATS)
        yield Figure(f"archive.open_ms_{count}{end}", opened / 1e6, "ms", len(entries))
        at = (data.ts_first + data.ts_last) // 2

        def book(root: str = root, at: int = at) -> None:
            with chronicle.open(root) as archive:
                archive.book(data.symbol, at=at, depth=10)

        yield Figure(f"archive.open_and_book_ms_{count}{end}", best_ns(book, REPEATS) / 1e6, "ms", len(entries))
        manifest = Manifest.open(home)
        assert manifest is not None
        manifest.put(entries[len(real.entries) :])
        catalogs = Catalogs(manifest, lambda _, store=store: store, SystemClock())
        catalogs.publish("warm")
        numbers = itertools.count(10**6)
        spent = best_ns(partial(_publish_batch, manifest, catalogs, entries[-1], numbers), REPEATS)
        yield Figure(f"archive.publish_batch_ms_{count}{end}", spent / 1e6, "ms", len(entries))
        name = entries[0].queue
        spent = best_ns(lambda home=home, name=name: Manifest.open(home).entries(name), REPEATS)  # type: ignore[union-attr]
        yield Figure(f"archive.manifest_queue_ms_{count}{end}", spent / 1e6, "ms", len(entries))
        policy = default_policy(home)
        spent = best_ns(lambda home=home, policy=policy: run_once(home, policy), REPEATS)
        yield Figure(f"archive.agent_cycle_ms_{count}{end}", spent / 1e6, "ms", len(entries))
        spent = best_ns(lambda home=home, policy=policy: tier_status(home, policy), REPEATS)
        yield Figure(f"archive.tier_status_ms_{count}{end}", spent / 1e6, "ms", len(entries))
        yield from _overviews(home, count, end, len(entries))
        shutil.rmtree(home)


def _overviews(home: Path, count: int, end: str, entries: int) -> Iterator[Figure]:
    """Yield how long the holes of all instruments take, and a line for each queue, by sums and by all entries."""
    for place, word in ((home / "archive", ""), (home, "home_")):
        found, told = _once(partial(_gaps, str(place)))
        same, listed = _once(partial(_gaps, str(place), listed=True))
        if found != same:
            raise AssertionError("sums and entries tell of different holes")
        name = f"archive.gaps_all_{word}ms_{count}{end}"
        yield Figure(name, told / 1e6, "ms", entries, "all entries listed", listed / 1e6)
    source = ArchiveSource(str(home / "archive"))
    _, told = _once(lambda: [source.summary(queue) for queue in source.queues()])
    fresh = ArchiveSource(str(home / "archive"))
    _, listed = _once(lambda: [summary_of(fresh.segments(queue)) for queue in fresh.queues()])
    yield Figure(f"archive.ls_ms_{count}{end}", told / 1e6, "ms", entries, "all entries listed", listed / 1e6)


def _once(work: Callable[[], T]) -> tuple[T, int]:
    """Return what some work gives, and how many ns it took."""
    begun = time.perf_counter_ns()
    found = work()
    return found, time.perf_counter_ns() - begun


def _gaps(place: str, *, listed: bool = False) -> list[Gap]:
    """Return the holes of all instruments; `listed`: by a source that has no sums."""
    source: SegmentSource = open_source(place)
    shelf = Shelf(_Listing(source) if listed else source)
    return gaps_of_all(shelf, Directory(shelf).symbols(), None, None)


class _Listing:
    """A source that lists segments and tells no sums."""

    def __init__(self, source: SegmentSource) -> None:
        self.queues, self.segments = source.queues, source.segments
        self.sealed_end, self.open = source.sealed_end, source.open


def _publish_batch(manifest: Manifest, catalogs: Catalogs, last: Entry, numbers: Iterator[int]) -> None:
    """Publish what a batch of moves changes, all of them in one day."""
    manifest.put([replace(last, number=next(numbers), object=f"{each}.czst") for each in range(BATCH)])
    catalogs.publish("warm")


def _made_up(count: int, like: Entry) -> list[Entry]:
    chance = random.Random(9)
    entries = []
    for number in range(count):
        queue = f"clean/venue{number % 10}/symbol{number % QUEUES:04d}_usd/book.q"
        index = number // QUEUES
        first = like.ts_first - DAYS * DAY_NS + index * DAYS * DAY_NS // max(1, count // QUEUES)
        first += chance.randrange(DAY_NS)
        name = f"{queue}/{index:010d}.czst"
        made = replace(like, queue=queue, number=index, ts_first=first, ts_last=first + DAY_NS, object=name)
        entries.append(replace(made, base_index=index * like.record_count, holds=QUIET))
    return entries
