"""Kernels of the archive encoder against their slow forms: groups in pieces, parts of gaps, books, bodies."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.layout import INT64_MAX, INT64_MIN, Kind
from chronicle.core.records import pack_record
from chronicle.storage.codec import block_shape, engine
from chronicle.storage.codec.blocks import decode_block, encode_block
from chronicle.storage.codec.event_decode import EventBlock
from chronicle.storage.codec.event_encode import encode_events
from chronicle.storage.codec.event_groups import GroupScan
from chronicle.storage.codec.event_layout import DESCENDING, REVERSED, expected_headers, parts_of
from chronicle.storage.codec.snapshots import PRICE_MAX
from chronicle.storage.codec.tokens import BEFORE, DELTA, PLAIN, SAME, divider
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels import tokens as tokenizer
from chronicle.storage.kernels.bodies import find_records
from chronicle.storage.kernels.ladders import (
    FULL,
    GROUP,
    NO_PRICE,
    ROW,
    STATES,
    apply_groups,
    fill_book,
    follow,
    follows,
    proper_levels,
)
from tests.support.naive_events import naive_book, naive_gap_counts, naive_records, naive_steps, naive_votes
from tests.support.tiers import book_events

counts = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=8)


def scanned(data: bytes, piece: int) -> tuple[object, ...]:
    """Return what a scan in pieces finds."""
    scan = GroupScan(data)
    for end in range(piece, len(data) + piece, piece):
        scan.go(min(end, len(data)))
    done = scan.done()
    parts = (scan.groups, scan.prices, scan.sizes, scan.others, scan.places)
    return done, scan.is_of_deltas, scan.has_orders, scan.step, *(part.tolist() for part in parts)


@pytest.mark.parametrize("piece", [8, 56, 80, 200, 4096, 100_000])
def test_groups_do_not_depend_on_the_pieces_in_which_a_block_is_read(piece: int) -> None:
    data = b"".join(bytes(event) for event, _ in book_events(300, snapshot_every=31))
    assert scanned(data, piece) == scanned(data, len(data))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40).map(lambda words: 8 * words))
def test_damaged_bytes_are_scanned_alike_in_pieces(seed: int, piece: int) -> None:
    data = bytearray(b"".join(bytes(event) for event, _ in book_events(20, snapshot_every=7)))
    data[seed % len(data)] ^= 1 << seed % 8
    assert scanned(bytes(data), piece)[0] == scanned(bytes(data), len(data))[0]
    assert (naive_records(bytes(data)) is not None) == scanned(bytes(data), piece)[0]


@given(counts, st.sampled_from([(0,), (0, 1, 4, 16, 64), (0, 2)]))
def test_gaps_are_parted_by_how_many_follow(sides: list[tuple[int, int]], edges: tuple[int, ...]) -> None:
    bids, asks = ([side[half] for side in sides] for half in (0, 1))
    places = np.empty(len(edges) + 1, dtype=np.int64)
    arrays = (np.array(values, dtype=np.int64) for values in (bids, asks, edges))
    kernel.gap_places(*arrays, places)
    assert np.diff(places).tolist() == naive_gap_counts(bids, asks, edges)
    assert places[0] == 0


@settings(deadline=None)
@given(counts, st.sampled_from([(0,), (0, 1, 4, 16, 64), (0, 2)]), st.integers(0, 3), st.integers(0, 3))
def test_prices_become_steps(sides: list[tuple[int, int]], edges: tuple[int, ...], bid: int, ask: int) -> None:
    bids, asks = ([side[half] for side in sides] for half in (0, 1))
    rng, count = random.Random(len(sides)), sum(bids) + sum(asks)
    prices = [rng.randrange(-(10**6), 10**6) for _ in range(count)]
    places, out = np.empty(len(edges) + 1, dtype=np.int64), np.empty((2, count), dtype=np.int64)
    arrays = [np.array(values, dtype=np.int64) for values in (prices, bids, asks, (bid, ask), edges)]
    kernel.gap_places(*arrays[1:3], arrays[4], places)
    starts = places.tolist()
    found, least = kernel.price_steps(*arrays[:4], 77, arrays[4], parts_of(edges), *out, places)
    sign = tuple(-1 if form & DESCENDING else 1 for form in (bid, ask))
    firsts, gaps = naive_steps(prices, bids, asks, (bool(bid & REVERSED), bool(ask & REVERSED)), sign, 77)
    assert out[0, :found].tolist() == firsts
    assert least == min((gap for gap, _ in gaps), default=INT64_MAX)
    for part, edge in enumerate(edges):
        above = [*edges, INT64_MAX][part + 1]
        expected = [gap for gap, left in gaps if edge <= left < above]
        assert out[1, starts[part] : starts[part + 1]].tolist() == expected
        assert places[part] == starts[part + 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_other_records_count_from_their_own_event(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    groups = np.array([[rng.randrange(1, 9) for _ in range(rng.randrange(1, 6))] for _ in range(1)], dtype=np.int64)
    groups = np.vstack([groups, np.array([[rng.randrange(2**33) for _ in groups[0]] for _ in range(9)])])
    many = rng.randrange(1, 12)
    lengths = [rng.choice([48, 72, 88, 120]) for _ in range(many)]
    records = [np.array([rng.getrandbits(62) for _ in range(length // 8)]) for length in lengths]
    for record, length in zip(records, lengths, strict=True):
        kind = Kind.CHECK if length == 72 else Kind.BOOK_SNAPSHOT
        record[0] = length | int(kind) << 32 | rng.choice([0, 128]) << 48
    words, others = np.concatenate(records), np.cumsum([0, *lengths[:-1]]) // 8
    places = np.sort(np.array([rng.randrange(groups.shape[1] + 1) for _ in range(many)]))
    cut = np.array([length == 120 for length in lengths], dtype=np.uint8)
    out = np.empty(len(words), dtype=np.int64)
    size = kernel.gather_others(words, others, places, groups, steps, cut, out)
    expected = []
    headers = expected_headers(words[others], places, groups, steps)
    for number, record in enumerate(records):
        kept = record[: 11 if cut[number] else None].copy()
        kept[0] = (kept[0] & ~0xFFFFFFFF) | 8 * len(kept)
        kept[1:6] -= headers[:, number]
        if lengths[number] == 72:
            kept[8] -= kept[7]
        expected += kept.tolist()
    assert out[:size].tolist() == expected


@given(counts, st.integers(1, 5), st.integers(0, 99))
def test_the_way_of_a_side_is_voted_for(sides: list[tuple[int, int]], most: int, seed: int) -> None:
    bids, asks = ([side[half] for side in sides] for half in (0, 1))
    rng = random.Random(seed)
    prices = [rng.randrange(100) for _ in range(sum(bids) + sum(asks))]
    votes = np.empty(4, dtype=np.int64)
    arrays = (np.array(values, dtype=np.int64) for values in (prices, bids, asks))
    kernel.side_votes(*arrays, most, votes)
    assert votes.tolist() == naive_votes(prices, bids, asks, most)


@settings(deadline=None)
@given(
    st.lists(st.integers(-6, 6).map(lambda step: 10**9 * step), min_size=1, max_size=40),
    st.lists(st.integers(-3, 3), min_size=40, max_size=40),
    st.booleans(),
)
def test_the_plan_of_a_column_leads_back_to_its_values(steps: list[int], noise: list[int], referred: bool) -> None:
    values = np.cumsum(np.array(steps, dtype=np.int64))
    other = values + np.array(noise[: len(values)], dtype=np.int64) if referred else values[:0]
    left, found = np.empty(len(values), dtype=np.int64), np.empty(4, dtype=np.int64)
    tokenizer.plan_column(values, other, 512, 6, 28, left, found)
    mode, base, unit, many = found.tolist()
    if mode < 0:
        assert (values == values[0]).all()
        return
    assert (left % unit == 0).all()
    assert many == sum(abs(step) // unit >= 2**28 for step in left.tolist())
    before = {PLAIN: 0 * values, DELTA: np.append(base, values[:-1])}
    if referred:
        before |= {SAME: other + base, BEFORE: np.append(base, other[:-1])}
    assert (left + before[mode]).tolist() == values.tolist()


# --- books -------------------------------------------------------------------------------------------------------

price = st.one_of(st.integers(1, 40).map(lambda tick: 100 * tick), st.sampled_from([PRICE_MAX, -PRICE_MAX, 7, -1]))
changes = st.lists(st.tuples(st.integers(0, 1), price, st.integers(0, 3)), max_size=60)


def empty_book(rungs: int, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (ladder, tables, state) without a level."""
    tables = np.full((2, slots, 2), NO_PRICE, dtype=np.int64)
    return np.zeros((2, rungs), dtype=np.int64), tables, np.zeros(STATES, dtype=np.int64)


