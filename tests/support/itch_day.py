"""A synthetic ITCH 5.0 day: random, seeded, and valid order flow (every message is about an order that rests)."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

__all__ = ["ItchDay", "framed", "mold_packets"]

START_NS = 34_200 * 10**9
_HEAD = struct.Struct(">cHHHI")


@dataclass
class ItchDay:
    """Messages of one day.

    `messages` holds them without lengths; `orders` the orders that rest at the end: id to (locate, side, price,
    shares).
    """

    seed: int = 1
    stocks: int = 5
    orders: dict[int, tuple[int, str, int, int]] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ts = START_NS
        self._ids: list[int] = []
        self._next_id = 1_000
        self._match = 1
        self._mids = [self._random.randrange(50_0000, 900_0000, 100) for _ in range(self.stocks)]

    def symbol(self, locate: int) -> str:
        """Return the name of stock `locate` (from 1)."""
        return f"SYM{locate:04d}"

    def open(self) -> ItchDay:
        """Add what a day begins with: system event and directory."""
        self._add("S", 0, b"O")
        for locate in range(1, self.stocks + 1):
            stock = self._stock(locate)
            self._add(
                "R", locate, stock + b"QN" + struct.pack(">I", 100) + b"NCZ P 1NN" + struct.pack(">I", 0) + b"N"
            )
            self._add("H", locate, stock + b"T " + b"    ")
            self._add("Y", locate, stock + b"0")
        self._add("S", 0, b"Q")
        return self

    def trade(self, count: int) -> ItchDay:
        """Add `count` messages of order flow in about the mix of a real day."""
        for _ in range(count):
            draw = self._random.random()
            if len(self._ids) < 10 or draw < 0.44:
                self._enter()
            elif draw < 0.82:
                self._delete()
            elif draw < 0.90:
                self._replace()
            elif draw < 0.95:
                self._execute()
            elif draw < 0.97:
                self._cancel()
            elif draw < 0.98:
                self._execute(with_price=True)
            elif draw < 0.995:
                self._hidden()
            else:
                self._cross()
        return self

    def _enter(self) -> None:
        locate = self._random.randrange(self.stocks) + 1
        side = self._random.choice("BS")
        self._mids[locate - 1] += 100 * self._random.choice((-1, 0, 0, 0, 1))
        away = 100 * min(int(self._random.expovariate(0.15)), 200)
        price = self._mids[locate - 1] + (-100 - away if side == "B" else 100 + away)
        shares = self._random.choice((1, 50, 100, 100, 100, 200, 300, 1000))
        order_id = self._new_id()
        kind, tail = ("F", b"NSDQ") if self._random.random() < 0.1 else ("A", b"")
        body = struct.pack(">QcI8sI", order_id, side.encode(), shares, self._stock(locate), price)
        self._add(kind, locate, body + tail)
        self.orders[order_id] = (locate, side, price, shares)
        self._ids.append(order_id)

    def _delete(self) -> None:
        order_id = self._pick(remove=True)
        self._add("D", self.orders.pop(order_id)[0], struct.pack(">Q", order_id))

    def _replace(self) -> None:
        old = self._pick(remove=True)
        locate, side, price, _ = self.orders.pop(old)
        new, shares = self._new_id(), self._random.randrange(1, 500)
        price += 100 * self._random.randrange(-3, 4)
        self._add("U", locate, struct.pack(">QQII", old, new, shares, price))
        self.orders[new] = (locate, side, price, shares)
        self._ids.append(new)

    def _execute(self, *, with_price: bool = False) -> None:
        order_id, shares = self._part()
        locate, _, price, _ = self.orders[order_id]
        body = struct.pack(">QIQ", order_id, shares, self._new_match())
        if with_price:
            printable = self._random.choice((b"Y", b"N"))
            self._add("C", locate, body + printable + struct.pack(">I", price + 100))
        else:
            self._add("E", locate, body)
        self._reduce(order_id, shares)

    def _cancel(self) -> None:
        order_id, shares = self._part()
        self._add("X", self.orders[order_id][0], struct.pack(">QI", order_id, shares))
        self._reduce(order_id, shares)

    def _hidden(self) -> None:
        locate = self._random.randrange(self.stocks) + 1
        price, shares = self._mids[locate - 1], self._random.randrange(1, 900)
        body = struct.pack(">QcI8sIQ", 0, b"B", shares, self._stock(locate), price, self._new_match())
        self._add("P", locate, body)

    def _cross(self) -> None:
        locate = self._random.randrange(self.stocks) + 1
        shares = self._random.choice((0, 5_000, 2**33))
        body = struct.pack(">Q8sIQc", shares, self._stock(locate), self._mids[locate - 1], self._new_match(), b"O")
        self._add("Q", locate, body)

    def _part(self) -> tuple[int, int]:
        order_id = self._pick(remove=False)
        rest = self.orders[order_id][3]
        return order_id, rest if self._random.random() < 0.4 else self._random.randrange(1, rest + 1)

    def _reduce(self, order_id: int, shares: int) -> None:
        locate, side, price, rest = self.orders[order_id]
        if shares < rest:
            self.orders[order_id] = (locate, side, price, rest - shares)
        else:
            del self.orders[order_id]
            self._ids.remove(order_id)

    def _pick(self, *, remove: bool) -> int:
        at = min(int(self._random.expovariate(1 / 200)), len(self._ids) - 1)
        at = len(self._ids) - 1 - at  # the younger an order, the likelier it changes
        return self._ids.pop(at) if remove else self._ids[at]

    def _new_id(self) -> int:
        self._next_id += self._random.randrange(1, 9)
        return self._next_id

    def _new_match(self) -> int:
        self._match += 1
        return self._match

    def _stock(self, locate: int) -> bytes:
        return self.symbol(locate).encode().ljust(8)

    def _add(self, kind: str, locate: int, body: bytes) -> None:
        self._ts += self._random.randrange(1, 200_000)
        self.messages.append(_HEAD.pack(kind.encode(), locate, 0, self._ts >> 32, self._ts & 0xFFFFFFFF) + body)


def framed(messages: list[bytes]) -> bytes:
    """Return messages as in a daily file: each with its length before it."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def mold_packets(messages: list[bytes], *, session: bytes = b"SESSION001", per_packet: int = 3) -> list[bytes]:
    """Return messages as MoldUDP64 packets, numbered from 1."""
    packets = []
    for first in range(0, len(messages), per_packet):
        part = messages[first : first + per_packet]
        packets.append(struct.pack(">10sQH", session, first + 1, len(part)) + framed(part))
    return packets
