"""Tickets: a unit of a range as plain JSON, for workers that ask a server instead of opening the place.

A ticket says what to read and nothing of where: the server reads its own store. It is no secret and no right: what a
client may not see must not be in the store that is served.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chronicle.core.errors import ConfigError
from chronicle.core.layout import INT64_MAX, INT64_MIN

__all__ = ["TICKET_BYTES_MAX", "Ticket"]

TICKET_BYTES_MAX = 64 * 1024
_LISTS = ("columns", "kinds")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The records of one channel of one instrument with ts_recv in [start, end), and how they leave.

    `exponents` (of prices and sizes) are those of the whole answer that the ticket is a part of, so that all parts
    have one schema; None: the instrument's own.
    """

    symbol: str
    channel: str
    start: int | None = None
    end: int | None = None
    columns: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    decimals: str = "float"
    where: str | None = None
    exponents: tuple[int, int] | None = None

    def pack(self) -> bytes:
        """Return the ticket's bytes."""
        values = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}
        return json.dumps({"v": 1, **values}, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Ticket:
        """Return the ticket of `data`, every value checked for its kind.

        Raises
        ------
        ConfigError
            When `data` is no ticket.
        """
        if len(data) > TICKET_BYTES_MAX:
            raise ConfigError("a ticket is short", expected=f"<= {TICKET_BYTES_MAX} bytes", found=len(data))
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ConfigError("a ticket is JSON", hint="Partition.ticket() makes one") from error
        if not isinstance(values, dict) or values.pop("v", None) != 1 or not set(values) <= set(cls.__slots__):
            raise ConfigError("this is no ticket of ours", hint="Partition.ticket() makes one")
        checked = {name: _checked(name, value) for name, value in values.items() if value is not None}
        if not {"symbol", "channel"} <= set(checked):
            raise ConfigError("a ticket names an instrument and a channel", expected="symbol, channel")
        return cls(**checked)


def _checked(name: str, value: Any) -> Any:
    """Return a value of a ticket or of a question, lists as tuples."""
    if name in ("start", "end"):
        right = isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX
    elif name in _LISTS:
        right = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif name == "exponents":
        right = (
            isinstance(value, list)
            and len(value) == 2
            and all(type(item) is int and 0 <= item <= 38 for item in value)
        )
    else:
        right = isinstance(value, str)
    if not right:
        raise ConfigError(f"a ticket's {name} cannot be this", found=str(value)[:80])
    return tuple(value) if isinstance(value, list) else value
