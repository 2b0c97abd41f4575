"""What splits a window into parts: only what concerns the shard's own books, counted in calls of Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from chronicle.core.layout import StatusCode
from chronicle.etl import EtlConfig
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.pipeline.sweep import Sweep
from chronicle.etl.streams.stream import PlainStream
from tests.support.etl_streams import BID, MemorySink, RawStream, instrument, pipeline

OURS, OTHERS = "kraken:BTC-EUR", "okx:BTC-USDT"
BOOK = "clean/kraken/btc_eur/book.q"
EVENTS = 60
NOT_OURS = [
    (StatusCode.HALTED, 2),
    (StatusCode.SUBSCRIBED, 2),
    (StatusCode.DECODE_ERROR, 2),
    (StatusCode.HEARTBEAT, 0),
    (StatusCode.CONNECTED, 0),
    (StatusCode.CAPTURE_END, 0),
]
"""Statuses of another shard's instrument, and of no instrument with codes that say nothing of a book."""


@pytest.fixture
def calls() -> Iterator[dict[str, int]]:
    """Count what Python is asked to decide: parts of windows, blocks that streams take, events with changes."""
    counts = {"parts": 0, "blocks": 0, "changes": 0}
    run, take, mixed = Sweep.run, PlainStream.take, Pipeline._mixed

    def counting(name: str, call: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            counts[name] += 1
            return call(*arguments)

        return counted

    with (
        mock.patch.object(Sweep, "run", counting("parts", run)),
        mock.patch.object(PlainStream, "take", counting("blocks", take)),
        mock.patch.object(Pipeline, "_mixed", counting("changes", mixed)),
    ):
        yield counts


def _fed(stream: RawStream, start: int, calls: dict[str, int]) -> tuple[dict[str, int], MemorySink, Pipeline]:
    """Feed the events before `start`, then the others as one window; return the calls of that one."""
    sink = MemorySink()
    machine = pipeline(sink, EtlConfig(symbols=("kraken:*",)))
    machine.feed(stream.memory(0, start), 0)
    calls.update(dict.fromkeys(calls, 0))
    machine.feed(stream.memory(start), stream.events[start][0])
    machine.flush()
    return dict(calls), sink, machine


def _stream(between: list[tuple[int, int]]) -> tuple[RawStream, int]:
    stream = RawStream()
    for number, symbol in enumerate((OURS, OTHERS), 1):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(100, 1)], [(101, 1)])
    start = len(stream.events)
    for number in range(EVENTS):
        stream.deltas(1, (BID, 1 + number, 1))
        for code, about in between:
            stream.status(code, number=about)
    return stream, start


def test_statuses_that_are_not_about_our_books_cost_no_decision(calls: dict[str, int]) -> None:
    quiet, _, _ = _fed(*_stream([]), calls)
    noisy, sink, machine = _fed(*_stream(NOT_OURS), calls)
    assert quiet == noisy == {"parts": 1, "blocks": quiet["blocks"], "changes": 0}
    assert len(sink.records(BOOK)) == EVENTS + 2, "a definition, a snapshot, and the deltas"
    assert machine.skipped.get(2, 0) == 0, "they are read and mean nothing here: not skipped"


@pytest.mark.parametrize(
    "ours", [(StatusCode.HALTED, 1), (StatusCode.DISCONNECTED, 0), (StatusCode.LOST, 0), (StatusCode.DECODE_ERROR, 0)]
)
def test_statuses_about_our_books_are_decided_one_by_one(calls: dict[str, int], ours: tuple[int, int]) -> None:
    found, _, _ = _fed(*_stream([ours, *NOT_OURS]), calls)
    assert found["changes"] == EVENTS
    assert found["parts"] >= EVENTS, "records before and behind each are apart"
