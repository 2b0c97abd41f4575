"""Decimal text to int64 mantissas and back, exactly. A value is mantissa / 10**exponent."""

from __future__ import annotations

from decimal import Decimal

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX

__all__ = ["decimals_of", "mantissa", "rescale", "text_fixed", "text_stripped", "to_decimal"]

PLACES_MAX = 64
"""Bound on the digits of a number with an exponent part: 1e999999999 must not be written out."""

EXPONENT_MAX = 18
"""More decimals than int64 has digits cannot be stored."""


def _plain(text: str) -> str:
    """Return `text` without an exponent part (venues write 1e-8 for small sizes)."""
    if "e" in text or "E" in text:
        try:
            number = Decimal(text)
        except ArithmeticError as error:
            raise DecodeError(f"cannot read {text[:80]!r} as a decimal number") from error
        if not number.is_finite() or len(text) > PLACES_MAX or (number and abs(number.adjusted()) > PLACES_MAX):
            raise DecodeError(f"{text[:80]!r} is no decimal number that int64 could hold at any exponent")
        return format(number, "f") if number else "0"
    return text


def decimals_of(text: str) -> int:
    """Return how many decimals `text` writes: ``'9.1200'`` has 4."""
    plain = _plain(text)
    point = plain.find(".")
    return 0 if point < 0 else len(plain) - point - 1


def mantissa(text: str, exponent: int) -> int:
    """Return the int64 mantissa of decimal `text` at `exponent`; zeros past the exponent are dropped.

    Raises
    ------
    DecodeError
        When `text` is no decimal number, has non-zero digits past `exponent`, or overflows int64.
    """
    plain = _plain(text)
    whole, _, fraction = plain.partition(".")
    if len(fraction) > exponent:
        if fraction[exponent:].strip("0"):
            raise DecodeError(
                f"{text!r} has more decimals than the instrument's exponent",
                expected=exponent,
                found=len(fraction),
            )
        fraction = fraction[:exponent]
    digits = whole + fraction.ljust(exponent, "0")
    unsigned = digits[1:] if digits[:1] in {"-", "+"} else digits
    if whole + fraction in {"", "-", "+"} or not (unsigned.isascii() and unsigned.isdigit()):
        raise DecodeError(f"cannot read {text!r} as a decimal number")
    value = int(digits)
    if not -INT64_MAX <= value <= INT64_MAX:
        raise DecodeError(
            f"{text!r} at exponent {exponent} overflows int64", hint="the level is counted and left out"
        )
    return value


def to_decimal(value: int, exponent: int) -> Decimal:
    """Return mantissa / 10**exponent as an exact Decimal with `exponent` decimals."""
    return Decimal(value).scaleb(-exponent)


def text_fixed(value: int, exponent: int, decimals: int | None = None) -> str:
    """Return the decimal text with `decimals` places (default: the exponent), as ``'0.0043'``."""
    places = exponent if decimals is None else decimals
    scaled = rescale(value, exponent, places)
    sign, digits = ("-" if scaled < 0 else ""), str(abs(scaled)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits


def text_stripped(value: int, exponent: int) -> str:
    """Return the shortest exact decimal text: no trailing zeros, no trailing point."""
    text = text_fixed(value, exponent)
    return text.rstrip("0").rstrip(".") if "." in text else text


def rescale(value: int, exponent: int, target: int) -> int:
    """Return the mantissa of the same value at exponent `target`.

    Raises
    ------
    DecodeError
        When digits would be lost or int64 overflows.
    """
    if target >= exponent:
        scaled: int = value * 10 ** (target - exponent)
        if not -INT64_MAX <= scaled <= INT64_MAX:
            raise DecodeError(f"mantissa {value} at exponent {target} overflows int64")
        return scaled
    factor: int = 10 ** (exponent - target)
    if value % factor:
        raise DecodeError(f"mantissa {value} at exponent {exponent} has more than {target} decimals")
    return value // factor
