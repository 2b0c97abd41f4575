"""Book checksums by kernel: the twins of :mod:`chronicle.etl.books.checks`, digit by digit, no text in between.

CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320) by a table of 256 entries, as ``zlib.crc32``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import chronicle.etl.kernels  # noqa: F401  (keys the cache)

__all__ = ["KRAKEN_V1", "OKX_V5", "book_checksum"]

KRAKEN_V1 = 1
OKX_V5 = 2
KRAKEN_LEVELS = 10
OKX_LEVELS = 25
COLON, POINT, MINUS, ZERO = 58, 46, 45, 48


def _table() -> np.ndarray[Any, np.dtype[np.uint32]]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        entries.append(value)
    return np.array(entries, dtype=np.uint32)


_CRC = _table()


@numba.njit(cache=True, nogil=True)
def _byte(crc: Any, byte: Any) -> Any:
    return _CRC[(crc ^ np.uint32(byte)) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))


@numba.njit(cache=True, nogil=True)
def _digits(crc: Any, value: Any, places: int) -> Any:
    """Take the decimal text of `value` with a point before its last `places` digits (0: no point)."""
    if value < 0:
        crc = _byte(crc, MINUS)
        value = -value
    count, rest = 1, value
    while rest >= 10:
        rest //= 10
        count += 1
    count = max(count, places + 1)
    power = np.int64(1)
    for _ in range(min(count, 19) - 1):
        power *= 10
    for position in range(count):
        if places and position == count - places:
            crc = _byte(crc, POINT)
        if count - position > 19:
            crc = _byte(crc, ZERO)
            continue
        crc = _byte(crc, ZERO + (value // power) % 10)
        power //= 10
    return crc


@numba.njit(cache=True, nogil=True)
def _stripped(crc: Any, value: Any, exponent: int) -> Any:
    """Take the shortest decimal text of value / 10**exponent."""
    while exponent > 0 and value % 10 == 0:
        value //= 10
        exponent -= 1
    return _digits(crc, value, exponent)


@numba.njit(cache=True, nogil=True)
def book_checksum(rule: int, levels: Any, counts: Any, price_exponent: int, size_exponent: int) -> Any:
    """Return the checksum of the best levels under KRAKEN_V1 (mantissas at the wire's decimals) or OKX_V5.

    levels int64[4, capacity], counts int64[2]: see ``chronicle.etl.kernels.levels``. O(levels of the rule).
    """
    crc = np.uint32(0xFFFFFFFF)
    if rule == KRAKEN_V1:
        for row in (2, 0):
            count = counts[row >> 1]
            for step in range(min(count, KRAKEN_LEVELS)):
                key = levels[row, count - 1 - step]
                crc = _digits(crc, -key if row == 2 else key, 0)
                crc = _digits(crc, levels[row + 1, count - 1 - step], 0)
        return np.int64(crc ^ np.uint32(0xFFFFFFFF))
    first = True
    for step in range(OKX_LEVELS):
        for row in (0, 2):
            at = counts[row >> 1] - 1 - step
            if at < 0:
                continue
            if not first:
                crc = _byte(crc, COLON)
            first = False
            key = levels[row, at]
            crc = _stripped(crc, -key if row == 2 else key, price_exponent)
            crc = _byte(crc, COLON)
            crc = _stripped(crc, levels[row + 1, at], size_exponent)
    value = np.int64(crc ^ np.uint32(0xFFFFFFFF))
    return value - (np.int64(1) << 32) if value >> 31 else value
