"""An order block read: the sealed bytes again. Whatever a block claims is checked before or while it is followed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import ORDER_BYTES, Kind, Side
from chronicle.storage.codec.order_block import DAMAGE, OrderBlock, Orders, Walk
from chronicle.storage.codec.order_layout import FORM_COLUMNS, FORM_VERBATIM, expected_levels
from chronicle.storage.codec.order_resting import Resting
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.kernels import order_rows as kernel

__all__ = ["decode_orders"]

Values = NDArray[np.int64]

LENGTH_MASK: Final = 0xFFFFFFFF
TILE_ROWS: Final = 1024
"""Rows are followed, then written, so many at a time: their columns stay in the nearest cache."""
NO_SIDES: Final = np.zeros(256, dtype=np.int64)
"""The first words of shapes have the sides that do not follow."""


def decode_orders(block: bytes | memoryview, raw_bytes: int, orders: Orders | None = None) -> memoryview:
    """Return the records of an order block.

    Parameters
    ----------
    block : bytes-like
        Its stored bytes matched their checksum; the caller compares that of the result.
    raw_bytes : int
        Bytes of the sealed file that it holds.
    orders : callable, optional
        Gives the orders in the segment's prologue (int64[n, 3], and how many are bids) to a block that begins with
        them.

    Raises
    ------
    CorruptionError
        When the block does not hold what it says.
    """
    try:
        return _Join(OrderBlock(block, raw_bytes), orders).raw()
    except DAMAGE as error:
        raise CorruptionError(f"an order block does not decode: {error}") from error


class _Join:
    """How the parts of a block become records again."""

    def __init__(self, block: OrderBlock, orders: Orders | None) -> None:
        self._block = block
        self._walk = Walk(
            block,
            orders,
            wanted=(True, True),
            ids=True,
            sides=NO_SIDES,
            names=(Side.BID, Side.ASK),
            groups=(0, block.groups),
        )
        if self._walk.stop != block.rows:
            raise ValueError("its rows do not make its groups")
        self._resting = Resting()
        words = scratch_array("tile", 3 * (TILE_ROWS + 1), np.int64).reshape(3, -1)
        self._tile = words[0], words[1], scratch_array("sides", TILE_ROWS + 1, np.uint8), words[2]
        """Prices, sizes, sides, ids of the rows of a tile."""

    def raw(self) -> memoryview:
        """Return the records; see :func:`decode_orders`."""
        block, walk = self._block, self._walk
        words, starts, kinds = block.beside
        tails, forms = block.tails
        if ORDER_BYTES * block.rows + 8 * int(starts[-1] + tails.sum()) != block.raw_bytes:
            raise ValueError("the records do not add up")
        walk.begin()
        groups, kept = block.group_columns(), block.kept_orders()
        out = np.empty(block.raw_bytes // 8, dtype=np.int64)
        row = at = used = 0
        listed = zip(*(part.tolist() for part in (block.places, starts[:-1], starts[1:], tails, forms)), strict=True)
        for number, (place, start, stop, tail, form) in enumerate(listed):
            at = self._rows(row, place, groups, out, at)
            row, end = place, at + stop - start
            record = words[start:stop]
            out[at:end] = record
            out[at] += 8 * tail
            if form == FORM_COLUMNS:
                rows, bids = kept[used : used + tail // 3], int(record[6]) & LENGTH_MASK
                used += len(rows)
                walk.add(rows, bids)
                out[end : end + tail] = rows.reshape(-1)
            elif form != FORM_VERBATIM:
                is_levels = int(kinds[number]) == Kind.BOOK_SNAPSHOT
                out[end : end + tail] = self._follows(row, record, tail, is_levels=is_levels)
            at = end + tail
        at = self._rows(row, block.rows, groups, out, at)
        return out.view(np.uint8).data.toreadonly()

    def _rows(self, begin: int, end: int, groups: Values, out: Values, at: int) -> int:
        """Write the records of rows [begin, end) to words out[at:]; return the place behind."""
        walk, block = self._walk, self._block
        while begin < end:
            stop = min(end, begin + TILE_ROWS)
            walk.follow(begin, stop, self._tile)
            kernel.write_rows(
                walk.rows,
                walk.plan,
                block.shapes,
                begin,
                stop,
                groups,
                block.splits,
                *self._tile,
                walk.state,
                out,
                at,
            )
            at += (stop - begin) * ORDER_BYTES // 8
            begin = stop
        return at

    def _follows(self, row: int, record: Values, tail: int, *, is_levels: bool) -> Values:
        """Return what a snapshot holds when nothing but the rows happened."""
        rows, bids = self._resting.look(self._walk.orders, self._walk.state, row)
        if is_levels:
            rows, bids = expected_levels(rows, bids)
        if rows.size != tail or bids != int(record[6]) & LENGTH_MASK:
            raise ValueError("a snapshot does not follow")
        return rows.reshape(-1)
