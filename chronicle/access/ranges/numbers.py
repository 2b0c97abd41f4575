"""Mantissas as the numbers that leave: float64, or Python's int and Decimal, which have no bound."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.ranges.columns import Decimals
from chronicle.core.decimals import to_decimal
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import INT64_MIN

__all__ = ["divided", "floats", "wide_floats", "wide_numbers"]


def divided(values: NDArray[np.int64], exponent: int, *, ours: bool = False) -> tuple[NDArray[np.float64], int]:
    """Return mantissas as the nearest float64, and how many of them are INT64_MIN (none, given as NaN).

    Exact division, not a product with 0.1**n. A process that has the compiler loaded divides in its own loop, and
    where the values are `ours` in their own memory.
    """
    if "numba" in sys.modules and values.ndim == 1:
        from chronicle.access.kernels.floats import divide, divide_in_place

        if ours and values.flags.writeable and values.flags.c_contiguous and values.dtype == np.int64:
            missing = int(divide_in_place(values, 10.0**exponent))
            return values.view(np.float64), missing
        out: NDArray[np.float64] = fresh_array(values.size, np.float64)
        missing = int(divide(values, 10.0**exponent, out))
    else:
        out = fresh_array(values.size, np.float64).reshape(values.shape)
        np.true_divide(values, 10.0**exponent, out=out)
        missing = int(np.count_nonzero(values == INT64_MIN))
    if missing:
        out[values == INT64_MIN] = np.nan
    return out, missing


def floats(values: NDArray[np.int64], exponent: int) -> NDArray[np.float64]:
    """Return mantissas as the nearest float64; INT64_MIN gives NaN."""
    return divided(values, exponent)[0]


def wide_floats(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return int64[n, 2] (high, low) as float64: exact where it fits int64, else to one unit in the last place."""
    high, low = values[:, 0], values[:, 1]
    small = high == low >> 63
    return np.where(small, low.astype(np.float64), high * 2.0**64 + np.ascontiguousarray(low).view(np.uint64))


def wide_numbers(values: NDArray[np.int64], exponent: int, decimals: Decimals) -> NDArray[Any]:
    """Return 128-bit sums (high, low): float64, or Python's int or Decimal, which have no bound."""
    if decimals == "float":
        whole = wide_floats(values)
        return whole / 10.0**exponent if exponent else whole
    sums = [(one << 64) + (other & (1 << 64) - 1) for one, other in values.tolist()]
    out = np.empty(len(sums), dtype=object)
    out[:] = sums if decimals == "int" else [to_decimal(value, exponent) for value in sums]
    out[values[:, 0] == INT64_MIN] = None  # no sum comes near
    return out
