"""Book checksums of venues: the text of the best levels and its CRC32, in plain Python.

Sources: docs.kraken.com/api/docs/guides/spot-ws-book-v1 (ten levels, asks then bids, digits without point and
leading zeros), the checksum section of the OKX v5 order book channel (25 levels, bid and ask in turn, joined by
colons, signed), and that of Bitget v1 (the same, but with the fixed decimals of the wire). Prices and sizes are
rendered from the mantissas by the instrument's text rule.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from chronicle.core.decimals import rescale, text_fixed, text_stripped
from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN, NONE, CheckRule, Verdict
from chronicle.core.records import InstrumentFields
from chronicle.etl.books.book import BookView, Level

__all__ = ["KRAKEN_LEVELS", "OKX_LEVELS", "checksum", "verdict_of"]

KRAKEN_LEVELS = 10
OKX_LEVELS = 25


def checksum(rule: int, book: BookView, instrument: InstrumentFields) -> int | None:
    """Return the checksum of `book` under `rule`; None when the rule is unknown to this build.

    A level that cannot be written in the wire's decimals makes a text that no venue sends: the result differs from
    any stated value by being ``NONE`` (of signed checksums ``INT64_MIN``).
    """
    if rule == CheckRule.KRAKEN_V1:
        return _kraken(book, instrument)
    if rule == CheckRule.OKX_V5:
        return _alternating(book, lambda level: _okx_level(book, level))
    if rule == CheckRule.BITGET_V1:
        return _bitget(book, instrument)
    return None


def verdict_of(expected: int, computed: int | None) -> tuple[int, int]:
    """Return (verdict, computed value to store) for the venue's `expected` value."""
    if computed is None:
        return Verdict.UNJUDGED, 0
    return (Verdict.PASSED if expected == computed else Verdict.FAILED), computed


def _kraken(book: BookView, instrument: InstrumentFields) -> int:
    bids, asks = book.depth(KRAKEN_LEVELS)
    price_decimals, size_decimals = instrument.check_price_decimals, instrument.check_size_decimals
    prices = (book.price_exponent, book.price_exponent if price_decimals == NONE else price_decimals)
    sizes = (book.size_exponent, book.size_exponent if size_decimals == NONE else size_decimals)
    levels = asks + bids
    try:
        if prices[0] != prices[1]:
            levels = [(rescale(price, *prices), size) for price, size in levels]
        if sizes[0] != sizes[1]:
            levels = [(price, rescale(size, *sizes)) for price, size in levels]
    except DecodeError:
        return NONE
    return crc32("".join([f"{price}{size}" for price, size in levels]).encode("ascii"))


def _bitget(book: BookView, instrument: InstrumentFields) -> int:
    prices, sizes = (
        exponent if places == NONE else places
        for exponent, places in (
            (book.price_exponent, instrument.check_price_decimals),
            (book.size_exponent, instrument.check_size_decimals),
        )
    )

    def text(level: Level) -> str:
        price, size = (
            text_fixed(level[0], book.price_exponent, prices),
            text_fixed(level[1], book.size_exponent, sizes),
        )
        return f"{price}:{size}"

    try:
        return _alternating(book, text)
    except DecodeError:
        return INT64_MIN


def _alternating(book: BookView, text: Callable[[Level], str]) -> int:
    bids, asks = book.depth(OKX_LEVELS)
    parts = []
    for position in range(max(len(bids), len(asks))):
        if position < len(bids):
            parts.append(text(bids[position]))
        if position < len(asks):
            parts.append(text(asks[position]))
    unsigned = crc32(":".join(parts).encode("ascii"))
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


def _okx_level(book: BookView, level: Level) -> str:
    return f"{text_stripped(level[0], book.price_exponent)}:{text_stripped(level[1], book.size_exponent)}"
