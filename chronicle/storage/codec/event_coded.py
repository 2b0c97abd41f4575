"""Prices and sizes of a compacted event block as one arithmetic code, and back. Needs the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from chronicle.core.fresh import fresh_array
from chronicle.storage.codec.event_layout import Price
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import Values
from chronicle.storage.kernels import coded as kernel

__all__ = ["code_of", "rows_of"]


def code_of(
    bids: Values, asks: Values, price: Price, size_unit: int, prices: Values, sizes: Values, room: int
) -> bytes | None:
    """Return the code of a block's rows, None where it takes more than `room` bytes.

    Parameters
    ----------
    bids, asks : int64 arrays of shape (groups,)
    price : Price
        Its unit divides all steps of `prices` in walking order, `size_unit` all `sizes`.
    prices, sizes : int64 arrays of shape (rows,)
    """
    data = scratch_array("code", room, np.uint8)
    used = _run(bids, asks, price, size_unit, prices, sizes, data, decoding=False)
    return None if used < 0 else data[:used].tobytes()


def rows_of(
    bids: Values, asks: Values, price: Price, size_unit: int, rows: int, code: memoryview
) -> tuple[Values, Values]:
    """Return (prices, sizes) of a code; the groups' counts were checked to make `rows`.

    Raises
    ------
    ValueError
        When the code is longer or shorter than its rows.
    """
    prices, sizes = fresh_array(rows, np.int64), fresh_array(rows, np.int64)
    data = scratch_array("code", len(code), np.uint8)
    data[:] = np.frombuffer(code, dtype=np.uint8)
    if _run(bids, asks, price, size_unit, prices, sizes, data, decoding=True) != len(data):
        raise ValueError("the code of a block's rows has another length than they need")
    return prices, sizes


def _run(
    bids: Values,
    asks: Values,
    price: Price,
    size_unit: int,
    prices: Values,
    sizes: Values,
    data: Any,
    *,
    decoding: bool,
) -> int:
    models = scratch_array("models", kernel.MODELS, np.uint32)
    slots = scratch_array("slots", 4 * (kernel.SLOTS + 2), np.int64).reshape(-1, 4)
    coder = np.zeros(5, dtype=np.uint64)
    facts = np.array((price.base, price.unit, size_unit), dtype=np.int64)
    forms = np.array(price.forms, dtype=np.int64)
    with np.errstate(over="ignore"):  # (without compilation)
        return int(kernel.code_rows(bids, asks, forms, facts, prices, sizes, data, models, slots, coder, decoding))
