"""ORDER records, the levels they make and what restates them: drawn at random, and as a market sends them."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import strategies as st

from chronicle.core.layout import (
    BOOK_DELTA_BODY,
    INT64_MAX,
    INT64_MIN,
    ORDER_BODY,
    ORDER_SNAPSHOT_BODY,
    Action,
    Kind,
    Origin,
    Side,
)
from chronicle.core.records import SnapshotFields, pack_record
from chronicle.etl import OrderBook

EXTREMES = [0, 1, -1, 63, 64, 2**22, 2**31, 2**53, INT64_MAX, INT64_MIN, INT64_MIN + 1, 100, 200]


number = st.one_of(st.sampled_from(EXTREMES), st.integers(0, 6), st.integers(INT64_MIN, INT64_MAX))
few = st.integers(0, 4)


def order(order_id: int, price: int, size: int, action: int, *, side: int = Side.BID, **header: int) -> bytes:
    header = {"ts_recv": 1, "instrument": 1, **header}
    body = ORDER_BODY.pack(order_id % 2**64, price, size, action, header.pop("code", 0))
    return pack_record(Kind.ORDER, body, side=side, **header)


def delta(price: int, size: int, *, side: int = Side.BID, first: int = -1, **header: int) -> bytes:
    header = {"ts_recv": 1, "instrument": 1, **header}
    return pack_record(Kind.BOOK_DELTA, BOOK_DELTA_BODY.pack(price, size, first, -1), side=side, **header)


def restated(book: OrderBook, **header: int) -> list[bytes]:
    """Return a book as the two records that restate it."""
    bids, asks = book.depth(10**6)
    rows = [book.rows(side) for side in ("bid", "ask")]
    data = np.array(rows[0] + rows[1], dtype=np.int64).tobytes()
    counts = ORDER_SNAPSHOT_BODY.pack(len(rows[0]), len(rows[1]))
    header = {"ts_recv": 1, "instrument": 1, **header}
    return [
        pack_record(
            Kind.BOOK_SNAPSHOT,
            SnapshotFields([*map(tuple, bids)], [*map(tuple, asks)], Origin.ETL, 1, 2).pack(),
            **header,
        ),
        pack_record(Kind.ORDER_SNAPSHOT, counts + data, **header),
    ]


header = st.fixed_dictionaries(
    {
        "ts_recv": st.one_of(few, number),
        "ts_event": st.one_of(few, number),
        "flags": st.sampled_from([0, 128, 128, 160, 8]),
        "source_index": st.one_of(few, number),
        "sequence": st.one_of(few, number),
        "ordinal": st.sampled_from([0, 0, 0, 1, 2, 65535]),
        "source": st.sampled_from([0, 0, 7]),
    }
)
sides = st.sampled_from([Side.BID, Side.ASK, Side.NONE, 200])
actions = st.sampled_from([*map(int, Action), 1, 255])
order_rows = st.builds(
    lambda one, price, size, action, side, of: order(one, price, size, action, side=side, **of),
    st.one_of(st.integers(0, 9), number),
    st.one_of(few, number),
    st.one_of(few, number),
    actions,
    sides,
    header,
)
delta_rows = st.builds(
    lambda price, size, side, first, of: delta(price, size, side=side, first=first, **of),
    st.one_of(few, number),
    st.one_of(few, number),
    sides,
    st.sampled_from([-1, 5]),
    header,
)
other_rows = st.builds(
    lambda kind, words, of: pack_record(kind, bytes(8 * words), instrument=1, **of),
    st.sampled_from([Kind.STATUS, Kind.GAP, Kind.BOOK_SNAPSHOT, Kind.ORDER_SNAPSHOT, 999]),
    st.integers(0, 9),
    header,
)
snapshots = st.builds(
    lambda rows, bids: pack_record(
        Kind.ORDER_SNAPSHOT,
        ORDER_SNAPSHOT_BODY.pack(min(bids, len(rows)), len(rows) - min(bids, len(rows)))
        + np.array(rows, dtype=np.int64).tobytes(),
        ts_recv=1,
        instrument=1,
    ),
    st.lists(st.tuples(st.integers(0, 9), st.one_of(few, number), st.one_of(few, number)), max_size=5),
    st.integers(0, 5),
)
streams = st.lists(st.one_of(order_rows, order_rows, delta_rows, other_rows, snapshots), min_size=1, max_size=40)


def market(rows: int, *, seed: int = 5, every: int = 400, start: bool = True) -> tuple[list[bytes], OrderBook]:
    """Return valid order flow of one instrument, restated every so often, and the book in the end."""
    rng, book = random.Random(seed), OrderBook()
    records: list[bytes] = []
    live: list[tuple[int, int, int, int]] = []
    ts, next_id = 10**18, 1000
    for count in range(rows):
        ts += rng.randrange(1, 10**6)
        common = {"ts_recv": ts, "ts_event": ts - 500, "source_index": count, "flags": 128, "sequence": count * 3}
        if count % every == 0 and (count or start):
            records += restated(book, **(common | {"flags": 0}))
        if not live or rng.random() < 0.5:
            next_id += rng.randrange(1, 9)
            side = rng.choice([Side.BID, Side.ASK])
            one = (next_id, side, 10**6 + 100 * rng.randrange(1, 40) * (1 if side == Side.ASK else -1), 100)
            live.append(one)
            action = Action.ADD
        elif rng.random() < 0.2:
            place = rng.randrange(len(live))
            order_id, side, price, size = live[place]
            one = (order_id, side, price + 100 * rng.randrange(2), size + rng.choice([-10, 0, 50]))
            live[place] = one
            action = Action.MODIFY
        else:
            one = live.pop(rng.randrange(len(live)))
            action = Action.CANCEL
            if rng.random() < 0.3:
                fill_of = order(one[0], one[2], one[3], Action.FILL, side=one[1], **(common | {"flags": 0}))
                records.append(fill_of)
        records.append(order(one[0], one[2], one[3], action, side=one[1], **common))
        book.change(action, one[0], one[1], one[2], one[3])
    return records, book
