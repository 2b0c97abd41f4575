"""Sums in 128 bits: two's complement numbers kept as (high, low) in two int64 of an array.

A week's volume of a cheap coin at eight decimals does not fit int64, and price times size often does not. Without
compilation Python's own integers do the same.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.etl.kernels  # noqa: F401  (keys the cache)

__all__ = ["add_pair", "add_product"]

_SIGN = 1 << 63
_HIGH = 1 << 64


def _store(row: Any, at: int, value: int) -> None:
    high, low = divmod(value, _HIGH)
    row[at] = (high + _SIGN) % _HIGH - _SIGN
    row[at + 1] = (low + _SIGN) % _HIGH - _SIGN


def _add_pair(row: Any, at: int, high: int, low: int) -> None:
    held = int(row[at]) * _HIGH + int(row[at + 1]) % _HIGH
    _store(row, at, held + int(high) * _HIGH + int(low) % _HIGH)


def _add_product(row: Any, at: int, one: int, other: int) -> None:
    _store(row, at, int(row[at]) * _HIGH + int(row[at + 1]) % _HIGH + int(one) * int(other))


@numba.njit(cache=True, nogil=True)
def _add_pair_compiled(row: Any, at: int, high: int, low: int) -> None:
    before = np.uint64(row[at + 1])
    after = before + np.uint64(low)
    row[at + 1] = np.int64(after)
    row[at] += high
    if after < before:
        row[at] += 1


@numba.njit(cache=True, nogil=True)
def _add_product_compiled(row: Any, at: int, one: int, other: int) -> None:
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
    _add_pair_compiled(row, at, np.int64(high), np.int64((low & mask) | (middle << half)))


add_pair = _add_pair if numba.config.DISABLE_JIT else _add_pair_compiled
"""Add (high, low) to the number at row[at:at + 2]. row int64[n]; the caller guarantees at + 2 <= n."""
add_product = _add_product if numba.config.DISABLE_JIT else _add_product_compiled
"""Add one * other to the number at row[at:at + 2]; exact for all int64."""
