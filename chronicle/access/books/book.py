"""Book: the answer to "what was the order book at T", with what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chronicle.access.opened.cost import Cost
from chronicle.core.decimals import text_stripped, to_decimal
from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.layout import NONE
from chronicle.core.times import format_ns

if TYPE_CHECKING:
    from chronicle.etl.books.array_orders import ArrayOrderBook
    from chronicle.etl.books.order_book import Order, OrderBook

__all__ = ["Book", "BookOrder"]


@dataclass(frozen=True, slots=True)
class BookOrder:
    """A resting order: what is left of it, and the size `ahead` of it in the queue at its price; all exact."""

    order_id: int
    side: str
    price: Decimal
    size: Decimal
    ahead: Decimal

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; numbers as exact decimal text."""
        texts = {name: _text(getattr(self, name)) for name in ("price", "size", "ahead")}
        return {"order_id": str(self.order_id), "side": self.side} | texts


@dataclass(frozen=True, slots=True)
class Book:
    """An order book at one moment.

    Attributes
    ----------
    symbol : str
        Canonical name.
    at : int
        The moment asked for (ns UTC); of the latest book, the ts_recv of the last record.
    status : str
        ``ok``, ``gap``, ``stale``, ``crossed`` or ``unverified``.
    verified_by : str
        What stands behind it: ``checksum``, ``sequence`` or ``nothing``.
    ts_recv, ts_event : int
        Times of the last event that was applied (ns UTC); NONE (-1) when there was none.
    snapshot_age_ns : int
        From the snapshot that the answer was built on to `at`; NONE without one.
    price_exponent, size_exponent : int
        Decimals of the mantissas.
    bid_levels, ask_levels : tuple of (int, int)
        (price, size) mantissas, best first.
    complete_from, complete_to : int or None
        Price mantissas between which the book is complete: outside, levels are unknown, not absent.
    source : dict
        Of the last event applied: queue, lane, segment, place, index, and raw_queue, raw_index.
    cost : Cost
        Segments opened, bytes read, deltas replayed.
    bid_counts, ask_counts : tuple of int
        Orders at each level, where the venue tells orders (L3); else empty.
    """

    symbol: str
    at: int
    status: str
    verified_by: str
    ts_recv: int
    ts_event: int
    snapshot_age_ns: int
    price_exponent: int
    size_exponent: int
    bid_levels: tuple[tuple[int, int], ...]
    ask_levels: tuple[tuple[int, int], ...]
    complete_from: int | None = None
    complete_to: int | None = None
    source: dict[str, Any] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    bid_counts: tuple[int, ...] = ()
    ask_counts: tuple[int, ...] = ()
    order_book: OrderBook | ArrayOrderBook | None = field(default=None, repr=False, compare=False)

    def orders(self, side: str) -> list[BookOrder]:
        """Return the resting orders of a side (``bid`` or ``ask``) at the levels of this book, in order of priority.

        Raises
        ------
        ConfigError
            When `side` is neither.
        NotFoundError
            When the venue tells levels only.

        Examples
        --------
        >>> book = store.book("cme:ESM4", depth=1)                                      # doctest: +SKIP
        >>> for order in book.orders("bid"):                                            # doctest: +SKIP
        ...     print(order.order_id, order.price, order.size, order.ahead)
        """
        if side not in ("bid", "ask"):
            raise ConfigError("a book has two sides", expected="bid or ask", found=side)
        count = len(self.bid_levels if side == "bid" else self.ask_levels)
        return [self._order(order) for order in self._orders().orders(side, count)]

    def order(self, order_id: int) -> BookOrder | None:
        """Return one resting order, at whatever level it is; None when it does not rest."""
        found = self._orders().order(order_id)
        return None if found is None else self._order(found)

    def _orders(self) -> OrderBook | ArrayOrderBook:
        if self.order_book is None:
            raise NotFoundError(
                f"the orders of {self.symbol} are not known",
                expected="an instrument whose venue sends orders (INSTRUMENT driver ORDER)",
                found="levels only",
                hint="bids and asks have the levels",
            )
        return self.order_book

    def _order(self, order: Order) -> BookOrder:
        price, size = self.price_exponent, self.size_exponent
        return BookOrder(
            order.order_id,
            order.side,
            to_decimal(order.price, price),
            to_decimal(order.size, size),
            to_decimal(order.ahead, size),
        )

    @property
    def bids(self) -> list[tuple[Decimal, Decimal]]:
        """(price, size) of the bids, best first, exact."""
        return self._decimals(self.bid_levels)

    @property
    def asks(self) -> list[tuple[Decimal, Decimal]]:
        """(price, size) of the asks, best first, exact."""
        return self._decimals(self.ask_levels)

    @property
    def best_bid(self) -> Decimal | None:
        """Price of the best bid, or None."""
        return to_decimal(self.bid_levels[0][0], self.price_exponent) if self.bid_levels else None

    @property
    def best_ask(self) -> Decimal | None:
        """Price of the best ask, or None."""
        return to_decimal(self.ask_levels[0][0], self.price_exponent) if self.ask_levels else None

    @property
    def mid(self) -> Decimal | None:
        """Middle of the best prices; None when a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else (bid + ask) / 2

    @property
    def spread(self) -> Decimal | None:
        """Best ask minus best bid; None when a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else ask - bid

    @property
    def complete_range(self) -> tuple[Decimal | None, Decimal | None]:
        """Lowest and highest price between which the book is complete; None without bound."""
        low, high = self.complete_from, self.complete_to
        return (
            None if low is None else to_decimal(low, self.price_exponent),
            None if high is None else to_decimal(high, self.price_exponent),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain values, as ``chronicle book --json`` prints it.

        Prices and sizes are exact decimal text without an exponent part and without trailing zeros (``"0.5"``,
        ``"46600"``), so that the same value always has the same text.
        """
        return {
            "symbol": self.symbol,
            "ts_recv": self.ts_recv,
            "ts_event": self.ts_event,
            "status": self.status,
            "bids": self._texts(self.bid_levels),
            "asks": self._texts(self.ask_levels),
            "source": dict(self.source),
        }

    def _decimals(self, levels: tuple[tuple[int, int], ...]) -> list[tuple[Decimal, Decimal]]:
        price, size = self.price_exponent, self.size_exponent
        return [(to_decimal(level[0], price), to_decimal(level[1], size)) for level in levels]

    def _texts(self, levels: tuple[tuple[int, int], ...]) -> list[list[str]]:
        price, size = self.price_exponent, self.size_exponent
        return [[text_stripped(level[0], price), text_stripped(level[1], size)] for level in levels]

    def _headline(self) -> str:
        when = format_ns(self.ts_recv) if self.ts_recv != NONE else "no event yet"
        return f"{self.symbol}  {when}  {self.status} (verified by {self.verified_by})"

    def __str__(self) -> str:
        """Return a ladder: asks above, bids below, best prices in the middle."""
        rows = [("ask", *level) for level in reversed(self._texts(self.ask_levels))]
        rows += [("bid", *level) for level in self._texts(self.bid_levels)]
        if not rows:
            return f"{self._headline()}\n  (no levels)"
        price_width = max(len(row[1]) for row in rows)
        size_width = max(len(row[2]) for row in rows)
        lines = [f"  {side}  {price:>{price_width}}  {size:>{size_width}}" for side, price, size in rows]
        lines.insert(len(self.ask_levels), f"  {'-' * (7 + price_width + size_width)}")
        return "\n".join([self._headline(), *lines])

    def _repr_html_(self) -> str:
        """Return the ladder as a table, for notebooks."""
        from html import escape

        bids, asks = self._texts(self.bid_levels), self._texts(self.ask_levels)
        rows = []
        for position in range(max(len(bids), len(asks))):
            bid = bids[position] if position < len(bids) else ["", ""]
            ask = asks[position] if position < len(asks) else ["", ""]
            cells = "".join(f"<td style='text-align:right'>{escape(text)}</td>" for text in (bid[1], bid[0], *ask))
            rows.append(f"<tr>{cells}</tr>")
        head = "<tr><th>bid size</th><th>bid</th><th>ask</th><th>ask size</th></tr>"
        return f"<table><caption>{escape(self._headline())}</caption>{head}{''.join(rows)}</table>"


def _text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
