"""What a long-running feed says of itself as it goes: one line an event, for people or as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from chronicle.core.clock import Clock
from chronicle.core.times import format_ns

__all__ = ["LOG_FORMS", "EventLog"]

LOG_FORMS: Final = ("text", "json", "off")


class EventLog:
    """Writes events to a sink of lines.

    Parameters
    ----------
    clock : Clock
        Gives the times.
    write : callable
        Takes a line without its end.
    form : str
        ``text``: time, event, fields; ``json``: one object with ``ts`` (ISO 8601), ``event`` and the fields; ``off``.

    Examples
    --------
    >>> from chronicle.core.clock import FakeClock
    >>> EventLog(FakeClock(), print, "json").event("connected", venue="kraken", line=1)
    {"ts":"1970-01-01T00:00:00.000000000Z","event":"connected","venue":"kraken","line":1}
    """

    def __init__(self, clock: Clock, write: Callable[[str], object], form: str = "text") -> None:
        self._clock = clock
        self._write = write
        self._form = form

    def event(self, name: str, **fields: str | int | float | bool) -> None:
        """Write one event."""
        if self._form == "off":
            return
        moment = format_ns(self._clock.now_ns())
        if self._form == "json":
            self._write(json.dumps({"ts": moment, "event": name} | fields, separators=(",", ":")))
        else:
            self._write(" ".join([moment, name, *(f"{key}={_plain(value)}" for key, value in fields.items())]))


def _plain(value: object) -> str:
    text = str(value)
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return f'"{printable}"' if " " in printable or not printable else printable
