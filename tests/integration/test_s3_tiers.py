"""Tiers on S3: moves, what a reader needs of them, what faults may not do."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.cli.main import run
from chronicle.core.errors import StateError, UnavailableError
from chronicle.storage.manifest.catalog import read_pointer
from chronicle.storage.manifest.catalog_changes import publish_changes
from chronicle.storage.manifest.rebuild import rebuild_manifest
from chronicle.storage.stores.opening import open_store
from chronicle.storage.stores.patience import Breaker, Patience
from chronicle.storage.stores.remote import RemoteStore
from chronicle.storage.stores.source import ArchiveSource, TieredSource
from chronicle.storage.tiers.agent import AgentOptions, apply_plan, make_plan
from chronicle.storage.tiers.policy import Policy, Rule, TierPolicy, default_policy
from chronicle.storage.tiers.verify import verify
from tests.support.faults import FaultyProxy
from tests.support.home_builder import CleanQueue
from tests.support.s3_server import BUCKET, client
from tests.support.tiers import BOOK, apply_all, book_events, book_home, fill, source_records

S3 = tuple[str, dict[str, str]]
DAY_NS = 86_400 * 10**9
CLEAN_BOOK = "clean/kraken/btc_eur/book.q"
QUICK = Patience(first_ns=1_000_000, longest_ns=10_000_000, attempts=16)


def s3_policy(home: Path, root: S3, *, grace_ns: int = 0) -> Policy:
    """Hot, warm in the home, cold on S3."""
    base = default_policy(home)
    tiers = (*base.tiers, TierPolicy("cold", root[0], options=root[1]))
    return replace(base, tiers=tiers, rules=(*base.rules, Rule("warm", "cold", 0)), grace_ns=grace_ns)


def names_of(root: S3) -> list[str]:
    _, _, prefix = root[0].removeprefix("s3://").partition("/")
    rows = client(root[1]["endpoint_url"]).list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
    return [row["Key"].removeprefix(f"{prefix}/") for row in rows]


def test_segments_go_from_hot_over_warm_to_s3_and_stay_the_same(tmp_path: Path, s3_root: S3) -> None:
    home = book_home(tmp_path / "home", 3)
    truth = source_records(TieredSource(home))
    policy = s3_policy(home, s3_root)
    for place in ("warm", "cold"):
        report = apply_all(home, policy)
        assert (len(report.moved), report.failures) == (3, [])
        assert {info.place for info in TieredSource(home).segments(BOOK)} == {place}
        assert source_records(TieredSource(home)) == truth
    assert not list((home / "archive").rglob("*.czst"))
    assert [name for name in names_of(s3_root) if name.endswith(".czst")] == [
        f"{BOOK}/{number:010d}.czst" for number in range(3)
    ]
    assert source_records(ArchiveSource(*s3_root)) == truth
    assert verify(home, deep=True).findings == ()
    assert verify(s3_root[0], deep=True, options=s3_root[1]).findings == ()


def test_segments_come_back_from_s3(tmp_path: Path, s3_root: S3) -> None:
    home = book_home(tmp_path / "home", 2)
    truth = source_records(TieredSource(home))
    policy = s3_policy(home, s3_root)
    apply_all(home, policy)
    apply_all(home, policy)
    near = replace(policy, tiers=(*policy.tiers, TierPolicy("near", home / "near", "none")))
    assert len(apply_all(home, near).moved) == 2
    assert source_records(TieredSource(home)) == truth
    assert names_of(s3_root)[0].startswith("chronicle-catalog")
    assert verify(home, deep=True).findings == ()


def clean_home(home: Path) -> list[int]:
    """A book of four segments, each with a venue's start; return a moment in each."""
    chance, moments = random.Random(3), []
    book = CleanQueue(home)
    ts = 1_600_000_000_000_000_000
    book.define(ts)
    book.venue_snapshot(ts, [(9_990 - n, 5) for n in range(30)], [(10_010 + n, 5) for n in range(30)])
    for number in range(4_000):
        ts += chance.randrange(1, 100_000_000)
        side = chance.choice(["bid", "ask"])
        offset = chance.randrange(40)
        price = 9_990 - offset if side == "bid" else 10_010 + offset
        book.deltas(ts, (side, price, chance.randrange(0, 9)))
        if number % 200 == 199:
            book.etl_snapshot(ts)
        if number % 500 == 250:
            moments.append(ts)
        if number % 1000 == 999:
            book.seal()
    book.close()
    return moments


