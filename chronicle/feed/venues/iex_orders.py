"""IEX DEEP+: what its order messages leave out, from the orders that are resting.

A modification names no side, a deletion no size, an execution neither: the records of an order (DBN's semantics) need
all three.
"""

from __future__ import annotations

import struct
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, Action, Side, StatusCode

__all__ = ["OrderMemory"]

ORDERS_MAX: Final = 4_000_000
"""Resting orders of one line; a feed with more is not IEX."""

_ADD: Final = struct.Struct("<xc16xqIq")
_MODIFY: Final = struct.Struct("<xB16xqIq")
_DELETE: Final = struct.Struct("<xB16xq")
_EXECUTED: Final = struct.Struct("<xB16xqIqq")
_SIDES: Final = {b"8": Side.BID, b"5": Side.ASK}
_AGGRESSOR: Final = {Side.BID: Side.ASK, Side.ASK: Side.BID}
assert (_ADD.size, _MODIFY.size, _DELETE.size, _EXECUTED.size) == (38, 38, 26, 46)


class OrderMemory:
    """The resting orders of one line: id to (side, price, size)."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[Side, int, int]] = {}
        self._told: set[int] = set()

    def clear(self) -> None:
        """Forget all orders."""
        self._orders.clear()
        self._told.clear()

    def empty(self, out: EventBuilder, number: int, ts_event: int, sequence: int) -> None:
        """Say that the instrument has no order."""
        out.order(number, Side.NONE, 0, 0, 0, action=Action.CLEAR, ts_event=ts_event, sequence=sequence)

    def take(
        self, out: EventBuilder, number: int, data: bytes, ts_event: int, sequence: int, *, is_whole: bool
    ) -> None:
        """Add the records of an order message of instrument `number`.

        In a session that was not seen from its start (`is_whole` is false) orders that are not known are to be
        expected: that is said once of each instrument.

        Raises
        ------
        DecodeError
            When an order is not known although all messages were seen: the instrument's stream is told.
        """
        kind = chr(data[0])
        order_id = struct.unpack_from("<q", data, 18)[0] & (1 << 64) - 1
        if kind == "a":
            code, _, size, price = _ADD.unpack_from(data)
            side = _SIDES.get(code)
            if side is None or price < 0 or len(self._orders) >= ORDERS_MAX:
                raise DecodeError("an added order has no possible side or price, or is one too many", found=code)
            self._orders[order_id] = (side, price, size)
            self._put(out, number, side, order_id, price, size, Action.ADD, kind, ts_event, sequence)
            return
        known = self._orders.get(order_id)
        if known is None:
            details = {"channel": "book", "problem": "a message of an order that is not known", "order": order_id}
            details["type"] = kind
            if not is_whole:
                if number not in self._told:
                    self._told.add(number)
                    out.status(StatusCode.ERROR, details | {"channel": "status"}, instrument=number)
                return
            out.status(StatusCode.DECODE_ERROR, details, instrument=number, ts_event=ts_event)
            raise DecodeError("a message is about an order that is not known", found=order_id)
        side, old_price, rest = known
        if kind == "M":
            _, _, size, price = _MODIFY.unpack_from(data)
            if not 0 <= price <= INT64_MAX >> 1:
                raise DecodeError("a price is out of range", found=price)
            self._orders[order_id] = (side, price, size)
            self._put(out, number, side, order_id, price, size, Action.MODIFY, kind, ts_event, sequence)
        elif kind == "R":
            del self._orders[order_id]
            self._put(out, number, side, order_id, old_price, rest, Action.CANCEL, kind, ts_event, sequence)
        else:
            _, _, size, price, trade_id = _EXECUTED.unpack_from(data)
            if rest > size:
                self._orders[order_id] = (side, old_price, rest - size)
            else:
                del self._orders[order_id]
            self._put(out, number, side, order_id, price, size, Action.FILL, kind, ts_event, sequence)
            self._put(out, number, side, order_id, old_price, size, Action.CANCEL, kind, ts_event, sequence)
            out.trade(number, _AGGRESSOR[side], price, size, ts_event=ts_event, trade_id=trade_id, sequence=sequence)

    def _put(
        self,
        out: EventBuilder,
        number: int,
        side: Side,
        order_id: int,
        price: int,
        size: int,
        action: Action,
        kind: str,
        ts_event: int,
        sequence: int,
    ) -> None:
        out.order(
            number, side, order_id, price, size, action=action, ts_event=ts_event, code=ord(kind), sequence=sequence
        )
