"""Python's side of a stream's row: filled when the stream is handed to the sweep, read when it is taken back."""

from __future__ import annotations

from typing import Any

import numpy as np

from chronicle.core.layout import NONE
from chronicle.etl.books import ladder
from chronicle.etl.kernels import row as words
from chronicle.etl.kernels.events import LIMITS, REGISTERS
from chronicle.etl.kernels.ladder import META

__all__ = ["Row", "address_of"]

NEVER = (1 << 63) - 1


def address_of(array: Any) -> int:
    """Return where an array's memory begins."""
    address: int = array.__array_interface__["data"][0]
    return address


_NO_BOOK = np.zeros(max(META, REGISTERS, LIMITS), dtype=np.int64)
_NO_BOOK_ADDRESS = address_of(_NO_BOOK)
_POINTERS = (
    *(words.REGISTERS, words.LIMITS, words.LEVELS, words.COUNTS, words.SLOTS, words.BITS, words.META),
    words.INVERSE,
)
_BAR_POINTERS = (
    *(words.BARS, words.BAR_HISTORY, words.FLOORS, words.SPANS, words.REGISTERS, words.BAR_SCRATCH),
    *(words.OUT, words.OUT_STARTS, words.OUT_ENDS, words.TRADES),
)


class Row:
    """The words that a stream and the sweep share.

    Attributes
    ----------
    address : int
        Where the words are, for the sweep.
    """

    __slots__ = ("_kept", "_words", "address")

    def __init__(self) -> None:
        self._words = np.zeros(words.ROW, dtype=np.int64)
        for pointer in _POINTERS:
            self._words[pointer] = _NO_BOOK_ADDRESS
        self.address = address_of(self._words)
        self._kept: Any = None

    @property
    def ready(self) -> bool:
        """Whether the sweep has the stream."""
        return bool(self._words[words.READY])

    @property
    def wrote(self) -> bool:
        """Whether the sweep has written anything since :meth:`taken`."""
        return bool(self._words[words.RECORDS_TAKEN])

    def hand_over(self, kind: int, *, state: int, words_left: int, day_end: int, records_left: int) -> None:
        """Give the stream to the sweep: where its writer's state is, and how far its segment goes."""
        row = self._words
        row[words.RECORDS_LEFT] = records_left
        row[words.KIND], row[words.STATE] = kind, state
        row[words.WORDS_LEFT], row[words.DAY_END] = words_left, day_end
        row[words.RECORDS_TAKEN] = row[words.WORDS_TAKEN] = 0
        row[words.READY] = 1

    def book(
        self, registers: Any, limits: Any, parts: Any, *, lifts: bool, bounds: tuple[int, int], verified_by: int
    ) -> None:
        """Say where a book of levels is: its arrays stay where they are while the sweep has them."""
        levels, counts, _ = parts
        slots, bits, meta, inverse = parts[2]
        self._kept = (registers, limits, parts)
        row = self._words
        for pointer, array in zip(
            _POINTERS, (registers, limits, levels, counts, slots, bits, meta, inverse), strict=True
        ):
            row[pointer] = address_of(array)
        row[words.FLOOR], row[words.CEILING] = bounds
        row[words.VERIFIED_BY] = verified_by
        row[words.CAPACITY], row[words.SLOT_COUNT] = levels.shape[1], slots.shape[1]
        # A ladder that could not be had just now is not asked for at every look.
        row[words.LIFT_AT] = ladder.LEVELS_MIN if lifts and int(counts.max()) < ladder.LEVELS_MIN else NEVER

    def orders(
        self, registers: Any, limits: Any, parts: tuple[Any, ...], *, verified_by: int, numbered: bool
    ) -> None:
        """Say where a book of orders is; `parts` as :meth:`ArrayOrderBook.parts` gives them."""
        orders, _, queues, _, table, levels, counts, ladder_parts, meta = parts
        bounds = (-NEVER - 1, NEVER)
        self.book(
            registers, limits, (levels, counts, ladder_parts), lifts=True, bounds=bounds, verified_by=verified_by
        )
        self._kept = (registers, limits, parts)
        row = self._words
        row[words.ORDERS], row[words.ORDER_CAPACITY] = address_of(orders), len(orders)
        row[words.QUEUES], row[words.QUEUE_CAPACITY] = address_of(queues), len(queues)
        row[words.TABLE], row[words.ORDER_META] = address_of(table), address_of(meta)
        row[words.NUMBERED] = numbered
        row[words.NEEDED] = 0
        row[words.REFUSED_AT] = row[words.SNAPSHOT_AT] = NONE

    def orders_left(self) -> tuple[int, int, int]:
        """Return what a book of orders left: records to make room for, the record that it refused in the next event,
        and the event before which it was restated last (NONE: none)."""
        row = self._words
        return int(row[words.NEEDED]), int(row[words.REFUSED_AT]), int(row[words.SNAPSHOT_AT])

    def verify(self, verified_by: int) -> None:
        """Say what stands behind the book, now that the registers were read."""
        self._words[words.VERIFIED_BY] = verified_by

    def bars(self, state: tuple[Any, ...], out: tuple[Any, Any, Any], trades: Any) -> None:
        """Say where a stream's candles are: (bars, history, floors, spans, registers, scratch), room for what is
        written, and for the trades under way."""
        row, arrays = self._words, (*state, *out, trades)
        self._kept = arrays
        for pointer, array in zip(_BAR_POINTERS, arrays, strict=True):
            row[pointer] = address_of(array)
        row[words.SPAN_COUNT] = len(state[3])

    def take_back(self) -> None:
        """Let the sweep come to Python before it touches the stream again."""
        self._words[words.READY] = 0

    def taken(self) -> tuple[int, int]:
        """Return (records, words) that the sweep has written since the last call."""
        row = self._words
        found = int(row[words.RECORDS_TAKEN]), int(row[words.WORDS_TAKEN])
        row[words.RECORDS_TAKEN] = row[words.WORDS_TAKEN] = 0
        return found
