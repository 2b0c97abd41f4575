"""Kernels against the plain rules, compiled and not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from chronicle.core.layout import NONE, CheckRule, SequenceRule, VerifiedBy
from chronicle.core.sequencing import Step, judge
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.books.checks import checksum
from chronicle.etl.kernels import events as kernel
from chronicle.etl.kernels.checks import book_checksum
from chronicle.etl.kernels.levels import set_level
from tests.support.etl_streams import BID, RawStream, final, instrument, random_levels, run, status_word

IN_CHILD = "CHRONICLE_TEST_NO_JIT"


def test_kernel_rule_is_the_rule_of_core() -> None:
    values = (NONE, 4, 5, 6, 7, 8)
    for rule in SequenceRule:
        for last, first, sequence, previous in itertools.product(values, repeat=4):
            for fresh in (False, True):
                step = judge(rule, last=last, after_snapshot=fresh, first=first, sequence=sequence, previous=previous)
                if rule == SequenceRule.BINANCE_SPOT and fresh and sequence < last + 1:
                    assert step is not Step.APPLY
                got = rule == 0 or kernel.in_sequence(int(rule), last, int(fresh), first, sequence, previous)
                assert got == (step is Step.APPLY), (rule, last, first, sequence, previous, fresh)


def test_rule_of_a_later_version_judges_and_proves_nothing() -> None:
    assert [kernel.known_rule(rule) for rule in (-1, 0, max(SequenceRule), max(SequenceRule) + 1, 99)] == [
        *(0, 0, max(SequenceRule), 0, 0)
    ]
    stream = RawStream()
    stream.define(1, instrument(sequence_rule=99))
    stream.snapshot(1, [(1, 1)], [(2, 1)], sequence=5)
    for last in (9, 7, 20):
        stream.deltas(1, (BID, 1, last), last=last)
    records = run(stream).records("clean/kraken/btc_eur/book.q")
    book, trust = final(records)
    assert (book.best_bid, status_word(book, trust), trust.verified_by) == ((1, 20), "ok", VerifiedBy.NOTHING)


@pytest.mark.parametrize("rule", [CheckRule.KRAKEN_V1, CheckRule.OKX_V5])
@pytest.mark.parametrize("exponents", [(0, 0), (2, 3), (8, 8), (18, 18)])
def test_kernel_checksum_is_that_of_the_text(rule: int, exponents: tuple[int, int]) -> None:
    generator = np.random.default_rng(5)
    fields = instrument(price_exponent=exponents[0], size_exponent=exponents[1])
    for count in (0, 1, 3, 9, 10, 24, 25, 40):
        book = ArrayBook(price_exponent=exponents[0], size_exponent=exponents[1])
        prices = generator.integers(0, 10 ** generator.integers(1, 19), (2, count)) // 100 * 100
        sizes = generator.integers(1, 10 ** generator.integers(1, 19), (2, count)) * generator.choice(
            [1, 1, 10], count
        )
        book.load(zip(prices[0], abs(sizes[0]), strict=True), zip(prices[1] - 5, abs(sizes[1]), strict=True))
        got = book_checksum(rule, book.levels, book.counts, *exponents)
        assert got == checksum(rule, book, fields), count


def test_set_level_keeps_keys_ascending() -> None:
    levels, counts = np.zeros((4, 256), np.int64), np.zeros(2, np.int64)
    model: dict[tuple[int, int], int] = {}
    for side, price, size in random_levels(3, 2000, prices=90).tolist():
        set_level(levels, counts, side, price, size)
        model.pop((side, price), None)
        if size:
            model[side, price] = size
    for half, (side, sign) in enumerate(((66, 1), (65, -1))):
        wanted = sorted((sign * price, size) for (of, price), size in model.items() if of == side)
        got = list(zip(levels[2 * half][: counts[half]].tolist(), levels[2 * half + 1].tolist(), strict=False))
        assert got == wanted


def test_index_records_refuses_impossible_lengths() -> None:
    out = [np.empty(8, np.int64) for _ in range(4)]
    for words in ([0] * 6, [44, 0, 0, 0, 0, 0], [4096, 0, 0, 0, 0, 0]):
        assert kernel.index_records(np.array(words, np.int64), *out) == -1
    assert kernel.index_records(np.array([48, 0, 0, 0, 0, 0] * 9, np.int64), *out) == -2


def _stream() -> RawStream:
    stream = RawStream()
    stream.define(1, instrument(book_depth=5))
    stream.snapshot(1, [(100, 1), (99, 1)], [(101, 1), (102, 2)])
    for row in random_levels(9, 150).tolist():
        stream.deltas(1, tuple(row))
    return stream


def _digest() -> str:
    import hashlib

    sink = run(_stream())
    return hashlib.sha256(repr(sink.bytes()).encode()).hexdigest()


@pytest.mark.skipif(IN_CHILD in os.environ, reason="the child process itself")
def test_output_is_the_same_without_compilation() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    code = "from tests.unit.etl.test_kernels import _digest; print(_digest())"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == _digest()
