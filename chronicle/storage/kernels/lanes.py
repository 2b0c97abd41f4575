"""Eight values at once: tokens to values, and one value to many rows, as vector instructions.

numba writes such loops one element at a time, with a check of each index. These intrinsics say it in vectors of LLVM,
which every target has in some width. Under ``NUMBA_DISABLE_JIT=1`` their plain forms stand in.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

import chronicle.storage.kernels  # noqa: F401  (keys the cache)

__all__ = [
    "LANES",
    "MANY",
    "SLACK_ROWS",
    "divide_rows",
    "expand",
    "load",
    "move_run",
    "put_run",
    "run_rows",
    "sum_run",
    "window",
]

LANES = 8
ESCAPE = 255
SLACK_ROWS = 32
"""What is written in runs needs so many elements behind its end."""
MANY = 1 << 62
"""What :func:`expand` says of tokens that it leaves to the loop for one."""
_ROOM = 57
"""Bits that a load of eight bytes has from any bit on."""
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)


def _splat(builder: Any, value: Any, lanes: int = LANES) -> Any:
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, one, ir.Constant(kind, ir.Undefined), [0] * lanes)


def _shuffle(builder: Any, one: Any, other: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _many(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _at(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _load_word(builder: Any, place: Any) -> Any:
    found = builder.load(builder.bitcast(place, _I64.as_pointer()))
    found.align = 1
    return found


@intrinsic
def _unaligned(typing_context: Any, data: Any, offset: Any) -> Any:
    """Load a u64 from any byte of u8[n]: one instruction where two shifted words take six."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load_word(builder, _at(context, builder, signature.args[0], *arguments))

    return types.uint64(data, types.uint64), generate


def _load(data: Any, offset: Any) -> Any:
    return np.uint64(int.from_bytes(data[int(offset) : int(offset) + 8].tobytes(), "little"))


load = _load if numba.config.DISABLE_JIT else _unaligned
"""load(data, offset): the u64 at any byte of u8[n]."""


@numba.njit(cache=True, nogil=True)
def window(data: Any, bit: Any, last: Any) -> Any:
    """Return the bits of u8[n] from `bit` on, 57 at least where there are as many; `last` is n - 8. No branch."""
    three = np.uint64(3)
    place = min(bit >> three, last)
    return load(data, place) >> ((bit - (place << three)) & np.uint64(63))


@intrinsic
def _put_run(typing_context: Any, out: Any, row: Any, value: Any) -> Any:
    width = out.dtype.bitwidth
    stored = 256 // min(width, 32)  # 32 bytes or flags, 8 words

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, number = arguments
        place = _at(context, builder, signature.args[0], array, offset)
        run = _splat(builder, number, stored)
        found = builder.store(run, builder.bitcast(place, run.type.as_pointer()))
        found.align = width // 8
        return context.get_dummy_value()

    return types.void(out, types.uint64, out.dtype), generate


def _put_run_plain(out: Any, row: Any, value: Any) -> None:
    out[int(row) : int(row) + run_rows(out)] = value


@numba.njit(cache=True, nogil=True)
def run_rows(out: Any) -> Any:
    """Return how many elements :func:`put_run` writes into such an array."""
    return np.uint64(8) if out.itemsize > 1 else np.uint64(32)


put_run = _put_run_plain if numba.config.DISABLE_JIT else _put_run
"""put_run(out, row, value): write `value` to the run_rows(out) elements from `row` on, which must be inside."""


