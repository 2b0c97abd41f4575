"""Tokens: those of the slow form and back, units and divisors, in kernels and in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.storage.codec import event_arrays, event_kernels
from chronicle.storage.codec.tokens import ENTRY, ESCAPE, Columns, divider, needs_of, tables
from chronicle.storage.kernels import tokens as kernel
from tests.support.naive_events import naive_bits, naive_limit, naive_tokens
from tests.support.words import int64

FORMS = [event_arrays, event_kernels]


def put_words(words: Any, form: tuple[int, int]) -> tuple[Any, list[int], list[int], int]:
    """Return (tokens, bits in whole words, escapes, all tokens ORed together) by the kernel, in pieces of eleven."""
    tokens, bits = np.empty(len(words), dtype=np.uint8), np.zeros(8 * len(words) + 24, dtype=np.uint8)
    escapes, room = np.empty(len(words), dtype=np.uint64), np.empty((2, 11), dtype=np.uint64)
    limit, bound = tables(*form).limit, np.uint64(INT64_MAX)
    used, escaped, seen = kernel.put_steps(
        words.view(np.int64), 0, False, 0, np.uint64(1), bound, *form, limit, tokens, bits, escapes, room
    )
    assert used >= 0
    return tokens, bits[: (used + 63) // 64 * 8].view(np.uint64).tolist(), escapes[:escaped].tolist(), int(seen)


# --- tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [(6, 3), (7, 3), (4, 3), (5, 2), (1, 0), (7, 7)])
@given(st.lists(int64.map(lambda value: value % 2**64), max_size=80))
@settings(max_examples=60)
def test_tokens_are_those_of_the_slow_form_and_come_back(form: tuple[int, int], words: list[int]) -> None:
    table = tables(*form)
    assert table.limit == naive_limit(*form)
    given_words = np.array(words, dtype=np.uint64)
    expected, lows, expected_escapes = naive_tokens(words, *form)
    used, expected_bits = naive_bits(lows)
    tokens, escaped = np.array(expected, dtype=np.uint8), len(expected_escapes)
    if table.limit - 1 - form[1] <= 56:  # (the encoder's forms are)
        found, bits, escapes, seen = put_words(given_words, form)
        assert bool(seen) == any(words)
        assert found.tolist() == expected
        assert (bits[: (used + 63) // 64], escapes) == (expected_bits, expected_escapes)
    assert needs_of(tokens, table.widths) == (used, escaped)
    stored = np.array(expected_bits + expected_escapes, dtype=np.uint64).tobytes()
    entry = ENTRY.pack(0, *form, len(words), 0, 1, len(words), used, escaped)
    columns = Columns(entry, 1, memoryview(tokens.tobytes() + stored), len(words))
    expected_values = given_words.view(np.int64)
    for arrays in FORMS:
        assert arrays.values(columns, 0, len(words), None).tolist() == expected_values.tolist()
        for begin, end in ((0, len(words) // 2), (len(words) // 3, len(words)), (len(words), len(words))):
            part = arrays.values(columns, 0, len(words), None, (begin, end))
            assert part.tolist() == expected_values[begin:end].tolist()


@given(st.lists(int64, min_size=1, max_size=30), st.integers(1, 2**40), st.booleans())
@settings(max_examples=200)
def test_tokens_tell_when_a_unit_does_not_divide_a_step(numbers: list[int], unit: int, multiples: bool) -> None:
    limit = INT64_MAX // unit
    steps = [number % limit * unit * (-1 if number % 2 else 1) for number in numbers] if multiples else numbers
    shift, inverse = divider(unit)
    used, _, _ = kernel.put_steps(
        np.array(steps, dtype=np.int64),
        0,
        True,
        shift,
        inverse,
        np.uint64(INT64_MAX // (unit >> shift)),
        6,
        3,
        tables(6, 3).limit,
        np.empty(len(steps), dtype=np.uint8),
        np.empty(8 * len(steps) + 24, dtype=np.uint8),
        np.empty(len(steps), dtype=np.uint64),
        np.empty((2, 7), dtype=np.uint64),
    )
    divides = all(step % unit == 0 for step in steps)
    if unit > 1 and INT64_MIN in steps and divides:
        return  # (units are never found where a step is INT64_MIN: see common_divisor)
    assert (used >= 0) == divides


@given(st.lists(int64, max_size=60), st.integers(1, 10**9))
@settings(max_examples=80)
def test_common_divisor_is_the_greatest(steps: list[int], factor: int) -> None:
    import math

    values = [step * factor if abs(step * factor) < 2**63 else step for step in steps]
    found = int(kernel.common_divisor(np.array(values, dtype=np.int64), 0))
    assert (
        found == max(1, math.gcd(*values))
        or found == 0 == sum(map(abs, values))
        or (found == 1 and INT64_MIN in values)
    )


# --- round trips -------------------------------------------------------------------------------------------------


def test_escape_is_the_last_token() -> None:
    assert ESCAPE == 255
    assert all(tables(k, m).widths[ESCAPE] == 0 for k in range(1, 8) for m in range(k + 1))
