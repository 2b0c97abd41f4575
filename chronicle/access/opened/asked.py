"""What a caller gives: ranges, steps and depths, read and checked."""

from __future__ import annotations

from os import fspath
from pathlib import Path
from typing import Any

from chronicle.core.errors import ConfigError, RangeError
from chronicle.core.layout import INT64_MAX
from chronicle.core.times import format_ns, parse_time

__all__ = ["MISTAKEN_NS_MAX", "check_depth", "check_unit", "place_text", "step_ns", "time_range"]

DEPTH_MAX = 100_000
_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


_MISTAKEN = (("seconds", 10**9, 10**9), ("milliseconds", 10**12, 10**6), ("microseconds", 10**15, 10**3))
"""Unit, where its numbers of our years begin (they end at ten times that), and ns of one."""
MISTAKEN_NS_MAX = 10**16
"""Before it, in April 1970, lies every number that :func:`check_unit` refuses."""


def check_unit(*values: Any) -> None:
    """Refuse ints that look like one of our years in another unit than ns.

    Raises
    ------
    RangeError
        When one most likely names another moment than was meant.
    """
    for at in values:
        for unit, low, factor in _MISTAKEN:
            if isinstance(at, int) and low <= at < 10 * low:
                raise RangeError(
                    f"{at} is in early 1970 as ns, where nothing is captured, and looks like {unit}",
                    expected=f"ns: {at * factor}, {format_ns(at * factor)}",
                    found=at,
                )


def time_range(start: Any, end: Any) -> tuple[int | None, int | None]:
    """Return [start, end) in ns.

    Raises
    ------
    RangeError
        When it ends before it starts.
    """
    first = None if start is None else parse_time(start)
    last = None if end is None else parse_time(end)
    if first is not None and last is not None and last < first:
        raise RangeError(
            "the range ends before it starts",
            expected=f"an end at or after {format_ns(first)}",
            found=format_ns(last),
        )
    return first, last


def place_text(place: Any) -> str:
    """Return a place as a worker elsewhere names it: a path from the root, or a URL."""
    text = fspath(place)
    return text if "://" in text else str(Path(text).expanduser().absolute())


def step_ns(every: str | int) -> int:
    """Return a grid step in ns."""
    if isinstance(every, str):
        digits = every.strip().rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = every.strip()[len(digits) :]
        step = int(digits or "1") * _UNITS_NS[unit] if unit in _UNITS_NS and (digits or "1").isdigit() else 0
    else:
        step = int(every)
    if not 0 < step <= INT64_MAX:
        raise ConfigError(f"cannot step by {every!r}", expected='"1s", "250ms", "5m" ..., or ns above 0', found=every)
    return step


def check_depth(depth: int) -> None:
    """Refuse a number of levels that no book has."""
    if not isinstance(depth, int) or not 1 <= depth <= DEPTH_MAX:
        raise ConfigError("a book has at least one level a side", expected=f"1 to {DEPTH_MAX}", found=depth)
