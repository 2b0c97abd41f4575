"""Reading the characters of a message by address: digits eight at a time, texts between quotes.

Everything takes ``(at, end)``, addresses of the next byte and of the first byte past the message, and looks at no
byte outside them. A function that moves on returns the new place, or 0 (no address) where it finds something else
than it is for; what it found is returned beside it.

Source of the eight digits in three multiplications: D. Lemire, "Quickly parsing eight digits" (lemire.me, 2022).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.memory import peek

__all__ = ["DIGITS_MAX", "HASH_START", "POWERS", "byte_at", "digits", "integer", "mixed_hash", "number", "text_end"]

DIGITS_MAX = 18
"""Any number of so many digits fits int64; longer ones are for the plain adapter."""
HASH_START = 0x5BD1E995
_HASH_FACTOR = 0x2545F4914F6CDD1D
_ZEROS = 0x3030303030303030
_NINES = 0x7676767676767676
_HIGH = -0x7F7F7F7F7F7F7F80  # 0x80 in every byte
POWERS = np.array([10**places for places in range(DIGITS_MAX + 1)], dtype=np.int64)
_QUOTE, _BACKSLASH, _POINT, _MINUS, _ZERO = 0x22, 0x5C, 0x2E, 0x2D, 0x30


@intrinsic
def byte_at(typingctx: Any, address: Any) -> Any:
    """Return the byte at `address` as int64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

    return types.int64(types.int64), codegen


@intrinsic
def _lowest_bit(typingctx: Any, value: Any) -> Any:
    """Return the number of the lowest bit of `value` that is set (64: none)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@intrinsic
def _shifted_down(typingctx: Any, value: Any, bits: Any) -> Any:
    """Return `value` as an unsigned word, shifted right."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], arguments[1])

    return types.int64(types.int64, types.int64), codegen


@njit(cache=True, nogil=True, inline="always")
def _eight(values: Any) -> Any:
    """Return the number of eight digit values, one a byte, the first in the lowest byte."""
    pairs = values * 10 + _shifted_down(values, 8)
    high = (pairs & 0x000000FF000000FF) * 0x000F424000000064
    low = (_shifted_down(pairs, 16) & 0x000000FF000000FF) * 0x0000271000000001
    return _shifted_down(high + low, 32)


@njit(cache=True, nogil=True)
def digits(at: Any, end: Any) -> Any:
    """Return (place after the digits, their value, their count); the count is above DIGITS_MAX when there are more.

    No digit at all is no failure here: the count is 0.
    """
    value = 0
    count = 0
    while at + 8 <= end and count <= DIGITS_MAX:
        values = peek(at) ^ _ZEROS
        others = ((values + _NINES) | values) & _HIGH
        if others == 0:
            if count + 8 <= DIGITS_MAX:
                value = value * 100_000_000 + _eight(values)
            at += 8
            count += 8
            continue
        found = _lowest_bit(others) >> 3
        if found > 0:
            if count + found <= DIGITS_MAX:
                value = value * POWERS[found] + _eight(values << (64 - 8 * found))
            at += found
            count += found
        return at, value, count
    while at < end and count <= DIGITS_MAX:
        digit = byte_at(at) - _ZERO
        if digit < 0 or digit > 9:
            break
        if count < DIGITS_MAX:
            value = value * 10 + digit
        at += 1
        count += 1
    return at, value, count


@njit(cache=True, nogil=True)
def number(at: Any, end: Any) -> Any:
    """Return (place after it, digits as one integer, decimals) of a decimal text: ``61837.630`` gives 61837630, 3.

    The first place is 0 for anything but digits with at most one point behind at least one of them, DIGITS_MAX at
    most: signs, exponents, NaN. Cost of the common number, up to seven digits, a point, up to eight decimals: two
    loads and no loop.
    """
    if at + 17 <= end:
        values = peek(at) ^ _ZEROS
        count = _lowest_bit(((values + _NINES) | values) & _HIGH) >> 3
        if 0 < count < 8 and byte_at(at + count) == _POINT:
            behind = at + count + 1
            decimals = peek(behind) ^ _ZEROS
            places = _lowest_bit(((decimals + _NINES) | decimals) & _HIGH) >> 3
            whole = _eight(values << (64 - 8 * count))
            if places == 8:
                char = byte_at(behind + 8)
                if char < _ZERO or char > _ZERO + 9:
                    return behind + 8, whole * 100_000_000 + _eight(decimals), places
            elif places > 0:
                return behind + places, whole * POWERS[places] + _eight(decimals << (64 - 8 * places)), places
    at, value, count = digits(at, end)
    if count == 0 or count > DIGITS_MAX:
        return 0, 0, 0
    if at >= end or byte_at(at) != _POINT:
        return at, value, 0
    at, fraction, places = digits(at + 1, end)
    if count + places > DIGITS_MAX:
        return 0, 0, 0
    return at, value * POWERS[places] + fraction, places


@njit(cache=True, nogil=True)
def integer(at: Any, end: Any, signed: Any) -> Any:
    """Return (place after it, value) of a JSON integer; without `signed`, or as ``-0`` or ``01``, it is none here."""
    negative = signed and at < end and byte_at(at) == _MINUS
    if negative:
        at += 1
    if at >= end:
        return 0, 0
    leading = byte_at(at) == _ZERO
    at, value, count = digits(at, end)
    if count == 0 or count > DIGITS_MAX or (leading and (count > 1 or negative)):
        return 0, 0
    return at, -value if negative else value


@njit(cache=True, nogil=True)
def text_end(at: Any, end: Any) -> Any:
    """Return the place of the quote that ends a text of plain ASCII, or 0: an escape, a control, another script."""
    while at < end:
        char = byte_at(at)
        if char == _QUOTE:
            return at
        if char < 0x20 or char > 0x7E or char == _BACKSLASH:
            return 0
        at += 1
    return 0


@njit(cache=True, nogil=True)
def mixed_hash(at: Any, size: Any) -> Any:
    """Return a hash of `size` bytes; :func:`chronicle.feed.names.hash_of` is its Python twin."""
    value = HASH_START ^ size
    stop = at + size
    while at < stop:
        value = (value ^ byte_at(at)) * _HASH_FACTOR
        at += 1
    return _shifted_down(value, 20)