def answers(store: chronicle.Store, moments: list[int]) -> list[object]:
    out: list[object] = []
    for at in moments:
        book = store.book("kraken:BTC-EUR", at=at, depth=20)
        values = book.to_dict()
        values["source"].pop("place", None)
        out.append(values)
    table = store.scan("kraken:BTC-EUR", channel="book").to_arrow()
    return [*out, table.to_pydict()]


def test_answers_are_the_same_from_hot_warm_and_s3(tmp_path: Path, s3_root: S3) -> None:
    home = tmp_path / "home"
    moments = clean_home(home)
    policy = s3_policy(home, s3_root)
    with chronicle.open(home) as store:
        expected = answers(store, moments)
    for _ in range(2):
        apply_all(home, policy)
        with chronicle.open(home) as store:
            assert answers(store, moments) == expected
    with chronicle.open(s3_root[0], options=s3_root[1]) as store:
        assert answers(store, moments) == expected
        book = store.book("kraken:BTC-EUR", at=moments[0])
        assert book.source["place"] == "cold"
        units = store.partitions("kraken:BTC-EUR", records=20)
        assert len(units) > 1
        rows = sum(pickle.loads(pickle.dumps(unit)).to_arrow().num_rows for unit in units)
        assert rows == store.scan("kraken:BTC-EUR", channel="book").to_arrow().num_rows
        assert [report.findings for report in store.verify(deep=True)] == [()]
    assert asyncio.run(book_awaited(s3_root, moments[0])) == book.to_dict()["bids"]


async def book_awaited(s3_root: S3, moment: int) -> list[list[str]]:
    async with await chronicle.aopen(s3_root[0], options=s3_root[1]) as store:
        return list((await store.book("kraken:BTC-EUR", at=moment)).to_dict()["bids"])


def month_home(home: Path) -> int:
    """A book of thirty days, a segment each; return how many deltas it has."""
    book, start, total = CleanQueue(home), 1_600_000_000 * 10**9 // DAY_NS * DAY_NS, 0
    for day in range(30):
        ts = start + day * DAY_NS
        if day == 0:
            book.define(ts)
        book.venue_snapshot(ts, [(9_990 - n, 5) for n in range(10)], [(10_010 + n, 5) for n in range(10)])
        for number in range(200):
            book.deltas(ts + (number + 1) * 400 * 10**9, ("bid", 9_990 - number % 10, 1 + number + day))
        total += 200
        book.seal()
    book.close()
    return total


def test_a_scan_of_a_month_sees_each_row_once_while_the_agent_moves_all_of_it(
    tmp_path: Path, s3_servers: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_servers("moto"))
    home, root = tmp_path / "home", f"s3://{BUCKET}/month"
    total = month_home(home)
    columns = ("ts_recv", "price", "size", "action")
    with chronicle.open(home) as store:
        expected = store.scan("kraken:BTC-EUR", channel="book", columns=columns).to_arrow()
        begun = store.scan("kraken:BTC-EUR", channel="book", columns=columns).batches(500)
        whole = list(store.scan("kraken:BTC-EUR", channel="book", columns=columns).batches(500))
        seen = [next(begun)]  # this one goes on when all of it has moved, twice
        assert expected.num_rows >= total
        for place in ("warm", "cold"):
            arguments = [sys.executable, "-m", "tests.crash.tier_agent", str(home), "zstd", root, "renamed", "10"]
            environment = os.environ | {"CHRONICLE_TEST_MOVES": "4", "CHRONICLE_TEST_HOLD": "1"}
            with subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
            ) as agent:
                assert agent.stdin is not None
                assert agent.stdout is not None
                lines = iter(agent.stdout.readline, b"")
                assert b"held\n" in lines, agent.communicate()[1].decode()
                scans = [store.scan("kraken:BTC-EUR", channel="book", columns=columns).to_arrow() for _ in range(2)]
                assert scans == [expected, expected], "in the middle of a move, others made and others to come"
                assert agent.poll() is None
                agent.stdin.write(b"x")
                agent.stdin.flush()
                is_over = False
                while not is_over:
                    is_over = agent.poll() is not None
                    assert store.scan("kraken:BTC-EUR", channel="book", columns=columns).to_arrow() == expected
                assert agent.returncode == 0, agent.communicate()[1].decode()
            assert {info.place for info in TieredSource(home).segments(CLEAN_BOOK)} == {place}
        seen += begun
        assert len(seen) > 5
        for name in columns:
            assert np.array_equal(*(np.concatenate([batch[name] for batch in each]) for each in (seen, whole)))
    with chronicle.open(root) as store:
        assert store.scan("kraken:BTC-EUR", channel="book", columns=columns).to_arrow() == expected


