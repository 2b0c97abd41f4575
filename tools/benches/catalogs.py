"""Opening an archive root, and a book in it, when its catalog has many entries; the local manifest beside it.

The entries are those of one real book channel and made-up ones of 1,000 queues over two years of days.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import chronicle
from chronicle.core.clock import SystemClock
from chronicle.storage.manifest.catalog import Catalog, publish_catalog, read_catalog
from chronicle.storage.manifest.catalogs import Catalogs
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.source import ArchiveSource
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
        shutil.rmtree(home)


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
        entries.append(made)
    return entries
