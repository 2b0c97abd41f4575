"""Columns of an answer: their names, what they hold, and the ways in which their numbers may leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronicle.core.errors import ConfigError

__all__ = ["ROWS_PER_BATCH", "WIDE", "Chunk", "Column", "Decimals", "check_decimals", "exponent_of", "some_untold"]

Decimals = Literal["float", "int", "decimal"]
Chunk = dict[str, NDArray[Any]]
ROWS_PER_BATCH = 65_536
WIDE = ("volume", "notional", "wide_price", "wide_size")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and what it holds: ``time``, ``price``, ``size``, ``word`` (code into `words`) or ``plain``.

    ``volume`` (a sum of sizes) and ``notional`` (of price times size) are 128-bit: int64[rows, 2] (high, low) inside;
    so are ``wide_price`` and ``wide_size``, and ``float`` is float64 (see :mod:`chronicle.access.ranges.scaling`).
    `width` above 0 makes it two-dimensional: that many values a row.
    """

    name: str
    role: str = "plain"
    dtype: str = "<i8"
    words: tuple[str, ...] = ()
    width: int = 0

    def in_form(self, form: str) -> Column:
        """Return the column in a form of :class:`chronicle.access.ranges.scaling.Scaling`."""
        if self.role not in ("price", "size"):
            return self
        if form == "float":
            return Column(self.name, "float", "<f8")
        return Column(self.name, f"wide_{self.role}")

    def empty(self) -> NDArray[Any]:
        """Return the column without rows."""
        width = 2 if self.role in WIDE else self.width
        return np.empty((0, width) if width else 0, dtype=self.dtype)


def some_untold(column: Column, values: NDArray[Any]) -> bool:
    """Return whether a venue told no time in some rows: 0 or -1 is no moment of 1970."""
    return column.name == "ts_event" and len(values) > 0 and bool(values.min() <= 0)


def exponent_of(column: Column, price: int, size: int) -> int:
    """Return the exponent of a column in an answer whose prices and sizes have these."""
    if column.role == "notional":
        return price + size
    return price if column.role in ("price", "wide_price") else size


def check_decimals(decimals: str) -> None:
    """Raise ConfigError unless `decimals` is a way numbers can leave."""
    ways: Sequence[str] = ("float", "int", "decimal")
    if decimals not in ways:
        raise ConfigError(f"there is no way {decimals!r} to give numbers", expected=" | ".join(ways), found=decimals)
