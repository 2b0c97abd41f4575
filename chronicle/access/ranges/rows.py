"""Rows: the records of one lane as columns, window by window."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.kernels.select import pick, select
from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import Lane
from chronicle.access.opened.segment import Segment
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk
from chronicle.access.ranges.numbers import wide_floats
from chronicle.access.ranges.scaling import Scaling
from chronicle.core.errors import CorruptionError, RangeError
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, INT64_MIN, Action, Flag, Kind, Side
from chronicle.core.records import InstrumentFields
from chronicle.storage.codec.archive import Stretch
from chronicle.storage.codec.holding import COLUMN_NAMES, ORDER_NAMES
from chronicle.storage.stores.requests import requests_made

__all__ = [
    "ACTION_WORDS",
    "CHANNEL_KINDS",
    "FIELDS",
    "KIND_WORDS",
    "SIDE_WORDS",
    "STATE_WORDS",
    "TIMEFRAME_WORDS",
    "lane_rows",
]

KIND_WORDS = ("delta", "snapshot", "order", "trade", "quote", "candle")
_KINDS = {
    Kind.BOOK_DELTA: 0,
    Kind.BOOK_SNAPSHOT: 1,
    Kind.ORDER: 2,
    Kind.TRADE: 3,
    Kind.QUOTE: 4,
    Kind.CANDLE: 5,
}
KIND_OF_WORD = {KIND_WORDS[code]: kind for kind, code in _KINDS.items()}
CHANNEL_KINDS = {
    "book": ("delta", "snapshot", "order"),
    "trade": ("trade",),
    "quote": ("quote",),
    "candle": ("candle",),
}
TIMEFRAME_WORDS = ("1s", "1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "other")
_TIMEFRAME_SECONDS = np.array([1, 60, 300, 900, 1_800, 3_600, 14_400, 86_400, 604_800], dtype=np.int64)
STATE_WORDS = ("none", "closed", "partial")
ACTION_WORDS = ("none", "add", "cancel", "fill", "modify", "clear", "trade", "other")
_ACTION_CODES = np.full(256, len(ACTION_WORDS) - 1, dtype=np.uint8)
for _code, _value in enumerate(
    (Action.NONE, Action.ADD, Action.CANCEL, Action.FILL, Action.MODIFY, Action.CLEAR, Action.TRADE)
):
    _ACTION_CODES[_value] = _code
SIDE_WORDS = ("none", "bid", "ask")
_SIDE_CODES = np.zeros(256, dtype=np.uint8)
_SIDE_CODES[Side.BID], _SIDE_CODES[Side.ASK] = 1, 2
_KIND_CODES = np.zeros(256, dtype=np.uint8)
for _kind, _code in _KINDS.items():
    _KIND_CODES[_kind] = _code
_LEVELS_WORD = (HEADER_BYTES + 40) // 8
"""Word of a BOOK_SNAPSHOT at which its levels begin."""

_LOW = 0xFFFFFFFFFFFFFFFF

Reader = Callable[["Window"], NDArray[Any]]


class Window:
    """The wanted records of a window: where each row's record starts (in words), and how to read fields there."""

    __slots__ = (
        "at",
        "index",
        "lane",
        "last",
        "level",
        "price_exponent",
        "scaling",
        "shift",
        "size_exponent",
        "words",
    )

    def __init__(self, words: NDArray[np.int64], scaling: Scaling) -> None:
        self.words = words
        self.scaling = scaling
        self.at: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.index: NDArray[np.int64] = self.at
        self.level: NDArray[np.int64] | None = None
        self.last: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
        self.price_exponent: Any = scaling.price
        """Of the records: one for all, or one for each row."""
        self.size_exponent: Any = scaling.size
        self.lane = 0
        self.shift: Any = 0
        """How much later an ORDER keeps price and size: its id stands first."""

    def word(self, offset: int) -> NDArray[np.int64]:
        """Return word `offset` of every row's record."""
        out = fresh_array(len(self.at), np.int64)
        pick(self.words, self.at, offset, out)
        return out

    def size_shift(self) -> Any:
        """Return by how many decimals a sum of sizes is short of the answer's."""
        return np.maximum(0, self.scaling.size - np.asarray(self.size_exponent))

    def notional_shift(self) -> Any:
        """Return by how many decimals a sum of price times size is short of the answer's."""
        return self.size_shift() + np.maximum(0, self.scaling.price - np.asarray(self.price_exponent))

    def wide(self, offset: int, shift: Any = 0) -> NDArray[np.int64]:
        """Return 128-bit sums as int64[rows, 2] (high, low), times 10**shift."""
        values = np.column_stack((self.words[self.at + offset], self.words[self.at + offset + 1]))
        if not np.any(shift):
            return values
        for row, places in enumerate(np.broadcast_to(np.asarray(shift), (len(values),)).tolist()):
            if places:
                total = ((int(values[row, 0]) << 64) + (int(values[row, 1]) & _LOW)) * 10**places
                if not -(1 << 127) <= total < 1 << 127:
                    raise RangeError(
                        "a sum does not fit 128 bits at the finest exponent of the range",
                        hint="scan the time before and after the redefinition on their own",
                    )
                values[row] = total >> 64, ((total & _LOW) ^ (1 << 63)) - (1 << 63)
        return values

    def price(self, offset: int | NDArray[np.int64]) -> NDArray[Any]:
        """Return a price in the answer's form; of a snapshot's row, its level's."""
        return self.scaling.prices(self._at(offset, 0), self.price_exponent)

    def size(self, offset: int | NDArray[np.int64]) -> NDArray[Any]:
        """Return a size in the answer's form; of a snapshot's row, its level's."""
        return self.scaling.sizes(self._at(offset, 1), self.size_exponent)

    def _at(self, offset: int | NDArray[np.int64], level_offset: int) -> NDArray[np.int64]:
        if self.level is None:
            return self.words[self.at + offset] if isinstance(offset, np.ndarray) else self.word(offset)
        return self.words[np.where(self.level >= 0, self.level + level_offset, self.at + offset)]


