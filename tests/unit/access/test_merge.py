"""Batches: whole events, in order, nothing lost, whatever the chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.access.ranges.columns import Chunk
from chronicle.access.ranges.merge import WORTH_ROWS, cut_at_events
from chronicle.core.layout import Flag


def chunks_of(sizes: list[list[int]]) -> list[Chunk]:
    """Return chunks of events of so many rows; an event of -n rows goes on in the next chunk."""
    out: list[Chunk] = []
    number = 0
    for events in sizes:
        flags: list[int] = []
        for size in events:
            flags += [0] * (abs(size) - 1) + [int(Flag.LAST) if size > 0 else 0]
        rows = np.arange(number, number + len(flags))
        number += len(flags)
        out.append({"ts_recv": rows, "flags": np.array(flags, dtype=np.uint8)})
    return out


event = st.one_of(st.integers(1, 4), st.integers(1, 60), st.integers(-9, -1))


@given(st.lists(st.lists(event, min_size=1, max_size=30), max_size=12), st.integers(1, 70))
@settings(max_examples=300)
def test_batches_are_whole_events_in_order(sizes: list[list[int]], rows: int) -> None:
    chunks = chunks_of(sizes)
    found = list(cut_at_events(iter(chunks), rows))
    total = sum(len(chunk["flags"]) for chunk in chunks)
    assert [row for batch in found for row in batch["ts_recv"].tolist()] == list(range(total))
    for batch in found[:-1]:
        ends = np.flatnonzero(batch["flags"] & Flag.LAST)
        assert ends[-1] == len(batch["flags"]) - 1
        assert len(batch["flags"]) <= rows or len(ends) == 1


@given(st.lists(st.lists(st.just(1), min_size=1, max_size=30), max_size=12), st.integers(1, 70))
def test_batches_of_single_rows_are_full_but_the_last(sizes: list[list[int]], rows: int) -> None:
    found = [len(batch["flags"]) for batch in cut_at_events(iter(chunks_of(sizes)), rows)]
    assert all(count == rows for count in found[:-1])
    assert all(0 < count <= rows for count in found)


def test_batches_of_large_chunks_are_parts_of_them() -> None:
    chunks = chunks_of([[5] * 4_000] * 3)
    found = list(cut_at_events(iter(chunks), 11_000))
    assert [len(batch["flags"]) for batch in found] == [11_000, 9_000] * 3
    assert all(np.shares_memory(batch["ts_recv"], chunks[place // 2]["ts_recv"]) for place, batch in enumerate(found))
    assert WORTH_ROWS < 9_000
