"""Hypothesis' int64 numbers, with those at which tokens, escapes and shifts go wrong."""

from __future__ import annotations

from hypothesis import strategies as st

from chronicle.core.layout import INT64_MAX, INT64_MIN

EXTREMES = [
    0,
    1,
    -1,
    63,
    64,
    127,
    128,
    255,
    256,
    2**21,
    2**22 - 1,
    2**22,
    2**28,
    2**29 - 1,
    2**29,
    2**31,
    2**32,
    2**53,
]
EXTREMES += [2**62, -(2**62), INT64_MAX, INT64_MIN, INT64_MIN + 1, -5, 10**6, 10**15 + 1]

int64 = st.one_of(st.sampled_from(EXTREMES), st.integers(INT64_MIN, INT64_MAX), st.integers(0, 300))
