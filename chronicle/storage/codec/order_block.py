"""An order block taken apart, as far as somebody asks: head, descriptor, columns, the records beside its rows.

Whatever a block claims is checked before a loop runs on it. :mod:`chronicle.storage.codec.order_decode` makes records
of it, :mod:`chronicle.storage.codec.order_columns` columns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

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
)
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import ENTRY, SAME, Columns, decompressor
from chronicle.storage.kernels import order_rows as kernel
from chronicle.storage.kernels import orders as state_of

__all__ = ["DAMAGE", "OrderBlock", "Orders", "Walk"]

Values = NDArray[np.int64]
Orders = Callable[[], tuple[Values, int]]
"""Gives the orders in the segment's prologue: int64[n, 3], and how many are bids."""

DAMAGE: Final = (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError)
"""What the methods here raise where a block does not hold what it says."""
LENGTH_MASK: Final = 0xFFFFFFFF
NO_TABLE: Final = np.empty(0, dtype=np.int32)


class OrderBlock:
    """The parts of an order block of `raw_bytes` sealed bytes, whose stored bytes matched their checksum."""

    def __init__(self, block: bytes | memoryview, raw_bytes: int) -> None:
        if len(block) < HEAD_BYTES or raw_bytes > BLOCK_BYTES_MAX or raw_bytes % 8:
            raise ValueError("too short or too large")
        head = HEAD.unpack_from(block)
        version, columns, self.rows, self.groups, self.others, shapes, snapshots, self.kept, step, flags = head[:10]
        self.split_count, self.counts = head[10], head[11:18]
        descriptor_bytes, beside_bytes = head[18:]
        plausible = (
            version == VERSION
            and columns == COLUMNS
            and 0 < self.groups <= self.rows
            and snapshots <= self.others
            and ORDER_BYTES * self.rows + HEADER_BYTES * self.others + 24 * self.kept <= raw_bytes
            and 0 < shapes <= SHAPES_MAX
            and max(self.split_count, *self.counts) <= self.rows
            and step <= STEPS
            and flags <= ON_PROLOGUE
            and not any(block[34:36])
        )
        if not plausible:
            raise ValueError("it claims what cannot be")
        self.raw_bytes, self.step, self.on_prologue = raw_bytes, step, bool(flags & ON_PROLOGUE)
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
        self.forms = np.frombuffer(descriptor, dtype=np.uint8, offset=size - snapshots)
        self._columns = Columns(descriptor, COLUMNS, data[start:], max(self.rows, self.others, self.kept))
        self._beside = data[beside:start]

    def column(self, column: Column, rows: int, reference: Values | None = None, first: int | None = None) -> Values:
        """Return a column that must have `rows` values, or the `first` ones of it."""
        count = rows if first is None else first
        if self._columns.mode(column) == SAME and reference is None:
            reference = _zeros(count)
        part = None if first is None else (0, first)
        return np.asarray(values(self._columns, column, rows, reference, part))

    def group_column(self, column: Column, first: int | None = None) -> Values:
        """Return what all (or the `first`) groups say: of columns TS_RECV to SEQUENCE_PREVIOUS."""
        of = REFERENCES.get(column)
        reference = None if of is None else self.group_column(of, first)
        return self.column(column, self.groups, reference, first)

    def group_columns(self) -> Values:
        """Return all that groups say: int64[7, g]."""
        out = np.empty((GROUP_FIELDS, self.groups), dtype=np.int64)
        for field in range(GROUP_FIELDS):
            of = REFERENCES.get(Column(Column.TS_RECV + field))
            reference = None if of is None else out[of - Column.TS_RECV]
            out[field] = self.column(Column(Column.TS_RECV + field), self.groups, reference)
        return out

    @cached_property
    def shape_of(self) -> Values:
        """The shape of each row, not yet checked."""
        return self.column(Column.SHAPE, self.rows)

    @cached_property
    def splits(self) -> Values:
        """The rows at which a group opens within an event, not yet checked."""
        return self.column(Column.SPLIT, self.split_count)

    @cached_property
    def places(self) -> Values:
        """The number of rows before each of the other records, ascending."""
        places = self.column(Column.OTHERS, self.others)
        inside = not len(places) or (int(places[0]) >= 0 and int(places[-1]) <= self.rows)
        if not inside or bool((np.diff(places) < 0).any()):
            raise ValueError("records stand where there is no row")
        return places

    @cached_property
    def beside(self) -> tuple[Values, Values, Values]:
        """The other records as stored, the word at which each begins and ends, and their kinds."""
        if not self.others:
            none = np.zeros(0, dtype=np.int64)
            return none, np.zeros(1, dtype=np.int64), none
        words, starts = read_beside(self._beside, self.raw_bytes, self.others)
        return words, starts, (words[starts[:-1]] >> 32) & 0xFFFF

    @cached_property
    def tails(self) -> tuple[Values, Values]:
        """(Words that each of the other records was stored without, its form: 0 where it is no snapshot)."""
        words, starts, kinds = self.beside
        tails, forms = np.zeros((2, self.others), dtype=np.int64)
        numbers = np.flatnonzero(np.isin(kinds, SNAPSHOTS))
        if len(numbers) != len(self.forms):
            raise ValueError("snapshots do not match their list")
        forms[numbers] = self.forms
        numbers = numbers[self.forms != FORM_VERBATIM]
        form, at = forms[numbers], starts[numbers]
        of_levels = kinds[numbers] == Kind.BOOK_SNAPSHOT
        whole = 8 * (starts[numbers + 1] - at) == np.where(of_levels, SNAPSHOT_LEVELS_OFFSET, ORDERS_BYTES)
        known = (form == FORM_FOLLOWS) | ((form == FORM_COLUMNS) & ~of_levels)
        if not (whole & known).all():
            raise ValueError("a snapshot has no such form")
        counts = words[at + 6]
        rows = (counts & LENGTH_MASK) + ((counts >> 32) & LENGTH_MASK)
        if (16 * rows > self.raw_bytes).any():
            raise ValueError("a snapshot is larger than its block")
        tails[numbers] = rows * np.where(of_levels, 2, 3)
        if int(rows[form == FORM_COLUMNS].sum()) != self.kept:
            raise ValueError("the orders of snapshots do not add up")
        return tails, forms

    def kept_orders(self) -> Values:
        """Return the orders of all snapshots that have them as columns: int64[n, 3]."""
        ids, prices = (np.cumsum(self.column(column, self.kept)) for column in (Column.KNOWN_ID, Column.KNOWN_PRICE))
        return np.stack((ids, prices, self.column(Column.KNOWN_SIZE, self.kept)), axis=1)


