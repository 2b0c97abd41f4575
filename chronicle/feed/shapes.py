"""Shapes: how a venue writes a message, letter for letter, compiled to the operations that kernels scan along.

A shape's text is the message with tags in the place of values::

    {"e":"trade","E":<int:ignored>,"s":"<name:symbol>","t":<int:trade_id>,"p":"<number:price>", ...

``<int:SLOT>`` and ``<signed:SLOT>`` are JSON integers, ``<digits:SLOT>`` and ``<digits:SLOT:MAX>`` digits within a
text, ``<number:SLOT>`` a decimal, ``<seconds:SLOT>`` decimal seconds with six decimals, ``<id:SLOT>`` a text that is
a number or says nothing, ``<text>`` a text that says nothing, ``<choice:SLOT:TEXT=VALUE|...>`` one of some texts,
``<iso:SLOT>`` a time of ISO 8601 in UTC, ``<count:SLOT>`` the integer that follows the connection's last one,
``<levels:bids>`` a list of ``["price","size"]``, ``<levels:bids:timed>`` one of ``["price","size","seconds"]``,
``<updates:BID|ASK|...>`` a list of objects of a side, a text, a price and a size, with the literals between them.
``<name:ROLE>`` stands for an instrument, ``<changes:ROLE>`` and ``<whole:ROLE>`` for streams of changes or of whole
books. Slots are those of :class:`chronicle.feed.scan_state.Slot`, roles the venue's own words for its names.

A message that deviates (another order, a field more, a space) is no error: the plain adapter reads it. So a shape is
only ever a matter of speed, and a wrong one is found by the test that compares both.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any, Final

from chronicle.core.errors import ConfigError
from chronicle.feed.scan_state import (
    ROW_BYTES,
    ROWS_MAX,
    SLOT_COUNT,
    Operation,
    Plan,
    Record,
    ShapeHead,
    Slot,
    Want,
)

__all__ = ["ROLES", "ROLE_NAMES", "CompiledShapes", "Shape"]

ROLES: Final = {"symbol": 0, "stream": 1, "trade": 2}
"""Kinds of names: one text may stand for different things in different places."""
ROLE_NAMES: Final = {number: name for name, number in ROLES.items()}

_TAG: Final = re.compile(r"<([a-z]+(?::[^<>]*)?)>")
_SIDES: Final = {"bids": 0, "asks": 1}
_WANTS: Final = {"name": Want.INSTRUMENT, "changes": Want.CHANGES, "whole": Want.WHOLE}
_VALUES: Final = {
    "int": Operation.INTEGER,
    "signed": Operation.SIGNED,
    "number": Operation.NUMBER,
    "seconds": Operation.SECONDS,
    "id": Operation.TRADE_ID,
    "iso": Operation.ISO,
    "count": Operation.COUNT,
}
_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way in which a venue writes a kind of message, and what it becomes; the rules are those of `ShapeHead`."""

    text: str
    record: Record
    timed: bool = False
    depth_rule: int = 0
    empty_rule: int = 0
    cut_rule: int = 0
    check_rule: int = 0
    check_zero: bool = False
    check_decimals: bool = False
    asks_first: bool = False
    hollow_rule: int = 0
    trade_type: int = 0


class CompiledShapes:
    """Shapes as words in memory, with the plan that scans them. It keeps everything that addresses point to.

    Raises
    ------
    ConfigError
        When a shape's text has a tag that is none.
    """

    def __init__(self, shapes: tuple[Shape, ...]) -> None:
        self._kept: list[Any] = []
        heads = (ShapeHead * len(shapes))()
        for head, shape in zip(heads, shapes, strict=True):
            words = self._operations(shape.text)
            head.operations = self._address((ctypes.c_int64 * len(words))(*words))
            head.operation_count = len(words) // 4
            for name, _ in ShapeHead._fields_[2:]:
                setattr(head, name, int(getattr(shape, name)))
        self.plan = Plan()
        self.plan.shapes = self._address(heads)
        self.plan.shape_count = len(shapes)
        self.plan.slots = self._address((ctypes.c_int64 * SLOT_COUNT)())
        self.plan.rows = self._address((ctypes.c_int64 * (2 * ROWS_MAX * ROW_BYTES // 8))())
        self.plan.bytes_type = id(bytes)

    def _address(self, memory: Any) -> int:
        self._kept.append(memory)
        return ctypes.addressof(memory)

    def _text(self, text: str) -> tuple[int, int]:
        data = text.encode("ascii")
        return self._address(ctypes.create_string_buffer(data, len(data) + 8)), len(data)

    def _operations(self, text: str) -> list[int]:
        """Return four words for each literal and tag of `text`."""
        words: list[int] = []
        for number, part in enumerate(_TAG.split(text)):
            if number % 2:
                words += self._operation(part)
            elif part:
                words += [Operation.LITERAL, *self._text(part), 0]
        return [int(word) for word in words]

    def _operation(self, tag: str) -> list[int]:
        name, _, rest = tag.partition(":")
        first, _, more = rest.partition(":")
        try:
            if name in _VALUES:
                return [_VALUES[name], Slot[first.upper()], 0, 0]
            if name in _WANTS:
                return [Operation.NAME, ROLES[first], _WANTS[name], 0]
            if name == "digits":
                return [Operation.DIGITS, Slot[first.upper()], int(more or _DIGITS_MAX), 0]
            if name == "levels":
                return [Operation.LEVELS, _SIDES[first], int(more == "timed"), 0]
            if name == "text":
                return [Operation.TEXT, 0, 0, 0]
            if name == "updates":
                return self._updates(rest.split("|"))
            if name == "choice":
                return self._choice(Slot[first.upper()], more)
        except (KeyError, ValueError) as error:
            raise ConfigError("a shape's tag names nothing known", found=f"<{tag}>") from error
        raise ConfigError("a shape's tag is none", found=f"<{tag}>")

    def _updates(self, parts: list[str]) -> list[int]:
        """Compile the sides' names, and what stands before side, text, price and size, and behind the size."""
        bid, ask, before, text, price, size, close = parts
        words = [word for part in (before, bid + text, ask + text, price, size, close) for word in self._text(part)]
        return [Operation.UPDATES, self._address((ctypes.c_int64 * len(words))(*words)), 0, 0]

    def _choice(self, slot: int, text: str) -> list[int]:
        words: list[int] = []
        choices = text.split("|")
        for choice in choices:
            written, _, value = choice.rpartition("=")
            words += [*self._text(written), int(value)]
        return [Operation.CHOICE, slot, len(choices), self._address((ctypes.c_int64 * len(words))(*words))]
