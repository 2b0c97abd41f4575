"""An order block read: the sealed bytes again. Whatever a block claims is checked before or while it is followed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import HEADER_BYTES, ORDER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind
from chronicle.storage.codec.beside import read_beside
from chronicle.storage.codec.blocks import BLOCK_BYTES_MAX
from chronicle.storage.codec.event_kernels import values
from chronicle.storage.codec.event_layout import STEPS
from chronicle.storage.codec.order_layout import (
    COLUMNS,
    FORM_COLUMNS,
    FORM_FOLLOWS,
    FORM_VERBATIM,
    GROUP_FIELDS,
    HEAD,
    HEAD_BYTES,
    LEVEL_SLOTS,
    ON_PROLOGUE,
    ORDERS_BYTES,
    REFERENCES,
    SHAPE_WORDS,
    SHAPES_MAX,
    SNAPSHOTS,
    VERSION,
    Column,
    expected_levels,
    live_orders,
)
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import ENTRY, SAME, Columns, decompressor
from chronicle.storage.kernels import orders as kernel

__all__ = ["decode_orders"]

Values = NDArray[np.int64]

LENGTH_MASK: Final = 0xFFFFFFFF
_DAMAGE: Final = (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError)


def decode_orders(
    block: bytes | memoryview, raw_bytes: int, orders: Callable[[], tuple[Values, int]] | None = None
) -> memoryview:
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
        return _Join(block, raw_bytes).raw(orders)
    except _DAMAGE as error:
        raise CorruptionError(f"an order block does not decode: {error}") from error


class _Join:
    """The parts of a block, and how they become records again."""

    def __init__(self, block: bytes | memoryview, raw_bytes: int) -> None:
        if len(block) < HEAD_BYTES or raw_bytes > BLOCK_BYTES_MAX or raw_bytes % 8:
            raise ValueError("too short or too large")
        head = HEAD.unpack_from(block)
        version, columns, self.rows, self.groups, self.others, shapes, snapshots, self.kept, step, flags = head[:10]
        self.counts, descriptor_bytes, beside_bytes = head[10:18], *head[18:]
        plausible = (
            version == VERSION
            and columns == COLUMNS
            and 0 < self.groups <= self.rows
            and snapshots <= self.others
            and ORDER_BYTES * self.rows + HEADER_BYTES * self.others + 24 * self.kept <= raw_bytes
            and 0 < shapes <= SHAPES_MAX
            and max(self.counts) <= self.rows
            and step <= STEPS
            and flags <= ON_PROLOGUE
            and not any(block[34:36])
        )
        if not plausible:
            raise ValueError("it claims what cannot be")
        self.raw_bytes, self.step, self.on_prologue = raw_bytes, step, flags & ON_PROLOGUE
        data = memoryview(block)
        beside = HEAD_BYTES + descriptor_bytes
        start = beside + beside_bytes
        if start > len(data):
            raise ValueError("the parts lead outside")
        entries = ENTRY.size * COLUMNS
        size = entries + 8 * SHAPE_WORDS * shapes + snapshots
        packed = data[HEAD_BYTES:beside]
        if zstandard.frame_content_size(packed) != size:
            raise ValueError("the descriptor has another length than the head says")
        descriptor = decompressor().decompress(packed, max_output_size=size)
        words = np.frombuffer(descriptor, dtype=np.int64, count=SHAPE_WORDS * shapes, offset=entries)
        self.shapes = words.reshape(-1, SHAPE_WORDS)
        self.forms = list(descriptor[size - snapshots :])
        self.columns = Columns(descriptor, COLUMNS, data[start:], max(self.rows, self.others, self.kept))
        self.beside = data[beside:start]
        self._live_at = (-1, -1, -1)
        self._live: tuple[Values, int] = (np.zeros((0, 3), dtype=np.int64), 0)

    def raw(self, orders: Callable[[], tuple[Values, int]] | None) -> memoryview:
        """Return the records; see :func:`decode_orders`."""
        words, starts, kinds = self._others()
        lengths = np.diff(starts)
        tails, places = self._tails(words, starts, kinds), self._column(Column.OTHERS, self.others)
        lengths += tails
        if ORDER_BYTES * self.rows + 8 * int(lengths.sum()) != self.raw_bytes:
            raise ValueError("the records do not add up")
        known = orders() if self.on_prologue and orders is not None else None
        if self.on_prologue and known is None:
            raise ValueError("it begins with orders that are not there")
        room = self.counts[2] + self.counts[3] + self.kept + (0 if known is None else len(known[0]))
        found = scratch_array("orders", 5 * (room + 1), np.int64).reshape(5, room + 1)
        table, levels = np.empty(0, dtype=np.int32), scratch_array("levels", 2 * LEVEL_SLOTS, np.int64)
        levels = levels.reshape(LEVEL_SLOTS, 2)
        levels[:] = kernel.NO_KEY, 0
        values_of, state, limits = self._values()
        if known is not None:
            kernel.add_orders(*known, found, state, table)
        parts = (self._groups(), self._column(Column.SPLIT, self.counts[0]), self._column(Column.SHAPE, self.rows))
        others = words, starts, places, lengths
        out = np.empty(self.raw_bytes // 8, dtype=np.int64)
        kept, forms = self._kept(), iter(self.forms)
        used = 0
        while True:
            status = kernel.join_rows(*parts, *others, values_of, limits, found, levels, self.shapes, state, out)
            if status != kernel.SNAPSHOT:
                break
            number = int(state[kernel.OTHERS])
            form, at, tail = next(forms), int(state[kernel.POSITION]), int(tails[number])
            record = words[starts[number] : starts[number + 1]]
            end = at + len(record)
            out[at:end] = record
            out[at] += 8 * tail
            if form == FORM_COLUMNS:
                rows, bids = kept[used : used + tail // 3], int(record[6]) & LENGTH_MASK
                used += len(rows)
                if not kernel.add_orders(rows, bids, found, state, table):
                    raise ValueError("there are more orders than it says")
                out[end : end + tail] = rows.reshape(-1)
            elif form == FORM_FOLLOWS:
                out[end : end + tail] = self._follows(record, found, state, tail)
            state[kernel.OTHERS] += 1
            state[kernel.POSITION] = end + tail
        self._check(status, state, limits, used)
        return out.view(np.uint8).data.toreadonly()

    def _check(self, status: int, state: Values, limits: Values, used: int) -> None:
        ends = state[kernel.AGES : kernel.AGES + kernel.COUNTED]
        done = state[[kernel.ROWS, kernel.OTHERS, kernel.GROUPS, kernel.SPLITS]].tolist()
        expected = [self.rows, self.others, self.groups, self.counts[0]]
        whole = 8 * int(state[kernel.POSITION]) == self.raw_bytes
        if status != kernel.GOOD or not whole or done != expected or (ends != limits).any() or used != self.kept:
            raise ValueError("its rows refer to what is not there")

    def _follows(self, record: Values, found: Values, state: Values, tail: int) -> Values:
        """Return what a snapshot holds when nothing but the rows happened."""
        key = int(state[kernel.ROWS]), int(state[kernel.ALIVE]), int(state[kernel.ORDERS])
        if self._live_at != key:
            self._live_at, self._live = key, live_orders(found, key[1:])
        rows, bids = self._live
        if (int(record[0]) >> 32) & 0xFFFF == Kind.BOOK_SNAPSHOT:
            rows, bids = expected_levels(rows, bids)
        if rows.size != tail or bids != int(record[6]) & LENGTH_MASK:
            raise ValueError("a snapshot does not follow")
        return rows.reshape(-1)

    def _column(self, column: Column, rows: int, reference: Values | None = None) -> Values:
        if self.columns.mode(column) == SAME and reference is None:
            reference = np.zeros(rows, dtype=np.int64)
        return np.asarray(values(self.columns, column, rows, reference))

    def _groups(self) -> Values:
        """Return the groups int64[7, g]."""
        out = np.empty((GROUP_FIELDS, self.groups), dtype=np.int64)
        for field in range(GROUP_FIELDS):
            reference = REFERENCES.get(Column(Column.TS_RECV + field))
            other = None if reference is None else out[reference - Column.TS_RECV]
            out[field] = self._column(Column(Column.TS_RECV + field), self.groups, other)
        return out

    def _values(self) -> tuple[Values, Values, Values]:
        """Return (columns AGE to LEVEL_SIZE side by side, the state to begin with, where each ends)."""
        counts = self.counts[1:]
        parts = [self._column(Column(Column.AGE + number), count) for number, count in enumerate(counts)]
        limits = np.cumsum(counts, dtype=np.int64)
        state = np.zeros(kernel.STATES, dtype=np.int64)
        state[kernel.AGES : kernel.AGES + kernel.COUNTED] = limits - np.array(counts, dtype=np.int64)
        state[kernel.LAST], state[kernel.STEP] = -1, self.step
        return np.concatenate(parts), state, limits

    def _kept(self) -> Values:
        """Return the orders of all snapshots that have them as columns: int64[n, 3]."""
        ids, prices = (np.cumsum(self._column(column, self.kept)) for column in (Column.KNOWN_ID, Column.KNOWN_PRICE))
        return np.stack((ids, prices, self._column(Column.KNOWN_SIZE, self.kept)), axis=1)

    def _others(self) -> tuple[Values, Values, Values]:
        """Return the other records as stored, the word at which each begins and ends, and their kinds."""
        if not self.others:
            none = np.zeros(0, dtype=np.int64)
            return none, np.zeros(1, dtype=np.int64), none
        words, starts = read_beside(self.beside, self.raw_bytes, self.others)
        return words, starts, (words[starts[:-1]] >> 32) & 0xFFFF

    def _tails(self, words: Values, starts: Values, kinds: Values) -> Values:
        """Return how many words each of the other records was stored without."""
        tails = np.zeros(len(kinds), dtype=np.int64)
        numbers = np.flatnonzero(np.isin(kinds, SNAPSHOTS)).tolist()
        if len(numbers) != len(self.forms):
            raise ValueError("snapshots do not match their list")
        kept = 0
        for number, form in zip(numbers, self.forms, strict=True):
            if form == FORM_VERBATIM:
                continue
            is_levels = int(kinds[number]) == Kind.BOOK_SNAPSHOT
            whole = 8 * int(starts[number + 1] - starts[number]) == (
                SNAPSHOT_LEVELS_OFFSET if is_levels else ORDERS_BYTES
            )
            if not whole or form not in (FORM_FOLLOWS, FORM_COLUMNS) or (form == FORM_COLUMNS and is_levels):
                raise ValueError("a snapshot has no such form")
            counts = int(words[starts[number] + 6])
            rows = (counts & LENGTH_MASK) + ((counts >> 32) & LENGTH_MASK)
            if 16 * rows > self.raw_bytes:
                raise ValueError("a snapshot is larger than its block")
            tails[number] = rows * (2 if is_levels else 3)
            kept += rows if form == FORM_COLUMNS else 0
        if kept != self.kept:
            raise ValueError("the orders of snapshots do not add up")
        return tails