def _side(window: Window) -> NDArray[Any]:
    codes: NDArray[Any] = _SIDE_CODES[(window.word(0) >> 56) & 0xFF]
    if window.level is not None:
        bids = window.words[window.at + 6] & 0xFFFFFFFF
        place = (window.level - window.at - _LEVELS_WORD) >> 1
        codes = np.where(window.level < 0, codes, np.where(place < bids, 1, 2)).astype(np.uint8)
    return codes


def _timeframe(window: Window) -> NDArray[Any]:
    seconds = window.word(6) & 0xFFFFFFFF
    codes = np.minimum(np.searchsorted(_TIMEFRAME_SECONDS, seconds), len(_TIMEFRAME_SECONDS) - 1)
    return np.where(_TIMEFRAME_SECONDS[codes] == seconds, codes, len(_TIMEFRAME_SECONDS)).astype(np.uint8)


def _vwap(window: Window) -> NDArray[Any]:
    """Return notional / volume as the nearest float64 but for rounding, NaN where there is no volume."""
    notional, volume = wide_floats(window.wide(14)), wide_floats(window.wide(12))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(volume != 0, notional / volume, np.nan)
    vwap: NDArray[Any] = quotient / np.power(10.0, window.price_exponent)
    return vwap


def _order_id(window: Window) -> NDArray[Any]:
    """Return the order's id, 0 where a row is no order."""
    numbers: NDArray[Any] = np.where(_is_order(window), window.words[window.at + 6], 0).view(np.uint64)
    return numbers


def _action(window: Window) -> NDArray[Any]:
    of_order = _is_order(window)
    codes = _ACTION_CODES[window.words[np.where(of_order, window.at + 9, window.at)] & 0xFF]
    return np.where(of_order, codes, 0).astype(np.uint8)


def _is_order(window: Window) -> NDArray[Any]:
    found: NDArray[Any] = (window.word(0) >> 32) & 0xFFFF == Kind.ORDER
    return found


def _flags(window: Window) -> NDArray[Any]:
    stored = ((window.word(0) >> 48) & (0xFF & ~int(Flag.LAST))).astype(np.uint8)
    return stored | (window.last << 7)