_zeros_known: Values = np.zeros(1 << 16, dtype=np.int64)


def _zeros(count: int) -> Values:
    """Return zeros that nobody may write: the reference of columns that have none."""
    return _zeros_known[:count] if count <= len(_zeros_known) else np.zeros(count, dtype=np.int64)


class Walk:
    """The rows of a block from the first on: surveyed, then followed as far as somebody asks.

    Parameters
    ----------
    block : OrderBlock
    orders : callable or None
    wanted : (bool, bool)
        Whether rows that are orders are asked for, and rows that are levels.
    ids : bool
        Whether ids are.
    sides : array of shape (256,), int64
        What a row says of its side where that does not follow.
    names : (int, int)
        The same of bids and asks where it does.
    groups : (int, int)
        The groups that are asked for: rows behind them are not followed.
    """

    def __init__(
        self,
        block: OrderBlock,
        orders: Orders | None,
        *,
        wanted: tuple[bool, bool],
        ids: bool,
        sides: Values,
        names: tuple[int, int],
        groups: tuple[int, int],
    ) -> None:
        self.block, self._ids, self._deltas = block, ids, wanted[1]
        self.plan = np.empty((len(block.shapes), kernel.PLAN_WORDS), dtype=np.int64)
        kernel.plan_shapes(block.shapes, *map(int, wanted), int(ids), sides, self.plan)
        self.sizes = np.zeros(block.groups, dtype=np.int64)
        self.rows = block.shape_of
        low, high = groups
        counts, found = np.zeros(len(block.shapes), dtype=np.int64), np.empty(kernel.FOUND_WORDS, dtype=np.int64)
        status = kernel.survey_rows(self.rows, self.plan, block.splits, low, high, counts, self.sizes, found)
        self.first, self.stop, self.count, groups_found, splits_found, *needs = found.tolist()
        whole = self.stop == block.rows
        if status != state_of.GOOD or (whole and (groups_found, splits_found) != (block.groups, block.split_count)):
            raise ValueError("its rows do not make its groups")
        self.needs, self._new = tuple(needs[:-1]), needs[-1]
        self._whole = whole
        self._names = np.array(names, dtype=np.int64)
        self._orders = orders

    def begin(self) -> None:
        """Decode what the rows refer to, and stand before the first."""
        block = self.block
        known = self._orders() if block.on_prologue and self._orders is not None else None
        if block.on_prologue and known is None:
            raise ValueError("it begins with orders that are not there")
        before = 0 if known is None else len(known[0])
        room = self._new + block.kept + before
        self.orders: Values = scratch_array("orders", 4 * (room + 1), np.int64).reshape(room + 1, 4)
        self.orders[room] = 0
        slots = LEVEL_SLOTS if self._deltas else 0
        self._levels = scratch_array("levels", 2 * slots, np.int64).reshape(slots, 2)
        self._levels[:] = state_of.NO_KEY, 0
        self.state = np.zeros(state_of.STATES, dtype=np.int64)
        self.state[state_of.LAST], self.state[state_of.STEP] = -1, block.step
        if known is not None:
            state_of.add_orders(*known, self.orders[:room], self.state, NO_TABLE)
        self._values = self._decoded()

    def _decoded(self) -> Values:
        """Return the columns AGE to LEVEL_SIZE side by side, as far as rows refer to them, a word to spare each."""
        out = scratch_array("referred", sum(self.needs) + len(self.needs), np.int64)
        place = 0
        for number, (need, count) in enumerate(zip(self.needs, self.block.counts, strict=True)):
            self.state[state_of.AGES + number] = place
            told = self._ids or number not in ID_COLUMNS
            if need > count or (told and self._whole and need != count):
                raise ValueError("its rows refer to what is not there")
            if number >= LEVEL_COLUMN and not self._deltas:
                continue
            if need:
                out[place : place + need] = self.block.column(Column(Column.AGE + number), count, first=need)
            out[place + need] = 0
            place += need + 1
        return out

    def add(self, rows: Values, bids: int) -> None:
        """Take over the orders of a snapshot: int64[n, 3], bids first."""
        if not state_of.add_orders(rows, bids, self.orders[:-1], self.state, NO_TABLE):
            raise ValueError("there are more orders than it says")

    def follow(self, begin: int, end: int, columns: Any, place: int = 0) -> int:
        """Follow rows [begin, end), write (prices, sizes, sides, ids) of those asked for; return the place behind."""
        found = int(
            kernel.follow_rows(
                self.rows,
                self.plan,
                begin,
                end,
                self.first,
                self._values,
                self.orders,
                self._levels,
                self.state,
                self._names,
                *columns,
                place,
            )
        )
        if found < 0:
            raise ValueError("a row refers to an order that is not there")
        return found


LEVEL_COLUMN: Final = Column.LEVEL_PRICE - Column.AGE
"""From this column on they are of levels."""
ID_COLUMNS: Final = (Column.ADDED_ID - Column.AGE, Column.OTHER_ID - Column.AGE)