def test_a_book_from_s3_takes_three_requests_at_most(tmp_path: Path, s3_root: S3) -> None:
    home = tmp_path / "home"
    moments = clean_home(home)
    policy = s3_policy(home, s3_root)
    apply_all(home, policy)
    apply_all(home, policy)
    with chronicle.open(home) as store:
        covered = store.coverage("kraken:BTC-EUR", "book").segments
    edges = [ts for info in covered for ts in (info.ts_first, info.ts_last, info.ts_last + 1)]
    for at in [*moments, *edges]:
        with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
            with chronicle.open(s3_root[0], options={"endpoint_url": proxy.address}) as store:
                opened = len(proxy.requests)
                book = store.book("kraken:BTC-EUR", at=at)
            asked = len(proxy.requests) - opened
        assert asked == book.cost.requests
        assert asked <= 3, (at, proxy.requests[opened:])
        assert opened <= 3


def test_a_scan_tells_its_requests(tmp_path: Path, s3_root: S3) -> None:
    home = tmp_path / "home"
    clean_home(home)
    policy = s3_policy(home, s3_root)
    apply_all(home, policy)
    apply_all(home, policy)
    for columns in (("ts_recv", "price", "size"), ("ts_recv", "price", "action")):  # as columns; by records
        with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
            with chronicle.open(s3_root[0], options={"endpoint_url": proxy.address}) as store:
                store.instruments()  # (the catalog, and what symbols there are)
                opened = len(proxy.requests)
                scan = store.scan("kraken:BTC-EUR", channel="book", columns=columns)
                assert scan.to_arrow().num_rows
            assert scan.cost.requests == len(proxy.requests) - opened
        assert opened > 0


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_bad_last_object_does_not_touch_earlier_answers(tmp_path: Path, damage: str) -> None:
    home = tmp_path / "home"
    moments = clean_home(home)
    apply_all(home)
    last = sorted(home.rglob("*.czst"))[-1]
    if damage == "missing":
        last.unlink()
    else:
        data = bytearray(last.read_bytes())
        data[-70] ^= 1
        last.write_bytes(data)
    for name in ("kraken:BTC-EUR", "kraken:BTC/EUR", "kraken:btc-eur"):
        assert run(["book", name, "--at", str(moments[0]), "--home", str(home)]) == 0
        assert run(["book", name, "--at", str(moments[-1]), "--home", str(home)]) == (3 if damage == "missing" else 5)
    with chronicle.open(home) as store:
        assert len(store.coverage("kraken:BTC-EUR", "book").segments) == 4


def test_a_root_on_s3_belongs_to_one_home(tmp_path: Path, s3_root: S3) -> None:
    one, two = book_home(tmp_path / "one", 1), book_home(tmp_path / "two", 1)
    for home in (one, two):
        apply_all(home, s3_policy(home, s3_root))
    apply_all(one, s3_policy(one, s3_root))
    with pytest.raises(StateError, match="another home"):
        apply_all(two, s3_policy(two, s3_root))
    assert {info.place for info in TieredSource(two).segments(BOOK)} == {"warm"}


