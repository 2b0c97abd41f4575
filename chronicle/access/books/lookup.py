"""Lookup: the book of one instrument at one moment.

In each lane: the nearest snapshot at or before the moment (or the book that the segment opens with), the events from
there to the moment, then a look at what follows, because a GAP record that comes later can say that the moment lies
in a hole. Several lanes are judged alike and the best answer wins.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from chronicle.access.books.book import Book
from chronicle.access.books.ladder import Ladder, drives
from chronicle.access.books.reached import Reached, Start
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.frontier import frontier
from chronicle.access.opened.lanes import Lane, lanes_of
from chronicle.access.opened.segment import Segment, iter_records
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.events import LaneEvents
from chronicle.core import layout
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, NONE, BookStatus, GapState, Kind, Verdict, VerifiedBy
from chronicle.core.paths import symbol_of
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo
from chronicle.storage.stores.requests import requests_made

__all__ = ["book_at"]

AHEAD_RECORDS_MAX = 8_192
"""How far the look ahead goes when nothing confirms the book."""

KERNELS_FROM_DELTAS = 200_000
"""After so many deltas in plain Python (a second's worth) loading the kernels would have been cheaper."""

_RANK = {
    BookStatus.OK: 0,
    BookStatus.CROSSED: 1,
    BookStatus.GAP: 2,
    BookStatus.UNVERIFIED: 3,
    BookStatus.STALE: 4,
}
"""A live feed says more about the moment than one that ended: what is in doubt ranks before what is over."""


@dataclass(slots=True)
class LaneBook:
    """What one lane says about the moment; `followed` when a later event stands behind it."""

    lane: Lane
    ladder: Ladder
    status: BookStatus
    segment: Segment
    last_ts: int
    followed: bool

    @property
    def rank(self) -> tuple[int, int, int]:
        """Order among lanes, least first: trust, then (of what is not ok) the freshest, then the lane's number."""
        last = self.ladder.last
        freshness = 0 if self.status == BookStatus.OK or last is None else -last.ts_recv
        return _RANK[self.status], freshness, self.lane.number


def book_at(shelf: Shelf, symbol: str, at: int | None, depth: int | None) -> Book:
    """Return the book of `symbol` (canonical) after all events with ts_recv <= `at`; None means the latest.

    What the shelf remembers is enough for an answer that is ``ok`` and has a later event behind it; any other is
    looked up afresh, so that a segment or lane that appeared since is not missed.
    """
    cost, asked = Cost(), requests_made()
    best = _best(shelf, symbol, at, depth, cost, fresh=False) if at is not None else None
    if best is None or best.status != BookStatus.OK or not best.followed:
        best = _best(shelf, symbol, at, depth, cost, fresh=True)
    cost.requests = requests_made() - asked
    if best is None:
        return _no_book(symbol, at, cost)
    return _answer(symbol, best, best.last_ts if at is None else at, depth, cost)


def _best(
    shelf: Shelf, symbol: str, at: int | None, depth: int | None, cost: Cost, *, fresh: bool
) -> LaneBook | None:
    found = None
    for lane in lanes_of(shelf, symbol, "book", fresh=fresh):
        answer = _book_in_lane(shelf, lane, at, depth, cost, fresh=fresh)
        if answer is not None and fresh and at is not None and not answer.followed and at > answer.last_ts:
            answer = _judged_by_frontier(shelf, answer, at, depth, cost)
        if answer is not None and (found is None or answer.rank < found.rank):
            found = answer
    return found


def _judged_by_frontier(shelf: Shelf, answer: LaneBook, at: int, depth: int | None, cost: Cost) -> LaneBook:
    """Return the answer for a moment behind the lane's last record: idle up to the shard's frontier, stale beyond.

    The frontier is read first and the lane after it: what lies below the frontier was committed before.
    """
    frontier_ts = frontier(shelf, symbol_of(answer.lane.queue), answer.segment).ts
    again = _book_in_lane(shelf, answer.lane, at, depth, cost, fresh=True) or answer
    if again.followed or at <= max(frontier_ts, again.last_ts):
        return again
    if again.status in (BookStatus.OK, BookStatus.CROSSED):
        again.status = BookStatus.STALE
    return again


def _book_in_lane(
    shelf: Shelf, lane: Lane, at: int | None, depth: int | None, cost: Cost, *, fresh: bool
) -> LaneBook | None:
    """Return what `lane` says, None when its first record comes after `at`."""
    target = INT64_MAX if at is None else at
    infos = shelf.segments_near(lane.queue, target, fresh=fresh)
    position = bisect_right(infos, target, key=lambda info: info.ts_first) - 1
    if position < 0:
        return None
    segment = shelf.open(infos[position], cost)
    start = _start(segment, target)
    ladder = Ladder(start.definition)
    replay_to = _replay_plainly
    if _kernels_pay(shelf):
        from chronicle.access.books.moment import replay_to
    reached = replay_to(segment, ladder, start, target, cost, depth=depth)
    last_ts = max(infos[position].ts_first, reached.last_ts)
    events = LaneEvents(shelf, infos, position, reached.offset, reached.index, cost)
    walk = iter(events)
    ahead, where = None, segment
    for event in walk if not reached.confirmed else ():
        if event[0].ts_recv > target or events.hole:
            ahead = event
            break
        for record in event:
            ladder.apply(record)
        last_ts, where = event[0].ts_recv, events.segment
    cost.deltas_replayed += ladder.deltas
    shelf.deltas_walked += ladder.deltas
    if ladder.last is None:
        ladder.last, where = _last_before(shelf, infos, position, start.offset, cost) or (None, where)
    status = ladder.status()
    trusted = status in (BookStatus.OK, BookStatus.CROSSED)
    if trusted and ahead is not None and _gap_ahead(ahead, walk, events, ladder, target, last_ts):
        status = BookStatus.GAP
    if trusted and ahead is None and not reached.confirmed and target > last_ts and shelf.is_cut(lane.queue):
        status = BookStatus.GAP
    return LaneBook(lane, ladder, status, where, last_ts, reached.confirmed or ahead is not None)


def _replay_plainly(
    segment: Segment, ladder: Ladder, start: Start, target: int, cost: Cost, *, depth: int | None = None
) -> Reached:
    """Do what :func:`chronicle.access.books.moment.replay_to` does, without kernels."""
    if start.at_opening:
        ladder.open_with(segment.prologue_record("book"), segment.prologue_orders())
    offset, index, last_ts = start.offset, start.index, NONE
    table = segment.seek()
    behind = bisect_right(table.ts, target)
    end = table.offset[behind] if behind < len(table) else segment.data_end()
    for at, base, window in segment.windows(offset, index, end, cost):
        passed, records, ts = ladder.replay(window, base, target)
        offset, index, last_ts = at + passed, base + records, max(last_ts, ts)
        if passed < len(window):
            break
    return Reached(offset, index, last_ts, confirmed=False)


def _kernels_pay(shelf: Shelf) -> bool:
    """Return whether to replay with the kernels: they are loaded anyway, or loading them has come to cost less."""
    return (
        "chronicle.access.books.moment" in sys.modules
        or "chronicle.access.books.bulk" in sys.modules
        or shelf.deltas_walked >= KERNELS_FROM_DELTAS
    )


def _last_before(
    shelf: Shelf, infos: list[SegmentInfo], position: int, offset: int, cost: Cost
) -> tuple[Record, Segment] | None:
    """Return the last driving record before `offset`: only snapshots and notes lie between it and the moment."""
    while position >= 0:
        segment = shelf.open(infos[position], cost)
        table, end = segment.seek(), offset
        for point in range(bisect_right(table.offset, offset - 1) - 1, -1, -1):
            records = list(iter_records(segment.read(table.offset[point], end, cost), table.index[point]))
            for record in reversed(records):
                if drives(record):
                    return record, segment
            end = table.offset[point]
        position -= 1
        offset = shelf.open(infos[position]).data_end() if position >= 0 else 0
    return None


def _start(segment: Segment, target: int) -> Start:
    """Return where to replay from: the last snapshot up to `target`, else the book of the prologue."""
    table = segment.seek()
    last = bisect_right(table.ts, target) - 1
    nearest = bisect_right(table.snapshots, last) - 1
    if nearest >= 0:
        position = table.snapshots[nearest]
        offset, index = table.offset[position], table.index[position]
        return Start(offset, index, segment.definition_at(offset), at_opening=False)
    offset = segment.data_offset
    return Start(offset, segment.info.base_index, segment.definition_at(offset), at_opening=True)


def _gap_ahead(
    first: list[Record],
    walk: Iterator[list[Record]],
    events: LaneEvents,
    ladder: Ladder,
    moment: int,
    last_ts: int,
) -> bool:
    """Return whether what follows says that `moment` lies in a hole.

    The look ends at the event that proves the book whole: the next driving one, or, where checksums stand behind the
    book, the next whose CHECK passed or that restates the book. `last_ts` is that of the last event applied.
    """
    checked = ladder.trust.verified_by == VerifiedBy.CHECKSUM
    budget = AHEAD_RECORDS_MAX
    event = first
    while True:
        if events.hole:
            return moment > last_ts
        proven = False
        for record in event:
            if record.kind == Kind.GAP:
                _, state, _, _, last_good_ts, _, _ = layout.GAP_BODY.unpack_from(record.data, HEADER_BYTES)
                if state == GapState.OPEN:
                    return bool(last_good_ts < moment)
            elif record.kind == Kind.CHECK:
                verdict = record.data[HEADER_BYTES + 1]
                if verdict == Verdict.FAILED:
                    return ladder.trust.last_checked_ts < moment
                proven = proven or verdict == Verdict.PASSED
            elif drives(record):
                proven = proven or not checked or record.kind == Kind.BOOK_SNAPSHOT
        budget -= len(event)
        if proven or budget <= 0:
            return False
        event = next(walk, [])
        if not event:
            return False


def _answer(symbol: str, found: LaneBook, at: int, depth: int | None, cost: Cost) -> Book:
    ladder, definition, last = found.ladder, found.ladder.definition, found.ladder.last
    bids, asks = ladder.best(depth)
    counts = ladder.counts(depth)
    low, high = ladder.complete_range()
    age = NONE if ladder.snapshot_ts == NONE else max(0, at - ladder.snapshot_ts)
    return Book(
        symbol=symbol,
        at=at,
        status=found.status.name.lower(),
        verified_by=VerifiedBy(ladder.trust.verified_by).name.lower(),
        ts_recv=NONE if last is None else last.ts_recv,
        ts_event=NONE if last is None else last.ts_event,
        snapshot_age_ns=age,
        price_exponent=definition.price_exponent,
        size_exponent=definition.size_exponent,
        bid_levels=tuple(bids),
        ask_levels=tuple(asks),
        complete_from=low,
        complete_to=high,
        source=_source(found, last),
        cost=cost,
        bid_counts=counts[0],
        ask_counts=counts[1],
        order_book=ladder.orders,
    )


def _source(found: LaneBook, last: Record | None) -> dict[str, object]:
    info: SegmentInfo = found.segment.info
    source: dict[str, object] = {
        "queue": info.queue,
        "lane": found.lane.number,
        "segment": info.number,
        "place": info.place,
    }
    if last is not None:
        tables = found.segment.prologue().get("sources") or []
        raw = tables[last.source].get("queue") if last.source < len(tables) else None
        source |= {"index": last.index, "raw_queue": raw, "raw_index": last.source_index}
    return source


def _no_book(symbol: str, at: int | None, cost: Cost) -> Book:
    """Return the empty answer: the moment comes before the first record."""
    return Book(
        symbol=symbol,
        at=NONE if at is None else at,
        status="unverified",
        verified_by="nothing",
        ts_recv=NONE,
        ts_event=NONE,
        snapshot_age_ns=NONE,
        price_exponent=0,
        size_exponent=0,
        bid_levels=(),
        ask_levels=(),
        cost=cost,
    )
