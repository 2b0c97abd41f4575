"""Every changed byte of a sealed or archived segment is found, and never returned as data."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle.core.errors import ChronicleError
from chronicle.core.queue import Queue
from chronicle.core.retention import RetentionPolicy, retain
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentView
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.blocks import decode_block, encode_block
from chronicle.storage.codec.encode import EncodeOptions, encode_segment
from chronicle.storage.codec.sealed import check_sealed
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.verify import verify
from tests.support.tiers import BOOK, apply_all, book_home, first_sealed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return book_home(tmp_path_factory.mktemp("flips"), 1, per_segment=42)


def read_all(view: SegmentView) -> tuple[bytes, object, object]:
    try:
        records = bytes(view.view(view.data_offset, view.data_end()))
        return records, view.prologue(), list(view.seek_points())
    finally:
        view.close()


def assert_flip_found(path: Path, data: bytes, position: int, bit: int, open_view, check, truth) -> None:
    damaged = bytearray(data)
    damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(ChronicleError):
        check()
    try:
        found = read_all(open_view())
    except ChronicleError:
        return
    assert found == truth, f"byte {position} bit {bit}"  # damage outside what was read


def positions(size: int, count: int) -> list[int]:
    """Every byte of head and tail, and a fixed random sample between."""
    rng = random.Random(7)
    edges = [*range(min(520, size)), *range(max(0, size - 600), size)]
    return sorted({*edges, *(rng.randrange(size) for _ in range(count))})


def test_every_flip_in_an_archive_object_is_found(home: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with first_sealed(home) as segment:
        store.put("o.czst", encode_segment(segment, EncodeOptions(block_bytes=8192)))
    path = store.path("o.czst")
    data = path.read_bytes()
    truth = read_all(ArchivedSegment(store, "o.czst"))
    for position in range(len(data)):
        assert_flip_found(
            path, data, position, position % 8, lambda: ArchivedSegment(store, "o.czst"),
            lambda: read_whole(store, "o.czst"), truth,
        )  # fmt: skip


def test_flips_in_a_sealed_file_are_found(home: Path, tmp_path: Path) -> None:
    source = min((home / BOOK).glob("*.seg"))
    path = tmp_path / source.name
    data = source.read_bytes()
    path.write_bytes(data)
    truth = read_all(LocalSegment(path, queue=BOOK))

    def check() -> None:
        with LocalSegment(path, queue=BOOK) as segment:
            check_sealed(segment)

    for position in positions(len(data), 300):
        assert_flip_found(path, data, position, position % 8, lambda: LocalSegment(path, queue=BOOK), check, truth)


@pytest.mark.parametrize("tier", ["hot", "warm"])
@pytest.mark.parametrize("damage", ["flip", "cut", "zeros", "foreign", "version", "longer", "gone"])
def test_verify_names_the_damaged_file(tmp_path: Path, tier: str, damage: str) -> None:
    book_home(tmp_path, 3)
    if tier == "warm":
        apply_all(tmp_path)
    assert verify(tmp_path, deep=True).ok
    folder = tmp_path / BOOK if tier == "hot" else tmp_path / "archive" / BOOK
    path = sorted(folder.glob("*.seg" if tier == "hot" else "*.czst"))[1]
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 16
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "zeros":
        data = bytearray(len(data))
    elif damage == "foreign":
        data = bytearray(b"not ours " * 1000)
    elif damage == "version":
        data[8 if tier == "hot" else len(data) - 56] = 9
    elif damage == "longer":
        data += bytes(64)
    path.write_bytes(data)
    if damage == "gone":
        path.unlink()
    report = verify(tmp_path)
    assert not report.ok
    if damage == "gone" and tier == "hot":
        assert any(finding.kind == "hole" for finding in report.findings)
    else:
        assert any(finding.path == str(path) for finding in report.findings), report.findings


@pytest.mark.parametrize("lost", [0, 2])
def test_verify_misses_the_first_and_the_last_segment_too(tmp_path, lost):
    book_home(tmp_path)
    sorted((tmp_path / BOOK).glob("*.seg"))[lost].unlink()
    report = verify(tmp_path)
    assert [finding.kind for finding in report.findings] == ["hole"]


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_verify_does_not_miss_what_retention_removed(tmp_path, keep):
    book_home(tmp_path)
    queue = Queue.open(tmp_path / BOOK, name=BOOK)
    sizes = [info.size_bytes for info in queue.segments()]
    assert len(sizes) == 3
    policy = RetentionPolicy(bytes_max=sum(sizes[3 - keep :]))
    assert len(retain(queue, policy, now_ns=1, force=True).numbers) == 3 - keep
    assert verify(tmp_path).ok


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([16, 17, 32, 33, 35, 7777]),
            st.integers(0, 255),
            st.integers(0, 255),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 3),
            st.integers(-(2**63), 2**63 - 1),
            st.binary(max_size=120),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_any_records_come_back(rows: list[tuple[int, int, int, int, int, int, bytes]], repeats: int) -> None:
    from chronicle.core.records import pack_record

    records = [
        pack_record(
            kind, body, ts_recv=ts, flags=flags, side=side, instrument=instrument, sequence=sequence, ts_event=ts // 3
        )
        for kind, flags, side, ts, instrument, sequence, body in rows
    ]
    data = b"".join(records * repeats)
    stored = encode_block(data, 1)
    assert stored is not None
    assert decode_block(stored, len(data)) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 5000))
def test_arbitrary_bytes_decode_to_an_error_or_nothing_larger(stored: bytes, size: int) -> None:
    with contextlib.suppress(ChronicleError):
        assert len(decode_block(stored, size)) == size
