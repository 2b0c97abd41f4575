"""Stores of every kind keep the same promises; requests that are not answered are sent again, within bounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.errors import (
    CapacityError,
    ConfigError,
    NotFoundError,
    StateError,
    StoreError,
    TornSegmentError,
    UnavailableError,
)
from chronicle.storage.stores.opening import open_store
from chronicle.storage.stores.patience import Breaker, Patience
from chronicle.storage.stores.remote import RemoteStore
from chronicle.storage.stores.requests import ConditionRefusedError, Part, requests_made
from chronicle.storage.stores.s3 import S3Requests
from chronicle.storage.stores.stores import Store
from tests.support.faults import FaultyProxy
from tests.support.s3_server import BUCKET, client, versitygw

MB = 1 << 20


@pytest.fixture(params=["folder", "memory", "moto", "versitygw"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3_servers: Callable[[str], str]) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "root")
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}{id(tmp_path)}")
    if request.param == "versitygw" and versitygw() is None:
        pytest.skip("versitygw is not installed (`make test-tools`)")
    return open_store(f"s3://{BUCKET}/{tmp_path.name}", {"endpoint_url": s3_servers(request.param)})


def put(store: Store, name: str, data: bytes) -> None:
    staged = store.staging(name)
    assert store.put(staged, [data]) == len(data)
    store.rename(staged, name)


def read(store: Store, name: str) -> bytes:
    reader = store.reader(name)
    try:
        return reader.read(0, reader.size)
    finally:
        reader.close()


def test_an_object_comes_back_as_it_was_put(store: Store) -> None:
    put(store, "a/b/object", b"0123456789")
    assert read(store, "a/b/object") == b"0123456789"
    assert store.size("a/b/object") == 10
    part = store.reader("a/b/object", offset=2, size=5)
    assert (part.size, part.read(0, 5), part.read(1, 2)) == (5, b"23456", b"34")
    with pytest.raises(TornSegmentError):
        part.read(3, 3)
    put(store, "a/b/object", b"new")
    assert read(store, "a/b/object") == b"new"
    put(store, "empty", b"")
    assert store.size("empty") == 0


def test_what_is_not_there_is_told(store: Store) -> None:
    assert store.size("nothing") is None
    assert store.fetch("nothing") is None
    store.delete("nothing")
    store.discard("nothing")
    with pytest.raises(NotFoundError):
        store.reader("nothing").read(0, 1)


def test_a_name_cannot_leave_the_root(store: Store) -> None:
    for name in ("../x", "/x", "a/../../x", "", "./x", "a\\..\\x"):
        with pytest.raises(ConfigError):
            store.put(name, [b"x"])


def test_a_listing_is_in_order_and_whole(store: Store) -> None:
    names = [f"queue/{number:04d}" for number in range(30)] + ["other"]
    for name in names:
        put(store, name, name.encode())
    assert list(store.list("queue/")) == [(name, 10) for name in names[:-1]]
    assert sorted(name for name, _ in store.list()) == sorted(names)
    store.delete("queue/0003")
    assert "queue/0003" not in dict(store.list("queue/"))


def test_a_large_object_goes_in_parts(store: Store) -> None:
    chance = random.Random(5)
    parts = [chance.randbytes(3 * MB) for _ in range(7)]
    staged = store.staging("large")
    assert store.put(staged, parts) == 21 * MB
    store.rename(staged, "large")
    whole = b"".join(parts)
    assert store.size("large") == len(whole)
    assert store.reader("large").read(16 * MB - 5, 10) == whole[16 * MB - 5 : 16 * MB + 5]
    assert read(store, "large") == whole


def test_a_put_that_fails_leaves_nothing(store: Store) -> None:
    def parts():
        yield bytes(9 * MB)
        yield bytes(9 * MB)
        raise StoreError("the source broke")

    with pytest.raises(StoreError, match="the source broke"):
        store.put(store.staging("broken"), parts())
    assert [name for name, _ in store.list()] in ([], [store.staging("broken")])
    store.discard(store.staging("broken"))
    assert list(store.list()) == []
    if isinstance(store, RemoteStore):
        assert list(store.uploads("broken")) == []


def test_a_pointer_is_replaced_as_a_whole(store: Store) -> None:
    store.replace("pointer", b"one", None)
    found = store.fetch("pointer")
    assert found is not None
    assert found[0] == b"one"
    store.replace("pointer", b"two", found[1])
    assert store.fetch("pointer")[0] == b"two"  # type: ignore[index]


def test_two_agents_cannot_replace_the_same_version(s3_root: tuple[str, dict[str, str]]) -> None:
    store = open_store(*s3_root)
    store.replace("pointer", b"one", None)
    with pytest.raises(StateError, match="another agent"):
        store.replace("pointer", b"again", None)
    token = store.fetch("pointer")[1]  # type: ignore[index]
    store.replace("pointer", b"two", token)
    with pytest.raises(StateError, match="another agent"):
        store.replace("pointer", b"three", token)
    assert store.fetch("pointer")[0] == b"two"  # type: ignore[index]


class NoConditions(S3Requests):
    """A server that answers 501 to conditional puts, as OpenStack Swift's does."""

    def put(self, name: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        if match is not None or absent:
            raise ConditionRefusedError("NotImplemented", path=name)
        return super().put(name, data)


def test_without_conditional_puts_a_pointer_is_read_back(s3_root: tuple[str, dict[str, str]]) -> None:
    store = RemoteStore(NoConditions(*s3_root))
    store.replace("pointer", b"one", None)
    token = store.fetch("pointer")[1]  # type: ignore[index]
    store.replace("pointer", b"two", token)
    with pytest.raises(StateError, match="another agent"):
        store.replace("pointer", b"three", token)
    assert store.fetch("pointer")[0] == b"two"  # type: ignore[index]


class NoConditionalCompletion(S3Requests):
    """A server that answers 501 to a conditional completion of an upload."""

    def complete(self, name: str, upload: str, parts: Sequence[Part], *, absent: bool = False) -> None:
        if absent:
            raise ConditionRefusedError("NotImplemented", path=name)
        super().complete(name, upload, parts)


@pytest.mark.parametrize("kind", [S3Requests, NoConditionalCompletion])
def test_an_upload_is_not_completed_over_another_object(
    s3_root: tuple[str, dict[str, str]], kind: type[S3Requests]
) -> None:
    store = RemoteStore(kind(*s3_root), part_bytes=5 * MB)
    body = [bytes([number]) * (5 * MB) for number in range(2)]
    assert store.put("object", body, resume=True) == 10 * MB
    with pytest.raises(StateError, match="another agent wrote"):
        store.put("object", [*body, b"more"], resume=True)
    assert read(store, "object") == b"".join(body)
    assert list(store.uploads("object")) == []


def test_parts_are_listed_page_by_page_and_not_sent_again(s3_root: tuple[str, dict[str, str]]) -> None:
    requests = S3Requests(*s3_root)
    store = RemoteStore(requests, part_bytes=5 * MB)
    body = [bytes([number]) * (5 * MB) for number in range(6)]
    upload = requests.begin("object")
    for number in (1, 2, 3, 5):
        requests.part("object", upload, number, body[number - 1])
    sent: list[int] = []
    events, name = requests._client.meta.events, "chronicle-test-pages"

    def small(params: dict[str, object], **_: object) -> None:
        params["MaxParts"] = 2

    def note(params: dict[str, int], **_: object) -> None:
        sent.append(params["PartNumber"])

    events.register("before-parameter-build.s3.ListParts", small, unique_id=f"{name}-list")
    events.register("before-parameter-build.s3.UploadPart", note, unique_id=f"{name}-part")
    try:
        assert store.put("object", body, resume=True) == 30 * MB
    finally:
        events.unregister("before-parameter-build.s3.ListParts", unique_id=f"{name}-list")
        events.unregister("before-parameter-build.s3.UploadPart", unique_id=f"{name}-part")
    assert sent == [4, 6]
    assert read(store, "object") == b"".join(body)


def test_an_upload_of_another_class_or_with_encryption_is_begun_anew(s3_root: tuple[str, dict[str, str]]) -> None:
    plain = S3Requests(*s3_root)
    plain.begin("object")
    assert RemoteStore(plain).unfinished("object")
    for options in ({"storage_class": "STANDARD_IA"}, {"sse": "aws:kms"}):
        assert not RemoteStore(S3Requests(s3_root[0], s3_root[1] | options)).unfinished("object")
    RemoteStore(plain).give_up("object")
    assert not RemoteStore(plain).unfinished("object")


def test_a_read_within_what_was_read_sends_no_request(s3_root: tuple[str, dict[str, str]]) -> None:
    store = open_store(*s3_root)
    put(store, "object", bytes(range(256)) * 100)
    reader = store.reader("object", size=25_600)
    reader.ahead = 1_000
    before = requests_made()
    assert reader.read(100, 50) == (bytes(range(256)) * 2)[100:150]
    assert reader.read(150, 900) == (bytes(range(256)) * 5)[150:1050]
    assert requests_made() - before == 1


def test_options_and_keys_are_checked() -> None:
    with pytest.raises(ConfigError, match="environment"):
        open_store("s3://bucket/x", {"key": "AKIA"})
    with pytest.raises(ConfigError, match="GLACIER_IR"):
        open_store("s3://bucket/x", {"storage_class": "GLACIER"})
    with pytest.raises(ConfigError, match="credentials"):
        open_store("memory://x", {"password": "p"})
    with pytest.raises(ConfigError, match="part_bytes"):
        open_store("s3://bucket/x", {"part_bytes": 1})
    with pytest.raises(ConfigError):
        open_store("nosuchprotocol://x")
    with pytest.raises(ConfigError):
        open_store("s3://")


def test_encryption_and_class_are_passed_through(s3_endpoint: str) -> None:
    options = {"endpoint_url": s3_endpoint, "sse": "AES256", "storage_class": "STANDARD_IA"}
    requests = S3Requests(f"s3://{BUCKET}/passed", options)
    seen: list[dict[str, str]] = []
    requests._client.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: seen.append(dict(params["headers"]))
    )
    try:
        RemoteStore(requests).put("object", [b"x"])
    except StoreError as error:  # a server may not know them; then it says so
        assert "object" in str(error)  # noqa: PT017
    assert seen[0]["x-amz-server-side-encryption"] == "AES256"
    assert seen[0]["x-amz-storage-class"] == "STANDARD_IA"


