"""Columns of an order block's rows, no record of them built: only what is asked for is decoded, up to where it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import INT64_MIN, ORDER_BYTES, Action, Flag, Kind, Side
from chronicle.storage.codec.beside import definitions_beside
from chronicle.storage.codec.event_layout import STEP_SOURCE
from chronicle.storage.codec.order_block import DAMAGE, OrderBlock, Orders, Walk
from chronicle.storage.codec.order_layout import FORM_COLUMNS, Column
from chronicle.storage.kernels import order_rows as kernel
from chronicle.storage.kernels.lanes import SLACK_ROWS, divide_rows

__all__ = ["order_columns", "order_instruments"]

GROUP_COLUMNS: Final = {
    "ts_recv": Column.TS_RECV,
    "ts_event": Column.TS_EVENT,
    "sequence": Column.SEQUENCE,
    "sequence_first": Column.SEQUENCE_FIRST,
    "sequence_previous": Column.SEQUENCE_PREVIOUS,
    "source_index": Column.SOURCE_INDEX,
    "source": Column.LINE,
}
SHAPE_BYTES: Final[dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]]] = {
    "kind": lambda shapes: shapes[:, 0] >> 32,
    "action": lambda shapes: np.where((shapes[:, 0] >> 32) & 0xFFFF == Kind.ORDER, shapes[:, 1], Action.NONE),
}
FOLLOWED: Final = frozenset(("price", "size", "side", "order_id"))
LAST: Final = int(Flag.LAST)
LENGTH_MASK: Final = 0xFFFFFFFF
EVERYTHING: Final = (None, None)


def order_columns(
    block: bytes | memoryview,
    raw_bytes: int,
    names: Collection[str],
    kinds: Collection[int],
    base_index: int = 0,
    *,
    orders: Orders | None = None,
    sides: tuple[int, int] = (Side.BID, Side.ASK),
    start_ts: int | None = None,
    end_ts: int | None = None,
    divisors: tuple[float, float] = (0.0, 0.0),
) -> dict[str, NDArray[Any]]:
    """Return columns of a block's rows of `kinds` (ORDER, BOOK_DELTA or both), in the order of the queue.

    Parameters
    ----------
    block : bytes-like
        Its stored bytes matched their checksum.
    raw_bytes : int
        Bytes of the sealed file that it holds.
    names : collection of str
        Of :data:`chronicle.storage.codec.holding.COLUMN_NAMES`, ``kind`` (as in a record), ``action`` and
        ``order_id``. ``sequence_first`` and ``sequence_previous`` are of BOOK_DELTA rows, ``action`` and ``order_id``
        of ORDER rows (else Action.NONE and 0). ``flags`` carry F_LAST on the last of these rows of each event,
        whichever record ends the event.
    orders : callable, optional
        As :func:`chronicle.storage.codec.order_decode.decode_orders` takes it.
    sides : (int, int)
        What ``side`` says of bids and of asks; 0 of rows that have none.
    base_index, start_ts, end_ts, divisors
        As :meth:`chronicle.storage.codec.event_decode.EventBlock.columns` takes them.

    Returns
    -------
    dict of str to array of shape (rows,)
        int64, ``order_id`` uint64; ``side``, ``flags``, ``kind`` and ``action`` are uint8, ``source`` int32.

    Raises
    ------
    CorruptionError
        When the block does not hold what it says.
    """
    try:
        wanted = Kind.ORDER in kinds, Kind.BOOK_DELTA in kinds
        cut = _Cut(OrderBlock(block, raw_bytes), names, wanted, orders, sides, (start_ts, end_ts))
        return cut.columns(base_index, divisors)
    except DAMAGE as error:
        raise CorruptionError(f"an order block does not decode: {error}") from error


def order_instruments(block: bytes | memoryview, raw_bytes: int, known: bytes = b"") -> list[tuple[int, bytes]]:
    """Return (offset in the block, body) of its INSTRUMENT records, without decoding a row.

    Where all of them say what is `known` already, they are left out, as of a block of events.

    Raises
    ------
    CorruptionError
        When the block does not hold what it says.
    """
    try:
        return _instruments(OrderBlock(block, raw_bytes), known)
    except DAMAGE as error:
        raise CorruptionError(f"an order block does not decode: {error}") from error


def _instruments(block: OrderBlock, known: bytes) -> list[tuple[int, bytes]]:
    words, starts, _ = block.beside
    numbers, bodies = definitions_beside(words, starts)
    if all(body == known for body in bodies):
        return []
    lengths = np.diff(starts) + block.tails[0]
    offsets = ORDER_BYTES * block.places + 8 * (np.cumsum(lengths) - lengths)
    return [(int(offsets[number]), body) for number, body in zip(numbers, bodies, strict=True)]


def _within(times: NDArray[np.int64], start: int | None, end: int | None) -> NDArray[np.bool_]:
    """Return which times are at or after `start` and before `end`; None: no limit, which the last int64 is."""
    inside = np.ones(len(times), dtype=np.bool_) if start is None else times >= start
    return inside if end is None else inside & (times < end)


class _Cut:
    """The rows of a block's groups within some time, and what is asked of them."""

    def __init__(
        self,
        block: OrderBlock,
        names: Collection[str],
        wanted: tuple[bool, bool],
        orders: Orders | None,
        sides: tuple[int, int],
        limits: tuple[int | None, int | None],
    ) -> None:
        self._block, self._names = block, names
        self._low, self._high = 0, block.groups
        self._columns: dict[Column, NDArray[np.int64]] = {}
        if limits != EVERYTHING:
            times = self._of_groups(Column.TS_RECV)
            inside = np.flatnonzero(_within(times, *limits))
            self._low, self._high = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        of_sides = np.zeros(256, dtype=np.int64)
        of_sides[[Side.BID, Side.ASK]] = sides
        groups = self._low, self._high
        ids = "order_id" in names
        self._walk = Walk(block, orders, wanted=wanted, ids=ids, sides=of_sides, names=sides, groups=groups)

    def columns(self, base_index: int, divisors: tuple[float, float]) -> dict[str, NDArray[Any]]:
        """Return what is asked of the rows."""
        out = {} if FOLLOWED.isdisjoint(self._names) else self._followed(divisors)
        for name in self._names:
            if name in GROUP_COLUMNS:
                out[name] = self._spread(name)
            elif name in SHAPE_BYTES:
                out[name] = self._bytes(SHAPE_BYTES[name](self._block.shapes))
            elif name == "flags":
                out[name] = self._flags()
            elif name == "index":
                out[name] = self._numbers(self._block.places, base_index)
        return {name: out[name] for name in self._names}

    def _of_groups(self, column: Column) -> NDArray[np.int64]:
        """Return what the groups up to the last say."""
        if column not in self._columns:
            self._columns[column] = self._block.group_column(column, self._high)
        return self._columns[column][: self._high]

    def _spread(self, name: str) -> NDArray[Any]:
        walk, column = self._walk, GROUP_COLUMNS[name]
        of_groups = self._of_groups(column)[self._low :]
        if name == "source":
            of_groups = ((of_groups >> 32) & 0xFFFF).astype(np.int32)
        out = fresh_array(walk.count + SLACK_ROWS, of_groups.dtype)
        kernel.spread_groups(of_groups, walk.sizes[self._low : self._high], out)
        found = out[: walk.count]
        if name == "source_index" and self._block.step & STEP_SOURCE:
            found = found + self._numbers(np.empty(0, dtype=np.int64), 0)
        return found

    def _bytes(self, words: NDArray[np.int64]) -> NDArray[np.uint8]:
        walk = self._walk
        out = fresh_array(walk.count + 1, np.uint8)
        kernel.shape_bytes(walk.rows, walk.plan, walk.first, walk.stop, (words & 0xFF).astype(np.uint8), out)
        return out[: walk.count]

    def _flags(self) -> NDArray[np.uint8]:
        """Return the flags: an event may end with a record beside the rows."""
        walk, block = self._walk, self._block
        words, starts, _ = block.beside
        ends = ((words[starts[:-1]] >> 48) & LAST != 0).astype(np.uint8)
        of_shapes = ((block.shapes[:, 0] >> 48) & 0xFF & ~LAST).astype(np.uint8)
        out = fresh_array(walk.count + 1, np.uint8)
        place = walk.first, walk.stop, block.places, ends
        kernel.event_flags(walk.rows, walk.plan, *place, of_shapes, np.uint8(LAST), out)
        return out[: walk.count]

    def _numbers(self, places: NDArray[np.int64], base: int) -> NDArray[np.int64]:
        walk = self._walk
        out = fresh_array(walk.count + 1, np.int64)
        kernel.row_numbers(walk.rows, walk.plan, walk.first, walk.stop, places, base, out)
        return out[: walk.count]

    def _followed(self, divisors: tuple[float, float]) -> dict[str, NDArray[Any]]:
        """Return prices, sizes, sides and ids: what rows say only to those who followed all before them."""
        walk, block = self._walk, self._block
        walk.begin()
        room = (walk.count + SLACK_ROWS + 7) // 8 * 8
        prices, sizes = (fresh_array(room, np.int64) for _ in range(2))
        sides = fresh_array(room, np.uint8)
        ids = fresh_array(room if "order_id" in self._names else 0, np.int64)
        columns = prices, sizes, sides, ids
        row = place = 0
        if block.kept:
            row, place = self._with_snapshots(columns)
        walk.follow(row, walk.stop, columns, place)
        found: dict[str, NDArray[Any]] = {"side": sides[: walk.count], "order_id": ids[: walk.count].view(np.uint64)}
        for name, values, divisor in zip(("price", "size"), (prices, sizes), divisors, strict=True):
            found[name] = values[: walk.count]
            if divisor and name in self._names and not (found[name] == INT64_MIN).any():
                divide_rows(values, 0, walk.count, divisor)
                found[name] = found[name].view(np.float64)
        return found

    def _with_snapshots(self, columns: tuple[NDArray[Any], ...]) -> tuple[int, int]:
        """Follow the rows up to the last snapshot whose orders are columns; return (rows, place)."""
        walk, block = self._walk, self._block
        words, starts, _ = block.beside
        tails, forms = block.tails
        kept, row, place, used = block.kept_orders(), 0, 0, 0
        for number in np.flatnonzero(forms == FORM_COLUMNS).tolist():
            until = int(block.places[number])
            if until > walk.stop:
                break
            place = walk.follow(row, until, columns, place)
            count = int(tails[number]) // 3
            walk.add(kept[used : used + count], int(words[starts[number] + 6]) & LENGTH_MASK)
            row, used = until, used + count
        return row, place