def test_a_store_that_answers_501_to_conditions_is_used_without_them(tmp_path: Path, s3_root: S3) -> None:
    home = book_home(tmp_path / "home", 6)
    truth = source_records(TieredSource(home))
    apply_all(home, s3_policy(home, s3_root))
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0, conditions=False) as proxy:
        policy = s3_policy(home, (s3_root[0], {"endpoint_url": proxy.address}))
        plan, _ = make_plan(home, policy, everything=True)
        for part in (plan.moves[:2], plan.moves[2:]):
            apply_plan(home, replace(plan, moves=part), policy, options=AgentOptions(at_once=2)).raise_for_failures()
        assert proxy.met["501"] == 2  # asked once by each run, and left out from then on
        assert source_records(ArchiveSource(*s3_root)) == truth
        assert verify(home, deep=True).findings == ()
        pointer = read_pointer(open_store(*s3_root))
        assert pointer is not None
        with pytest.raises(StateError, match="another agent"):  # told by a look before, where no condition does
            publish_changes(
                open_store(s3_root[0], {"endpoint_url": proxy.address}),
                replace(pointer, token="of another version"),
                [],
                encoding="zstd",
                now_ns=0,
            )


def test_the_manifest_comes_back_from_what_s3_holds(tmp_path: Path, s3_root: S3) -> None:
    home = book_home(tmp_path / "home", 2)
    truth = source_records(TieredSource(home))
    policy = s3_policy(home, s3_root)
    apply_all(home, policy)
    apply_all(home, policy)
    (home / "manifest" / "data.mdb").write_bytes(b"garbage " * 1024)
    report = rebuild_manifest(home, policy)
    assert (report.segments, report.errors) == (2, ())
    assert source_records(TieredSource(home)) == truth
    client(s3_root[1]["endpoint_url"]).delete_object(
        Bucket=BUCKET, Key=f"{s3_root[0].partition(BUCKET + '/')[2]}/chronicle-catalog.msgpack.zst"
    )
    assert source_records(ArchiveSource(*s3_root)) == truth


