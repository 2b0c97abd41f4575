"""The obvious slow L3 book: one list of orders in the order in which they took their places."""

from __future__ import annotations

from chronicle.core.layout import INT64_MAX

Row = tuple[str, int, int, int, int]
"""(action, order id, side, price, size)"""

BID, ASK = 66, 65


class NaiveOrders:
    """Orders as ``[id, side, price, size]``; the earlier of two at one price stands earlier in the list."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.refused: list[str] = []

    def apply(self, action: str, order_id: int, side: int, price: int, size: int) -> str:
        """Apply one action; return why it was refused, or an empty text."""
        why = self._why(action, order_id, side, price, size)
        if why:
            self.refused.append(why)
        elif action == "A":
            self.rows.append([order_id, side, price, size])
        elif action == "M":
            row = self._find(order_id)
            assert row is not None
            if row[2] != price or size > row[3]:
                self.rows.remove(row)
                self.rows.append([order_id, row[1], price, size])
            else:
                row[3] = size
        elif action == "C":
            row = self._find(order_id)
            assert row is not None
            row[3] -= size
            if row[3] <= 0:
                self.rows.remove(row)
        elif action == "R":
            self.rows = []
        return why

    def _why(self, action: str, order_id: int, side: int, price: int, size: int) -> str:
        if action not in "ACMRTFN":
            return "bad_action"
        if action in "RTFN":
            return ""
        row = self._find(order_id)
        if action != "A" and row is None:
            return "unknown_order"
        if action == "C":
            return "bad_size" if size < 0 else ""
        if (action == "A" and side not in (BID, ASK)) or (
            row and side in (BID, ASK) and side != row[1] and action == "M"
        ):
            return "bad_side"
        if abs(price) > 1 << 62:
            return "bad_price"
        if size <= 0:
            return "bad_size"
        if action == "A" and row is not None:
            return "duplicate_order"
        mine = side if action == "A" else row[1] if row else 0
        rest = sum(other[3] for other in self.rows if other[1:3] == [mine, price] and other[0] != order_id)
        stays = action == "M" and row is not None and row[2] == price and size <= row[3]
        return "bad_size" if rest + size > INT64_MAX and not stays else ""

    def _find(self, order_id: int) -> list[int] | None:
        return next((row for row in self.rows if row[0] == order_id), None)

    def levels(self, side: int) -> list[tuple[int, int, int]]:
        """(price, size, orders), best first."""
        prices = sorted({row[2] for row in self.rows if row[1] == side}, reverse=side == BID)
        at = [[row[3] for row in self.rows if row[1] == side and row[2] == price] for price in prices]
        return [(price, sum(sizes), len(sizes)) for price, sizes in zip(prices, at, strict=True)]

    def orders(self, side: int) -> list[tuple[int, int, int, int]]:
        """(id, price, size, ahead), best price first, then by place."""
        found = []
        for price, _, _ in self.levels(side):
            ahead = 0
            for order_id, _, _, size in [row for row in self.rows if row[1] == side and row[2] == price]:
                found.append((order_id, price, size, ahead))
                ahead += size
        return found
