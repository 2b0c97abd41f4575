"""Encoding of an order block: orders by their ages, levels by what orders did to them. Needs the kernels.

``docs/format/archive.md`` (Order blocks) is the specification; :mod:`chronicle.storage.codec.order_decode` the way
back.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import BOOK_DELTA_BYTES, HEADER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind, Origin
from chronicle.storage.codec.archive_layout import HOLDS_OF_KIND, Holds
from chronicle.storage.codec.blocks import encode_block
from chronicle.storage.codec.event_encode import COLUMNS_FROM
from chronicle.storage.codec.event_layout import BESIDE_COLUMNS, BESIDE_STORED, BESIDE_ZSTD, STEP_SOURCE
from chronicle.storage.codec.order_layout import (
    FORM_COLUMNS,
    FORM_FOLLOWS,
    FORM_VERBATIM,
    GROUP_FIELDS,
    HEAD,
    LEVEL_SLOTS,
    ON_PROLOGUE,
    ORDERS_BYTES,
    REFERENCES,
    SHAPE_WORDS,
    SHAPES_MAX,
    VERSION,
    Column,
    expected_levels,
    orders_at,
)
from chronicle.storage.codec.order_resting import Resting
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.token_columns import group_column, plain_column, signed_column
from chronicle.storage.codec.tokens import compressor
from chronicle.storage.kernels import orders as kernel

__all__ = ["encode_orders"]

Values = NDArray[np.int64]

SHAPE_SLOTS: Final = 4 * SHAPES_MAX
SHAPE_LEVEL: Final = 3
TABLE_BITS_MIN: Final = 13
LENGTH_MASK: Final = 0xFFFFFFFF


def encode_orders(
    data: bytes | memoryview, level: int, orders: tuple[Values, int] | None = None
) -> tuple[bytes, int] | None:
    """Return whole events as an order block, or None where another method serves better.

    Parameters
    ----------
    data : bytes-like
        Whole events of a sealed segment.
    level : int
        zstd level of the records that are neither orders nor deltas.
    orders : (int64 array of shape (n, 3), int), optional
        The orders in the segment's prologue (id, price, size, as an ORDER_SNAPSHOT has them) and how many are bids;
        given for the segment's first block only.

    Returns
    -------
    (bytes, int) or None
        The block, and what its table entry says that it holds. None where `data` is not made of records, is of
        several instruments, has more other records than orders and deltas, or more shapes of them than SHAPES_MAX.
    """
    if len(data) % 8 or not len(data):
        return None
    split = _Split(data, orders)
    if not split.run() or split.rows < split.others_count or not split.rows:
        return None
    return split.block(level)


class _Split:
    """The records of a block taken apart, in scratch arrays."""

    def __init__(self, data: bytes | memoryview, orders: tuple[Values, int] | None) -> None:
        self.words = np.frombuffer(data, dtype=np.int64)
        capacity = len(data) // BOOK_DELTA_BYTES + 1
        beside = len(data) // HEADER_BYTES + 1
        before = 0 if orders is None else len(orders[0])
        numbers = before + len(data) // 24 + 1
        self._groups = scratch_array("groups", GROUP_FIELDS * capacity, np.int64).reshape(GROUP_FIELDS, capacity)
        self._splits, self._rows = scratch_array("splits", 2 * capacity, np.int64).reshape(2, capacity)
        self._others, self._places = scratch_array("others", 2 * beside, np.int64).reshape(2, beside)
        self._columns = scratch_array("values", kernel.COUNTED * capacity, np.int64).reshape(kernel.COUNTED, capacity)
        self._orders = scratch_array("orders", 4 * numbers, np.int64).reshape(numbers, 4)
        self._table = np.full(1 << max(TABLE_BITS_MIN, (4 * before).bit_length()), -1, dtype=np.int32)
        self._levels = scratch_array("levels", 2 * LEVEL_SLOTS, np.int64).reshape(LEVEL_SLOTS, 2)
        self._levels[:] = kernel.NO_KEY, 0
        self._shapes = np.empty((SHAPES_MAX, SHAPE_WORDS), dtype=np.int64)
        self._slots = np.full(SHAPE_SLOTS, -1, dtype=np.int32)
        self._state = np.zeros(kernel.STATES, dtype=np.int64)
        self._state[[kernel.LAST, kernel.STEP, kernel.INSTRUMENT]] = -1
        self._forms: list[int] = []
        self._kept: list[tuple[Values, int]] = []
        self._cut: list[int] = []
        self._on_prologue = orders is not None
        self._resting = Resting()
        if orders is not None:
            kernel.add_orders(*orders, self._orders, self._state, self._table)

    @property
    def rows(self) -> int:
        """ORDER and BOOK_DELTA records."""
        return int(self._state[kernel.ROWS])

    @property
    def others_count(self) -> int:
        """All other records."""
        return int(self._state[kernel.OTHERS])

    def run(self) -> bool:
        """Take all records apart; return whether that was possible."""
        state = self._state
        while True:
            status = kernel.split_rows(
                self.words,
                self._groups,
                self._splits,
                self._rows,
                self._others,
                self._places,
                self._columns,
                self._orders,
                self._table,
                self._levels,
                self._shapes,
                self._slots,
                state,
            )
            if status == kernel.GROW:
                self._grow(0)
                continue
            if status != kernel.SNAPSHOT:
                return bool(status == kernel.GOOD)
            at = int(state[kernel.POSITION])
            length = int(self.words[at]) & LENGTH_MASK
            form = self._form(at, length)
            number = self.others_count
            self._others[number], self._places[number] = at, self.rows
            state[kernel.OTHERS] += 1
            state[kernel.POSITION] += length >> 3
            self._forms.append(form)
            if form != FORM_VERBATIM:
                self._cut.append(number)

    def _grow(self, more: int) -> None:
        """Make the table large enough for all orders that were seen, twice as many, and `more`."""
        count = int(self._state[kernel.ORDERS])
        if 2 * (count + more) >= len(self._table):
            self._table = np.full(1 << (4 * (count + more)).bit_length(), -1, dtype=np.int32)
            kernel.fill_table(self._orders, count, self._table)

    def _form(self, at: int, length: int) -> int:
        """Choose the form of the snapshot at a word; orders that do not follow are those to follow from then on."""
        words = self.words
        if (int(words[at]) >> 32) & 0xFFFF == Kind.ORDER_SNAPSHOT:
            found = orders_at(words, at, length)
            if found is None:
                return FORM_VERBATIM
            rows, bids = found
            expected, expected_bids = self._live()
            if bids == expected_bids and np.array_equal(rows, expected):
                return FORM_FOLLOWS
            self._kept.append(found)
            self._grow(len(rows))
            kernel.add_orders(rows, bids, self._orders, self._state, self._table)
            return FORM_COLUMNS
        behind = at + (length >> 3)
        if behind >= len(words) or (int(words[behind]) >> 32) & 0xFFFF != Kind.ORDER_SNAPSHOT:
            return FORM_VERBATIM
        counts = int(words[at + 6]) if length >= SNAPSHOT_LEVELS_OFFSET else 0
        bids, asks = counts & LENGTH_MASK, (counts >> 32) & LENGTH_MASK
        if length != SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks):
            return FORM_VERBATIM
        levels, expected_bids = expected_levels(*self._live())
        start = at + SNAPSHOT_LEVELS_OFFSET // 8
        same = bids == expected_bids and np.array_equal(levels.reshape(-1), words[start:behind])
        return FORM_FOLLOWS if same else FORM_VERBATIM

    def _live(self) -> tuple[Values, int]:
        """Return the orders that rest; the levels before them were made of the same."""
        return self._resting.look(self._orders, self._state, self.rows)

    def block(self, level: int) -> tuple[bytes, int]:
        """Return the block's bytes and what it holds."""
        state = self._state
        rows, count = self.rows, int(state[kernel.GROUPS])
        step = max(0, int(state[kernel.STEP]))
        groups = list(self._groups[:, :count])
        if step & STEP_SOURCE:
            groups[2] = groups[2] - self._opens(count)
        columns = [plain_column(self._rows[:rows], level=SHAPE_LEVEL)]
        for field in range(GROUP_FIELDS):
            reference = REFERENCES.get(Column(Column.TS_RECV + field))
            other = None if reference is None else groups[reference - Column.TS_RECV]
            columns.append(group_column(groups[field], other))
        splits = self._splits[: int(state[kernel.SPLITS])]
        columns.append(group_column(splits, None))
        columns.append(group_column(self._places[: self.others_count], None))
        values = [self._columns[number, : int(state[kernel.AGES + number])] for number in range(kernel.COUNTED)]
        ages, added, other_ids, prices, sizes, level_prices, level_sizes = values
        columns += [plain_column(ages), signed_column(added), signed_column(other_ids), signed_column(prices)]
        columns += [plain_column(sizes), signed_column(level_prices), plain_column(level_sizes)]
        kept = np.concatenate([rows for rows, _ in self._kept]) if self._kept else np.zeros((0, 3), dtype=np.int64)
        steps = np.diff(kept[:, :2], axis=0, prepend=np.zeros((1, 2), dtype=np.int64))
        columns += [
            signed_column(steps[:, 0].copy()),
            signed_column(steps[:, 1].copy()),
            plain_column(kept[:, 2].copy()),
        ]
        shapes = self._shapes[: int(state[kernel.SHAPES])]
        entries = b"".join(entry for entry, _ in columns)
        descriptor = compressor(3).compress(entries + shapes.tobytes() + bytes(self._forms))
        beside = self._beside(level)
        head = HEAD.pack(
            VERSION,
            len(columns),
            rows,
            count,
            self.others_count,
            len(shapes),
            len(self._forms),
            len(kept),
            step,
            ON_PROLOGUE if self._on_prologue else 0,
            len(splits),
            *(len(part) for part in values),
            len(descriptor),
            len(beside),
        )
        return b"".join((head, descriptor, beside, *(stream for _, stream in columns))), self._holds()

    def _opens(self, count: int) -> Values:
        """Return the rows before each group."""
        lasts = (self._shapes[self._rows[: self.rows - 1], 0] >> 55) & 1
        opens = np.zeros(self.rows, dtype=np.bool_)
        opens[:1] = True
        opens[1:] = lasts != 0
        opens[self._splits[: int(self._state[kernel.SPLITS])]] = True
        return np.flatnonzero(opens)[:count]

    def _beside(self, level: int) -> bytes:
        """Return the other records, without the levels and orders that follow or are columns."""
        if not self.others_count:
            return b""
        words, cut = self.words, set(self._cut)
        parts = []
        for number, at in enumerate(self._others[: self.others_count].tolist()):
            length = int(words[at]) & LENGTH_MASK
            record = words[at : at + (length >> 3)]
            if number in cut:
                levels = (int(record[0]) >> 32) & 0xFFFF == Kind.BOOK_SNAPSHOT
                kept = SNAPSHOT_LEVELS_OFFSET if levels else ORDERS_BYTES
                record = record[: kept >> 3].copy()
                record[0] += kept - length
            parts.append(record)
        raw = np.concatenate(parts).tobytes()
        if len(parts) >= COLUMNS_FROM:
            packed, method = encode_block(raw, level), BESIDE_COLUMNS
        else:
            packed, method = compressor(level).compress(raw), BESIDE_ZSTD
        if packed is None or len(packed) >= len(raw):
            packed, method = raw, BESIDE_STORED
        return struct.pack("<II", len(raw), method) + packed

    def _holds(self) -> int:
        others = self._others[: self.others_count]
        holds = Holds.KNOWN | Holds.ORDERS
        for kind in np.unique((self.words[others] >> 32) & 0xFFFF).tolist():
            holds |= HOLDS_OF_KIND.get(kind, Holds.OTHERS)
        for at in others[(self.words[others] >> 32) & 0xFFFF == Kind.BOOK_SNAPSHOT].tolist():
            long = int(self.words[at]) & LENGTH_MASK >= SNAPSHOT_LEVELS_OFFSET
            if not long or int(self.words[at + 7]) & 0xFF == Origin.VENUE:
                holds |= Holds.VENUE_SNAPSHOTS
        return int(holds)