@intrinsic
def _move_run(typing_context: Any, out: Any, row: Any, values: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, row, values, place = arguments
        source = _at(context, builder, signature.args[2], values, place)
        run = builder.load(builder.bitcast(source, _VECTOR.as_pointer()))
        run.align = 8
        target = _at(context, builder, signature.args[0], out, row)
        found = builder.store(run, builder.bitcast(target, _VECTOR.as_pointer()))
        found.align = 8
        return context.get_dummy_value()

    return types.void(out, types.uint64, values, types.uint64), generate


def _move_run_plain(out: Any, row: Any, values: Any, place: Any) -> None:
    out[int(row) : int(row) + LANES] = values[int(place) : int(place) + LANES]


move_run = _move_run_plain if numba.config.DISABLE_JIT else _move_run
"""move_run(out, row, values, place): copy eight int64 from `place` on to `row` on; both must be inside."""


@intrinsic
def _sum_run(typing_context: Any, values: Any, place: Any, scale: Any, before: Any, out: Any, row: Any) -> Any:
    u64, i64 = types.uint64, types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, place, scale, before, out, row = arguments
        source = _at(context, builder, signature.args[0], values, place)
        run = builder.load(builder.bitcast(source, _VECTOR.as_pointer()))
        run.align = 8
        run = builder.mul(run, _splat(builder, scale))
        for order in ([8, 0, 1, 2, 3, 4, 5, 6], [8, 8, 0, 1, 2, 3, 4, 5], [8, 8, 8, 8, 0, 1, 2, 3]):
            run = builder.add(run, _shuffle(builder, run, _many(0), order))
        run = builder.add(run, _splat(builder, before))
        target = _at(context, builder, signature.args[4], out, row)
        found = builder.store(run, builder.bitcast(target, _VECTOR.as_pointer()))
        found.align = 8
        return builder.extract_element(run, ir.Constant(ir.IntType(32), LANES - 1))

    return i64(values, u64, i64, i64, out, u64), generate


def _sum_run_plain(values: Any, place: Any, scale: Any, before: Any, out: Any, row: Any) -> Any:
    run = before + np.cumsum(values[int(place) : int(place) + LANES] * scale)
    out[int(row) : int(row) + LANES] = run
    return run[-1]


sum_run = _sum_run_plain if numba.config.DISABLE_JIT else _sum_run
"""sum_run(values, place, scale, before, out, row): write `before` plus the running sum of eight int64 from `place`
on, each times `scale`, to `row` on; return the last. Both must be inside."""


@intrinsic
def _divide_run(typing_context: Any, out: Any, row: Any, divisor: Any, inverse: Any) -> Any:
    u64, f64 = types.uint64, types.float64
    floats = ir.VectorType(ir.DoubleType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, row, divisor, inverse = arguments
        place = builder.bitcast(_at(context, builder, signature.args[0], out, row), _VECTOR.as_pointer())
        mantissas = builder.load(place)
        mantissas.align = 8
        missing = builder.icmp_signed("==", mantissas, _many(-(1 << 63)))
        dividend = builder.sitofp(mantissas, floats)
        by, times = _splat(builder, divisor), _splat(builder, inverse)
        kind = ir.FunctionType(floats, [floats] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")
        quotient = builder.fmul(dividend, times)
        for _ in range(2):
            rest = builder.call(fma, [builder.fneg(quotient), by, dividend])
            quotient = builder.call(fma, [rest, times, quotient])
        found = builder.store(builder.bitcast(quotient, _VECTOR), place)
        found.align = 8
        return builder.zext(builder.bitcast(missing, ir.IntType(LANES)), _I64)

    return u64(out, u64, f64, f64), generate


def _divide_run_plain(out: Any, row: Any, divisor: Any, inverse: Any) -> Any:
    del inverse
    run = out[int(row) : int(row) + LANES]
    missing = np.uint64(np.count_nonzero(run == np.iinfo(np.int64).min))
    run[:] = (run / divisor).view(np.int64)
    return missing


divide_run = _divide_run_plain if numba.config.DISABLE_JIT else _divide_run
"""divide_run(out, row, divisor, inverse): put float64 in the place of eight int64; not 0 where one was INT64_MIN.

The nearest float64 of the quotient, as a division gives it: a product with the inverse (the nearest float64 of
1 / divisor) is off by less than two units in the last place, and each step by the exact remainder mends that (P.
Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990, theorem 8.5 of the
Handbook of Floating-Point Arithmetic). Divisions would take 16 cycles for eight.
"""


@numba.njit(cache=True, nogil=True)
def divide_rows(out: Any, row: Any, count: Any, divisor: Any) -> Any:
    """Put the quotients, float64, in the place of `count` int64 from `row` on, in runs; not 0: one was INT64_MIN."""
    inverse, missing = 1.0 / divisor, np.uint64(0)
    place, stop = np.uint64(row), np.uint64(row) + np.uint64(count)
    while place < stop:
        missing |= divide_run(out, place, divisor, inverse)
        place += np.uint64(LANES)
    return missing


@intrinsic
def _expand(
    typing_context: Any,
    tokens: Any,
    place: Any,
    data: Any,
    bit: Any,
    last: Any,
    k: Any,
    m: Any,
    sign: Any,
    unit: Any,
    base: Any,
    out: Any,
    row: Any,
) -> Any:
    u64, i64 = types.uint64, types.int64
    signature = u64(tokens, u64, data, u64, u64, u64, u64, u64, i64, i64, out, u64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tokens, place, data, bit, last, k, m, sign, unit, base, out, row = arguments
        kinds = signature.args
        one, three = ir.Constant(_I64, 1), ir.Constant(_I64, 3)
        start = _at(context, builder, kinds[0], tokens, place)
        narrow = builder.load(builder.bitcast(start, ir.VectorType(ir.IntType(8), LANES).as_pointer()))
        narrow.align = 1
        token = builder.zext(narrow, _VECTOR)
        # A token of 2**k and more stands for a word with `width` bits aside.
        above = builder.sub(token, _splat(builder, builder.shl(one, k)))
        is_long = builder.icmp_signed(">=", above, _many(0))
        width = builder.add(builder.lshr(above, _splat(builder, m)), _splat(builder, builder.sub(k, m)))
        width = builder.select(is_long, width, _many(0))
        width = builder.select(builder.icmp_unsigned("==", token, _many(ESCAPE)), _many(64), width)
        # Where each one's bits begin behind those of the first, and of the fifth.
        through = builder.add(width, _shuffle(builder, width, _many(0), [8, 0, 1, 2, 8, 4, 5, 6]))
        through = builder.add(through, _shuffle(builder, through, _many(0), [8, 8, 0, 1, 8, 8, 4, 5]))
        halves = [builder.extract_element(through, ir.Constant(ir.IntType(32), lane)) for lane in (3, 7)]
        room = ir.Constant(_I64, _ROOM)
        fits = builder.and_(*(builder.icmp_unsigned("<=", half, room) for half in halves))
        with builder.if_then(fits, likely=True):
            windows = ir.Constant(_VECTOR, ir.Undefined)
            for number, begin in enumerate((bit, builder.add(bit, halves[0]))):
                byte = builder.lshr(begin, three)
                byte = builder.select(builder.icmp_unsigned("<", byte, last), byte, last)
                shift = builder.and_(builder.sub(begin, builder.shl(byte, three)), ir.Constant(_I64, 63))
                word = builder.lshr(_load_word(builder, _at(context, builder, kinds[2], data, byte)), shift)
                windows = builder.insert_element(windows, word, ir.Constant(ir.IntType(32), number))
            windows = _shuffle(builder, windows, windows, [0, 0, 0, 0, 1, 1, 1, 1])
            low = builder.lshr(windows, builder.sub(through, width))
            low = builder.and_(low, builder.not_(builder.shl(_many(-1), width)))
            top = _splat(builder, builder.shl(one, m))
            high = builder.add(top, builder.and_(token, builder.sub(top, _many(1))))
            high = builder.select(is_long, builder.shl(high, width), token)
            word = builder.add(high, low)
            signs = _splat(builder, sign)
            turned = builder.sub(_many(0), builder.and_(word, signs))
            value = builder.xor(builder.lshr(word, signs), turned)
            value = builder.add(builder.mul(value, _splat(builder, unit)), _splat(builder, base))
            target = _at(context, builder, kinds[10], out, row)
            found = builder.store(value, builder.bitcast(target, _VECTOR.as_pointer()))
            found.align = 8
        return builder.select(fits, builder.add(*halves), ir.Constant(_I64, MANY))

    return signature, generate


def _expand_plain(*_: Any) -> Any:
    return np.uint64(MANY)


expand = _expand_plain if numba.config.DISABLE_JIT else _expand
"""expand(tokens, place, data, bit, last, k, m, sign, unit, base, out, row): write the values of eight tokens, bits
they took, or MANY (and nothing was written) where one is an escape or four of them take more bits than a load has.

tokens u8[n] from `place` on; their bits begin at `bit` of data u8[n], `last` is n - 8; value = word * unit + base,
word a zigzag where sign is 1. out int64[m] from `row` on. All numbers are u64 but unit and base, int64.
"""
