"""ITCH messages to records the slow way: one dict a record, one dict of orders. Twin of the feed's kernels."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["NaiveItch"]

ASK, BID = 65, 66
REST = 2**63 - 1


class NaiveItch:
    """Decodes order and trade messages; `unknown` collects the ids of orders it does not know."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[int, int, int]] = {}
        self.unknown: list[int] = []

    def message(self, message: bytes, sequence: int) -> list[dict[str, Any]]:
        """Return the records of one message (an event); none for other types."""
        kind = chr(message[0])
        locate = struct.unpack_from(">H", message, 1)[0]
        base = {"locate": locate, "ns": int.from_bytes(message[5:11], "big"), "sequence": sequence}
        records = getattr(self, f"_on_{kind}", lambda _: [])(message)
        return [base | record for record in records]

    def _on_A(self, message: bytes) -> list[dict[str, Any]]:
        order_id, code, shares, _, price = struct.unpack_from(">QcI8sI", message, 11)
        side = BID if code == b"B" else ASK
        self.orders[order_id] = (side, price, shares)
        return [_order(message, "A", order_id, side, price, shares)]

    _on_F = _on_A

    def _on_E(self, message: bytes, price: int | None = None, printed: bool = True) -> list[dict[str, Any]]:
        order_id, shares, match = struct.unpack_from(">QIQ", message, 11)
        side, rests_at, rest = self._known(order_id)
        fill = price if price is not None else rests_at
        found = [_order(message, "F", order_id, side, fill, shares)]
        found.append(_order(message, "C", order_id, side, rests_at, shares))
        if printed and (side or price is not None):
            aggressor = {BID: ASK, ASK: BID, 0: 0}[side]
            found.append({"trade": True, "side": aggressor, "price": fill, "size": shares, "id": match, "type": 0})
        self._take(order_id, shares, rest)
        return found

    def _on_C(self, message: bytes) -> list[dict[str, Any]]:
        return self._on_E(message, struct.unpack_from(">I", message, 32)[0], message[31:32] == b"Y")

    def _on_X(self, message: bytes) -> list[dict[str, Any]]:
        order_id, shares = struct.unpack_from(">QI", message, 11)
        side, price, rest = self._known(order_id)
        self._take(order_id, shares, rest)
        return [_order(message, "C", order_id, side, price, shares)]

    def _on_D(self, message: bytes) -> list[dict[str, Any]]:
        order_id = struct.unpack_from(">Q", message, 11)[0]
        side, price, rest = self._known(order_id)
        self.orders.pop(order_id, None)
        return [_order(message, "C", order_id, side, price, rest)]

    def _on_U(self, message: bytes) -> list[dict[str, Any]]:
        old, new, shares, price = struct.unpack_from(">QQII", message, 11)
        side, old_price, rest = self._known(old)
        self.orders.pop(old, None)
        found = [_order(message, "C", old, side, old_price, rest)]
        if side:
            self.orders[new] = (side, price, shares)
            found.append(_order(message, "A", new, side, price, shares))
        return found

    def _on_P(self, message: bytes) -> list[dict[str, Any]]:
        _, _, shares, _, price, match = struct.unpack_from(">QcI8sIQ", message, 11)
        trade = {"trade": True, "side": 0, "price": price, "size": shares, "id": match, "type": 2}
        return [trade] if shares else []

    def _on_Q(self, message: bytes) -> list[dict[str, Any]]:
        shares, _, price, match = struct.unpack_from(">Q8sIQ", message, 11)
        trade = {"trade": True, "side": 0, "price": price, "size": shares, "id": match, "type": 3}
        return [trade] if shares else []

    def _known(self, order_id: int) -> tuple[int, int, int]:
        known = self.orders.get(order_id)
        if known is None:
            self.unknown.append(order_id)
            return 0, 0, REST
        return known

    def _take(self, order_id: int, shares: int, rest: int) -> None:
        if order_id in self.orders:
            side, price, _ = self.orders[order_id]
            if shares < rest:
                self.orders[order_id] = (side, price, rest - shares)
            else:
                del self.orders[order_id]


def _order(message: bytes, action: str, order_id: int, side: int, price: int, size: int) -> dict[str, Any]:
    return {
        "trade": False,
        "action": ord(action),
        "code": message[0],
        "id": order_id,
        "side": side,
        "price": price,
        "size": size,
    }
