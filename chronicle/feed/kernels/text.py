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
from chronicle.core.layout import INT64_MAX

__all__ = [
    "BLOCK",
    "DIGITS_MAX",
    "HASH_START",
    "POWERS",
    "byte_at",
    "byte_mask",
    "digits",
    "four_eights",
    "integer",
    "is_at",
    "iso_time",
    "lowest_bit",
    "mantissa",
    "mixed_hash",
    "number",
    "padded",
    "seconds",
    "shifted_down",
    "text_end",
]

BLOCK = 64
"""Bytes that a mask tells of."""

DIGITS_MAX = 18
"""Any number of so many digits fits int64; longer ones are for the plain adapter."""
HASH_START = 0x5BD1E995
_HASH_FACTOR = 0x2545F4914F6CDD1D
_ZEROS = 0x3030303030303030
_NINES = 0x7676767676767676
_HIGH = -0x7F7F7F7F7F7F7F80  # 0x80 in every byte
POWERS = np.array([10**places for places in range(DIGITS_MAX + 1)], dtype=np.int64)
_LIMITS = np.array([INT64_MAX // 10**places for places in range(DIGITS_MAX + 1)], dtype=np.int64)
_SECONDS_CHARS = 17
_ISO_CHARS = 19
_T, _Z, _COLON = 0x54, 0x5A, 0x3A
_QUOTE, _BACKSLASH, _POINT, _MINUS, _ZERO = 0x22, 0x5C, 0x2E, 0x2D, 0x30


@intrinsic
def byte_at(typingctx: Any, address: Any) -> Any:
    """Return the byte at `address` as int64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

    return types.int64(types.int64), codegen


@intrinsic
def lowest_bit(typingctx: Any, value: Any) -> Any:
    """Return the number of the lowest bit of `value` that is set (64: none)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@intrinsic
def shifted_down(typingctx: Any, value: Any, bits: Any) -> Any:
    """Return `value` as an unsigned word, shifted right."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], arguments[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def byte_mask(typingctx: Any, address: Any, char: Any) -> Any:
    """Return a bit for each of the BLOCK bytes at `address` that is `char`, the first in the lowest bit."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), BLOCK)
        bytes_ = builder.load(builder.inttoptr(arguments[0], block.as_pointer()), align=1)
        wanted = builder.insert_element(
            ir.Constant(block, ir.Undefined),
            builder.trunc(arguments[1], ir.IntType(8)),
            ir.Constant(ir.IntType(32), 0),
        )
        spread = builder.shuffle_vector(
            wanted, wanted, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
        )
        return builder.bitcast(builder.icmp_unsigned("==", bytes_, spread), ir.IntType(64))

    return types.int64(types.int64, types.int64), codegen


_PLAIN = 16


@intrinsic
def _ends_mask(typingctx: Any, address: Any) -> Any:
    """Return a bit for each of the 16 bytes at `address` that ends a plain text: quote, escape, control, > 0x7E.

    Bit 16 is always set.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), _PLAIN)
        bytes_ = builder.load(builder.inttoptr(arguments[0], block.as_pointer()), align=1)

        def all_of(char: int) -> Any:
            return ir.Constant(block, [char] * _PLAIN)

        found = builder.icmp_signed("<", bytes_, all_of(0x20))  # bytes from 0x80 up are negative
        for char in (_QUOTE, _BACKSLASH, 0x7F):
            found = builder.or_(found, builder.icmp_unsigned("==", bytes_, all_of(char)))
        mask = builder.zext(builder.bitcast(found, ir.IntType(_PLAIN)), ir.IntType(64))
        return builder.or_(mask, ir.Constant(ir.IntType(64), 1 << _PLAIN))

    return types.int64(types.int64), codegen


@intrinsic
def four_eights(typingctx: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Return four numbers of eight digit values (see :func:`padded`) at once, and 0 when all are digits.

    Pairs, fours and eights of neighbours are joined in lanes of 16, 32 and 64 bits.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.VectorType(ir.IntType(64), 4)
        values = ir.Constant(wide, ir.Undefined)
        for lane, argument in enumerate(arguments):
            values = builder.insert_element(values, argument, ir.Constant(ir.IntType(32), lane))
        high = builder.or_(builder.add(values, ir.Constant(wide, [_NINES] * 4)), values)
        others = builder.and_(high, ir.Constant(wide, [_HIGH] * 4))
        bad = builder.icmp_unsigned("!=", builder.bitcast(others, ir.IntType(256)), ir.Constant(ir.IntType(256), 0))
        joined = values
        for bits, factor in ((16, 10), (32, 100), (64, 10_000)):
            lanes = ir.VectorType(ir.IntType(bits), 256 // bits)
            joined = builder.bitcast(joined, lanes)
            half = ir.Constant(lanes, [(1 << bits // 2) - 1] * lanes.count)
            left = builder.mul(builder.and_(joined, half), ir.Constant(lanes, [factor] * lanes.count))
            joined = builder.add(left, builder.lshr(joined, ir.Constant(lanes, [bits // 2] * lanes.count)))
        found = [builder.extract_element(joined, ir.Constant(ir.IntType(32), lane)) for lane in range(4)]
        found.append(builder.zext(bad, ir.IntType(64)))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.int64, 5)(types.int64, types.int64, types.int64, types.int64), codegen


@njit(cache=True, nogil=True, inline="always")
def padded(at: Any, count: Any) -> Any:
    """Return the `count` (0 to 8) characters at `at` as digit values behind zeros. Eight bytes there are readable."""
    return ((peek(at) ^ _ZEROS) << 8 * ((8 - count) & 7)) if count > 0 else 0


@njit(cache=True, nogil=True, inline="always")
def _eight(values: Any) -> Any:
    """Return the number of eight digit values, one a byte, the first in the lowest byte."""
    pairs = values * 10 + shifted_down(values, 8)
    high = (pairs & 0x000000FF000000FF) * 0x000F424000000064
    low = (shifted_down(pairs, 16) & 0x000000FF000000FF) * 0x0000271000000001
    return shifted_down(high + low, 32)


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
        found = lowest_bit(others) >> 3
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
        count = lowest_bit(((values + _NINES) | values) & _HIGH) >> 3
        if 0 < count < 8 and byte_at(at + count) == _POINT:
            behind = at + count + 1
            decimals = peek(behind) ^ _ZEROS
            places = lowest_bit(((decimals + _NINES) | decimals) & _HIGH) >> 3
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
def mantissa(value: Any, places: Any, exponent: Any) -> Any:
    """Return the mantissa of ``value / 10**places`` at `exponent`, or -1: more decimals, or beyond int64."""
    shift = exponent - places
    if shift < 0 or shift > DIGITS_MAX or value > _LIMITS[shift]:
        return -1
    return value * POWERS[shift]


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
def seconds(at: Any, end: Any) -> Any:
    """Return (place after it, ns) of decimal seconds of ten digits, a point and six digits; (0, 0): others."""
    if at + _SECONDS_CHARS > end or byte_at(at + 10) != _POINT:
        return 0, 0
    tens, ones = byte_at(at) - _ZERO, byte_at(at + 1) - _ZERO
    middle = peek(at + 2) ^ _ZEROS
    behind = (peek(at + 9) ^ _ZEROS) & -0x10000
    others = (((middle + _NINES) | middle) | ((behind + _NINES) | behind)) & _HIGH
    if others != 0 or tens < 0 or tens > 9 or ones < 0 or ones > 9:
        return 0, 0
    after = at + _SECONDS_CHARS
    if after < end and 0 <= byte_at(after) - _ZERO <= 9:
        return 0, 0
    return after, (((tens * 10 + ones) * 100_000_000 + _eight(middle)) * 1_000_000 + _eight(behind)) * 1_000


@njit(cache=True, nogil=True)
def _two(at: Any) -> Any:
    """Return the number of the two digits at `at`, or a negative one."""
    tens, ones = byte_at(at) - _ZERO, byte_at(at + 1) - _ZERO
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -10_000


@njit(cache=True, nogil=True)
def iso_time(at: Any, end: Any) -> Any:
    """Return (place after it, ns) of ``2026-08-09T21:05:48.505350477Z``, with no or up to nine decimals.

    (0, 0) for anything else: another zone, another year than 1970 to 2261, a date that is none. Source of the days:
    H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (days_from_civil).
    """
    if at + _ISO_CHARS >= end or byte_at(at + 4) != _MINUS or byte_at(at + 7) != _MINUS or byte_at(at + 10) != _T:
        return 0, 0
    if byte_at(at + 13) != _COLON or byte_at(at + 16) != _COLON:
        return 0, 0
    year, month, day = _two(at) * 100 + _two(at + 2), _two(at + 5), _two(at + 8)
    hour, minute, second = _two(at + 11), _two(at + 14), _two(at + 17)
    if year < 1970 or year > 2261 or month < 1 or month > 12 or day < 1 or min(hour, minute, second) < 0:
        return 0, 0
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 + (1 if leap else 0) if month == 2 else 31 - (month - 1) % 7 % 2
    if day > days or hour > 23 or minute > 59 or second > 59:
        return 0, 0
    shifted = year if month > 2 else year - 1
    of_era = shifted % 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    date = shifted // 400 * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    value = ((date * 24 + hour) * 60 + minute) * 60 + second
    at += _ISO_CHARS
    fraction = 0
    if byte_at(at) == _POINT:
        at, fraction, count = digits(at + 1, end)
        if count == 0 or count > 9:
            return 0, 0
        fraction *= POWERS[9 - count]
    if at >= end or byte_at(at) != _Z:
        return 0, 0
    return at + 1, value * 1_000_000_000 + fraction


@njit(cache=True, nogil=True)
def is_at(at: Any, end: Any, text: Any, length: Any) -> Any:
    """Whether the `length` bytes at address `text` stand at `at`. `text` has eight more bytes behind it."""
    if at + length > end:
        return False
    place = 0
    while place + 8 <= length:
        if peek(at + place) != peek(text + place):
            return False
        place += 8
    rest = length - place
    if rest == 0:
        return True
    if at + place + 8 <= end:
        return ((peek(at + place) ^ peek(text + place)) << (64 - 8 * rest)) == 0
    while place < length:
        if byte_at(at + place) != byte_at(text + place):
            return False
        place += 1
    return True


@njit(cache=True, nogil=True)
def text_end(at: Any, end: Any) -> Any:
    """Return the place of the quote that ends a text of plain ASCII, or 0: an escape, a control, another script."""
    while at + _PLAIN <= end:
        found = lowest_bit(_ends_mask(at))
        if found < _PLAIN:
            at += found
            return at if byte_at(at) == _QUOTE else 0
        at += _PLAIN
    while at < end:
        char = byte_at(at)
        if char == _QUOTE:
            return at
        if char < 0x20 or char > 0x7E or char == _BACKSLASH:
            return 0
        at += 1
    return 0


@njit(cache=True, nogil=True)
def mixed_hash(at: Any, size: Any, end: Any) -> Any:
    """Return a hash of `size` bytes before `end`; :func:`chronicle.feed.names.hash_of` is its Python twin."""
    value = HASH_START ^ size
    stop = at + size
    while at + 8 <= stop:
        value = (value ^ peek(at)) * _HASH_FACTOR
        value ^= shifted_down(value, 32)
        at += 8
    if at < stop:
        word = 0
        if at + 8 <= end:
            word = shifted_down(peek(at) << (64 - 8 * (stop - at)), 64 - 8 * (stop - at))
        else:
            for place in range(stop - at):
                word |= byte_at(at + place) << (8 * place)
        value = (value ^ word) * _HASH_FACTOR
        value ^= shifted_down(value, 32)
    return shifted_down(value, 20)
