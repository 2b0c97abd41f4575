"""Scaling: mantissas of several exponents in one column.

Where all records of an answer have the same decimals, a column is their mantissas. Where they differ (a Bitcoin pair
beside a token with 18 decimals, a redefinition), what int64 cannot hold at the finest of them leaves as float64 or as
128-bit numbers, by what the caller asked for; mantissas are refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronicle.core.errors import RangeError
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import INT64_MAX, INT64_MIN

__all__ = ["Quotients", "Scaling", "widened"]

Form = Literal["mantissa", "float", "wide"]
DIGITS_MAX = 38
"""Of a decimal128."""
INT64_DIGITS = 18
"""Powers of ten up to this one fit int64."""
_STEP = 9
_LOW_32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


class Quotients(np.ndarray[Any, np.dtype[np.float64]]):
    """Float64 values of which none is NaN: nobody has to look. Parts of it are so too; what is made of it is not."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The exponents of an answer's prices and sizes, and the form they leave in.

    ``mantissa``: int64 at the exponent, INT64_MIN for none; ``float``: float64 values, NaN for none; ``wide``:
    int64[rows, 2] (high, low) at the exponent, a high word of INT64_MIN for none.
    """

    price: int
    size: int
    form: Form = "mantissa"

    def prices(self, values: NDArray[np.int64], exponent: Any) -> NDArray[Any]:
        """Return price mantissas of `exponent` (an int, or one for each row) in the answer's form."""
        return self._bring(values, exponent, self.price)

    def sizes(self, values: NDArray[np.int64], exponent: Any) -> NDArray[Any]:
        """Return size mantissas of `exponent` in the answer's form."""
        return self._bring(values, exponent, self.size)

    def _bring(self, values: NDArray[Any], exponent: Any, target: int) -> NDArray[Any]:
        if self.form == "float":
            if values.dtype == np.float64:
                return values.view(Quotients)  # decoded as such
            out: NDArray[np.float64]
            if type(exponent) is int and values.ndim == 1 and "numba" in sys.modules:
                from chronicle.access.kernels.floats import divide

                out = fresh_array(len(values), np.float64)
                if not divide(values, 10.0**exponent, out):
                    return out.view(Quotients)
            else:
                out = values / np.power(10.0, exponent)
            out[values == INT64_MIN] = np.nan
            return out
        if self.form == "mantissa" and type(exponent) is int and exponent >= target:
            return values
        shift = np.maximum(0, target - np.asarray(exponent))
        if self.form == "wide":
            return widened(values, shift)
        return _multiplied(values, shift)


def _multiplied(values: NDArray[np.int64], shift: NDArray[Any]) -> NDArray[np.int64]:
    """Return values times 10**shift; INT64_MIN stays."""
    if not shift.any():
        return values
    missing = values == INT64_MIN
    bounded = np.where(missing, 0, values)
    factor = np.power(np.int64(10), np.minimum(shift, INT64_DIGITS))
    if np.any((np.abs(bounded) > INT64_MAX // factor) | ((shift > INT64_DIGITS) & (bounded != 0))):
        raise RangeError(
            "a price or size does not fit int64 at the finest decimals of the answer",
            hint='ask with decimals="float" or "decimal", or for instruments (or times) of like decimals together',
        )
    return np.where(missing, INT64_MIN, bounded * factor)


def widened(values: NDArray[np.int64], shift: Any) -> NDArray[np.int64]:
    """Return int64 values times 10**shift (an int, or one for each) as int64[n, 2] (high, low).

    Raises
    ------
    RangeError
        When one has more than 38 digits then.
    """
    missing = values == INT64_MIN
    bounded = np.where(missing, 0, values)
    shift = np.broadcast_to(np.asarray(shift, dtype=np.int64), values.shape)
    room = 10.0 ** (DIGITS_MAX - shift)
    if np.any(np.abs(bounded.astype(np.float64)) >= room):
        raise RangeError(
            f"a price or size has more than {DIGITS_MAX} digits at the finest decimals of the answer",
            hint='ask with decimals="float", or for instruments (or times) of like decimals together',
        )
    out = np.empty((len(values), 2), dtype=np.int64)
    high, low = bounded >> 63, bounded.view(np.uint64).copy()
    left = shift.copy()
    while left.any():
        step = np.minimum(left, _STEP)
        high, low = _times(high, low, np.power(np.int64(10), step))
        left -= step
    out[:, 0], out[:, 1] = np.where(missing, INT64_MIN, high), low.view(np.int64)
    return out


def _times(
    high: NDArray[np.int64], low: NDArray[np.uint64], factor: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Multiply 128-bit numbers in two's complement by factors below 2**31."""
    by = factor.astype(np.uint64)
    first = (low & _LOW_32) * by
    second = (low >> _32) * by + (first >> _32)
    return high * factor + (second >> _32).astype(np.int64), (second << _32) | (first & _LOW_32)
