"""Compacted blocks: exact for every input, the code of the slow form, hostile bytes refused; tiers that hold them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.storage.codec import engine, event_arrays, event_kernels
from chronicle.storage.codec.archive import COLUMN_NAMES
from chronicle.storage.codec.event_coded import code_of, rows_of
from chronicle.storage.codec.event_decode import EventBlock
from chronicle.storage.codec.event_encode import encode_events, is_compacted
from chronicle.storage.codec.event_layout import Price
from tests.support.naive_coded import naive_code
from tests.support.tiers import book_events

int64 = st.one_of(
    st.sampled_from([0, 1, -1, INT64_MAX, INT64_MIN, 2**62, -(2**62), 2**53, 10**15 + 1]),
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(0, 300),
)


def compacted(count: int = 400, **options: int) -> tuple[bytes, bytes]:
    """Return (a compacted block, the records that it holds)."""
    data = b"".join(bytes(event) for event, _ in book_events(count, sizes=50, **options))
    found = encode_events(data, 3, compact=True)
    assert found is not None
    assert is_compacted(found[0])
    return found[0], data


def coded(rows: list[tuple[int, int]], bids: list[int], asks: list[int], forms: tuple[int, int]) -> bytes:
    prices, sizes = (np.array([row[part] for row in rows], dtype=np.int64) for part in (0, 1))
    counts = np.array(bids, dtype=np.int64), np.array(asks, dtype=np.int64)
    price = Price(int(prices[0]), 1, forms)
    code = code_of(*counts, price, 1, prices, sizes, 200 * len(rows) + 100)
    assert code is not None
    found = rows_of(*counts, price, 1, len(rows), memoryview(code))
    assert [part.tolist() for part in found] == [prices.tolist(), sizes.tolist()]
    with pytest.raises(ValueError, match="length"):
        rows_of(*counts, price, 1, len(rows), memoryview(code + b"\0"))
    assert code_of(*counts, price, 1, prices, sizes, len(code) - 1) is None
    return code


@settings(max_examples=120)
@given(
    st.lists(st.tuples(int64, int64), min_size=1, max_size=60),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 60),
)
def test_any_rows_come_back(rows: list[tuple[int, int]], bid_form: int, ask_form: int, bids: int) -> None:
    bids = min(bids, len(rows))
    rest = len(rows) - bids
    coded(rows, [bids, 0], [rest // 2, rest - rest // 2], (bid_form, ask_form))


def test_the_code_is_that_of_the_slow_form() -> None:
    rng = random.Random(4)
    sides, sizes, rows = [], [], []
    counts: tuple[list[int], list[int]] = ([], [])
    for _ in range(150):
        bids = sorted(rng.sample(range(500, 900), rng.choice((0, 1, 3, 90))), reverse=True)
        asks = sorted(rng.sample(range(900, 1300), rng.choice((1, 2, 20))))
        sides.append(([price * 50 for price in bids], [price * 50 for price in asks]))
        counts[0].append(len(bids))
        counts[1].append(len(asks))
        for price in sides[-1][0] + sides[-1][1]:
            sizes.append(rng.choice((0, 0, 7, 7, 2**40, rng.randrange(1, 3000))) * 10)
            rows.append((price, sizes[-1]))
    prices = np.array([row[0] for row in rows], dtype=np.int64)
    numbers = (np.array(part, dtype=np.int64) for part in (*counts, sizes))
    bid_counts, ask_counts, held = numbers
    found = code_of(bid_counts, ask_counts, Price(rows[0][0], 50, (1, 0)), 10, prices, held, 10**6)
    assert found == naive_code(sides, sizes, rows[0][0], 50, 10)


@pytest.mark.parametrize("form", [event_arrays, event_kernels])
def test_a_compacted_block_gives_the_same_records_and_columns(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: form)
    block, data = compacted()
    plain = encode_events(data, 3)
    assert plain is not None
    assert not is_compacted(plain[0])
    assert len(block) < len(plain[0])
    assert bytes(EventBlock(block, len(data)).raw()) == data
    for limits in ({}, {"start_ts": 1_600_000_003_000_000_000, "end_ts": 1_600_000_006_000_000_000}):
        mine, its = (EventBlock(item, len(data)).columns(COLUMN_NAMES, 7, **limits) for item in (block, plain[0]))
        assert {name: values.tolist() for name, values in mine.items()} == {n: v.tolist() for n, v in its.items()}
    offset, part = EventBlock(block, len(data)).part(5000, 9000)
    assert bytes(part) == data[offset : offset + len(part)]


def test_no_flipped_bit_of_a_compacted_block_crashes() -> None:
    block, data = compacted(200, snapshot_every=13)
    for position in range(len(block)):
        changed = bytearray(block)
        changed[position] ^= 1 << position % 8
        try:
            assert len(EventBlock(bytes(changed), len(data)).raw()) == len(data)
        except CorruptionError:
            continue


def test_every_cut_of_a_compacted_block_is_an_error() -> None:
    block, data = compacted(200, snapshot_every=13)
    for end in range(0, len(block), 7):
        with pytest.raises(CorruptionError):
            EventBlock(block[:end], len(data)).raw()