FIELDS: dict[str, Reader] = {
    "ts_recv": lambda w: w.word(1),
    "ts_event": lambda w: w.word(2),
    "kind": lambda w: _KIND_CODES[(w.word(0) >> 32) & 0xFF],
    "side": _side,
    "flags": _flags,
    "sequence": lambda w: w.word(5),
    "order_id": _order_id,
    "action": _action,
    "index": lambda w: w.index,
    "source": lambda w: ((w.word(4) >> 32) & 0xFFFF).astype(np.int32),
    "source_index": lambda w: w.word(3),
    "lane": lambda w: np.full(len(w.at), w.lane, dtype=np.int32),
    "price": lambda w: w.price(6 + w.shift),
    "size": lambda w: w.size(7 + w.shift),
    "sequence_first": lambda w: w.word(8),
    "sequence_previous": lambda w: w.word(9),
    "trade_id": lambda w: w.word(8),
    "trade_id_last": lambda w: w.word(9),
    "bid_price": lambda w: w.price(6),
    "bid_size": lambda w: w.size(7),
    "ask_price": lambda w: w.price(8),
    "ask_size": lambda w: w.size(9),
    "ts_open": lambda w: w.word(2),
    "timeframe": _timeframe,
    "state": lambda w: np.minimum((w.word(6) >> 32) & 0xFF, len(STATE_WORDS) - 1).astype(np.uint8),
    "trade_count": lambda w: w.word(7),
    "open": lambda w: w.price(8),
    "high": lambda w: w.price(9),
    "low": lambda w: w.price(10),
    "close": lambda w: w.price(11),
    "volume": lambda w: w.wide(12, w.size_shift()),
    "notional": lambda w: w.wide(14, w.notional_shift()),
    "buy_volume": lambda w: w.wide(16, w.size_shift()),
    "vwap": _vwap,
}


def lane_rows(
    shelf: Shelf,
    lane: Lane,
    start: int | None,
    end: int | None,
    *,
    fields: tuple[str, ...],
    kinds: frozenset[int],
    scaling: Scaling,
    cost: Cost,
) -> Iterator[Chunk]:
    """Yield the rows of `lane` with start <= ts_recv < end as chunks of `fields` (plus ``ts_recv``, ``flags``).

    A venue's BOOK_SNAPSHOT gives one row a level. The last row of an event carries F_LAST, whichever record ends
    the event in the queue.
    """
    wanted = np.zeros(256, dtype=np.uint8)
    wanted[list(kinds)] = 1
    for info in shelf.segments_in(lane.queue, start, end):
        segment = shelf.open(info, cost)
        stretches = _stretches(segment, start, end, fields, kinds, floats=scaling.form == "float")
        if stretches is None:
            offset, index, stop = segment.span(start, end)
            spans: Iterator[tuple[int, int, int] | Chunk] = iter([(offset, index, stop)])
        else:
            spans = _spans(segment, stretches, lane, start, end, fields, scaling, cost)
        for span in spans:
            if isinstance(span, dict):
                yield span
                continue
            for at, base, memory in segment.windows(*span, cost, to_the_end=True):
                window = _rows_of(memory, base, wanted, start, end, scaling)
                if not len(window.at):
                    continue
                window.lane = lane.number
                _scale(window, segment, at)
                chunk = {name: FIELDS[name](window) for name in fields}
                del window, memory  # a block of an archive is given up before the next is decoded
                yield chunk


_COLUMN_FIELDS = frozenset(COLUMN_NAMES) | frozenset(ORDER_NAMES) | {"lane"}
"""Fields that an archived block gives as columns, without its records."""


def _stretches(
    segment: Segment,
    start: int | None,
    end: int | None,
    fields: tuple[str, ...],
    kinds: frozenset[int],
    *,
    floats: bool,
) -> Iterator[Stretch] | None:
    """Return the blocks of an archived segment, where they can give all `fields`."""
    if not set(fields) <= _COLUMN_FIELDS:
        return None
    names = [name for name in fields if name != "lane"]
    sides = SIDE_WORDS.index("bid"), SIDE_WORDS.index("ask")
    return segment.stretches(start, end, names, kinds, sides, floats=floats)


def _counted(stretches: Iterator[Stretch], cost: Cost) -> Iterator[Stretch]:
    """Yield the stretches, and count the requests that they took."""
    while True:
        asked = requests_made()
        stretch = next(stretches, None)
        cost.requests += requests_made() - asked
        if stretch is None:
            return
        yield stretch