def test_a_store_that_does_not_answer_pauses_its_tier_and_loses_nothing(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = book_home(tmp_path / "home", 3)
    truth = source_records(TieredSource(home))
    apply_all(home, s3_policy(home, s3_root))
    impatient(monkeypatch, attempts=2)
    with FaultyProxy(s3_root[1]["endpoint_url"], share=1, faults=("503",)) as proxy:
        policy = s3_policy(home, (s3_root[0], {"endpoint_url": proxy.address}))
        report = apply_all(home, policy)
        assert list(report.paused) == ["cold"]
        assert isinstance(report.paused["cold"], UnavailableError)
        assert report.moved == []
        assert source_records(TieredSource(home)) == truth
        asked = len(proxy.requests)
        assert asked <= 8  # it was not tried again for each segment
        proxy.share = 0
        assert len(apply_all(home, policy).moved) == 3
        assert source_records(TieredSource(home)) == truth
        assert verify(home).findings == ()


def impatient(monkeypatch: pytest.MonkeyPatch, *, attempts: int = 16) -> None:
    """Make all stores wait for milliseconds where they would for seconds."""
    made = RemoteStore.__init__

    def quick(self, requests, **options):
        patience = replace(QUICK, attempts=attempts)
        made(
            self, requests, **options | {"patience": patience, "breaker": Breaker(requests.location, patience.clock)}
        )

    monkeypatch.setattr(RemoteStore, "__init__", quick)


def many_segments(home: Path, count: int) -> Path:
    fill(home, BOOK, book_events(count * 4, snapshot_every=8), per_segment=4)
    return home


def move_through_faults(home: Path, root: S3, count: int, seed: int) -> None:
    """Move `count` segments to S3 while 30 % of the requests fail, until all are there; check each deletion."""
    truth = source_records(TieredSource(home))
    apply_all(home, s3_policy(home, root), options=AgentOptions(at_once=2))
    plain = client(root[1]["endpoint_url"])
    prefix = root[0].partition(f"{BUCKET}/")[2]
    with FaultyProxy(root[1]["endpoint_url"], share=0.3, seed=seed) as proxy:
        policy = s3_policy(home, (root[0], {"endpoint_url": proxy.address}))
        deleted = looked_at = 0
        read: set[str] = set()

        def hook(step: str, entry) -> None:
            nonlocal deleted, looked_at
            if step == "deleted":
                deleted += 1
                fresh = proxy.requests[looked_at:]  # (what came before is known: 10,000 objects make 10^5 requests)
                looked_at += len(fresh)
                read.update(path.partition(f"{prefix}/")[2] for method, path in fresh if method == "GET")
                found = plain.head_object(Bucket=BUCKET, Key=f"{prefix}/{entry.object}")
                assert found["ContentLength"] == entry.length
                assert entry.object in read, f"{entry.object} was deleted locally and never read back"

        for _ in range(20):
            plan, _ = make_plan(home, policy, everything=True)
            try:
                apply_plan(home, plan, policy, hook=hook, options=AgentOptions(at_once=4))
            except UnavailableError:
                continue  # a catalog could not be published; the next run does
            if {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}:
                break
        assert {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}
        apply_plan(home, replace(plan, moves=()), policy)
        assert deleted == count
        assert sum(proxy.met.values()) - proxy.met["none"] > count
    assert source_records(ArchiveSource(*root)) == truth
    assert not list((home / "archive").rglob("*.czst"))
    assert len([name for name in every_name(plain, prefix) if name.endswith(".czst")]) == count
    assert not plain.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads")
    report = verify(root[0], options=root[1])
    assert report.findings == ()
    assert report.segments == count


def every_name(plain, prefix: str) -> list[str]:
    pages = plain.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    return [row["Key"] for page in pages for row in page.get("Contents", [])]


def test_thirty_percent_of_faults_lose_none_of_200_objects(
    tmp_path: Path, s3_servers: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    root = f"s3://{BUCKET}/200-objects", {"endpoint_url": s3_servers("moto")}
    move_through_faults(many_segments(tmp_path / "home", 200), root, 200, seed=11)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thirty_percent_of_faults_lose_none_of_10_000_objects(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    move_through_faults(many_segments(tmp_path / "home", 10_000), s3_root, 10_000, seed=12)


def test_the_commands_work_on_s3(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    moments = clean_home(home)
    (home / "chronicle.toml").write_text(
        '[[tiers]]\nname = "hot"\npath = "."\nclass = "hot"\nencoding = "none"\n'
        f'[[tiers]]\nname = "cold"\npath = "{s3_root[0]}"\nclass = "cold"\n'
        f'options = {{ endpoint_url = "{s3_root[1]["endpoint_url"]}" }}\n'
        '[[policy]]\nfrom = "hot"\nto = "cold"\nafter = "0s"\n'
    )
    assert run(["tier", "plan", "--home", str(home)]) == 0
    assert "to go as one object of cold" in capsys.readouterr().out
    assert run(["tier", "apply", "--all", "--home", str(home)]) == 0
    assert run(["tier", "status", "--json", "--home", str(home)]) == 0
    capsys.readouterr()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_root[1]["endpoint_url"])
    for place in (str(home), s3_root[0]):
        assert run(["verify", "--home", place]) == 0
        capsys.readouterr()
        assert run(["book", "kraken:BTC-EUR", "--at", str(moments[0]), "--json", "--home", place]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "ok"
    assert run(["ls", "--home", s3_root[0]]) == 0
    assert "kraken:BTC-EUR" in capsys.readouterr().out
    assert run(["tier", "apply", "--home", s3_root[0]]) == 2
    assert run(["verify", "--home", f"s3://{BUCKET}/nothing-here"]) != 0
    assert run(["book", "kraken:BTC-EUR", "--home", "s3://no-such-bucket-at-all/x"]) != 0
