"""An L3 order book by order, in plain Python: price-time priority, queue positions, and what contradicts it.

It needs neither NumPy nor numba, so that a short seek and a live strategy can use it at once.
:class:`chronicle.etl.ArrayOrderBook` is the same book over arrays and kernels, for bulk work.

The actions are DBN's (databento.com/docs/schemas-and-data-formats/mbo): TRADE and FILL change nothing, the CANCEL
that follows takes the size away. A record that contradicts the book (an order that is not there, one that is there
already, a size that cannot be) changes nothing: it is counted, never guessed at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from chronicle.core import layout
from chronicle.core.decimals import rescale
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, INT64_MIN, Action, Kind, Side
from chronicle.core.records import Record
from chronicle.etl.books.book import Level

__all__ = ["ORDERS_MAX", "Order", "OrderBook", "OrderLevel", "Problem"]

ORDERS_MAX = 1 << 20
"""Resting orders of one instrument; what comes beyond is refused (Problem.FULL)."""
PRICE_LIMIT = 1 << 62
_LOADED_SIZE = 1 << 61
"""Sizes and totals up to here cannot overflow when they are added."""
"""Prices beyond this either way are none (DBN writes INT64_MAX for "no price")."""


class Problem(IntEnum):
    """Why a record was refused; 0 is none."""

    NONE = 0
    UNKNOWN_ORDER = 1
    DUPLICATE_ORDER = 2
    BAD_SIZE = 3
    BAD_PRICE = 4
    BAD_SIDE = 5
    FULL = 6
    BAD_ACTION = 7


@dataclass(frozen=True, slots=True)
class Order:
    """A resting order: `size` is what is left of it, `ahead` the size in front of it at its price."""

    order_id: int
    side: str
    price: int
    size: int
    ahead: int


OrderLevel = tuple[int, int, int]
"""(price, size, number of orders)"""


class _Queue:
    """The orders at one price, first come first: a dict keeps the order of insertion."""

    __slots__ = ("size", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.size = 0


class _Side:
    """One side: keys ascending (the best is last; the key of an ask is minus its price), queues by key."""

    __slots__ = ("keys", "queues", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.queues: dict[int, _Queue] = {}

    def place(self, key: int, order_id: int, size: int) -> None:
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = _Queue()
            insort(self.keys, key)
        queue.sizes[order_id] = size
        queue.size += size

    def take(self, key: int, order_id: int) -> None:
        queue = self.queues[key]
        queue.size -= queue.sizes.pop(order_id)
        if not queue.sizes:
            del self.queues[key]
            del self.keys[bisect_left(self.keys, key)]

    def best(self, count: int) -> list[int]:
        return self.keys[: -count - 1 : -1] if count < len(self.keys) else self.keys[::-1]


class OrderBook:
    """L3 book of one instrument, from ORDER records.

    Parameters
    ----------
    price_exponent, size_exponent : int
        Decimals of the mantissas: value = mantissa / 10**exponent.

    Attributes
    ----------
    problems : dict of str to int
        Records that were refused, by name of their :class:`Problem`.

    Examples
    --------
    >>> from chronicle.etl import OrderBook
    >>> book = OrderBook(price_exponent=2)
    >>> book.add(7, "bid", 10_000, 5)
    <Problem.NONE: 0>
    >>> book.add(8, "bid", 10_000, 3), book.add(9, "ask", 10_010, 1)
    (<Problem.NONE: 0>, <Problem.NONE: 0>)
    >>> book.order(8)
    Order(order_id=8, side='bid', price=10000, size=3, ahead=5)
    >>> book.cancel(7, 4), book.order(8).ahead, book.levels(5)
    (<Problem.NONE: 0>, 1, ([(10000, 4, 2)], [(10010, 1, 1)]))
    >>> book.cancel(77, 1), book.problems
    (<Problem.UNKNOWN_ORDER: 1>, {'unknown_order': 1})

    From a running feed: a tailer's records as they come (``queue = Queue.open(home / "raw/main.q")``)::

        for record in queue.tailer("strategy"):
            if record.kind == Kind.ORDER and record.instrument == mine:
                book.apply(record)
                if record.is_last and book.best_bid: ...
    """

    __slots__ = ("_asks", "_bids", "_orders", "book_depth", "price_exponent", "problems", "size_exponent")

    def __init__(self, *, price_exponent: int = 0, size_exponent: int = 0) -> None:
        self.price_exponent = price_exponent
        self.size_exponent = size_exponent
        self.book_depth = 0
        self.problems: dict[str, int] = {}
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self._orders: dict[int, tuple[_Side, int]] = {}
        """Side and key of each order."""

    def __len__(self) -> int:
        """Return the number of resting orders."""
        return len(self._orders)

    # --- changes ---------------------------------------------------------------------------------------------------

    def apply(self, record: Record) -> Problem:
        """Apply one ORDER record (any other kind changes nothing); return why it was refused."""
        if record.kind != Kind.ORDER:
            return Problem.NONE
        order_id, price, size, action, _ = layout.ORDER_BODY.unpack_from(record.data, HEADER_BYTES)
        return self.change(action, order_id, record.side, price, size)

    def change(self, action: int, order_id: int, side: int | str, price: int, size: int) -> Problem:
        """Apply one action (an ``Action``)."""
        if action == Action.ADD:
            return self.add(order_id, side, price, size)
        if action == Action.CANCEL:
            return self.cancel(order_id, size)
        if action == Action.MODIFY:
            return self.modify(order_id, price, size, side)
        if action == Action.CLEAR:
            self.clear()
            return Problem.NONE
        if action in (Action.TRADE, Action.FILL, Action.NONE):
            return Problem.NONE
        return self._refuse(Problem.BAD_ACTION)

    def add(self, order_id: int, side: int | str, price: int, size: int) -> Problem:
        """Add an order at the end of its price's queue."""
        rests = self._side(side)
        if rests is None:
            return self._refuse(Problem.BAD_SIDE)
        problem = _fault(price, size)
        if problem:
            return self._refuse(problem)
        if order_id in self._orders:
            return self._refuse(Problem.DUPLICATE_ORDER)
        key = price * rests.sign
        if self._overflows(rests, key, size):
            return self._refuse(Problem.BAD_SIZE)
        if len(self._orders) >= ORDERS_MAX:
            return self._refuse(Problem.FULL)
        rests.place(key, order_id, size)
        self._orders[order_id] = rests, key
        return Problem.NONE

    def modify(self, order_id: int, price: int, size: int, side: int | str = 0) -> Problem:
        """Give an order a new price and size; it loses its place when the price changes or the size grows."""
        held = self._orders.get(order_id)
        if held is None:
            return self._refuse(Problem.UNKNOWN_ORDER)
        rests, key = held
        named = self._side(side)
        if named is not None and named is not rests:
            return self._refuse(Problem.BAD_SIDE)
        problem = _fault(price, size)
        if problem:
            return self._refuse(problem)
        to, queue = price * rests.sign, rests.queues[key]
        old = queue.sizes[order_id]
        if to == key and size <= old:
            queue.sizes[order_id] = size
            queue.size += size - old
            return Problem.NONE
        if self._overflows(rests, to, size - (old if to == key else 0)):
            return self._refuse(Problem.BAD_SIZE)
        rests.take(key, order_id)
        rests.place(to, order_id, size)
        self._orders[order_id] = rests, to
        return Problem.NONE

    def cancel(self, order_id: int, size: int) -> Problem:
        """Take `size` away from an order; at or beyond what rests it is gone."""
        held = self._orders.get(order_id)
        if held is None:
            return self._refuse(Problem.UNKNOWN_ORDER)
        if size < 0:
            return self._refuse(Problem.BAD_SIZE)
        rests, key = held
        queue = rests.queues[key]
        if size < queue.sizes[order_id]:
            queue.sizes[order_id] -= size
            queue.size -= size
            return Problem.NONE
        rests.take(key, order_id)
        del self._orders[order_id]
        return Problem.NONE

    def clear(self) -> None:
        """Forget all orders."""
        self._bids, self._asks = _Side(1), _Side(-1)
        self._orders.clear()

    def load(self, orders: Iterable[tuple[int, int, int]], side: int | str) -> None:
        """Append (order_id, price, size) of one side, in order of priority; what contradicts is refused as ever."""
        rests = self._side(side)
        assert rests is not None, "a snapshot's orders have a side"
        held, queues, sign = self._orders, rests.queues, rests.sign
        known = len(rests.keys)
        for order_id, price, size in orders:
            key = price * sign
            queue = queues.get(key)
            plain = order_id not in held and 0 < size <= _LOADED_SIZE and not _fault(price, size)
            if not plain or len(held) >= ORDERS_MAX or (queue is not None and queue.size > _LOADED_SIZE):
                self._settle(rests, known)
                self.add(order_id, side, price, size)
                known = len(rests.keys)
                continue
            if queue is None:
                queue = queues[key] = _Queue()
                rests.keys.append(key)
            queue.sizes[order_id] = size
            queue.size += size
            held[order_id] = rests, key
        self._settle(rests, known)

    @staticmethod
    def _settle(side: _Side, known: int) -> None:
        """Bring keys behind the first `known` into their order."""
        if len(side.keys) > known:
            side.keys.sort()

    def redefine(self, *, price_exponent: int, size_exponent: int) -> None:
        """Take new exponents; every price and size is rescaled.

        Raises
        ------
        DecodeError
            When one cannot be written in them; the book is unchanged then.
        """
        prices, sizes = (self.price_exponent, price_exponent), (self.size_exponent, size_exponent)
        scaled = {
            side: [(order, rescale(price, *prices), rescale(size, *sizes)) for order, price, size in self.rows(side)]
            for side in ("bid", "ask")
        }
        self.clear()
        self.price_exponent, self.size_exponent = price_exponent, size_exponent
        for side, rows in scaled.items():
            self.load(rows, side)

    def _side(self, side: int | str) -> _Side | None:
        if side in (Side.BID, "bid"):
            return self._bids
        return self._asks if side in (Side.ASK, "ask") else None

    @staticmethod
    def _overflows(side: _Side, key: int, more: int) -> bool:
        queue = side.queues.get(key)
        return queue is not None and more > INT64_MAX - queue.size

    def _refuse(self, problem: Problem) -> Problem:
        name = problem.name.lower()
        self.problems[name] = self.problems.get(name, 0) + 1
        return problem

    # --- what it holds ---------------------------------------------------------------------------------------------

    @property
    def best_bid(self) -> Level | None:
        """Best bid as (price, size), None when the side is empty."""
        return self._best(self._bids)

    @property
    def best_ask(self) -> Level | None:
        """Best ask as (price, size), None when the side is empty."""
        return self._best(self._asks)

    def crossed(self) -> bool:
        """Return whether the best bid is above the best ask."""
        bids, asks = self._bids.keys, self._asks.keys
        return bool(bids and asks and bids[-1] > -asks[-1])

    def locked(self) -> bool:
        """Return whether the best bid equals the best ask."""
        bids, asks = self._bids.keys, self._asks.keys
        return bool(bids and asks and bids[-1] == -asks[-1])

    def count(self) -> tuple[int, int]:
        """Return (number of bid levels, number of ask levels)."""
        return len(self._bids.keys), len(self._asks.keys)

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """Return the best `count` levels of each side as (price, size), best first."""
        bids, asks = self.levels(count)
        return [level[:2] for level in bids], [level[:2] for level in asks]

    def levels(self, count: int) -> tuple[list[OrderLevel], list[OrderLevel]]:
        """Return the best `count` levels of each side as (price, size, orders), best first."""
        return self._levels(self._bids, count), self._levels(self._asks, count)

    def orders(self, side: int | str, count: int = INT64_MAX) -> list[Order]:
        """Return the orders at the best `count` prices of a side, best price first, then first come first."""
        rests = self._side(side)
        found: list[Order] = []
        if rests is None:
            return found
        for key in rests.best(count):
            ahead = 0
            for order_id, size in rests.queues[key].sizes.items():
                found.append(Order(order_id, _name(rests), key * rests.sign, size, ahead))
                ahead += size
        return found

    def order(self, order_id: int) -> Order | None:
        """Return an order with the size ahead of it; None when it does not rest. O(orders at its price)."""
        held = self._orders.get(order_id)
        if held is None:
            return None
        rests, key = held
        ahead = 0
        for other, size in rests.queues[key].sizes.items():
            if other == order_id:
                return Order(order_id, _name(rests), key * rests.sign, size, ahead)
            ahead += size
        return None

    def rows(self, side: int | str) -> list[tuple[int, int, int]]:
        """Return (order_id, price, size) of a side, best price first, then first come first."""
        return [(order.order_id, order.price, order.size) for order in self.orders(side)]

    @property
    def bid_floor(self) -> int:
        """Lowest price down to which the bids are complete: always without bound."""
        return INT64_MIN

    @property
    def ask_ceiling(self) -> int:
        """Highest price up to which the asks are complete: always without bound."""
        return INT64_MAX

    def truncate(self) -> None:
        """Do nothing: a book of orders has no depth limit."""

    @staticmethod
    def _best(side: _Side) -> Level | None:
        if not side.keys:
            return None
        key = side.keys[-1]
        return key * side.sign, side.queues[key].size

    @staticmethod
    def _levels(side: _Side, count: int) -> list[OrderLevel]:
        queues = side.queues
        return [(key * side.sign, queues[key].size, len(queues[key].sizes)) for key in side.best(count)]


def _fault(price: int, size: int) -> Problem:
    if not -PRICE_LIMIT <= price <= PRICE_LIMIT:
        return Problem.BAD_PRICE
    return Problem.BAD_SIZE if size <= 0 else Problem.NONE


def _name(side: _Side) -> str:
    return "bid" if side.sign == 1 else "ask"