@settings(deadline=None)
@given(changes, changes, st.sampled_from([1, 100, 3]), st.sampled_from([0, 8, 64, 4096]), st.integers(0, 3))
def test_a_followed_book_is_the_book(
    first: list[tuple[int, int, int]], then: list[tuple[int, int, int]], unit: int, rungs: int, spoiled: int
) -> None:
    levels, bids = naive_book([], 0, first)
    book, window = empty_book(rungs, 256), (700, *divider(unit))
    before = np.array(levels, dtype=np.int64).reshape(-1, 2)
    inside = [p for p, _ in levels if (p - 700) % unit == 0 and 0 <= (p - 700) // unit < rungs]
    assert proper_levels(before, bids, PRICE_MAX, *window, rungs) == len(levels) - len(inside)
    assert fill_book(before, bids, *window, *book)
    rows = np.array([(one, size) for _, one, size in then], dtype=np.int64).reshape(-1, 2).T.copy()
    sides = np.array([[1 - half, half] for half, _, _ in then], dtype=np.int64).reshape(-1, 2).T.copy()
    row = apply_groups(rows[0], rows[1], sides, 0, len(then), 0, PRICE_MAX, *window, *book)
    assert row == len(then)
    after, after_bids = naive_book(levels, bids, then)
    same = not spoiled or not after
    if spoiled == 1 and after:
        after[-1] = (after[-1][0], after[-1][1] + 1)
    elif spoiled == 2 and after:
        after[-1] = (after[-1][0] + 1, after[-1][1])
    elif spoiled == 3 and after:
        after.append(after[-1])
    found = follows(np.array(after, dtype=np.int64).reshape(-1, 2), after_bids, PRICE_MAX, *window, *book)
    assert bool(found) == same


@pytest.mark.parametrize("rungs", [0, 64])
def test_levels_that_are_not_proper_are_told_and_never_follow(rungs: int) -> None:
    good = [(30, 1), (20, 1), (10, 1), (40, 1), (50, 1)]
    bad = [
        [(20, 1), (30, 1), (10, 1), (40, 1), (50, 1)],
        [(30, 1), (20, 1), (20, 1), (40, 1), (50, 1)],
        [(30, 1), (20, 1), (10, 1), (50, 1), (40, 1)],
        [(30, 1), (20, 0), (10, 1), (40, 1), (50, 1)],
        [(PRICE_MAX + 1, 1), (20, 1), (10, 1), (40, 1), (50, 1)],
    ]
    window = (0, *divider(10))
    for levels in bad:
        book = empty_book(rungs, 64)
        assert fill_book(np.array(good), 3, *window, *book)
        assert follows(np.array(good), 3, PRICE_MAX, *window, *book)
        assert proper_levels(np.array(levels), 3, PRICE_MAX, *window, rungs) == -1
        sides = np.array([[5, 0], [0, 2]])
        prices, sizes = np.array(levels).T.copy()
        apply_groups(prices, sizes, sides, 0, 1, 0, PRICE_MAX, *window, *book)
        assert not follows(np.array(levels), 3, PRICE_MAX, *window, *book)


def test_a_book_that_may_not_fit_or_is_out_of_bounds_is_not_followed() -> None:
    window = (1000, *divider(1))
    prices, sizes = np.arange(7, dtype=np.int64), np.ones(7, dtype=np.int64)
    sides = np.array([[7], [0]], dtype=np.int64)
    assert apply_groups(prices, sizes, sides, 0, 1, 0, PRICE_MAX, *window, *empty_book(16, 8)) == -1
    assert apply_groups(prices, sizes, sides, 0, 1, 0, PRICE_MAX, 0, *divider(1), *empty_book(16, 8)) == 7
    sides[0] = 1
    for wide in (PRICE_MAX + 1, -PRICE_MAX - 1, INT64_MIN, INT64_MAX):
        prices[0] = wide
        assert apply_groups(prices, sizes, sides, 0, 1, 0, PRICE_MAX, *window, *empty_book(16, 8)) == -1
    levels = np.stack((np.arange(7, 0, -1), np.ones(7, dtype=np.int64)), axis=1)
    assert not fill_book(levels, 7, *window, *empty_book(16, 8))


@settings(deadline=None)
@given(st.lists(changes, min_size=1, max_size=5), st.integers(0, 5), st.sampled_from([8, 256]))
def test_snapshots_are_followed_to_the_first_that_does_not(
    stretches: list[list[tuple[int, int, int]]], wrong: int, slots: int
) -> None:
    book, window = empty_book(64, slots), (700, *divider(100))
    rows = [change for stretch in stretches for change in stretch]
    arrays = np.array([(one, size) for _, one, size in rows], dtype=np.int64).reshape(-1, 2).T.copy()
    counts = np.array([[1 - half, half] for half, _, _ in rows], dtype=np.int64).reshape(-1, 2).T.copy()
    levels: list[tuple[int, int]] = []
    bids, place, outside = 0, 0, set()
    stored, asked, follow_many = [7], [], len(stretches)
    for number, stretch in enumerate(stretches):
        levels, bids = naive_book(levels, bids, stretch)
        place += len(stretch)
        outside |= {(half, one) for half, one, _ in stretch if one % 100 or not 0 <= (one - 700) // 100 < 64}
        sides = [sum(half == each for each, _ in outside) for half in (0, 1)]
        asked.append((len(stored), bids, len(levels) - bids, place))
        stored += [value for level in levels for value in level]
        if number == wrong and levels:
            stored[-1] += 1
        if max(sides) > slots * 3 // 4 or (number == wrong and levels):
            follow_many = min(follow_many, number)
    words = np.array(stored, dtype=np.int64)
    found = follow(words, np.array(asked).T.copy(), *arrays, counts, PRICE_MAX, *window, *book)
    assert found == follow_many
    if not book[2][FULL]:
        assert book[2][GROUP : ROW + 1].tolist() == [asked[min(found, len(asked) - 1)][3]] * 2


# --- bodies ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), max_size=30), st.binary(max_size=8))
def test_records_are_found_alike_with_and_without_the_kernel(lengths: list[int], torn: bytes) -> None:
    data = b"".join(pack_record(Kind.WIRE, bytes(8 * length), ts_recv=1) for length in lengths)
    for bytes_of in (data, data[: len(data) // 2 & ~7], data + torn.ljust(8, b"\1")):
        words, out = np.frombuffer(bytes_of, dtype=np.int64), np.empty(len(bytes_of) // 48 + 1, dtype=np.int64)
        count = find_records(words, out)
        plain, expected = block_shape._walked(bytes_of), naive_records(bytes_of)
        assert (None if count < 0 else out[:count].tolist()) == expected
        assert (None if plain is None else plain.tolist()) == expected


def test_bodies_come_back_alike_with_and_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(8)
    records = [bytes(event) for event, _ in book_events(200, snapshot_every=11)]
    records += [pack_record(Kind.WIRE, rng.randbytes(8 * rng.randrange(1, 90)), ts_recv=1) for _ in range(100)]
    data = b"".join(records)
    block = encode_block(data, 3)
    assert block is not None
    assert bytes(decode_block(block, len(data))) == data
    monkeypatch.setattr(engine, "has_kernels", lambda: False)
    assert bytes(decode_block(block, len(data))) == data


def test_a_unit_that_a_sample_does_not_tell_is_found_in_the_end() -> None:
    events = [bytes(event) for event, _ in book_events(3_000, snapshot_every=10**6)]
    odd = pack_record(
        Kind.BOOK_DELTA, np.array([31_001, 1, -1, -1]).tobytes(), ts_recv=2 * 10**18, instrument=1, side=66
    )
    data = b"".join([*events, odd])
    found = encode_events(data, 3)
    assert found is not None
    assert bytes(EventBlock(found[0], len(data)).raw()) == data
