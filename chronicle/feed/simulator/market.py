"""A seeded market: per pair a random walk of the fair price, resting levels around it, and trades that sweep them.

All numbers are integers and all randomness comes from one seed: the same seed and the same number of steps give the
same books and trades, whoever watches.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from chronicle.feed.simulator.ladder import Entry, Ladder

__all__ = ["DEFAULT_PAIRS", "Market", "Pair", "Step"]

SIZE_DECIMALS: Final = 8
WIRE_DECIMALS: Final = 5
"""Kraken's wire carries at least five decimals, also where the list of pairs says fewer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A traded pair: Kraken's spelling, the start price in units of 10**-decimals, and the walk's step.

    `volatility` is the standard deviation of a step of the fair price, in ticks.
    """

    name: str
    decimals: int
    start: int
    volatility: float = 1.5
    size_scale: int = 10**7

    @property
    def wire_decimals(self) -> int:
        """Decimals of a price on the wire."""
        return max(self.decimals, WIRE_DECIMALS)


DEFAULT_PAIRS: Final = (
    Pair("XBT/USD", 1, 683_215, volatility=6.0, size_scale=4 * 10**6),
    Pair("ETH/USD", 2, 351_277, volatility=5.0, size_scale=6 * 10**7),
    Pair("XBT/EUR", 1, 629_870, volatility=6.0, size_scale=3 * 10**6),
    Pair("SOL/USD", 2, 17_643, volatility=2.0, size_scale=9 * 10**8),
    Pair("XDG/USD", 7, 1_612_345, volatility=40.0, size_scale=4 * 10**12),
    Pair("ETH/XBT", 5, 5_142, volatility=0.8, size_scale=5 * 10**7),
)
"""Six pairs of unlike prices, ticks and sizes."""


@dataclass(slots=True)
class Fill:
    """A trade: price, size, and whether the taker bought."""

    price: int
    size: int
    buys: bool


@dataclass(slots=True)
class Step:
    """What one step changed: per depth the entries of each side, and the trades."""

    asks: dict[int, list[Entry]] = field(default_factory=dict)
    bids: dict[int, list[Entry]] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)


class Market:
    """One pair's market.

    Parameters
    ----------
    pair : Pair
        What is traded.
    seed : int
        Its whole randomness.
    levels : int
        Levels that each side keeps, roughly.
    """

    def __init__(self, pair: Pair, seed: int, levels: int = 200) -> None:
        self.pair = pair
        self.bids = Ladder(-1)
        self.asks = Ladder(1)
        self.last = pair.start
        self.open = self.low = self.high = pair.start
        self.volume = 0
        self.trade_count = 0
        self._levels = levels
        self._fair = float(pair.start)
        self._random = random.Random(f"{seed}:{pair.name}")  # noqa: S311 - a market, not a secret
        self._fill_up()

    def step(self, depths: set[int]) -> Step:
        """Move the market by one message and return what subscribers of each of `depths` must be told."""
        step = Step({depth: [] for depth in depths}, {depth: [] for depth in depths})
        self._walk()
        fair = round(self._fair)
        if len(self.asks) and self.asks.price(0) < fair:
            self._sweep(self.asks, step.asks, step.fills, fair, buys=True)
        elif len(self.bids) and self.bids.price(0) > fair:
            self._sweep(self.bids, step.bids, step.fills, fair, buys=False)
        elif self._random.random() < 0.04:
            buys = self._random.random() < 0.5
            ladder, entries = (self.asks, step.asks) if buys else (self.bids, step.bids)
            self._take(ladder, entries, step.fills, buys=buys, part=self._random.uniform(0.05, 0.9))
        else:
            self._rest(step)
            if self._random.random() < 0.12:
                self._rest(step)
        return step

    def _walk(self) -> None:
        pull = (self.pair.start - self._fair) * 2e-5  # so that a long run stays where its sizes are sensible
        self._fair = max(self._fair + self._random.gauss(0, self.pair.volatility) * 0.5 + pull, 100.0)

    def _rest(self, step: Step) -> None:
        """Add, change or remove one resting level."""
        bid = self._random.random() < 0.5
        ladder, entries = (self.bids, step.bids) if bid else (self.asks, step.asks)
        choice = self._random.random()
        rank = min(int(self._random.expovariate(0.12)), len(ladder) - 1)
        if len(ladder) < self._levels * 3 // 4 or choice < 0.38:
            ladder.set(self._new_price(bid), self._size(), entries)
        elif choice < 0.70 or len(ladder) <= 12:
            ladder.set(ladder.price(rank), self._size(), entries)
        else:
            ladder.set(ladder.price(rank), 0, entries)
        if len(ladder) > self._levels + self._levels // 4:
            ladder.set(ladder.price(len(ladder) - 1), 0, entries)

    def _sweep(
        self, ladder: Ladder, entries: dict[int, list[Entry]], fills: list[Fill], fair: int, *, buys: bool
    ) -> None:
        """Take the levels that the fair price has passed, up to four, the last perhaps in part."""
        for _ in range(4):
            if len(ladder) <= 12 or (ladder.price(0) >= fair if buys else ladder.price(0) <= fair):
                return
            self._take(ladder, entries, fills, buys=buys, part=1.0 if self._random.random() < 0.85 else 0.5)

    def _take(
        self, ladder: Ladder, entries: dict[int, list[Entry]], fills: list[Fill], *, buys: bool, part: float
    ) -> None:
        price = ladder.price(0)
        size = ladder.size(price)
        taken = size if part >= 1.0 else max(int(size * part), 1)
        ladder.set(price, size - taken, entries)
        fills.append(Fill(price, taken, buys))
        self.last = price
        self.low, self.high = min(self.low, price), max(self.high, price)
        self.volume += taken
        self.trade_count += 1

    def _new_price(self, bid: bool) -> int:
        """Return a price near the fair one that does not cross the other side."""
        distance = 1 + int(self._random.expovariate(1.0 / (6.0 + 2.0 * self.pair.volatility)))
        fair = round(self._fair)
        if bid:
            price = fair - distance
            return max(min(price, self.asks.price(0) - 1) if len(self.asks) else price, 1)
        price = fair + distance
        return max(price, self.bids.price(0) + 1) if len(self.bids) else price

    def _size(self) -> int:
        size = int(self._random.lognormvariate(0.0, 1.2) * self.pair.size_scale) + 1
        if self._random.random() < 0.6:  # most people type round numbers
            unit = 10 ** max(len(str(size)) - 3, 0)
            size = max(size // unit * unit, unit)
        return size

    def _fill_up(self) -> None:
        price_bid = price_ask = self.pair.start
        for _ in range(self._levels):
            gap = max(int(self.pair.volatility), 1)
            price_bid -= 1 + int(self._random.expovariate(1.0 / gap))
            price_ask += 1 + int(self._random.expovariate(1.0 / gap))
            if price_bid > 0:
                self.bids.set(price_bid, self._size(), {})
            self.asks.set(price_ask, self._size(), {})
