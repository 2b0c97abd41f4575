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
    "put_steps",
    "residuals",
    "step_bits",
]

DELTA, SAME, BEFORE = 1, 2, 3
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


@numba.njit(cache=True, nogil=True)
def put_steps(
    steps: Any,
    less: Any,
    signed: Any,
    shift: Any,
    inverse: Any,
    k: Any,
    m: Any,
    limit: Any,
    tokens: Any,
    bits: Any,
    escapes: Any,
) -> Any:
    """Write the words of steps int64[n] as tokens u8[n]; return (bits, escapes) used.

    A word is the step over its unit, minus `less`, zigzag where `signed`. The unit is 2**shift times an odd number
    whose inverse modulo 2**64 is `inverse`: an exact division is a product. bits u64[n + 2], escapes u64[n] are the
    caller's, written. A word below 2**k is its own token; one of up to `limit` bits gives exponent and top m bits,
    its other low bits go to `bits`, lowest first; any other is ESCAPE and goes to `escapes`. No branch but the one
    for escapes: some 2 ns a step.
    """
    escaped, place, shifted = np.int64(0), np.uint64(0), np.uint64(0)
    zero, one, six, top = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)
    small, less_bits = one << np.uint64(k), np.int64(1 + m)
    first_long = (np.int64(1) << k) - (np.int64(1) << m)
    held = np.uint64(0)  # the word of bits that is not yet full: kept here, stored each time, never loaded
    bits[0] = 0
    for position in range(len(steps)):
        quotient = np.int64(np.uint64(steps[position] >> shift) * inverse) - less
        word = (np.uint64(quotient) << one) ^ np.uint64(quotient >> 63) if signed else np.uint64(quotient)
        length = bit_length(word)
        if length > limit:
            tokens[position] = ESCAPE
            escapes[escaped] = word
            escaped += 1
            continue
        is_long = -np.int64(word >= small)  # all ones or zero: which words are long is chance, and no branch for it
        low = np.uint64((length - less_bits) & is_long)
        exponent = (first_long + ((length - 1 - k) << m)) & is_long
        tokens[position] = np.uint64(exponent) + (word >> low)
        rest = word & ((one << low) - one)
        held |= rest << shifted
        bits[place] = held
        over = (rest >> one) >> (top - shifted)
        shifted += low
        full = shifted >> six
        held ^= (held ^ over) & (zero - full)
        place += full
        shifted &= top
    bits[place] = held
    return np.int64(place) * 64 + np.int64(shifted), escaped


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
