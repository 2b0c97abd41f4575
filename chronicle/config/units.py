"""Values as people write them in settings: sizes with a unit, spans of time with a unit."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "format_duration", "parse_bytes", "parse_duration"]

_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_QUANTITY = re.compile(r"\s*([0-9]+)(?:\.([0-9]{1,9}))?\s*([A-Za-z]*)\s*", re.ASCII)
INT64_MAX = 2**63 - 1


def parse_bytes(value: object) -> int:
    """Return bytes of ``67108864``, ``"64 MiB"`` or ``"1.5GB"``.

    Raises
    ------
    ValueError
        When `value` is no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _bounded(value)
    return _quantity(value, _BYTES, "a size such as 64 MiB")


def parse_duration(value: object) -> int:
    """Return ns of ``"60s"``, ``"2 h"`` or ``"1.5 ms"``; a bare number other than 0 has no unit and is refused.

    Raises
    ------
    ValueError
        When `value` is no span of time.
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f'{value} has no unit: write it as "{value}s", "{value}m" or "{value}h"')  # noqa: TRY004 - the loader makes it a ConfigError
    if isinstance(value, str) and value.strip().isdigit() and int(value) != 0:
        raise ValueError(f'{value.strip()!r} has no unit: write it as "{value.strip()}s" or "{value.strip()}h"')
    return _quantity(value, {"": 1} | _NANOSECONDS, "a duration such as 60s, 2h or 7d")


def format_bytes(count: int) -> str:
    """Return `count` with the largest binary unit that keeps three digits or so: ``64 MiB``, ``1.4 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return _trimmed(value, unit)
        value /= 1024
    return _trimmed(value, "TiB")


def format_duration(ns: int) -> str:
    """Return a span of time as a person would say it: ``60 s``, ``2 h``, ``150 us``."""
    if ns == 0:
        return "0 s"
    magnitude = abs(ns)
    for unit, size in (("d", 86400 * 10**9), ("h", 3600 * 10**9), ("min", 60 * 10**9)):
        if magnitude >= 2 * size or (magnitude >= size and magnitude % size == 0):
            return _trimmed(ns / size, unit)
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if magnitude >= size:
            return _trimmed(ns / size, unit)
    return f"{ns} ns"


def _trimmed(value: float, unit: str) -> str:
    text = f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{text.removesuffix('.0')} {unit}"


def _quantity(value: object, units: dict[str, int], wanted: str) -> int:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) < 64 else None
    if match is None or match[3].lower() not in units:
        raise ValueError(f"{value!r} is not {wanted}")
    scale = units[match[3].lower()]
    fraction = match[2] or ""
    scaled, rest = divmod(int(match[1] + fraction) * scale, 10 ** len(fraction))
    if rest:
        raise ValueError(f"{value!r} is not a whole number of the smallest unit")
    return _bounded(scaled)


def _bounded(value: int) -> int:
    if not 0 <= value <= INT64_MAX:
        raise ValueError(f"{value} is out of range: 0 to {INT64_MAX}")
    return value
