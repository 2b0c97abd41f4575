"""One unit for an instrument that several raw queues define: each may have seen another number of decimals.

A feed raises an instrument's exponent when the wire shows more decimals than the venue's list said, each feed at its
own time. In the merge an instrument has the largest exponent that one of its queues has now, and the records of the
others are brought to it: exactly, by a power of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core import layout
from chronicle.core.errors import RecordError
from chronicle.core.records import InstrumentFields, Record, pack_record
from chronicle.etl.kernels.rescaling import find_definitions, rescale_records

__all__ = ["Units"]


DECIMALS_APART_MAX = 18


class Units:
    """Exponents by instrument number, and the factors of those that are not the common ones."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[str, int, int]] = {}
        self._numbers: dict[str, set[int]] = {}
        self._factors: dict[int, tuple[int, int]] = {}
        self._table = (np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.int64))

    def __len__(self) -> int:
        """Number of instrument numbers that are defined."""
        return len(self._of)

    def define(self, number: int, body: bytes) -> bytes:
        """Take the definition of instrument `number`; return its body in the common unit."""
        fields = InstrumentFields.unpack(body)
        before = self._of.get(number)
        if before is not None and before[0] != fields.symbol:
            self._numbers[before[0]].discard(number)
            if self._numbers[before[0]]:
                self._settle(before[0])
        self._of[number] = (fields.symbol, fields.price_exponent, fields.size_exponent)
        self._numbers.setdefault(fields.symbol, set()).add(number)
        price, size = self._settle(fields.symbol)
        if (price, size) == (fields.price_exponent, fields.size_exponent):
            return body
        return replace(
            fields,
            price_exponent=price,
            size_exponent=size,
            tick=fields.tick * 10 ** (price - fields.price_exponent),
            lot=fields.lot * 10 ** (size - fields.size_exponent),
        ).pack()

    def apply(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bring a merged batch to common units, definitions first; return it (another array where it grew).

        Raises
        ------
        RecordError
            When a price or size does not fit in 63 bits in the common unit.
        """
        places = np.empty(len(words) // 6 + 1, dtype=np.int64)
        count = int(find_definitions(words, places))
        begin = grown = 0
        for place in places[:count].tolist():
            at = place + grown
            self._rescale(words, begin, at)
            record = Record(words[at : at + ((int(words[at]) & layout.WORD_LENGTH_MASK) >> 3)].tobytes())
            size = len(record.data) >> 3
            body = self.define(record.instrument, bytes(record.body))
            if body != bytes(record.body):
                data = np.frombuffer(_with_body(record, body), dtype=np.int64)
                words = np.concatenate((words[:at], data, words[at + size :]))
                grown += len(data) - size
                size = len(data)
            begin = at + size
        self._rescale(words, begin, len(words))
        return words

    def state(self) -> list[list[Any]]:
        """Return the exponents as plain values, for a checkpoint."""
        return [[number, *row] for number, row in self._of.items()]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take back what :meth:`state` gave."""
        for number, symbol, price, size in state:
            self._of[number] = (symbol, price, size)
            self._numbers.setdefault(symbol, set()).add(number)
        for symbol in self._numbers:
            self._settle(symbol)

    def _common(self, symbol: str) -> tuple[int, int]:
        rows = [self._of[number] for number in self._numbers[symbol]]
        return max(row[1] for row in rows), max(row[2] for row in rows)

    def _settle(self, symbol: str) -> tuple[int, int]:
        """Set the factors of an instrument's numbers; return its common exponents."""
        rows = [self._of[number] for number in self._numbers[symbol]]
        price, size = max(row[1] for row in rows), max(row[2] for row in rows)
        for number in self._numbers[symbol]:
            _, own_price, own_size = self._of[number]
            if max(price - own_price, size - own_size) > DECIMALS_APART_MAX:
                raise RecordError(
                    f"two raw queues tell {symbol} in units that are too far apart",
                    expected=f"exponents {DECIMALS_APART_MAX} apart at most",
                    found=[row[1:] for row in rows],
                )
            self._factors.pop(number, None)
            if (price, size) != (own_price, own_size):
                self._factors[number] = (10 ** (price - own_price), 10 ** (size - own_size))
        numbers = sorted(self._factors)
        factors = [self._factors[number] for number in numbers]
        self._table = (np.array(numbers, dtype=np.int64), np.array(factors, dtype=np.int64).reshape(-1, 2))
        return price, size

    def _rescale(self, words: NDArray[np.int64], begin: int, end: int) -> None:
        if self._factors and rescale_records(words, begin, end, *self._table):
            raise RecordError(
                "a price or size does not fit in 63 bits in the unit that two raw queues share",
                expected="below 2^63",
                hint="leave the instrument out of one of the feeds ([[feeds]] symbols), or of the shard",
            )


def _with_body(record: Record, body: bytes) -> bytes:
    return pack_record(
        record.kind,
        body,
        ts_recv=record.ts_recv,
        ts_event=record.ts_event,
        flags=record.flags,
        side=record.side,
        instrument=record.instrument,
        source=record.source,
        source_index=record.source_index,
        ordinal=record.ordinal,
        sequence=record.sequence,
    )
