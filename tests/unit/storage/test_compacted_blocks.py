"""Compacted blocks: exact for every input, the rows of the slow form, hostile bytes refused; the old form is read."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.storage.codec import engine, event_arrays, event_kernels
from chronicle.storage.codec.event_coded import CodedRows
from chronicle.storage.codec.event_decode import EventBlock
from chronicle.storage.codec.event_encode import encode_events, is_tabled
from chronicle.storage.codec.event_layout import SIGNED, Price
from chronicle.storage.codec.event_tabled import TabledRows
from chronicle.storage.codec.event_tabling import code_of
from chronicle.storage.codec.holding import COLUMN_NAMES
from tests.support.naive_coded import naive_code
from tests.support.naive_tabled import naive_rows
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
    assert is_tabled(found[0])
    return found[0], data


def tabled(
    rows: list[tuple[int, int]], bids: list[int], asks: list[int], price: Price, size_unit: int = 1
) -> tuple[bytes, TabledRows]:
    """Return the code of rows, which come back from it by the kernels and by the slow form, and how it is read."""
    prices, sizes = (np.array([row[part] for row in rows], dtype=np.int64) for part in (0, 1))
    counts = np.array(bids, dtype=np.int64), np.array(asks, dtype=np.int64)
    code = code_of(*counts, price, size_unit, prices, sizes)
    plain = Price(price.base, price.unit, (price.forms[0] & ~SIGNED, price.forms[1] & ~SIGNED))
    found = TabledRows(*counts, plain, size_unit, len(rows), memoryview(code))
    assert list(zip(found.prices.tolist(), found.sizes.tolist(), strict=True)) == rows
    assert naive_rows(code, bids, asks, plain.forms, price.base, price.unit, size_unit) == rows
    for changed in (code + b"\0", code[:-1], code[:40]):
        with pytest.raises(ValueError, match="code of a block's rows"):
            TabledRows(*counts, plain, size_unit, len(rows), memoryview(changed))
    return code, found


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(int64, int64), min_size=1, max_size=60),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 60),
)
def test_any_rows_come_back(rows: list[tuple[int, int]], bid_form: int, ask_form: int, bids: int) -> None:
    bids = min(bids, len(rows))
    rest = len(rows) - bids
    price = Price(rows[0][0], 1, (bid_form | SIGNED, ask_form | SIGNED))
    tabled(rows, [bids, 0], [rest // 2, rest - rest // 2], price)


def market(count: int = 150) -> tuple[list[tuple[list[int], list[int]]], list[int], list[tuple[int, int]]]:
    """Return (prices of bids and asks of each group as they are walked, sizes, rows)."""
    rng = random.Random(4)
    sides, sizes, rows = [], [], []
    often = [rng.randrange(2**20, 2**24) for _ in range(30)]
    for _ in range(count):
        bids = sorted(rng.sample(range(500, 900), rng.choice((0, 1, 3, 90))), reverse=True)
        asks = sorted(rng.sample(range(900, 1300), rng.choice((1, 2, 20))))
        sides.append(([price * 50 for price in bids], [price * 50 for price in asks]))
        for price in sides[-1][0] + sides[-1][1]:
            sizes.append(rng.choice((0, 0, 7, 7, 2**40, rng.choice(often), rng.randrange(1, 3000))) * 10)
            rows.append((price, sizes[-1]))
    return sides, sizes, rows


@pytest.mark.parametrize("sign", [0, SIGNED])
def test_rows_of_a_market_come_back_by_the_slow_form(sign: int) -> None:
    sides, _, rows = market()
    bids, asks = ([len(side[half]) for side in sides] for half in (0, 1))
    code, found = tabled(rows, bids, asks, Price(rows[0][0], 50, (1 | sign, sign)), 10)
    assert struct.unpack_from("<I", code, 48)[0] >= 30  # sizes that come often have symbols of their own
    assert len(code) < 4 * len(rows)
    assert found.sizes is found.sizes


def test_rows_of_the_arithmetic_code_are_those_of_the_slow_form() -> None:
    sides, sizes, rows = market()
    code = naive_code(sides, sizes, rows[0][0], 50, 10)
    counts = [np.array([len(side[half]) for side in sides], dtype=np.int64) for half in (0, 1)]
    found = CodedRows(*counts, Price(rows[0][0], 50, (1, 0)), 10, len(rows), memoryview(code))
    assert list(zip(found.prices.tolist(), found.sizes.tolist(), strict=True)) == rows
    with pytest.raises(ValueError, match="length"):
        _ = CodedRows(*counts, Price(rows[0][0], 50, (1, 0)), 10, len(rows), memoryview(code + b"\0")).sizes


@pytest.mark.parametrize(
    ("place", "form", "value"),
    [
        (0, "<B", 7),  # slots of a table
        (0, "<B", 13),
        (1, "<B", 2),  # gaps are zigzags, or not
        (2, "<H", 0),  # tables
        (2, "<H", 65),
        (4, "<H", 0),  # symbols
        (4, "<H", 257),
        (6, "<H", 1),  # reserved
        (8, "<I", 3),  # bytes of words
        (8, "<I", 2**32 - 2),
        (12, "<I", 2**32 - 1),  # low bits
        (17, "<B", 1),
        (20, "<H", 5),  # classes
        (28, "<I", 1),  # which have no low bits
        (48, "<I", 1025),  # sizes that are symbols
        (48, "<I", 2**32 - 1),
        (52, "<I", 2**31),  # bytes of the tables
    ],
)
def test_absurd_codes_are_refused_before_anything_is_allocated(place: int, form: str, value: int) -> None:
    sides, _, rows = market(20)
    bids, asks = ([len(side[half]) for side in sides] for half in (0, 1))
    price = Price(rows[0][0], 50, (1, 0))
    code = bytearray(tabled(rows, bids, asks, price, 10)[0])
    struct.pack_into(form, code, place, value)
    with pytest.raises(ValueError, match="block"):
        TabledRows(np.array(bids), np.array(asks), price, 10, len(rows), memoryview(bytes(code)))


@pytest.mark.parametrize("form", [event_arrays, event_kernels])
def test_a_compacted_block_gives_the_same_records_and_columns(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: form)
    block, data = compacted()
    plain = encode_events(data, 3)
    assert plain is not None
    assert not is_tabled(plain[0])
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
