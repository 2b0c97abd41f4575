"""The kernel of racing lines against its twins: Python's race, a deque of numbers and a dict of trades."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.compare import compare_queue
from chronicle.core.layout import NONE, SequenceRule, Side
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.kernels import races
from chronicle.etl.merge.number_table import widened
from chronicle.etl.merge.race_rows import RaceRows
from chronicle.etl.merge.racing import Racing
from tests.support.etl_streams import RawStream, instrument
from tests.support.race_runs import BOOK, TRADES, RaceRun

RULES = (SequenceRule.BINANCE_SPOT, SequenceRule.OKX_V5, SequenceRule.BINANCE_FUTURES)
CONFIG = EtlConfig(snapshot_deltas=30)
ids = st.lists(st.tuples(st.integers(-3, 40), st.integers(1, 3)), max_size=120)


class NaiveTrades:
    """The last `size` ids with the line that brought each first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.line_of: dict[int, int] = {}

    def note(self, trade_id: int, line: int) -> bool:
        holder = self.line_of.get(trade_id)
        if holder is None:
            self.line_of[trade_id] = line
            if len(self.line_of) > self.size:
                del self.line_of[next(iter(self.line_of))]
        return holder in (None, line)


@settings(max_examples=100, deadline=None)
@given(ids, st.integers(1, 9))
def test_trades_are_noted_as_a_dict_notes_them(trades: list[tuple[int, int]], size: int) -> None:
    naive, row = NaiveTrades(size), RaceRows(2 * size).add()
    for trade_id, line in trades:
        assert bool(races.note_trade(row.words, trade_id, line)) == naive.note(trade_id, line)
    assert [tuple(entry) for entry in row.ring(2)] == list(naive.line_of.items())


@settings(max_examples=100, deadline=None)
@given(ids, st.integers(1, 9))
def test_numbers_are_known_as_a_deque_knows_them(numbers: list[tuple[int, int]], size: int) -> None:
    naive: deque[int] = deque(maxlen=size)
    row = RaceRows(size).add()
    for number, _ in numbers:
        assert bool(races.holds_number(row.words, number)) == (number in naive)
        races.note_number(row.words, number)
        naive.append(number)
    assert [entry for (entry,) in row.ring(1)] == list(naive)


def test_lines_come_and_go_in_any_number() -> None:
    rows = RaceRows(4)
    first, second = rows.add(), rows.add()
    for line in range(1, 20):
        first.bring(line, 10 * line)
    second.bring(7)
    first.bring(3, 5)
    first.lines = {line: seen for line, seen in first.lines.items() if line % 3 == 0}
    assert first.lines == {3: 5, 6: 60, 9: 90, 12: 120, 15: 150, 18: 180}
    assert second.lines == {7: NONE}
    assert rows.add().lines == {}
    assert first.lines[18] == 180


def test_a_table_that_grows_keeps_what_is_in_it() -> None:
    table = np.zeros((3000, 2), dtype=np.int64)
    table[[0, 700, 2999], 1] = 5, 6, 7
    grown = widened(table, 1 << 20)
    assert grown.shape == (1 << 20, 2)
    assert np.flatnonzero(grown[:, 1]).tolist() == [0, 700, 2999]


def _in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel stop before every event that races."""
    run_races = races.run_races

    def stopping(*arguments: Any) -> int:
        *before, tally, out, reached = arguments
        return int(run_races(*before, tally[:0], out, reached))

    monkeypatch.setattr(races, "run_races", stopping)


@pytest.mark.parametrize("seed", range(9))
def test_the_kernel_lets_go_on_what_python_lets_go_on(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RaceRun(seed, lines=2 + seed % 3, count=400, rule=RULES[seed % 3], queues=1 + seed % 2)
    one, other = tmp_path / "one", tmp_path / "other"
    for home in (one, other):
        run.write(home)
    found = run_shard(one, drain=True, config=CONFIG, window_bytes=[400, 3000, None][seed % 3])
    lines = (one / "etl/default/live.json").read_bytes()
    run.check(one)
    with monkeypatch.context() as patched:
        _in_python(patched)
        expected = run_shard(other, drain=True, config=CONFIG)
    for queue in (BOOK, TRADES):
        assert compare_queue(LocalSource(one), LocalSource(other), queue) is None
    assert found.counts == expected.counts
    assert b'"lines"' in lines


def _write(home: Path, stream: RawStream) -> None:
    name = "raw/main.q"
    with Queue.create(home / name, name=name, segment_bytes=1 << 20).appender() as appender:
        for place, (index, data) in enumerate(stream.events):
            following = stream.events[place + 1][0] if place + 1 < len(stream.events) else stream.next_index
            appender.append_event(data, following - index)


@pytest.mark.parametrize("rule", RULES)
def test_plain_copies_do_not_come_to_python(rule: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RawStream()
    stream.define(1, instrument("binance:BTC-USDT", sequence_rule=rule))
    for line in (1, 2):
        stream.snapshot(1, [(10, 1)], [(11, 1)], sequence=100, source=line)
    for number in range(101, 301):
        for line in (1, 2):
            if rule == SequenceRule.BINANCE_SPOT:
                stream.deltas(1, (Side.BID, 5, number), first=number, last=number, source=line)
            else:
                stream.deltas(1, (Side.BID, 5, number), last=number, previous=number - 1, source=line)
            out = stream.begin(line)
            for part in range(3):
                out.trade(1, Side.BID, 10, 1, ts_event=1, trade_id=10 * number + part)
            stream.end()
    _write(tmp_path, stream)
    asked, race = [0], Racing._race

    def counting(self: Racing, *arguments: Any) -> Any:
        asked[0] += 1
        return race(self, *arguments)

    monkeypatch.setattr(Racing, "_race", counting)
    report = run_shard(tmp_path, drain=True, config=CONFIG)
    assert report.counts["race_duplicates"] == 200 * 4 + 1
    assert asked[0] < 8, "the second line's snapshot, and the first of its messages"
