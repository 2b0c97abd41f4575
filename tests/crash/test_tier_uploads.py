"""An upload in parts that is cut off goes on from the parts that the store holds, or is given up; none is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from chronicle.core.errors import StateError
from chronicle.storage.manifest.catalog import Catalog, publish_catalog
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores import remote
from chronicle.storage.stores.patience import Breaker, Patience
from chronicle.storage.stores.remote import RemoteStore
from chronicle.storage.stores.requests import UploadGoneError
from chronicle.storage.stores.s3 import S3Requests
from chronicle.storage.stores.source import TieredSource
from chronicle.storage.tiers.policy import Policy
from chronicle.storage.tiers.repair import repair
from chronicle.storage.tiers.verify import verify
from tests.support.faults import FaultyProxy
from tests.support.s3_server import BUCKET, client
from tests.support.tiers import WIRE, apply_all, source_records, three_tiers, wire_home

S3 = tuple[str, dict[str, str]]
PART_BYTES = 5 << 20
PARTS = 5
QUICK = Patience(first_ns=1_000_000, longest_ns=10_000_000, attempts=3)


@pytest.fixture(autouse=True)
def service(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The killed agent has its store's address from the environment, as what it wrote into the manifest says.

    Parts are sent one after the other, so that it is known which ones an end in the middle leaves.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("CHRONICLE_TEST_PARTS", "1")
    monkeypatch.setattr(remote, "PARTS_AT_ONCE", 1)


def cold_policy(home: Path, root: S3, address: str) -> Policy:
    """Hot, warm, and cold on S3 in small parts by way of `address`."""
    policy = three_tiers(home, cold_root=root[0])
    options = {"endpoint_url": address, "part_bytes": PART_BYTES}
    return replace(policy, tiers=(*policy.tiers[:-1], replace(policy.tiers[-1], options=options)))


def uploads(root: S3) -> list[dict[str, str]]:
    prefix = root[0].partition(f"{BUCKET}/")[2]
    found = client(root[1]["endpoint_url"]).list_multipart_uploads(Bucket=BUCKET, Prefix=f"{prefix}/")
    return list(found.get("Uploads") or ())


def sent(proxy: FaultyProxy) -> Counter[int]:
    """How often each part was sent."""
    found = (re.search(r"partNumber=(\d+)", path) for method, path in proxy.requests if method == "PUT")
    return Counter(int(match[1]) for match in found if match)


def killed_after(home: Path, root: S3, address: str, part: int) -> None:
    """Run an agent that kills itself when its `part`-th part was taken."""
    command = [sys.executable, "-m", "tests.crash.tier_agent", str(home), "zstd", root[0], "part", str(part)]
    environment = os.environ | {"AWS_ENDPOINT_URL": address, "CHRONICLE_TEST_PART": str(PART_BYTES)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def warm_home(home: Path) -> tuple[Path, bytes]:
    wire_home(home)
    truth = source_records(TieredSource(home), WIRE)
    assert len(apply_all(home).moved) == 1
    return home, truth


def assert_whole(home: Path, root: S3, truth: bytes) -> None:
    assert {info.place for info in TieredSource(home).segments(WIRE)} == {"cold"}
    assert source_records(TieredSource(home), WIRE) == truth
    assert verify(home, deep=True).findings == ()
    assert uploads(root) == []
    manifest = Manifest.open(home)
    assert manifest is not None
    assert manifest.uploads() == []


def test_a_killed_upload_goes_on_from_the_parts_that_were_taken(tmp_path: Path, s3_root: S3) -> None:
    home, truth = warm_home(tmp_path / "home")
    total: Counter[int] = Counter()
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        killed_after(home, s3_root, proxy.address, 2)
        assert sent(proxy) == {1: 1, 2: 1}
        total += sent(proxy)
    assert [len(uploads(s3_root)), source_records(TieredSource(home), WIRE) == truth] == [1, True]
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        policy = cold_policy(home, s3_root, proxy.address)
        assert apply_all(home, policy).undone == 1
        assert len(uploads(s3_root)) == 1  # the plan was made before; the next one goes on
        assert len(apply_all(home, policy).moved) == 1
        total += sent(proxy)
        assert not [path for method, path in proxy.requests if method == "POST" and path.endswith("?uploads")]
        assert total == dict.fromkeys(range(1, PARTS + 1), 1)
        assert_whole(home, s3_root, truth)


@pytest.mark.parametrize("part", [1, 3])
def test_of_parts_sent_at_once_none_that_was_taken_is_sent_again(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    home, truth = warm_home(tmp_path / "home")
    monkeypatch.setenv("CHRONICLE_TEST_PARTS", "4")
    monkeypatch.setattr(remote, "PARTS_AT_ONCE", 4)
    killed_after(home, s3_root, s3_root[1]["endpoint_url"], part)
    (upload,) = uploads(s3_root)
    listed = client(s3_root[1]["endpoint_url"]).list_parts(
        Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"]
    )
    taken = {row["PartNumber"] for row in listed["Parts"]}
    assert len(taken) >= part
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        for _ in range(2):
            apply_all(home, cold_policy(home, s3_root, proxy.address)).raise_for_failures()
        assert sent(proxy) == dict.fromkeys(set(range(1, PARTS + 1)) - taken, 1)
        assert_whole(home, s3_root, truth)


@pytest.mark.parametrize("sse", ["AES256", "aws:kms"])
def test_an_encrypted_upload_goes_on_by_what_was_noted_of_it(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch, sse: str
) -> None:
    home, truth = warm_home(tmp_path / "home")
    monkeypatch.setenv("CHRONICLE_TEST_SSE", sse)
    monkeypatch.setattr(S3Requests, "holds", lambda *_: False)  # with a key service an ETag is no MD5
    killed_after(home, s3_root, s3_root[1]["endpoint_url"], 3)
    (upload,) = uploads(s3_root)
    plain, listed = client(s3_root[1]["endpoint_url"]), {"UploadId": upload["UploadId"], "Key": upload["Key"]}
    plain.upload_part(Bucket=BUCKET, PartNumber=2, Body=os.urandom(PART_BYTES), **listed)  # of the same size
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        policy = with_options(cold_policy(home, s3_root, proxy.address), sse=sse)
        for _ in range(2):
            apply_all(home, policy).raise_for_failures()
        assert sent(proxy) in ({2: 1, 4: 1, 5: 1}, {2: 1, 3: 1, 4: 1, 5: 1})  # killed before the third was noted
        assert not [path for method, path in proxy.requests if method == "POST" and path.endswith("?uploads")]
        assert_whole(home, s3_root, truth)
        manifest = Manifest.open(home)
        assert manifest is not None
        assert manifest.notes(b"upload\0") == {}


def test_an_upload_of_another_encryption_is_given_up(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, truth = warm_home(tmp_path / "home")
    monkeypatch.setenv("CHRONICLE_TEST_SSE", "AES256")
    killed_after(home, s3_root, s3_root[1]["endpoint_url"], 3)
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        policy = with_options(cold_policy(home, s3_root, proxy.address), sse="aws:kms")
        for _ in range(2):
            apply_all(home, policy).raise_for_failures()
        assert sent(proxy) == dict.fromkeys(range(1, PARTS + 1), 1)
        assert_whole(home, s3_root, truth)


def with_options(policy: Policy, **options: str) -> Policy:
    """Return the policy with further options of its cold tier."""
    cold = policy.tiers[-1]
    return replace(policy, tiers=(*policy.tiers[:-1], replace(cold, options={**cold.options, **options})))


def test_an_outage_that_outlasts_the_retries_costs_no_part_twice(
    tmp_path: Path, s3_root: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, truth = warm_home(tmp_path / "home")
    impatient(monkeypatch)
    part = S3Requests.part
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0, faults=("503",)) as proxy:

        def failing(self, name, upload, number, data):
            proxy.share = 1 if number == 4 else 0
            return part(self, name, upload, number, data)

        monkeypatch.setattr(S3Requests, "part", failing)
        policy = cold_policy(home, s3_root, proxy.address)
        assert list(apply_all(home, policy).paused) == ["cold"]
        assert sent(proxy) == {1: 1, 2: 1, 3: 1, 4: QUICK.attempts}
        monkeypatch.setattr(S3Requests, "part", part)
        proxy.share = 0
        proxy.requests.clear()
        for _ in range(2):
            apply_all(home, policy).raise_for_failures()
        assert sent(proxy) == {4: 1, 5: 1}
        assert_whole(home, s3_root, truth)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    made = RemoteStore.__init__

    def quick(self, requests, **options):
        breaker = Breaker(requests.location, QUICK.clock)
        made(self, requests, **options | {"patience": QUICK, "breaker": breaker})

    monkeypatch.setattr(RemoteStore, "__init__", quick)


def cut_off(tmp_path: Path, root: S3) -> tuple[Path, bytes, Policy, dict[str, str]]:
    """Return a home whose upload was killed after three parts, its policy, and the upload."""
    home, truth = warm_home(tmp_path / "home")
    killed_after(home, root, root[1]["endpoint_url"], 3)
    (upload,) = uploads(root)
    return home, truth, cold_policy(home, root, root[1]["endpoint_url"]), upload


@pytest.mark.parametrize("damage", ["other bytes", "shorter"])
def test_only_a_damaged_part_is_sent_again(tmp_path: Path, s3_root: S3, damage: str) -> None:
    home, truth, _, upload = cut_off(tmp_path, s3_root)
    plain = client(s3_root[1]["endpoint_url"])
    body = bytes(PART_BYTES if damage == "other bytes" else PART_BYTES - 1)
    plain.upload_part(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=2, Body=body)
    with FaultyProxy(s3_root[1]["endpoint_url"], share=0) as proxy:
        for _ in range(2):
            apply_all(home, cold_policy(home, s3_root, proxy.address)).raise_for_failures()
        assert sent(proxy) == {2: 1, 4: 1, 5: 1}
        assert_whole(home, s3_root, truth)


@pytest.mark.parametrize("moment", ["before", "half-way"])
def test_an_expired_upload_is_begun_anew(
    tmp_path: Path, s3_root: S3, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, truth, policy, upload = cut_off(tmp_path, s3_root)
    plain, part, expired = client(s3_root[1]["endpoint_url"]), S3Requests.part, []

    def expire() -> None:
        expired.append(upload["UploadId"])
        plain.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])

    def late(self, name, upload_id, number, data):
        if not expired:
            expire()
        return part(self, name, upload_id, number, data)

    if moment == "before":
        expire()
    else:
        monkeypatch.setattr(S3Requests, "part", late)
    impatient(monkeypatch)
    runs = 2
    if moment == "half-way" and "moto" in s3_root[0]:
        runs = 4  # it answers 500 where others answer NoSuchUpload: an outage, until a run looks again
    reports = [apply_all(home, policy) for _ in range(runs)]
    assert sum(len(report.moved) for report in reports) == 1
    reports[-1].raise_for_failures()
    assert expired == [upload["UploadId"]]
    assert_whole(home, s3_root, truth)


def test_an_upload_that_nobody_goes_on_with_is_given_up(tmp_path: Path, s3_root: S3) -> None:
    home, truth, policy, _ = cut_off(tmp_path, s3_root)
    elsewhere = replace(policy, rules=policy.rules[:1])  # nothing goes to cold any more
    assert apply_all(home, elsewhere).undone == 1
    assert len(uploads(s3_root)) == 1
    apply_all(home, elsewhere).raise_for_failures()
    assert uploads(s3_root) == []
    assert source_records(TieredSource(home), WIRE) == truth


def test_an_upload_to_a_tier_that_is_gone_is_given_up_at_once(tmp_path: Path, s3_root: S3) -> None:
    home, truth, policy, _ = cut_off(tmp_path, s3_root)
    apply_all(home, replace(policy, tiers=policy.tiers[:-1], rules=policy.rules[:1])).raise_for_failures()
    assert uploads(s3_root) == []
    assert source_records(TieredSource(home), WIRE) == truth


def test_repair_gives_up_what_is_left_and_nothing_of_others(tmp_path: Path, s3_root: S3) -> None:
    home, truth, policy, upload = cut_off(tmp_path, s3_root)
    plain = client(s3_root[1]["endpoint_url"])
    theirs = f"{upload['Key'].partition('/')[0]}/backup.tar"
    plain.create_multipart_upload(Bucket=BUCKET, Key=theirs)
    assert repair(home, policy).uploads == 1
    assert [row["Key"] for row in uploads(s3_root)] == [theirs]
    plain.abort_multipart_upload(Bucket=BUCKET, Key=theirs, UploadId=uploads(s3_root)[0]["UploadId"])
    for _ in range(2):
        apply_all(home, policy).raise_for_failures()
    assert_whole(home, s3_root, truth)


def test_an_agent_of_another_home_touches_no_upload_of_this_one(tmp_path: Path, s3_root: S3) -> None:
    home, truth, policy, _ = cut_off(tmp_path, s3_root)
    other, _ = warm_home(tmp_path / "other")
    manifest = Manifest.open(home)
    assert manifest is not None
    publish_catalog(manifest.store("cold"), Catalog(manifest.home_id(), "cold", "zstd", ()))
    with pytest.raises(StateError, match="another home"):
        apply_all(other, cold_policy(other, s3_root, s3_root[1]["endpoint_url"]))
    assert repair(other, cold_policy(other, s3_root, s3_root[1]["endpoint_url"])).uploads == 0
    assert len(uploads(s3_root)) == 1
    for _ in range(2):
        apply_all(home, policy).raise_for_failures()
    assert_whole(home, s3_root, truth)


def test_two_that_put_the_same_object_at_once_leave_it_whole(s3_root: S3) -> None:
    body = [os.urandom(PART_BYTES) for _ in range(3)]
    first, second = (RemoteStore(S3Requests(*s3_root), part_bytes=PART_BYTES) for _ in range(2))

    def crossing():
        yield body[0]
        yield body[1]
        assert second.put("object", body, resume=True) == 3 * PART_BYTES
        yield body[2]

    try:
        first.put("object", crossing(), resume=True)
    except UploadGoneError:  # the move puts it again
        assert first.put("object", body, resume=True) == 3 * PART_BYTES
    assert first.reader("object").read(0, 3 * PART_BYTES) == b"".join(body)
    assert uploads(s3_root) == []
    with pytest.raises(StateError, match="another agent wrote"):
        first.put("object", [*body, b"more"], resume=True)
    assert first.size("object") == 3 * PART_BYTES
    assert uploads(s3_root) == []
