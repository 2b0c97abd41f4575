"""Blocks of records as columns: exact for every input, replayed snapshots, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import Kind
from chronicle.core.records import pack_record
from chronicle.storage.codec.block_books import replayed_levels
from chronicle.storage.codec.block_shape import record_offsets
from chronicle.storage.codec.blocks import decode_block, encode_block
from chronicle.storage.codec.columns import Events, decode_column, encode_column
from tests.support.tiers import book_events

EXTREMES = [0, 1, -1, 2**63 - 1, -(2**63), 2**62, -(2**62), 255, 256, -256]


def test_book_events_come_back_and_shrink() -> None:
    data = b"".join(bytes(event) for event, _ in book_events(2000))
    stored = encode_block(data, 3)
    assert stored is not None
    assert decode_block(stored, len(data)) == data
    assert len(stored) < len(data) / 8


def test_snapshots_that_follow_from_deltas_cost_nothing() -> None:
    often = b"".join(bytes(event) for event, _ in book_events(1200, snapshot_every=20))
    once = b"".join(bytes(event) for event, _ in book_events(1200, snapshot_every=5000))
    dense, sparse = encode_block(often, 3), encode_block(once, 3)
    assert dense is not None
    assert sparse is not None
    assert decode_block(dense, len(often)) == often
    assert len(dense) < len(sparse) * 1.2


def test_snapshot_that_contradicts_the_deltas_is_kept_verbatim() -> None:
    events = [bytes(event) for event, _ in book_events(200, snapshot_every=50)]
    changed = bytearray(events[150])  # a snapshot: change the size of its first level
    changed[88 + 8] ^= 1
    data = b"".join([*events[:150], bytes(changed), *events[151:]])
    stored = encode_block(data, 3)
    assert stored is not None
    assert decode_block(stored, len(data)) == data


@pytest.mark.parametrize("kind", [Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.TRADE, 5000])
@pytest.mark.parametrize("body", [b"", b"\xff" * 8, b"\0" * 40, b"\xff" * 1000])
def test_any_body_of_any_kind_comes_back(kind: int, body: bytes) -> None:
    records = [
        pack_record(kind, body, ts_recv=number, flags=128 * (number % 2), instrument=number % 3)
        for number in range(20)
    ]
    data = b"".join(records)
    stored = encode_block(data, 3)
    assert stored is not None
    assert decode_block(stored, len(data)) == data


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 48, b"x" * 100, b"\x31\0\0\0" * 30, pack_record(1, b"", ts_recv=1)[:-8]]
)
def test_what_is_no_run_of_records_is_refused(data: bytes) -> None:
    assert encode_block(data, 3) is None


def test_record_offsets_find_runs_and_changes() -> None:
    sizes = [80] * 300 + [72, 80] * 20 + [1000] + [48] * 100
    data = b"".join(pack_record(5, bytes(size - 48), ts_recv=1) for size in sizes)
    expected = np.cumsum([0, *sizes[:-1]])
    found = record_offsets(data)
    assert found is not None
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "values", [EXTREMES, EXTREMES[::-1], [7] * 10, list(range(0, 1000, 10)), [2**63 - 1, -(2**63)] * 5]
)
@pytest.mark.parametrize("event_rows", [1, 3])
@pytest.mark.parametrize("with_reference", [False, True])
def test_columns_of_extreme_values_come_back(values: list[int], event_rows: int, with_reference: bool) -> None:
    column = np.array(values, dtype=np.int64)
    events = Events(np.arange(len(column)) % event_rows == 0)
    reference = np.array(EXTREMES * 20, dtype=np.int64)[: len(column)] if with_reference else None
    stored = encode_column(column, events, reference)
    assert np.array_equal(decode_column(stored, events, reference), column)


def test_multiples_of_a_common_divisor_take_fewer_bytes() -> None:
    events = Events(np.ones(5000, dtype=np.bool_))
    milliseconds = np.cumsum(np.arange(5000) % 7).astype(np.int64) * 1_000_000
    stored = encode_column(milliseconds, events)
    assert (stored.divisor, stored.width) == (1_000_000, 1)


def test_replayed_levels_take_the_last_size_and_drop_zeros() -> None:
    base = np.array([[100, 5], [99, 4], [98, 3]], dtype=np.int64)
    changes = np.array([[99, 0], [97, 2], [100, 6], [97, 1]], dtype=np.int64)
    assert replayed_levels(base, changes, descending=True).tolist() == [[100, 6], [98, 3], [97, 1]]


def test_every_cut_of_a_block_is_an_error_and_nothing_else() -> None:
    data = b"".join(bytes(event) for event, _ in book_events(60))
    stored = encode_block(data, 3)
    assert stored is not None
    for end in range(0, len(stored), 7):
        with pytest.raises(CorruptionError):
            decode_block(stored[:end], len(data))
    with pytest.raises(CorruptionError):
        decode_block(stored, len(data) + 8)
