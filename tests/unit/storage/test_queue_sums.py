"""Sums of queues in a catalog's pointer: what they prove, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from chronicle.core.errors import CorruptionError
from chronicle.storage.manifest.catalog import CATALOG_NAME, pack_pointer, read_pointer, told_of
from chronicle.storage.manifest.manifest_stocks import Stock, whole_of
from chronicle.storage.stores.source import ArchiveSource
from chronicle.storage.stores.stores import LocalStore
from tests.support.tiers import BOOK, apply_all, book_home

WARM = Stock(BOOK, 1, "id", "warm", 2, 20, 5, 9, 3, 4, 300, 499, 50, 30)
COLD = Stock(BOOK, 1, "id", "cold", 3, 30, 7, 9, 0, 2, 0, 299, 30, 0)


def test_places_that_follow_one_another_are_one() -> None:
    found = whole_of([WARM, COLD])
    assert found is not None
    assert (found.number, found.base_index, found.record_count, found.ts_first, found.ts_last) == (4, 0, 50, 0, 499)
    empty = Stock(BOOK, 1, "id", "other", 1, 0, 5, 9)
    assert whole_of([WARM, empty, COLD]) == found
    assert whole_of([empty]) is whole_of([]) is None


@pytest.mark.parametrize(
    "other",
    [replace(COLD, gapped=1), replace(COLD, records=29), replace(COLD, end_index=29, records=29)],
    ids=["one may hold a gap", "records are missing within", "records are missing between"],
)
def test_where_something_may_be_missing_nothing_is_joined(other: Stock) -> None:
    assert whole_of([WARM, other]) is None


def test_a_queue_of_two_identities_is_not_told() -> None:
    again = replace(WARM, queue_id="other")
    assert told_of([WARM]) == {BOOK: WARM}
    assert told_of([WARM, again]) == {BOOK: None}
    newer = replace(again, generation=2)
    assert told_of([WARM, newer]) == told_of([newer, WARM]) == {BOOK: newer}
    assert told_of([WARM, again, newer]) == {BOOK: newer}


@pytest.mark.parametrize(
    "packed", [b"", b"\xc1", msgpack.packb([1] * 10), msgpack.packb(7), msgpack.packb(["x"] * 11)]
)
def test_sums_that_are_none_are_damage(tmp_path: Path, packed: bytes) -> None:
    book_home(tmp_path)
    apply_all(tmp_path)
    store = LocalStore(tmp_path / "archive")
    pointer = read_pointer(store)
    assert pointer is not None
    assert pointer.stock(BOOK) is not None
    path = store.root / CATALOG_NAME
    path.write_bytes(pack_pointer(replace(pointer, stocks={BOOK: packed})))
    for ask in (ArchiveSource(store.root).summary, ArchiveSource(store.root).condensed):
        with pytest.raises(CorruptionError):
            ask(BOOK)
    path.write_bytes(pack_pointer(replace(pointer, stocks={BOOK: 10**15})))  # type: ignore[dict-item]
    with pytest.raises(CorruptionError):
        read_pointer(store)
    more = msgpack.packb([*msgpack.unpackb(pointer.stocks[BOOK]), "what a later release adds"])
    path.write_bytes(pack_pointer(replace(pointer, stocks={BOOK: more})))
    assert ArchiveSource(store.root).summary(BOOK).segments == {"warm": 3}
