"""Grouping a window's records by stream, against dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chronicle.etl.kernels.grouping import (
    CHANNEL_BITS,
    KINDS,
    NOT_OURS,
    NUMBER_SHIFT,
    UNDEFINED,
    UNDEFINED_NUMBER,
    Groups,
)

CHANNELS = np.full(KINDS, -1, dtype=np.int64)
CHANNELS[[32, 33, 35, 36]] = 0, 0, 1, 2
RECORD = st.tuples(st.sampled_from([32, 33, 35, 36, 48, 60_000]), st.integers(0, 400), st.integers(0, 65_535))
RECORDS = st.lists(
    st.tuples(st.sampled_from([32, 33, 35, 36, 48, 60_000]), st.integers(0, 400), st.integers(0, 65_535)),
    max_size=300,
)


def heads_of(records: list[tuple[int, int, int]]) -> np.ndarray:
    heads = np.zeros(len(records) + 5, dtype=np.uint64)
    for number, (kind, instrument, source) in enumerate(records):
        heads[number] = kind << 48 | source << 32 | instrument
    return heads.view(np.int64)


def naive(
    records: list[tuple[int, int, int]], first: int, end: int, number_of: list[int]
) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Return records by stream key, in order of appearance, and the counts of kinds that are of no stream."""
    groups: dict[int, list[int]] = {}
    skipped: dict[int, int] = {}
    for record in range(first, end):
        kind, instrument, source = records[record]
        channel = int(CHANNELS[kind])
        if channel < 0:
            skipped[kind] = skipped.get(kind, 0) + 1
        elif number_of[instrument] >= 0:
            key = number_of[instrument] << NUMBER_SHIFT | source << CHANNEL_BITS | channel
            groups.setdefault(key, []).append(record)
    return groups, skipped


@given(RECORDS, st.data())
def test_groups_are_those_of_a_dictionary(records: list[tuple[int, int, int]], data: st.DataObject) -> None:
    number_of = data.draw(st.lists(st.sampled_from([NOT_OURS, 1, 2, 7, 399, 1 << 23]), min_size=401, max_size=401))
    groups = Groups(CHANNELS)
    counted: dict[int, int] = {}
    for _ in range(2):  # the scratch arrays are clean again after a call
        first = data.draw(st.integers(0, len(records)))
        end = data.draw(st.integers(first, len(records)))
        streams = groups.find(heads_of(records), first, end, np.array(number_of))
        expected, skipped = naive(records, first, end, number_of)
        assert groups.keys[:streams].tolist() == list(expected)
        bounds = groups.bounds
        found = [groups.chosen[bounds[place] : bounds[place + 1]].tolist() for place in range(streams)]
        assert found == list(expected.values())
        for kind, count in skipped.items():
            counted[kind] = counted.get(kind, 0) + count
        assert {int(kind): int(groups.skipped[kind]) for kind in np.flatnonzero(groups.skipped)} == counted


@given(RECORDS.filter(lambda records: any(CHANNELS[kind] >= 0 for kind, *_ in records)))
def test_an_undefined_instrument_is_named_by_its_first_record(records: list[tuple[int, int, int]]) -> None:
    groups = Groups(CHANNELS)
    first = next(number for number, (kind, *_) in enumerate(records) if CHANNELS[kind] >= 0)
    for number_of in (np.full(401, UNDEFINED), np.empty(0, dtype=np.int64)):
        found = groups.find(heads_of(records), 0, len(records), number_of)
        assert UNDEFINED_NUMBER - found == first
    assert not groups.skipped.any()
    streams = groups.find(heads_of(records), 0, len(records), np.ones(401, dtype=np.int64))
    assert streams >= 1


def test_more_streams_than_there_was_room_for() -> None:
    records = [(32, number % 5_000, number % 3) for number in range(20_000)]
    groups = Groups(CHANNELS)
    streams = groups.find(heads_of(records), 0, len(records), 1 + np.arange(5_000))
    assert streams == 15_000
    assert sorted(groups.chosen[: len(records)].tolist()) == list(range(20_000))
