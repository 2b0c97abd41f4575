"""How a setting is declared, and the readers that turn a value of a file or of the environment into ours.

A reader takes what TOML (or the environment: then text) holds, and returns our value or raises ValueError with what
is wrong; the loader says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from datetime import date, datetime
from typing import Any, Final

from chronicle.config.units import parse_bytes
from chronicle.core.errors import RangeError
from chronicle.core.times import parse_time

__all__ = [
    "Reader",
    "globs",
    "moment",
    "name",
    "number",
    "one_of",
    "options",
    "price",
    "queue_name",
    "setting",
    "size",
    "some_of",
    "switch",
    "text",
    "words",
]

SECRET_OPTIONS: Final = ("key", "secret", "token", "password", "account_key", "sas_token", "connection_string")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)

Reader = Callable[[object], Any]


def setting(default: Any, doc: str, read: Reader, *, key: str = "", example: str = "") -> Any:
    """Declare one setting: `read` turns the file's (or the environment's) value into ours or raises ValueError.

    `key` is its name in the file where that differs from the attribute's (units stay out of keys: their values
    carry them). `example` is what the commented file shows, in TOML.
    """
    metadata = {"doc": doc, "read": read, "key": key, "example": example}
    return field(default=default, metadata=metadata)


def text(value: object) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")  # noqa: TRY004 - the loader turns ValueError into ConfigError
    return value


def name(value: object) -> str:
    """Read a name that is safe as a file name."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name: letters, digits, '_', '-' and '.', at most 64")
    return value


def queue_name(value: object) -> str:
    """Read the name of a raw queue."""
    if not isinstance(value, str) or not _QUEUE.fullmatch(value):
        raise ValueError(f"{value!r} is not a queue's name: a-z, 0-9, '_' and '-', at most 64")
    return value


def one_of(*words: str) -> Reader:
    """Return a reader that takes one of `words`."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return str(value)

    return read


def switch(value: object) -> bool:
    """Read true or false (as text from the environment: true/false, yes/no, 1/0, on/off)."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError(f"{value!r} is not true or false")


def number(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip(), re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")  # noqa: TRY004 - as above
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range: {low} to {high}")
        return value

    return read


def size(low: int, high: int = 2**62) -> Reader:
    """Return a reader of sizes from `low` to `high` bytes."""

    def read(value: object) -> int:
        count = parse_bytes(value)
        if not low <= count <= high:
            raise ValueError(f"{value!r} is out of range: {low} to {high} bytes")
        return count

    return read


def words(value: object) -> tuple[str, ...]:
    """Read a list of words."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        raise ValueError(f'{value!r} is not a list of words such as ["BTC-USD"]')
    return tuple(item.strip() for item in value)


def some_of(*known: str) -> Reader:
    """Return a reader of lists in which every item is one of `known`."""

    def read(value: object) -> tuple[str, ...]:
        found = words(value)
        unknown = [word for word in found if word not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return found

    return read


def price(value: object) -> float:
    """Read a price."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r} is not a price")
    return float(value)


def moment(value: object) -> int:
    """Read a time: text (ISO 8601, naive means UTC), a date of TOML, or ns."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, bool) or not isinstance(value, str | int | datetime):
        raise ValueError(f"{value!r} is not a time")  # noqa: TRY004 - as above
    try:
        return parse_time(value)
    except RangeError as error:
        raise ValueError(error.message) from error


def options(value: object) -> tuple[tuple[str, Any], ...]:
    """Read a table of options: words, numbers and switches."""
    if not isinstance(value, dict) or not all(isinstance(item, str | int | float | bool) for item in value.values()):
        raise ValueError(f'{value!r} is not a table of options such as {{ region = "eu-central-1" }}')
    secret = [key for key in value if key in SECRET_OPTIONS]
    if secret:
        raise ValueError(f"{secret[0]} has no place in this file; use the environment or a profile")
    return tuple(sorted(value.items()))


def globs(value: object) -> tuple[str, ...]:
    """Read one pattern or a list of patterns (as text from the environment: separated by commas)."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError(f'{value!r} is not a list of patterns such as ["kraken:*"]')
    return tuple(item.strip() for item in items)
