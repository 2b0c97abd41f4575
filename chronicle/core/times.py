"""Times as int64 ns UTC: exact parsing of what people and venues write, and printing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chronicle.core.errors import RangeError
from chronicle.core.layout import INT64_MAX, INT64_MIN

__all__ = ["decimal_seconds_ns", "format_ns", "parse_time"]

NS_PER_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"(-?)(\d+)(?:\.(\d+))?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d*)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII | re.IGNORECASE,
)


def decimal_seconds_ns(text: str) -> int:
    """Return the ns of decimal seconds such as ``1618678132.3858151``, exactly (digits past ns are cut).

    Raises
    ------
    RangeError
        When `text` is no plain decimal number or does not fit int64 ns.
    """
    match = _SECONDS.fullmatch(text.strip())
    if match is None:
        raise RangeError(f"cannot read {text!r} as decimal seconds", hint="write it as 1618678132.3858151")
    sign, whole, fraction = match.groups()
    value = int(whole) * NS_PER_SECOND + int((fraction or "")[:9].ljust(9, "0"))
    return _bounded(-value if sign else value, text)


def parse_time(value: Any) -> int:
    """Return int ns UTC of whatever names a moment; naive means UTC.

    Parameters
    ----------
    value : int, str, datetime, date, numpy.datetime64 or pandas.Timestamp
        An int is ns since the epoch; a string is ISO 8601 (up to ns digits) or an integer of ns.

    Raises
    ------
    RangeError
        When it names no moment, or one outside int64 ns (years 1677 to 2262).
    """
    if isinstance(value, bool):
        raise RangeError(f"cannot read {value!r} as a time")
    if isinstance(value, int):
        return _bounded(value, value)
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, datetime):
        if hasattr(value, "as_unit"):  # pandas.Timestamp keeps ns that datetime would lose
            try:
                return _bounded(int(value.as_unit("ns").value), value)
            except (OverflowError, ValueError) as error:
                raise _out_of_range(value) from error
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        delta = aware - _EPOCH
        return _bounded((delta.days * 86400 + delta.seconds) * NS_PER_SECOND + delta.microseconds * 1000, value)
    if isinstance(value, date):
        return parse_time(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if type(value).__module__ == "numpy":
        if getattr(value, "dtype", None) is not None and value.dtype.kind == "M":
            stamp = value.astype("datetime64[ns]")  # wraps silently: only what comes back unchanged did fit
            if stamp.astype(value.dtype) != value:
                raise _out_of_range(value)
            return _bounded(int(stamp.astype("int64")), value)
        if getattr(value, "dtype", None) is not None and value.dtype.kind in "iu":
            return _bounded(int(value), value)
    raise RangeError(
        f"cannot read {value!r} as a time", hint="give int ns, ISO 8601, datetime, or a pandas/NumPy stamp"
    )


def format_ns(ns: int) -> str:
    """Return ISO 8601 UTC with nine decimals, as ``2021-04-17T16:48:52.385815100Z``."""
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def _parse_text(text: str) -> int:
    stripped = text.strip()
    if re.fullmatch(r"-?\d{5,}", stripped, re.ASCII):
        return _bounded(int(stripped), text)
    match = _ISO.fullmatch(stripped)
    if match is None:
        raise RangeError(
            f"cannot read {text!r} as a time", hint="write 2021-04-17T16:48:52.5Z, or integer ns since 1970"
        )
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError as error:
        raise RangeError(f"cannot read {text!r} as a time: {error}") from error
    delta = moment - _EPOCH
    ns = (delta.days * 86400 + delta.seconds) * NS_PER_SECOND + int((fraction or "").ljust(9, "0"))
    if zone and zone.upper() != "Z":
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * NS_PER_SECOND
        ns += -offset if zone[0] == "+" else offset
    return _bounded(ns, text)


def _bounded(ns: int, value: Any) -> int:
    if not INT64_MIN < ns <= INT64_MAX:
        raise _out_of_range(value)
    return ns


def _out_of_range(value: Any) -> RangeError:
    return RangeError(f"the time {value!r} does not fit int64 ns", hint="use a year from 1678 to 2262")
