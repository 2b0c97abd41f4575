"""Sums in 128 bits: two's complement numbers kept as (high, low) in two int64 of an array.

A week's volume of a cheap coin at eight decimals does not fit int64, and price times size often does not. Without
compilation Python's own integers do the same.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.etl.kernels  # noqa: F401  (keys the cache)

__all__ = ["add_pair", "add_product", "plus", "product"]

_SIGN = 1 << 63
_HIGH = 1 << 64


def _split(value: int) -> tuple[int, int]:
    high, low = divmod(value, _HIGH)
    return (high + _SIGN) % _HIGH - _SIGN, (low + _SIGN) % _HIGH - _SIGN


def _plus(high: int, low: int, other_high: int, other_low: int) -> tuple[int, int]:
    return _split((int(high) + int(other_high)) * _HIGH + int(low) % _HIGH + int(other_low) % _HIGH)


def _product(one: int, other: int) -> tuple[int, int]:
    return _split(int(one) * int(other))


@numba.njit(cache=True, nogil=True)
def _plus_compiled(high: int, low: int, other_high: int, other_low: int) -> Any:
    before = np.uint64(low)
    after = before + np.uint64(other_low)
    total = high + other_high
    if after < before:
        total += 1
    return total, np.int64(after)


@numba.njit(cache=True, nogil=True)
def _product_compiled(one: int, other: int) -> Any:
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b = np.uint64(one), np.uint64(other)
    a_low, a_high, b_low, b_high = a & mask, a >> half, b & mask, b >> half
    low, cross, other_cross = a_low * b_low, a_low * b_high, a_high * b_low
    middle = (low >> half) + (cross & mask) + (other_cross & mask)
    high = a_high * b_high + (cross >> half) + (other_cross >> half) + (middle >> half)
    if one < 0:
        high -= b
    if other < 0:
        high -= a
    return np.int64(high), np.int64((low & mask) | (middle << half))


plus = _plus if numba.config.DISABLE_JIT else _plus_compiled
"""Return the sum of two numbers as (high, low); all int64."""
product = _product if numba.config.DISABLE_JIT else _product_compiled
"""Return one * other as (high, low); exact for all int64."""


@numba.njit(cache=True, nogil=True)
def add_pair(row: Any, at: int, high: int, low: int) -> None:
    """Add (high, low) to the number at row[at:at + 2]. row int64[n]; the caller guarantees at + 2 <= n."""
    row[at], row[at + 1] = plus(row[at], row[at + 1], high, low)


@numba.njit(cache=True, nogil=True)
def add_product(row: Any, at: int, one: int, other: int) -> None:
    """Add one * other to the number at row[at:at + 2]; as :func:`add_pair`."""
    high, low = product(one, other)
    row[at], row[at + 1] = plus(row[at], row[at + 1], high, low)
