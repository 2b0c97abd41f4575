"""Events as hftbacktest reads them: one npz for an instrument and a day, from its book and trade channels.

Books of levels (L2) are here, books of orders (L3) in :mod:`chronicle.access.formats.hftbacktest_orders`.

The array is ``data`` with hftbacktest's ``event_dtype`` (v2: ev u64, exch_ts, local_ts i64 ns, px, qty f64, order_id
u64, ival i64, fval f64). A snapshot is a depth-clear event without a side, then its levels. Where the venue's times
step back, a row is parted into one that only the exchange sees and one that only the local side sees: hftbacktest's
validation asks for it. A time that the venue does not give is our own. Times that are not plausible (received before
they were sent) are left as they are: hftbacktest's ``correct_local_timestamp`` moves them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.sampling import by_order_in
from chronicle.access.formats.hftbacktest_events import (
    BUY,
    DEPTH,
    DEPTH_CLEAR,
    DEPTH_SNAPSHOT,
    EVENT_DTYPE,
    EXCH,
    LOCAL,
    SELL,
    TRADE,
)
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk
from chronicle.access.ranges.numbers import floats
from chronicle.access.ranges.rows import KIND_WORDS, SIDE_WORDS
from chronicle.access.ranges.scan import Scan

__all__ = ["EVENT_DTYPE", "events_of", "in_both_orders", "write_npz"]

_SIDES = np.array([{"bid": BUY, "ask": SELL}.get(word, 0) for word in SIDE_WORDS], dtype=np.uint64)
_SNAPSHOT = KIND_WORDS.index("snapshot")


def write_npz(shelf: Shelf, symbol: str, start: int, end: int, path: Path) -> int:
    """Write the events of `symbol` in [start, end) and return how many there are; a day is held in memory."""
    events = events_of(shelf, symbol, start, end)
    if len(events):
        with open(path, "wb") as file:
            np.savez_compressed(file, data=events)
            file.flush()
            os.fsync(file.fileno())
    return len(events)


def events_of(shelf: Shelf, symbol: str, start: int, end: int) -> NDArray[Any]:
    """Return the events of `symbol` in [start, end) as EVENT_DTYPE, in both orders of time; of equal times the book's
    come first."""
    parts = []
    by_order = by_order_in(shelf, symbol, start, end)
    if by_order:
        from chronicle.access.formats.hftbacktest_orders import order_events

        parts.append(order_events(shelf, symbol, start, end))
    for channel in ("trade",) if by_order else ("book", "trade"):
        scan = Scan(
            shelf,
            (symbol,),
            channel,
            start,
            end,
            columns=("ts_recv", "ts_event", "kind", "side", "price", "size", "index", "lane"),
            kinds=("delta", "snapshot") if channel == "book" else None,
            lanes=None,
            decimals="int",
        )
        parts += [_events(chunk, scan, channel) for chunk in scan.chunks()]
    if not parts:
        return np.empty(0, dtype=EVENT_DTYPE)
    rows = np.concatenate(parts)
    return in_both_orders(rows[np.argsort(rows["local_ts"], kind="stable")])


def _events(chunk: Chunk, scan: Scan, channel: str) -> NDArray[Any]:
    count = len(chunk["ts_recv"])
    rows = np.zeros(count, dtype=EVENT_DTYPE)
    snapshot = chunk["kind"] == _SNAPSHOT
    what = np.full(count, TRADE, dtype=np.uint64) if channel == "trade" else np.where(snapshot, DEPTH_SNAPSHOT, DEPTH)
    rows["ev"] = what.astype(np.uint64) | _SIDES[chunk["side"]] | np.uint64(EXCH | LOCAL)
    rows["local_ts"] = chunk["ts_recv"]
    rows["exch_ts"] = np.where(chunk["ts_event"] > 0, chunk["ts_event"], chunk["ts_recv"])
    rows["px"], rows["qty"] = floats(chunk["price"], scan.price_exponent), floats(chunk["size"], scan.size_exponent)
    begins = snapshot.copy()
    same = (chunk["index"][1:] == chunk["index"][:-1]) & (chunk["lane"][1:] == chunk["lane"][:-1])
    begins[1:] &= ~(snapshot[:-1] & same)
    at = np.flatnonzero(begins)
    clears = np.zeros(len(at), dtype=EVENT_DTYPE)
    clears["ev"] = DEPTH_CLEAR | EXCH | LOCAL
    clears["local_ts"], clears["exch_ts"] = rows["local_ts"][at], rows["exch_ts"][at]
    return np.insert(rows, at, clears)


def in_both_orders(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows that are sorted by ``local_ts`` so that those for the exchange are sorted by ``exch_ts`` as well.

    A row whose ``exch_ts`` lies before that of a row above it is parted: its copy for the exchange moves up to where
    its time belongs, its copy for the local side stays.
    """
    times = rows["exch_ts"]
    if not len(rows) or np.all(times[1:] >= times[:-1]):
        return rows
    late = times < np.maximum.accumulate(times)
    out = rows.copy()
    out["ev"][late] &= ~np.uint64(EXCH)
    moved = rows[late]
    moved["ev"] &= ~np.uint64(LOCAL)
    moved = moved[np.argsort(moved["exch_ts"], kind="stable")]
    kept = np.flatnonzero(~late)
    behind = np.searchsorted(times[kept], moved["exch_ts"], side="right")
    return np.insert(out, np.append(kept, len(rows))[behind], moved)
