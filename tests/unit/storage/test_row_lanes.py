"""Rows eight at once: sides of every length, escapes, quotients, definitions beside the rows, against slow forms."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.layout import BOOK_DELTA_BODY, HEADER_BYTES, INT64_MAX, INT64_MIN, Flag, Kind, Side
from chronicle.core.records import InstrumentFields, pack_record
from chronicle.storage.codec import engine, event_arrays, event_kernels
from chronicle.storage.codec.event_decode import EventBlock
from chronicle.storage.codec.event_encode import encode_events
from chronicle.storage.codec.holding import COLUMN_NAMES
from chronicle.storage.kernels.lanes import SLACK_ROWS, divide_rows

LENGTHS = [0, 0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 18, 33, 65, 66, 67, 130]
"""Of sides: around the edges of the gap columns, and of a run of eight."""


def delta(price: int, size: int, side: int, flags: int, ts: int, sequence: int) -> bytes:
    body = BOOK_DELTA_BODY.pack(price, size, sequence - 1, -1)
    return pack_record(Kind.BOOK_DELTA, body, side=side, flags=flags, ts_recv=ts, instrument=1, sequence=sequence)


def events_of(lengths: list[tuple[int, int]], seed: int, *, wild: bool) -> bytes:
    """Return an event for each (bids, asks): prices outward from a touch that wanders, odd sizes where `wild`."""
    rng, out, touch = random.Random(seed), [], 1_000_000
    for number, (bids, asks) in enumerate(lengths):
        touch += rng.randrange(-3, 4)
        rows = []
        for side, count, step in ((Side.BID, bids, -1), (Side.ASK, asks, 1)):
            price = touch
            for _ in range(count):
                price += step * (1 + int(rng.expovariate(0.2)) + (10**13 if wild and rng.random() < 0.02 else 0))
                size = rng.choice([0, 3, 77, rng.randrange(1, 10**6)])
                if wild and rng.random() < 0.02:
                    size = rng.choice([INT64_MAX, INT64_MAX - 1, 2**53, 2**40 + 1, -1])
                rows.append((price, size, side))
        ts, last = 10**18 + 1000 * number, len(rows) - 1
        out += [delta(*row, Flag.LAST if place == last else 0, ts, 50 + number) for place, row in enumerate(rows)]
    return b"".join(out)


def columns_by(form: Any, block: bytes, size: int, **limits: Any) -> dict[str, list[int]]:
    before = engine.arrays
    engine.arrays = lambda: form
    try:
        found = EventBlock(block, size).columns(COLUMN_NAMES, 9, **limits)
    finally:
        engine.arrays = before
    return {name: values.tolist() for name, values in found.items()}


def check_both_forms(data: bytes) -> None:
    found = encode_events(data, 3)
    assert found is not None
    block = found[0]
    whole = columns_by(event_arrays, block, len(data))
    words = np.frombuffer(data, dtype=np.int64).reshape(-1, 10)
    assert (whole["price"], whole["size"]) == (words[:, 6].tolist(), words[:, 7].tolist())
    times = whole["ts_recv"]
    third, half = times[len(times) // 3], times[len(times) // 2]
    for limits in ({}, {"start_ts": third}, {"end_ts": half}, {"start_ts": third, "end_ts": half}):
        assert columns_by(event_kernels, block, len(data), **limits) == columns_by(
            event_arrays, block, len(data), **limits
        )


@pytest.mark.parametrize("wild", [False, True])
@given(
    st.lists(st.tuples(st.sampled_from(LENGTHS), st.sampled_from(LENGTHS)), min_size=3, max_size=60), st.integers()
)
@settings(max_examples=40)
def test_sides_of_every_length_are_decoded_alike(wild: bool, lengths: list[tuple[int, int]], seed: int) -> None:
    check_both_forms(events_of([*lengths, (2, 3), (1, 0)], seed, wild=wild))


@pytest.mark.parametrize("wild", [False, True])
def test_groups_longer_than_a_tile_and_tiles_of_single_rows_are_decoded_alike(wild: bool) -> None:
    rng = random.Random(5)
    single = [rng.choice([(1, 0), (0, 1)]) for _ in range(3_000)]
    check_both_forms(events_of([(5_000, 0), *single, (3, 4_100), (2_048, 2_048), *single, (7, 1)], 6, wild=wild))


@given(st.lists(st.integers(INT64_MIN + 1, INT64_MAX), min_size=1, max_size=100), st.integers(0, 22))
@settings(max_examples=300)
def test_quotients_are_those_of_a_division(numbers: list[int], exponent: int) -> None:
    values = np.zeros(len(numbers) + SLACK_ROWS, dtype=np.int64)
    values[: len(numbers)] = numbers
    assert divide_rows(values, 0, len(numbers), 10.0**exponent) == 0
    expected = np.array(numbers, dtype=np.int64) / 10.0**exponent
    assert values[: len(numbers)].view(np.float64).tolist() == expected.tolist()


def test_a_missing_mantissa_is_told() -> None:
    for place in range(11):
        values = np.ones(11 + SLACK_ROWS, dtype=np.int64)
        values[place] = INT64_MIN
        assert divide_rows(values, 0, 11, 100.0) != 0


@pytest.mark.parametrize("names", [("price", "size"), ("size",), ("ts_recv", "price"), COLUMN_NAMES])
def test_columns_may_come_as_quotients(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: event_kernels)
    data = events_of([(5, 70), (0, 3)] * 300, 1, wild=False)
    found = encode_events(data, 3)
    assert found is not None
    moments: list[dict[str, Any]] = [{}, {"start_ts": 10**18 + 70_000, "end_ts": 10**18 + 90_500}]
    for limits in moments:
        whole = EventBlock(found[0], len(data)).columns(names, **limits)
        divided = EventBlock(found[0], len(data)).columns(names, divisors=(100.0, 1e8), **limits)
        for name, values in divided.items():
            divisor = {"price": 100.0, "size": 1e8}.get(name)
            expected = whole[name] if divisor is None else whole[name] / divisor
            assert values.dtype == expected.dtype
            assert values.tolist() == expected.tolist()


def test_a_block_with_a_size_that_is_none_comes_as_mantissas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: event_kernels)
    data = events_of([(5, 7)] * 60, 1, wild=False) + delta(7, INT64_MIN, Side.BID, Flag.LAST, 2 * 10**18, 9)
    found = encode_events(data, 3)
    assert found is not None
    columns = EventBlock(found[0], len(data)).columns(("price", "size"), divisors=(100.0, 1e8))
    assert columns["size"].dtype == columns["price"].dtype == np.int64
    assert columns["size"][-1] == INT64_MIN


def test_definitions_are_told_where_they_stand_without_the_rows() -> None:
    events = [events_of([(5, 9)], number, wild=False) for number in range(80)]
    fields = [InstrumentFields(price_exponent=2, size_exponent=3 + number) for number in range(3)]
    defined = [pack_record(Kind.INSTRUMENT, one.pack(), ts_recv=1, instrument=1, flags=Flag.LAST) for one in fields]
    parts = [defined[0], *events[:30], defined[1], *events[30:79], defined[2], events[79]]
    data = b"".join(parts)
    found = encode_events(data, 3)
    assert found is not None
    told = EventBlock(found[0], len(data)).instruments()
    assert [body for _, body in told] == [record[HEADER_BYTES:] for record in defined]
    starts = [data.index(record) for record in defined]
    assert [offset for offset, _ in told] == starts
    assert EventBlock(found[0], len(data)).instruments(told[0][1]) == told


def test_definitions_that_say_what_is_known_are_left_out() -> None:
    events = [events_of([(5, 9)], number, wild=False) for number in range(80)]
    again = pack_record(Kind.INSTRUMENT, InstrumentFields(2, 3).pack(), ts_recv=1, instrument=1, flags=Flag.LAST)
    data = b"".join([again, *events[:40], again, *events[40:]])
    found = encode_events(data, 3)
    assert found is not None
    assert EventBlock(found[0], len(data)).instruments(again[HEADER_BYTES:]) == []
    assert len(EventBlock(found[0], len(data)).instruments(b"else")) == 2
