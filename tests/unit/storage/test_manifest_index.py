"""The manifest's index: what a scan of all entries would find, after any history; an agent's run reads no more."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.source import summary_of
from chronicle.storage.manifest.manifest import Entry, Intent, Manifest, Retired
from chronicle.storage.manifest.manifest_index import DATABASE, _after
from chronicle.storage.manifest.manifest_stocks import Stock
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import Limits
from chronicle.storage.tiers.state import due_entries
from chronicle.storage.tiers.status import tier_status
from tests.support.tiers import BOOK, apply_all, book_events, book_home, fill, three_tiers

DAY = 86_400 * 10**9
START = 1_600_000_000 * 10**9
PLACES = ("hot", "warm", "cold", "delete")


def some_entry(rng: random.Random) -> Entry:
    """Return an entry of one of few keys, with whatever may stand in it."""
    queue, number = rng.choice((BOOK, "raw/main.q", BOOK + "x")), rng.randrange(8)
    first, place = START + number // 2 * DAY, rng.choice(PLACES)
    name = rng.choice((f"{queue}/{number:010d}.czst", f"packs/1970-01-01/{rng.randrange(3)}.czpk"))
    intent = Intent("cold", "o", ".o", "write", 9) if rng.random() < 0.2 else None
    copies = tuple(Retired("warm", f"packs/1970-01-01/{rng.randrange(3)}.czpk", 5) for _ in range(rng.randrange(3)))
    return Entry(
        queue, rng.randrange(1, 3), number, "00" * 16, number * 10, rng.choice((0, 10, 10)), first, first + DAY // 2,
        800, rng.randrange(10**6), 7, START + rng.randrange(5) * DAY, place, "zstd", name, 0, rng.randrange(10**5),
        intent, copies, rng.choice((0, 1, 11, 33, 43)),
    )  # fmt: skip


def check(manifest: Manifest) -> None:
    """Compare everything the index says with a scan of all entries."""
    entries = manifest.entries()
    totals: dict[str, tuple[int, int, int]] = {}
    for place in PLACES:
        mine = sorted((e for e in entries if e.place == place), key=lambda e: e.sealed_seen_ns)
        if mine:
            totals[place] = len(mine), sum(e.length for e in mine), sum(e.file_bytes for e in mine)
        assert sorted(manifest.at_place(place), key=lambda e: e.key) == sorted(mine, key=lambda e: e.key)
        assert [e.sealed_seen_ns for e in manifest.at_place(place)] == [e.sealed_seen_ns for e in mine]
        for until in (START - 1, START, START + 2 * DAY, START + 9 * DAY):
            old = {e.key for e in mine if e.sealed_seen_ns <= until}
            assert {e.key for e in manifest.at_place(place, seen_until_ns=until)} == old
        for day in {e.partition for e in entries} | {"none"}:
            assert manifest.of_day(place, day) == [e for e in entries if (e.place, e.partition) == (place, day)]
        for pack in range(3):
            name = f"packs/1970-01-01/{pack}.czpk"
            held = [
                e
                for e in entries
                if (place, name) in {(e.place, e.object), *((copy.tier, copy.object) for copy in e.retired)}
            ]
            assert manifest.in_pack(place, name) == held
        assert manifest.sealed_span(place) == ((mine[0].sealed_seen_ns, mine[-1].sealed_seen_ns) if mine else None)
    assert manifest.totals() == totals
    assert sorted(manifest.stocks(), key=str) == sorted(naive_stocks(entries), key=str)
    assert manifest.stocks(BOOK) == [stock for stock in manifest.stocks() if stock.queue == BOOK]
    assert manifest.pending() == [e for e in entries if e.intent or e.retired]
    for queue in (BOOK, "raw/main.q", BOOK + "x", "zz/none.q", "a.q"):
        mine = [e.generation for e in entries if e.queue == queue]
        assert manifest.newest_generation(queue) == max(mine, default=None)
        newest = [e.place for e in entries if e.queue == queue and e.generation == max(mine)]
        assert manifest.holds(queue) == bool({"warm", "cold"} & set(newest))


def naive_stocks(entries: list[Entry]) -> list[Stock]:
    """Return what each place holds of each queue, by reading everything for each."""
    found = []
    for key in {(e.queue, e.generation, e.queue_id, e.place) for e in entries}:
        mine = [e for e in entries if (e.queue, e.generation, e.queue_id, e.place) == key]
        filled = sorted((e for e in mine if e.record_count), key=lambda e: e.number)
        first = (filled[0].number, filled[0].ts_first) if filled else (-1, -1)
        last = (filled[-1].number, filled[-1].ts_last, filled[-1].end_index) if filled else (-1, -1, 0)
        sums = sum(e.record_count for e in mine), sum(e.length for e in mine), sum(e.file_bytes for e in mine)
        bounds = first[0], last[0], first[1], last[1], last[2], filled[0].base_index if filled else -1
        gapped = sum(not e.holds & 1 or e.holds & 32 > 0 for e in filled)
        found.append(Stock(*key, len(mine), *sums, *bounds, gapped))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_index_says_what_all_entries_say(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    manifest = Manifest.open(tmp_path, create=True)
    assert manifest is not None
    check(manifest)  # without an index: every question is answered by reading all
    manifest.make_index()
    for step in range(30):
        if rng.random() < 0.7:
            manifest.put([some_entry(rng) for _ in range(rng.randrange(1, 6))], dirty=["warm"])
        elif rng.random() < 0.9:
            manifest.remove([entry.key for entry in manifest.entries() if rng.random() < 0.4])
        else:
            manifest.replace_all({e.key: e for e in (some_entry(rng) for _ in range(9))}.values(), {}, "home")
        manifest.set_scrubbed([step])
        if step % 5 == 0:
            check(manifest)
            with manifest._environment.begin() as transaction:
                assert manifest._current_index(transaction) is not None


def test_an_index_that_another_program_did_not_keep_is_made_again(tmp_path: Path) -> None:
    rng = random.Random(3)
    manifest = Manifest.open(tmp_path, create=True)
    assert manifest is not None
    manifest.make_index()
    manifest.put([some_entry(rng) for _ in range(5)])
    gone = manifest.entries()[0]
    key = gone.queue.encode() + b"\0" + gone.generation.to_bytes(4, "big") + gone.number.to_bytes(8, "big")
    with manifest._environment.begin(write=True) as transaction:
        transaction.delete(key, db=manifest._segments)  # as a build would that knows no index
    assert gone not in manifest.entries()
    check(manifest)
    manifest.put([some_entry(rng)])
    check(manifest)
    manifest.make_index()
    with manifest._environment.begin() as transaction:
        assert manifest._current_index(transaction) is not None
        state = msgpack.unpackb(transaction.get(b"index", db=manifest._meta))
    assert state[1] == manifest.version()
    check(manifest)


def test_the_end_of_a_span_is_above_all_that_begin_so() -> None:
    assert _after(b"a\xff") == b"b\x00"
    assert _after(b"\xff\xff") > b"\xff\xff" + b"\xff" * 400
    assert DATABASE == b"index"


def test_a_run_reads_only_what_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book_home(tmp_path)
    policy = three_tiers(tmp_path)
    for _ in range(2):
        apply_all(tmp_path, policy)
    manifest = Manifest.open(tmp_path)
    assert manifest is not None
    resting = manifest.entries()
    assert {entry.place for entry in resting} == {"cold"}
    read: list[object] = []
    held = Manifest._held
    monkeypatch.setattr(Manifest, "entries", lambda *_: pytest.fail("all entries are read"))
    monkeypatch.setattr(Manifest, "_held", lambda *args: read.append(args) or held(*args))
    clock = FakeClock(4_000_000_000 * 10**9)
    run_once(tmp_path, policy, clock=clock)
    assert read == []
    warm = replace(policy, rules=policy.rules[:1], tiers=policy.tiers[:1])
    report = run_once(tmp_path, warm, clock=clock)
    assert not report.moved
    assert read == []


def test_what_an_operator_asks_first_reads_no_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book_home(tmp_path)
    policy = three_tiers(tmp_path)
    for _ in range(2):
        apply_all(tmp_path, policy)
    fill(tmp_path, BOOK, book_events(500, seed=2)[300:])
    rows = tier_status(tmp_path, policy).tiers
    listed = summary_of(TieredSource(tmp_path).segments(BOOK))
    read: list[object] = []
    held = Manifest._held
    monkeypatch.setattr(Manifest, "entries", lambda *_: pytest.fail("all entries are read"))
    monkeypatch.setattr(Manifest, "_held", lambda *args: read.append(args) or held(*args))
    assert [(row.tier, row.segments) for row in rows] == [("hot", 2), ("warm", 0), ("cold", 3)]
    again = tier_status(tmp_path, policy).tiers
    assert [replace(row, free_bytes=None) for row in again] == [replace(row, free_bytes=None) for row in rows]
    assert TieredSource(tmp_path).summary(BOOK) == listed
    assert TieredSource(tmp_path).queues() == [BOOK]
    assert read == []


def test_a_tier_within_its_limits_is_not_read(tmp_path: Path) -> None:
    book_home(tmp_path)
    policy = three_tiers(tmp_path)
    apply_all(tmp_path, policy)
    manifest = Manifest.open(tmp_path)
    assert manifest is not None
    stored = manifest.totals()["warm"][1]
    for bytes_max, expected in ((stored, 0), (stored - 1, 3)):
        limited = replace(policy, limits={"warm": Limits(bytes_max=bytes_max)})
        assert len(due_entries(manifest, limited, [], now_ns=START)) == expected
