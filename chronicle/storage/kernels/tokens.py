"""Kernels that make hybrid tokens: u64 words as one byte each, low bits in a side stream, the rest as escapes.

Arithmetic is modulo 2**64 throughout, so that every int64 comes back by :mod:`chronicle.storage.kernels.rows`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = [
    "common_divisor",
    "long_steps",
    "plan_column",
    "put_steps",
    "residuals",
    "step_bits",
]

PLAIN, DELTA, SAME, BEFORE = 0, 1, 2, 3
ESCAPE = 255


@intrinsic
def _leading_zeros(typing_context: Any, value: Any) -> Any:
    """LLVM's ctlz of a u64 (64 for 0): one instruction where a loop over the bits takes ten."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@numba.njit(cache=True, nogil=True)
def _bit_length_compiled(value: Any) -> Any:
    return np.int64(64) - np.int64(_leading_zeros(value))


def _bit_length(value: Any) -> Any:
    return np.int64(int(value).bit_length())


bit_length = _bit_length if numba.config.DISABLE_JIT else _bit_length_compiled


@intrinsic
def _put_bits(typing_context: Any, data: Any, offset: Any, word: Any) -> Any:
    """Store a u64 at any byte of u8[n]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        stored = builder.store(arguments[2], builder.bitcast(place, ir.IntType(64).as_pointer()))
        stored.align = 1
        return context.get_dummy_value()

    return types.void(data, types.uint64, types.uint64), generate


@numba.njit(cache=True, nogil=True)
def _store_compiled(data: Any, offset: Any, word: Any) -> None:
    _put_bits(data, offset, word)


def _store(data: Any, offset: Any, word: Any) -> None:
    data[int(offset) : int(offset) + 8] = np.frombuffer(int(word).to_bytes(8, "little"), dtype=np.uint8)


store_bits = _store if numba.config.DISABLE_JIT else _store_compiled


@numba.njit(cache=True, nogil=True)
def _split_words(
    steps: Any,
    less: Any,
    signed: Any,
    shift: Any,
    inverse: Any,
    bound: Any,
    k: Any,
    m: Any,
    limit: Any,
    tokens: Any,
    lows: Any,
    rests: Any,
) -> Any:
    """Write each step's token, how many low bits it has (ESCAPE of an escape), and those (of an escape: the word).

    No branch: vectors.
    """
    zero, one, longest, bits = np.uint64(0), np.uint64(1), np.uint64(limit), np.uint64(1 + m)
    span = bound + bound + np.uint64(bound == np.uint64(0x7FFFFFFFFFFFFFFF))
    low_ones = (np.int64(1) << shift) - 1
    zigzag, sign = np.uint64(signed), zero - np.uint64(signed)
    small, exponent = one << np.uint64(k), np.uint64(k) + one
    first_long = small - (one << np.uint64(m))
    bad, seen = zero, zero
    for position in range(len(steps)):
        step = steps[position]
        quotient = np.int64(np.uint64(step >> shift) * inverse)
        bad |= np.uint64(step & low_ones) | np.uint64(np.uint64(quotient) + bound > span)
        quotient -= less
        word = (np.uint64(quotient) << zigzag) ^ (np.uint64(quotient >> 63) & sign)
        length = np.uint64(bit_length(word))
        escape, is_long = length > longest, word >= small
        low = length - bits if is_long else zero
        head = first_long + ((length - exponent) << np.uint64(m)) if is_long else zero
        token = np.uint64(ESCAPE) if escape else head + (word >> low)
        tokens[position] = token
        lows[position] = np.uint64(ESCAPE) if escape else low
        rests[position] = word if escape else word & ((one << low) - one)
        seen |= token
    return bad, seen


@numba.njit(cache=True, nogil=True)
def put_steps(
    steps: Any,
    less: Any,
    signed: Any,
    shift: Any,
    inverse: Any,
    bound: Any,
    k: Any,
    m: Any,
    limit: Any,
    tokens: Any,
    bits: Any,
    escapes: Any,
    room: Any,
) -> Any:
    """Write the words of steps int64[n] as tokens u8[n]; return (bits, escapes) used, all tokens ORed together.

    A word is the step over its unit, minus `less`, zigzag where `signed`. The unit is 2**shift times an odd number
    whose inverse modulo 2**64 is `inverse`: an exact division is a product, and exact where no bit is shifted out
    and the quotient is within `bound` (u64; see :func:`common_divisor`). Where the unit does not divide a step, the
    bits returned are -1, and what was written is of no use. A word below 2**k is its own token; one of up to `limit`
    bits gives exponent and top m bits, its other low bits (56 at most: `limit` - 1 - m) go to `bits`, lowest first;
    any other is ESCAPE and goes to `escapes`. bits u8[8 n + 16], escapes u64[n], room u64[2, r] are the caller's,
    written. In pieces of r steps: what has no order in vectors, then the bits of four at once where none of
    them is an escape and they fit a word, else one after the other; 2.2 ns a step where one loop took 5.
    """
    escaped, place, shifted = np.int64(0), np.uint64(0), np.uint64(0)
    one, eighth, seven, whole = np.uint64(1), np.uint64(3), np.uint64(7), np.uint64(56)
    bad, seen, held = np.uint64(0), np.uint64(0), np.uint64(0)
    lows, rests = room[0], room[1]
    for start in range(0, len(steps), len(lows)):
        count = min(len(lows), len(steps) - start)
        part = tokens[start : start + count]
        wrong, found = _split_words(
            steps[start : start + count], less, signed, shift, inverse, bound, k, m, limit, part, lows, rests
        )
        bad |= wrong
        seen |= found
        for first in range(0, count, 4):
            stop = min(first + 4, count)
            at, wide = np.uint64(first), np.uint64(ESCAPE)
            if stop - first == 4:
                two = lows[at] + lows[at + one]
                three = two + lows[at + np.uint64(2)]
                wide = three + lows[at + np.uint64(3)]
            if wide <= whole:
                joined = rests[at] | (rests[at + one] << lows[at])
                joined |= (rests[at + np.uint64(2)] << two) | (rests[at + np.uint64(3)] << three)
                held |= joined << shifted
                store_bits(bits, place, held)
                shifted += wide
                place += shifted >> eighth
                held >>= shifted & whole
                shifted &= seven
                continue
            for position in range(first, stop):
                if part[position] == ESCAPE:
                    escapes[escaped] = rests[position]
                    escaped += 1
                    continue
                held |= rests[position] << shifted
                store_bits(bits, place, held)
                shifted += lows[position]
                place += shifted >> eighth
                held >>= shifted & whole
                shifted &= seven
    store_bits(bits, place, held)
    store_bits(bits, place + np.uint64(8), np.uint64(0))
    used = np.int64(-1) if bad else np.int64(place) * 8 + np.int64(shifted)
    return used, escaped, seen


@numba.njit(cache=True, nogil=True)
def long_steps(steps: Any, unit: Any, limit: Any) -> Any:
    """Return about how many of steps int64[n] over their unit have more than `limit` bits, signs aside."""
    count = np.int64(0)
    for position in range(len(steps)):
        length = bit_length(np.uint64(steps[position] ^ (steps[position] >> 63)))
        count += np.int64(length - bit_length(np.uint64(unit)) >= limit)
    return count


@numba.njit(cache=True, nogil=True)
def residuals(values: Any, reference: Any, mode: Any, base: Any, out: Any) -> None:
    """Write what a mode leaves of values int64[n]: out int64[n] (the caller's). `reference` int64[n] where used."""
    before = base
    if mode == DELTA:
        for row in range(len(values)):
            out[row] = values[row] - before
            before = values[row]
    elif mode == SAME:
        for row in range(len(values)):
            out[row] = values[row] - reference[row] - base
    elif mode == BEFORE:
        for row in range(len(values)):
            out[row] = values[row] - before
            before = reference[row]
    else:
        for row in range(len(values)):
            out[row] = values[row] - base


@numba.njit(cache=True, nogil=True)
def common_divisor(steps: Any, unit: Any) -> Any:
    """Return the greatest common divisor of `unit` (0: none yet) and all steps int64[n]; 1 when one is INT64_MIN.

    Each step is tested by one product (T. Granlund, P. Montgomery, "Division by invariant integers using
    multiplication", 1994, section 9); only one that the unit does not divide costs a Euclid.
    """
    shift, inverse, bound = np.int64(0), np.uint64(1), np.int64(0)
    known = np.int64(0)
    for row in range(len(steps)):
        step = steps[row]
        if step == 0:
            continue
        if unit != 0:
            if unit != known:
                known = unit
                shift = np.int64(0)
                while (unit >> shift) & 1 == 0:
                    shift += 1
                odd = unit >> shift
                inverse = np.uint64(odd)
                for _ in range(5):
                    inverse *= np.uint64(2) - np.uint64(odd) * inverse
                bound = np.int64(0x7FFFFFFFFFFFFFFF) // odd
            if step & ((np.int64(1) << shift) - 1) == 0:
                quotient = np.int64(np.uint64(step >> shift) * inverse)
                if -bound <= quotient <= bound:
                    continue
        if step == -0x8000000000000000:
            return np.int64(1)
        left, right = unit, abs(step)
        while right != 0:
            left, right = right, left % right
        unit = left
        if unit == 1:
            return unit
    return unit


@numba.njit(cache=True, nogil=True)
def step_bits(steps: Any, unit: Any) -> Any:
    """Return about how many bits the words of steps int64[n] over their unit have, but for the first."""
    total = np.int64(0)
    one = np.uint64(1)
    less = bit_length(np.uint64(unit)) - 1
    for row in range(1, len(steps)):
        step = steps[row]
        if step != 0:
            total += bit_length((np.uint64(step) << one) ^ np.uint64(step >> 63)) - less
    return total


@numba.njit(cache=True, nogil=True)
def _cost(values: Any, reference: Any, mode: Any, steps: Any) -> Any:
    """Return about how many bits the values int64[n] take in `mode`: steps int64[n] is the caller's, written."""
    base = values[0] - reference[0] if mode == SAME else values[0]
    residuals(values, reference, mode, base, steps)
    return step_bits(steps, max(np.int64(1), common_divisor(steps, np.int64(0))))


@numba.njit(cache=True, nogil=True)
def plan_column(values: Any, reference: Any, sample: Any, k: Any, limit: Any, steps: Any, found: Any) -> None:
    """Find the cheapest mode of values int64[n], n > 0, and write what it leaves of them: steps int64[n].

    It is judged on `sample` rows from the middle. reference int64[n], or of no row. found int64[4] (the caller's):
    mode (-1 when all are equal: no steps then), base, the sample's unit, and how many steps over it have about
    `limit` bits or more.
    """
    same = True
    for row in range(1, len(values)):
        if values[row] != values[0]:
            same = False
            break
    found[0] = -1
    if same:
        return
    start = max(0, (len(values) - sample) // 2)
    part, other = values[start : start + sample], reference[start : start + sample]
    best, cost = np.int64(DELTA), _cost(part, other, DELTA, steps[: len(part)])
    if len(reference):
        for mode in (SAME, BEFORE):
            bits = _cost(part, other, mode, steps[: len(part)])
            if bits < cost:
                best, cost = np.int64(mode), bits
    low, high = part[0], part[0]
    for value in part:
        low, high = min(low, value), max(high, value)
    small = low >= 0 and high < np.int64(1) << k  # counts: their own distribution is the better one
    if small and len(part) * bit_length(np.uint64(high)) // 2 < cost:
        best = np.int64(PLAIN)
    base = np.int64(0)
    if best == SAME:
        base = values[0] - reference[0]
    elif best != PLAIN:
        base = values[0]
    residuals(values, reference, best, base, steps)
    unit = max(np.int64(1), common_divisor(steps[start : start + sample], np.int64(0)))
    found[0], found[1], found[2] = best, base, unit
    found[3] = long_steps(steps, unit, limit)
