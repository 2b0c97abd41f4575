"""Streams of orders that no venue should send: unknown, doubled, endless, cleared in the middle; both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chronicle
from chronicle.access.books.ladder import Ladder
from chronicle.core.compare import compare_queue
from chronicle.core.events import EventBuilder
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import INT64_MAX, Action, BookStatus, Cause, Flag, GapState, Kind, SequenceRule
from chronicle.core.local import LocalSource
from chronicle.core.queue import Queue
from chronicle.core.records import Record, SnapshotFields
from chronicle.etl import EtlConfig, run_shard
from chronicle.etl.books.order_book import ORDERS_MAX
from tests.support.both_ways import both_ways
from tests.support.etl_streams import ASK, BID, RawStream, instrument, queue_records, statuses

SYMBOL, BOOK = "nasdaq:AMZN", "clean/nasdaq/amzn/book.q"
ADD, CANCEL, MODIFY, CLEAR, FILL, TRADE = (
    *(Action.ADD, Action.CANCEL, Action.MODIFY, Action.CLEAR),
    *(Action.FILL, Action.TRADE),
)
Row = tuple[int, int, int, int, int]
"""(action, order id, side, price, size)"""


class Orders:
    """A raw stream of one book of orders; what rests is told from its ORDER_SNAPSHOT at the end."""

    def __init__(self, **definition: Any) -> None:
        self.stream = RawStream()
        self.definition = definition
        self.tick = 0
        self._define()

    def _define(self) -> None:
        self.stream.define(1, instrument(SYMBOL, driver=Kind.ORDER, tick=self.tick, **self.definition))

    def put(self, *rows: Row, flags: int = 0) -> None:
        out = self.stream.begin()
        for action, order_id, side, price, size in rows:
            out.order(1, side, order_id, price, size, action=action, ts_event=1, flags=flags)
        self.stream.end()

    def start(self, *rows: Row) -> None:
        self.put((CLEAR, 0, 0, 0, 0), *rows)

    def records(self) -> list[Record]:
        return both_ways(self.stream).records(BOOK)

    def rests(self) -> list[list[tuple[int, int, int]]]:
        """Return (id, price, size) of bids and asks: a redefinition restates the book."""
        self.tick += 1
        self._define()
        last = [record for record in self.records() if record.kind == Kind.ORDER_SNAPSHOT][-1]
        bids, asks = np.frombuffer(last.body[:8], dtype=np.uint32).tolist()
        rows = [tuple(row) for row in np.frombuffer(last.body[8:], dtype=np.int64).reshape(-1, 3).tolist()]
        assert len(rows) == bids + asks
        return [rows[:bids], rows[bids:]]


def causes(records: list[Record]) -> list[tuple[int, int]]:
    gaps = [record.fields() for record in records if record.kind == Kind.GAP]
    return [(gap["cause"], gap["state"]) for gap in gaps]


RESTING: tuple[Row, ...] = ((ADD, 1, BID, 100, 5), (ADD, 2, BID, 100, 7), (ADD, 3, ASK, 101, 4))


@pytest.mark.parametrize(
    "bad",
    [
        (CANCEL, 9, BID, 100, 1),
        (MODIFY, 9, BID, 100, 1),
        (ADD, 2, BID, 99, 1),
        (ADD, 2, ASK, 105, 1),
        (CANCEL, 2, BID, 100, -1),
        (MODIFY, 2, BID, 100, 0),
        (MODIFY, 2, ASK, 100, 7),
        (ADD, 4, BID, 100, INT64_MAX),
        (ADD, 4, BID, INT64_MAX, 1),
        (ADD, 4, 0, 100, 1),
        (ord("Z"), 2, BID, 100, 1),
    ],
    ids=lambda row: f"{chr(row[0])}-{row[1]}-{row[4]}",
)
def test_what_contradicts_the_book_changes_nothing_and_opens_a_gap(bad: Row) -> None:
    orders = Orders()
    orders.start(*RESTING)
    orders.put((CANCEL, 1, BID, 100, 2))
    orders.put((ADD, 6, BID, 98, 1), bad, (ADD, 7, BID, 97, 1))
    orders.put((CANCEL, 3, ASK, 101, 1))
    records = orders.records()
    assert causes(records) == [(Cause.ORDER, GapState.OPEN)]
    doubtful = [record.flags & Flag.MAYBE_BAD_BOOK for record in records if record.kind == Kind.ORDER]
    assert [bool(flag) for flag in doubtful] == [False] * 5 + [True] * 4, "from the event of the contradiction on"
    assert statuses(records)[-1] == "gap"
    bids, asks = orders.rests()
    assert bids == [(1, 100, 3), (2, 100, 7), (6, 98, 1), (7, 97, 1)]
    assert asks == [(3, 101, 3)]
    orders.start((ADD, 1, BID, 90, 1))
    assert causes(orders.records()) == [(Cause.ORDER, GapState.OPEN), (Cause.ORDER, GapState.CLOSED)]
    assert statuses(orders.records())[-1] == "ok"


@pytest.mark.parametrize("size", [5, 6, INT64_MAX])
def test_a_cancel_at_or_beyond_the_rest_takes_the_order_away(size: int) -> None:
    orders = Orders()
    orders.start(*RESTING)
    orders.put((CANCEL, 1, BID, 100, size))
    assert causes(orders.records()) == []
    assert orders.rests() == [[(2, 100, 7)], [(3, 101, 4)]]
    orders.put((ADD, 1, BID, 100, 5))  # the id is free again, and last at its price
    assert orders.rests()[0] == [(2, 100, 7), (1, 100, 5)]
    assert statuses(orders.records())[-1] == "ok"


def test_executions_take_nothing_away_by_themselves() -> None:
    orders = Orders()
    orders.start(*RESTING)
    orders.put((TRADE, 0, ASK, 100, 3), (FILL, 1, BID, 100, 3))
    assert orders.rests()[0] == [(1, 100, 5), (2, 100, 7)]
    orders.put((FILL, 9, BID, 100, 3), (FILL, 1, BID, 100, 3), (CANCEL, 1, BID, 100, 3))
    assert orders.rests()[0] == [(1, 100, 2), (2, 100, 7)]
    assert causes(orders.records()) == []


def test_a_clear_in_the_middle_of_an_event_leaves_what_is_behind_it() -> None:
    orders = Orders()
    orders.start(*RESTING)
    orders.put((ADD, 4, BID, 99, 1), (CLEAR, 0, 0, 0, 0), (ADD, 4, BID, 90, 2), (ADD, 2, ASK, 95, 3))
    orders.put((CANCEL, 4, BID, 90, 1))
    assert causes(orders.records()) == []
    assert orders.rests() == [[(4, 90, 1)], [(2, 95, 3)]]
    orders.put((CANCEL, 1, BID, 100, 5))  # which the CLEAR took away
    assert causes(orders.records()) == [(Cause.ORDER, GapState.OPEN)]
    orders.put((ADD, 7, BID, 80, 1), (CLEAR, 0, 0, 0, 0), (CANCEL, 7, BID, 80, 1))
    assert statuses(orders.records())[-1] == "gap", "a start that contradicts itself starts nothing"
    orders.start()
    assert statuses(orders.records())[-1] == "ok"
    assert orders.rests() == [[], []]


def test_a_clear_that_the_feed_doubts_starts_nothing() -> None:
    orders = Orders()
    orders.put((CLEAR, 0, 0, 0, 0), (ADD, 1, BID, 90, 1), flags=Flag.MAYBE_BAD_BOOK)
    assert set(statuses(orders.records())) == {"unverified"}
    orders.start((ADD, 1, BID, 90, 1))
    orders.put((CLEAR, 0, 0, 0, 0), flags=Flag.MAYBE_BAD_BOOK)
    assert statuses(orders.records())[-1] == "gap"


def test_orders_before_any_start_are_kept_and_believed_by_no_one() -> None:
    orders = Orders()
    orders.put((CANCEL, 77, BID, 1, 1), (ADD, 1, BID, 90, 1))
    orders.put((ADD, 1, BID, 90, 1))
    records = orders.records()
    assert set(statuses(records)) == {"unverified"}
    assert [bool(r.flags & Flag.MAYBE_BAD_BOOK) for r in records if r.kind == Kind.ORDER] == [True] * 3


def test_a_crossed_book_of_orders_says_so_until_it_no_longer_is() -> None:
    orders = Orders()
    orders.start(*RESTING)
    orders.put((ADD, 4, BID, 105, 1))
    assert orders.rests()[0][0] == (4, 105, 1)
    restated = [record for record in orders.records() if record.kind == Kind.BOOK_SNAPSHOT]
    assert SnapshotFields.unpack(restated[-1].body).status == BookStatus.CROSSED
    orders.put((CANCEL, 4, BID, 105, 1))
    reader, told = Ladder(), []
    for record in orders.records():
        reader.apply(record)
        if record.flags & Flag.LAST:
            told.append(reader.status().name.lower())
    assert told == ["unverified", "ok", "crossed", "crossed", "ok"]


def test_ticks_that_change_between_orders_keep_every_order() -> None:
    orders = Orders(price_exponent=1, size_exponent=1)
    orders.start(*RESTING)
    orders.stream.define(1, instrument(SYMBOL, driver=Kind.ORDER, price_exponent=3, size_exponent=2))
    orders.put((ADD, 4, BID, 9_950, 70), (CANCEL, 2, BID, 0, 30))
    last = [record for record in orders.records() if record.kind == Kind.ORDER_SNAPSHOT]
    assert len(last) == 1
    orders.stream.define(1, instrument(SYMBOL, driver=Kind.ORDER, price_exponent=0, size_exponent=0))
    records = orders.records()
    assert causes(records) == [(Cause.DECODE, GapState.OPEN)], "9.950 cannot be said without decimals"
    assert statuses(records)[-1] == "gap"


def test_a_hole_in_the_venue_s_count_of_orders_is_a_gap() -> None:
    orders = Orders(sequence_rule=SequenceRule.COUNT)

    def put(sequence: int, *rows: Row) -> None:
        out = orders.stream.begin()
        for action, order_id, side, price, size in rows:
            out.order(1, side, order_id, price, size, action=action, ts_event=1, sequence=sequence)
        orders.stream.end()

    put(10, (CLEAR, 0, 0, 0, 0), *RESTING)
    put(11, (ADD, 4, BID, 90, 1))
    put(11, (ADD, 5, BID, 90, 1))
    put(13, (ADD, 6, BID, 90, 1))
    assert causes(orders.records()) == [(Cause.SEQUENCE, GapState.OPEN)]
    assert statuses(orders.records())[-2:] == ["gap", "gap"]


def test_a_million_orders_rest_and_no_more_than_a_book_holds(tmp_path: Path) -> None:
    count = ORDERS_MAX + 3
    home, once = tmp_path / "home", tmp_path / "once"
    _write_additions(home, count)
    run_shard(home, drain=True)
    records = queue_records(home, BOOK)
    added = [record for record in records if record.kind == Kind.ORDER]
    assert len(added) == count + 1
    gaps = [record for record in records if record.kind == Kind.GAP]
    assert [gap.fields()["cause"] for gap in gaps] == [Cause.ORDER]
    first_bad = next(number for number, record in enumerate(added) if record.flags & Flag.MAYBE_BAD_BOOK)
    assert first_bad == ORDERS_MAX + 1, "the first order beyond what a book holds"
    with chronicle.open(home) as store:
        book = store.book(SYMBOL, depth=2)
        assert book.status == "gap"
        assert sum(size for _, size in store.book(SYMBOL).bids) * 1000 == ORDERS_MAX, "one each, none lost"
    run_shard(home, target=once, drain=True, window_bytes=8 << 20, config=EtlConfig())
    assert compare_queue(LocalSource(home), LocalSource(once), BOOK) is None


def _write_additions(home: Path, count: int) -> None:
    """Write a CLEAR and `count` additions of size 1 at a thousand prices."""
    out = EventBuilder()
    name = "raw/main.q"
    with Queue.create(home / name, name=name, segment_bytes=256 << 20).appender() as appender:
        out.begin(1_000, source=1)
        out.instrument(1, instrument(SYMBOL, driver=Kind.ORDER))
        out.order(1, 0, 0, 0, 0, action=CLEAR, ts_event=1)
        data, taken = out.take()
        appender.append_event(bytes(data), taken)
        out.begin(0, source=1)
        out.order(1, BID, 0, 0, 1, action=ADD, ts_event=1)
        words = np.tile(np.frombuffer(bytes(out.take()[0]), dtype=np.int64), (count, 1))
        words[:, 1] = 2_000 + np.arange(count)
        words[:, 6] = 1 + np.arange(count)
        words[:, 7] = 1 + np.arange(count) % 1000
        append_mixed(appender, words.reshape(-1).view(np.uint64))
