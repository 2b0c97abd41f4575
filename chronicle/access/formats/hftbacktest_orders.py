"""Books of orders as hftbacktest reads them: its L3 events, from ORDER records.

hftbacktest's cancel removes the whole order, so a CANCEL that leaves something becomes a modification to what is left
(which keeps the order's place there as well). What contradicts the orders that rest (an order that is not there, one
that is there already) is left out, as our own books leave it out. A file that begins while orders rest begins with a
depth-clear event and one addition for each of them, best prices and first orders first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.lookup import book_at
from chronicle.access.formats.hftbacktest_events import BUY, DEPTH_CLEAR, EVENT_DTYPE, EXCH, LOCAL, SELL
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.numbers import floats
from chronicle.access.ranges.rows import ACTION_WORDS, SIDE_WORDS
from chronicle.access.ranges.scan import Scan

__all__ = ["order_events"]

ADD_ORDER, CANCEL_ORDER, MODIFY_ORDER, FILL = 10, 11, 12, 13
_COLUMNS = ("ts_recv", "ts_event", "side", "price", "size", "order_id", "action")
_BOTH = EXCH | LOCAL
_SIDE_BITS = [{"bid": BUY, "ask": SELL}.get(word, 0) for word in SIDE_WORDS]
_ADD, _CANCEL, _FILL, _MODIFY, _CLEAR = (
    ACTION_WORDS.index(word) for word in ("add", "cancel", "fill", "modify", "clear")
)


class _Resting:
    """The orders that rest, by id: side, price, size. One call an ORDER record; None: it contradicts them."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, int, int]] = {}

    def event(self, action: int, order_id: int, side: int, price: int, size: int) -> tuple[int, int, int] | None:
        """Return (event and side bits, price, size) of what the record does."""
        if action == _CLEAR:
            self._orders.clear()
            return DEPTH_CLEAR, 0, 0
        if action == _ADD:
            if order_id in self._orders or size <= 0 or not side:
                return None
            self._orders[order_id] = side, price, size
            return ADD_ORDER | side, price, size
        held = self._orders.get(order_id)
        if held is None or size < 0:
            return None
        if action == _FILL:
            return FILL | held[0], price, size
        if action == _MODIFY:
            if size == 0 or (side and side != held[0]):
                return None
            self._orders[order_id] = held[0], price, size
            return MODIFY_ORDER | held[0], price, size
        if action == _CANCEL:
            left = held[2] - size
            if left > 0:
                self._orders[order_id] = held[0], held[1], left
                return MODIFY_ORDER | held[0], held[1], left
            del self._orders[order_id]
            return CANCEL_ORDER | held[0], held[1], held[2]
        return None


def order_events(shelf: Shelf, symbol: str, start: int, end: int) -> NDArray[np.void]:
    """Return the orders of `symbol` in [start, end) as EVENT_DTYPE, by ``local_ts``."""
    scan = Scan(shelf, (symbol,), "book", start, end, columns=_COLUMNS, kinds=("order",), lanes=None, decimals="int")
    resting = _Resting()
    rows = _begun(shelf, symbol, start, scan, resting)
    for chunk in scan.chunks():
        columns = [chunk[name].tolist() for name in _COLUMNS]
        for ts, sent, side, price, size, order_id, action in zip(*columns, strict=True):
            found = resting.event(action, order_id, _SIDE_BITS[side], price, size)
            if found is not None:
                event, price, size = found
                rows.append((event | _BOTH, sent if sent > 0 else ts, ts, price, size, order_id))
    out = np.zeros(len(rows), dtype=EVENT_DTYPE)
    if rows:
        events, times, received, prices, sizes, numbers = zip(*rows, strict=True)
        out["ev"], out["exch_ts"], out["local_ts"], out["order_id"] = events, times, received, numbers
        out["px"] = floats(np.array(prices, dtype=np.int64), scan.price_exponent)
        out["qty"] = floats(np.array(sizes, dtype=np.int64), scan.size_exponent)
    return out


def _begun(
    shelf: Shelf, symbol: str, start: int, scan: Scan, resting: _Resting
) -> list[tuple[int, int, int, int, int, int]]:
    """Return the rows that bring about the orders that rest before `start`, and note these."""
    book = book_at(shelf, symbol, start - 1, None)
    if book.order_book is None or book.status == "unverified":
        return []
    price_factor = 10 ** (scan.price_exponent - book.price_exponent)
    size_factor = 10 ** (scan.size_exponent - book.size_exponent)
    rows = [(DEPTH_CLEAR | _BOTH, start, start, 0, 0, 0)]
    for side, levels in (("bid", book.bid_levels), ("ask", book.ask_levels)):
        for order in book.order_book.orders(side, len(levels)):
            price, size = order.price * price_factor, order.size * size_factor
            bits = BUY if side == "bid" else SELL
            resting.event(_ADD, order.order_id, bits, price, size)
            rows.append((ADD_ORDER | bits | _BOTH, start, start, price, size, order.order_id))
    return rows