def test_faults_are_outlasted(s3_endpoint: str) -> None:
    chance = random.Random(7)
    bodies = {f"object-{number}": chance.randbytes(chance.randrange(1, 20_000)) for number in range(30)}
    bodies["large"] = chance.randbytes(17 * MB)
    with FaultyProxy(s3_endpoint, share=0.3, seed=9) as proxy:
        requests = S3Requests(f"s3://{BUCKET}/faults", {"endpoint_url": proxy.address})
        store = RemoteStore(requests, patience=Patience(first_ns=1_000_000, longest_ns=20_000_000, attempts=16))
        for name, body in bodies.items():
            store.put(name, [body])
        token: str | None = None
        for version in range(12):
            store.replace("pointer", b"%d" % version, token)
            found = store.fetch("pointer")
            assert found is not None
            assert found[0] == b"%d" % version
            token = found[1]
        assert {name: read(store, name) for name in bodies} == bodies
        assert set(proxy.met) == {"none", "503", "reset", "lost", "cut", "slow"}
    listed = client(s3_endpoint).list_objects_v2(Bucket=BUCKET, Prefix="faults/")
    assert listed["KeyCount"] == len(bodies) + 1
    assert not client(s3_endpoint).list_multipart_uploads(Bucket=BUCKET, Prefix="faults/").get("Uploads")


