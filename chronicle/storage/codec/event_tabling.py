"""Prices and sizes of a tabled event block as one code: symbols in tables that fit what is there. Needs the kernels.

``docs/format/archive.md`` (Tabled event blocks) is the specification; :mod:`chronicle.storage.codec.event_tabled` the
way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronicle.storage.codec.event_layout import GAP_EDGES, SIGNED, Price
from chronicle.storage.codec.models import (
    CLASS_CONTEXTS,
    CLASSES,
    HEAD,
    KNOWN_MAX,
    LOGS,
    PRICE_CONTEXTS,
    PRICE_TOKENS,
    SIZE_CONTEXTS,
    SIZE_TOKENS,
    TABLES_MAX,
    Model,
    pack_models,
    part_contexts,
    token_facts,
)
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import Values, Words
from chronicle.storage.kernels import tabled as shared
from chronicle.storage.kernels import tabling as kernel

__all__ = ["code_of"]

SYMBOL_BITS: Final = 12.0
"""What a symbol of a table takes in the block, about."""
KNOWN_BITS: Final = 24.0
"""What a size that is a symbol takes, about."""
NO_WORDS: Final[Words] = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class _Coded:
    """One model, its words of 16 bits, and the low bits that stand aside."""

    model: Model
    words: bytes
    low_bits: bytes
    low_bit_count: int


def code_of(bids: Values, asks: Values, price: Price, size_unit: int, prices: Values, sizes: Values) -> bytes:
    """Return the code of a block's rows.

    Parameters
    ----------
    bids, asks : int64 arrays of shape (groups,)
    price : Price
        Its unit divides all steps of `prices` in walking order, `size_unit` all `sizes`; SIGNED in its forms where
        gaps are zigzags.
    prices, sizes : int64 arrays of shape (rows,)
    """
    count = len(prices)
    contexts = scratch_array("contexts", 3 * count, np.uint16).reshape(3, count)
    words = scratch_array("words", 2 * count, np.uint64).reshape(2, count)
    classes = scratch_array("classes", count, np.uint16)
    slots = scratch_array("slots", 4 * shared.SLOTS, np.int64).reshape(-1, 4)
    facts = np.array((price.base, price.unit, size_unit, bool(price.forms[0] & SIGNED)), dtype=np.int64)
    forms, parts = np.array(price.forms, dtype=np.int64), part_contexts(GAP_EDGES)
    with np.errstate(over="ignore"):  # (without compilation)
        fresh = int(
            kernel.split_rows(bids, asks, forms, facts, prices, sizes, parts, slots, contexts, words, classes)
        )
        known = _known_sizes(words[1, :fresh])
        coded = [
            _words_coded(contexts[0], words[0], PRICE_CONTEXTS, LOGS[0], PRICE_TOKENS, NO_WORDS),
            _coded(contexts[1], classes, CLASS_CONTEXTS, CLASSES, LOGS[1]),
            _words_coded(contexts[2, :fresh], words[1, :fresh], SIZE_CONTEXTS, LOGS[2], SIZE_TOKENS, known),
        ]
    tables = pack_models([part.model for part in coded], known)
    fields: list[int] = []
    for part, signed in zip(coded, (facts[3], 0, 0), strict=True):
        model = part.model
        fields += (
            model.log,
            int(signed),
            len(model.firsts),
            model.frequencies.shape[1],
            0,
            len(part.words),
            part.low_bit_count,
        )
    head = HEAD.pack(*fields, len(known), len(tables))
    return b"".join((head, tables, *(part.words for part in coded), *(part.low_bits for part in coded)))


def _known_sizes(words: Words) -> Words:
    """Return the sizes that are worth a symbol of their own, ascending."""
    k, m = SIZE_TOKENS
    found, counts = np.unique(words, return_counts=True)
    symbols = np.empty(len(found), dtype=np.uint16)
    kernel.symbols_of(found, k, m, NO_WORDS, symbols)
    widths = token_facts(k, m)[2]
    shares = np.bincount(symbols, weights=counts, minlength=len(widths))[symbols] / max(1, len(words))
    with np.errstate(divide="ignore"):
        saved = counts * (widths[symbols] - np.log2(shares) + np.log2(counts / max(1, len(words)))) - KNOWN_BITS
    worth = np.flatnonzero((widths[symbols] > 0) & (saved > 0))
    best = worth[np.argsort(-saved[worth], kind="stable")[:KNOWN_MAX]]
    return np.asarray(np.sort(found[best]), dtype=np.uint64)


def _words_coded(
    contexts: NDArray[np.uint16], words: Words, context_count: int, log: int, form: tuple[int, int], known: Words
) -> _Coded:
    """Return words as symbols and low bits."""
    symbols = scratch_array("symbols", len(words), np.uint16)
    kernel.symbols_of(words, *form, known, symbols)
    widths = np.concatenate((token_facts(*form)[2], np.zeros(len(known), dtype=np.uint8)))
    low_bits = scratch_array("low bits", 8 * len(words) + 24, np.uint8)
    count = int(kernel.put_low_bits(words, symbols, widths, low_bits))
    alphabet = len(widths) if len(known) else int(symbols.max(initial=0)) + 1
    return _coded(
        contexts, symbols, context_count, alphabet, log, low_bits[: (count + 63) // 64 * 8].tobytes(), count
    )


def _coded(
    contexts: NDArray[np.uint16],
    symbols: NDArray[np.uint16],
    context_count: int,
    alphabet: int,
    log: int,
    low_bits: bytes = b"",
    low_bit_count: int = 0,
) -> _Coded:
    """Return symbols by tables of their contexts."""
    counts = np.zeros((context_count, alphabet), dtype=np.int64)
    kernel.count_symbols(contexts, symbols, counts)
    costs, links = np.empty((2, context_count)), np.empty((2, context_count), dtype=np.int64)
    kernel.merge_contexts(counts, TABLES_MAX, SYMBOL_BITS, costs, links)
    firsts = [0]
    while links[0, firsts[-1]] < context_count:
        firsts.append(int(links[0, firsts[-1]]))
    frequencies = np.array([_frequencies(counts[first], log) for first in firsts], dtype=np.uint16)
    model = Model(log, np.array(firsts, dtype=np.int64), frequencies)
    out = scratch_array("put", 4 + 2 * len(symbols), np.uint8)
    begin = kernel.put_symbols(contexts, symbols, model.tables(context_count), model.begins(), log, out)
    return _Coded(model, out[int(begin) :].tobytes(), low_bits, low_bit_count)


def _frequencies(counts: Values, log: int) -> Values:
    """Return shares of 1 << log slots, one at least for every symbol that is there."""
    total, slots = int(counts.sum()), 1 << log
    if not total:
        counts, total = np.eye(1, len(counts), dtype=np.int64)[0], 1
    shares: Any = np.where(counts > 0, np.maximum(counts * slots // total, 1), 0)
    while (over := int(shares.sum()) - slots) > 0:
        most = int(shares.argmax())
        shares[most] -= min(over, max(1, int(shares[most]) >> 4))
    shares[int(counts.argmax())] += slots - int(shares.sum())
    return np.asarray(shares, dtype=np.int64)
