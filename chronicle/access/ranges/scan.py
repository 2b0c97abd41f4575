"""Scan: a range of records of one or many instruments as columns, in order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chronicle.access.books.sampling import by_order_in, exponents_met
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import REDUNDANT_STEP, lanes_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk, Column, Decimals
from chronicle.access.ranges.frames import Columnar
from chronicle.access.ranges.merge import cut_at_events, merge_by_time
from chronicle.access.ranges.rows import (
    ACTION_WORDS,
    CHANNEL_KINDS,
    KIND_OF_WORD,
    KIND_WORDS,
    SIDE_WORDS,
    STATE_WORDS,
    TIMEFRAME_WORDS,
    lane_rows,
)
from chronicle.access.ranges.scaling import INT64_DIGITS, Form, Scaling
from chronicle.core.errors import ConfigError, RangeError
from chronicle.storage.stores.requests import requests_made

__all__ = ["ORDER_COLUMNS", "Scan", "columns_of", "known_columns"]

_COMMON = (
    Column("ts_recv", "time"),
    Column("ts_event", "time"),
    Column("symbol", "word", "<i4"),
    Column("kind", "word", "u1", KIND_WORDS),
)
_LINEAGE = (
    Column("flags", dtype="u1"),
    Column("index"),
    Column("source", dtype="<i4"),
    Column("source_index"),
    Column("lane", dtype="<i4"),
)
_SIDE = Column("side", "word", "u1", SIDE_WORDS)
_PRICED = (Column("price", "price"), Column("size", "size"))
_CHANNELS: dict[str, tuple[Column, ...]] = {
    "book": (*_COMMON, _SIDE, *_PRICED, Column("sequence"), *_LINEAGE),
    "trade": (*_COMMON, _SIDE, *_PRICED, Column("trade_id"), Column("trade_id_last"), Column("sequence"), *_LINEAGE),
    "quote": (
        *_COMMON,
        Column("bid_price", "price"),
        Column("bid_size", "size"),
        Column("ask_price", "price"),
        Column("ask_size", "size"),
        Column("sequence"),
        *_LINEAGE,
    ),
    "candle": (
        Column("ts_open", "time"),
        Column("ts_recv", "time"),
        Column("symbol", "word", "<i4"),
        Column("timeframe", "word", "u1", TIMEFRAME_WORDS),
        Column("open", "price"),
        Column("high", "price"),
        Column("low", "price"),
        Column("close", "price"),
        Column("volume", "volume"),
        Column("vwap", "plain", "<f8"),
        Column("notional", "notional"),
        Column("buy_volume", "volume"),
        Column("trade_count"),
        Column("state", "word", "u1", STATE_WORDS),
        *_LINEAGE,
    ),
}
_ON_REQUEST: dict[str, tuple[Column, ...]] = {
    "book": (Column("order_id", dtype="<u8"), Column("action", "word", "u1", ACTION_WORDS))
}
"""Columns that a scan has only when they are named."""
ORDER_COLUMNS = tuple(column.name for column in _ON_REQUEST["book"])
"""What only a row of kind ``order`` has a value for."""
_DEFAULT_KINDS = {"book": ("delta", "snapshot"), "trade": ("trade",), "quote": ("quote",), "candle": ("candle",)}


def columns_of(channel: str) -> tuple[str, ...]:
    """Return the names of a channel's columns.

    Raises
    ------
    ConfigError
        When the channel cannot be scanned.
    """
    if channel not in _CHANNELS:
        raise ConfigError(f"the channel {channel!r} cannot be scanned", expected=" | ".join(_CHANNELS), found=channel)
    return tuple(column.name for column in _CHANNELS[channel])


def known_columns(channel: str) -> dict[str, Column]:
    """Return all columns of a channel, also those that are given on request only."""
    return {column.name: column for column in (*_CHANNELS[channel], *_ON_REQUEST.get(channel, ()))}


class Scan(Columnar):
    """Records of `symbols` with ts_recv in [start, end), made by :meth:`Store.scan`; read when it is asked.

    Rows come by ``ts_recv``; equal times keep the order of `symbols`, then of lanes, then of the queue. A venue's
    book snapshot gives one row a level (kind ``snapshot``: together they replace the book). The last row of each
    event carries F_LAST (128) in ``flags``, and a batch never parts an event unless it alone is longer.
    """

    def __init__(
        self,
        shelf: Shelf,
        symbols: Sequence[str],
        channel: str,
        start: int | None,
        end: int | None,
        *,
        columns: Sequence[str] | None,
        kinds: Sequence[str] | None,
        lanes: Sequence[int] | None,
        decimals: Decimals,
        exponents: tuple[int, int] | None = None,
    ) -> None:
        asked = requests_made()
        names = tuple(columns) if columns is not None else columns_of(channel)
        known = known_columns(channel)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(
                f"the channel {channel!r} has no column {unknown[0]!r}" if unknown else "a scan needs a column",
                expected=", ".join(known),
                found=", ".join(unknown) or "none",
            )
        self.symbols, self.channel, self.start, self.end = tuple(symbols), channel, start, end
        self.decimals = decimals
        self.kinds = _checked_kinds(channel, kinds)
        self._by_order = frozenset(
            symbol
            for symbol in self.symbols
            if channel == "book" and kinds is None and by_order_in(shelf, symbol, start, end)
        )
        """Symbols whose book is made of orders: these are their rows, unless others were asked for."""
        self.cost = Cost()
        self._shelf, self._lanes = shelf, None if lanes is None else frozenset(lanes)
        met = {pair for symbol in self.symbols for pair in exponents_met(shelf, symbol, channel, start, end)}
        met |= {exponents} if exponents else set()
        prices, sizes = ([pair[which] for pair in met] or [0] for which in (0, 1))
        self.price_exponent, self.size_exponent = exponents or (max(0, *prices), max(0, *sizes))
        form = _form(decimals, max(max(prices) - min(prices), max(sizes) - min(sizes)))
        self._scaling = Scaling(self.price_exponent, self.size_exponent, form)
        self.mixed = len(met) > 1
        """Whether records of several decimals are in it: mantissas may not be able to hold them."""
        if form != "mantissa":
            known |= {name: column.in_form(form) for name, column in known.items()}
        known["symbol"] = Column("symbol", "word", "<i4", self.symbols)
        self.columns = tuple(known[name] for name in names)
        self.cost.requests = requests_made() - asked

    def _chunks(self) -> Iterator[Chunk]:
        return self._merged(set(), self._scaling)

    def _shown(self) -> Iterator[Chunk]:
        return self._merged(set(), self._showing())

    def _showing(self) -> Scaling:
        """Return the scaling of rows that leave: quotients at once, where that is the form they leave in."""
        if self.decimals != "float" or self._scaling.form != "mantissa":
            return self._scaling
        return Scaling(self.price_exponent, self.size_exponent, "float")

    def _merged(self, beside: set[str], scaling: Scaling) -> Iterator[Chunk]:
        """Yield the columns, and those of `beside`, in order of time."""
        chosen = [
            (number, lane)
            for number, symbol in enumerate(self.symbols)
            for lane in lanes_of(self._shelf, symbol, self.channel, fresh=True)
            if (lane.number < REDUNDANT_STEP if self._lanes is None else lane.number in self._lanes)
        ]
        wanted = {column.name for column in self.columns} | {"ts_recv"} | beside
        streams = []
        for number, lane in chosen:
            rows = lane_rows(
                self._shelf,
                lane,
                self.start,
                self.end,
                fields=tuple(sorted(wanted - {"symbol"})),
                kinds=self._kinds_of(self.symbols[number]),
                scaling=scaling,
                cost=self.cost,
            )
            streams.append(_named(rows, number) if "symbol" in wanted else rows)
        if streams:
            yield from merge_by_time(streams)

    def _kinds_of(self, symbol: str) -> frozenset[int]:
        kinds = ("order",) if symbol in self._by_order else self.kinds
        return frozenset(KIND_OF_WORD[kind] for kind in kinds)

    def _cuts(self, rows: int) -> Iterator[Chunk]:
        yield from cut_at_events(self._merged({"flags"}, self._scaling), rows)

    def _shown_cuts(self, rows: int) -> Iterator[Chunk]:
        yield from cut_at_events(self._merged({"flags"}, self._showing()), rows)


def _form(decimals: Decimals, spread: int) -> Form:
    """Return how prices and sizes whose decimals differ by `spread` leave.

    Raises
    ------
    RangeError
        When mantissas are asked for and no one exponent can hold them.
    """
    if spread == 0:
        return "mantissa"
    if decimals == "int":
        if spread > INT64_DIGITS:
            raise RangeError(
                f"decimals that differ by {spread} have no mantissas in common",
                expected=f"at most {INT64_DIGITS}",
                hint='ask with decimals="float" or "decimal", or for instruments of like decimals together',
            )
        return "mantissa"
    return "float" if decimals == "float" else "wide"


def _named(rows: Iterator[Chunk], number: int) -> Iterator[Chunk]:
    for chunk in rows:
        chunk["symbol"] = np.full(len(chunk["ts_recv"]), number, dtype=np.int32)
        yield chunk


def _checked_kinds(channel: str, kinds: Sequence[str] | None) -> tuple[str, ...]:
    if kinds is None:
        return _DEFAULT_KINDS[channel]
    wrong = [kind for kind in kinds if kind not in CHANNEL_KINDS[channel]]
    if wrong or not kinds:
        raise ConfigError(
            f"a scan of {channel!r} has no rows of kind {wrong[0] if wrong else 'none'!r}",
            expected=", ".join(CHANNEL_KINDS[channel]),
            found=", ".join(wrong) or "none",
        )
    return tuple(kinds)