def _spans(
    segment: Segment,
    stretches: Iterator[Stretch],
    lane: Lane,
    start: int | None,
    end: int | None,
    fields: tuple[str, ...],
    scaling: Scaling,
    cost: Cost,
) -> Iterator[tuple[int, int, int] | Chunk]:
    """Yield the rows of blocks that came as columns, and (offset, index, end) of the others."""
    for stretch in _counted(stretches, cost):
        if stretch.columns is None:
            table, (low, _, high) = segment.seek(), segment.span(start, end)
            offset, stop = max(low, stretch.offset), min(high, stretch.end)
            if offset < stop:
                yield offset, table.index[bisect_left(table.offset, offset)], stop
            continue
        cost.bytes_read += stretch.end - stretch.offset
        columns = stretch.columns
        times = columns["ts_recv"]
        first = 0 if start is None else int(np.searchsorted(times, start, side="left"))
        last = len(times) if end is None else int(np.searchsorted(times, end, side="left"))
        if first >= last:
            continue
        whole = first == 0 and last == len(times)
        chunk = columns if whole else {name: values[first:last] for name, values in columns.items()}
        holding = segment.definition_at(stretch.offset)
        price, size = (scaling.price, scaling.size) if holding is None else _exponents(holding)
        if "price" in chunk:
            chunk["price"] = scaling.prices(chunk["price"], price)
        if "size" in chunk:
            chunk["size"] = scaling.sizes(chunk["size"], size)
        _tell_kinds(chunk, fields, last - first)
        if "lane" in fields:
            chunk["lane"] = np.full(last - first, lane.number, dtype=np.int32)
        yield {name: chunk[name] for name in fields}


def _tell_kinds(chunk: Chunk, fields: tuple[str, ...], count: int) -> None:
    """Give kinds and actions our codes; a block of deltas alone has neither, nor ids of orders."""
    if "kind" in fields:
        kinds = chunk.get("kind")
        alone = np.uint8(_KINDS[Kind.BOOK_DELTA])
        chunk["kind"] = np.full(count, alone, dtype=np.uint8) if kinds is None else _KIND_CODES[kinds]
    if "action" in fields:
        actions = chunk.get("action")
        chunk["action"] = np.zeros(count, dtype=np.uint8) if actions is None else _ACTION_CODES[actions]
    if "order_id" in fields and "order_id" not in chunk:
        chunk["order_id"] = np.zeros(count, dtype=np.uint64)


def _exponents(holding: InstrumentFields) -> tuple[int, int]:
    return holding.price_exponent, holding.size_exponent


def _rows_of(
    memory: memoryview,
    base: int,
    wanted: NDArray[np.uint8],
    start: int | None,
    end: int | None,
    scaling: Scaling,
) -> Window:
    """Return the wanted records of a window."""
    words = np.frombuffer(memory, dtype=np.int64)
    window = Window(words, scaling)
    capacity = len(memory) // HEADER_BYTES
    at, order = np.empty(capacity, dtype=np.int64), np.empty(capacity, dtype=np.int64)
    last = np.empty(capacity, dtype=np.uint8)
    low, high = INT64_MIN if start is None else start, INT64_MAX if end is None else end
    count, snapshots = select(words, wanted, low, high, at, order, last)
    if count < 0:
        raise CorruptionError("a record's length is impossible", hint="chronicle verify tells which segment it is")
    window.at, window.index, window.last = at[:count], order[:count] + base, last[:count]
    if snapshots:
        _explode(window)
    if wanted[Kind.ORDER]:
        alone = int(wanted.sum()) == 1
        window.shift = 1 if alone else (((words[window.at] >> 32) & 0xFFFF) == Kind.ORDER).astype(np.int64)
    return window


def _explode(window: Window) -> None:
    """Give each snapshot a row a level, and note where its levels are."""
    words, at = window.words, window.at
    is_snapshot = ((words[at] >> 32) & 0xFFFF) == Kind.BOOK_SNAPSHOT
    counts = np.ones(len(at), dtype=np.int64)
    sizes = words[at[is_snapshot] + 6]
    counts[is_snapshot] = (sizes & 0xFFFFFFFF) + (sizes >> 32)
    place = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    window.at, window.index = np.repeat(at, counts), np.repeat(window.index, counts)
    last_level = place == np.repeat(counts, counts) - 1
    window.last = np.repeat(window.last, counts) * last_level.astype(np.uint8)
    window.level = np.where(np.repeat(is_snapshot, counts), window.at + _LEVELS_WORD + 2 * place, -1)


def _scale(window: Window, segment: Segment, offset: int) -> None:
    """Set the exponents of each row's record."""
    definitions = segment.definitions()
    if not definitions:
        return
    price, size = zip(*(_exponents(fields) for _, fields in definitions), strict=True)
    if len(set(price)) == 1 and len(set(size)) == 1:
        window.price_exponent, window.size_exponent = price[0], size[0]
        return
    begins = np.asarray([start for start, _ in definitions], dtype=np.int64)
    holding = np.maximum(np.searchsorted(begins, offset + window.at * 8, side="right") - 1, 0)
    window.price_exponent, window.size_exponent = np.asarray(price)[holding], np.asarray(size)[holding]