class Sick:
    """Requests that fail until told otherwise."""

    location, staged = "s3://sick", False

    def __init__(self) -> None:
        self.asked = 0
        self.well = False

    def size(self, name: str) -> int | None:
        self.asked += 1
        if not self.well:
            raise UnavailableError("503", path=name)
        return 7


def test_waits_grow_with_jitter_up_to_a_bound() -> None:
    waits: list[int] = []

    class Recording(FakeClock):
        def sleep_ns(self, duration_ns: int) -> None:
            waits.append(duration_ns)
            super().sleep_ns(duration_ns)

    clock = Recording()
    patience = Patience(attempts=12, first_ns=100, longest_ns=5_000, clock=clock, chance=random.Random(2))
    sick = Sick()
    with pytest.raises(UnavailableError):
        RemoteStore(sick, patience=patience, breaker=Breaker("x", clock, failures_max=99)).size("o")  # type: ignore[arg-type]
    assert sick.asked == 12
    assert len(waits) == 11
    assert all(wait <= min(5_000, 100 << attempt) for attempt, wait in enumerate(waits))
    assert len(set(waits)) > 8
    assert max(waits[5:]) > 1_000


def test_a_sick_store_is_left_alone_and_tried_again_later() -> None:
    clock, sick = FakeClock(), Sick()
    patience = Patience(attempts=4, first_ns=1, clock=clock)
    store = RemoteStore(sick, patience=patience, breaker=Breaker("x", clock, failures_max=8, pause_ns=1_000_000))  # type: ignore[arg-type]
    for _ in range(5):
        with pytest.raises(UnavailableError):
            store.size("o")
    assert sick.asked == 8
    with pytest.raises(UnavailableError, match="left alone"):
        store.size("o")
    clock.sleep_ns(1_000_000)
    with pytest.raises(UnavailableError):
        store.size("o")
    assert sick.asked == 9  # one trial, then alone again
    sick.well = True
    clock.sleep_ns(1_000_000)
    assert store.size("o") == 7
    assert store.size("o") == 7


def test_no_space_there_is_no_space() -> None:
    from chronicle.storage.stores.s3 import _refusal

    class Refused(Exception):
        response = {  # noqa: RUF012
            "Error": {"Code": "XMinioStorageFull", "Message": "full"},
            "ResponseMetadata": {"HTTPStatusCode": 507},
        }

    assert isinstance(_refusal(Refused(), "write", "p", conditional=False), CapacityError)
