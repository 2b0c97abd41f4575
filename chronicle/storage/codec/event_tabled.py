"""Prices and sizes of a tabled event block back from their code. Needs the kernels.

Whatever the code claims is checked before anything is allocated for it; what its symbols asked for is compared with
what it holds behind the last one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np

from chronicle.core.fresh import fresh_array
from chronicle.storage.codec.event_layout import GAP_EDGES, SIGNED, Price
from chronicle.storage.codec.models import (
    CLASS_CONTEXTS,
    CLASSES,
    HEAD,
    HEAD_BYTES,
    KNOWN_MAX,
    LOGS,
    PRICE_CONTEXTS,
    PRICE_TOKENS,
    SIZE_CONTEXTS,
    SIZE_TOKENS,
    TABLES_MAX,
    part_contexts,
    read_models,
    token_facts,
)
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import Values, Words
from chronicle.storage.kernels import tabled as kernel

__all__ = ["TabledRows"]

PRICES, CLASS, SIZES = range(3)
assert LOGS == (kernel.PRICE_LOG, kernel.CLASS_LOG, kernel.SIZE_LOG)
CONTEXTS: Final = (PRICE_CONTEXTS, CLASS_CONTEXTS, SIZE_CONTEXTS)
STATE_BYTES: Final = 4
STATE_LAST: Final = 1 << 16
"""The state of a coder behind its last symbol, which is where the encoder began."""


class TabledRows:
    """The rows of one code, whose lengths are checked; the groups' counts were checked to make `rows`.

    Parameters
    ----------
    bids, asks : int64 arrays of shape (groups,)
    price : Price
    size_unit : int
    rows : int
    code : memoryview

    Raises
    ------
    ValueError
        Also from its properties, when it is shorter or longer than it says, or says what cannot be.
    """

    def __init__(self, bids: Values, asks: Values, price: Price, size_unit: int, rows: int, code: memoryview) -> None:
        if len(code) < HEAD_BYTES:
            raise ValueError("the code of a block's rows is too short")
        *fields, known, stored = HEAD.unpack_from(code)
        parts = [fields[7 * number : 7 * number + 7] for number in range(3)]
        place = HEAD_BYTES + stored
        self._groups, self._size_unit, self._rows = (bids, asks), size_unit, rows
        sign = SIGNED if parts[PRICES][1] else 0
        self._forms = np.array((price.forms[0] | sign, price.forms[1] | sign), dtype=np.int64)
        self._facts = np.array((price.base, price.unit), dtype=np.int64)
        self._begins: list[list[int]] = []
        shapes = []
        for number, (log, signed, tables, symbols, reserved, word_bytes, bits) in enumerate(parts):
            symbols_max = len(_facts(number)[0]) + (known if number == SIZES else 0)
            fine = log == LOGS[number] and 1 <= tables <= TABLES_MAX and 1 <= symbols <= symbols_max
            fine = fine and STATE_BYTES <= word_bytes <= STATE_BYTES + 2 * rows and word_bytes % 2 == 0
            fine = fine and signed <= (1 if number == PRICES else 0) and reserved == 0
            if number == CLASS:
                fine = fine and symbols == CLASSES and bits == 0
            if not fine or known > KNOWN_MAX:
                raise ValueError("the code of a block's rows claims what cannot be")
            shapes.append((log, tables, symbols))
            self._begins.append([place, place + word_bytes])
            place += word_bytes
        for (*_, bits), begins in zip(parts, self._begins, strict=True):
            begins += 8 * place, 8 * place + bits
            place += (bits + 63) // 64 * 8
        if place != len(code):
            raise ValueError("the code of a block's rows has another length than its parts")
        self._models, self._known = read_models(code[HEAD_BYTES : HEAD_BYTES + stored], shapes, CONTEXTS, known)
        # Room for all that the symbols of so many rows can ask for: the kernels load without a bound.
        self._code = fresh_array(len(code) + 10 * rows + 16, np.uint8)
        self._code[: len(code)] = np.frombuffer(code, dtype=np.uint8)

    @cached_property
    def prices(self) -> Values:
        """Prices of all rows."""
        out = fresh_array(self._rows, np.int64)
        entries, starts, bases = self._tables(PRICES, "price entries")
        widths = token_facts(*PRICE_TOKENS)[2]
        coder = self._coder(PRICES)
        parts = part_contexts(GAP_EDGES)
        with np.errstate(over="ignore"):  # (without compilation)
            kernel.decode_prices(
                *self._groups, self._forms, self._facts, self._code, entries, starts, bases, widths, parts, coder, out
            )
        self._check(PRICES, coder)
        return out

    @cached_property
    def sizes(self) -> Values:
        """Sizes of all rows."""
        out = fresh_array(self._rows, np.int64)
        class_entries, class_starts, _ = self._tables(CLASS, "class entries")
        entries, starts, bases = self._tables(SIZES, "size entries")
        slots = scratch_array("slots", 4 * kernel.SLOTS, np.int64)
        class_coder, coder = self._coder(CLASS), self._coder(SIZES)
        with np.errstate(over="ignore"):  # (without compilation)
            kernel.decode_sizes(
                *self._groups,
                self._forms,
                self._size_unit,
                self.prices,
                self._code,
                class_entries,
                class_starts,
                class_coder,
                entries,
                starts,
                coder,
                bases,
                slots,
                out,
            )
        self._check(CLASS, class_coder)
        self._check(SIZES, coder)
        return out

    def _tables(self, number: int, name: str) -> tuple[Any, Values, Words]:
        """Return (entries, starts, bases) of a model."""
        model = self._models[number]
        bases, lengths, widths = _facts(number)
        count = len(model.firsts) << model.log
        if number == SIZES:  # the length of a symbol's low bits
            bases = np.concatenate((bases, self._known))
            lengths, shifts = np.concatenate((widths, np.zeros(len(self._known), np.uint8))), kernel.LONG
            entries = scratch_array(name, count, np.uint64)
        else:  # of its words, as far as contexts tell them apart
            lengths, shifts = np.minimum(lengths, kernel.BITS_MAX), kernel.SHORT
            entries = scratch_array(name, count, np.uint32)
        kernel.lay_entries(model.frequencies, lengths, np.array(shifts, dtype=np.uint64), entries)
        return entries, model.tables(CONTEXTS[number]) << model.log, bases

    def _coder(self, number: int) -> Words:
        """Return the coder of a model before its first symbol."""
        word, _, bit, _ = self._begins[number]
        state = int.from_bytes(self._code[word : word + STATE_BYTES].tobytes(), "little")
        return np.array((state, word + STATE_BYTES, bit), dtype=np.uint64)

    def _check(self, number: int, coder: Words) -> None:
        _, word_end, _, bit_end = self._begins[number]
        if coder.tolist() != [STATE_LAST, word_end, bit_end]:
            raise ValueError("the code of a block's rows holds other words than its symbols ask for")


def _facts(number: int) -> tuple[Any, Any, Any]:
    """Return (least word, bits, low bits) of the tokens of a model."""
    if number == CLASS:
        return _CLASS_FACTS
    return token_facts(*(PRICE_TOKENS if number == PRICES else SIZE_TOKENS))


_CLASS_FACTS: Final = (np.zeros(CLASSES, np.uint64), np.zeros(CLASSES, np.uint8), np.zeros(CLASSES, np.uint8))
